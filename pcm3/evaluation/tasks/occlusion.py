"""Recognition of recordings in which body parts or frames are hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from torch import Tensor

from pcm3.checks import check_seed
from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.alterations import (
    KINDS,
    Kind,
    OcclusionMasks,
    Persons,
    check_ratio,
    load_masks,
    occluded,
    occlusion_masks,
    save_masks,
)
from pcm3.evaluation.classification import check_labels, summarize
from pcm3.evaluation.features import check_cut, extract_features
from pcm3.evaluation.probes import ProbeSettings
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.linear import LinearSettings, Solver, check_classes, fit_probe
from pcm3.runs.series import Picture, Series
from pcm3.viz.results import bar_figure


@dataclass(frozen=True)
class OcclusionSettings:
    """Settings of recognition under occlusion."""

    ratio: tuple[float, float] = (0.3, 0.7)
    """Range of the hidden share of the joints or frames."""
    persons: Persons = "first"
    """Persons whose body parts are hidden."""
    train: Literal["clean", "occluded", "both"] = "both"
    """Recordings that the classifier is trained on."""
    solver: Solver = "logistic"
    """Logistic regression on centre crops, or a published protocol, see linear."""
    masks: Path | None = None
    """Folder of masks; masks in it are used, missing ones are drawn and written."""
    seed: int = 0
    """Seed of the masks and of a published protocol."""

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_seed(self.seed)


def evaluate_occlusion(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: OcclusionSettings = OcclusionSettings(),
) -> dict[str, Any]:
    """Recognise occluded test recordings by a linear classifier on frozen features.

    Args:
        pretrained: The encoder and its input.
        training: Labelled training part.
        test: Labelled test part.
        settings: Settings of masks and classifier.

    Returns:
        Fractions: ``top1`` on clean recordings; ``spatial_top1`` and ``temporal_top1`` on occluded
        ones, by the classifier trained on clean recordings; and, with the ending
        ``_occluded_training``, by one trained on recordings occluded in the same way.
        ``spatial_drop`` and so on are the differences to ``top1``. ``details``: for each of them
        ``per_class``, ``confusion``, ``predicted`` and ``labels``; ``hidden``, the hidden share of
        the joints or frames of each test sequence; ``notes`` on the solver.

    Raises:
        ValueError: If a sequence has no label, the data do not fit the encoder, or the masks in
            the folder were drawn with other settings.
    """
    check_labels(training, test)
    check_cut(training, test)
    linear = probe_settings(settings.solver, settings.seed)
    check_classes(training, linear)

    def fit(dataset: ClipDataset) -> Callable[[Tensor], Tensor]:
        return fit_probe(pretrained, dataset, len(test.class_names), linear)

    probe = fit(training)
    clean = judge(pretrained, probe, test, test)
    top1 = clean.pop("top1")
    result: dict[str, Any] = {"top1": top1}
    details: dict[str, Any] = {"clean": clean, "hidden": {}}
    details["notes"] = [*linear.describe(), *linear.note_on_steps(len(training))]
    for kind in KINDS:
        masks = _masks(test, kind, settings)
        details["hidden"][kind] = masks.share(test).tolist()
        probes = {"": probe} if settings.train != "occluded" else {}
        if settings.train != "clean":
            occluded_training = occluded(training, _masks(training, kind, settings))
            probes["_occluded_training"] = fit(occluded_training)
        for ending, classifier in probes.items():
            judged = judge(pretrained, classifier, occluded(test, masks), test)
            result[f"{kind}_top1{ending}"] = judged.pop("top1")
            result[f"{kind}_drop{ending}"] = top1 - result[f"{kind}_top1{ending}"]
            details[kind + ending] = judged
    return {**result, "details": details}


CLEAN_TOP1 = "share of the unaltered test sequences given the right class"
"""Legend of ``top1`` in tasks that alter recordings."""


def probe_settings(solver: Solver, seed: int) -> LinearSettings:
    """Return the linear probe of a solver; a published one has this seed."""
    if solver == "logistic":
        return LinearSettings()
    return LinearSettings(solver, probe=ProbeSettings(seed=seed))


def judge(
    pretrained: Pretrained,
    probe: Callable[[Tensor], Tensor],
    altered: ClipDataset,
    test: SkeletonDataset,
) -> dict[str, Any]:
    """Compute figures and details of a classifier on altered test recordings, in one mapping."""
    summary = summarize(probe(extract_features(pretrained, altered).values), test)
    details: dict[str, Any] = summary.pop("details")
    return summary | details


def _masks(dataset: SkeletonDataset, kind: Kind, settings: OcclusionSettings) -> OcclusionMasks:
    """Return the masks of the data set's whole store, from their file if there is one."""
    store = dataset.store
    whole = dataset.whole()
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
            f"ones of {(masks.ratio, masks.persons, masks.seed)}; give --masks another folder, or "
            "use the settings of this one"
        )
    return masks


class _Clean(TypedDict):
    labels: list[int]


class _Details(TypedDict, total=False):
    clean: _Clean


_BARS = {
    "top1": "clean",
    "spatial_top1": "parts hidden",
    "spatial_top1_occluded_training": "parts, also in training",
    "temporal_top1": "frames hidden",
    "temporal_top1_occluded_training": "frames, also in training",
}


def _bars(series: Series) -> Iterator[Picture]:
    keys = [key for key in _BARS if any(key in entry.result.metrics for entry in series.entries)]
    if keys:
        yield Picture(
            "Occluded recordings",
            series.caption(
                "Accuracy of a linear classifier on test recordings with hidden body parts or a "
                "hidden block of frames, trained on clean recordings or on occluded ones"
            ),
            [bar_figure(series.bars(keys), [_BARS[key] for key in keys], "top-1 accuracy")],
        )


TASK = Task(
    about="A linear classifier on recordings with hidden body parts or frames.",
    settings=OcclusionSettings,
    evaluate=evaluate_occlusion,
    headline=("spatial_top1", "temporal_top1"),
    legend={
        "top1": CLEAN_TOP1,
        "spatial_top1": "top1 with body parts hidden",
        "temporal_top1": "top1 with a block of frames hidden",
        "spatial_top1_occluded_training": "spatial_top1 of a classifier trained on recordings "
        "with hidden body parts",
        "temporal_top1_occluded_training": "temporal_top1 of a classifier trained on recordings "
        "with hidden frames",
        "spatial_drop": "top1 minus spatial_top1",
        "temporal_drop": "top1 minus temporal_top1",
        "spatial_drop_occluded_training": "top1 minus spatial_top1_occluded_training",
        "temporal_drop_occluded_training": "top1 minus temporal_top1_occluded_training",
    },
    details=_Details,
    pictures=(_bars,),
    labels=lambda details: details.get("clean", {}).get("labels"),
    shown=("solver",),
)
