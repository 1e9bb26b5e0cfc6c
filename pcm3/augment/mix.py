"""Mixing the samples of a batch with each other: the inter-skeleton views of PCM3."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from pcm3._torch import index_tensor
from pcm3.augment import kernels
from pcm3.augment.base import Described, Draw, select
from pcm3.augment.mask import part_of_joint
from pcm3.checks import (
    check_clips,
    check_flag,
    check_positive,
    check_probabilities,
    check_range,
    check_tensor,
)
from pcm3.skeleton import Skeleton, check_skeleton

__all__ = ["CutMix", "MixedClips", "Mixup", "RandomMix", "ResizeMix"]


class MixedClips(NamedTuple):
    """A mixed batch ``(N, C, T, V, M)``, its partners and their shares.

    Sample i is a mix of sample i, with the share ``1 - lam[i]``, and of sample ``partner[i]``, with
    the share ``lam[i]``. A loss weighs the targets of both in this way.

    Example:
        >>> import torch
        >>> clips, labels = torch.randn(8, 3, 64, 25, 2), torch.arange(8)
        >>> mixed = Mixup()(clips)
        >>> scores = torch.randn(8, 60)  # of your classifier, for mixed.clips
        >>> own = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
        >>> other = torch.nn.functional.cross_entropy(
        ...     scores, labels[mixed.partner], reduction="none"
        ... )
        >>> loss = ((1 - mixed.lam) * own + mixed.lam * other).mean()
        >>> loss.shape
        torch.Size([])
    """

    clips: Tensor
    """Mixed clips ``(N, C, T, V, M)``."""
    partner: Tensor
    """Index of the other sample in the batch, long ``(N,)`` in [0, N), never the sample's own."""
    lam: Tensor
    """Share of the other sample in the valid frames, float32 ``(N,)`` in [0, 1]."""


class _Source(NamedTuple):
    """The partners of a batch."""

    clips: Tensor
    valid: Tensor


class _Mix(Described, ABC):
    """Base of the mixes: draws partners, with which subclasses mix the clips."""

    same_on_batch: bool
    skeleton: Skeleton | None = None

    def __call__(
        self,
        clips: Tensor,
        lengths: Tensor | int | None = None,
        generator: Generator | None = None,
    ) -> MixedClips:
        """Mix every sample with the partner ``(i + n) mod N``, n uniform in {1, ..., N - 2}.

        With two samples, n is 1. A sample keeps its number of valid frames. Frames after these stay
        as they are, and frames after the partner's valid frames are not mixed in.

        Args:
            clips: ``(N, C, T, V, M)`` with N at least 2. All persons are mixed.
            lengths: Valid frames, integers ``(N,)`` in [1, T] on the device of the clips, or one
                number for all; T by default.
            generator: Source of the random numbers, on the device of the clips.

        Raises:
            ValueError: If the shape of the clips is wrong, N is below 2, or the lengths are not
                integers in [1, T] (the range is checked on the CPU only).
        """
        check_tensor("clips", clips)
        if clips.ndim == 4 or clips.shape[:1] == (1,):
            raise ValueError(
                "expected a batch (N, C, T, V, M) of at least 2 samples to mix with each other, "
                f"got {tuple(clips.shape)}"
            )
        check_clips(clips, joints=None if self.skeleton is None else len(self.skeleton))
        samples = clips.shape[0]
        draw = Draw(clips, generator, self.same_on_batch, lengths)
        shift = draw.integers(1, max(samples - 2, 1))
        partner = (torch.arange(samples, device=clips.device) + shift) % samples
        valid = draw.valid
        source = _Source(clips[partner], valid[partner])
        mixed, lam = self._mix(clips, valid, source, draw)
        return MixedClips(mixed, partner, lam.contiguous())

    @abstractmethod
    def _mix(
        self, clips: Tensor, valid: Tensor, source: _Source, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """Mixed clips and the share ``(N,)`` of the source in the valid frames ``(N,)``."""


class CutMix(_Mix):
    """Replace body parts over a range of frames by the partner's (CutMix, Yun et al. 2019).

    As in PCM3 Sec. 3.1, the number of parts is uniform in ``parts``, the extent uniform in
    ``extent`` cells of ``n / grid`` frames, and the start uniform on that grid, where n frames are
    valid in both clips. If n is not a multiple of ``grid``, the borders of the cells are rounded
    to whole frames. ``lam`` is the pasted share of the joints of valid frames.

    Args:
        skeleton: The layout of the joint axis, with its body parts.
        parts: Fewest and most parts to paste.
        extent: Fewest and most cells of the time grid to paste.
        grid: Cells of the time axis.
        same_on_batch: Draw partner shift, parts and frames once for the whole batch.

    Raises:
        ValueError: If a range does not fit the skeleton or the grid.

    Example:
        >>> import torch
        >>> from pcm3.skeleton import NTU25
        >>> mixed = CutMix(NTU25)(torch.randn(8, 3, 64, 25, 2))
        >>> mixed.clips.shape, mixed.partner.shape, mixed.lam.shape
        (torch.Size([8, 3, 64, 25, 2]), torch.Size([8]), torch.Size([8]))
    """

    skeleton: Skeleton

    def __init__(
        self,
        skeleton: Skeleton,
        parts: tuple[int, int] = (2, 3),
        extent: tuple[int, int] = (7, 11),
        grid: int = 16,
        same_on_batch: bool = False,
    ) -> None:
        check_skeleton(skeleton)
        _check_parts(type(self).__name__, parts, skeleton)
        check_positive("grid", grid)
        check_range("extent", extent, 1, grid)
        self.skeleton = skeleton
        self.parts = parts
        self.extent = extent
        self.grid = grid
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch
        self._part_of = part_of_joint(skeleton)

    def _mix(
        self, clips: Tensor, valid: Tensor, source: _Source, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        frames = self._frames(valid, source)
        count = draw.integers(*self.parts)
        chosen = draw.subset(len(self.skeleton.parts), count=count)
        joints = chosen[:, index_tensor(self._part_of, clips.device)]
        cells = draw.integers(*self.extent)
        first = draw.integers(0, self.grid - cells)
        start, stop = (
            (2 * cell * frames + self.grid) // (2 * self.grid) for cell in (first, first + cells)
        )
        start = start.minimum(frames - 1)  # at least one frame, however short the clip
        stop = stop.maximum(start + 1)
        times = kernels.window(clips.shape[2], start, stop - start)
        region = times[:, :, None] & joints[:, None, :]
        mixed = kernels.paste(clips, self._pasted(source, start, stop - start), region)
        return mixed, region.float().sum(dim=(1, 2)) / (valid * joints.shape[1])

    def _frames(self, valid: Tensor, source: _Source) -> Tensor:
        """The number of frames of each sample that may be replaced ``(N,)``."""
        return valid.minimum(source.valid)

    def _pasted(self, source: _Source, start: Tensor, length: Tensor) -> Tensor:  # noqa: ARG002
        """Clips with the frames to paste in the range of frames."""
        return source.clips


class ResizeMix(CutMix):
    """Paste body parts of the partner, played up to twice as fast (ResizeMix, Qin et al. 2020).

    Like ``CutMix``, except that the range of ``rt`` frames lies anywhere among the valid frames and
    shows the partner's first ``min(2 * rt, n)`` of n valid frames, resampled by nearest neighbour
    (PCM3 Sec. 3.1).

    Args:
        skeleton: The layout of the joint axis, with its body parts.
        parts: Fewest and most parts to paste.
        extent: Fewest and most cells of the time grid to paste.
        grid: Cells of the time axis.
        same_on_batch: Draw partner shift, parts and frames once for the whole batch.

    Raises:
        ValueError: If a range does not fit the skeleton or the grid.

    Example:
        >>> import torch
        >>> from pcm3.skeleton import NTU25
        >>> ResizeMix(NTU25)(torch.randn(8, 3, 64, 25, 2)).clips.shape
        torch.Size([8, 3, 64, 25, 2])
    """

    def _frames(self, valid: Tensor, source: _Source) -> Tensor:  # noqa: ARG002
        return valid

    def _pasted(self, source: _Source, start: Tensor, length: Tensor) -> Tensor:
        return kernels.shrink_frames(source.clips, start, length, source.valid)


class Mixup(_Mix):
    """Blend every sample with its partner, ``(1 - lam) x + lam x'`` (mixup, Zhang et al. 2018).

    Frames that are valid in both clips are blended. The partner's share in a sample is in
    proportion to these among the sample's valid frames.

    Args:
        lam: Range of the partner's share, within [0, 1]; uniform.
        same_on_batch: Draw partner shift and share once for the whole batch.

    Raises:
        ValueError: If ``lam`` is not a range within [0, 1].

    Example:
        >>> import torch
        >>> mixed = Mixup()(torch.randn(8, 3, 64, 25, 2))
        >>> bool(((mixed.lam >= 0) & (mixed.lam <= 1)).all())
        True
    """

    def __init__(self, lam: tuple[float, float] = (0.0, 1.0), same_on_batch: bool = False) -> None:
        check_range("lam", lam, 0, 1)
        self.lam = lam
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def _mix(
        self, clips: Tensor, valid: Tensor, source: _Source, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        lam = draw.uniform(low=self.lam[0], high=self.lam[1])
        shared = valid.minimum(source.valid)
        times = kernels.window(clips.shape[2], torch.zeros_like(shared), shared)
        blend = kernels.mixup(clips, source.clips, lam)
        mixed = kernels.paste(clips, blend, times[..., None].expand(-1, -1, clips.shape[3]))
        return mixed, lam * (shared / valid)


class RandomMix(_Mix):
    """CutMix, ResizeMix or Mixup, drawn for each sample: the mixing of PCM3 (Sec. 3.2).

    All three run on the whole batch, and each sample takes the result of one of them.

    Args:
        skeleton: The layout of the joint axis, with its body parts.
        probabilities: Probabilities of CutMix, ResizeMix and Mixup, which sum to 1.
        same_on_batch: Draw everything once for the whole batch, as the published recipe does.
        parts: Fewest and most parts that CutMix and ResizeMix paste.

    Raises:
        ValueError: If the probabilities do not fit, or the skeleton has fewer parts.

    Example:
        >>> import torch
        >>> from pcm3.skeleton import NTU25
        >>> mixed = RandomMix(NTU25, same_on_batch=True)(torch.randn(8, 3, 64, 25, 2))
        >>> len(mixed.lam.unique())
        1
    """

    skeleton: Skeleton

    def __init__(
        self,
        skeleton: Skeleton,
        probabilities: Sequence[float] = (0.5, 0.25, 0.25),
        same_on_batch: bool = False,
        parts: tuple[int, int] = (2, 3),
    ) -> None:
        check_skeleton(skeleton)
        check_probabilities(probabilities, 3)
        _check_parts("RandomMix", parts, skeleton)
        self.skeleton = skeleton
        self.probabilities = tuple(probabilities)
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch
        self.parts = parts
        cut, resize = CutMix(skeleton, parts), ResizeMix(skeleton, parts)
        self._mixes: tuple[_Mix, ...] = (cut, resize, Mixup())

    def _mix(
        self, clips: Tensor, valid: Tensor, source: _Source, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        kind = draw.choice(self.probabilities)
        mixed, lam = zip(*(m._mix(clips, valid, source, draw) for m in self._mixes), strict=True)
        return select(mixed, kind), select(lam, kind)


def _check_parts(mix: str, parts: tuple[int, int], skeleton: Skeleton) -> None:
    """Require that a skeleton has as many body parts as a mix may paste.

    Raises:
        ValueError: If it has fewer; the message names a range that fits.
    """
    check_range("parts", parts, 1, math.inf)
    there = len(skeleton.parts)
    if parts[1] > there:
        fitting = (min(parts[0], max(there - 1, 1)), min(parts[1], there))
        raise ValueError(
            f"expected a skeleton of {parts[1]} or more body parts for {mix}(parts={parts}), got "
            f"{skeleton.name!r} with {there}: {', '.join(skeleton.parts)}; give it parts={fitting}"
        )
