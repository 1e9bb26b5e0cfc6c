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
    return float((predicted == labels).float().mean())


def per_class_accuracy(predicted: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Accuracy within each of ``classes`` classes; None where there is no such label."""
    hits = torch.bincount(labels[predicted == labels], minlength=classes)
    counts = torch.bincount(labels, minlength=classes)
    pairs = zip(hits.tolist(), counts.tolist(), strict=True)
    return [hit / count if count else None for hit, count in pairs]
