"""Decoders, which predict joint coordinates from features."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3._torch import recur
from pcm3.checks import check_count, shorten
from pcm3.heads.shapes import check_shape

DecoderMode = Literal["fixed_state", "fixed_weights"]


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

    Example:
        >>> MaskedMotionDecoder(16, joints=25, hidden=32)(torch.randn(4, 64, 16)).shape
        torch.Size([4, 3, 64, 25, 2])
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
        check_shape("frame features (N, T, D)", frames, 3, {2: ("D", self.in_features)})
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

    Example:
        >>> decoder = StateDecoder(16, joints=25)
        >>> decoder(torch.randn(4, 16), torch.randn(4, 3, 25, 2), frames=64).shape
        torch.Size([4, 3, 64, 25, 2])
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
        check_shape("features (N, D)", features, 2, {1: ("D", self.in_features)})
        sizes = (len(features), *self.frame.values())
        axes = dict(enumerate(zip(("N", "C", "V", "M"), sizes, strict=True)))
        check_shape("first frames (N, C, V, M)", first, 4, axes)
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
