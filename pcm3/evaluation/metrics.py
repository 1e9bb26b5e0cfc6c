"""Metrics of the protocols."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of equal entries of two ``(N,)`` tensors.

    Raises:
        ValueError: If they are empty or of different shapes.
    """
    if predicted.shape != labels.shape or labels.numel() == 0:
        raise ValueError(
            f"expected predictions and labels of one shape (N,), got {tuple(predicted.shape)} "
            f"and {tuple(labels.shape)}"
        )
    return float((predicted == labels).double().mean())


def per_class_accuracy(predicted: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Accuracy within each of ``classes`` classes; None where there is no such label."""
    return class_means(predicted == labels, labels, classes)


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> list[list[int]]:
    """Counts by true class (row) and predicted class (column).

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
    """Mean of ``(N,)`` values within each of ``classes`` classes; None where there is none."""
    values = values.double()
    sums = torch.bincount(labels, weights=values, minlength=classes)
    counts = torch.bincount(labels, minlength=classes)
    pairs = zip(sums.tolist(), counts.tolist(), strict=True)
    return [total / count if count else None for total, count in pairs]
