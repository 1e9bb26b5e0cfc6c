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

from pcm3.checks import (
    check_batch_or_clip,
    check_count,
    check_frame_ranges,
    check_lengths,
    check_tensor,
    check_values,
)
from pcm3.skeleton import Skeleton, check_skeleton

__all__ = [
    "apply_mask",
    "center_crop_resize",
    "crop_resize",
    "keep_frames",
    "linear_map",
    "mirror",
    "mixup",
    "motion_aware_mask",
    "motion_intensity",
    "paste",
    "rotation_matrix",
    "shrink_frames",
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
    check_batch_or_clip(clips)
    check_frame_ranges(clips, starts, lengths)
    check_count("size", size)
    wide = _wide(clips)
    length = lengths.to(wide)[..., None]
    frame = torch.arange(size, device=clips.device, dtype=wide)
    position = ((frame + 0.5) * (length / size) - 0.5).clamp(min=0)
    before = torch.minimum(position.long(), lengths[..., None] - 1)
    after = torch.minimum(before + 1, lengths[..., None] - 1)
    weight = (position - before)[..., None, :, None, None]
    first = _take_frames(clips, starts[..., None] + before)
    second = _take_frames(clips, starts[..., None] + after)
    return ((1 - weight) * first + weight * second).to(clips.dtype)


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
    check_batch_or_clip(clips)
    if not 0 < ratio <= 1:
        raise ValueError(f"expected ratio in (0, 1], got {ratio}")
    if lengths is None:
        lengths = torch.full(clips.shape[:-4], clips.shape[-3], device=clips.device)
    check_lengths(lengths, clips)
    # in whole millionths, as (1 - 0.9) * 20 / 2 is slightly below 1 in floating point
    cut = lengths * round((1 - ratio) * 1e6) // 2_000_000
    return crop_resize(clips, cut, lengths - 2 * cut, size)


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
    check_batch_or_clip(clips)
    check_frame_ranges(clips, starts, lengths)
    outside = ~window(clips.shape[-3], starts, lengths)
    return clips.masked_fill(outside[..., None, :, None, None], 0)


def linear_map(clips: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of every joint, ``x' = S x``, equally in all frames and persons.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        matrix: ``(N, C, C)`` or ``(C, C)``.

    Raises:
        ValueError: If the shape of ``clips`` or ``matrix`` is wrong.
    """
    check_batch_or_clip(clips)
    channels = clips.shape[-4]
    check_values("matrix", matrix, clips, channels, channels)
    entries = matrix.to(_wide(clips))[..., None]
    rows = clips.flatten(-3)[..., None, :, :].to(entries.dtype)
    # a sum over the 2 or 3 channels, not a matmul: autocast and TF32 would round the coordinates
    mapped = entries[..., 0, :] * rows[..., 0, :]
    for c in range(1, channels):
        mapped = torch.addcmul(mapped, entries[..., c, :], rows[..., c, :])
    return mapped.view(clips.shape).to(clips.dtype)


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
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def transform_joints(clips: Tensor, joints: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of some joints, ``x' = S x``, and leave the others.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        joints: Which joints to map, boolean ``(N, V)``.
        matrix: ``(N, C, C)`` or ``(C, C)``; zeros erase the joints.

    Raises:
        ValueError: If a shape or dtype is wrong.
    """
    mapped = linear_map(clips, matrix)
    check_values("joints", joints, clips, clips.shape[-2], dtype=torch.bool)
    return _choose(joints[..., None, :], mapped, clips)


def mirror(clips: Tensor, skeleton: Skeleton) -> Tensor:
    """Swap left and right: exchange the mirrored joints and negate the first coordinate.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``, x first and centred on the body.
        skeleton: The layout of the joint axis.

    Raises:
        ValueError: If the joint axis is not the skeleton's.
    """
    check_skeleton(skeleton)
    check_batch_or_clip(clips, joints=len(skeleton))
    swapped = clips.index_select(-2, torch.tensor(skeleton.mirror, device=clips.device))
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
    check_batch_or_clip(clips)
    check_values("source", source, clips, *clips.shape[-4:])
    check_values("region", region, clips, *clips.shape[-3:-1], dtype=torch.bool)
    return _choose(region, source, clips)


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
    check_batch_or_clip(clips)
    check_frame_ranges(clips, starts, lengths)
    if valid is None:
        valid = torch.full_like(lengths, clips.shape[-3])
    check_lengths(valid, clips)
    frames = torch.arange(clips.shape[-3], device=clips.device)
    out = lengths[..., None]
    shown = torch.minimum((frames - starts[..., None]).clamp(min=0), out - 1)
    return _take_frames(clips, shown * torch.minimum(2 * out, valid[..., None]) // out)


def mixup(clips: Tensor, source: Tensor, lam: Tensor) -> Tensor:
    """Blend two clips: ``(1 - lam) * clips + lam * source`` (mixup, Zhang et al. 2018).

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        source: The shape of ``clips``.
        lam: Share of the source ``(N,)``, in [0, 1].

    Raises:
        ValueError: If a shape is wrong.
    """
    check_batch_or_clip(clips)
    check_values("source", source, clips, *clips.shape[-4:])
    check_values("lam", lam, clips)
    share = lam.to(_wide(clips))[..., None, None, None, None]
    return ((1 - share) * clips + share * source).to(clips.dtype)


def apply_mask(clips: Tensor, mask: Tensor, value: float | Tensor = 0.0) -> Tensor:
    """Set the masked coordinates to a value.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        mask: Boolean ``(N, T, V, M)`` or ``(T, V, M)``, True where masked.
        value: The value: a number, or a zero-dimensional tensor (such as a learnt value).

    Raises:
        ValueError: If a shape or dtype is wrong.
    """
    check_batch_or_clip(clips)
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
    check_batch_or_clip(clips)
    wide = clips.to(_wide(clips))
    if patch_count(clips, patch) == 1:
        return torch.zeros_like(wide[..., 0, :1, :, :])
    change = (wide[..., patch:, :, :] - wide[..., :-patch, :, :]).abs().mean(dim=-4)
    moved = change.unflatten(-3, (-1, patch)).mean(dim=-3)
    return torch.cat([moved[..., :1, :, :], moved], dim=-3)


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
    intensity = motion_intensity(clips, patch)
    check_values("uniform", uniform, clips, *intensity.shape[-3:])
    steps, joints, _ = intensity.shape[-3:]
    if not 1 <= visible <= steps * joints:
        raise ValueError(f"expected visible in [1, {steps * joints}] patches, got {visible}")
    score = uniform.flatten(-3, -2)
    if temperature > 0:
        tokens = intensity.flatten(-3, -2)
        scaled = tokens / (tokens.amax(dim=-2, keepdim=True) * temperature + 1e-10)
        gumbel = -torch.log(-torch.log(score + 1e-10) + 1e-10)
        score = scaled.log_softmax(dim=-2) + gumbel
    kept = score.argsort(dim=-2, stable=True)[..., :visible, :]
    mask: Tensor = torch.ones_like(score, dtype=torch.bool).scatter(-2, kept, False)
    mask = mask.unflatten(-2, (steps, joints))
    return mask.repeat_interleave(patch, dim=-3)


def patch_count(clips: Tensor, patch: int) -> int:
    """The number of patches in time, T / patch.

    Raises:
        ValueError: If T is not a multiple of ``patch``.
    """
    frames = clips.shape[-3]
    if patch < 1 or frames % patch:
        raise ValueError(f"expected clips with T a multiple of patch={patch}, got T={frames}")
    return frames // patch


def window(frames: int, starts: Tensor, lengths: Tensor) -> Tensor:
    """Boolean ``(..., frames)``, True from ``start`` for ``length`` frames."""
    frame = torch.arange(frames, device=starts.device)
    return (frame >= starts[..., None]) & (frame < (starts + lengths)[..., None])


def _wide(clips: Tensor) -> torch.dtype:
    """The dtype to compute in: float32 for half precision, else that of the clips."""
    return torch.promote_types(clips.dtype, torch.float32)


def _choose(where: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
    """One of two clips for every joint, chosen by ``where`` ``(..., T or 1, V)``."""
    persons = chosen.shape[-1]
    # with joints and persons as one axis, four times as fast as broadcasting over persons
    each = where.repeat_interleave(persons, dim=-1).unsqueeze(-3)
    return torch.where(each, chosen.flatten(-2), others.flatten(-2)).view(chosen.shape)


def _take_frames(clips: Tensor, index: Tensor) -> Tensor:
    """Frames ``(..., C, T', V, M)`` at ``index`` ``(..., T')``, one list for each clip."""
    *lead, frames, joints, persons = clips.shape
    # picking whole frames as rows is ten times as fast as an element-wise gather
    sequence = torch.arange(math.prod(lead), device=clips.device).view(*lead, 1)
    rows = sequence * frames + index.unsqueeze(-2)
    picked = clips.reshape(-1, joints * persons).index_select(0, rows.flatten())
    return picked.view(*lead, index.shape[-1], joints, persons)
