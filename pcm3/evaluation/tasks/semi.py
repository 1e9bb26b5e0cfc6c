"""Semi-supervised evaluation: learning with the labels of a share of the training part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from statistics import mean
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pcm3.checks import check_different, check_not_empty, check_positive
from pcm3.data.dataset import SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.details import require
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.metrics import accuracy
from pcm3.evaluation.probes import fit_logistic
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.finetune import (
    FinetuneSettings,
    check_fraction,
    check_parts,
    draw_labelled,
    draw_rows,
    evaluate_finetune,
)
from pcm3.evaluation.tasks.finetune_recipes import RECIPES, RecipeSettings
from pcm3.runs.results import Result
from pcm3.runs.series import Picture, Series
from pcm3.viz.results import curve_figure


@dataclass(frozen=True)
class SemiSettings(RecipeSettings):
    """Settings of semi-supervised evaluation."""

    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2)
    """Labelled shares of the training part, in (0, 1]."""
    draws: int = 5
    """Runs with each share; run i, from 0, has the seed ``seed + i``."""
    frozen: bool = False
    """Logistic regression on frozen features instead of fine-tuning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("draws", self.draws)
        check_not_empty("fractions", self.fractions)
        for fraction in self.fractions:
            check_fraction(fraction)
        check_different("fractions", self.fractions)
        if self.frozen:
            default = RecipeSettings(balanced=self.balanced, seed=self.seed)
            for field in fields(RecipeSettings):
                if getattr(self, field.name) != getattr(default, field.name):
                    raise ValueError(f"{field.name} has no effect on a frozen encoder")


def evaluate_semi(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: SemiSettings = SemiSettings(),
) -> dict[str, Any]:
    """Recognise actions with the labels of a share of the training part.

    Each share is drawn several times, with other labelled sequences and another seed.

    Args:
        pretrained: The encoder, which is not changed, and its input.
        training: Labelled training part.
        test: Labelled test part.
        settings: Shares, number of draws, frozen encoder or recipe of fine-tuning, first seed.

    Returns:
        For every share, such as 0.1: ``top1_at_0.1``, the mean accuracy of the draws as a fraction,
        and, for more than one draw, ``top1_std_at_0.1``, their standard deviation (with n - 1 in
        the denominator). ``details``: ``runs``, one for each share and draw with its ``fraction``,
        ``seed``, ``training_sequences`` and ``top1``; ``recipe``, all its values by name, for
        fine-tuning; and ``notes`` on shares that were left out, with the reason, or have few
        sequences.

    Raises:
        ValueError: If every share is too small, and as ``evaluate_finetune`` or
            ``evaluate_linear``.
    """
    check_parts(training, test)
    classes = np.unique(training.labels)
    learner = _Frozen if settings.frozen else _Finetuned
    learn = learner(pretrained, training, test, settings)
    seeds = range(settings.seed, settings.seed + settings.draws)
    runs: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    result: dict[str, Any] = {}
    for fraction in settings.fractions:
        try:
            learn.check(fraction, seeds)
        except ValueError as error:
            skipped[str(fraction)] = str(error)
            continue
        for seed in seeds:
            sequences, top1 = learn(fraction, seed)
            figures = {"training_sequences": sequences, "top1": top1}
            runs.append({"fraction": fraction, "seed": seed, **figures})
        tops = [run["top1"] for run in runs if run["fraction"] == fraction]
        result[f"top1_at_{fraction}"] = float(np.mean(tops))
        if len(tops) > 1:
            result[f"top1_std_at_{fraction}"] = float(np.std(tops, ddof=1))
    if not result:
        raise ValueError("; ".join(f"fraction {share}: {why}" for share, why in skipped.items()))
    notes = [f"share {fraction} left out: {why}" for fraction, why in skipped.items()]
    used = {run["fraction"]: run["training_sequences"] for run in runs}
    notes += [
        f"share {fraction}: {count} labelled sequences for {len(classes)} classes"
        for fraction, count in used.items()
        if count < 2 * len(classes)
    ]
    return {**result, "details": {"runs": runs, **learn.details, "notes": notes}}


class _Finetuned:
    """Fine-tuning with the labels of a share of the training part, drawn with a seed."""

    def __init__(
        self,
        pretrained: Pretrained,
        training: SkeletonDataset,
        test: SkeletonDataset,
        settings: SemiSettings,
    ) -> None:
        self.parts = pretrained, training, test
        self.common = {f.name: getattr(settings, f.name) for f in fields(RecipeSettings)}
        self.recipe = settings.resolve(pretrained.encoder)
        self.details = {"recipe": self.recipe._asdict()}

    def check(self, fraction: float, _seeds: Sequence[int]) -> None:
        """Raise a ``ValueError`` if the share is too small."""
        settings = FinetuneSettings(**self.common, label_fraction=fraction)
        draw_rows(self.parts[1].labels, settings, self.recipe.batch_size)

    def __call__(self, fraction: float, seed: int) -> tuple[int, float]:
        """Number of labelled sequences and accuracy."""
        settings = FinetuneSettings(**self.common | {"seed": seed}, label_fraction=fraction)
        result = evaluate_finetune(*self.parts, settings)
        return result["details"]["training_sequences"], result["top1"]


class _Frozen:
    """Logistic regression on the features of such a share."""

    def __init__(
        self,
        pretrained: Pretrained,
        training: SkeletonDataset,
        test: SkeletonDataset,
        settings: SemiSettings,
    ) -> None:
        self.training = extract_features(pretrained, training)
        self.test = extract_features(pretrained, test)
        self.classes, self.balanced = len(test.class_names), settings.balanced
        self.details: dict[str, Any] = {}

    def check(self, fraction: float, seeds: Sequence[int]) -> None:
        """Raise a ``ValueError`` if the share is too small."""
        for seed in seeds:
            labels = self.training.labels[self._draw(fraction, seed)].unique()
            if len(labels) < 2:
                raise ValueError(
                    f"expected labelled sequences of at least 2 classes, got 1 with seed {seed}"
                )

    def __call__(self, fraction: float, seed: int) -> tuple[int, float]:
        """Number of labelled sequences and accuracy."""
        rows = self._draw(fraction, seed)
        labelled = Features(self.training.values[rows], self.training.labels[rows])
        scores = fit_logistic(labelled, self.classes)(self.test.values)
        return len(rows), accuracy(scores.argmax(dim=1), self.test.labels)

    def _draw(self, fraction: float, seed: int) -> NDArray[np.int64]:
        return draw_labelled(self.training.labels.numpy(), fraction, self.balanced, seed)


class _Draw(TypedDict):
    fraction: float
    top1: float


class _Details(TypedDict, total=False):
    runs: list[_Draw]


def _check(result: Result) -> None:
    shares = [draw["fraction"] for draw in result.details.get("runs", ())]
    require(all(0 < share <= 1 for share in shares), f"fractions in (0, 1], got {shares!s:.100}")


def _curve(series: Series) -> Iterator[Picture]:
    curves = {}
    for name, group in series.items():
        accuracies: dict[float, list[float]] = {}
        for entry in group.entries:
            draws: dict[float, list[float]] = {}
            for run in entry.result.details.get("runs", ()):
                draws.setdefault(run["fraction"], []).append(run["top1"])
            for fraction, sample in draws.items():
                accuracies.setdefault(fraction, []).append(mean(sample))
        if accuracies:
            several = len(group.entries) > 1
            curves[name] = group.curve(dict(sorted(accuracies.items())), spread=several)
    if curves:
        yield Picture(
            "Few labels",
            series.caption(
                "Accuracy with the labels of a share of the training part, mean of the draws of "
                "the labelled sequences"
            ),
            [curve_figure(curves, "labelled share", x_percent=True, logarithmic=True)],
        )


TASK = Task(
    about="The whole network, or a classifier of its features, trained with few labels, several "
    "draws of each share.",
    settings=SemiSettings,
    recipes=RECIPES,
    evaluate=evaluate_semi,
    headline=("top1_at_*",),
    legend={
        "top1_at_F": "top1 with the labels of the share F of the training part, mean of the draws",
        "top1_std_at_F": "standard deviation of top1_at_F over the draws of one run",
    },
    details=_Details,
    check=_check,
    pictures=(_curve,),
)
