"""Training that begins with the weights of an encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pcm3.cli import main
from pcm3.data import SkeletonDataset, generate
from pcm3.data.store import Store
from pcm3.hub import load_encoder
from pcm3.methods.catalog import RunSettings
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.methods.simclr import SimCLRSettings
from pcm3.runs.folder import Run
from pcm3.training.pretrain import pretrain
from pcm3.training.start import begin

SIZES = {"hidden": 4, "layers": 1, "frames": 16, "embedding": 4, "queue_size": 16, "pool": "mean"}
MODEL = PCM3Settings(decoder_hidden=4, **SIZES)
TRAIN = TrainSettings(epochs=1, batch_size=4, lr=0.01, accelerator="cpu", optimizer="adamw")
CONFIG = RunSettings(MODEL, TRAIN, "xsub")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return generate(tmp_path_factory.mktemp("start") / "store", sequences=16, classes=2, subjects=4)


@pytest.fixture(scope="module")
def file(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a trained encoder, away from its run."""
    run = tmp_path_factory.mktemp("run")
    pretrain(CONFIG, store, run / "run", quiet=True)
    return (run / "run" / "encoder.safetensors").rename(run / "mine.safetensors")


def test_the_encoder_and_its_twin_begin_with_the_weights(store: Store, file: Path) -> None:
    model: Any
    model, origin = begin(CONFIG, SkeletonDataset(store), [{"protocol": "all"}], file)
    trained = load_encoder(file).encoder.state_dict()
    for encoder in (model.encoder, model.key_encoder.module):
        assert encoder.state_dict().keys() == trained.keys()
        for name, weight in encoder.state_dict().items():
            assert torch.equal(weight, trained[name]), name
    assert model.training
    assert model.encoder.training
    assert model.settings == MODEL
    assert origin == {"seen": None, "start": "mine.safetensors"}  # nobody knows what it saw


def test_another_method_goes_on_with_the_encoder(store: Store, file: Path, tmp_path: Path) -> None:
    sizes = {name: SIZES[name] for name in ("hidden", "layers", "frames", "pool")}
    other = replace(CONFIG, model=SimCLRSettings(**sizes))
    pretrain(other, store, tmp_path / "run", start=file, quiet=True)
    assert Run(tmp_path / "run").settings()["start"] == "mine.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, model=replace(MODEL, hidden=8)), "another encoder.*there.*here"),
        (lambda c: replace(c, model=replace(MODEL, layers=2)), "another encoder.*absent there"),
        (lambda c: replace(c, model=replace(MODEL, stream="bone")), "stream is 'joint' there"),
        (lambda c: replace(c, model=MAMPSettings()), "GRUEncoder there"),
        (lambda c: replace(c, any_layout=True), "normalization is 'center' there"),
    ],
)
def test_an_encoder_that_does_not_fit(
    store: Store,
    file: Path,
    tmp_path: Path,
    change: Callable[[RunSettings], RunSettings],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain(change(CONFIG), store, tmp_path / "run", start=file, quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_command(
    store: Store, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--model.hidden", "4", "--model.layers", "1", "--model.frames", "16"]
    rest = ["--data", str(store.path), "--train.epochs", "1", "--train.batch-size", "4"]
    start = ["pretrain", "--from", str(file), *rest]
    assert main([*start, *sizes, "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["run"] == str(tmp_path / "run")
    assert main([*start, "--out", str(tmp_path / "other")]) == 2
    assert "another encoder" in capsys.readouterr().err
    assert main([*start, "--phase", "post-distill", "--out", str(tmp_path / "other")]) == 2
    assert "--from RUN" in capsys.readouterr().err
    for phase in ("pretrain", "post-distill"):
        missing = ["pretrain", "--from", "nowhere", "--phase", phase, *rest]
        assert main([*missing, "--out", str(tmp_path / "other")]) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in ("run folder", "encoder's file", "pretrained"))
