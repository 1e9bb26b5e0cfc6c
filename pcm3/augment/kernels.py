"""The arithmetic of ``pcm3.augment.functional``, for callers that have checked their input."""

from __future__ import annotations

import math
from itertools import chain, permutations

import torch
from torch import Tensor

from pcm3._torch import index_tensor


def crop_resize(clips: Tensor, starts: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Cut a range of frames out of every clip and resize it linearly to ``size`` frames."""
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


def reflect_crop(clips: Tensor, starts: Tensor, padding: int) -> Tensor:
    """Cut T frames out of clips that are continued by their mirror image at both ends."""
    frames = clips.shape[-3]
    index = torch.arange(frames, device=clips.device) + starts[..., None] - padding
    index = torch.where(index < 0, -1 - index, index)
    return _take_frames(clips, torch.where(index < frames, index, 2 * frames - 1 - index))


def drop_frames(clips: Tensor, fastest: int, kept: Tensor) -> Tensor:
    """Remove the frames that move most, and of the others keep those at given positions."""
    steps = clips.diff(dim=-3).to(_wide(clips)).square().mean(dim=(-4, -2, -1))
    energy = torch.cat([steps, torch.zeros_like(steps[..., :1])], dim=-1)
    slow = energy.argsort(dim=-1, descending=True, stable=True)[..., fastest:].sort(dim=-1).values
    return _take_frames(clips, slow.gather(-1, kept))


def gaussian_blur(clips: Tensor, sigma: Tensor, taps: int, normalize: bool) -> Tensor:
    """Convolve every coordinate along time with a Gaussian; frames outside count as 0."""
    wide, half, frames = clips.to(_wide(clips)), taps // 2, clips.shape[-3]
    offsets = torch.arange(-half, half + 1, device=clips.device)
    weights = torch.exp(-(offsets**2) / (2 * sigma.to(wide)[..., None] ** 2))
    if normalize:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    padded = torch.nn.functional.pad(wide, (0, 0, 0, 0, half, half))
    blurred = torch.zeros_like(wide)
    for index in range(taps):  # not a matmul, which TF32 would round
        weight = weights[..., index, None, None, None, None]
        blurred = torch.addcmul(blurred, weight, padded[..., index : index + frames, :, :])
    return blurred.to(clips.dtype)


def reverse_frames(clips: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the order of the valid frames of every clip, and leave the frames after them."""
    frame = torch.arange(clips.shape[-3], device=clips.device)
    mirrored = lengths[..., None] - 1 - frame
    return _take_frames(clips, torch.where(mirrored < 0, frame, mirrored))


def keep_frames(clips: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Set every frame outside a range to zero."""
    outside = ~window(clips.shape[-3], starts, lengths)
    return clips.masked_fill(outside[..., None, :, None, None], 0)


def linear_map(clips: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of every joint: ``x' = S x``, alike in all frames, joints and persons."""
    channels = clips.shape[-4]
    entries = matrix.to(_wide(clips))[..., None]
    rows = clips.flatten(-3)[..., None, :, :].to(entries.dtype)
    # a sum over the 2 or 3 channels, not a matmul: autocast and TF32 would round the coordinates
    mapped = entries[..., 0, :] * rows[..., 0, :]
    for c in range(1, channels):
        mapped = torch.addcmul(mapped, entries[..., c, :], rows[..., c, :])
    return mapped.view(clips.shape).to(clips.dtype)


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotations ``R = Rz Ry Rx`` from angles about the fixed x, y and z axes."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def transform_joints(clips: Tensor, joints: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of some joints, ``x' = S x``, and leave the others."""
    return _choose(joints[..., None, :], linear_map(clips, matrix), clips)


def paste(clips: Tensor, source: Tensor, region: Tensor) -> Tensor:
    """Replace a region of joints and frames, in all persons, by that of another clip."""
    return _choose(region, source, clips)


def shrink_frames(clips: Tensor, starts: Tensor, lengths: Tensor, valid: Tensor) -> Tensor:
    """Show the beginning of every clip, up to twice as fast, inside a range of frames."""
    frames = torch.arange(clips.shape[-3], device=clips.device)
    out = lengths[..., None]
    shown = torch.minimum((frames - starts[..., None]).clamp(min=0), out - 1)
    return _take_frames(clips, shown * torch.minimum(2 * out, valid[..., None]) // out)


def shuffle_segments(clips: Tensor, order: Tensor, segments: int, lengths: Tensor) -> Tensor:
    """Cut every clip into equal segments of time and put them into another order."""
    each = tuple(chain.from_iterable(permutations(range(segments))))
    orders = index_tensor(each, clips.device).view(-1, segments)[order]
    frame = torch.arange(clips.shape[-3], device=clips.device)
    size = lengths[..., None] // segments
    place = (frame // size.clamp(min=1)).clamp(max=segments - 1)
    source = frame + (orders.gather(-1, place) - place) * size
    return _take_frames(clips, torch.where(frame < segments * size, source, frame))


def mixup(clips: Tensor, source: Tensor, lam: Tensor) -> Tensor:
    """Blend two clips: ``(1 - lam) * clips + lam * source`` (mixup, Zhang et al. 2018)."""
    share = lam.to(_wide(clips))[..., None, None, None, None]
    return ((1 - share) * clips + share * source).to(clips.dtype)


def motion_intensity(clips: Tensor, patch: int = 4) -> Tensor:
    """How much every joint moves from one patch of frames to the next (MAMP)."""
    wide = clips.to(_wide(clips))
    if clips.shape[-3] == patch:
        return torch.zeros_like(wide[..., 0, :1, :, :])
    change = (wide[..., patch:, :, :] - wide[..., :-patch, :, :]).abs().mean(dim=-4)
    moved = change.unflatten(-3, (-1, patch)).mean(dim=-3)
    return torch.cat([moved[..., :1, :, :], moved], dim=-3)


def motion_aware_mask(
    clips: Tensor, uniform: Tensor, visible: int, temperature: float = 0.8, patch: int = 4
) -> Tensor:
    """Hide all but ``visible`` patches of every person, moving ones more often (MAMP)."""
    intensity = motion_intensity(clips, patch)
    steps, joints, _ = intensity.shape[-3:]
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


def window(frames: int, starts: Tensor, lengths: Tensor) -> Tensor:
    """Boolean ``(..., frames)``, True from ``start`` for ``length`` frames."""
    frame = torch.arange(frames, device=starts.device)
    return (frame >= starts[..., None]) & (frame < (starts + lengths)[..., None])


def _wide(clips: Tensor) -> torch.dtype:
    """The dtype to compute in: half precision is widened to float32."""
    return torch.promote_types(clips.dtype, torch.float32)


def _choose(where: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
    """One of two clips for every joint: ``where`` is ``(..., T or 1, V)``."""
    persons = chosen.shape[-1]
    # joints and persons as one axis: a fourth of the time of broadcasting over persons
    each = where.repeat_interleave(persons, dim=-1).unsqueeze(-3)
    return torch.where(each, chosen.flatten(-2), others.flatten(-2)).view(chosen.shape)


def _take_frames(clips: Tensor, index: Tensor) -> Tensor:
    """Frames ``(..., C, T', V, M)`` at ``index`` ``(..., T')``, one list for each clip."""
    *lead, frames, joints, persons = clips.shape
    # whole frames are picked as rows, a tenth of the time of an element-wise gather
    sequence = torch.arange(math.prod(lead), device=clips.device).view(*lead, 1)
    rows = sequence * frames + index.unsqueeze(-2)
    picked = clips.reshape(-1, joints * persons).index_select(0, rows.flatten())
    return picked.view(*lead, index.shape[-1], joints, persons)
