"""Learnable prompts that tell the encoder which view it sees, and the heads which task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pcm3.checks import check_clips, check_count, readable, shape_or_type
from pcm3.skeleton import Skeleton, joint_count


class DomainPrompt(nn.Module):
    """A learnable offset of every frame, one for each kind of view (PCM3 Eq. 6).

    Called on clips, it adds its offset to them, before the encoder's input normalisation, as in
    the published code. The batch statistics then subtract it again, so it has no effect and does
    not learn. It is effective if ``prompt.offset`` is passed to the encoder, which adds it *after*
    the normalisation.

    Args:
        joints: A skeleton, or its number of joints V.
        in_channels: C of the clips.
        persons: M of the clips.

    Attributes:
        offset: ``(C, V, M)``, initially uniform in +-sqrt(3 / (C V M)) (Xavier).

    Shapes:
        ``(N, C, T, V, M)`` to the same.

    Raises:
        ValueError: If ``joints`` is neither a skeleton nor a number.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> from pcm3.skeleton import NTU25
        >>> encoder, prompt = GRUEncoder(NTU25, hidden=8), DomainPrompt(NTU25)
        >>> encoder(torch.randn(4, 3, 64, 25, 2), prompt.offset).shape
        torch.Size([4, 64, 16])
    """

    def __init__(self, joints: Skeleton | int = 25, in_channels: int = 3, persons: int = 2) -> None:
        super().__init__()
        joints = joint_count(joints)
        bound = (3 / (joints * in_channels * persons)) ** 0.5
        self.offset = nn.Parameter(
            torch.empty(in_channels, joints, persons).uniform_(-bound, bound)
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Add the prompt to every frame of every clip.

        Raises:
            ValueError: If the clips do not have this prompt's C, V and M.
        """
        channels, joints, persons = self.offset.shape
        check_clips(clips, joints=joints, channels=channels, persons=persons)
        return clips + self.offset[:, None]


class TaskPrompt(nn.Module):
    """A learnable vector added to a contiguous block of feature channels (PCM3 Sec. 3.4).

    If features consist of several ``blocks``, such as the two directions of a recurrent encoder,
    each block gets an equal share of the vector, at the same offset within the block.

    Args:
        features: Width D of the features.
        blocks: Equal parts of a feature.
        width: Length r of the prompt over all blocks, by default an eighth of D, as in the
            published code (256 of 2048).

    Attributes:
        vector: ``(width,)``, initially uniform in +-sqrt(6 / (width + 1)) (Xavier).

    Raises:
        ValueError: If ``blocks`` does not divide D and the width, or the width exceeds D.

    Example:
        >>> prompt = TaskPrompt(16, blocks=2, width=4)
        >>> (prompt(torch.zeros(1, 16), torch.tensor(3)) != 0).nonzero()[:, 1].tolist()
        [3, 4, 11, 12]
    """

    def __init__(self, features: int, blocks: int = 1, width: int | None = None) -> None:
        super().__init__()
        check_count("features", features)
        check_count("blocks", blocks)
        if width is None:
            width = max(features // (8 * blocks), 1) * blocks
        if features % blocks or width % blocks or not 0 < width <= features:
            raise ValueError(
                f"expected a width in (0, {features}] and {blocks} blocks that divide width and "
                f"features, got width {width} and features {features}"
            )
        bound = (6 / (width + 1)) ** 0.5
        self.vector = nn.Parameter(torch.empty(width).uniform_(-bound, bound))
        self.features = features
        self.blocks = blocks

    @property
    def offsets(self) -> int:
        """Number of possible offsets, which count from 0."""
        return max((self.features - len(self.vector)) // self.blocks, 1)

    def forward(self, features: Tensor, offset: Tensor) -> Tensor:
        """Add the prompt to channels ``offset, offset + 1, ...`` of every block.

        Args:
            features: ``(..., D)``.
            offset: Integer scalar tensor, ``0 <= offset < offsets``.

        Raises:
            ValueError: If the features have another width, or the offset is out of range (checked
                on the CPU only).
        """
        if not isinstance(features, Tensor) or features.shape[-1:] != (self.features,):
            raise ValueError(
                f"expected features (..., D={self.features}), got {shape_or_type(features)}"
            )
        if not isinstance(offset, Tensor) or offset.ndim:
            raise ValueError(f"expected an offset as a scalar tensor, got {shape_or_type(offset)}")
        if readable(offset) and not 0 <= int(offset) < self.offsets:
            raise ValueError(f"expected an offset in [0, {self.offsets}), got {int(offset)}")
        block = self.features // self.blocks
        starts = torch.arange(self.blocks, device=features.device)[:, None] * block
        within = torch.arange(len(self.vector) // self.blocks, device=features.device)
        channels = (starts + within + offset).flatten()
        full = self.vector.new_zeros(self.features).index_put((channels,), self.vector)
        return features + full
