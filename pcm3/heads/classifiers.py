"""Heads that score classes: of orders, for probes and for fine-tuning."""

from __future__ import annotations

import math

from einops import rearrange
from torch import Tensor, nn

from pcm3.checks import check_count
from pcm3.heads.shapes import check_shape


class OrderHead(nn.Sequential):
    """The head that tells the order of a clip's segments: Linear, batch norm, ReLU, Linear.

    Args:
        in_features: Width D of the sequence feature.
        segments: Number of segments S.
        hidden: Width of the hidden layer, 2048 in the published model.

    Shapes:
        ``(N, in_features)`` to scores of the orders ``(N, S!)``, in the lexicographic order of
        ``itertools.permutations(range(S))``.

    Raises:
        ValueError: If a size is not a whole number >= 1, or features have another shape.

    Source:
        MS2L (Lin et al., ACM MM 2020).

    Example:
        >>> import torch
        >>> OrderHead(16, segments=3)(torch.randn(4, 16)).shape
        torch.Size([4, 6])
    """

    def __init__(self, in_features: int, segments: int = 3, hidden: int = 2048) -> None:
        for name, size in (("in_features", in_features), ("segments", segments)):
            check_count(name, size)
        check_count("hidden", hidden)
        super().__init__(
            nn.Linear(in_features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, math.factorial(segments)),
        )
        self.in_features = in_features

    def forward(self, features: Tensor) -> Tensor:
        """Scores of the orders of features ``(N, in_features)``."""
        check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
        for layer in self:
            features = layer(features)
        return features


class Classifier(nn.Linear):
    """The linear probe's head: weights N(0, 0.01), zero bias.

    Args:
        in_features: Width D of the sequence feature.
        classes: Number of classes.

    Shapes:
        ``(N, in_features)`` to class scores ``(N, classes)``.

    Source:
        The linear evaluation of ISC, CMD and PCM3.

    Example:
        >>> import torch
        >>> Classifier(16, classes=60)(torch.randn(4, 16)).shape
        torch.Size([4, 60])
    """

    def __init__(self, in_features: int, classes: int) -> None:
        super().__init__(in_features, classes)
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)


class ProbeHead(nn.Sequential):
    """MAMP's linear-probe head: batch normalisation without weights, then a linear map.

    Args:
        in_features: Width D of the sequence feature.
        classes: Number of classes.

    Shapes:
        ``(N, in_features)`` to class scores ``(N, classes)``.

    Source:
        The linear evaluation of MAE and MAMP.

    Example:
        >>> import torch
        >>> ProbeHead(16, classes=60)(torch.randn(4, 16)).shape
        torch.Size([4, 60])
    """

    def __init__(self, in_features: int, classes: int) -> None:
        linear = nn.Linear(in_features, classes)
        nn.init.trunc_normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        super().__init__(nn.BatchNorm1d(in_features, eps=1e-6, affine=False), linear)
        self.in_features = in_features

    def forward(self, features: Tensor) -> Tensor:
        """Class scores of features ``(N, in_features)``.

        Raises:
            ValueError: If the features are of another shape.
        """
        check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
        norm, linear = self
        scores: Tensor = linear(norm(features))
        return scores


class FinetuneHead(nn.Module):
    """MAMP's fine-tuning head: each joint's mean over time and persons, then a small network.

    Args:
        in_features: Width D of a token.
        joints: V.
        classes: Number of classes.
        hidden: Width of the hidden layer.
        dropout: Probability of dropping an entry of a token.

    Shapes:
        Tokens ``(N, M, T', V, D)`` of ``TransformerEncoder.tokens`` to class scores
        ``(N, classes)``.

    Source:
        The fine-tuning of MAMP.

    Example:
        >>> import torch
        >>> FinetuneHead(16, joints=25, classes=60)(torch.randn(4, 2, 8, 25, 16)).shape
        torch.Size([4, 60])
    """

    def __init__(
        self,
        in_features: int,
        joints: int,
        classes: int,
        hidden: int = 2048,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.joints = joints
        self.dropout = nn.Dropout(dropout)
        self.network = nn.Sequential(
            nn.Linear(joints * in_features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )
        for layer in self.network:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Class scores of tokens ``(N, M, T', V, D)``.

        Args:
            tokens: The batch.
            present: Persons to average over, boolean ``(N, M)``, at least one per sample, such as
                the result of ``TransformerEncoder.present``. All by default.

        Raises:
            ValueError: If the tokens or ``present`` have another shape.
        """
        axes = {3: ("V", self.joints), 4: ("D", self.in_features)}
        check_shape("tokens (N, M, T', V, D)", tokens, 5, axes)
        if present is not None:
            axes = {0: ("N", tokens.shape[0]), 1: ("M", tokens.shape[1])}
            check_shape("present (N, M)", present, 2, axes)
        persons = rearrange(self.dropout(tokens).mean(dim=2), "n m v d -> n m (v d)")
        if present is None:
            features = persons.mean(dim=1)
        else:
            features = (persons * present[..., None]).sum(1) / present.sum(1, keepdim=True)
        scores: Tensor = self.network(features)
        return scores
