"""Occluded recordings: a slow computation, kept masks, and what is trained on what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.evaluation.alterations import (
    KINDS,
    AlteredDataset,
    load_masks,
    occluded,
    occlusion_masks,
    save_masks,
)
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.probes import ProbeSettings
from pcm3.evaluation.tasks import occlusion
from pcm3.evaluation.tasks.linear import LinearSettings, evaluate_linear
from pcm3.evaluation.tasks.occlusion import OcclusionSettings, evaluate_occlusion
from pcm3.evaluation.tasks.robustness import evaluate_robustness
from pcm3.hub import Pretrained

Parts = tuple[SkeletonDataset, SkeletonDataset]


def test_clean_and_occluded_accuracies_are_the_probes(
    pretrained: Pretrained, parts: Parts, probed: Callable[[Features, AlteredDataset], float]
) -> None:
    training, test = parts
    result = evaluate_occlusion(pretrained, training, test, OcclusionSettings(seed=4))
    assert result == evaluate_occlusion(pretrained, training, test, OcclusionSettings(seed=4))
    clean = evaluate_linear(pretrained, training, test)
    assert result["top1"] == clean["top1"]
    assert result["details"]["clean"]["confusion"] == clean["details"]["confusion"]
    assert result["details"]["clean"]["per_class"] == clean["per_class"]
    for kind in KINDS:
        hidden, alike = (
            occluded(part, occlusion_masks(part, kind, seed=4)) for part in parts[::-1]
        )
        seen = extract_features(pretrained, training)
        expected = probed(seen, hidden)
        assert result[f"{kind}_top1"] == expected
        assert result[f"{kind}_drop"] == pytest.approx(clean["top1"] - expected)
        expected = probed(extract_features(pretrained, alike), hidden)
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
        one = evaluate_occlusion(pretrained, *parts, OcclusionSettings(train=train))
        names = {f"{kind}_{what}" for kind in KINDS for what in ("top1", "drop")}
        names = {f"{name}_occluded_training" for name in names} if wanted else names
        assert one.keys() == {"top1", "details"} | names
        assert all(one[name] == both[name] for name in names)


def test_reference_recipe_on_occluded_recordings(
    monkeypatch: pytest.MonkeyPatch, pretrained: Pretrained, parts: Parts
) -> None:
    short = ProbeSettings(epochs=6, lr=1.0, batch_size=8, drops=(), seed=3)
    monkeypatch.setattr(occlusion, "ProbeSettings", lambda seed: replace(short, seed=seed))
    settings = OcclusionSettings(train="occluded", solver="pcm3", seed=3)
    result = evaluate_occlusion(pretrained, *parts, settings)
    assert result == evaluate_occlusion(pretrained, *parts, settings)
    clean = evaluate_linear(pretrained, *parts, LinearSettings("pcm3", probe=short))
    assert result["details"]["clean"]["predicted"] == clean["details"]["predicted"]
    assert result["details"]["notes"] == clean["details"]["notes"] != []
    assert result["spatial_top1_occluded_training"] > 0.3


def test_masks_are_kept_and_used_again(
    tmp_path: Path, pretrained: Pretrained, store: Store, parts: Parts
) -> None:
    settings = OcclusionSettings(masks=tmp_path / "masks")
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
    with pytest.raises(ValueError, match=r"spatial\.npz.* 1\).* 0\)"):
        evaluate_occlusion(pretrained, *parts, replace(settings, seed=1))


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"\(0\.7, 0\.3\)"):
        OcclusionSettings(ratio=(0.7, 0.3))


def test_sequences_without_a_label(pretrained: Pretrained, store: Store) -> None:
    bad = SkeletonDataset(store)
    bad.labels = np.where(np.arange(len(store)) == 5, -1, store.labels)
    for evaluate in (evaluate_occlusion, evaluate_robustness):
        with pytest.raises(ValueError, match=r"\b5\b.*label"):
            evaluate(pretrained, bad, bad)
