"""Losses without negatives, which decorrelate embeddings: Barlow Twins and VICReg."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pcm3._torch import gather_rows
from pcm3.checks import check_at_least
from pcm3.losses.checks import check_pair, in_float32
from pcm3.losses.described import described_by


def barlow_twins(first: Tensor, second: Tensor, off_diagonal: float = 5e-3) -> Tensor:
    r"""Make the cross-correlation of two views the unit matrix.

    .. math::
        \sum_i (1 - C_{ii})^2 + \lambda \sum_{i \ne j} C_{ij}^2, \qquad
        C = \frac{1}{N} \hat A^\top \hat B

    where every dimension of :math:`\hat A` and :math:`\hat B` has mean 0 and variance 1 in the
    batch. With several processes the batch is that of all of them.

    Args:
        first: Embeddings A of one view ``(N, D)``, N >= 2.
        second: Embeddings B of the other view ``(N, D)``.
        off_diagonal: lambda >= 0; 2e-4 in PSTL, with D = 6144.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit, there is a single clip, or lambda is negative.

    Source:
        Zbontar et al.: Barlow Twins, ICML 2021; for skeletons, PSTL (Zhou et al., AAAI 2023).

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> round(float(barlow_twins(z, z)), 4)
        0.0
    """
    check_at_least("off_diagonal", off_diagonal, 0)
    _check_views(first, second)
    with in_float32(first):
        one, other = (_standardized(gather_rows(view.float())) for view in (first, second))
        correlation = one.T @ other / len(one)
        diagonal = correlation.diagonal()
        others = correlation.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + off_diagonal * others


def vicreg(
    first: Tensor,
    second: Tensor,
    invariance: float = 5.0,
    variance: float = 5.0,
    covariance: float = 1.0,
) -> Tensor:
    r"""Make two views equal, every dimension vary, and no two dimensions covary.

    .. math::
        \frac{\alpha}{ND} \lVert A - B \rVert^2 + \sum_{Z \in \{A, B\}} \left[
        \frac{\beta}{D} \sum_i \max(0, 1 - \sqrt{S_{ii} + 10^{-4}}) +
        \frac{\gamma}{D} \sum_{i \ne j} S_{ij}^2 \right], \qquad S = \mathrm{cov}(Z)

    With several processes the batch is that of all of them.

    Args:
        first: Embeddings A of one view ``(N, D)``, N >= 2.
        second: Embeddings B of the other view ``(N, D)``.
        invariance: Weight alpha >= 0 of the mean squared difference.
        variance: Weight beta >= 0 of standard deviations below 1.
        covariance: Weight gamma >= 0 of covariances.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit, there is a single clip, or a weight is negative.

    Source:
        Bardes, Ponce, LeCun: VICReg, ICLR 2022, with weights 25, 12.5 and 1; the defaults are those
        of UmURL (Sun et al., ACM MM 2023), a method for skeletons.

    Example:
        >>> z = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
        >>> round(float(vicreg(z, z)), 4)
        0.0
    """
    for name, weight in (
        ("invariance", invariance),
        ("variance", variance),
        ("covariance", covariance),
    ):
        check_at_least(name, weight, 0)
    _check_views(first, second)
    with in_float32(first):
        one, other = (gather_rows(view.float()) for view in (first, second))
        total = invariance * (one - other).square().mean()
        for view in (one, other):
            centred = view - view.mean(dim=0)
            covariances = centred.T @ centred / (len(view) - 1)
            variances = covariances.diagonal()
            spread = torch.relu(1 - (variances + 1e-4).sqrt()).mean()
            others = (covariances.square().sum() - variances.square().sum()) / view.shape[1]
            total = total + variance * spread + covariance * others
        return total


@described_by(barlow_twins)
class BarlowTwins(nn.Module):
    """This module is :func:`barlow_twins` with a fixed weight.

    Example:
        >>> BarlowTwins(off_diagonal=2e-4)(torch.randn(8, 16), torch.randn(8, 16)).shape
        torch.Size([])
    """

    def __init__(self, off_diagonal: float = 5e-3) -> None:
        super().__init__()
        check_at_least("off_diagonal", off_diagonal, 0)
        self.off_diagonal = off_diagonal

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss."""
        return barlow_twins(first, second, self.off_diagonal)

    def extra_repr(self) -> str:
        """The weight."""
        return f"off_diagonal={self.off_diagonal}"


@described_by(vicreg)
class VICReg(nn.Module):
    """This module is :func:`vicreg` with fixed weights.

    Example:
        >>> VICReg(invariance=25, variance=12.5)(torch.randn(8, 16), torch.randn(8, 16)).shape
        torch.Size([])
    """

    def __init__(
        self, invariance: float = 5.0, variance: float = 5.0, covariance: float = 1.0
    ) -> None:
        super().__init__()
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        for name, weight in self.weights.items():
            check_at_least(name, weight, 0)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss."""
        return vicreg(first, second, **self.weights)

    def extra_repr(self) -> str:
        """The weights."""
        return ", ".join(f"{name}={weight}" for name, weight in self.weights.items())


def _check_views(first: Tensor, second: Tensor) -> None:
    check_pair("first", first, "second", second)
    if len(first) < 2:
        raise ValueError(f"expected two clips or more to decorrelate, got {len(first)}")


def _standardized(view: Tensor) -> Tensor:
    """Dimensions of mean 0 and, but for 1e-5, variance 1."""
    var, mean = torch.var_mean(view, dim=0, correction=0)
    standardized: Tensor = (view - mean) * (var + 1e-5).rsqrt()
    return standardized
