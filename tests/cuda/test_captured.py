"""Steps on a CUDA device, captured as graphs and not, beside those of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pcm3 import NTU25
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.methods import (
    CMD,
    MAMP,
    MS2L,
    PCM3,
    AimCLR,
    AutoEncoder,
    Decorrelation,
    Displacement,
    LatentPrediction,
    Method,
)
from pcm3.methods.settings import TrainSettings
from pcm3.methods.simclr import SimCLR
from pcm3.training.graph import GraphedPasses
from pcm3.training.trainer import fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

FRAMES = 16
POSITIVES = ("intra", "inter", "mask", "predict", "clip")
TRAIN = TrainSettings(
    epochs=3, batch_size=4, lr=0.01, accelerator="cuda", checkpoint_every=1, cache="none"
)


def encoder(kind: str) -> Encoder:
    if kind == "graph":
        return STGCNEncoder(NTU25, persons=1, channels=4, layers=(1, 1), out_features=8)
    if kind == "transformer":
        return TransformerEncoder(NTU25, persons=1, frames=FRAMES, depth=2, width=16, heads=2)
    return GRUEncoder(NTU25, persons=1, hidden=8, layers=2)


def pcm3(kind: str = "gru", **changes: Any) -> Method:
    small: dict[str, Any] = {"frames": FRAMES, "queue_size": 32, "decoder_hidden": 8}
    return PCM3(encoder(kind), NTU25, **small | changes)


WIDTHS: dict[str, Any] = {"frames": FRAMES, "expander": 8, "fastest": 0.25, "others": 0.0}
METHODS: dict[str, Callable[[], Method]] = {
    "pcm3": pcm3,
    "pcm3++": lambda: pcm3(positives=POSITIVES),
    "pcm3-bone": lambda: pcm3(stream="bone", prompt_position="post_norm"),
    "pcm3-graph": lambda: pcm3("graph"),
    "pcm3-transformer": lambda: pcm3("transformer"),
    "mamp": lambda: MAMP(encoder("transformer"), NTU25),
    "mae": lambda: MAMP(encoder("transformer"), NTU25, target="coordinates"),
    "skeletonclr": lambda: pcm3(positives=("intra",), mask_weight=0.0, kl_weight=0.0, reflect=0.2),
    "pstl": lambda: Decorrelation(encoder("gru"), NTU25, **WIDTHS),
    "pstl-graph": lambda: Decorrelation(encoder("graph"), NTU25, **WIDTHS, same_on_batch=False),
    "vicreg": lambda: Decorrelation(encoder("transformer"), NTU25, **WIDTHS, loss="vicreg"),
    "aimclr": lambda: AimCLR(encoder("gru"), NTU25, frames=FRAMES, queue_size=32, drop=False),
    "aimclr-graph": lambda: AimCLR(encoder("graph"), NTU25, frames=FRAMES, queue_size=32),
    "cmd": lambda: CMD(encoder("gru"), NTU25, frames=FRAMES, queue_size=32, topk=8),
    "simclr": lambda: SimCLR(encoder("gru"), NTU25, frames=FRAMES, embedding=8),
    "displacement": lambda: Displacement(encoder("gru"), NTU25, frames=FRAMES, mask_ratio=0.4),
    "ms2l": lambda: MS2L(encoder("gru"), NTU25, frames=FRAMES, decoder_hidden=8),
    "autoencoder": lambda: AutoEncoder(encoder("gru"), NTU25, frames=FRAMES, view_weight=0.1),
    "latent": lambda: LatentPrediction(
        encoder("transformer"), NTU25, mask_ratio=0.6, top_blocks=2, momentum=0.9, momentum_steps=40
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """96 recordings: 24 steps of 4 an epoch, the first three of which are not captured."""
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=96, classes=3, subjects=4, frames=(10, 30))


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the replays of graphs."""
    counted = [0]
    replay = torch.cuda.CUDAGraph.replay

    def count(graph: torch.cuda.CUDAGraph) -> None:
        counted[0] += 1
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", count)
    return counted


def train(
    make: Callable[[], Method], store: Store, out: Path | None = None, **changes: Any
) -> tuple[Method, list[dict[str, Any]]]:
    torch.manual_seed(0)
    model = make()
    records = fit(model, SkeletonDataset(store), TRAIN.changed(changes), out, quiet=True)
    for record in records:
        record.pop("samples_per_second")
    return model, records


def assert_close(one: Method, other: Method) -> None:
    theirs = {name: value.to("cpu") for name, value in other.state_dict().items()}
    ours = {name: value.to("cpu") for name, value in one.state_dict().items()}
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"accumulate": 2, "clip_norm": 0.5}, {"optimizer": "adamw", "lr": 1e-3}],
    ids=["plain", "accumulate", "adamw"],
)
def test_captured_steps_equal_the_others(
    store: Store, replays: list[int], name: str, changes: dict[str, Any]
) -> None:
    plain, expected = train(METHODS[name], store, graph="off", **changes)
    assert replays == [0]
    captured, found = train(METHODS[name], store, graph="on", **changes)
    assert replays == [3 * 24 - 3 * changes.get("accumulate", 1)]
    assert found == [pytest.approx(record, rel=1e-4) for record in expected]
    assert_close(captured, plain)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_captured_steps_in_reduced_precision(store: Store, precision: str) -> None:
    _, expected = train(pcm3, store, graph="off", precision=precision)
    _, found = train(pcm3, store, graph="on", precision=precision)
    assert found == [pytest.approx(record, rel=2e-2, abs=1e-2) for record in expected]


@pytest.mark.parametrize("name", METHODS)
def test_one_step_equals_the_cpu(name: str) -> None:
    """With the same views; random numbers differ between devices."""
    torch.manual_seed(0)
    model = METHODS[name]()
    views = model.make_views(torch.randn(4, 3, 30, 25, 1))
    here = model.loss(views)
    here.total.backward()
    torch.manual_seed(0)
    twin = METHODS[name]().cuda()
    there = twin.loss(to_cuda(views))
    there.total.backward()
    torch.testing.assert_close(there.total.cpu(), here.total, rtol=1e-4, atol=1e-5)
    for (name_, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name_
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-3, atol=1e-4)
    assert_close(twin.cpu(), model)


def to_cuda(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cuda()
    if isinstance(value, dict):
        return {name: to_cuda(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return type(value)(*map(to_cuda, value))
    if value is None:
        return None
    return type(value)(**{name: to_cuda(inner) for name, inner in vars(value).items()})


@pytest.mark.parametrize("name", ["pcm3", "mamp", "latent"])
def test_a_captured_run_goes_on_where_it_was_stopped(
    store: Store, tmp_path: Path, name: str
) -> None:
    whole, expected = train(METHODS[name], store, graph="on")
    train(METHODS[name], store, tmp_path, graph="on", epochs=3, keep_epochs=(1,))
    run = tmp_path / "checkpoint-previous.pt"
    run.replace(tmp_path / "checkpoint.pt")  # of the epoch before the last
    again, found = train(METHODS[name], store, tmp_path, graph="on", epochs=3, keep_epochs=(1,))
    assert found == [pytest.approx(record, rel=1e-4) for record in expected]
    assert_close(again, whole)


class Poisoned(SkeletonDataset):
    """A batch that is finite, but whose loss is not."""

    left = 8

    def __getitems__(self, indices: Any) -> Any:
        batch = super().__getitems__(indices)
        self.left -= 1
        if self.left == 0:
            batch.clips[1] = 1e30
        return batch


@pytest.mark.parametrize("graph", ["on", "off"])
def test_a_step_that_is_not_finite(store: Store, tmp_path: Path, graph: Any) -> None:
    config = TRAIN.changed({"epochs": 1, "graph": graph})
    torch.manual_seed(0)
    model = pcm3()
    with pytest.raises(ValueError, match="epoch 1, step 8, seq"):
        fit(model, Poisoned(store), config, tmp_path, quiet=True)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    assert int(model.queue.position) == 7 * 4 % 32
    torch.manual_seed(0)
    skipping = pcm3()
    changed = config.changed({"nonfinite": "skip"})
    (record,) = fit(skipping, Poisoned(store), changed, quiet=True)
    assert record["skipped"] == 4
    assert all(bool(value.isfinite().all()) for value in skipping.state_dict().values())


@pytest.mark.parametrize("name", ["pcm3", "mamp"])
def test_compiled_blocks_in_captured_steps(store: Store, name: str) -> None:
    make = METHODS["pcm3-transformer" if name == "pcm3" else name]
    _, expected = train(make, store, graph="off", epochs=1)
    _, found = train(make, store, graph="on", epochs=1, compile=True)
    assert found == [pytest.approx(record, rel=1e-3) for record in expected]


def test_data_on_the_device_change_nothing(store: Store) -> None:
    _, expected = train(pcm3, store, graph="on")
    _, found = train(pcm3, store, graph="on", cache="device")
    assert found == [pytest.approx(record, rel=1e-4) for record in expected]


def test_a_longer_batch_is_captured_anew() -> None:
    generator = torch.Generator("cuda")
    total = torch.zeros((), device="cuda")

    def passes(clips: torch.Tensor, lengths: torch.Tensor, number: int) -> None:
        total.add_(clips.sum() + lengths.sum())

    captured = GraphedPasses(passes, generator, frames=5, batches=1)
    expected = 0.0
    for frames in (5, 4, 3, 5, 4, 9, 9, 2, 9, 4, 9):
        clips = torch.rand(2, 3, frames, 4, 1, device="cuda")
        lengths = torch.full((2,), frames, device="cuda")
        captured(clips, lengths, 0)
        expected += float(clips.sum() + lengths.sum())
    assert float(total) == pytest.approx(expected, rel=1e-5)
