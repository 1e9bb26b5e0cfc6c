"""Film strips: skeleton sequences as rows of stick figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from pcm3.skeleton import Skeleton
from pcm3.viz.clips import (
    CHANGED,
    HIDDEN,
    Array,
    as_clips,
    as_mask,
    as_twin,
    changed,
    legend_handles,
    part_bones,
    part_colors,
    present,
)

_LEGEND_ENTRY = 1.3  # inches
_SHAPE = (1.0, 1.25)  # width and height of a panel, one to the other


def film_strip(
    clips: Tensor | ArrayLike,
    skeleton: Skeleton,
    mask: Tensor | ArrayLike | None = None,
    frames: int = 8,
    titles: Sequence[str] | None = None,
    axes: tuple[int, int] = (0, 1),
    before: Tensor | ArrayLike | None = None,
    heads: Sequence[str] | None = None,
) -> Figure:
    """Draw each clip as a row of evenly spaced frames, seen from the front.

    Bones have the colour of their body part. Missing joints, all 0 or not finite, are left out.
    A centre joint that is 0 in every frame is not missing, as the clip was centred on it.

    Args:
        clips: Joint coordinates ``(N, C, T, V, M)``.
        skeleton: The layout of the joint axis.
        mask: ``(N, T, V, M)``, True for hidden joints, which are drawn hollow and grey.
        frames: Number of frames in a row, T at most.
        titles: A title for every row.
        axes: The coordinate channels that point right and up. For image coordinates, which point
            down, pass ``clips * torch.tensor([1, -1])[:, None, None, None]``.
        before: The clips before a mix or a transform, of the same shape. Joints that have moved
            since lie on pale pink, such as the partner's after ``CutMix`` and ``ResizeMix``.
        heads: A head for every column; by default the number of the frame.

    Returns:
        A figure with ``N * frames`` axes, row by row, and a legend of the parts.

    Raises:
        ValueError: If the shapes do not fit, or the number of titles or heads is not that of the
            clips or columns.
    """
    clips = as_clips(clips, skeleton)
    hidden, differs = as_mask(mask, clips), changed(clips, before, skeleton)
    if titles is not None and len(titles) != len(clips):
        raise ValueError(f"expected {len(clips)} titles, one per clip, got {len(titles)}")
    figure, grid, shown = _grid(clips, len(clips), frames)
    if heads is not None:
        if len(heads) != len(shown):
            raise ValueError(f"expected {len(shown)} heads, one per column, got {len(heads)}")
        for axis, head in zip(grid[0], heads, strict=True):
            axis.set_title(head, fontsize="small")
    for row, (clip, hide, differ) in enumerate(zip(clips, hidden, differs, strict=True)):
        seen = present(clip, skeleton)
        limits = limits_of([clip], seen, axes)
        _row(grid[row], clip, seen, hide, skeleton, shown, axes, limits, differ)
        grid[row][0].set_ylabel(titles[row] if titles else "")
    _legend(figure, legend_handles(skeleton, mask is not None, before is not None))
    return figure


def reconstruction_figure(
    source: Tensor | ArrayLike,
    masked_input: Tensor | ArrayLike,
    predicted: Tensor | ArrayLike,
    mask: Tensor | ArrayLike,
    skeleton: Skeleton,
    samples: int = 3,
    frames: int = 8,
    axes: tuple[int, int] = (0, 1),
) -> Figure:
    """Draw masked input, reconstruction and source of each sample, in three rows.

    The rows are the input without its hidden joints, the input with the hidden joints as
    predicted (hollow), and the source. The three share their scale.

    Args:
        source: True coordinates ``(N, C, T, V, M)``.
        masked_input: Input of the encoder, of the same shape.
        predicted: Output of the decoder, of the same shape; used at hidden joints only.
        mask: ``(N, T, V, M)``, True for hidden joints.
        skeleton: The layout of the joint axis.
        samples: Number of samples to show, N at most.
        frames: Number of frames in a row, T at most.
        axes: The coordinate channels that point right and up.

    Returns:
        A figure with ``3 * samples * frames`` axes, row by row, and a legend of the parts.

    Raises:
        ValueError: If the shapes differ or are not the skeleton's.
    """
    source = as_clips(source, skeleton)
    masked_input = as_twin("masked_input", masked_input, source, skeleton)
    predicted = as_twin("predicted", predicted, source, skeleton)
    hidden = as_mask(mask, source)
    composite = np.where(hidden[:, None], predicted, masked_input)
    samples = min(samples, len(source))
    figure, grid, shown = _grid(source, 3 * samples, frames)
    for sample in range(samples):
        truth, hide = source[sample], hidden[sample]
        here, nothing = present(truth, skeleton), np.zeros_like(hide)
        limits = limits_of([truth, composite[sample]], here, axes)
        rows = (
            ("input", masked_input[sample], here & ~hide, nothing),
            ("predicted", composite[sample], here, hide),
            ("truth", truth, here, nothing),
        )
        for row, (title, clip, seen, hollow) in enumerate(rows, start=3 * sample):
            _row(grid[row], clip, seen, hollow, skeleton, shown, axes, limits)
            grid[row][0].set_ylabel(title)
    _legend(figure, legend_handles(skeleton, hidden=True))
    return figure


def limits_of(clips: Sequence[Array], seen: Array, axes: tuple[int, int]) -> Array:
    """Find lower and upper bounds of two coordinates, ``(2, 2)``, with a margin.

    All bounds have one shape, so that panels of different clips are equally large.

    Args:
        clips: Clips ``(C, T, V, M)``.
        seen: Joints that count ``(T, V, M)``.
        axes: The two coordinates.
    """
    points = np.concatenate([clip[list(axes)][:, seen] for clip in clips], axis=1)
    points = points[:, np.isfinite(points).all(axis=0)]
    if points.size == 0:
        return np.outer(_SHAPE, [-1.0, 1.0])
    low, high = points.min(axis=1), points.max(axis=1)
    margin = 0.08 * max(float((high - low).max()), 1e-6)
    middle, shape = (low + high) / 2, np.array(_SHAPE)
    reach = shape * ((high - low + 2 * margin) / shape).max() / 2
    return np.stack([middle - reach, middle + reach], axis=1)


def _grid(clips: Array, rows: int, frames: int) -> tuple[Figure, Array, Array]:
    if frames < 1:
        raise ValueError(f"expected at least one frame, got {frames}")
    length = clips.shape[2]
    shown = np.linspace(0, length - 1, min(frames, length)).round().astype(int)
    figure = Figure(
        figsize=(max(1.2 * len(shown) + 0.4, 3.0), 1.5 * rows + 0.5), layout="constrained"
    )
    grid = figure.subplots(rows, len(shown), squeeze=False)
    for axis, frame in zip(grid[0], shown, strict=True):
        axis.set_title(f"frame {frame}", fontsize="small")
    return figure, grid, shown


def _row(
    row: Array,
    clip: Array,
    seen: Array,
    hidden: Array,
    skeleton: Skeleton,
    shown: Array,
    axes: tuple[int, int],
    limits: Array,
    differs: Array | None = None,
) -> None:
    flat = clip[list(axes)]
    for axis, frame in zip(row, shown, strict=True):
        for person in range(clip.shape[-1]):
            draw_figure(
                axis,
                flat[:, frame, :, person].T,
                seen[frame, :, person],
                hidden[frame, :, person],
                skeleton,
            )
            if differs is not None:
                lit = seen[frame, :, person] & differs[frame, :, person]
                _highlight(axis, flat[:, frame, :, person].T, lit, skeleton)
        axis.set(xlim=limits[0], ylim=limits[1], xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set_visible(False)


def draw_figure(
    axis: Axes,
    points: Array,
    seen: Array,
    hidden: Array,
    skeleton: Skeleton,
    colors: Array | None = None,
) -> None:
    """Draw a stick figure.

    Args:
        axis: Where to draw.
        points: The joints ``(V, 2)``.
        seen: Which of them are present ``(V,)``.
        hidden: Which of them are hollow and grey ``(V,)``.
        skeleton: The layout of the joint axis.
        colors: Colour of each joint (V,), which its bone to the parent shares; by default that of
            the body part.
    """
    palette = part_colors(skeleton)
    by_part = colors is None
    if colors is None:
        colors = np.empty(len(skeleton), dtype=object)
        for part, color in palette.items():
            colors[list(skeleton.parts[part])] = color
    bones = [
        (bone, palette[part] if by_part else colors[bone[0]])
        for part, own in part_bones(skeleton).items()
        for bone in own
        if seen[bone].all()
    ]
    axis.add_collection(
        LineCollection(
            [points[bone] for bone, _ in bones],
            colors=[color for _, color in bones],
            linewidths=[0.8 if hidden[bone].any() else 1.8 for bone, _ in bones],
            capstyle="round",
            zorder=1,
            gid="bones",
        ),
        autolim=False,
    )
    full, hollow = points[seen & ~hidden], points[seen & hidden]
    colors = colors[seen & ~hidden]
    axis.scatter(full[:, 0], full[:, 1], s=7, c=list(colors), linewidths=0, zorder=2, gid="joints")
    axis.scatter(
        hollow[:, 0], hollow[:, 1], s=10, c="white", edgecolors=HIDDEN, zorder=2, gid="hidden"
    )


def _highlight(axis: Axes, points: Array, lit: Array, skeleton: Skeleton) -> None:
    """Draw a pale background of joints ``(V, 2)`` and of the bones between two of them."""
    bones = [points[list(bone)] for bone in skeleton.bones if lit[list(bone)].all()]
    axis.add_collection(
        LineCollection(bones, colors=CHANGED, linewidths=6, capstyle="round", zorder=0),
        autolim=False,
    )
    x, y = points[lit].T
    axis.scatter(x, y, s=40, c=CHANGED, linewidths=0, zorder=0, gid="changed")


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    columns = max(2, int(figure.get_figwidth() / _LEGEND_ENTRY))
    style: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": "small"}
    figure.legend(handles=handles, loc="outside lower center", **style)
