"""Training on motion that is generated meanwhile: each epoch is new, and a stopped run goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pcm3.cli import main
from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.data.synthetic.motion import SyntheticMotion
from pcm3.hub import load_encoder
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.runs.seen import find_past, find_seen
from pcm3.skeleton import COMMON15
from pcm3.training.interrupts import Interrupted
from pcm3.training.pretrain import plan, pretrain
from pcm3.training.trainer import fit

MODEL = PCM3Settings(
    hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=16, pool="mean"
)
TRAIN = TrainSettings(epochs=3, batch_size=4, lr=0.01, accelerator="cpu", optimizer="adamw")
CONFIG = RunSettings(MODEL, TRAIN, "xsub")


class Watched(SyntheticMotion):
    """Notes what is read, and may signal its own process while it reads a batch."""

    def __init__(self, stop_at: int = 0) -> None:
        super().__init__(12, frames=(10, 30))
        self.left, self.read = stop_at, list[int]()

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        self.read += indices
        return super().__getitems__(indices)


def train(data: SyntheticMotion, out: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model = MODEL.build(COMMON15, 1)
    fit(model, data, TRAIN, out, quiet=True)
    return model.state_dict()


def test_each_epoch_has_new_sequences(tmp_path: Path) -> None:
    data = Watched()
    train(data, tmp_path)
    assert sorted(data.read) == list(range(36))
    assert {number // 12 for number in data.read[12:24]} == {1}


@pytest.mark.parametrize("at", [2, 3, 5])
def test_a_stopped_run_goes_on_with_the_sequences_that_were_due(tmp_path: Path, at: int) -> None:
    data, rest = Watched(), Watched()
    whole = train(data, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(Watched(stop_at=at), tmp_path / "run")
    again = train(rest, tmp_path / "run", seed=9)
    assert rest.read == data.read[4 * at :]
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


def test_workers_generate_the_same(tmp_path: Path) -> None:
    data = SyntheticMotion(12, frames=(10, 30))
    here = train(data, tmp_path / "here")
    torch.manual_seed(0)
    model = MODEL.build(COMMON15, 1)
    fit(model, data, replace(TRAIN, workers=2), tmp_path / "there", quiet=True)
    for name, value in here.items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_pairs_are_for_methods_that_take_them(tmp_path: Path) -> None:
    pairs, single = (SyntheticMotion(8, frames=(10, 30), pairs=pairs) for pairs in (True, False))
    model = replace(MODEL, pairs=True).build(COMMON15, 1)
    assert fit(model, pairs, TRAIN, quiet=True)[-1]["step"] == 6
    assert int(model.queue.position) == 8  # 24 keys, in a queue of 16
    for wanted, got in ((model, single), (MODEL.build(COMMON15, 1), pairs)):
        with pytest.raises(ValueError, match="pairs"):
            fit(wanted, got, TRAIN, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_run_refuses_motion_of_another_seed(tmp_path: Path) -> None:
    data = SyntheticMotion(12, frames=(20, 20))
    pretrain(CONFIG, data, tmp_path / "run", quiet=True)
    pretrain(CONFIG, SyntheticMotion(12, frames=(20, 20)), tmp_path / "run", quiet=True)
    other = SyntheticMotion(12, frames=(20, 20), seed=1)
    with pytest.raises(ValueError, match="checksum"):
        pretrain(CONFIG, other, tmp_path / "run", quiet=True)


def test_a_run_on_motion_saw_no_recording(tmp_path: Path) -> None:
    config = replace(CONFIG, train=replace(TRAIN, knn_every=1))
    records = pretrain(config, SyntheticMotion(12), tmp_path / "run", quiet=True)
    assert "knn" not in records[-1]
    store = generate(tmp_path / "store", sequences=12, classes=3, subjects=4, skeleton=COMMON15)
    run = Run(tmp_path / "run")
    assert find_seen(find_past(run.path), store).count_in(range(12)) == 0
    assert run.settings()["seen"] == []
    assert load_encoder(tmp_path / "run").normalization == "center"
    # training goes on with recordings, from these weights
    pretrain(CONFIG, store, tmp_path / "next", start=tmp_path / "run", quiet=True)
    assert find_seen(find_past(tmp_path / "next"), store).count_in(range(12)) > 0


def test_a_plan_generates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SyntheticMotion(1000)
    monkeypatch.setattr(SyntheticMotion, "batch", None)
    planned = plan(CONFIG, data, tmp_path / "run")
    assert planned["sequences"] == 1000
    assert planned["steps"] == 750
    pairs = replace(CONFIG, model=replace(MODEL, pairs=True))
    planned_pairs = plan(pairs, SyntheticMotion(1000, pairs=True), tmp_path / "run")
    assert planned_pairs["bytes"] == pytest.approx(planned["bytes"], rel=0.1)  # as many queries


def test_new_items_cannot_be_kept_on_the_device() -> None:
    with pytest.raises(ValueError, match=r"cache auto or none.*device"):
        fit(MODEL.build(COMMON15, 1), SyntheticMotion(12), replace(TRAIN, cache="device"))


OPTIONS = [
    *("--train.epochs", "1", "--train.batch-size", "4", "--motion.frames", "10", "30"),
    *("--model.hidden", "4", "--model.frames", "16", "--model.queue-size", "16"),
]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        [
            *("pretrain", "--data", "synthetic", "--motion.sequences", "8", "--motion.seed", "5"),
            *("--motion.skeleton", "kinect20", "--motion.persons", "2", "--model.pairs"),
            *OPTIONS,
            *("--out", str(tmp_path / "run"), "--json"),
        ]
    )
    assert code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["step"] == 2
    encoder = load_encoder(tmp_path / "run")
    assert encoder.skeleton.name == "kinect20"
    assert encoder.encoder.persons == 2


def test_the_command_refuses_what_is_unclear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", "run", *OPTIONS[:4]]
    generate(tmp_path / "store", sequences=8, classes=2, subjects=2)
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "--data", "store", "--motion.seed", "1", *out]) == 2
    assert "--data synthetic" in capsys.readouterr().err
    assert main(["pretrain", "--data", "store", "--model.pairs", *out]) == 2
    assert "--model.pairs" in capsys.readouterr().err
    assert main(["pretrain", "--data", "synthetic", "store", *out]) == 2
    assert "alone" in capsys.readouterr().err
    (tmp_path / "synthetic").mkdir()
    assert main(["pretrain", "--data", "synthetic", *out]) == 2
    assert "folder synthetic" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_motion_in_a_store_is_trained_on_like_recordings(tmp_path: Path) -> None:
    store: Store = SyntheticMotion(12, frames=(10, 30)).save(tmp_path / "store")
    records = pretrain(replace(CONFIG, protocol="all"), store, tmp_path / "run", quiet=True)
    assert records[-1]["step"] == 9
    assert len(SkeletonDataset(store)) == 12
