"""The recurrent encoder of ISC, CMD and PCM3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3._torch import recur
from pcm3.checks import check_count
from pcm3.encoders.base import Encoder, Pool
from pcm3.skeleton import Skeleton, joint_count

Direction = Literal["causal_pair", "bidirectional", "forward"]


class GRUEncoder(Encoder):
    """Batch normalisation of the joints, followed by stacked GRUs.

    Every layer is a pair of GRUs whose outputs are concatenated. ``direction`` sets the direction
    of the second one:

    * ``"causal_pair"``: both run forward in time, and no feature depends on later frames. This is
      what the published PCM3 code computes, which feeds a bidirectional GRU one frame at a time.
    * ``"bidirectional"``: the second runs backward, as the PCM3 paper says.
    * ``"forward"``: each layer has only one GRU.

    Args:
        skeleton_or_joints: A skeleton, or its number of joints V.
        in_channels: Number of coordinates C of a joint.
        persons: Number of persons M of a clip.
        hidden: Width of one GRU. The published model has 1024.
        layers: Number of layers.
        direction: Direction of the second GRU of a layer.
        pool: Sequence feature: that of the ``"last"`` frame (published) or the ``"mean"`` over
            frames (far better on small data).

    Shapes:
        ``(N, C, T, V, M)`` to frame features ``(N, T, D)`` with D = 2 x hidden, or hidden with
        ``direction="forward"``.
        Encoders take no lengths: crop padded clips first, with
        :class:`pcm3.augment.TemporalCropResize` or
        :func:`pcm3.augment.functional.center_crop_resize`.

    Raises:
        ValueError: If direction or pool is unknown, a size is below 1, or clips or prompt do not
            fit.

    Source:
        PCM3 Sec. 4.2; CMD (Mao et al., ECCV 2022).

    Example:
        >>> encoder = GRUEncoder(25, hidden=8)
        >>> frames = encoder(torch.randn(4, 3, 64, 25, 2))
        >>> frames.shape, encoder.pool(frames).shape
        (torch.Size([4, 64, 16]), torch.Size([4, 16]))
    """

    def __init__(
        self,
        skeleton_or_joints: Skeleton | int = 25,
        in_channels: int = 3,
        persons: int = 2,
        hidden: int = 1024,
        layers: int = 3,
        direction: Direction = "causal_pair",
        pool: Pool = "last",
    ) -> None:
        joints = joint_count(skeleton_or_joints)
        super().__init__(joints, in_channels, persons, pool)
        if direction not in get_args(Direction):
            raise ValueError(f"expected direction among {get_args(Direction)}, got {direction!r}")
        check_count("hidden", hidden)
        check_count("layers", layers)
        self.direction = direction
        self.causal = direction != "bidirectional"
        self.feature_blocks = 1 if direction == "forward" else 2
        self.out_features = hidden * self.feature_blocks
        frame_size = joints * in_channels * persons
        self.input_norm = nn.BatchNorm1d(frame_size)
        inputs = [frame_size] + [self.out_features] * (layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                nn.GRU(size, hidden, batch_first=True) for _ in range(self.feature_blocks)
            )
            for size in inputs
        )
        for weight in self.layers.parameters():
            if weight.ndim == 2:
                nn.init.xavier_uniform_(weight)

    @classmethod
    def from_sizes(  # type: ignore[override]
        cls,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        *,
        hidden: int,
        layers: int,
        direction: Direction,
        pool: Pool,
    ) -> GRUEncoder:
        """Build an encoder with the sizes in the settings of a method."""
        return cls(skeleton, in_channels, persons, hidden, layers, direction, pool)

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments that rebuild the encoder."""
        return {
            "skeleton_or_joints": self.joints,
            "in_channels": self.in_channels,
            "persons": self.persons,
            "hidden": self.out_features // self.feature_blocks,
            "layers": len(self.layers),
            "direction": self.direction,
            "pool": self.pooling,
        }

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to frame features ``(N, T, D)``.

        Args:
            clips: The clips.
            prompt: ``(C, V, M)``, added to every frame after the input normalisation.

        Raises:
            ValueError: If clips or prompt do not have this encoder's C, V and M, or the clips its
                dtype, or a coordinate is not finite (checked on the CPU only).
        """
        return self._recur(self._normalize(clips, prompt))

    def encode_views(
        self, views: Sequence[Tensor], prompts: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Encode several views in one pass of the GRUs, each with its own normalisation."""
        inputs = [self._normalize(*pair) for pair in zip(views, prompts, strict=True)]
        return list(self._recur(torch.cat(inputs)).split([len(view) for view in views]))

    def _normalize(self, clips: Tensor, prompt: Tensor | None) -> Tensor:
        self.check_clips(clips, prompt)
        batch = len(clips)
        vectors = rearrange(clips, "n c t v m -> (n t) (v c m)")
        frames: Tensor = rearrange(self.input_norm(vectors), "(n t) d -> n t d", n=batch)
        return frames if prompt is None else frames + rearrange(prompt, "c v m -> (v c m)")

    def _recur(self, frames: Tensor) -> Tensor:
        for pair in self.layers:
            assert isinstance(pair, nn.ModuleList)
            outputs = []
            for index, gru in enumerate(pair):
                backward = index == 1 and self.direction == "bidirectional"
                assert isinstance(gru, nn.GRU)
                output = recur(gru, frames.flip(1) if backward else frames)
                outputs.append(output.flip(1) if backward else output)
            frames = torch.cat(outputs, dim=-1)
        return frames

    def step(
        self, frames: Tensor, hidden: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode the next frames ``(N, C, V, M)`` to features ``(N, D)``.

        Args:
            frames: One frame of every sequence.
            hidden: Hidden states ``(N, hidden)`` of all GRUs, layer by layer; None in the first
                step.

        Returns:
            The features, and the hidden states after the frames.

        Raises:
            ValueError: For the same reasons as calling the encoder.
        """
        features = self._normalize(frames.unsqueeze(2), None)[:, 0]
        if hidden is None:
            zeros = frames.new_zeros(len(frames), self.out_features)
            hidden = zeros.chunk(self.feature_blocks, dim=1) * len(self.layers)
        after: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            states: list[Tensor] = []
            for gru in layer:
                assert isinstance(gru, nn.GRU)
                before = hidden[len(after) + len(states)]
                # half the overhead of calling the module, which is made for whole sequences
                states.append(torch.gru_cell(features, before, *gru.all_weights[0]))
            features = torch.cat(states, dim=-1)
            after += states
        return features, tuple(after)

    def extra_repr(self) -> str:
        """Show the arguments that the layers do not show."""
        return f"direction={self.direction!r}, pool={self.pooling!r}"
