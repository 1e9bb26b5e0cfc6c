"""The linear probe: a linear classifier on the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.classification import (
    LEGEND,
    PICTURES,
    RecognitionDetails,
    check_labels,
    check_recognition,
    summarize,
)
from pcm3.evaluation.features import (
    Features,
    check_cut,
    extract_features,
    extract_random_crops,
)
from pcm3.evaluation.probes import ProbeRecipe, ProbeSettings, fit_logistic, train_classifier
from pcm3.evaluation.tasks.base import Fusion, Task

Solver = Literal["logistic", "pcm3", "cmd", "mamp", "mamp-pku1", "mamp-pku2"]


@dataclass(frozen=True)
class LinearSettings:
    """Settings of the linear classifier."""

    solver: Solver = "logistic"
    """Logistic regression on centre crops, or a published protocol: that of PCM3, of CMD and ISC,
    or of MAMP, which has its own for PKU-MMD I and II."""
    regularization: float = 1.0
    """Inverse strength of the L2 penalty of logistic regression."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    """Changes to the published protocol."""

    def __post_init__(self) -> None:
        if self.solver not in get_args(Solver):
            raise ValueError(f"expected a solver among {get_args(Solver)}, got {self.solver!r}")
        if not self.regularization > 0:
            raise ValueError(f"expected regularization > 0, got {self.regularization}")
        name, default = (
            ("probe", ProbeSettings()) if self.solver == "logistic" else ("regularization", 1)
        )
        if getattr(self, name) != default:
            raise ValueError(f"{name} has no effect on solver {self.solver}")
        _ = self.recipe

    @property
    def recipe(self) -> ProbeRecipe | None:
        """The recipe of the solver; None for logistic regression."""
        return None if self.solver == "logistic" else self.probe.applied_to(self.solver)

    def describe(self) -> list[str]:
        """Return notes on how a published protocol trains; none for logistic regression."""
        return [f"classifier trained for {self.recipe}"] if self.recipe else []

    def note_on_steps(self, sequences: int) -> list[str]:
        """Return a note if a batch holds the whole training part of a published protocol."""
        if self.recipe is None or self.recipe.batch_size <= sequences:
            return []
        return [
            f"the batch of {self.recipe.batch_size} is larger than the training part of "
            f"{sequences} sequences: one step an epoch (--probe.batch-size)"
        ]


def evaluate_linear(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: LinearSettings = LinearSettings(),
) -> dict[str, Any]:
    """Recognise actions by a linear classifier on the features of a frozen encoder.

    Args:
        pretrained: The encoder and its input.
        training: Labelled training part.
        test: Labelled test part.
        settings: Settings of the classifier.

    Returns:
        ``top1`` and ``per_class`` accuracies as fractions. ``details``: ``confusion`` (rows are
        the true classes), ``predicted`` and ``labels`` of each sequence, and ``notes`` on the
        solver.

    Raises:
        ValueError: If a sequence has no label, the data do not fit the encoder, or solver
            ``"logistic"`` has only one class to learn.
    """
    scores = linear_scores(pretrained, training, test, settings)
    result = judge_scores(scores, test, settings)
    result["details"]["notes"] += settings.note_on_steps(len(training))
    return result


def judge_scores(scores: Tensor, test: SkeletonDataset, settings: LinearSettings) -> dict[str, Any]:
    """Compute the result of ``evaluate_linear`` from class scores ``(N, classes)``.

    Raises:
        ValueError: If a score is NaN or +infinity.
    """
    result = summarize(scores, test)
    result["details"]["notes"] = settings.describe()
    return result


def linear_scores(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: LinearSettings = LinearSettings(),
) -> Tensor:
    """Compute class scores ``(N, classes)`` of the test part; see ``evaluate_linear``.

    Raises:
        ValueError: As ``evaluate_linear``.
    """
    check_labels(training, test)
    check_classes(training, settings)
    if settings.recipe is not None:
        check_cut(training, test)
    probe = fit_probe(pretrained, training, len(test.class_names), settings)
    return probe(extract_features(pretrained, test).values)


def fit_probe(
    pretrained: Pretrained,
    training: ClipDataset,
    classes: int,
    settings: LinearSettings = LinearSettings(),
) -> Callable[[Tensor], Tensor]:
    """Fit the classifier of ``evaluate_linear`` on the features of a frozen encoder.

    Args:
        pretrained: The encoder and how it wants its clips.
        training: The labelled recordings.
        classes: Number of classes.
        settings: Solver and recipe.

    Returns:
        A function from features ``(N, D)`` to scores ``(N, classes)``.
    """
    recipe = settings.recipe
    if recipe is None:
        features = extract_features(pretrained, training)
        return fit_logistic(features, classes, settings.regularization)
    generator = torch.Generator().manual_seed(recipe.seed)

    def draw() -> Features:
        return extract_random_crops(pretrained, training, generator, degrees=recipe.degrees)

    return train_classifier(draw, pretrained.encoder.out_features, classes, recipe)


def check_classes(training: SkeletonDataset, settings: LinearSettings) -> None:
    """Require at least the two classes that logistic regression needs.

    Raises:
        ValueError: If there are fewer; the message names the store and the class.
    """
    labels = np.unique(training.labels).tolist()
    if settings.solver == "logistic" and len(labels) < 2:
        names = "".join(f" ({training.class_names[label]!r})" for label in labels)
        raise ValueError(
            f"expected a training part of at least 2 classes, got {len(labels)}{names} in the "
            f"{len(training)} training sequences of {training.store.path}"
        )


TASK = Task(
    about="A linear classifier on frozen features.",
    settings=LinearSettings,
    evaluate=evaluate_linear,
    headline=("top1",),
    legend=LEGEND,
    details=RecognitionDetails,
    check=check_recognition,
    pictures=PICTURES,
    frames=lambda settings: "windows" if settings["solver"] == "logistic" else "first",
    fusion=Fusion(linear_scores, judge_scores),
    shown=("solver",),
    also_called={"recognition": "linear"},
    examples=("--solver pcm3 --run joint bone motion --data store",),
    frames_help="; other solvers than logistic use the first 300 frames",
)
