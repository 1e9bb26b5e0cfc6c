"""Operations on features that have no weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcm3.checks import check_number
from pcm3.heads.shapes import check_shape


def attention_drop(maps: Tensor, threshold: float = 0.7) -> Tensor:
    r"""Drop the parts of feature maps that stand out most (AimCLR, energy-based attention drop).

    For each person and channel, with the mean :math:`\mu` over times and joints,

    .. math::
        a = \mathrm{sigmoid}\left(\frac{(x - \mu)^2}
            {4 \left(\sum (x - \mu)^2 / (T' V - 1) + 10^{-4}\right)} + \frac12\right)

    First the joints of a person whose mean a over times and channels reaches the threshold become
    0, then every entry whose a does. After both, what is left is divided by its share of the batch.

    Args:
        maps: Features ``(N, M, T', V, D)``, as ``Encoder.maps`` returns them.
        threshold: Attention from which on parts are dropped; a is at least 0.62.

    Returns:
        Maps of the same shape. The attention has no gradient.

    Raises:
        ValueError: If the maps have another shape.

    Source:
        Guo et al.: Contrastive Learning from Extremely Augmented Skeleton Sequences, AAAI 2022.

    Example:
        >>> attention_drop(torch.randn(4, 2, 16, 25, 8)).shape
        torch.Size([4, 2, 16, 25, 8])
    """
    check_shape("maps (N, M, T', V, D)", maps, 5, {})
    with torch.no_grad():
        squared = (maps - maps.mean(dim=(2, 3), keepdim=True)).square()
        places = max(maps.shape[2] * maps.shape[3] - 1, 1)
        variance = squared.sum(dim=(2, 3), keepdim=True) / places
        attention = torch.sigmoid(squared / (4 * (variance + 1e-4)) + 0.5)
        joints = (attention.mean(dim=(2, 4), keepdim=True) < threshold).to(maps.dtype)
        entries = (attention < threshold).to(maps.dtype)
        joints, entries = (kept / kept.mean().clamp(min=1e-6) for kept in (joints, entries))
    return maps * joints * entries


def gradient_reversal(features: Tensor, scale: float = 1.0) -> Tensor:
    """Return the features; their gradient is multiplied by ``-scale``.

    What is below learns to make worse what is above, such as the guess of a property that the
    features should not have.

    Args:
        features: Any tensor.
        scale: Factor of the gradient.

    Source:
        Ganin and Lempitsky: Unsupervised Domain Adaptation by Backpropagation, ICML 2015.

    Example:
        >>> features = torch.ones(2, requires_grad=True)
        >>> gradient_reversal(features, 0.5).sum().backward()
        >>> features.grad
        tensor([-0.5000, -0.5000])
    """
    check_number("scale", scale)
    reversed_: Tensor = _Reversal.apply(features, scale)  # type: ignore[no-untyped-call]
    return reversed_


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradient, None
