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
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run

MODEL = PCM3Settings(
    hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=16, pool="mean"
)


def test_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = partial(generate, sequences=24, classes=3, subjects=4, frames=(10, 20))
    small = RunSettings(MODEL, TrainSettings(batch_size=4, accelerator="cpu"))
    monkeypatch.setattr("pcm3.demo.generate", few)
    monkeypatch.setattr("pcm3.demo.get_preset", lambda name: {"small": small}[name])
    assert main(["demo", "--epochs", "0", "--out", str(tmp_path / "none")]) == 2
    assert "expected epochs >= 1, got 0" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    command = ["demo", "--out", str(tmp_path / "demo"), "--epochs", "1", "--seed", "3", "--json"]
    assert main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    result = json.loads(shown[-1])["metrics"]
    assert list(result) == ["random encoder", "contrastive only", "PCM3"]
    for scores in result.values():
        assert set(scores) == {"linear", "knn"}
        assert all(0 <= score <= 1 for score in scores.values())
    assert any(line.startswith("After 1 epochs") for line in shown)
    table = next(line for line in shown if "contrastive only" in line)
    assert f"{result['contrastive only']['linear']:.1%}" in table
    for name in ("loss-curves.png", "masked-prediction.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")
    configs = {
        name: Run(tmp_path / "demo" / name).load_config()
        for name in ("random-encoder", "contrastive-only", "pcm3")
    }
    assert configs["random-encoder"].train.epochs == 0
    assert configs["contrastive-only"].model == replace(
        MODEL, queue_size=1024, positives=("intra", "inter"), mask_weight=0.0
    )
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
