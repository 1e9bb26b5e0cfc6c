"""Pure functions that put two clips into one."""

from __future__ import annotations

import torch
from torch import Tensor

from pcm3.augment import kernels
from pcm3.checks import check_clips, check_frame_ranges, check_lengths, check_values


def paste(clips: Tensor, source: Tensor, region: Tensor) -> Tensor:
    """Replace a region of joints and frames, in all persons, by that of another clip.

    The paste of CutMix (Yun et al. 2019) on the joint-time grid (PCM3 Sec. 3.1).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        source: What to paste from, the shape of ``clips``.
        region: Where to paste, boolean ``(N, T, V)``.

    Raises:
        ValueError: If a shape or dtype is wrong.

    Example:
        >>> region = torch.tensor([True, False, False]).view(1, 3, 1)
        >>> paste(torch.zeros(1, 1, 3, 1, 1), torch.ones(1, 1, 3, 1, 1), region).flatten().tolist()
        [1.0, 0.0, 0.0]
    """
    check_clips(clips, unbatched=True)
    check_values("source", source, clips, *clips.shape[-4:])
    check_values("region", region, clips, *clips.shape[-3:-1], dtype=torch.bool)
    return kernels.paste(clips, source, region)


def shrink_frames(
    clips: Tensor, starts: Tensor, lengths: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Show the beginning of every clip, up to twice as fast, inside a range of frames.

    The first ``min(2 * length, n)`` of n valid frames are resampled to ``length`` frames by nearest
    neighbour (frame ``j`` shows ``floor(j * in / out)``) and placed at ``start``; other frames
    repeat the ends. ResizeMix pastes from the result (PCM3 Sec. 3.1).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        starts: First frame of each range, integers ``(N,)``.
        lengths: Frames of each range, integers ``(N,)``, at least 1.
        valid: Valid frames of each clip, integers ``(N,)`` in [1, T]; T by default.

    Raises:
        ValueError: If a range is empty or leaves the clip (checked on the CPU only), or a shape or
            dtype is wrong.

    Example:
        >>> clips = torch.arange(6.0).view(1, 1, 6, 1, 1)
        >>> shrink_frames(clips, torch.tensor([1]), torch.tensor([3])).flatten().tolist()
        [0.0, 0.0, 2.0, 4.0, 4.0, 4.0]
    """
    check_clips(clips, unbatched=True)
    check_frame_ranges(clips, starts, lengths)
    if valid is None:
        valid = torch.full_like(lengths, clips.shape[-3])
    check_lengths(valid, clips)
    return kernels.shrink_frames(clips, starts, lengths, valid)


def mixup(clips: Tensor, source: Tensor, lam: Tensor) -> Tensor:
    """Blend two clips: ``(1 - lam) * clips + lam * source`` (mixup, Zhang et al. 2018).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        source: The shape of ``clips``.
        lam: Share of the source ``(N,)``, in [0, 1].

    Raises:
        ValueError: If a shape is wrong.

    Example:
        >>> clips, source = torch.zeros(2, 1, 1, 1, 1), torch.ones(2, 1, 1, 1, 1)
        >>> mixup(clips, source, torch.tensor([0.25, 0.5])).flatten().tolist()
        [0.25, 0.5]
    """
    check_clips(clips, unbatched=True)
    check_values("source", source, clips, *clips.shape[-4:])
    check_values("lam", lam, clips)
    return kernels.mixup(clips, source, lam)
