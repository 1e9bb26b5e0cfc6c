"""Transforms of the time axis."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from pcm3._checks import check_clips, check_positive, check_tensor
from pcm3.augment._checks import check_lengths, check_range
from pcm3.augment._draw import Described, Draw, Transform
from pcm3.augment.functional import crop_resize, keep_frames

__all__ = ["TemporalClip", "TemporalCropResize"]


class TemporalCropResize(Described):
    """Cut a random range of valid frames and resize it linearly (PCM3 Sec. 3.1).

    Of ``n`` valid frames ``min(max(floor(n * ratio), min_frames), n)`` are kept, with
    ``ratio ~ U(scale)`` and a uniform start.

    Args:
        size: Frames of the result.
        scale: Range of the kept share, within [0, 1].
        min_frames: Smallest crop, where the clip has as many frames; clips that are no longer
            are not cropped at all. Give it with a ``size`` below the published 64.
        same_on_batch: Draw one ratio and one relative start for the whole batch.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> TemporalCropResize(size=64)(torch.randn(2, 3, 300, 25, 2)).shape
        torch.Size([2, 3, 64, 25, 2])
    """

    takes_lengths = True

    def __init__(
        self,
        size: int = 64,
        scale: tuple[float, float] = (0.1, 1.0),
        min_frames: int = 64,
        same_on_batch: bool = False,
    ) -> None:
        check_positive("size", size)
        check_range("scale", scale, 0, 1)
        check_positive("min_frames", min_frames)
        self.size = size
        self.scale = scale
        self.min_frames = min_frames
        self.same_on_batch = same_on_batch

    def __call__(
        self,
        clips: Tensor,
        lengths: Tensor | int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw a crop for every sample and resize it.

        Args:
            clips: ``(N, C, T, V, M)``, or one clip ``(C, T, V, M)``.
            lengths: Valid frames, integers ``(N,)`` in [1, T] on the device of the clips, or one
                number for all; T by default.
            generator: Source of the random numbers, on the device of the clips.

        Returns:
            ``(N, C, size, V, M)``, or one clip ``(C, size, V, M)``.

        Raises:
            ValueError: If the shape of the clips is wrong, or the lengths are no tensor of
                integers in [1, T] (the range is checked on the CPU only).
        """
        check_clips(clips, unbatched=True)
        batch = clips.unsqueeze(0) if clips.ndim == 4 else clips
        valid = _valid_frames(batch, lengths)
        draw = Draw(batch, generator, self.same_on_batch)
        ratio = draw.uniform(low=self.scale[0], high=self.scale[1])
        kept = (valid * ratio).long().clamp(min=self.min_frames).minimum(valid)
        cropped = crop_resize(batch, draw.integers(0, valid - kept), kept, self.size)
        return cropped.squeeze(0) if clips.ndim == 4 else cropped


ClipMode = Literal["mask", "crop"]


class TemporalClip(Transform):
    """Keep one short contiguous clip of the sequence: the query view of PCM3++'s clip contrast.

    ``round(T * r)`` frames, ``r ~ U(ratio)``, from a uniform start. The range is not in the paper;
    a quarter to a half is this library's choice.

    Args:
        ratio: Range of the kept share of the frames, within (0, 1].
        mode: ``"mask"`` zeroes the frames outside, ``"crop"`` resizes the clip to T frames.
        same_on_batch: Draw one clip for the whole batch.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> clip = TemporalClip(ratio=(0.25, 0.25))(torch.ones(3, 64, 25, 2))
        >>> int(clip[0, :, 0, 0].sum())
        16
    """

    def __init__(
        self,
        ratio: tuple[float, float] = (0.25, 0.5),
        mode: ClipMode = "mask",
        same_on_batch: bool = False,
    ) -> None:
        check_range("ratio", ratio, 0, 1)
        check_positive("ratio", ratio[0])
        if mode not in get_args(ClipMode):
            raise ValueError(f"expected a mode among {get_args(ClipMode)}, got {mode!r}")
        self.ratio = ratio
        self.mode = mode
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        frames = clips.shape[2]
        share = draw.uniform(low=self.ratio[0], high=self.ratio[1])
        kept = (frames * share).round().long().clamp(min=1)
        starts = draw.integers(0, frames - kept)
        if self.mode == "mask":
            return keep_frames(clips, starts, kept)
        return crop_resize(clips, starts, kept, frames)


def _valid_frames(clips: Tensor, lengths: Tensor | int | None) -> Tensor:
    samples, frames = clips.shape[0], clips.shape[2]
    if lengths is None or isinstance(lengths, int):
        full = frames if lengths is None else lengths
        lengths = torch.full((samples,), full, device=clips.device)
    check_tensor("lengths", lengths)
    if lengths.ndim == 0:
        lengths = lengths.expand(samples)
    check_lengths(lengths, clips)
    return lengths.long()
