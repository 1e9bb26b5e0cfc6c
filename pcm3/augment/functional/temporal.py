"""Pure functions on the time axis: crops, blur, frames and segments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pcm3.augment import kernels
from pcm3.checks import (
    check_clips,
    check_count,
    check_frame_ranges,
    check_integers,
    check_lengths,
    check_tensor,
    check_values,
    readable,
)


def crop_resize(clips: Tensor, starts: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Cut a range of frames out of every clip and resize it linearly to ``size`` frames.

    Equals ``torch.nn.functional.interpolate(mode="linear", align_corners=False)`` of each crop
    (PCM3 Sec. 3.1, temporal crop-resize).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        starts: First frame of each crop, integers ``(N,)``.
        lengths: Frames of each crop, integers ``(N,)``, at least 1.
        size: Frames of the result, at least 1.

    Returns:
        ``(N, C, size, V, M)`` or ``(C, size, V, M)``.

    Raises:
        ValueError: If a crop is empty or leaves the clip (checked on the CPU only), or a shape or
            dtype is wrong.
    """
    check_clips(clips, unbatched=True)
    check_frame_ranges(clips, starts, lengths)
    check_count("size", size)
    return kernels.crop_resize(clips, starts, lengths, size)


def center_crop_resize(
    clips: Tensor, lengths: Tensor | None = None, size: int = 64, ratio: float = 0.95
) -> Tensor:
    """Crop the middle of every clip and resize it linearly, as is done in evaluation.

    ``int((1 - ratio) * n / 2)`` of the ``n`` valid frames are removed at both ends.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        lengths: Valid frames of each clip, integers ``(N,)`` in [1, T]; T by default.
        size: Frames of the result, at least 1.
        ratio: Share of the valid frames to keep, in (0, 1].

    Returns:
        ``(N, C, size, V, M)`` or ``(C, size, V, M)``.

    Raises:
        ValueError: If ``ratio``, ``size``, ``lengths`` or a shape is out of range.

    Example:
        >>> clips, lengths = torch.randn(2, 3, 100, 25, 2), torch.tensor([100, 60])
        >>> center_crop_resize(clips, lengths, size=64).shape
        torch.Size([2, 3, 64, 25, 2])
    """
    check_clips(clips, unbatched=True)
    if not 0 < ratio <= 1:
        raise ValueError(f"expected ratio in (0, 1], got {ratio}")
    if lengths is None:
        lengths = torch.full(clips.shape[:-4], clips.shape[-3], device=clips.device)
    check_lengths(lengths, clips)
    check_count("size", size)
    # in whole millionths, as (1 - 0.9) * 20 / 2 is slightly below 1 in floating point
    cut = lengths * round((1 - ratio) * 1e6) // 2_000_000
    return kernels.crop_resize(clips, cut, lengths - 2 * cut, size)


def reflect_crop(clips: Tensor, starts: Tensor, padding: int) -> Tensor:
    """Cut T frames out of clips that are continued by their mirror image at both ends.

    The frames at both ends occur twice in a row (SkeletonCLR, temporal crop).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        starts: First frame of each crop in the continued clip, integers ``(N,)`` in
            [0, 2 padding]; ``padding`` returns the clip.
        padding: Frames that are added at each end, in [0, T].

    Raises:
        ValueError: If the padding is out of range, a crop leaves the continued clip (checked on the
            CPU only), or a shape or dtype is wrong.
    """
    check_clips(clips, unbatched=True)
    frames = clips.shape[-3]
    if not isinstance(padding, int) or not 0 <= padding <= frames:
        raise ValueError(f"expected padding in [0, T={frames}], got {padding!r}")
    check_values("starts", starts, clips)
    check_integers("starts", starts)
    if readable(starts) and not bool(((starts >= 0) & (starts <= 2 * padding)).all()):
        raise ValueError(f"expected starts in [0, {2 * padding}], got {starts.tolist()}")
    return kernels.reflect_crop(clips, starts, padding)


def drop_frames(clips: Tensor, fastest: int, kept: Tensor) -> Tensor:
    """Remove the frames that move most, and of the others keep those at given positions (PSTL).

    The motion of a frame is the mean square of its difference to the next one, over coordinates,
    joints and persons; that of the last frame is 0.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        fastest: Number of frames to remove first, in [0, T).
        kept: Positions among the other frames, integers ``(N, T')`` in [0, T - fastest).

    Returns:
        ``(N, C, T', V, M)`` or ``(C, T', V, M)``.

    Raises:
        ValueError: If a number is out of range (positions are checked on the CPU only), or a shape
            or dtype is wrong.
    """
    check_clips(clips, unbatched=True)
    frames = clips.shape[-3]
    if not isinstance(fastest, int) or not 0 <= fastest < frames:
        raise ValueError(f"expected fastest in [0, T={frames}), got {fastest!r}")
    check_tensor("kept", kept)
    check_integers("kept", kept)
    check_values("kept", kept, clips, *kept.shape[-1:])
    if readable(kept) and not bool(((kept >= 0) & (kept < frames - fastest)).all()):
        raise ValueError(f"expected kept in [0, {frames - fastest}), got {kept.tolist()}")
    return kernels.drop_frames(clips, fastest, kept)


def gaussian_blur(clips: Tensor, sigma: Tensor, taps: int = 15, normalize: bool = True) -> Tensor:
    r"""Convolve every coordinate along time with a Gaussian (AimCLR).

    .. math::
        x'_t = \sum_{|k| \le h} w_k x_{t + k}, \qquad w_k = \exp(-k^2 / 2 \sigma^2)

    with h = (taps - 1) / 2. Frames outside the clip count as 0.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        sigma: Standard deviation in frames ``(N,)``, above 0.
        taps: Number of weights; odd.
        normalize: Whether to divide the weights by their sum; AimCLR does not, so that its blur
            enlarges the body up to fivefold.

    Raises:
        ValueError: If the taps are not odd, or a shape is wrong.
    """
    check_clips(clips, unbatched=True)
    check_values("sigma", sigma, clips)
    check_taps(taps)
    return kernels.gaussian_blur(clips, sigma, taps, normalize)


def keep_frames(clips: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Set every frame outside a range to zero.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        starts: First kept frame, integers ``(N,)``.
        lengths: Number of kept frames, integers ``(N,)``, at least 1.

    Raises:
        ValueError: If a range is empty or leaves the clip (checked on the CPU only), or a shape or
            dtype is wrong.
    """
    check_clips(clips, unbatched=True)
    check_frame_ranges(clips, starts, lengths)
    return kernels.keep_frames(clips, starts, lengths)


def shuffle_segments(
    clips: Tensor, order: Tensor, segments: int = 3, lengths: Tensor | None = None
) -> Tensor:
    """Cut every clip into equal segments of time and put them into another order (MS2L).

    A segment has ``n // segments`` of the n valid frames. Frames after the last segment stay.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        order: Index of each clip's order, integers ``(N,)``, among the lexicographic list of all
            orders. Place j of the result shows segment ``permutations(range(segments))[order][j]``.
        segments: Number of segments, from 2 to 6.
        lengths: Valid frames of each clip, integers ``(N,)`` in [1, T]; T by default.

    Raises:
        ValueError: If a number is out of range (orders and lengths are checked on the CPU only), or
            a shape or dtype is wrong.
    """
    check_clips(clips, unbatched=True)
    check_segments(segments)
    check_values("order", order, clips)
    check_integers("order", order)
    count = math.factorial(segments)
    if readable(order) and not bool(((order >= 0) & (order < count)).all()):
        raise ValueError(f"expected order in [0, {count}), got {order.tolist()}")
    if lengths is None:
        lengths = torch.full(clips.shape[:-4], clips.shape[-3], device=clips.device)
    check_lengths(lengths, clips)
    return kernels.shuffle_segments(clips, order, segments, lengths)


def check_segments(segments: int) -> None:
    """Require a number of segments whose orders are few enough to be classes.

    Raises:
        ValueError: If the number is not in [2, 6].
    """
    check_count("segments", segments)
    if not 2 <= segments <= 6:
        raise ValueError(f"expected segments in [2, 6], got {segments}")


def check_taps(taps: int) -> None:
    """Require an odd number of weights, so that one of them is in the middle.

    Raises:
        ValueError: If the number is even, or no whole number >= 1.
    """
    check_count("taps", taps)
    if taps % 2 == 0:
        raise ValueError(f"expected an odd number of taps, got {taps}")
