"""Action detection in untrimmed recordings: windows are classified, frames become intervals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.checks import check_positive, check_seed
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.classification import sequence_name
from pcm3.evaluation.details import require
from pcm3.evaluation.features import check_data
from pcm3.evaluation.probes import check_drops
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.detection.annotation import check_annotation
from pcm3.evaluation.tasks.detection.average_precision import (
    summarize_detection,
    summarize_published,
)
from pcm3.evaluation.tasks.detection.classifier import too_short, train_window_classifier
from pcm3.evaluation.tasks.detection.proposals import (
    Proposal,
    activity_proposals,
    pad_with_background,
    sliding_window_proposals,
    smooth,
    write_pku_results,
)
from pcm3.evaluation.tasks.detection.recipes import RECIPES, Borders, DetectionRecipe, Rule, Windows
from pcm3.runs.results import Result
from pcm3.runs.series import Picture, Series, source_of
from pcm3.viz.results import time_line_figure

RecipeName = Literal["default", "pcm3", "survey", "survey-finetune", "survey-sliding-window"]

_PADDING = 50  # frames of background after a recording, more than the rules look ahead


@dataclass(frozen=True)
class DetectionSettings:
    """Settings of detection; None takes the value of the recipe, see ``RECIPES``."""

    recipe: RecipeName = "default"
    """One for small data, with the values shown here, or a published one; options change it."""
    windows: Windows | None = None
    """32 frames in a row, or 16 frames, every third to fifth (in tests every fourth)."""
    borders: Borders | None = None
    """Near an end, repeat the end frame, or move windows inside the recording."""
    finetune: bool | None = None
    """Train the whole encoder, not only a linear classifier."""
    adapt_norm: bool | None = None
    """Let the batch normalisation of a frozen encoder adapt to the training windows."""
    normalize: bool | None = None
    """Standardise features by batch statistics before the linear map."""
    epochs: int | None = None
    """Passes over the training recordings, with 16 windows around random frames of each."""
    lr: float | None = None
    """SGD learning rate; Nesterov momentum 0.9, no weight decay."""
    drops: tuple[int, ...] | None = None
    """Epochs, counted from 0, at which the rate falls tenfold."""
    batch_size: int | None = None
    """Number of windows per step."""
    rule: Rule | None = None
    """Rule that turns the probabilities of frames into intervals."""
    smoothing: int | None = None
    """Frames of a moving mean over the probabilities; 0 for none."""
    every: int = 1
    """Classify every n-th frame of test recordings; other frames get the nearest one's class."""
    seed: int = 0
    """Seed of weights, windows and their order."""
    pku_files: Path | None = None
    """Folder to write the proposals to, in the format of PKU-MMD's evaluator."""

    def __post_init__(self) -> None:
        kinds = {"recipe": RecipeName, "windows": Windows, "borders": Borders, "rule": Rule}
        for name, kind in kinds.items():
            got = getattr(self, name)
            if got is not None and got not in get_args(kind):
                raise ValueError(f"expected {name} among {get_args(kind)}, got {got!r}")
        check_positive("every", self.every)
        check_seed(self.seed)
        resolved = self.resolve()
        for name in ("epochs", "lr", "batch_size"):
            check_positive(name, getattr(resolved, name))
        check_drops(self.drops, resolved.epochs)
        if resolved.normalize and resolved.batch_size < 2:
            raise ValueError("expected batch_size >= 2 to normalize by batch statistics, got 1")
        if resolved.smoothing < 0:
            raise ValueError(f"expected smoothing >= 0, got {resolved.smoothing}")

    def resolve(self) -> DetectionRecipe:
        """Complete the settings by the recipe; the schedule keeps its shape with other epochs."""
        recipe = RECIPES[self.recipe]
        if self.epochs is not None:
            first, *drops = (
                epoch * self.epochs // recipe.epochs
                for epoch in (recipe.start_epoch, *recipe.drops)
            )
            recipe = recipe._replace(start_epoch=first, drops=tuple(drops))
        values: dict[str, Any] = {name: getattr(self, name, None) for name in recipe._fields}
        given = {name: value for name, value in values.items() if value is not None}
        return recipe._replace(**given)


def evaluate_detection(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: DetectionSettings = DetectionSettings(),
) -> dict[str, Any]:
    """Find the actions in untrimmed recordings.

    A linear classifier predicts the class of a frame, which may be background, from the encoder's
    feature of a window. In training this is the middle frame of the window, in tests the frame
    that the window was cut around; they differ if the window was moved inside the recording. A
    recording shorter than such a window is padded with empty frames, and windows whose middle
    frame is empty are not learnt from. As in the papers, windows keep their own length, which is
    not the length that the encoder was trained on. Only for a transformer they are resized to
    that length, because its temporal embeddings need it. Whole recordings are used, whatever the
    ``max_frames`` of the data sets. Classes are not balanced.

    The default recipe was chosen for small data, on training subjects held out of 36 short
    recordings. The published recipes are for features of width 2048 and 25 times as many steps
    per epoch. The activity rule joins actions that follow each other without a gap.

    Args:
        pretrained: The encoder, which is not changed, and its input.
        training: Annotated untrimmed recordings to train on.
        test: Annotated untrimmed recordings to test on.
        settings: Settings, by default the recipe for small data.

    Returns:
        For each overlap θ of 0.1, 0.3 and 0.5: ``map_action_voc_θ``, which the papers report;
        ``map_action_pku_θ``; and, with ends as the papers' code reads them,
        ``map_action_published_θ`` and ``map_video_published_θ``, see ``summarize_published``.
        Further ``map_video_pku_0.5``, ``f1_0.5``, ``ap_2d``, and ``frame_accuracy`` with background
        as a class. All are in [0, 1]. ``details`` holds ``recipe`` (all its values by name),
        ``notes`` on recordings too short to learn from, ``class_names`` and ``videos``. Each video
        has ``name``, ``frames``, ``truth`` and ``predicted`` (the likeliest class of the frames) as
        lists of ``[class, start, end]``, with an exclusive end and class -1 for background, and
        ``proposals`` as ``[class, start, end, confidence]``.

    Raises:
        ValueError: If a store has no frame labels, the classes of the two parts differ, the
            data do not fit the encoder, all training recordings are too short, or the loss stops
            being finite.

    Source:
        PCM3 Sec. 4.3 and the survey of PCM3++, and their code where the text leaves something open.
    """
    probabilities = frame_probabilities(pretrained, training, test, settings)
    proposals = find_proposals(probabilities, settings)
    result = summarize_detection(probabilities, proposals, test)
    result |= summarize_published(published_proposals(probabilities, settings), test)
    recipe = settings.resolve()
    described = recipe._asdict() | {"drops": list(recipe.drops)}
    result["details"]["recipe"] = {"recipe": settings.recipe, **described}
    if short := too_short(training, recipe):
        result["details"]["notes"] = [
            f"{short} of {len(training)} training recordings are no longer than half a window: "
            "not used"
        ]
    if settings.pku_files is not None:
        videos = test.indices.tolist()
        names = {number: _file_name(test.store, index) for number, index in enumerate(videos)}
        write_pku_results(settings.pku_files, proposals, names)
    return result


def _file_name(store: Store, index: int) -> str:
    """Return the name of a recording, or its number if the reader only made a name up."""
    name = re.sub(r"^sequence (?=\d+$)", "sequence-", sequence_name(store, index))
    return name or f"sequence-{index}"


def frame_probabilities(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: DetectionSettings = DetectionSettings(),
) -> list[NDArray[np.float32]]:
    """Train the classifier of ``evaluate_detection`` and apply it to every frame.

    Returns:
        Probabilities (T, classes + 1) of each test recording; the last column is background.

    Raises:
        ValueError: As ``evaluate_detection``.
    """
    for part in (training, test):
        check_data(pretrained, part)
    check_annotation(training, test)
    recipe = settings.resolve()
    model = train_window_classifier(pretrained, training.uncut(), recipe, settings.seed)
    whole = test.uncut()
    return [
        model.probabilities(whole[item][0], recipe, settings.every) for item in range(len(whole))
    ]


def find_proposals(
    probabilities: Sequence[ArrayLike], settings: DetectionSettings
) -> list[Proposal]:
    """Smooth probabilities and apply the rule of the settings to every recording.

    As in the published code, background follows the recording, and smoothing mixes it into the
    last frames. Proposals are cut at the end of the recording.

    Args:
        probabilities: Result of ``frame_probabilities``.
        settings: Settings, of which ``smoothing`` and ``rule`` matter.

    Returns:
        Proposals whose ``video`` is the recording's place in the list.
    """
    frames = [len(np.asarray(rows)) for rows in probabilities]
    return [
        proposal._replace(end=min(proposal.end, frames[proposal.video]))
        for proposal in _search(probabilities, settings)
    ]


def published_proposals(
    probabilities: Sequence[ArrayLike], settings: DetectionSettings
) -> list[Proposal]:
    """Find proposals as the published code does, to compare figures.

    Proposals may end after the recording. With the sliding-window rule, the end is the last frame,
    not the frame after it, and the confidence has five decimals.
    """
    proposals = _search(probabilities, settings)
    if settings.resolve().rule == "activity":
        return proposals
    return [
        proposal._replace(end=proposal.end - 1, confidence=round(proposal.confidence, 5))
        for proposal in proposals
    ]


def _search(probabilities: Sequence[ArrayLike], settings: DetectionSettings) -> list[Proposal]:
    """Find proposals with exclusive ends in recordings that are followed by background."""
    recipe = settings.resolve()
    rule = sliding_window_proposals if recipe.rule == "sliding_window" else activity_proposals
    proposals = []
    for video, rows in enumerate(probabilities):
        padded = pad_with_background(rows, -1, recipe.smoothing + _PADDING)
        proposals += rule(smooth(padded, recipe.smoothing), -1, video=video)
    return proposals


class _Video(TypedDict):
    name: str
    frames: int
    truth: list[tuple[int, int, int]]
    proposals: list[tuple[int, int, int, float]]


class _Details(TypedDict, total=False):
    videos: list[_Video]


def _check(result: Result) -> None:
    for at, video in enumerate(result.details.get("videos", ())):
        require(video["frames"] > 0, f"videos[{at}] of frames, got {video['frames']}")


def _time_lines(series: Series) -> Iterator[Picture]:
    for entry, name in series.first_with("videos"):
        videos = entry.result.details["videos"]
        if videos:
            yield Picture(
                f"Detected actions: {name}",
                f"{len(videos[:6])} of {len(videos)} test recordings over time: annotated actions "
                "above, detected ones below, paler with lower confidence. Numbers and colours are "
                f"classes. {source_of([entry])}",
                [time_line_figure(videos[:6], entry.result.class_names)],
            )


TASK = Task(
    about="Intervals of actions in untrimmed recordings.",
    settings=DetectionSettings,
    recipes=RECIPES,
    evaluate=evaluate_detection,
    headline=("map_action_voc_0.5", "map_action_pku_0.5", "map_video_pku_0.5"),
    legend={
        "map_action_voc_T": "mean over classes of the average precision of detected intervals, as "
        "in PASCAL VOC; a match overlaps (intersection over union) by T or more",
        "map_action_pku_T": "mean over classes of the average precision of detected intervals, as "
        "in PKU-MMD's evaluation; a match overlaps by T or more",
        "map_video_pku_T": "mean over recordings of the average precision of detected intervals, "
        "all classes together, as in PKU-MMD's evaluation; a match overlaps by T or more",
        "map_action_published_T": "map_action_voc_T with ends as the code of PCM3 and PCM3++ "
        "reads them, to compare with their figures: proposals may end a frame early or after the "
        "recording, and both ends count as included",
        "map_video_published_T": "map_video_pku_T with ends as the code of PCM3 and PCM3++ reads "
        "them, to compare with their figures: proposals may end a frame early or after the "
        "recording",
        "f1_T": "harmonic mean of precision and recall of detected intervals, overlap T or more",
        "ap_2d": "PKU-MMD's 2D-AP: mean average precision over overlaps 0.05, 0.1, ... 1",
        "frame_accuracy": "share of the frames given the right class, with background as a class",
    },
    details=_Details,
    check=_check,
    pictures=(_time_lines,),
    needs="frame labels",
    learns_classes=False,
    frames=lambda _: "all",
)
