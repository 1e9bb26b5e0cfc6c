"""Ever more altered recordings: a slow computation, step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pcm3.data.dataset import SkeletonDataset
from pcm3.evaluation.alterations import (
    KINDS,
    AlteredDataset,
    every_nth_frame,
    occluded,
    occlusion_masks,
    with_noise,
)
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.tasks.linear import evaluate_linear
from pcm3.evaluation.tasks.robustness import RobustnessSettings, evaluate_robustness
from pcm3.hub import Pretrained

Parts = tuple[SkeletonDataset, SkeletonDataset]


def test_ratios_that_hide_the_same_parts_are_one_step(pretrained: Pretrained, parts: Parts) -> None:
    settings = RobustnessSettings(ratios=(0.3, 0.30001, 0.6), noise=(), strides=())
    result = evaluate_robustness(pretrained, *parts, settings)
    curve = result["details"]["curves"]["spatial"]
    assert curve["values"] == [0, 0.3, 0.6]
    assert len(curve["top1"]) == len(curve["hidden"]) == 3
    assert result["spatial_top1"] == pytest.approx(np.mean(curve["top1"][1:]))
    with pytest.raises(ValueError, match=r"ratios\b.*\(0\.3, 0\.2\)"):
        RobustnessSettings(ratios=(0.3, 0.2))


def test_robustness_curves_are_the_probe_step_by_step(
    pretrained: Pretrained, parts: Parts, probed: Callable[[Features, AlteredDataset], float]
) -> None:
    training, test = parts
    settings = RobustnessSettings(ratios=(0.2, 0.6), noise=(0.3,), strides=(2, 5), seed=2)
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
        expected = [probed(seen, dataset) for dataset in datasets]
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
    result = evaluate_robustness(
        pretrained, *parts, RobustnessSettings(ratios=(), noise=(), strides=(2,))
    )
    assert result.keys() == {"top1", "frame_rate_top1", "details"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ratios": (0.5, 1.5)}, r"\(1\.5, 1\.5\)"),
        ({"noise": (0.1, -0.1)}, r"noise\b.*-0\.1$"),
        ({"strides": (2, 0)}, r"strides\b.*\b0$"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RobustnessSettings(**wrong)
