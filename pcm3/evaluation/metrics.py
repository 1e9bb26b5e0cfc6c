"""Metrics of the protocols."""

from __future__ import annotations

import torch
from torch import Tensor

from pcm3.checks import check_tensor


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
