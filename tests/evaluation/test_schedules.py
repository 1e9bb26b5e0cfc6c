"""Learning rates of the published recipes, as training loops set them, against recorded ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from optimizer_steps import steps_of

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder, TransformerEncoder
from pcm3.evaluation.features import Features
from pcm3.evaluation.probes import ProbeSettings, train_classifier
from pcm3.evaluation.tasks.finetune import FinetuneSettings, evaluate_finetune
from pcm3.evaluation.tasks.linear import LinearSettings
from pcm3.evaluation.tasks.semi import SemiSettings, evaluate_semi
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

Golden = Callable[[str], dict[str, NDArray[Any]]]
FEATURES = Features(torch.randn(6, 4), torch.arange(6) % 2)


@pytest.fixture(scope="module")
def recorded(golden: Golden) -> dict[str, NDArray[Any]]:
    return golden("probe_schedules")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SkeletonDataset:
    out = tmp_path_factory.mktemp("data") / "store"
    store: Store = generate(out, sequences=6, classes=2, frames=(8, 10))
    return SkeletonDataset(store)


def linear_groups(settings: LinearSettings) -> list[dict[str, Any]]:
    recipe = settings.recipe
    assert recipe is not None
    return [
        group for (group,) in steps_of(lambda: train_classifier(lambda: FEATURES, 4, 2, recipe))
    ]


@pytest.mark.parametrize(
    ("solver", "call"),
    [
        ("pcm3", "pcm3_linear/command"),
        ("cmd", "cmd_linear/command"),
        ("mamp", "mamp_linear/command"),
        ("mamp-pku1", "mamp_linear/command2"),
        ("mamp-pku2", "mamp_linear/command3"),
    ],
)
def test_linear_evaluations(solver: Any, call: str, recorded: dict[str, NDArray[Any]]) -> None:
    settings = LinearSettings(solver)
    seen = linear_groups(settings)
    rates = [each["lr"] for each in seen]
    np.testing.assert_allclose(rates, recorded[f"{call}/rates"], rtol=1e-9)
    assert {(each["momentum"], each["weight_decay"]) for each in seen} == {(0.9, 0.0)}
    assert recorded[f"{call}/weight_decay"] == 0
    assert settings.recipe is not None
    assert settings.recipe.batch_size == recorded[f"{call}/batch_size"]


def test_other_epochs_keep_the_shape(recorded: dict[str, NDArray[Any]]) -> None:
    for solver, call, epochs in (
        ("pcm3", "pcm3_linear/command", 20),
        ("pcm3", "pcm3_linear/command", 10),
        ("cmd", "cmd_linear/command", 16),
        ("mamp", "mamp_linear/command", 25),
    ):
        seen = linear_groups(LinearSettings(solver, probe=ProbeSettings(epochs=epochs)))
        published = recorded[f"{call}/rates"]
        share = len(published) // epochs
        np.testing.assert_allclose([each["lr"] for each in seen], published[::share], rtol=1e-9)


def finetune_rates(
    pretrained: Pretrained, data: SkeletonDataset, settings: Any
) -> list[tuple[float, float]]:
    """The head's learning rate in every epoch of one step, and the lowest of all layers'."""
    evaluate = evaluate_semi if isinstance(settings, SemiSettings) else evaluate_finetune
    steps = steps_of(lambda: evaluate(pretrained, data, data, settings))  # type: ignore[arg-type]
    rates = [[group["lr"] for group in step] for step in steps]
    return [(max(step), min(step)) for step in rates]


def pretrained_encoder(kind: str) -> Pretrained:
    torch.manual_seed(0)
    if kind == "cmd":  # whose rate is that of features as wide as these
        encoder: Any = GRUEncoder(25, persons=1, hidden=256, layers=1)
    else:
        encoder = TransformerEncoder(NTU25, persons=1, frames=8, width=8, depth=8, heads=1)
    return Pretrained(encoder.eval(), NTU25, "joint", 8)


@pytest.mark.parametrize(
    ("call", "settings"),
    [
        ("cmd_finetune/command", FinetuneSettings()),
        ("cmd_transfer/command", FinetuneSettings()),
        ("mamp_finetune/command", FinetuneSettings()),
        ("mamp_transfer/command", FinetuneSettings()),
        ("mamp_finetune_scratch/command", FinetuneSettings(scratch=True)),
        ("mamp_semi/command", SemiSettings(fractions=(1.0,), draws=1)),
        ("mamp_semi/command2", SemiSettings(fractions=(1.0,), draws=1, scratch=True)),
    ],
)
def test_fine_tuning(
    call: str,
    settings: Any,
    recorded: dict[str, NDArray[Any]],
    data: SkeletonDataset,
) -> None:
    pretrained = pretrained_encoder(call.partition("_")[0])
    seen = finetune_rates(pretrained, data, settings)
    head, lowest = np.array(seen).T
    np.testing.assert_allclose(head, recorded[f"{call}/rates"], rtol=1e-9)
    recipe = settings.resolve(pretrained.encoder)
    assert recipe.batch_size == recorded[f"{call}/batch_size"]
    assert recipe.weight_decay == recorded[f"{call}/weight_decay"]
    decay = float(recorded.get(f"{call}/layer_decay", np.array(1.0)))
    np.testing.assert_allclose(lowest, head * decay**9, rtol=1e-9)  # eight blocks, embeddings
