"""Measures of features without labels, which show whether they collapse and how they spread."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pcm3.checks import check_tensor


def effective_rank(features: Tensor) -> float:
    """Compute the effective rank: the exponential of the entropy of the singular values.

    With singular values s_k of the features and p_k = s_k / sum_j s_j it is
    exp(-sum_k p_k log p_k).

    Args:
        features: Features ``(N, D)`` with at least two rows, finite. They are not centred.

    Returns:
        A number from 1, for features that are multiples of each other, to min(N, D); 0 if all
        features are zero.

    Raises:
        ValueError: If the features have another shape or are not finite.

    Source:
        RankMe (Garrido et al., ICML 2023).

    Example:
        >>> round(effective_rank(torch.eye(5)), 4)
        5.0
    """
    _check("features", features)
    values = torch.linalg.svdvals(features.double())
    total = values.sum()
    if total == 0:
        return 0.0
    return float(torch.special.entr(values / total).sum().exp())


def normalized_std(features: Tensor) -> float:
    """Compute the standard deviation of L2-normalised features, averaged over dimensions.

    Args:
        features: Features ``(N, D)`` with at least two rows, finite.

    Returns:
        0 if all features have one direction, about 1 / sqrt(D) if directions are even.

    Raises:
        ValueError: If the features have another shape or are not finite.

    Source:
        SimSiam (Chen and He, CVPR 2021), Figure 2.
    """
    _check("features", features)
    return float(F.normalize(features.double(), dim=1).std(dim=0).mean())


def alignment(first: Tensor, second: Tensor) -> float:
    """Compute the mean squared distance of the L2-normalised features of two views.

    Args:
        first: Features ``(N, D)`` of one view, finite.
        second: Features of another view of the same clips, in the same order.

    Returns:
        A number from 0, for equal directions, to 4. Less is better, and collapsed features have 0.

    Raises:
        ValueError: If the features have other shapes or are not finite.

    Source:
        Wang and Isola (ICML 2020), with alpha = 2.
    """
    _check("first", first)
    _check("second", second)
    if first.shape != second.shape:
        raise ValueError(
            f"expected features of one shape, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    one, other = (F.normalize(view.double(), dim=1) for view in (first, second))
    return float((one - other).square().sum(dim=1).mean())


def uniformity(features: Tensor) -> float:
    """Compute how evenly L2-normalised features are spread over the sphere.

    It is the logarithm of the mean of exp(-2 d^2) over all pairs of features, of distance d.

    Args:
        features: Features ``(N, D)`` with at least two rows, finite.

    Returns:
        A number from about -4 to 0. Less is more even; collapsed features have 0.

    Raises:
        ValueError: If the features have another shape or are not finite.

    Source:
        Wang and Isola (ICML 2020), with t = 2.
    """
    _check("features", features)
    distances = torch.pdist(F.normalize(features.double(), dim=1))
    return float((-2 * distances.square()).exp().mean().log())


def _check(name: str, features: Tensor) -> None:
    check_tensor(name, features)
    if features.ndim != 2 or len(features) < 2 or features.shape[1] == 0:
        raise ValueError(f"expected {name} (N >= 2, D), got {tuple(features.shape)}")
    if not bool(features.isfinite().all()):
        raise ValueError(f"expected finite {name}, got NaN or infinity")
