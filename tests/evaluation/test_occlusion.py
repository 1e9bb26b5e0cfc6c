"""The protocols on altered recordings: a slow one, kept masks, and what is trained on what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.alterations import (
    KINDS,
    AlteredDataset,
    every_nth_frame,
    load_masks,
    occluded,
    occlusion_masks,
    save_masks,
    with_noise,
)
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.metrics import accuracy
from pcm3.evaluation.probes import Probe, logistic_probe
from pcm3.evaluation.recognition import Linear, evaluate_linear
from pcm3.evaluation.tasks import occlusion
from pcm3.evaluation.tasks.occlusion import (
    Occlusion,
    Robustness,
    evaluate_occlusion,
    evaluate_robustness,
)
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

Parts = tuple[SkeletonDataset, SkeletonDataset]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=96, classes=4, subjects=4, frames=(10, 40))


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=1, hidden=8, layers=1, pool="mean").eval()
    return Pretrained(encoder, NTU25, "joint", 16)


@pytest.fixture(scope="module")
def parts(store: Store) -> Parts:
    training, test = split(store, "xsub")
    return SkeletonDataset(store, training), SkeletonDataset(store, test)


def probed(pretrained: Pretrained, training: Features, test: AlteredDataset) -> float:
    features = extract_features(pretrained, test)
    return accuracy(logistic_probe(training, features.values, 4).argmax(1), features.labels)


def test_clean_and_occluded_accuracies_are_the_probes(pretrained: Pretrained, parts: Parts) -> None:
    training, test = parts
    result = evaluate_occlusion(pretrained, training, test, Occlusion(seed=4))
    assert result == evaluate_occlusion(pretrained, training, test, Occlusion(seed=4))
    clean = evaluate_linear(pretrained, training, test)
    assert result["top1"] == clean["top1"]
    assert result["details"]["clean"]["confusion"] == clean["details"]["confusion"]
    assert result["details"]["clean"]["per_class"] == clean["per_class"]
    for kind in KINDS:
        hidden, alike = (
            occluded(part, occlusion_masks(part, kind, seed=4)) for part in parts[::-1]
        )
        seen = extract_features(pretrained, training)
        expected = probed(pretrained, seen, hidden)
        assert result[f"{kind}_top1"] == expected
        assert result[f"{kind}_drop"] == pytest.approx(clean["top1"] - expected)
        expected = probed(pretrained, extract_features(pretrained, alike), hidden)
        assert result[f"{kind}_top1_occluded_training"] == expected
        assert result[f"{kind}_drop_occluded_training"] == pytest.approx(clean["top1"] - expected)
        shares = result["details"]["hidden"][kind]
        assert shares == occlusion_masks(test, kind, seed=4).share(test).tolist()
        for name in (kind, f"{kind}_occluded_training"):
            details = result["details"][name]
            right = np.array(details["predicted"]) == test.labels
            suffix = name.removeprefix(kind)
            assert right.mean() == pytest.approx(result[f"{kind}_top1{suffix}"])
            assert np.trace(details["confusion"]) == right.sum()
    assert result["spatial_drop"] > 0.05
    json.dumps(result)


def test_what_the_classifier_is_trained_on(pretrained: Pretrained, parts: Parts) -> None:
    both = evaluate_occlusion(pretrained, *parts)
    for train, wanted in (("clean", False), ("occluded", True)):
        one = evaluate_occlusion(pretrained, *parts, Occlusion(train=train))
        names = {f"{kind}_{what}" for kind in KINDS for what in ("top1", "drop")}
        names = {f"{name}_occluded_training" for name in names} if wanted else names
        assert one.keys() == {"top1", "details"} | names
        assert all(one[name] == both[name] for name in names)


def test_reference_recipe_on_occluded_recordings(
    monkeypatch: pytest.MonkeyPatch, pretrained: Pretrained, parts: Parts
) -> None:
    short = Probe(epochs=6, lr=1.0, batch_size=8, drops=(), seed=3)
    monkeypatch.setattr(occlusion, "Probe", lambda seed: replace(short, seed=seed))
    settings = Occlusion(train="occluded", solver="pcm3", seed=3)
    result = evaluate_occlusion(pretrained, *parts, settings)
    assert result == evaluate_occlusion(pretrained, *parts, settings)
    clean = evaluate_linear(pretrained, *parts, Linear("pcm3", probe=short))
    assert result["details"]["clean"]["predicted"] == clean["details"]["predicted"]
    assert result["details"]["notes"] == clean["details"]["notes"] != []
    assert result["spatial_top1_occluded_training"] > 0.3


def test_masks_are_kept_and_used_again(
    tmp_path: Path, pretrained: Pretrained, store: Store, parts: Parts
) -> None:
    settings = Occlusion(masks=tmp_path / "masks")
    drawn = evaluate_occlusion(pretrained, *parts, replace(settings, masks=None))
    assert evaluate_occlusion(pretrained, *parts, settings) == drawn
    files = {kind: tmp_path / "masks" / f"store-{kind}.npz" for kind in KINDS}
    assert sorted((tmp_path / "masks").iterdir()) == sorted(files.values())
    masks = load_masks(files["temporal"])
    assert masks.indices.tolist() == list(range(len(store)))  # good for every division
    save_masks(files["temporal"], replace(masks, stops=masks.starts))
    again = evaluate_occlusion(pretrained, *parts, settings)
    assert again["temporal_drop"] == 0
    assert again["spatial_top1"] == drawn["spatial_top1"]
    message = r"spatial.npz: expected spatial masks .* 1\), got .* 0\); give masks another folder"
    with pytest.raises(ValueError, match=message):
        evaluate_occlusion(pretrained, *parts, replace(settings, seed=1))


def test_ratios_that_hide_the_same_parts_are_one_step(pretrained: Pretrained, parts: Parts) -> None:
    settings = Robustness(ratios=(0.3, 0.30001, 0.6), noise=(), strides=())
    result = evaluate_robustness(pretrained, *parts, settings)
    curve = result["details"]["curves"]["spatial"]
    assert curve["values"] == [0, 0.3, 0.6]
    assert len(curve["top1"]) == len(curve["hidden"]) == 3
    assert result["spatial_top1"] == pytest.approx(np.mean(curve["top1"][1:]))
    with pytest.raises(ValueError, match=r"ratios, got \(0.3, 0.2\)"):
        Robustness(ratios=(0.3, 0.2))


def test_robustness_curves_are_the_probe_step_by_step(pretrained: Pretrained, parts: Parts) -> None:
    training, test = parts
    settings = Robustness(ratios=(0.2, 0.6), noise=(0.3,), strides=(2, 5), seed=2)
    result = evaluate_robustness(pretrained, training, test, settings)
    assert result == evaluate_robustness(pretrained, training, test, settings)
    seen = extract_features(pretrained, training)
    masks = {
        kind: [occlusion_masks(test, kind, (ratio, ratio), seed=2) for ratio in (0.2, 0.6)]
        for kind in KINDS
    }
    altered = {
        **{kind: [occluded(test, each) for each in masks[kind]] for kind in KINDS},
        "noise": [with_noise(test, 0.3, seed=2)],
        "frame_rate": [every_nth_frame(test, 2), every_nth_frame(test, 5)],
    }
    curves = result["details"]["curves"]
    values = {kind: [0.0, 0.2, 0.6] for kind in KINDS}
    assert {name: curve["values"] for name, curve in curves.items()} == {
        **values,
        "noise": [0.0, 0.3],
        "frame_rate": [1, 2, 5],
    }
    for name, datasets in altered.items():
        expected = [probed(pretrained, seen, dataset) for dataset in datasets]
        assert curves[name]["top1"] == [result["top1"], *expected]
        assert result[f"{name}_top1"] == pytest.approx(np.mean(expected))
    for kind in KINDS:
        shares = [each.share(test).mean() for each in masks[kind]]
        assert curves[kind]["hidden"] == pytest.approx([0, *shares])
    assert result["top1"] == evaluate_linear(pretrained, training, test)["top1"]
    assert result["details"]["unit"] == store_unit(test)
    json.dumps(result)


def store_unit(data: SkeletonDataset) -> str:
    unit: str = json.loads((data.store.path / "meta.json").read_text())["unit"]
    return unit


def test_an_alteration_can_be_left_out(pretrained: Pretrained, parts: Parts) -> None:
    result = evaluate_robustness(pretrained, *parts, Robustness(ratios=(), noise=(), strides=(2,)))
    assert result.keys() == {"top1", "frame_rate_top1", "details"}


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (Occlusion, {"ratio": (0.7, 0.3)}, r"within \[0, 1\], low end first, got \(0.7, 0.3\)"),
        (Robustness, {"ratios": (0.5, 1.5)}, r"within \[0, 1\], low end first, got \(1.5, 1.5\)"),
        (Robustness, {"noise": (0.1, -0.1)}, r"expected noise >= 0, got -0\.1"),
        (Robustness, {"strides": (2, 0)}, "expected strides >= 1, got 0"),
    ],
)
def test_settings_out_of_range(kind: type[Any], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**wrong)


def test_sequences_without_a_label(pretrained: Pretrained, store: Store) -> None:
    bad = SkeletonDataset(store)
    bad.labels = np.where(np.arange(len(store)) == 5, -1, store.labels)
    for evaluate in (evaluate_occlusion, evaluate_robustness):
        with pytest.raises(ValueError, match="sequence 5 has no label"):
            evaluate(pretrained, bad, bad)
