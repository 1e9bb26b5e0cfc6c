"""Small networks on top of an encoder: projectors, decoders, order head, classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3._names import names_of
from pcm3._torch import recur
from pcm3.checks import check_count, check_number, shape_or_type, shorten

DecoderMode = Literal["fixed_state", "fixed_weights"]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)


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
        _check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
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
        _check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
        for layer in self:
            features = layer(features)
        return features


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
    """
    _check_shape("maps (N, M, T', V, D)", maps, 5, {})
    with torch.no_grad():
        squared = (maps - maps.mean(dim=(2, 3), keepdim=True)).square()
        places = max(maps.shape[2] * maps.shape[3] - 1, 1)
        variance = squared.sum(dim=(2, 3), keepdim=True) / places
        attention = torch.sigmoid(squared / (4 * (variance + 1e-4)) + 0.5)
        joints = (attention.mean(dim=(2, 4), keepdim=True) < threshold).to(maps.dtype)
        entries = (attention < threshold).to(maps.dtype)
        joints, entries = (kept / kept.mean().clamp(min=1e-6) for kept in (joints, entries))
    return maps * joints * entries


class MaskedMotionDecoder(nn.Module):
    """The decoder of joint coordinates from frame features: a framewise adapter, GRU, linear map.

    Args:
        in_features: Width D of the frame features.
        joints: V of the clips to predict.
        in_channels: C of the clips to predict.
        persons: M of the clips to predict.
        hidden: Width of adapter and GRU, 512 in the published model.
        layers: GRU layers.

    Shapes:
        ``(N, T, D)`` to clips ``(N, C, T, V, M)``.

    Raises:
        ValueError: If a size is not a whole number >= 1, or frame features have another shape.

    Source:
        PCM3 Sec. 3.2.
    """

    def __init__(
        self,
        in_features: int,
        joints: int = 25,
        in_channels: int = 3,
        persons: int = 2,
        hidden: int = 512,
        layers: int = 2,
    ) -> None:
        super().__init__()
        sizes = {"in_features": in_features, "joints": joints, "in_channels": in_channels}
        sizes |= {"persons": persons, "hidden": hidden, "layers": layers}
        for name, size in sizes.items():
            check_count(name, size)
        self.in_features = in_features
        self.frame = {"v": joints, "c": in_channels, "m": persons}
        self.adapter = nn.Sequential(
            nn.Linear(in_features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
        )
        self.gru = nn.GRU(hidden, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, joints * in_channels * persons)

    def forward(self, frames: Tensor) -> Tensor:
        """Predict clips ``(N, C, T, V, M)`` from frame features ``(N, T, D)``."""
        _check_shape("frame features (N, T, D)", frames, 3, {2: ("D", self.in_features)})
        adapted = self.adapter(rearrange(frames, "n t d -> (n t) d"))
        states = recur(self.gru, rearrange(adapted, "(n t) d -> n t d", n=len(frames)))
        predicted: Tensor = self.output(states)
        return rearrange(predicted, "n t (v c m) -> n c t v m", **self.frame)


class StateDecoder(nn.Module):
    """The weak decoder of Predict & Cluster: a clip from one sequence feature, frame by frame.

    It is kept weak, so that the encoder has to put the motion into the feature:

    * ``"fixed_state"``: in each step a GRU starts again from the feature h, sees the last frame and
      changes it, ``y[t + 1] = y[t] + W GRU(y[t], h)``. Frame 0 is given.
    * ``"fixed_weights"``: an ordinary GRU starts from h and sees its own last output, at first
      zeros, ``s[t] = GRU(y[t - 1], s[t - 1])`` and ``y[t] = W s[t]``. All weights stay as they were
      drawn.

    Args:
        in_features: Width D of the feature, and of the GRU.
        joints: V of the clips to predict.
        in_channels: C of the clips to predict.
        persons: M of the clips to predict.
        mode: What is fixed.

    Shapes:
        Features ``(N, D)`` and first frames ``(N, C, V, M)`` to clips ``(N, C, T, V, M)``.

    Raises:
        ValueError: If a size is not a whole number >= 1, the mode is unknown, or features or first
            frames have another shape.

    Source:
        Su, Liu, Shlizerman: Predict & Cluster, CVPR 2020.
    """

    def __init__(
        self,
        in_features: int,
        joints: int = 25,
        in_channels: int = 3,
        persons: int = 2,
        mode: DecoderMode = "fixed_state",
    ) -> None:
        super().__init__()
        sizes = {"joints": joints, "in_channels": in_channels, "persons": persons}
        for name, size in (("in_features", in_features), *sizes.items()):
            check_count(name, size)
        if mode not in get_args(DecoderMode):
            raise ValueError(f"expected mode among {get_args(DecoderMode)}, got {shorten(mode)}")
        self.in_features = in_features
        self.frame = {"c": in_channels, "v": joints, "m": persons}
        self.mode = mode
        size = joints * in_channels * persons
        self.cell = nn.GRUCell(size, in_features)
        self.output = nn.Linear(in_features, size)
        if mode == "fixed_weights":
            self.requires_grad_(False)

    def forward(self, features: Tensor, first: Tensor, frames: int) -> Tensor:
        """Predict clips of T frames.

        Args:
            features: Sequence features ``(N, D)``.
            first: The first frames ``(N, C, V, M)``. They are frame 0 of the result with a fixed
                state, and are not used with fixed weights.
            frames: Number of frames T.
        """
        _check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
        sizes = (len(features), *self.frame.values())
        axes = dict(enumerate(zip(("N", "C", "V", "M"), sizes, strict=True)))
        _check_shape("first frames (N, C, V, M)", first, 4, axes)
        check_count("frames", frames)
        last = first.flatten(1)
        clip = [last]
        if self.mode == "fixed_state":
            for _ in range(frames - 1):
                last = last + self.output(self.cell(last, features))
                clip.append(last)
        else:
            last, clip, state = torch.zeros_like(last), [], features
            for _ in range(frames):
                state = self.cell(last, state)
                last = self.output(state)
                clip.append(last)
        return rearrange(torch.stack(clip, dim=1), "n t (c v m) -> n c t v m", **self.frame)

    def extra_repr(self) -> str:
        """The mode."""
        return f"mode={self.mode!r}"


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
        _check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
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
        _check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
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
        _check_shape("tokens (N, M, T', V, D)", tokens, 5, axes)
        if present is not None:
            axes = {0: ("N", tokens.shape[0]), 1: ("M", tokens.shape[1])}
            _check_shape("present (N, M)", present, 2, axes)
        persons = rearrange(self.dropout(tokens).mean(dim=2), "n m v d -> n m (v d)")
        if present is None:
            features = persons.mean(dim=1)
        else:
            features = (persons * present[..., None]).sum(1) / present.sum(1, keepdim=True)
        scores: Tensor = self.network(features)
        return scores


def _check_shape(what: str, value: Tensor, ndim: int, axes: Mapping[int, tuple[str, int]]) -> None:
    fits = isinstance(value, Tensor) and value.ndim == ndim
    if not fits or any(value.shape[axis] != size for axis, (_, size) in axes.items()):
        sizes = " and ".join(f"{name}={size}" for name, size in axes.values())
        raise ValueError(f"expected {what} with {sizes}, got {shape_or_type(value)}")
