"""Calibrated probabilities: folds of the training part, the temperature and the threshold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from pcm3.evaluation.metrics import accuracy, expected_calibration_error

_LOWEST, _HIGHEST = 1e-3, 1e3  # temperatures
_RIGHT_BUT_UNKNOWN = 0.05  # share of right labels below the threshold
_LEAST = math.log(1e-12)  # smallest log probability that counts


@dataclass(frozen=True)
class Folds:
    """Folds of a training part, each of which is predicted by what is fitted on the others.

    Attributes:
        of: Fold of each item (N,), int64.
        grouped: Whether all items of a group are in one fold.
        why: Why groups do not count; empty if they do, or there are none.
    """

    of: NDArray[np.int64]
    grouped: bool
    why: str = ""

    def parts(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The items that train, and those that are predicted, of each fold."""
        for fold in range(int(self.of.max()) + 1):
            yield np.flatnonzero(self.of != fold), np.flatnonzero(self.of == fold)


def make_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, count: int, seed: int
) -> Folds:
    """Divide a training part into folds, with all items of a group, such as a subject, in one fold.

    Groups are dealt to the folds at random. They do not count where they are unknown, fewer than
    two, or leave more than half of the items without another item of their class in other folds.
    Then the items of each class are dealt to the folds at random.

    Args:
        labels: Class of each item (N,).
        groups: Group of each item (N,), -1 if unknown; None without groups.
        count: Largest number of folds.
        seed: Of the draws.
    """
    random, why = np.random.default_rng(seed), ""
    if groups is not None and (groups < 0).any():
        why = f"{int((groups < 0).sum())} of {len(groups)} have none"
    elif groups is not None:
        names = random.permutation(np.unique(groups))
        why = "all have the same one"
        if len(names) > 1:
            folds = np.arange(len(names)) % count
            of = np.zeros(len(labels), np.int64)
            for name, fold in zip(names.tolist(), folds.tolist(), strict=True):
                of[groups == name] = fold
            grouped = Folds(of, grouped=True)
            if sum(known(labels, *parts).sum() for parts in grouped.parts()) >= len(labels) / 2:
                return grouped
            why = "more than half have a class that no other subject has"
    of = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        of[rows] = np.arange(len(rows)) % count
    return Folds(of, grouped=False, why=why)


def known(
    labels: NDArray[np.int64], training: NDArray[np.int64], held_out: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which held-out items have a class that is in the training items."""
    return np.isin(labels[held_out], labels[training])


def count_by_class(
    names: Sequence[str],
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> dict[str, dict[str, Any]]:
    """Count for each class what its items were taken for out of fold.

    Args:
        names: Names of the classes.
        labels: Class of each item (N,).
        rows: The items that were predicted out of fold (P,).
        predicted: Their predicted classes (P,).

    Returns:
        For each class ``labelled`` and ``judged`` items, how many of the latter were ``right``, and
        ``taken_for``, other classes and how often each was predicted, the commonest first.
    """
    counts = {}
    for label, name in enumerate(names):
        answers = Counter(predicted[labels[rows] == label].tolist())
        others = [(names[at], count) for at, count in answers.most_common() if at != label]
        counts[name] = {
            "labelled": int((labels == label).sum()),
            "judged": answers.total(),
            "right": answers[label],
            "taken_for": dict(others),
        }
    return counts


class Calibration(NamedTuple):
    """What out-of-fold predictions say of a classifier.

    Attributes:
        temperature: Of the probabilities.
        threshold: Least probability of a known label.
        figures: ``recordings`` predicted out of fold, their ``accuracy``, and ``log_loss``,
            ``calibration_error`` and ``mean_probability`` (of the likeliest class) with this
            temperature, and ``log_loss_before`` with a temperature of 1.
        predicted: The likeliest classes ``(N,)``.
    """

    temperature: float
    threshold: float
    figures: dict[str, float]
    predicted: Tensor


def calibrate(log_probabilities: Callable[[float], Tensor], labels: Tensor) -> Calibration:
    """Choose the temperature and the threshold of a classifier from out-of-fold predictions.

    The temperature has the lowest log loss, in which one further prediction counts as wrong: of n
    predictions that are all right, which would give probabilities of 1, each counts as right by
    (n + 1) / (n + 2) and as each other class by an equal share of the rest. The threshold is the
    5 % quantile of the probabilities of the predictions that are right: of 20 right labels one
    becomes unknown. It is 0 if none is right.

    Args:
        log_probabilities: From a temperature to logarithms of probabilities ``(N, classes)``.
        labels: The true classes ``(N,)``.

    Raises:
        ValueError: If there is no prediction.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, for the temperature;
        Platt, "Probabilistic Outputs for Support Vector Machines", 1999, for targets below 1.
    """
    if len(labels) == 0:
        raise ValueError("expected predictions to calibrate with, got none")

    share = 1 / (len(labels) + 2)  # of the other classes

    def loss(logarithm: float, share: float = share) -> float:
        rows = log_probabilities(math.exp(logarithm)).double().clamp(min=_LEAST)
        right = rows.gather(1, labels[:, None])[:, 0]
        others = (rows.sum(dim=1) - right) / max(rows.shape[1] - 1, 1)
        return float(-((1 - share) * right + share * others).mean())

    span = (math.log(_LOWEST), math.log(_HIGHEST))
    # from a coarse grid, as the loss of nearest neighbours may have several minima
    grid = np.linspace(*span, 25)
    at = int(np.argmin([loss(each) for each in grid.tolist()]))
    bounds = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    best = math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
    rows = log_probabilities(best).exp()
    probabilities, predicted = rows.max(dim=1)
    right = predicted == labels
    threshold = 0.0
    if bool(right.any()):
        threshold = float(torch.quantile(probabilities[right].double(), _RIGHT_BUT_UNKNOWN))
    return Calibration(
        best,
        threshold,
        {
            "recordings": len(labels),
            "accuracy": accuracy(predicted, labels),
            "log_loss": loss(math.log(best), share=0),
            "log_loss_before": loss(0.0, share=0),
            "calibration_error": expected_calibration_error(probabilities.clamp(0, 1), right),
            "mean_probability": float(probabilities.double().mean()),
        },
        predicted,
    )
