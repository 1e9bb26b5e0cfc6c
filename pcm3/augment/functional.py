"""Augmentations as pure functions of clips and given values.

Every function takes a batch of clips ``(N, C, T, V, M)`` and values with one entry per sample along
their first axis, or one clip ``(C, T, V, M)``, C at most 3, and values without that axis. Results
keep the device and dtype of the clips; arithmetic is float32 or wider. All functions are
differentiable with respect to the clips and to continuous values (``matrix``, ``lam``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pcm3._torch import index_tensor
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
from pcm3.skeleton import Skeleton, check_skeleton

__all__ = [
    "apply_mask",
    "center_crop_resize",
    "crop_resize",
    "drop_frames",
    "gaussian_blur",
    "keep_frames",
    "linear_map",
    "mirror",
    "mixup",
    "motion_aware_mask",
    "motion_intensity",
    "paste",
    "reflect_crop",
    "rotation_matrix",
    "shrink_frames",
    "shuffle_segments",
    "transform_joints",
]


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


def linear_map(clips: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of every joint, ``x' = S x``, equally in all frames and persons.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        matrix: ``(N, C, C)`` or ``(C, C)``.

    Raises:
        ValueError: If the shape of ``clips`` or ``matrix`` is wrong.
    """
    check_clips(clips, unbatched=True)
    channels = clips.shape[-4]
    check_values("matrix", matrix, clips, channels, channels)
    return kernels.linear_map(clips, matrix)


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotations ``R = Rz Ry Rx`` from angles about the fixed x, y and z axes.

    Args:
        angles: Radians ``(..., 3)``, counter-clockwise when looking against the axis.

    Returns:
        Matrices ``(..., 3, 3)``.

    Raises:
        ValueError: If the last axis of ``angles`` is not 3 long.
    """
    check_tensor("angles", angles)
    if angles.ndim == 0 or angles.shape[-1] != 3:
        raise ValueError(f"expected angles (..., 3), got {tuple(angles.shape)}")
    return kernels.rotation_matrix(angles)


def transform_joints(clips: Tensor, joints: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of some joints, ``x' = S x``, and leave the others.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        joints: Which joints to map, boolean ``(N, V)``.
        matrix: ``(N, C, C)`` or ``(C, C)``; zeros erase the joints.

    Raises:
        ValueError: If a shape or dtype is wrong.
    """
    check_clips(clips, unbatched=True)
    channels = clips.shape[-4]
    check_values("matrix", matrix, clips, channels, channels)
    check_values("joints", joints, clips, clips.shape[-2], dtype=torch.bool)
    return kernels.transform_joints(clips, joints, matrix)


def mirror(clips: Tensor, skeleton: Skeleton, negate: bool = True) -> Tensor:
    """Swap left and right: exchange the mirrored joints and negate the first coordinate.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``, x first and centred on the body.
        skeleton: The layout of the joint axis.
        negate: Whether to negate the first coordinate; AimCLR only exchanges the joints.

    Raises:
        ValueError: If the joint axis is not the skeleton's.
    """
    check_skeleton(skeleton)
    check_clips(clips, joints=len(skeleton), unbatched=True)
    swapped = clips.index_select(-2, index_tensor(skeleton.mirror, clips.device))
    if not negate:
        return swapped
    return torch.cat([-swapped[..., :1, :, :, :], swapped[..., 1:, :, :, :]], dim=-4)


def paste(clips: Tensor, source: Tensor, region: Tensor) -> Tensor:
    """Replace a region of joints and frames, in all persons, by that of another clip.

    The paste of CutMix (Yun et al. 2019) on the joint-time grid (PCM3 Sec. 3.1).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        source: What to paste from, the shape of ``clips``.
        region: Where to paste, boolean ``(N, T, V)``.

    Raises:
        ValueError: If a shape or dtype is wrong.
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
    """
    check_clips(clips, unbatched=True)
    check_frame_ranges(clips, starts, lengths)
    if valid is None:
        valid = torch.full_like(lengths, clips.shape[-3])
    check_lengths(valid, clips)
    return kernels.shrink_frames(clips, starts, lengths, valid)


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


def mixup(clips: Tensor, source: Tensor, lam: Tensor) -> Tensor:
    """Blend two clips: ``(1 - lam) * clips + lam * source`` (mixup, Zhang et al. 2018).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        source: The shape of ``clips``.
        lam: Share of the source ``(N,)``, in [0, 1].

    Raises:
        ValueError: If a shape is wrong.
    """
    check_clips(clips, unbatched=True)
    check_values("source", source, clips, *clips.shape[-4:])
    check_values("lam", lam, clips)
    return kernels.mixup(clips, source, lam)


def apply_mask(clips: Tensor, mask: Tensor, value: float | Tensor = 0.0) -> Tensor:
    """Set the masked coordinates to a value.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        mask: Boolean ``(N, T, V, M)`` or ``(T, V, M)``, True where masked.
        value: The value: a number, or a zero-dimensional tensor (such as a learnt value).

    Raises:
        ValueError: If a shape or dtype is wrong.
    """
    check_clips(clips, unbatched=True)
    check_values("mask", mask, clips, *clips.shape[-3:], dtype=torch.bool)
    return clips.masked_fill(mask.unsqueeze(-4), value)


def motion_intensity(clips: Tensor, patch: int = 4) -> Tensor:
    """Motion of every joint from one patch of frames to the next (MAMP).

    It is the mean of ``|x[t] - x[t - patch]|`` over the coordinates and frames of a patch. The
    first patch, which has none before it, gets the value of the second; a single patch gets 0.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        patch: Frames of a patch, at least 1; must divide T.

    Returns:
        ``(N, T / patch, V, M)`` or ``(T / patch, V, M)``, float32 or wider.

    Raises:
        ValueError: If T is not a multiple of ``patch``, or the shape of the clips is wrong.
    """
    check_clips(clips, unbatched=True)
    patch_count(clips, patch)
    return kernels.motion_intensity(clips, patch)


def motion_aware_mask(
    clips: Tensor, uniform: Tensor, visible: int, temperature: float = 0.8, patch: int = 4
) -> Tensor:
    r"""Hide all but ``visible`` patches of every person, moving ones more often (MAMP).

    Patches are drawn without replacement by the Gumbel trick. With the intensities I of one
    person's patches and uniform numbers u, those with the lowest scores stay visible:

    .. math::
        \log \mathrm{softmax}\left(\frac{I}{\tau \max I}\right) - \log(-\log u)

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        uniform: Uniform numbers in [0, 1), one for each patch: ``(N, T / patch, V, M)``.
        visible: Number of patches of each person that stay visible.
        temperature: tau; the lower, the more motion counts. At 0 or below, it does not count.
        patch: Frames of a patch.

    Returns:
        Boolean ``(N, T, V, M)`` or ``(T, V, M)``, True where masked.

    Raises:
        ValueError: If ``visible`` is not in [1, patches of a person], or a shape is wrong.
    """
    check_clips(clips, unbatched=True)
    steps, joints, persons = patch_count(clips, patch), *clips.shape[-2:]
    check_values("uniform", uniform, clips, steps, joints, persons)
    if not 1 <= visible <= steps * joints:
        raise ValueError(f"expected visible in [1, {steps * joints}] patches, got {visible}")
    return kernels.motion_aware_mask(clips, uniform, visible, temperature, patch)


def check_segments(segments: int) -> None:
    """Require a number of segments whose orders are few enough to be classes.

    Raises:
        ValueError: If the number is not in [2, 6].
    """
    check_count("segments", segments)
    if not 2 <= segments <= 6:
        raise ValueError(f"expected segments in [2, 6], got {segments}")


def patch_count(clips: Tensor, patch: int) -> int:
    """The number of patches in time, T / patch.

    Raises:
        ValueError: If T is not a multiple of ``patch``.
    """
    frames = clips.shape[-3]
    if patch < 1 or frames % patch:
        raise ValueError(f"expected clips with T a multiple of patch={patch}, got T={frames}")
    return frames // patch


def check_taps(taps: int) -> None:
    check_count("taps", taps)
    if taps % 2 == 0:
        raise ValueError(f"expected an odd number of taps, got {taps}")
