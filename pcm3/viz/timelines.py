"""Labels of recordings over time, as coloured intervals, and curves of similarity over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from pcm3.viz.figures import PALETTE
from pcm3.viz.results import WIDE, bar_look, short_text, strip_frame

_NO_CLASS = ("unknown", "background")
_GREY = {"color": "#D9D9D9", "hatch": "", "edgecolor": "white", "linewidth": 0}
_PALEST = 0.25  # opacity at probability 0
_LETTER = 0.075  # inches
_LONGEST = 44  # letters in a name


class Interval(NamedTuple):
    """An interval of a recording.

    Attributes:
        label: Name of the class.
        start: First frame.
        end: Frame after the last one.
        probability: Of the label, in [0, 1].
    """

    label: str
    start: int
    end: int
    probability: float = 1.0


def label_figure(
    rows: Mapping[str, Sequence[Interval]], frames: int, fps: float | None = None, title: str = ""
) -> Figure:
    """Plot the labels of a recording over time, each class in its colour.

    Less probable intervals are paler. ``unknown`` and ``background`` are grey, and time without an
    interval is white.

    Args:
        rows: Name of a row to its intervals, from top to bottom.
        frames: Number of frames of the recording.
        fps: Frames per second, for an axis in seconds; by default the axis is in frames.
        title: Title.

    Raises:
        ValueError: If there is no row, ``frames`` is below 1, or ``fps`` is not positive.
    """
    if not rows or frames < 1 or (fps is not None and not fps > 0):
        raise ValueError(
            f"expected rows, at least one frame and fps > 0, got {len(rows)}, {frames} and {fps}"
        )
    looks = label_looks([each.label for intervals in rows.values() for each in intervals])
    longest = max((len(short_text(name, _LONGEST)) for name in looks), default=1)
    columns = max(1, int(WIDE / (_LETTER * longest + 0.5)))
    lines = -(-len(looks) // columns)
    height = 0.6 + 0.45 * len(rows) + 0.25 * bool(title) + 0.19 * lines
    figure = Figure(figsize=(WIDE, height), layout="constrained")
    axis = figure.add_subplot()
    draw_labels(axis, list(rows.values()), looks, fps)
    axis.set(xlim=(0, frames / (fps or 1)), ylim=(len(rows) - 0.5, -0.5))
    axis.set_yticks(range(len(rows)), [short_text(name) for name in rows])
    unsure = any(each.probability < 1 for intervals in rows.values() for each in intervals)
    unit = "frame" if fps is None else "seconds"
    axis.set_xlabel(f"{unit}; paler: less probable" if unsure else unit, fontsize=8)
    axis.set_title(short_text(title, 80), fontsize=9, loc="left")
    strip_frame(axis)
    axis.tick_params(axis="y", length=0)
    handles = [
        Patch(
            facecolor=look["color"],
            hatch=look["hatch"],
            edgecolor="white",
            label=short_text(name, _LONGEST),
        )
        for name, look in looks.items()
    ]
    style: dict[str, Any] = {"frameon": False, "fontsize": 8, "ncols": columns}
    figure.legend(handles=handles, loc="outside lower left", **style)
    return figure


def label_looks(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how the bars of each label look, in the order of their first occurrence."""
    names = list(dict.fromkeys(labels))
    classes = [name for name in names if name not in _NO_CLASS]
    looks = {name: bar_look(place) for place, name in enumerate(classes)}
    return {name: looks.get(name, _GREY) for name in names}


def draw_labels(
    axis: Axes,
    rows: Sequence[Sequence[Interval]],
    looks: Mapping[str, Mapping[str, Any]],
    fps: float | None = None,
) -> None:
    """Draw rows of intervals as bars, at the heights 0, 1, ...

    Args:
        axis: Where to draw.
        rows: The intervals of each row.
        looks: As of ``label_looks``.
        fps: Frames per second, for an axis in seconds; by default it is in frames.
    """
    scale = fps or 1.0
    for place, intervals in enumerate(rows):
        for label, start, end, probability in intervals:
            axis.barh(
                place,
                (end - start) / scale,
                left=start / scale,
                alpha=_PALEST + (1 - _PALEST) * min(max(probability, 0), 1),
                **looks[label],
            )


def similarity_figure(
    middles: ArrayLike,
    values: ArrayLike,
    found: Sequence[tuple[int, int]],
    fps: float | None = None,
) -> Figure:
    """Plot the similarity of the windows of a recording to a query, and the places found.

    Args:
        middles: Middle frame of each window (G,), ascending.
        values: Similarity of each window (G,).
        found: First frame of each place, and the frame after its last, the best first.
        fps: Frames per second, for an axis in seconds; by default the axis is in frames.
    """
    scale = fps or 1.0
    figure = Figure(figsize=(WIDE, 2.2), layout="constrained")
    axis = figure.add_subplot()
    for rank, (start, end) in enumerate(found, start=1):
        axis.axvspan(start / scale, end / scale, color=PALETTE[4], alpha=0.35, linewidth=0)
        middle = (start + end) / 2 / scale
        top = axis.get_xaxis_transform()
        axis.text(middle, 0.97, str(rank), transform=top, fontsize=8, ha="center", va="top")
    axis.plot(np.asarray(middles) / scale, np.asarray(values), color=PALETTE[1], linewidth=1.5)
    axis.set_xlabel("frame" if fps is None else "seconds", fontsize=8)
    axis.set_ylabel("similarity", fontsize=8)
    axis.grid(alpha=0.3, linewidth=0.5)
    strip_frame(axis)
    return figure
