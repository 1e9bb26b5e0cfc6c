"""Semi-supervised evaluation against single runs of fine-tuning."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.tasks.finetune import FinetuneSettings, draw_labelled, evaluate_finetune
from pcm3.evaluation.tasks.linear import evaluate_linear
from pcm3.evaluation.tasks.semi import SemiSettings, evaluate_semi
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

Parts = tuple[SkeletonDataset, SkeletonDataset]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    out = tmp_path_factory.mktemp("data") / "store"
    store = generate(out, sequences=48, classes=3, subjects=4, frames=(10, 30))
    training, test = split(store, "xsub")
    return SkeletonDataset(store, training), SkeletonDataset(store, test)


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    return Pretrained(GRUEncoder(25, persons=1, hidden=8, layers=1).eval(), NTU25, "joint", 8)


@pytest.mark.parametrize("balanced", [True, False])
def test_figures_are_those_of_single_runs(
    pretrained: Pretrained, parts: Parts, balanced: bool
) -> None:
    settings = SemiSettings(
        fractions=(0.25, 0.5), draws=3, epochs=4, lr=0.1, batch_size=9, seed=7, balanced=balanced
    )
    found = json.loads(json.dumps(evaluate_semi(pretrained, *parts, settings)))
    runs = found["details"]["runs"]
    assert [(run["fraction"], run["seed"]) for run in runs] == [
        (fraction, seed) for fraction in (0.25, 0.5) for seed in (7, 8, 9)
    ]
    for run in runs:
        one = FinetuneSettings(
            epochs=4,
            lr=0.1,
            batch_size=9,
            balanced=balanced,
            seed=run["seed"],
            label_fraction=run["fraction"],
        )
        alone = evaluate_finetune(pretrained, *parts, one)
        assert run["top1"] == alone["top1"]
        assert run["training_sequences"] == 24 * run["fraction"]
    for fraction in (0.25, 0.5):
        tops = [run["top1"] for run in runs if run["fraction"] == fraction]
        assert found[f"top1_at_{fraction}"] == pytest.approx(statistics.mean(tops))
        assert found[f"top1_std_at_{fraction}"] == pytest.approx(statistics.stdev(tops))


@pytest.mark.parametrize("balanced", [True, False])
def test_frozen_encoder(pretrained: Pretrained, parts: Parts, balanced: bool) -> None:
    settings = SemiSettings(fractions=(0.25, 1.0), draws=2, seed=3, balanced=balanced, frozen=True)
    found = json.loads(json.dumps(evaluate_semi(pretrained, *parts, settings)))
    training, test = (extract_features(pretrained, part) for part in parts)
    for run in found["details"]["runs"]:
        labels = parts[0].labels
        rows = draw_labelled(labels, run["fraction"], balanced, run["seed"])
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
        pipeline.fit(training.values[rows], labels[rows])
        top1 = pipeline.score(test.values, test.labels)
        assert run["top1"] == pytest.approx(top1, abs=1.5 / len(test.labels))
        assert run["training_sequences"] == len(rows) == 24 * run["fraction"]
    assert found["top1_at_1.0"] == evaluate_linear(pretrained, *parts)["top1"]
    tops = [run["top1"] for run in found["details"]["runs"][:2]]
    assert found["top1_at_0.25"] == pytest.approx(statistics.mean(tops))


def test_frozen_encoder_needs_two_classes(pretrained: Pretrained, parts: Parts) -> None:
    settings = SemiSettings(fractions=(0.05, 1.0), draws=1, frozen=True)
    found = evaluate_semi(pretrained, *parts, settings)
    assert set(found) == {"top1_at_1.0", "details"}
    assert "2 classes, got 1" in found["details"]["notes"][0]


def test_shares_that_hold_too_little_are_skipped(pretrained: Pretrained, parts: Parts) -> None:
    settings = SemiSettings(fractions=(0.01, 0.05, 0.1), draws=1, epochs=1)
    found = evaluate_semi(pretrained, *parts, settings)
    assert set(found) == {"top1_at_0.1", "details"}
    first, second, few = found["details"]["notes"]
    assert first.startswith(
        "share 0.01 left out: expected at least one sequence, but 0.01 of 24 is"
    )
    assert second.startswith("share 0.05 left out: ")
    assert "got 1 in batches of 64" in second
    assert few == "share 0.1: 2 labelled sequences for 3 classes"
    with pytest.raises(ValueError, match=r"fraction 0.01: expected .* of 24 .*; fraction 0.05: "):
        evaluate_semi(pretrained, *parts, SemiSettings(fractions=(0.01, 0.05)))


def test_every_class_has_one_where_balanced(pretrained: Pretrained, parts: Parts) -> None:
    settings = SemiSettings(fractions=(0.01,), draws=1, epochs=1, balanced=True)
    found = evaluate_semi(pretrained, *parts, settings)
    assert found["details"]["runs"][0]["training_sequences"] == 3
    assert found["details"]["notes"] == ["share 0.01: 3 labelled sequences for 3 classes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws > 0, got 0"),
        ({"fractions": (0.1, 1.2)}, r"label fraction in \(0, 1\], got 1.2"),
        ({"lr": -1.0}, "lr > 0"),
        ({"frozen": True, "epochs": 3}, "epochs has no effect"),
        ({"frozen": True, "scratch": True}, "scratch has no effect"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SemiSettings(**options)


def test_other_classes(tmp_path: Path, pretrained: Pretrained, parts: Parts) -> None:
    other = SkeletonDataset(generate(tmp_path / "other", sequences=20, classes=5, subjects=2))
    with pytest.raises(ValueError, match="same classes"):
        evaluate_semi(pretrained, other, parts[1])
