"""Recognition of altered recordings: hidden body parts and frames, noise, fewer frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from pcm3.checks import check_at_least, check_increasing, check_seed
from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.alterations import (
    KINDS,
    Kind,
    OcclusionMasks,
    Persons,
    check_ratio,
    every_nth_frame,
    load_masks,
    occluded,
    occlusion_masks,
    save_masks,
    with_noise,
)
from pcm3.evaluation.features import check_cut, extract_features
from pcm3.evaluation.probes import Probe
from pcm3.evaluation.recognition import (
    Linear,
    Solver,
    check_classes,
    check_labels,
    fit_probe,
    summarize,
)


@dataclass(frozen=True)
class Occlusion:
    """How recordings are occluded, and what the classifier is trained on."""

    ratio: tuple[float, float] = (0.3, 0.7)
    """Range of the hidden share of the joints or frames."""
    persons: Persons = "first"
    """Whose body parts are hidden."""
    train: Literal["clean", "occluded", "both"] = "both"
    """Recordings that the classifier is trained on."""
    solver: Solver = "logistic"
    """Logistic regression on cached features, or whose published protocol."""
    masks: Path | None = None
    """Folder to keep the masks in: those there are used, others are written."""
    seed: int = 0
    """Of the masks and of a published protocol."""

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_seed(self.seed)


def evaluate_occlusion(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: Occlusion = Occlusion(),
) -> dict[str, Any]:
    """Linear probe of a frozen encoder on occluded test recordings.

    Args:
        pretrained: The encoder and how it wants its clips.
        training: Labelled training part.
        test: Labelled test part.
        settings: What is hidden, and when.

    Returns:
        Fractions: ``top1`` of clean recordings; ``spatial_top1`` and ``temporal_top1`` of
        occluded ones with the classifier that was trained on clean ones, and with the ending
        ``_occluded_training`` with one trained on recordings occluded alike; ``spatial_drop``
        ... is how much lower than ``top1`` each is. ``details``: for each of them ``per_class``,
        ``confusion``, ``predicted`` and ``labels``, and ``hidden``, the hidden share of the
        joints or frames of each test sequence; ``notes``, what the solver did.

    Raises:
        ValueError: If a sequence has no label, the data do not fit the encoder, or kept masks
            were drawn otherwise.
    """
    check_labels(training, test)
    check_cut(training, test)
    check_classes(training, _linear(settings))

    def fit(dataset: ClipDataset) -> Callable[[Tensor], Tensor]:
        return fit_probe(pretrained, dataset, len(test.class_names), _linear(settings))

    probe = fit(training)
    clean = _judge(pretrained, probe, test, test)
    top1 = clean.pop("top1")
    result: dict[str, Any] = {"top1": top1}
    details: dict[str, Any] = {"clean": clean, "hidden": {}}
    details["notes"] = _linear(settings).describe()
    for kind in KINDS:
        masks = _masks(test, kind, settings)
        details["hidden"][kind] = masks.share(test).tolist()
        probes = {"": probe} if settings.train != "occluded" else {}
        if settings.train != "clean":
            alike = occluded(training, _masks(training, kind, settings))
            probes["_occluded_training"] = fit(alike)
        for ending, each in probes.items():
            judged = _judge(pretrained, each, occluded(test, masks), test)
            result[f"{kind}_top1{ending}"] = judged.pop("top1")
            result[f"{kind}_drop{ending}"] = top1 - result[f"{kind}_top1{ending}"]
            details[kind + ending] = judged
    return {**result, "details": details}


@dataclass(frozen=True)
class Robustness:
    """How far test recordings are altered, step by step."""

    ratios: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    """Hidden shares of the joints, or frames."""
    noise: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    """Standard deviations of noise on the joints, in the store's unit."""
    strides: tuple[int, ...] = (2, 3, 4)
    """Only every such frame is there."""
    persons: Persons = "first"
    """Whose body parts are hidden."""
    solver: Solver = "logistic"
    """Logistic regression on cached features, or whose published protocol."""
    seed: int = 0
    """Of masks, noise and a published protocol."""

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
    settings: Robustness = Robustness(),
) -> dict[str, Any]:
    """Linear probe, trained on clean recordings, on ever more altered test recordings.

    Args:
        pretrained: The encoder and how it wants its clips.
        training: Labelled training part.
        test: Labelled test part.
        settings: The alterations.

    Returns:
        Fractions: ``top1`` of unaltered recordings, and the means ``spatial_top1``,
        ``temporal_top1``, ``noise_top1`` and ``frame_rate_top1`` over the steps of an
        alteration. ``details``: ``curves`` with ``values`` and ``top1`` of each step of an
        alteration, the first of which is the unaltered recording, and of occlusion ``hidden``,
        the mean share that really was hidden: body parts are hidden whole, and ratios that hide
        the same parts are one step; ``unit`` and ``fps`` of the store; ``notes``, what the
        solver did.

    Raises:
        ValueError: If a sequence has no label, or the data do not fit the encoder.
    """
    check_labels(training, test)
    check_cut(training, test)
    check_classes(training, _linear(settings))
    probe = fit_probe(pretrained, training, len(test.class_names), _linear(settings))

    def top1(dataset: ClipDataset) -> float:
        accuracy: float = _judge(pretrained, probe, dataset, test)["top1"]
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
    meta = test.store.meta
    details = {"curves": curves, "unit": meta["unit"], "fps": meta["fps"]}
    details["notes"] = _linear(settings).describe()
    return {"top1": clean, **means, "details": details}


def _linear(settings: Occlusion | Robustness) -> Linear:
    if settings.solver == "logistic":
        return Linear()
    return Linear(settings.solver, probe=Probe(seed=settings.seed))


def _judge(
    pretrained: Pretrained,
    probe: Callable[[Tensor], Tensor],
    dataset: ClipDataset,
    test: SkeletonDataset,
) -> dict[str, Any]:
    summary = summarize(probe(extract_features(pretrained, dataset).values), test)
    details: dict[str, Any] = summary.pop("details")
    return {**summary, **details}


def _masks(dataset: SkeletonDataset, kind: Kind, settings: Occlusion) -> OcclusionMasks:
    """Masks of the data set's whole store, kept ones where there are."""
    store = dataset.store
    whole = SkeletonDataset(store, max_frames=dataset.max_frames, skeleton=dataset.skeleton)
    drawn = (settings.ratio, settings.persons, settings.seed)
    if settings.masks is None:
        return occlusion_masks(whole, kind, *drawn)
    file = settings.masks / f"{store.path.resolve().name}-{kind}.npz"
    if not file.exists():
        save_masks(file, occlusion_masks(whole, kind, *drawn))
    masks = load_masks(file)
    if (masks.kind, masks.ratio, masks.persons, masks.seed) != (kind, *drawn):
        raise ValueError(
            f"{file}: expected {kind} masks of ratio, persons and seed {drawn}, got {masks.kind} "
            f"ones of {(masks.ratio, masks.persons, masks.seed)}; give masks another folder, or "
            "the settings of this one"
        )
    return masks
