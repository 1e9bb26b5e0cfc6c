"""Metrics of the protocols."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pcm3.checks import check_at_least, check_tensor
from pcm3.errors import explain_missing


def check_scores(name: str, scores: Tensor) -> None:
    """Require scores ``(N, classes)`` without NaN and +infinity.

    -infinity stands for a class that a classifier does not know.

    Raises:
        ValueError: If the scores are others; the message gives the shape or the first bad row.
    """
    check_tensor(name, scores)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"expected {name} (N, classes), got {tuple(scores.shape)}")
    wrong = (scores.isnan() | scores.isposinf()).any(dim=1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(f"expected {name} below infinity, got NaN or infinity in row {row}")


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of equal entries of two ``(N,)`` tensors.

    Raises:
        ValueError: If the tensors are empty or of different shapes.
    """
    if predicted.shape != labels.shape or labels.numel() == 0:
        raise ValueError(
            f"expected predictions and labels of one shape (N,), got {tuple(predicted.shape)} "
            f"and {tuple(labels.shape)}"
        )
    return float((predicted == labels).double().mean())


def per_class_accuracy(predicted: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Compute the accuracy within each of ``classes`` classes; None for classes without a label."""
    return class_means(predicted == labels, labels, classes)


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> list[list[int]]:
    """Count sequences by true class (row) and predicted class (column).

    Raises:
        ValueError: If a label or a prediction is outside [0, classes).
    """
    for name, values in (("labels", labels), ("predictions", predicted)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ValueError(
                f"expected {name} in [0, {classes}), got {int(values.min())} to {int(values.max())}"
            )
    counts = torch.bincount(labels * classes + predicted, minlength=classes**2)
    matrix: list[list[int]] = counts.view(classes, classes).tolist()
    return matrix


def class_means(values: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Average ``(N,)`` values within each of ``classes`` classes; None for empty classes."""
    values = values.double()
    sums = torch.bincount(labels, weights=values, minlength=classes)
    counts = torch.bincount(labels, minlength=classes)
    pairs = zip(sums.tolist(), counts.tolist(), strict=True)
    return [total / count if count else None for total, count in pairs]


def mpjpe(predicted: Tensor, true: Tensor, present: Tensor | None = None) -> Tensor:
    """Compute the mean per-joint position error (MPJPE), the mean Euclidean distance of joints.

    Args:
        predicted: Predicted clips ``(N, C, T, V, M)``.
        true: True clips of the same shape, in the same unit.
        present: Joints of ``true`` that count, boolean ``(N, T, V, M)``; all by default.

    Returns:
        The mean error of each frame over all joints, persons and samples ``(T,)``, in the unit of
        the clips; NaN if no joint counts.

    Raises:
        ValueError: If shapes differ.
    """
    if predicted.shape != true.shape or true.ndim != 5:
        raise ValueError(
            f"expected predicted and true clips (N, C, T, V, M) of one shape, got "
            f"{tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    distances: Tensor = (predicted - true).float().norm(dim=1)
    if present is None:
        return distances.mean(dim=(0, 2, 3))
    if present.shape != distances.shape:
        raise ValueError(f"expected present {tuple(distances.shape)}, got {tuple(present.shape)}")
    return (distances * present).sum(dim=(0, 2, 3)) / present.sum(dim=(0, 2, 3))


def expected_calibration_error(probabilities: Tensor, correct: Tensor, bins: int = 15) -> float:
    """How far the probabilities of predictions are from the share of right ones.

    Predictions are put into ``bins`` equal ranges of probability. The error is the mean, over all
    predictions, of the distance between the mean probability of their range and the share of
    right predictions in it.

    Args:
        probabilities: Of the predicted class ``(N,)``, in [0, 1].
        correct: Whether each prediction is right ``(N,)``, boolean.
        bins: Number of ranges.

    Returns:
        The error, in [0, 1].

    Raises:
        ValueError: If shapes differ, there is no prediction, or a probability is out of range.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. 3.
    """
    if probabilities.shape != correct.shape or probabilities.ndim != 1 or len(correct) == 0:
        raise ValueError(
            f"expected probabilities and correct of one shape (N,), got "
            f"{tuple(probabilities.shape)} and {tuple(correct.shape)}"
        )
    if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise ValueError("expected probabilities in [0, 1]")
    check_at_least("bins", bins, 1)
    values, right = probabilities.double(), correct.double()
    places = (values * bins).ceil().long().clamp(1, bins) - 1
    sums = torch.zeros(bins, dtype=torch.float64).index_add_(0, places, values - right)
    return float(sums.abs().sum() / len(values))


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """Area under the ROC curve: how often a positive has a higher score than a negative.

    Equal scores count half.

    Args:
        scores: Scores (N,).
        positive: Which are positive (N,), boolean.

    Returns:
        The area, in [0, 1]; None without positives or without negatives.

    Raises:
        ValueError: If shapes differ, or a score is not finite.
    """
    with explain_missing():
        from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - scikit-learn is slow

    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    if scores.ndim != 1 or scores.shape != positive.shape:
        raise ValueError(
            f"expected scores and positive of one shape (N,), got {scores.shape} and "
            f"{positive.shape}"
        )
    return float(roc_auc_score(positive, scores)) if len(np.unique(positive)) == 2 else None
