"""Semi-supervised evaluation: fine-tuning with the labels of a share of the training part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

import numpy as np

from pcm3.checks import check_different, check_not_empty, check_positive
from pcm3.data.dataset import SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.details import require
from pcm3.evaluation.tasks.base import Draws, Task
from pcm3.evaluation.tasks.finetune import (
    FinetuneSettings,
    check_fraction,
    check_parts,
    draw_rows,
    evaluate_finetune,
)
from pcm3.evaluation.tasks.finetune_recipes import RECIPES, RecipeSettings
from pcm3.runs.results import Result
from pcm3.runs.series import Picture, Series, source_of
from pcm3.viz.results import curve_figure


@dataclass(frozen=True)
class SemiSettings(RecipeSettings):
    """Settings of semi-supervised evaluation."""

    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2)
    """Shares of the training part whose labels are used, in (0, 1]."""
    draws: int = 5
    """Runs with each share; run i, from 0, has the seed ``seed + i``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("draws", self.draws)
        check_not_empty("fractions", self.fractions)
        for fraction in self.fractions:
            check_fraction(fraction)
        check_different("fractions", self.fractions)


def evaluate_semi(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: SemiSettings = SemiSettings(),
) -> dict[str, Any]:
    """Recognise actions after fine-tuning with the labels of a share of the training part.

    Each share is drawn several times, with other labelled sequences and another seed.

    Args:
        pretrained: The encoder, which is not changed, and its input.
        training: Labelled training part.
        test: Labelled test part.
        settings: Shares, number of draws, recipe, first seed.

    Returns:
        For every share, such as 0.1: ``top1_at_0.1``, the mean accuracy of the draws as a fraction,
        and, for more than one draw, ``top1_std_at_0.1``, their standard deviation (with n - 1 in
        the denominator). ``details``: ``runs``, one for each share and draw with its ``fraction``,
        ``seed``, ``training_sequences`` and ``top1``; ``recipe``, all its values by name; and
        ``notes`` on shares that were left out, with the reason, or have few sequences.

    Raises:
        ValueError: If every share is too small, and as ``evaluate_finetune``.
    """
    check_parts(training, test)
    classes = np.unique(training.labels)
    common = {field.name: getattr(settings, field.name) for field in fields(RecipeSettings)}
    recipe = settings.resolve(pretrained.encoder)
    runs: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    result: dict[str, Any] = {}
    for fraction in settings.fractions:
        first = FinetuneSettings(**common, label_fraction=fraction)
        try:
            draw_rows(training.labels, first, recipe.batch_size)
        except ValueError as error:
            skipped[str(fraction)] = str(error)
            continue
        for seed in range(settings.seed, settings.seed + settings.draws):
            draw = evaluate_finetune(pretrained, training, test, replace(first, seed=seed))
            runs.append(
                {
                    "fraction": fraction,
                    "seed": seed,
                    "training_sequences": draw["details"]["training_sequences"],
                    "top1": draw["top1"],
                }
            )
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
    details = {"runs": runs, "recipe": recipe._asdict(), "notes": notes}
    return {**result, "details": details}


class _Draw(TypedDict):
    fraction: float
    top1: float


class _Details(TypedDict, total=False):
    runs: list[_Draw]


def _check(result: Result) -> None:
    shares = [draw["fraction"] for draw in result.details.get("runs", ())]
    require(all(0 < share <= 1 for share in shares), f"fractions in (0, 1], got {shares!s:.100}")


def _draws(result: Result, figure: str) -> list[float]:
    """Return the accuracies whose mean is ``top1_at_F``."""
    draws = result.details.get("runs", ())
    return [draw["top1"] for draw in draws if figure == f"top1_at_{draw['fraction']}"]


def _curve(series: Series) -> Iterator[Picture]:
    curves = {}
    for name, group in series.items():
        accuracies: dict[float, list[float]] = {}
        for entry in group.entries:
            for run in entry.result.details.get("runs", ()):
                accuracies.setdefault(run["fraction"], []).append(run["top1"])
        if accuracies:
            curves[name] = group.curve(dict(sorted(accuracies.items())), spread=True)
    if curves:
        yield Picture(
            "Few labels",
            "Accuracy after fine-tuning with the labels of a share of the training part: mean and "
            "standard deviation over all draws of the labelled sequences and all seeds. "
            f"{source_of(series.entries)}",
            [curve_figure(curves, "labelled share", x_percent=True, logarithmic=True)],
        )


TASK = Task(
    about="The whole network trained on with few labels, several draws of each share.",
    settings=SemiSettings,
    recipes=RECIPES,
    evaluate=evaluate_semi,
    headline=("top1_at_*",),
    legend={
        "top1_at_F": "top1 after fine-tuning with the labels of the share F of the training part",
    },
    details=_Details,
    check=_check,
    pictures=(_curve,),
    draws=Draws(
        _draws,
        spread="top1_std_at_*",
        note="± of top1_at_F is the standard deviation over all draws of the labelled sequences "
        "and all seeds.",
    ),
)
