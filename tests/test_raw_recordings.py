"""The command evaluates encoders trained on normalised recordings on raw ones, as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.cli import main
from pcm3.data.store import Store
from pcm3.evaluation.features import dataset_for, extract_features, load_for
from pcm3.evaluation.tasks.detection.recipes import RECIPES
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.hub import load_encoder, save_encoder
from pcm3.report.page import write_report

Capture = pytest.CaptureFixture[str]
TINY = {
    "isc": [
        *("--preset", "small", "--model.hidden", "8", "--model.layers", "1"),
        *("--model.decoder-hidden", "8", "--model.queue-size", "16"),
    ],
    "sgn": ["--preset", "small-mamp", "--model.width", "8", "--model.depth", "1"],
}
TRAIN = ["--train.epochs", "1", "--train.batch-size", "4", "--train.knn-every", "0"]


def people(action: int, length: int, seed: int) -> NDArray[np.float64]:
    """Two bodies (T, 2, 25, 3) in metres, one of whom moves its joints by a sine."""
    random = np.random.default_rng(seed)
    body = np.random.default_rng(0).normal(0, 0.4, (25, 3)) + np.array([0.2, 0.1, 3])
    swing = np.sin(np.arange(length) / 5)[:, None] * ((np.arange(25) % 3) == action)
    frames = np.stack([body + swing[:, :, None], np.tile(body + 0.8, (length, 1, 1))], axis=1)
    return frames + random.normal(0, 0.01, frames.shape)


def write_ntu(folder: Path) -> None:
    """Two actions of three subjects, of whom the last tests; ``.skeleton`` files."""
    folder.mkdir()
    for subject in (1, 2, 3):
        for action in (1, 2):
            lines = ["40"]
            for frame in people(action, 40, 10 * subject + action):
                lines.append("2")
                for body, joints in enumerate(frame):
                    lines += [f"7205759403793110{body} 0 1 1 0 1 0 0.02 -0.05 2", "25"]
                    lines += [f"{x:.4f} {y:.4f} {z:.4f}" + " 0" * 8 + " 2" for x, y, z in joints]
            name = f"S001C001P{subject:03}R001A{action:03}.skeleton"
            (folder / name).write_text("\n".join(lines) + "\n")


def write_pku(folder: Path, names: list[str], length: int) -> None:
    """Videos of three actions each; skeletons, labels and, of Phase I, the split."""
    for kind in ("skeletons", "labels"):
        (folder / kind).mkdir(parents=True)
    for number, name in enumerate(names):
        frames, lines = people(0, length, number), []
        for place, action in enumerate((1, 2, 1)):
            start, end = place * length // 3 + 10, (place + 1) * length // 3
            frames[start:end] = people(action, end - start, 100 + number)
            lines.append(f"{action},{start},{end},2\n")
        rows = [" ".join(f"{value:.6f}" for value in frame.ravel()) for frame in frames]
        (folder / "skeletons" / f"{name}.txt").write_text("\n".join(rows) + "\n")
        (folder / "labels" / f"{name}.txt").write_text("".join(lines))
    if names[0][0] != "A":
        train, test = ", ".join(names[:-1]), names[-1]
        split = f"Training videos:\n{train}\nValidataion videos:\n{test}\n"
        (folder / "cross-subject.txt").write_text(split)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw recordings, stores of them, and a run on NTU RGB+D by either recipe."""
    folder = tmp_path_factory.mktemp("raw")
    write_ntu(folder / "ntu")
    write_pku(folder / "pku1", ["0002-L", "0003-M", "0005-R", "0006-L"], 150)
    write_pku(folder / "pku2", ["A01N01-L", "A02N04-M", "A01N02-L", "A02N03-R"], 990)
    for recipe, tiny in TINY.items():
        store, run = str(folder / recipe), str(folder / f"run-{recipe}")
        assert main(["prepare", "ntu", f"{folder}/ntu", store, "--normalization", recipe]) == 0
        pretrain = ["pretrain", *tiny, *TRAIN, "--protocol", "xsub", "--data", store, "--out", run]
        assert main(pretrain) == 0
    raw = ["--normalization", "none"]
    untrimmed = ["prepare", "pku", f"{folder}/pku1", f"{folder}/untrimmed", "--untrimmed", *raw]
    assert main(untrimmed) == 0
    assert main(["prepare", "pku", f"{folder}/pku2", f"{folder}/actions", *raw]) == 0
    return folder


def evaluate(task: str, folder: Path, run: str, store: str, *more: str) -> list[str]:
    where = ["--run", f"{folder}/{run}", "--data", f"{folder}/{store}", "--protocol", "xsub"]
    return ["evaluate", task, *where, *more]


def refused(capsys: Capture, arguments: list[str]) -> None:
    """The command fails, and names the option that would allow it."""
    capsys.readouterr()
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert "--allow-normalization" in line
    assert "'none'" in line


def allowed(capsys: Capture, arguments: list[str]) -> tuple[dict[str, Any], str]:
    """What the command says in JSON, and that it says what was allowed."""
    capsys.readouterr()
    assert main([*arguments, "--allow-normalization", "--json"]) == 0
    shown = capsys.readouterr()
    result: dict[str, Any] = json.loads(shown.out.splitlines()[-1])
    assert result["allow_normalization"] is True
    note = next(each for each in result["notes"] if "'none'" in each)
    assert f"pcm3: note: {note}" in shown.err
    return result, note


@pytest.mark.parametrize("recipe", RECIPES)
def test_detection(folder: Path, capsys: Capture, recipe: str) -> None:
    command = evaluate("detection", folder, "run-isc", "untrimmed", "--recipe", recipe)
    refused(capsys, command)
    result, note = allowed(capsys, command)
    assert "'isc'" in note
    named = "" if recipe == "default" else f"_recipe-{recipe}"
    file = folder / f"run-isc/results/detection{named}_allow_normalization_untrimmed_xsub.json"
    kept = json.loads(file.read_text())
    assert kept["allow_normalization"] is True
    assert note in kept["notes"]
    assert kept["metrics"] == result["metrics"]
    assert kept["details"]["recipe"]["recipe"] == recipe
    for overlap in (0.1, 0.3, 0.5):
        for name in ("map_action_voc", "map_action_published", "map_video_published"):
            assert 0 <= result["metrics"][f"{name}_{overlap}"] <= 1
    (video,) = kept["details"]["videos"]
    assert (video["name"], video["frames"]) == ("0006-L", 150)


@pytest.mark.parametrize("task", ["linear", "finetune"])
def test_transfer(folder: Path, capsys: Capture, task: str) -> None:
    epochs = ["--epochs", "1"] if task == "finetune" else []
    command = evaluate(task, folder, "run-sgn", "actions", *epochs)
    refused(capsys, command)
    result, note = allowed(capsys, command)
    assert "'sgn'" in note
    assert 0 <= result["metrics"]["top1"] <= 1


def test_features(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    """Those of the first 300 frames, computed as if the store were the encoder's own."""
    run, data = f"{folder}/run-sgn", f"{folder}/actions"
    command = ["features", "--run", run, "--data", data, "--out", f"{tmp_path}/features.npz"]
    refused(capsys, command)
    assert not (tmp_path / "features.npz").exists()
    allowed(capsys, command)
    store = Store(data)
    assert store.lengths.max() > 300
    pretrained = load_encoder(run)._replace(normalization=None)
    features = extract_features(pretrained, dataset_for(pretrained, store)).values
    with np.load(tmp_path / "features.npz") as written:
        np.testing.assert_array_equal(written["features"], features)


def test_every_task(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results with and without the option are kept apart."""
    some = {name: TASKS[name] for name in ("linear", "knn", "detection")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", some)
    command = evaluate("all", folder, "run-sgn", "actions")
    refused(capsys, command)
    assert main([*command, "--allow-normalization"]) == 0
    said = capsys.readouterr().out
    assert said.count("'none'") == 2
    results = folder / "run-sgn" / "results"
    kept = results / "knn_allow_normalization_actions_xsub.json"
    assert kept.is_file()
    assert not (results / "knn_actions_xsub.json").exists()
    kept.write_text(kept.read_text().replace('"top1": ', '"top1": 0.123, "once": '))
    assert main([*command, "--allow-normalization"]) == 0
    assert "12.3%" in capsys.readouterr().out
    refused(capsys, command)
    # where nothing is to be allowed, the result is that without the option
    assert main([*evaluate("linear", folder, "run-sgn", "sgn"), "--allow-normalization"]) == 0
    own = json.loads((results / "linear_sgn_xsub.json").read_text())
    assert own["allow_normalization"] is False
    assert not any("normalization" in note for note in own["notes"])


def test_the_report_says_so(folder: Path, tmp_path: Path) -> None:
    knn = evaluate("knn", folder, "run-isc", "actions")
    assert main([*knn, "--allow-normalization"]) == 0
    report = write_report([folder / "run-isc"], tmp_path)
    rows = {row.how for row in report.rows if row.task == "knn"}
    assert rows == {"allow_normalization True"}
    assert "'isc', these have 'none'" in report.table.read_text()


def test_an_encoder_of_unknown_normalization_needs_no_option(folder: Path, tmp_path: Path) -> None:
    store, file = Store(folder / "actions"), tmp_path / "encoder.safetensors"
    pretrained = load_encoder(folder / "run-isc")
    for normalization, allow in ((None, False), ("none", False), ("isc", True)):
        save_encoder(file, pretrained._replace(normalization=normalization))
        loaded, notes = load_for(file, store, allow)
        assert bool(notes) == allow
        assert loaded.normalization == (None if normalization is None else "none")
    with pytest.raises(ValueError, match="--allow-normalization"):
        load_for(file, store)
