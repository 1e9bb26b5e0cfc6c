"""Pictures of single sequences in results: retrieved neighbours and predicted motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pcm3.viz.figures import PALETTE
from pcm3.viz.results import PANEL, short_text

Array = NDArray[Any]

QUERY, HIT, MISS, TRUE = PALETTE[0], PALETTE[1], PALETTE[2], "#999999"


def retrieval_figure(
    example: Mapping[str, Any],
    bones: Sequence[Sequence[int]],
    center: int,
    class_names: Sequence[str],
) -> Figure:
    """Draw a query above its nearest neighbours, each as a row of frames; hits blue, misses orange.

    Args:
        example: One of ``examples`` in ``details`` of ``evaluate_knn``: ``labels`` and
            ``frames`` (frames, M, V, C) of the query and its neighbours, ``names``,
            ``similarity`` and ``hits``.
        bones: Pairs of joints to draw.
        center: The joint that may be at 0 without being missing.
        class_names: Names of all classes.

    Returns:
        A figure with one axes per sequence, titled with its class.
    """
    rows = [np.asarray(frames, float) for frames in example["frames"]]
    titles = [short_text(class_names[label]) for label in example["labels"]]
    name = short_text(example["names"][0])
    titles[0] = f"query: {titles[0]}" + (f"  ({name})" if name else "")
    colors = [QUERY]
    for at, (similarity, hit) in enumerate(
        zip(example["similarity"], example["hits"], strict=True), start=1
    ):
        titles[at] = f"{'✓ hit' if hit else '✗ miss'} {similarity:.2f}  {titles[at]}"
        colors.append(HIT if hit else MISS)
    figure = Figure(figsize=(PANEL, 0.95 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, row, title, color in zip(grid, rows, titles, colors, strict=True):
        _strip(axis, [(row, color, 1.3)], bones, center)
        axis.set_title(title, fontsize=8, loc="left", pad=2, color=color)
    return figure


def motion_figure(
    example: Mapping[str, Any], bones: Sequence[Sequence[int]], center: int, frames: int = 5
) -> Figure:
    """Draw a predicted motion in colour over the true one in grey, after the last observed frames.

    Args:
        example: One of ``examples`` in ``details`` of ``evaluate_prediction``: ``observed``,
            ``true`` and ``predicted`` (frames, V, C), ``sequence``, ``mpjpe_mm`` and
            ``zero_velocity_mm``, which the title gives.
        bones: Pairs of joints to draw.
        center: The joint that may be at 0 without being missing.
        frames: Number of predicted frames to show, after the last two observed ones.

    Returns:
        A figure with one axes: the frames from left to right, with 0 as the last observed one.
    """
    observed, true, predicted = (
        np.asarray(example[name], float)[:, None] for name in ("observed", "true", "predicted")
    )
    chosen = np.linspace(0, len(true) - 1, min(frames, len(true))).round().astype(int)
    last = np.arange(max(len(observed) - 2, 0), len(observed))
    figure = Figure(figsize=(PANEL, 1.6), layout="constrained")
    axis = figure.add_subplot()
    truth = np.concatenate([observed[last], true[chosen]])
    before = np.concatenate([np.full_like(observed[last], np.nan), predicted[chosen]])
    centres = _strip(axis, [(truth, TRUE, 2.6), (before, PALETTE[2], 1.2)], bones, center)
    times = [at - len(observed) + 1 for at in last] + [at + 1 for at in chosen]
    axis.set_xticks(centres, [f"{time:+d}" if time else "0" for time in times])
    axis.tick_params(labelsize=7.5, length=0)
    axis.set_title(
        f"sequence {example['sequence']}: {example['mpjpe_mm']:.1f} mm off, "
        f"zero velocity {example['zero_velocity_mm']:.1f} mm",
        fontsize=8,
        loc="left",
    )
    return figure


def _strip(
    axis: Axes,
    layers: Sequence[tuple[Array, str, float]],
    bones: Sequence[Sequence[int]],
    center: int,
) -> Array:
    """Draw layers of frames (F, M, V, C) side by side; return the positions of frames (F,)."""
    flat = [layer[..., :2] for layer, _, _ in layers]
    visible = [_present(layer, center) for layer, _, _ in layers]
    points = np.concatenate([xy[seen] for xy, seen in zip(flat, visible, strict=True)])
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (-np.ones(2),) * 2
    width = max(float(high[0] - low[0]), 0.4 * float(high[1] - low[1]), 1e-6) * 1.08
    middle = float(low[0] + high[0]) / 2
    centres: Array = width * np.arange(len(flat[0]))
    for (_, color, thick), xy, seen in zip(layers, flat, visible, strict=True):
        moved = xy + np.stack([centres - middle, np.zeros_like(centres)], axis=1)[:, None, None]
        lines = [
            moved[frame, person, list(bone)]
            for frame, person in np.ndindex(*moved.shape[:2])
            for bone in bones
            if seen[frame, person, list(bone)].all()
        ]
        # one line with gaps keeps a page with many such pictures small
        x, y = np.concatenate(
            [
                np.pad(b, ((0, 1), (0, 0)), constant_values=np.nan)
                for b in lines or [np.full((1, 2), np.nan)]
            ]
        ).T
        axis.plot(x, y, color=color, linewidth=thick, solid_capstyle="round", gid="bones")
    margin = 0.05 * max(float(high[1] - low[1]), 1e-6)
    axis.set(xlim=(centres[0] - width / 2, centres[-1] + width / 2))
    axis.set(
        ylim=(low[1] - margin, high[1] + margin), xticks=[], yticks=[], aspect="equal", anchor="W"
    )
    axis.spines[:].set_visible(False)
    return centres


def _present(frames: Array, center: int) -> Array:
    """Return which joints (F, M, V) are present; the centre may be 0 if the person is there."""
    visible: Array = np.isfinite(frames).all(axis=3) & (frames != 0).any(axis=3)
    visible[:, :, center] |= visible.any(axis=2)
    return visible
