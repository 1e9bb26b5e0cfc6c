"""Recognition of increasingly altered recordings: hidden parts and frames, noise, fewer frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, TypedDict

import numpy as np

from pcm3.checks import check_at_least, check_increasing, check_seed
from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.alterations import (
    KINDS,
    Persons,
    check_ratio,
    every_nth_frame,
    occluded,
    occlusion_masks,
    with_noise,
)
from pcm3.evaluation.classification import check_labels
from pcm3.evaluation.details import require
from pcm3.evaluation.features import check_cut
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.linear import Solver, check_classes, fit_probe
from pcm3.evaluation.tasks.occlusion import CLEAN_TOP1, judge, probe_settings
from pcm3.runs.results import Result
from pcm3.runs.series import Picture, Series
from pcm3.viz.results import curve_figure, short_text


@dataclass(frozen=True)
class RobustnessSettings:
    """Settings of robustness: the steps of each alteration."""

    ratios: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    """Hidden shares of the joints or frames."""
    noise: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    """Standard deviations of noise on the joints, in the store's unit, or in body lengths for an
    encoder of any layout."""
    strides: tuple[int, ...] = (2, 3, 4)
    """Strides n of lower frame rates: every n-th frame is kept."""
    persons: Persons = "first"
    """Persons whose body parts are hidden."""
    solver: Solver = "logistic"
    """Logistic regression on centre crops, or a published protocol, see linear."""
    seed: int = 0
    """Seed of masks, noise and a published protocol."""

    def __post_init__(self) -> None:
        for ratio in self.ratios:
            check_ratio((ratio, ratio))
        check_increasing("ratios", self.ratios)
        check_at_least("noise", min(self.noise, default=0), 0)
        check_at_least("strides", min(self.strides, default=1), 1)
        check_seed(self.seed)


def evaluate_robustness(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: RobustnessSettings = RobustnessSettings(),
) -> dict[str, Any]:
    """Recognise increasingly altered recordings by a linear classifier trained on clean ones.

    Args:
        pretrained: The encoder and its input.
        training: Labelled training part.
        test: Labelled test part.
        settings: The alterations.

    Returns:
        Fractions: ``top1`` on unaltered recordings, and the means ``spatial_top1``,
        ``temporal_top1``, ``noise_top1`` and ``frame_rate_top1`` over the steps of an alteration.
        ``details``: ``curves`` with ``values`` and ``top1`` of each step of an alteration, the
        first of which is the unaltered recording; for occlusion also ``hidden``, the mean share
        that really was hidden. Body parts are hidden whole, so ratios that hide the same parts are
        one step. Further ``unit`` and ``fps`` of the store, and ``notes`` on the solver.

    Raises:
        ValueError: If a sequence has no label, or the data do not fit the encoder.
    """
    check_labels(training, test)
    check_cut(training, test)
    linear = probe_settings(settings.solver, settings.seed)
    check_classes(training, linear)
    probe = fit_probe(pretrained, training, len(test.class_names), linear)

    def top1(dataset: ClipDataset) -> float:
        accuracy: float = judge(pretrained, probe, dataset, test)["top1"]
        return accuracy

    clean = top1(test)
    curves: dict[str, dict[str, list[Any]]] = {
        "noise": {
            "values": [0.0, *settings.noise],
            "top1": [clean, *(top1(with_noise(test, s, settings.seed)) for s in settings.noise)],
        },
        "frame_rate": {
            "values": [1, *settings.strides],
            "top1": [clean, *(top1(every_nth_frame(test, s)) for s in settings.strides)],
        },
    }
    for kind in KINDS:
        curve: dict[str, list[Any]] = {"values": [0.0], "top1": [clean], "hidden": [0.0]}
        for ratio in settings.ratios:
            masks = occlusion_masks(test, kind, (ratio, ratio), settings.persons, settings.seed)
            hidden = float(masks.share(test).mean())
            if hidden == curve["hidden"][-1]:
                continue
            curve["values"].append(ratio)
            curve["top1"].append(top1(occluded(test, masks)))
            curve["hidden"].append(hidden)
        curves[kind] = curve
    means = {
        f"{name}_top1": float(np.mean(curve["top1"][1:]))
        for name, curve in curves.items()
        if len(curve["top1"]) > 1
    }
    details = {"curves": curves, "unit": test.unit, "fps": test.store.meta["fps"]}
    details["notes"] = [*linear.describe(), *linear.note_on_steps(len(training))]
    return {"top1": clean, **means, "details": details}


class _Curve(TypedDict):
    values: list[float]
    top1: list[float]


class _Hidden(_Curve, total=False):
    hidden: list[float]


class _Details(TypedDict, total=False):
    curves: dict[str, _Hidden]
    unit: str


def _check(result: Result) -> None:
    for name, curve in result.details.get("curves", {}).items():
        counts = {len(curve[key]) for key in ("values", "top1", "hidden") if key in curve}
        require(len(counts) == 1, f"curves.{name} of as many values and figures, got {counts}")


def _curves(series: Series) -> Iterator[Picture]:
    units = {entry.result.details.get("unit") for entry in series.entries}
    unit = f", {short_text(str(units.pop()))}" if len(units) == 1 and None not in units else ""
    labels = {
        "spatial": "hidden share of the joints",
        "temporal": "hidden share of the frames",
        "noise": f"standard deviation of the noise{unit}",
        "frame_rate": "only every n-th frame",
    }
    figures = []
    for kind, label in labels.items():
        curves = {}
        for name, group in series.items():
            known = [entry.result.details.get("curves", {}).get(kind) for entry in group.entries]
            if points := _points([curve for curve in known if curve]):
                curves[name] = group.curve(points, spread=len(group.entries) > 1)
        if curves:
            share = kind in ("spatial", "temporal")
            figures.append(curve_figure(curves, label, x_percent=share))
    if figures:
        yield Picture(
            "Robustness",
            series.caption(
                "Accuracy of a linear classifier, trained on clean recordings, on increasingly "
                "altered test recordings"
            ),
            figures,
        )


def _points(curves: Sequence[Mapping[str, Sequence[float]]]) -> dict[float, list[float]]:
    """Map x, the hidden share if it is known, to the accuracies of all curves at x."""
    points: dict[float, list[float]] = {}
    for curve in curves:
        accuracies: dict[float, list[float]] = {}
        for x, y in zip(curve.get("hidden", curve["values"]), curve["top1"], strict=True):
            accuracies.setdefault(round(x, 6), []).append(y)  # ratios may hide the same parts
        for x, values in accuracies.items():
            points.setdefault(x, []).append(mean(values))
    return dict(sorted(points.items()))


TASK = Task(
    about="A linear classifier on increasingly occluded, noisy or slow recordings.",
    settings=RobustnessSettings,
    evaluate=evaluate_robustness,
    headline=("spatial_top1", "temporal_top1", "noise_top1", "frame_rate_top1"),
    legend={
        "top1": CLEAN_TOP1,
        "spatial_top1": "top1 with body parts hidden, the mean over the shares",
        "temporal_top1": "top1 with a block of frames hidden, the mean over the shares",
        "noise_top1": "top1 with noise on the joints, the mean over its strengths",
        "frame_rate_top1": "top1 with only every n-th frame, the mean over n",
    },
    details=_Details,
    check=_check,
    pictures=(_curves,),
    shown=("solver",),
)
