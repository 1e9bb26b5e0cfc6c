"""The demo on a data set and a model that are smaller still."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pcm3.cli import main
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.hub import Pretrained, load_encoder, save_encoder
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.skeleton import COMMON15

MODEL = PCM3Settings(
    hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=16, pool="mean"
)


def test_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = partial(generate, sequences=48, classes=3, subjects=4, frames=(10, 20))
    small = RunSettings(MODEL, TrainSettings(batch_size=4, accelerator="cpu"))
    monkeypatch.setattr("pcm3.demo.generate", few)
    monkeypatch.setattr("pcm3.demo.get_preset", lambda name: {"small": small}[name])
    encoder, file = MODEL.build_encoder(COMMON15, 2), str(tmp_path / "shipped.safetensors")
    save_encoder(file, Pretrained(encoder, COMMON15, "joint", 16, "body"))
    monkeypatch.setattr("pcm3.demo.PRETRAINED", file)
    monkeypatch.setattr("pcm3.demo.load_pretrained", lambda: load_encoder(file))
    assert main(["demo", "--epochs", "0", "--out", str(tmp_path / "none")]) == 2
    assert "expected epochs >= 1, got 0" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    command = ["demo", "--out", str(tmp_path / "demo"), "--epochs", "1", "--seed", "3", "--json"]
    assert main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    result = json.loads(shown[-1])["metrics"]
    names = ["shipped with pcm3", "untrained encoder", "PCM3", "shipped, then PCM3"]
    assert list(result) == names
    answers = [line for line in shown if "it is: " in line]
    assert 4 <= len(answers) <= 6
    for scores in result.values():
        assert set(scores) == {"linear", "knn"}
        assert all(0 <= score <= 1 for score in scores.values())
    assert any(line.startswith("After 1 epochs") for line in shown)
    table = next(line for line in shown if "untrained encoder" in line)
    assert f"{result['untrained encoder']['linear']:.1%}" in table
    for name in ("loss-curves.png", "masked-prediction.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")
    configs = {
        name: Run(tmp_path / "demo" / name).load_config()
        for name in ("untrained-encoder", "pcm3", "shipped-then-pcm3")
    }
    assert configs["untrained-encoder"].train.epochs == 0
    continued = configs["shipped-then-pcm3"]
    assert continued.any_layout
    assert continued.model == replace(MODEL, queue_size=1024, crop_scale=(0.8, 1.0), shear=0.2)
    assert Run(tmp_path / "demo" / "shipped-then-pcm3").settings()["start"] == Path(file).name
    assert configs["pcm3"].train == replace(
        small.train, epochs=1, drop_epoch=1, seed=3, knn_every=0
    )
    assert len(Run(tmp_path / "demo" / "pcm3").read_metrics()) == 1

    # Again, nothing is made anew.
    store, run = Store(tmp_path / "demo" / "store"), Run(tmp_path / "demo" / "pcm3")
    times = [each.stat().st_mtime_ns for each in (store.path / "meta.json", run.checkpoint)]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"] == result
    assert times == [each.stat().st_mtime_ns for each in (store.path / "meta.json", run.checkpoint)]
