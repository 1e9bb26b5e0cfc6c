"""Helpers of film strips and animations: checked clips, and the colours of body parts."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import torch
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pcm3.checks import check_clips
from pcm3.skeleton import Skeleton
from pcm3.viz.figures import PALETTE

Array = NDArray[Any]

HIDDEN = "#888888"
CHANGED = "#EBC8DC"  # a pale PALETTE[6]: bones keep their colour on top of it
PREDICTED = PALETTE[5]


def as_clips(clips: Tensor | ArrayLike, skeleton: Skeleton) -> Array:
    """Convert clips to ``(N, C, T, V, M)`` float32."""
    tensor = torch.as_tensor(clips).detach().cpu().float()
    check_clips(tensor, joints=len(skeleton))
    return tensor.numpy()


def as_one(name: str, value: Tensor | ArrayLike, axes: str = "(C, T, V, M)") -> Tensor:
    """Convert a value without a batch axis to a batch of one.

    Args:
        name: What it is, for the message.
        value: The clip or mask.
        axes: Its axes, as the message names them.

    Raises:
        ValueError: If the number of axes is another.
    """
    tensor = torch.as_tensor(value).detach()
    if tensor.ndim != axes.count(",") + 1:
        raise ValueError(f"expected one {name} {axes}, got {tuple(tensor.shape)}")
    return tensor[None]


def as_clip(clip: Tensor | ArrayLike, skeleton: Skeleton) -> Array:
    """Convert a clip ``(C, T, V, M)`` of two or three coordinates to float32.

    Raises:
        ValueError: If the clip has another shape or does not fit the skeleton.
    """
    array: Array = as_clips(as_one("clip", clip), skeleton)[0]
    if len(array) not in (2, 3):
        raise ValueError(f"expected 2 or 3 coordinates, got a clip {array.shape}")
    return array


def space(points: Array) -> Array:
    """Return a clip with three coordinates; the third of flat clips ``(2, ...)`` is 0."""
    return points if len(points) == 3 else np.concatenate([points, np.zeros_like(points[:1])])


def as_mask(mask: Tensor | ArrayLike | None, clips: Array) -> Array:
    """Convert a mask ``(N, T, V, M)`` of clips ``(N, C, T, V, M)``; all False if there is none.

    Raises:
        ValueError: If the mask has another shape or is not boolean.
    """
    expected = (len(clips), *clips.shape[2:])
    if mask is None:
        return np.zeros(expected, dtype=bool)
    hidden = torch.as_tensor(mask).cpu().numpy()
    if hidden.shape != expected or hidden.dtype != bool:
        raise ValueError(
            f"expected a boolean mask (N, T, V, M) = {expected}, got {hidden.dtype} {hidden.shape}"
        )
    return hidden


def as_twin(name: str, other: Tensor | ArrayLike, clips: Array, skeleton: Skeleton) -> Array:
    """Convert further clips ``(N, C, T, V, M)``, and require the same shape.

    Args:
        name: What they are, for the message.
        other: The further clips.
        clips: The clips that they belong to.
        skeleton: Joint layout of both.

    Raises:
        ValueError: If the shapes differ, or the clips do not fit the skeleton.
    """
    array = as_clips(other, skeleton)
    if array.shape != clips.shape:
        raise ValueError(f"expected {name} of shape {clips.shape}, got {array.shape}")
    return array


def changed(clips: Array, before: Tensor | ArrayLike | None, skeleton: Skeleton) -> Array:
    """Return where clips differ from the clips before a transform ``(N, T, V, M)``."""
    if before is None:
        return as_mask(None, clips)
    other = as_twin("before", before, clips, skeleton)
    same = (clips == other) | (np.isnan(clips) & np.isnan(other))
    differs: Array = ~same.all(axis=1)
    return differs


def present(clip: Array, skeleton: Skeleton) -> Array:
    """Return which joints of ``(C, T, V, M)`` are present ``(T, V, M)``."""
    visible: Array = np.isfinite(clip).all(axis=0) & (clip != 0).any(axis=0)
    at_origin = ~visible[:, skeleton.center].any(axis=0)  # (M,): the clip was centred on it
    visible[:, skeleton.center] |= at_origin & visible.any(axis=1)
    return visible


def part_colors(skeleton: Skeleton) -> dict[str, str]:
    """Return the colour of each body part."""
    return dict(zip(skeleton.parts, cycle(PALETTE), strict=False))


def part_bones(skeleton: Skeleton) -> dict[str, Array]:
    """Return pairs of joints to draw (bones, 2) by part; bones across are the trunk's."""
    part_of = {joint: part for part, own in skeleton.parts.items() for joint in own}
    bones: dict[str, list[tuple[int, int]]] = {part: [] for part in skeleton.parts}
    for joint, other in skeleton.bones:
        across = skeleton.parents[joint] != other  # from side to side
        bones["trunk" if across and "trunk" in bones else part_of[joint]].append((joint, other))
    return {part: np.array(own, dtype=int).reshape(-1, 2) for part, own in bones.items()}


def legend_handles(
    skeleton: Skeleton, hidden: bool = False, differs: bool = False, predicted: bool = False
) -> list[Line2D]:
    """Make legend entries for body parts and, on request, changed, hidden and predicted joints."""
    handles = [
        Line2D([], [], color=color, linewidth=2, label=part.replace("_", " "))
        for part, color in part_colors(skeleton).items()
    ]
    if hidden:
        handles.append(
            Line2D([], [], linestyle="", marker="o", color=HIDDEN, mfc="white", label="hidden")
        )
    if differs:
        handles.append(Line2D([], [], color=CHANGED, linewidth=5, label="changed"))
    if predicted:
        line = Line2D([], [], color=PREDICTED, linewidth=1.5, linestyle="--", label="predicted")
        handles.append(line)
    return handles
