"""Skeleton sequences as rows of stick figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pcm3._checks import check_clips
from pcm3.skeleton import Skeleton
from pcm3.viz.figures import PALETTE

__all__ = ["film_strip", "reconstruction_figure"]

HIDDEN = "#888888"

Array = NDArray[Any]


def film_strip(
    clips: Tensor | ArrayLike,
    skeleton: Skeleton,
    mask: Tensor | ArrayLike | None = None,
    frames: int = 8,
    titles: Sequence[str] | None = None,
    axes: tuple[int, int] = (0, 1),
) -> Figure:
    """One row of evenly spaced frames a clip, seen from the front.

    Bones have the colour of their body part. Missing joints, all 0 or not finite, are left out;
    a centre joint that is 0 in every frame is not missing but what the clip was centred on.

    Args:
        clips: Joint coordinates ``(N, C, T, V, M)``.
        skeleton: The layout of the joint axis.
        mask: ``(N, T, V, M)``, True where hidden; those joints become hollow and grey.
        frames: How many frames a row shows, T at most.
        titles: A name for every row.
        axes: The coordinate channels that point right and up.

    Returns:
        A figure with ``N * frames`` axes, row by row, and a legend of the parts.

    Raises:
        ValueError: If shapes do not fit, or there is not one title a clip.
    """
    clips = _array(clips, skeleton)
    hidden = _mask(mask, clips)
    if titles is not None and len(titles) != len(clips):
        raise ValueError(f"expected {len(clips)} titles, one a clip, got {len(titles)}")
    figure, grid, shown = _grid(clips, len(clips), frames)
    for row, (clip, hide) in enumerate(zip(clips, hidden, strict=True)):
        present = _present(clip, skeleton)
        _row(grid[row], clip, present, hide, skeleton, shown, axes, _limits([clip], present, axes))
        grid[row][0].set_ylabel(titles[row] if titles else "")
    _legend(figure, skeleton, hidden=mask is not None)
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
    """What a model saw, what it made of it and what was there: three rows a sample.

    The rows are the input without its hidden joints, the input with the hidden joints as
    predicted (hollow), and the source. The three share their scale.

    Args:
        source: True coordinates ``(N, C, T, V, M)``.
        masked_input: What the encoder saw, of that shape.
        predicted: What the decoder put out, of that shape; read at hidden joints only.
        mask: ``(N, T, V, M)``, True where hidden.
        skeleton: The layout of the joint axis.
        samples: How many samples to show, the first ones, N at most.
        frames: How many frames a row shows, T at most.
        axes: The coordinate channels that point right and up.

    Returns:
        A figure with ``3 * samples * frames`` axes, row by row, and a legend of the parts.

    Raises:
        ValueError: If the shapes differ or are not the skeleton's.
    """
    source, masked_input, predicted = (
        _array(clips, skeleton) for clips in (source, masked_input, predicted)
    )
    for name, clips in (("masked_input", masked_input), ("predicted", predicted)):
        if clips.shape != source.shape:
            raise ValueError(f"expected {name} of shape {source.shape}, got {clips.shape}")
    hidden = _mask(mask, source)
    composite = np.where(hidden[:, None], predicted, masked_input)
    samples = min(samples, len(source))
    figure, grid, shown = _grid(source, 3 * samples, frames)
    for sample in range(samples):
        truth, hide = source[sample], hidden[sample]
        present, nothing = _present(truth, skeleton), np.zeros_like(hide)
        limits = _limits([truth, composite[sample]], present, axes)
        rows = (
            ("input", masked_input[sample], present & ~hide, nothing),
            ("predicted", composite[sample], present, hide),
            ("truth", truth, present, nothing),
        )
        for row, (title, clip, there, hollow) in enumerate(rows, start=3 * sample):
            _row(grid[row], clip, there, hollow, skeleton, shown, axes, limits)
            grid[row][0].set_ylabel(title)
    _legend(figure, skeleton, hidden=True)
    return figure


def _array(clips: Tensor | ArrayLike, skeleton: Skeleton) -> Array:
    tensor = torch.as_tensor(clips).detach().cpu().float()
    check_clips(tensor, joints=len(skeleton))
    return tensor.numpy()


def _mask(mask: Tensor | ArrayLike | None, clips: Array) -> Array:
    expected = (len(clips), *clips.shape[2:])
    if mask is None:
        return np.zeros(expected, dtype=bool)
    hidden = torch.as_tensor(mask).cpu().numpy()
    if hidden.shape != expected or hidden.dtype != bool:
        raise ValueError(
            f"expected a boolean mask (N, T, V, M) = {expected}, got {hidden.dtype} {hidden.shape}"
        )
    return hidden


def _present(clip: Array, skeleton: Skeleton) -> Array:
    """Where ``(C, T, V, M)`` has a joint: ``(T, V, M)``."""
    there: Array = np.isfinite(clip).all(axis=0) & (clip != 0).any(axis=0)
    at_origin = ~there[:, skeleton.center].any(axis=0)  # (M,): the clip was centred on it
    there[:, skeleton.center] |= at_origin & there.any(axis=1)
    return there


def _limits(clips: Sequence[Array], present: Array, axes: tuple[int, int]) -> Array:
    """Lower and upper bound of both shown coordinates, ``(2, 2)``, with a margin."""
    points = np.concatenate([clip[list(axes)][:, present] for clip in clips], axis=1)
    points = points[:, np.isfinite(points).all(axis=0)]
    if points.size == 0:
        return np.array([[-1.0, 1.0], [-1.0, 1.0]])
    low, high = points.min(axis=1), points.max(axis=1)
    margin = 0.08 * max(float((high - low).max()), 1e-6)
    return np.stack([low - margin, high + margin], axis=1)


def _grid(clips: Array, rows: int, frames: int) -> tuple[Figure, Array, Array]:
    if frames < 1:
        raise ValueError(f"expected at least one frame, got {frames}")
    length = clips.shape[2]
    shown = np.linspace(0, length - 1, min(frames, length)).round().astype(int)
    figure = Figure(figsize=(1.2 * len(shown) + 0.4, 1.5 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, len(shown), squeeze=False)
    figure.align_ylabels(list(grid[:, 0]))
    for axis, frame in zip(grid[0], shown, strict=True):
        axis.set_title(f"frame {frame}", fontsize="small")
    return figure, grid, shown


def _row(
    row: Array,
    clip: Array,
    present: Array,
    hidden: Array,
    skeleton: Skeleton,
    shown: Array,
    axes: tuple[int, int],
    limits: Array,
) -> None:
    flat = clip[list(axes)]
    for axis, frame in zip(row, shown, strict=True):
        for person in range(clip.shape[-1]):
            _figure(
                axis,
                flat[:, frame, :, person].T,
                present[frame, :, person],
                hidden[frame, :, person],
                skeleton,
            )
        axis.set(xlim=limits[0], ylim=limits[1], xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set_visible(False)


def _colors(skeleton: Skeleton) -> dict[str, str]:
    return dict(zip(skeleton.parts, cycle(PALETTE), strict=False))


def _figure(axis: Axes, points: Array, present: Array, hidden: Array, skeleton: Skeleton) -> None:
    """One stick figure: points ``(V, 2)``, present and hidden ``(V,)``."""
    colors = np.empty(len(skeleton), dtype=object)
    for part, color in _colors(skeleton).items():
        colors[list(skeleton.parts[part])] = color
    bones = [
        (joint, parent)
        for joint, parent in enumerate(skeleton.parents)
        if parent >= 0 and present[joint] and present[parent]
    ]
    axis.add_collection(
        LineCollection(
            [points[[joint, parent]] for joint, parent in bones],
            colors=[colors[joint] for joint, _ in bones],
            linewidths=[0.8 if hidden[[joint, parent]].any() else 1.8 for joint, parent in bones],
            capstyle="round",
            zorder=1,
            gid="bones",
        ),
        autolim=False,
    )
    seen, hollow = points[present & ~hidden], points[present & hidden]
    colors = colors[present & ~hidden]
    axis.scatter(seen[:, 0], seen[:, 1], s=7, c=list(colors), linewidths=0, zorder=2, gid="joints")
    axis.scatter(
        hollow[:, 0], hollow[:, 1], s=10, c="white", edgecolors=HIDDEN, zorder=2, gid="hidden"
    )


def _legend(figure: Figure, skeleton: Skeleton, hidden: bool) -> None:
    handles = [
        Line2D([], [], color=color, linewidth=2, label=part.replace("_", " "))
        for part, color in _colors(skeleton).items()
    ]
    if hidden:
        handles.append(
            Line2D([], [], linestyle="", marker="o", color=HIDDEN, mfc="white", label="hidden")
        )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize="small"
    )
