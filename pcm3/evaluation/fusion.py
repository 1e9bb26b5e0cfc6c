"""Several encoders, usually of joint, bone and motion streams, judge together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pcm3.evaluation.metrics import check_scores

STREAM_WEIGHTS = (0.6, 0.6, 0.4)
"""Of joint, bone and motion, as AimCLR fixes them (and HiCLR beside equal weights)."""


def fuse(scores: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Weighted sum of class scores.

    Fix the weights before you look at test data: choosing them there is training on it.

    Args:
        scores: ``(N, classes)`` of each encoder's classifier, for the same sequences: logarithms of
            probabilities or logits, but the same of all.
        weights: One for each encoder, at least 0; equal by default. A weight of 0 leaves an
            encoder out.

    Returns:
        ``(N, classes)`` float64, so that rounding decides no tie.

    Raises:
        ValueError: If there is nothing to fuse, a weight is negative or all are 0, sizes differ, or
            a score is NaN or +infinity; the message names its row.

    Example:
        >>> joint, bone = torch.tensor([[0.6, 0.4]]), torch.tensor([[0.1, 0.9]])
        >>> int(fuse([joint, bone]).argmax()), int(fuse([joint, bone], (0.9, 0.1)).argmax())
        (1, 0)
    """
    weights = [1.0 / max(len(scores), 1)] * len(scores) if weights is None else list(weights)
    if not scores or len(weights) != len(scores):
        raise ValueError(
            f"expected a weight for each of {len(scores)} encoders, at least one, got {weights}"
        )
    if not min(weights) >= 0 or not 0 < sum(weights) < math.inf:
        raise ValueError(f"expected weights >= 0, not all of them 0, got {weights}")
    shapes = {tuple(each.shape) for each in scores}
    if len(shapes) > 1:
        raise ValueError(f"expected scores of one shape (N, classes), got {sorted(shapes)}")
    for number, each in enumerate(scores):
        check_scores(f"scores of encoder {number}", each)
    # 0 times the -inf of a class without training data would be NaN
    parts = [w * each.double() for w, each in zip(weights, scores, strict=True) if w > 0]
    return torch.stack(parts).sum(dim=0)
