"""The examples do what they say."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.distributed.run import get_args_parser

from pcm3 import NTU25
from pcm3.cli import main
from pcm3.data import generate, prepare
from pcm3.data.synthetic import synthetic_sequences
from pcm3.ema import MomentumTwin
from pcm3.encoders import GRUEncoder, STGCNEncoder
from pcm3.hub import Pretrained, save_encoder

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_borrowed_parts_learn() -> None:
    losses = load("borrow_parts").main(epochs=4)
    assert losses == sorted(losses, reverse=True)


def test_own_skeleton_gives_features(capsys: pytest.CaptureFixture[str]) -> None:
    features = load("own_skeleton").main()
    assert features.shape == (4, 64)
    assert torch.isfinite(features).all()
    assert "left_arm   left_elbow, left_hand" in capsys.readouterr().out


def test_live_names_actions_far_above_chance(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("live").main() > 0.4  # of six classes
    output = capsys.readouterr().out
    assert re.search(r"^ {2}1.0 s  \w[\w ]+\(it is: [\w ]+\)$", output, re.MULTILINE)
    assert re.search(r"^\d+ frames per second; the camera gives 30$", output, re.MULTILINE)


def test_live_with_recordings_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = load("live")
    store = generate(tmp_path / "store", sequences=40, classes=4, views=1, frames=(30, 60))
    encoder = GRUEncoder(NTU25, persons=1, hidden=32, pool="mean")
    save_encoder(tmp_path / "joint", Pretrained(encoder, NTU25, "joint", 64, "center"))
    recording = next(iter(synthetic_sequences(sequences=1, views=1, frames=(90, 90))))
    np.save(tmp_path / "one.npy", recording.frames[:, 0])
    np.save(tmp_path / "several.npy", recording.frames[:80])
    found = [
        live.own(str(store.path), str(tmp_path / "joint"), str(tmp_path / name))
        for name in ("one.npy", "several.npy")
    ]
    assert found[0][:80] == found[1]
    assert len(found[0]) == 90
    said = re.findall(r"^ {2}([\d.]+) s  \w[\w ]+$", capsys.readouterr().out, re.MULTILINE)
    assert said == ["1.0", "2.0", "3.0", "1.0", "2.0", "2.7"]
    (tmp_path / "labels.csv").write_text("file,label\none.npy,here\nseveral.npy,other\n")
    prepare(tmp_path, tmp_path / "both", format="folder", skeleton="ntu25", workers=1)
    named = live.own(f"{tmp_path}/both", f"{tmp_path}/joint", f"{tmp_path}/one.npy")
    assert named == [1] * 90
    assert "one.npy is in the store: it is compared with all others" in capsys.readouterr().out
    save_encoder(tmp_path / "motion", Pretrained(encoder, NTU25, "motion", 64, "center"))
    with pytest.raises(SystemExit, match=r"run on joints .*, got motion, center"):
        live.own(str(store.path), str(tmp_path / "motion"), str(tmp_path / "one.npy"))
    np.save(tmp_path / "flat.npy", np.zeros((5, 3)))
    graph = STGCNEncoder(NTU25, persons=1, channels=4, layers=(1,), out_features=8)
    save_encoder(tmp_path / "graph", Pretrained(graph, NTU25, "joint", 64, "center"))
    for run, recording, said in (
        ("graph", "one.npy", "with a GRU encoder, .*, got a STGCNEncoder"),
        ("none", "one.npy", "live.py: .*none"),
        ("joint", "none.npy", "live.py: .*none.npy"),
        ("joint", "flat.npy", r"live.py: expected frames \(T, B, V=25, C\)"),
    ):
        with pytest.raises(SystemExit, match=said):
            live.own(str(store.path), str(tmp_path / run), str(tmp_path / recording))


def run_script(name: str, *options: str) -> str:
    """What an example prints as a program of its own."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_autoencoder_restores_better_than_naive_fills() -> None:
    errors = load("autoencoder").main(epochs=25)
    ours = errors.pop("the autoencoder")
    assert len(errors) == 2
    assert ours < 0.9 * min(errors.values())


def test_straight_lines_are_straight() -> None:
    """The naive fill is no strawman: it is exact where motion is steady, and holds the ends."""
    clips = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(2, 3, 6, 2, 1)
    hidden = torch.zeros(2, 6, 2, 1, dtype=torch.bool)
    hidden[0, 2:5, 1] = True
    hidden[1, :2, 0] = hidden[1, 5:, 0] = True
    filled = load("autoencoder").interpolate(clips * ~hidden[:, None], hidden)
    assert torch.equal(filled[0], clips[0])
    assert filled[1, 0, :, 0, 0].tolist() == [2, 2, 2, 3, 4, 4]


def test_detection_finds_actions_in_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    result = load("detection").main(epochs=20)
    assert result["map_action_voc_0.5"] > 0.35
    lines = capsys.readouterr().out.splitlines()
    interval = re.compile(r"  [a-z ]+ +([\d.]+) to +([\d.]+) s  found +([\d.]+) to +([\d.]+) s, .+")
    found = [[float(each) for each in m.groups()] for m in map(interval.fullmatch, lines) if m]
    assert len(found) >= 8
    assert all(start < last and first < end for first, last, start, end in found)


def test_processes_end_the_same() -> None:
    lines = run_script("several_processes.py").splitlines()
    assert lines[-1] == "weights and queue are the same in both"
    first, second = (
        dict(part.rsplit(" ", 1) for part in line.split(", ")) for line in lines[-3:-1]
    )
    assert [first[name] == second[name] for name in first] == [False, False, True, True]


def test_lightning_moves_key_encoder_and_queue_once_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pytorch_lightning", reason="pip install pytorch-lightning")
    moved: list[MomentumTwin] = []
    update = MomentumTwin.update
    monkeypatch.setattr(
        MomentumTwin, "update", lambda twin, source: moved.append(twin) or update(twin, source)
    )
    module = load("with_lightning").main(epochs=4)
    steps = 4 * 5
    assert module.trainer.global_step == steps
    assert moved.count(module.model.key_encoder) == steps
    assert int(module.model.queue.position) == steps * 32
    assert module.errors[-1] < 0.7 * module.errors[0]

    moved.clear()
    module = load("with_lightning").main(epochs=1, accumulate_grad_batches=5)
    assert module.trainer.global_step == moved.count(module.model.key_encoder) == 1
    assert int(module.model.queue.position) == 5 * 32


def test_lightly_learns_which_clips_are_the_same() -> None:
    pytest.importorskip("lightly.loss", reason="pip install lightly, which needs torchvision")
    shares = load("with_lightly").main(epochs=10)
    assert shares[0] < 0.15
    assert shares[-1] > 2 * shares[0]


@pytest.mark.parametrize("script", sorted(path.name for path in (EXAMPLES / "launch").iterdir()))
def test_launch_scripts_hand_pcm3_options_that_it_knows(
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The launchers stand in here for ones that need GPUs: they say what they are to start."""
    for name in ("torchrun", "srun"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", str(EXAMPLES / "launch" / script), "store", "run", "--dry-run", "--json"],
        env=os.environ | {"PATH": path, "HEAD": "localhost"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    launcher, *words = done.stdout.splitlines()
    if launcher == "torchrun":
        told = get_args_parser().parse_args(words)
        assert told.no_python
        assert told.nproc_per_node == "gpu"
        words = [told.training_script, *told.training_script_args]
    assert words[0] == "pcm3"
    monkeypatch.chdir(tmp_path)
    generate(tmp_path / "store", sequences=288, subjects=2, frames=(5, 9))
    small = ["--model.hidden", "8", "--model.queue-size", "64", "--model.decoder-hidden", "8"]
    assert main([*words[1:], *small]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["command"] == "pretrain"


def test_report_from_python_holds_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = load("pretrain_probe_report").main(tmp_path, epochs=1)
    output = capsys.readouterr().out
    assert f"the page with the pictures: {report.page}" in output
    assert report.page.read_text().count("<svg") + report.page.read_text().count("<img") >= 2
    for run in ("untrained", "pcm3"):
        for task in ("linear", "knn"):
            (file,) = (tmp_path / run / "results").glob(f"{task}*.json")
            result = json.loads(file.read_text())
            top1 = result["metrics"]["top1"]
            assert top1 > 0.25  # of twelve classes
            how = r" \(solver logistic\)" if task == "linear" else ""
            assert re.search(rf"\| {task}{how} \| top1 \|.* {top1:.1%} ", output)


def test_own_encoder_learns(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = load("own_encoder").main(epochs=6)
    assert "frames (4, 16, 64), features (4, 64)" in capsys.readouterr().out
    assert after[0] < 0.8 * before[0]  # millimetres
    assert min(before[1], after[1]) > 0.25  # of twelve classes


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f'load("{file.stem}")' in tested or f'run_script("{file.name}"' in tested
