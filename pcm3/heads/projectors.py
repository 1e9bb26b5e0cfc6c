"""The embedding heads of contrastive methods."""

from __future__ import annotations

from torch import Tensor, nn

from pcm3.checks import check_count
from pcm3.heads.shapes import check_shape


class Projector(nn.Sequential):
    """The embedding head h of contrastive learning: Linear, ReLU, Linear.

    The output is not normalised; cosine similarity needs ``F.normalize``.

    Args:
        in_features: Width D of the sequence feature.
        out_features: Width of the embedding, 128 in the paper.

    Shapes:
        ``(N, in_features)`` to ``(N, out_features)``.

    Raises:
        ValueError: If a width is not a whole number >= 1, or features have another shape.

    Source:
        PCM3 Sec. 3.1; MoCo v2.

    Example:
        >>> import torch
        >>> Projector(16, 128)(torch.randn(4, 16)).shape
        torch.Size([4, 128])
    """

    def __init__(self, in_features: int, out_features: int = 128) -> None:
        check_count("in_features", in_features)
        check_count("out_features", out_features)
        last = nn.Linear(in_features, out_features)
        nn.init.xavier_uniform_(last.weight)
        super().__init__(nn.Linear(in_features, in_features), nn.ReLU(), last)
        self.in_features = in_features

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings ``(N, out_features)`` of features ``(N, in_features)``."""
        check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
        for layer in self:
            features = layer(features)
        return features


class ExpanderHead(nn.Sequential):
    """The wide embedding head of Barlow Twins and VICReg.

    Each layer but the last is Linear, BatchNorm, ReLU; the last is Linear. No Linear has a bias.

    Args:
        in_features: Width D of the sequence feature.
        width: Width of all layers, 6144 in PSTL.
        depth: Number of layers.

    Shapes:
        ``(N, in_features)`` to ``(N, width)``.

    Raises:
        ValueError: If a size is not a whole number >= 1, or features have another shape.

    Source:
        Barlow Twins (Zbontar et al., ICML 2021).

    Example:
        >>> import torch
        >>> ExpanderHead(16, width=32)(torch.randn(4, 16)).shape
        torch.Size([4, 32])
    """

    def __init__(self, in_features: int, width: int = 6144, depth: int = 3) -> None:
        for name, size in (("in_features", in_features), ("width", width), ("depth", depth)):
            check_count(name, size)
        layers: list[nn.Module] = []
        for layer in range(depth - 1):
            before = width if layer else in_features
            layers += [nn.Linear(before, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        last = width if depth > 1 else in_features
        super().__init__(*layers, nn.Linear(last, width, bias=False))
        self.in_features = in_features

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings ``(N, width)`` of features ``(N, in_features)``."""
        check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
        for layer in self:
            features = layer(features)
        return features
