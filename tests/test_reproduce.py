"""The page "Reproduce a table" runs, from raw files to every table, at tiny size."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_ntu import format_ntu
from test_pku import format_pku

from pcm3.cli import main
from pcm3.evaluation.probes import PROBES
from pcm3.methods.catalog import PRESETS, get_preset
from pcm3.methods.pcm3.tables import TABLES, command

PAGE = Path(__file__).parents[1] / "docs" / "reproduce.md"
GRU = (
    "--model.frames 8 --model.crop-min-frames 8 --model.hidden 4 --model.layers 1 "
    "--model.decoder-hidden 4 --model.embedding 4 --model.queue-size 8"
)
GRAPH = (
    "--model.frames 8 --model.hidden 4 "
    "--model.encoder-arguments graph=code channels=4 layers=[1,1] last_channels=4 "
)
OTHERS = {
    "skeletonclr": GRAPH + "--model.embedding 4 --model.queue-size 8",
    "aimclr": GRAPH + "--model.embedding 4 --model.queue-size 8",
    "pstl": GRAPH + "--model.expander 8",
    "cmd": GRU.replace("--model.decoder-hidden 4", "--model.topk 4"),
}
TRANSFORMER = (
    "--model.frames 8 --model.crop-min-frames 8 --model.width 4 --model.depth 1 --model.heads 1 "
    "--model.decoder-depth 1"
)
EVALUATIONS = {
    "linear": "",  # whose epochs, and occlusion's, are those of PROBES below
    "knn": "",
    "occlusion": "",
    "semi": "--epochs 1 --draws 1",
    "finetune": "--epochs 1",
    "detection": "--epochs 1 --every 16",
    "prediction": "--epochs 1 --observed 8 --predicted 2 --horizons 2",
    "fewshot": "--episodes 2 --shots 1 --queries 1",
}
"""Task to the options that make it tiny."""
UNSEEN = (61, 62, 67, 70, 73)  # actions, from 1


def commands() -> list[str]:
    """Every line of the page's blocks, in order."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    assert all(line.startswith("pcm3 ") for line in lines)
    return lines


def tiny(words: list[str]) -> list[str]:
    """A command with the options that make it tiny after its own; four epochs stand for 400."""
    if words[0] == "prepare":
        return [*words, "--workers", "1"]
    if words[0] == "evaluate":
        words = [re.sub(r"epoch300\b", "epoch3", word) for word in words]
        return [*words, *EVALUATIONS[words[1]].split()]
    if words[0] == "presets" or "--from" in words:  # the second phase is as tiny as the first one
        return words
    preset = words[words.index("--preset") + 1]
    model = TRANSFORMER if preset.endswith(("-mamp", "-mae")) else GRU
    model = OTHERS.get(preset.rpartition("-")[2], model)
    if "--model.mask-weight 0.0" in " ".join(words):  # without a decoder
        model = model.replace("--model.decoder-hidden 4 ", "")
    words = [*words, *model.split(), "--train.batch-size", "4"]
    epochs = "4" if get_preset(preset).train.keep_epochs else "1"
    return words if "--train.epochs" in words else [*words, "--train.epochs", epochs]


def recording(action: int, seed: int, length: int = 18) -> NDArray[np.float32]:
    """Two people (T, 2, 25, 3) in metres, who stand and move some of their joints."""
    random = np.random.default_rng(seed)
    body = np.random.default_rng(0).normal(0, 0.3, (25, 3)) * (0.5, 1.5, 0.5) + (0.2, 0.1, 3)
    swing = np.sin(np.arange(length) * action / 40)[:, None] * (np.arange(25) % 5 == action % 5)
    first = body + 0.3 * swing[:, :, None]
    second = body + (0.8, 0, 0) + 0.1 * swing[:, :, None]
    frames = np.stack([first, second], axis=1)
    return (frames + random.normal(0, 0.01, frames.shape)).astype(np.float32)


def write_ntu(folder: Path) -> None:
    """Both protocols of both editions, with one or two people, and ids that change."""
    folder.mkdir()
    rows = [
        (1, camera, subject, again, action)
        for subject in (1, 2, 3)
        for camera in (1, 2, 3)
        for action in (1, 51)
        for again in (1, 2)
    ]
    rows += [(18, 1, 1, 1, action) for action in UNSEEN]
    rows += [(19, 2, subject, 1, action) for action in UNSEEN for subject in (3, 45)]
    for seed, (setup, camera, subject, again, action) in enumerate(rows):
        frames = np.pad(recording(action, seed), ((0, 0), (0, 1), (0, 0), (0, 0)))
        if seed % 3 == 0:
            frames[:, 1] = 0  # one person
        elif seed % 3 == 1:
            frames[12:, 2] = frames[12:, 1]  # the second one gets another id
            frames[12:, 1] = 0
        else:
            frames[5:9, 2] = frames[5:9, 0] + 0.1  # a third body for some frames
        name = f"S{setup:03}C{camera:03}P{subject:03}R{again:03}A{action:03}"
        (folder / f"{name}.skeleton").write_text(format_ntu(frames, number="{:.5g}"))
    missing = "S001C001P004R001A001"
    (folder / f"{missing}.skeleton").write_text("0\n")
    folder.with_name("missing.txt").write_text(f"{missing}\n")


def write_pku(folder: Path) -> None:
    """Videos of both phases with three actions each, their labels and the files that split them."""
    for kind in ("skeletons", "labels"):
        (folder / kind).mkdir(parents=True)
    phases = {
        "cross-subject.txt": ["0002-L", "0003-M", "0005-R", "0006-L"],
        "cross_subject_v2.txt": ["A01N01-L", "A02N04-M", "A01N02-R", "A02N03-L"],
    }
    for split, names in phases.items():
        for seed, name in enumerate(names):
            actions = [(action, recording(action, seed, 20)) for action in (1, 2, 1)]
            rest = [recording(0, seed, 6)]
            parts = [part for _, own in actions for part in (*rest, own)]
            frames = np.concatenate(parts)
            lines = [f"{a},{26 * k + 6},{26 * k + 26},1\n" for k, (a, _) in enumerate(actions)]
            (folder / "skeletons" / f"{name}.txt").write_text(format_pku(frames))
            (folder / "labels" / f"{name}.txt").write_text("".join(lines))
        train, test = ", ".join(names[:2]), ", ".join(names[2:])
        (folder / split).write_text(f"Training videos:\n{train}\nValidation videos:\n{test}\n")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with raw files, where published probes are short."""
    monkeypatch.chdir(tmp_path)
    write_ntu(tmp_path / "nturgbd_skeletons")
    write_pku(tmp_path / "PKUMMD")
    for name, recipe in PROBES.items():
        drops = None if recipe.drops is None else ()
        monkeypatch.setitem(PROBES, name, replace(recipe, epochs=1, drops=drops))
    return tmp_path


def test_every_command_runs(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And every command that those list which it names, before a row is evaluated."""
    for line in commands():
        words = shlex.split(line)[1:]
        every = [words]
        if "--table" in words:
            number = words[-1]
            every += [command(number, name)[1:] for name in TABLES[number].rows]
        for each in every:
            capsys.readouterr()
            code = main(tiny(each))
            said = capsys.readouterr()
            assert code == 0, f"{shlex.join(each)}\n{said.err}"
            # the recordings are those that the paper of the preset trains on
            assert "was published on recordings" not in said.err, f"{shlex.join(each)}\n{said.err}"
    results = [json.loads(file.read_text()) for file in raw.glob("*/results/*.json")]
    figures = {name for result in results for name in result["metrics"]}
    named = set(re.findall(r"`((?:map|spatial|temporal|top1)[\w.]*)`", PAGE.read_text()))
    assert named <= figures
    assert len(named) == 8


def test_every_table_and_task_is_on_the_page() -> None:
    lines = [shlex.split(line) for line in commands()]
    assert {words[-1] for words in lines if "--table" in words} == set(TABLES)
    assert {words[2] for words in lines if words[1] == "evaluate"} == set(EVALUATIONS)
    solvers = {words[words.index("--solver") + 1] for words in lines if "--solver" in words}
    assert solvers == set(PROBES) - {"cmd"}
    trained = {words[words.index("--preset") + 1] for words in lines if "--preset" in words}
    published = {name for name, about in PRESETS.items() if about.published}
    assert published <= trained
