"""``animate``: a skeleton sequence as an animation in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import proj3d
from mpl_toolkits.mplot3d.art3d import Line3D
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import ArrayLike
from torch import Tensor

from pcm3.checks import check_positive
from pcm3.skeleton import Skeleton
from pcm3.viz.clips import (
    CHANGED,
    HIDDEN,
    PREDICTED,
    Array,
    as_clip,
    as_mask,
    as_one,
    as_twin,
    changed,
    legend_handles,
    part_bones,
    part_colors,
    present,
    space,
)
from pcm3.viz.figures import Animation
from pcm3.viz.results import short_text

_INCHES = (4.0, 4.6)
_FASTEST = 50.0  # frames per second; browsers slow down faster GIFs
_EDGE = 0.084  # edge of the picture in the units that mplot3d projects to
_TURN, _TILT = 25, 12  # degrees by which the camera is turned from the front
_GROUND = "#E4E4E4"


def animate(
    clip: Tensor | ArrayLike,
    skeleton: Skeleton,
    fps: float = 30.0,
    mask: Tensor | ArrayLike | None = None,
    prediction: Tensor | ArrayLike | None = None,
    before: Tensor | ArrayLike | None = None,
    title: str = "",
    axes: tuple[int, int] = (0, 1),
    max_frames: int = 300,
    note: str | Sequence[str] = "",
) -> Animation:
    """Animate one clip in three dimensions, at the speed of the recording.

    Bones have the colour of their body part, all directions have the same scale, and the camera
    stands still. Missing joints are left out as in ``film_strip``.

    Args:
        clip: Joint coordinates ``(C, T, V, M)``, C is 2 or 3.
        skeleton: The layout of the joint axis.
        fps: Frames per second of the clip.
        mask: ``(T, V, M)``, True for hidden joints, which are drawn hollow and grey.
        prediction: ``(C, T, V, M)``, drawn dashed and green over the clip: at hidden joints if
            there is a mask, otherwise wherever it is finite.
        before: ``(C, T, V, M)``, the clip before a mix or a transform. Joints that have moved
            since lie on pale pink, as in ``film_strip``.
        title: Title above the clip.
        axes: The coordinate channels that point right and up, as in ``film_strip``.
        max_frames: Longer clips, and clips of more than 50 frames per second, show only every n-th
            frame, at the same speed.
        note: Text next to the time: one for all frames, or one for each.

    Returns:
        An animation, which ``save`` writes as ``.gif``, ``.mp4`` or ``.html``.

    Raises:
        ValueError: If the shapes or the number of notes do not fit, or a number is not positive.

    Example:
        >>> from pcm3 import NTU25
        >>> animate(np.ones((3, 40, 25, 2)), NTU25).frames[-1]
        39
    """
    check_positive("fps", fps)
    check_positive("max_frames", max_frames)
    clips = as_clip(clip, skeleton)[None]
    masks = None if mask is None else as_one("mask", mask, "(T, V, M)")
    hidden = as_mask(masks, clips)[0]
    differs = changed(clips, None if before is None else as_one("before", before), skeleton)[0]
    seen = present(clips[0], skeleton)
    points, guess = np.where(seen, clips[0], np.nan), np.full_like(clips[0], np.nan)
    if prediction is not None:
        guess = as_twin("prediction", as_one("prediction", prediction), clips, skeleton)[0]
        guess = np.where(seen, guess if mask is None else np.where(hidden, guess, points), np.nan)
    length = clips.shape[2]
    notes = [note] * length if isinstance(note, str) else list(note)
    if len(notes) != length:
        raise ValueError(f"expected a note for each of {length} frames, got {len(notes)}")
    step = max(-(-length // max_frames), ceil(fps / _FASTEST))

    figure, axis = _stage(np.concatenate([points, guess], axis=1), axes)
    handles = legend_handles(skeleton, mask is not None, before is not None, prediction is not None)
    style: dict[str, Any] = {"handlelength": 1.2, "columnspacing": 1.0, "handletextpad": 0.5}
    style |= {"ncols": 5 if len(handles) <= 5 else 4, "frameon": False, "fontsize": 8}
    figure.legend(handles=handles, loc="lower center", borderaxespad=0.2, **style)
    figure.text(0.5, 0.985, short_text(title, 60), ha="center", va="top", fontsize=10)
    clock = figure.text(0.5, 0.935, "", ha="center", va="top", fontsize=8, color="#555555")
    layers = _layers(axis, skeleton, points, guess, hidden, differs)

    def draw(frame: int) -> None:
        remark = f"; {short_text(notes[frame], 60)}" if notes[frame] else ""
        clock.set_text(f"frame {frame} of {length}, {frame / fps:.2f} s{remark}")
        for line, shown, bones in layers:
            line.set_data_3d(*_trace(shown[:, frame], bones))

    draw(0)
    moving = (clock, *(line for line, _, _ in layers))
    return Animation(figure, draw, moving, tuple(range(0, length, step)), fps / step)


Layer = tuple[Line3D, Array, Array | None]
"""A line, its points ``(3, T, V, M)``, NaN for missing ones, and the pairs to join, if any."""


def _layers(
    axis: Axes3D, skeleton: Skeleton, points: Array, guess: Array, hidden: Array, differs: Array
) -> list[Layer]:
    """Make all layers that move, from the bottom up."""
    pairs, by_part = np.array(skeleton.bones), part_bones(skeleton)
    layers: list[Layer] = []

    def add(gid: str, shown: Array, bones: Array | None = None, **style: Any) -> None:
        look = {"linestyle": "", "marker": "o", "markeredgewidth": 0} if bones is None else {}
        (line,) = axis.plot([], [], [], gid=gid, zorder=len(layers) + 10, **look | style)
        layers.append((line, space(shown), bones))

    lit, seen = np.where(differs, points, np.nan), np.where(hidden, np.nan, points)
    add("changed", lit, pairs, color=CHANGED, linewidth=7)
    add("changed", lit, color=CHANGED, markersize=8)
    add("predicted", guess, pairs, color=PREDICTED, linewidth=1.6, linestyle=(0, (2, 1.2)))
    for part, color in part_colors(skeleton).items():
        inside = np.isin(np.arange(len(skeleton)), skeleton.parts[part])
        bones = by_part[part]
        add("thin bones", points, bones, color=color, linewidth=0.8)
        add("bones", seen, bones, color=color, linewidth=2.2)
        add("joints", np.where(inside[:, None], seen, np.nan), color=color, markersize=3.5)
    unseen = np.where(hidden, points, np.nan)
    add("hidden", unseen, mfc="white", markeredgewidth=1, markeredgecolor=HIDDEN, markersize=4)
    return layers


def _trace(points: Array, bones: Array | None) -> Array:
    """Return joints ``(3, V, M)``, or lines between pairs separated by NaN, as ``(3, points)``."""
    if bones is None:
        return points.reshape(3, -1)
    ends = points[:, bones].transpose(0, 1, 3, 2)  # (3, bones, M, 2)
    gaps = ((0, 0), (0, 0), (0, 0), (0, 1))
    lines: Array = np.pad(ends, gaps, constant_values=np.nan).reshape(3, -1)
    return lines


def _stage(points: Array, axes: tuple[int, int]) -> tuple[Figure, Axes3D]:
    """Make an empty scene that holds all points ``(C, ...)``, seen from the front."""
    flat, every = len(points) == 2, space(points).reshape(3, -1)
    every = every[:, np.isfinite(every).all(axis=0)]
    if every.size == 0:
        every = np.array([[-1.0, 1.0]] * 3)
    low, high = every.min(axis=1), every.max(axis=1)
    # some room even for clips that hardly move
    size = np.maximum(high - low, 0.25 * (high - low).max() + 1e-6)
    low, high = (low + high - 1.06 * size) / 2, (low + high + 1.06 * size) / 2
    figure = Figure(figsize=_INCHES)
    axis: Axes3D = figure.add_axes((0.0, 0.09, 1.0, 0.84), projection="3d")
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axis.set_proj_type("ortho")
    axis.set_axis_off()
    right, up = axes
    # at 0 the camera is on the axis after `up`, and the second one after it points right
    front = 0 if right == (up + 2) % 3 else -90
    turn, tilt = (0, 0) if flat else (_TURN, _TILT)
    axis.view_init(elev=tilt, azim=front + turn, vertical_axis="xyz"[up])
    axis.set_box_aspect(high - low)
    seen = proj3d.proj_transform(*every, axis.get_proj())[:2]
    axis.set_box_aspect(high - low, zoom=_EDGE / np.abs(seen).max())
    if not flat:
        _floor(axis, low, high, up)
    return figure, axis


def _floor(axis: Axes3D, low: Array, high: Array, up: int) -> None:
    """Draw a grid below the feet, without which depth is hard to see."""
    across = [channel for channel in range(3) if channel != up]
    cell = (high - low)[across].max() / 6
    for along, other in (across, across[::-1]):
        for at in np.arange(low[other], high[other] + 1e-9, cell):
            line = np.empty((3, 2))
            line[along], line[other], line[up] = (low[along], high[along]), at, low[up]
            axis.plot(*line, color=_GROUND, linewidth=1, zorder=0)
