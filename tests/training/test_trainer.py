"""The training loop: schedule, accumulation, stopping and going on, and what it leaves behind."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pcm3 import PCM3
from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.splits import split, validation_split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate, synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import Features, extract_features, extract_random_crops
from pcm3.evaluation.representation import alignment, effective_rank, normalized_std, uniformity
from pcm3.hub import Pretrained, load_encoder
from pcm3.methods import Views
from pcm3.methods.catalog import RunSettings
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import NO_EFFECT, TrainSettings
from pcm3.runs.folder import Run
from pcm3.schedules import learning_rate
from pcm3.skeleton import KINECT20, NTU25
from pcm3.training.interrupts import Interrupted
from pcm3.training.pretrain import pretrain
from pcm3.training.trainer import fit

MODEL = PCM3Settings(
    hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=16, pool="mean"
)
TRAIN = TrainSettings(epochs=3, batch_size=4, lr=0.01, accelerator="cpu", optimizer="adamw")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=12, classes=3, subjects=4, views=2, frames=(10, 30))


def new_model(seed: int = 0, **changes: Any) -> PCM3:
    torch.manual_seed(seed)
    return replace(MODEL, **changes).build(NTU25, persons=1)


class StopsItself(SkeletonDataset):
    """Signals its own process while it reads a given batch."""

    def __init__(self, store: Store, at: int, number: int = signal.SIGINT) -> None:
        super().__init__(store)
        self.left, self.number = at, number

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return super().__getitems__(indices)


def without_speed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "samples_per_second"} for record in records]


def state_of(model: PCM3) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal_states(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [1, 2, 3, 5, 6, 8])  # of nine steps, three an epoch
def test_a_stopped_run_ends_as_if_it_had_not_been(
    store: Store, tmp_path: Path, at: int, optimizer: Any
) -> None:
    config = replace(TRAIN, optimizer=optimizer)
    whole = new_model()
    wanted = fit(whole, SkeletonDataset(store), config, tmp_path / "whole", quiet=True)
    where = (
        f"after epoch {at // 3}, {at} steps" if at % 3 == 0 else f"in epoch {at // 3 + 1}, after"
    )
    with pytest.raises(Interrupted, match=f"stopped {where}"):
        fit(new_model(), StopsItself(store, at), config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
    assert len(Run(tmp_path / "run").read_metrics()) == at // 3
    # Another seed: everything comes from the checkpoint.
    again = new_model(seed=9)
    records = fit(again, SkeletonDataset(store), config, tmp_path / "run", quiet=True)
    assert_equal_states(state_of(again), state_of(whole))
    assert without_speed(records) == without_speed(wanted)
    assert Run(tmp_path / "run").read_metrics() == records
    assert [record["step"] for record in records] == [3, 6, 9]


@pytest.fixture(scope="module")
def without_kept(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[int, dict[str, Tensor]], dict[str, Tensor]]:
    """Of runs that keep no encoders: the weights after epochs 1 and 2, and at the end."""
    weights = {}
    for epoch in (1, 2):
        folder = tmp_path_factory.mktemp("stopped")
        with pytest.raises(Interrupted):
            fit(new_model(), StopsItself(store, 3 * epoch), TRAIN, folder, quiet=True)
        checkpoint = Run(folder).load_checkpoint()
        assert checkpoint is not None
        weights[epoch] = checkpoint["model"]
    alone = new_model()
    fit(alone, SkeletonDataset(store), TRAIN, quiet=True)
    return weights, state_of(alone)


@pytest.mark.parametrize("at", [1, 3, 4, 6, 8])  # of nine steps, three an epoch
def test_encoders_of_chosen_epochs_are_kept(
    store: Store,
    tmp_path: Path,
    at: int,
    without_kept: tuple[dict[int, dict[str, Tensor]], dict[str, Tensor]],
) -> None:
    """Those of a run that was stopped there, also where the run that keeps them was stopped."""
    config = replace(TRAIN, checkpoint_every=10, keep_epochs=(1, 2, 3))
    data = SkeletonDataset(store)
    with pytest.raises(Interrupted):
        fit(new_model(), StopsItself(store, at), config, tmp_path / "run", quiet=True)
    assert len([*(tmp_path / "run").glob("encoder-epoch*")]) == at // 3
    whole = new_model(seed=9)
    fit(whole, data, config, tmp_path / "run", quiet=True)
    weights, end = without_kept
    for epoch, wanted in weights.items():
        kept = load_encoder(Run(tmp_path / "run").kept_encoder(epoch)).encoder.state_dict()
        for name, weight in kept.items():
            assert torch.equal(weight, wanted[f"encoder.{name}"]), name
    last = Run(tmp_path / "run").kept_encoder(3).read_bytes()
    assert last == Run(tmp_path / "run").encoder.read_bytes()
    assert_equal_states(end, state_of(whole))  # keeping changes nothing


def test_what_is_kept_may_change_while_a_run_is_stopped(store: Store, tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(Interrupted):
        fit(new_model(), StopsItself(store, 6), TRAIN, tmp_path, quiet=True)
    later = replace(TRAIN, keep_epochs=(2, 3))
    run.kept_encoder(2).unlink(missing_ok=True)
    past = replace(TRAIN, keep_epochs=(1,))
    with pytest.raises(ValueError, match=r"keep_epochs.* epoch 2.* 1, "):
        fit(new_model(), SkeletonDataset(store), past, tmp_path, quiet=True)
    assert not run.kept_encoder(1).exists()
    fit(new_model(), SkeletonDataset(store), later, tmp_path, quiet=True)
    assert run.kept_encoder(2).exists()  # it stood exactly there
    assert run.kept_encoder(3).exists()
    fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    fit(new_model(), SkeletonDataset(store), later, tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"keep_epochs.* epoch 3.* 1, "):
        fit(new_model(), SkeletonDataset(store), past, tmp_path, quiet=True)


def test_an_encoder_is_kept_with_a_checkpoint(store: Store, tmp_path: Path) -> None:
    """So that a folder with one is a run of these settings, whatever ends the process."""
    config = replace(TRAIN, checkpoint_every=10, keep_epochs=(1,))

    class Killed(BaseException):
        """Nothing is saved on it."""

    class Dies(SkeletonDataset):
        batches = 0

        def __getitems__(self, indices: Sequence[int]) -> Batch:
            self.batches += 1
            if self.batches == 5:
                raise Killed
            return super().__getitems__(indices)

    with pytest.raises(Killed):
        fit(new_model(), Dies(store), config, tmp_path, quiet=True)
    checkpoint = Run(tmp_path).load_checkpoint()
    assert checkpoint is not None
    assert checkpoint["position"]["epoch"] == 1
    assert Run(tmp_path).kept_encoder(1).exists()
    with pytest.raises(ValueError, match=r"train\.lr is 0\.\d+ there and 0\.5 here"):
        fit(new_model(), SkeletonDataset(store), replace(config, lr=0.5), tmp_path, quiet=True)


def test_a_signal_in_the_last_step_finds_nothing_left_to_stop(store: Store, tmp_path: Path) -> None:
    records = fit(new_model(), StopsItself(store, 9), TRAIN, tmp_path, quiet=True)
    assert len(records) == 3
    assert (tmp_path / "encoder.safetensors").exists()


def test_a_termination_signal_stops_between_accumulated_steps(store: Store, tmp_path: Path) -> None:
    config = replace(TRAIN, batch_size=3, accumulate=2)
    whole = new_model()
    fit(whole, SkeletonDataset(store), config, quiet=True)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="after 6 steps"):  # the fifth begins an accumulation
        fit(new_model(), StopsItself(store, 5, signal.SIGTERM), config, tmp_path, quiet=True)
    assert signal.getsignal(signal.SIGTERM) is before
    again = new_model(seed=9)
    fit(again, SkeletonDataset(store), config, tmp_path, quiet=True)
    assert_equal_states(state_of(again), state_of(whole))


def test_a_run_that_died_goes_on_from_its_last_checkpoint(store: Store, tmp_path: Path) -> None:
    config = replace(TRAIN, checkpoint_every=2)
    whole = new_model()
    wanted = fit(whole, SkeletonDataset(store), config, quiet=True)

    class Dies(SkeletonDataset):
        batches = 0

        def __getitems__(self, indices: Sequence[int]) -> Batch:
            self.batches += 1
            if self.batches == 8:
                raise OSError("disk gone")
            return super().__getitems__(indices)

    with pytest.raises(OSError, match="disk gone"):
        fit(new_model(), Dies(store), config, tmp_path, quiet=True)
    again = new_model(seed=9)
    records = fit(again, SkeletonDataset(store), config, tmp_path, quiet=True)
    assert_equal_states(state_of(again), state_of(whole))
    assert without_speed(records) == without_speed(wanted)


def test_a_finished_run_is_not_trained_again(store: Store, tmp_path: Path) -> None:
    model = new_model()
    records = fit(model, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    again = new_model(seed=9)
    assert fit(again, SkeletonDataset(store), TRAIN, tmp_path, quiet=True) == records
    assert_equal_states(state_of(again), state_of(model))


def test_seed_decides_the_run(store: Store) -> None:
    def train(seed: int) -> dict[str, Tensor]:
        model = new_model()
        fit(model, SkeletonDataset(store), replace(TRAIN, epochs=1, seed=seed), quiet=True)
        return state_of(model)

    first = train(1)
    torch.manual_seed(123)
    assert_equal_states(first, train(1))
    assert not torch.equal(first["queue.anchors"], train(2)["queue.anchors"])


def test_every_epoch_takes_every_sequence_once_in_a_new_order(store: Store) -> None:
    class Remembers(SkeletonDataset):
        rows: list[list[int]]

        def __getitems__(self, indices: Sequence[int]) -> Batch:
            self.rows.append(list(indices))
            return super().__getitems__(indices)

    data = Remembers(store)
    data.rows = []
    fit(new_model(), data, replace(TRAIN, batch_size=5), quiet=True)
    assert [len(batch) for batch in data.rows] == [5] * 6  # twelve sequences, two left over
    epochs = [data.rows[at] + data.rows[at + 1] for at in (0, 2, 4)]
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


# --- optimisation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, {0: 1, 5.9: 1, 6: 0.1, 9.9: 0.1}),
        ({"warmup_epochs": 2.0}, {0: 0, 0.5: 0.25, 1.5: 0.75, 2: 1, 6: 0.1}),
        ({"schedule": "cosine"}, {0: 1, 2.5: (1 + math.sqrt(0.5)) / 2, 5: 0.5, 10: 0}),
        ({"schedule": "cosine", "warmup_epochs": 2.0}, {1: 0.5, 2: 1, 6: 0.5, 10: 0}),
        ({"schedule": "cosine", "min_lr": 0.01}, {0: 1, 5: 0.75, 10: 0.5}),
    ],
)
def test_learning_rate(settings: dict[str, Any], rates: dict[float, float]) -> None:
    config = TrainSettings(epochs=10, lr=0.02, drop_epoch=6, **settings)
    for epoch, factor in rates.items():
        assert learning_rate(config, epoch) == pytest.approx(0.02 * factor, abs=1e-12), epoch


def test_published_schedule_drops_once() -> None:
    rates = [learning_rate(TrainSettings(), epoch) for epoch in range(451)]
    assert rates[:351] == [0.02] * 351
    assert rates[351:] == pytest.approx([0.002] * 100)


def test_metrics_hold_rate_and_means_of_the_terms(store: Store, tmp_path: Path) -> None:
    model = new_model()
    outputs: list[Any] = []
    loss = model.loss

    def record(views: Views) -> Any:
        outputs.append(loss(views))
        return outputs[-1]

    model.loss = record
    config = replace(TRAIN, drop_epoch=2)
    records = fit(model, SkeletonDataset(store), config, tmp_path, quiet=True)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["lr"] for record in records] == pytest.approx([0.01, 0.01, 0.001])
    for at, figures in enumerate(records):
        steps = outputs[3 * at : 3 * at + 3]
        assert figures["total"] == pytest.approx(sum(float(o.total.detach()) for o in steps) / 3)
        for name in steps[0].terms:
            mean = sum(float(output.terms[name]) for output in steps) / 3
            assert figures[name] == pytest.approx(mean, rel=1e-5), name


def trained_with_its_views(
    data: SkeletonDataset, config: TrainSettings
) -> tuple[PCM3, list[Views]]:
    model, views = new_model(), []
    make = model.make_views

    def record(*inputs: Any) -> Views:
        views.append(make(*inputs))
        return views[-1]

    model.make_views = record
    fit(model, data, config, quiet=True)
    return model, views


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_accumulation_is_the_mean_of_the_batches_gradients(store: Store, clip_norm: float) -> None:
    config = replace(
        TRAIN, epochs=1, batch_size=6, accumulate=2, optimizer="sgd", clip_norm=clip_norm
    )
    model, views = trained_with_its_views(SkeletonDataset(store), config)
    assert len(views) == 2
    manual = new_model()
    manual.accumulate(2)
    for half in views:
        (manual.loss(half).total / 2).backward()
    trained = {name: p for name, p in manual.named_parameters() if p.requires_grad}
    norm = float(
        torch.stack([p.grad.norm() for p in trained.values() if p.grad is not None]).norm()
    )
    assert norm > 0.5
    shrink = min(1.0, clip_norm / norm) if clip_norm else 1.0
    for name, parameter in model.named_parameters():
        if name in trained:
            start, grad = trained[name].detach(), trained[name].grad
            assert grad is not None
            wanted = start - config.lr * (shrink * grad + config.weight_decay * start)
            torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-5, atol=1e-6, msg=name)


def test_sgd_follows_the_published_recipe(store: Store) -> None:
    config = replace(TRAIN, epochs=1, optimizer="sgd")
    model, views = trained_with_its_views(SkeletonDataset(store), config)
    manual = new_model()
    velocity: dict[str, Tensor] = {}
    for batch in views:
        manual.zero_grad()
        manual.loss(batch).total.backward()
        for name, parameter in manual.named_parameters():
            if parameter.grad is None:
                continue
            step = parameter.grad + 1e-4 * parameter.detach()
            velocity[name] = 0.9 * velocity[name] + step if name in velocity else step
            parameter.data -= 0.01 * velocity[name]
    for name, value in manual.named_parameters():
        wanted = model.get_parameter(name).detach()
        torch.testing.assert_close(value.detach(), wanted, rtol=1e-4, atol=1e-6, msg=name)


# --- the run folder -------------------------------------------------------------------------------


def test_the_encoder_that_was_trained_is_written(store: Store, tmp_path: Path) -> None:
    model = new_model(stream="bone")
    fit(model, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    assert (loaded.stream, loaded.frames, loaded.skeleton) == ("bone", 16, store.skeleton)
    assert_equal_states(dict(loaded.encoder.state_dict()), dict(model.encoder.state_dict()))


def test_no_epochs_write_the_untrained_encoder(store: Store, tmp_path: Path) -> None:
    model = new_model()
    before = copy.deepcopy(model.encoder.state_dict())
    config = replace(TRAIN, epochs=0, batch_size=1000)
    assert fit(model, SkeletonDataset(store), config, tmp_path, quiet=True) == []
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    assert_equal_states(dict(loaded.encoder.state_dict()), dict(before))


def test_nothing_is_written_without_a_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = new_model()
    before = state_of(model)
    assert model.fit(SkeletonDataset(store), epochs=1, batch_size=4, accelerator="cpu") is model
    assert not list(tmp_path.iterdir())
    assert not torch.equal(before["queue.anchors"], model.queue.anchors)


@pytest.mark.parametrize(("batch_size", "accumulate", "needed"), [(13, 1, 13), (5, 3, 15)])
def test_too_few_sequences(store: Store, batch_size: int, accumulate: int, needed: int) -> None:
    config = replace(TRAIN, batch_size=batch_size, accumulate=accumulate)
    with pytest.raises(ValueError, match=f" {needed} training sequences.* 12"):
        fit(new_model(), SkeletonDataset(store), config, quiet=True)


def test_data_of_another_order_or_stream_are_refused(store: Store) -> None:
    turned = NTU25.reordered(NTU25.joints[::-1])
    last = NTU25.joints[-1]
    message = rf"'ntu25' \(25 joints\).*joint 0 is '{last}', not 'spine_base'"
    with pytest.raises(ValueError, match=message):
        fit(new_model(), SkeletonDataset(store, skeleton=turned), TRAIN, quiet=True)
    with pytest.raises(ValueError, match=r"'joint'.*'bone'"):
        fit(new_model(stream="bone"), SkeletonDataset(store, stream="bone"), TRAIN, quiet=True)
    renamed = replace(NTU25, joints=tuple(f"marker_{joint}" for joint in NTU25.joints))
    with pytest.raises(ValueError, match=r"joint 0 is 'spine_base', not 'marker_spine_base'"):
        fit(MODEL.build(renamed, persons=1), SkeletonDataset(store), TRAIN, quiet=True)


def test_monitor_joins_the_metrics(store: Store) -> None:
    seen: list[int] = []

    def monitor(model: PCM3) -> dict[str, float]:
        seen.append(int(model.queue.position))
        return {"knn": float(len(seen))}

    config = replace(TRAIN, knn_every=2, epochs=4)
    records = fit(new_model(), SkeletonDataset(store), config, monitor=monitor, quiet=True)
    assert [record["epoch"] for record in records] == [0, 1, 2, 3, 4]
    assert [record.get("knn") for record in records] == [1, None, 2, None, 3]
    assert seen == [0, 24 % 16, 48 % 16]


def test_progress_is_plain_lines_on_standard_error(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    records = fit(new_model(), SkeletonDataset(store), TRAIN)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if line.startswith("pretrain: epoch ")]
    assert [line.split()[2] for line in lines] == ["1/3", "2/3", "3/3"]
    for line, record in zip(lines, records, strict=True):
        assert f"loss {record['total']:.4g}" in line
        assert len(line) <= 80


# --- pretrain: a configuration and a store --------------------------------------------------------

CONFIG = RunSettings(MODEL, TRAIN)
SMALL = replace(CONFIG, train=replace(TRAIN, epochs=1, batch_size=3))


def test_pretraining_sees_the_training_part_alone(store: Store, tmp_path: Path) -> None:
    records = pretrain(SMALL, store, tmp_path, quiet=True)
    training, _ = split(store, "xsub")
    torch.manual_seed(0)
    model = MODEL.build(store.skeleton, persons=1)
    wanted = fit(model, SkeletonDataset(store, training), SMALL.train, quiet=True)
    assert without_speed(records) == without_speed(wanted)
    assert Run(tmp_path).settings()["protocol"] == "xsub"
    written = RunSettings.from_json((tmp_path / "config.json").read_text())
    assert written == SMALL


def test_the_monitor_never_sees_test_sequences(store: Store, tmp_path: Path) -> None:
    config = replace(SMALL, train=replace(SMALL.train, knn_every=1, epochs=2))
    records = pretrain(config, store, tmp_path / "run", quiet=True)
    _, test = split(store, "xsub")
    spoiled = copy.copy(store)
    spoiled.labels = store.labels.copy()
    spoiled.labels[test] = 0
    again = pretrain(config, spoiled, tmp_path / "again", quiet=True)
    assert without_speed(records) == without_speed(again)
    assert all(0 <= record["knn"] <= 1 for record in records)
    assert all(0 <= record["linear"] <= 1 for record in records)


def test_the_monitor_measures_held_out_clips(store: Store, tmp_path: Path) -> None:
    config = replace(SMALL, train=replace(SMALL.train, knn_every=2, epochs=3))
    records = pretrain(config, store, tmp_path, quiet=True)
    names = ("feature_rank", "feature_std", "alignment", "uniformity")
    assert [[name in record for name in names] for record in records] == [
        [True] * 4,
        [False] * 4,
        [True] * 4,
        [False] * 4,
    ]
    # the last epoch is measured again by hand
    config = replace(config, train=replace(config.train, epochs=2))
    (*_, last) = pretrain(config, store, tmp_path / "again", quiet=True)
    _, held_out = validation_split(store, split(store, "xsub")[0], "xsub")
    clips = SkeletonDataset(store, held_out, max_frames=300)
    generator, encoder = torch.Generator().manual_seed(0), load_encoder(tmp_path / "again")
    first, second = (extract_random_crops(encoder, clips, generator).values for _ in range(2))
    assert last["feature_rank"] == pytest.approx(effective_rank(first), rel=1e-4)
    assert last["feature_std"] == pytest.approx(normalized_std(first), rel=1e-4)
    assert last["alignment"] == pytest.approx(alignment(first, second), rel=1e-3)
    assert last["uniformity"] == pytest.approx(uniformity(first), rel=1e-4)


def test_features_are_measured_once_before_training(store: Store, tmp_path: Path) -> None:
    few = replace(SMALL, train=replace(SMALL.train, knn_every=1, epochs=0))
    for _ in range(2):  # repeated, nothing is added
        (untrained,) = pretrain(few, store, tmp_path / "untrained", quiet=True)
    assert Run(tmp_path / "untrained").read_metrics() == [untrained]
    assert (untrained["epoch"], untrained["step"]) == (0, 0)
    more = replace(few, train=replace(few.train, epochs=2))
    for _ in range(2):
        first, *_, last = pretrain(more, store, tmp_path / "run", quiet=True)
        assert first == untrained
        assert last["epoch"] == 2
    _, held_out = validation_split(store, split(store, "xsub")[0], "xsub")
    clips = SkeletonDataset(store, held_out, max_frames=300)
    generator, encoder = torch.Generator().manual_seed(0), load_encoder(tmp_path / "untrained")
    features = extract_random_crops(encoder, clips, generator).values
    assert untrained["feature_rank"] == pytest.approx(effective_rank(features), rel=1e-4)


@pytest.mark.parametrize(
    ("config", "difference"),
    [
        (replace(SMALL, model=replace(MODEL, hidden=5)), "model.hidden is 4 there and 5 here"),
        (replace(SMALL, train=replace(SMALL.train, lr=0.5)), "train.lr is 0.01 there and 0.5 here"),
        (replace(SMALL, protocol="xview"), "protocol is 'xsub' there and 'xview' here"),
    ],
    ids=["model", "train", "protocol"],
)
def test_a_run_with_other_settings_is_not_continued(
    store: Store, tmp_path: Path, config: RunSettings, difference: str
) -> None:
    pretrain(SMALL, store, tmp_path, quiet=True)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(ValueError, match=difference):
        pretrain(config, store, tmp_path, quiet=True)
    assert (tmp_path / "config.json").read_text() == before
    assert len(pretrain(SMALL, store, tmp_path, quiet=True)) == 1


def test_published_schedule_of_mamp() -> None:
    config = TrainSettings(
        epochs=400, optimizer="adamw", lr=1e-3, schedule="cosine", min_lr=5e-4, warmup_epochs=20
    )
    for epoch, rate in ((10, 5e-4), (100, 9.47e-4), (210, 7.5e-4), (300, 5.81e-4), (400, 5e-4)):
        assert learning_rate(config, epoch) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_vectors_may_be_spared_the_decay(store: Store, optimizer: str) -> None:
    """One step with decay and one without differ in the matrices alone."""
    config = replace(TRAIN, epochs=1, batch_size=12, optimizer=optimizer, decay_vectors=False)
    ends = []
    for decay in (0.5, 0.0):
        model = new_model()
        fit(model, SkeletonDataset(store), replace(config, weight_decay=decay), quiet=True)
        ends.append(dict(model.encoder.named_parameters()))
    for name, parameter in ends[0].items():
        assert torch.equal(parameter, ends[1][name]) == (parameter.ndim == 1), name


def test_betas_reach_the_optimizer(store: Store, tmp_path: Path) -> None:
    config = replace(TRAIN, epochs=1, betas=(0.5, 0.6))
    fit(new_model(), SkeletonDataset(store), config, tmp_path, quiet=True)
    state = Run(tmp_path).load_checkpoint()
    assert state is not None
    assert [tuple(group["betas"]) for group in state["optimizer"]["param_groups"]] == [(0.5, 0.6)]


def test_neighbours_are_looked_up_with_the_encoder_that_is_the_result(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[dict[str, Tensor]] = []

    def extract(view: Pretrained, dataset: SkeletonDataset) -> Features:
        used.append({name: value.clone() for name, value in view.encoder.state_dict().items()})
        return extract_features(view, dataset)

    monkeypatch.setattr("pcm3.evaluation.monitor.extract_features", extract)
    model = replace(SMALL.model, result="key")
    config = replace(SMALL, model=model, train=replace(SMALL.train, knn_every=1, epochs=1))
    pretrain(config, store, tmp_path, quiet=True)
    state = Run(tmp_path).load_checkpoint()
    assert state is not None
    assert len(used) == 4  # gallery and queries, before and after training
    for name, value in used[3].items():
        assert torch.equal(value, state["model"][f"key_encoder.module.{name}"]), name


def test_fit_does_not_continue_a_run_of_other_settings(store: Store, tmp_path: Path) -> None:
    data = SkeletonDataset(store)
    fit(MODEL.build(store.skeleton, 1), data, SMALL.train, tmp_path, quiet=True)
    longer = replace(SMALL.train, epochs=2)
    with pytest.raises(ValueError, match=r"train\.epochs is 1 there and 2 here"):
        fit(MODEL.build(store.skeleton, 1), data, longer, tmp_path, quiet=True)
    wider = replace(MODEL, hidden=5).build(store.skeleton, 1)
    with pytest.raises(ValueError, match=r"model\.parameters is \d+ there and \d+ here"):
        fit(wider, data, SMALL.train, tmp_path, quiet=True)
    with pytest.raises(ValueError, match=str(tmp_path)):
        Run(tmp_path).load_config()


@pytest.mark.parametrize(
    "changes",
    [
        *({"accelerator": "auto"}, {"checkpoint_every": 1}, {"deterministic": True}),
        *({"knn_every": 1}, {"tensorboard": True}, {"workers": 1}, {"cache": "device"}),
        {"graph": "off"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_settings_without_effect_have_none(
    store: Store, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end in the same encoder, and a run may go on with others of them."""
    assert [*changes] == [name for name in NO_EFFECT if name in changes]
    assert len(NO_EFFECT) == 9  # all are here but keep_epochs, which has tests of its own
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)  # is global
    plain = replace(SMALL, train=replace(SMALL.train, epochs=2, checkpoint_every=2, knn_every=0))
    changed = replace(plain, train=replace(plain.train, **changes))
    pretrain(plain, store, tmp_path / "plain", quiet=True)
    pretrain(changed, store, tmp_path / "changed", quiet=True)
    encoders = [Run(tmp_path / name).encoder.read_bytes() for name in ("plain", "changed")]
    assert encoders[0] == encoders[1]
    assert len(pretrain(changed, store, tmp_path / "plain", quiet=True)) == 2


def test_runs_of_python_and_of_the_command_are_told_apart(store: Store, tmp_path: Path) -> None:
    data, model = SkeletonDataset(store), MODEL.build(store.skeleton, 1)
    fit(model, data, SMALL.train, tmp_path / "python", quiet=True)
    with pytest.raises(ValueError, match=f"{tmp_path}/python .*fit") as told:
        pretrain(SMALL, store, tmp_path / "python", quiet=True)
    assert len(str(told.value)) < 300
    pretrain(SMALL, store, tmp_path / "command", quiet=True)
    with pytest.raises(ValueError, match=f"{tmp_path}/command .*pcm3 pretrain"):
        fit(model, data, SMALL.train, tmp_path / "command", quiet=True)


def test_a_run_does_not_start_from_itself(store: Store, tmp_path: Path) -> None:
    pretrain(SMALL, store, tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match=r"--out.*--from"):
        pretrain(SMALL, store, tmp_path / "run", start=tmp_path / "." / "run", quiet=True)


def test_a_run_needs_a_folder_of_its_own(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"run folder.*{store.path}"):
        pretrain(SMALL, store, store.path, quiet=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=f"run folder.*{tmp_path}/file"):
        pretrain(SMALL, store, tmp_path / "file", quiet=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_settings_may_be_mended_where_no_run_came_about(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=" 50 training sequences"):
        pretrain(
            replace(SMALL, train=replace(SMALL.train, batch_size=50)), store, tmp_path, quiet=True
        )
    assert len(pretrain(SMALL, store, tmp_path, quiet=True)) == 1


def test_a_run_of_other_data_is_not_continued(store: Store, tmp_path: Path) -> None:
    pretrain(SMALL, store, tmp_path / "run", quiet=True)
    other = generate(tmp_path / "other", sequences=20, classes=2, subjects=2, frames=(10, 12))
    with pytest.raises(ValueError, match=r"data\.sequences is 6 there and 10 here"):
        pretrain(SMALL, other, tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("subjects", "reason"), [(1, "can be held out"), (4, "has too few labels")]
)
def test_pretraining_needs_no_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], subjects: int, reason: str
) -> None:
    with StoreWriter(tmp_path / "store", KINECT20, class_names=[]) as writer:
        sequences = synthetic_sequences(sequences=8, skeleton=KINECT20, frames=(12, 20))
        for number, sequence in enumerate(sequences):
            writer.add(sequence.frames, -1, subjects=number % subjects)
    config = replace(SMALL, train=replace(SMALL.train, knn_every=1, epochs=1), protocol="all")
    records = pretrain(config, Store(tmp_path / "store"), tmp_path / "run")
    assert [record["epoch"] for record in records if "lr" in record] == [1]
    assert not any("knn" in record for record in records)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "no nearest" in line)
    assert line.startswith("no nearest-neighbour checks during training: ")
    assert reason in line


def test_a_few_labels_are_enough_for_checks_during_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("one", "two")
    with StoreWriter(tmp_path / "store", KINECT20, class_names=names) as writer:
        sequences = synthetic_sequences(sequences=16, skeleton=KINECT20, frames=(12, 20))
        for number, sequence in enumerate(sequences):
            label = -1 if number % 3 == 0 else number % 2
            writer.add(sequence.frames, label, subjects=number % 4)
    config = replace(SMALL, train=replace(SMALL.train, knn_every=1, epochs=1), protocol="all")
    _, record = pretrain(config, Store(tmp_path / "store"), tmp_path / "run")
    assert 0 <= record["knn"] <= 1
    assert "no nearest-neighbour checks" not in capsys.readouterr().err


@pytest.mark.parametrize("method", ["pcm3", "mamp"])
def test_half_precision_trains_float32_parameters_to_nearly_the_same(
    store: Store, method: str
) -> None:
    config = MAMPSettings(frames=16, width=8, depth=2, heads=2, decoder_depth=1, mask_ratio=0.8)
    ends = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        model = (MODEL if method == "pcm3" else config).build(NTU25, persons=1)
        train = replace(TRAIN, precision=precision, optimizer="sgd")
        ends[precision] = fit(model, SkeletonDataset(store), train, quiet=True)[-1]
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert ends["fp32"]["total"] != ends["bf16"]["total"]
    for name in ends["fp32"]:
        if name != "samples_per_second":
            assert ends["bf16"][name] == pytest.approx(ends["fp32"][name], rel=0.03), name


def test_a_run_in_a_thread_is_the_same(store: Store, tmp_path: Path) -> None:
    """Signals are the main thread's there."""
    alone, threaded = new_model(), new_model()
    wanted = fit(alone, SkeletonDataset(store), TRAIN, quiet=True)
    records: list[dict[str, Any]] = []
    thread = threading.Thread(
        target=lambda: records.extend(
            fit(threaded, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
        )
    )
    thread.start()
    thread.join()
    assert without_speed(records) == without_speed(wanted)
    assert_equal_states(state_of(threaded), state_of(alone))


def test_tensorboard_gets_the_metrics(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    records = fit(
        new_model(), SkeletonDataset(store), replace(TRAIN, tensorboard=True), tmp_path, quiet=True
    )
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"total", "lr"} <= set(events.Tags()["scalars"])
    for name in events.Tags()["scalars"]:
        scalars = events.Scalars(name)
        assert [each.step for each in scalars] == [record["epoch"] for record in records]
        assert [each.value for each in scalars] == pytest.approx(
            [record[name] for record in records]
        )


def test_tensorboard_needs_a_folder(store: Store) -> None:
    config = replace(TRAIN, tensorboard=True, epochs=1)
    assert len(fit(new_model(), SkeletonDataset(store), config, quiet=True)) == 1


class Foreign(GRUEncoder):
    """An encoder that no file could rebuild."""


def test_an_encoder_that_cannot_be_kept_is_refused_before_it_is_trained(
    store: Store, tmp_path: Path
) -> None:
    class Local(GRUEncoder):
        """Nobody finds it again."""

    model = PCM3(Local(NTU25, persons=1, hidden=4, layers=1), NTU25, frames=16, queue_size=16)
    data = SkeletonDataset(store)
    options = {"epochs": 1, "batch_size": 4, "accelerator": "cpu", "quiet": True}
    with pytest.raises(ValueError, match=r"Local"):
        model.fit(data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    model.fit(data, **options)
