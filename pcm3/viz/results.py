"""Pictures of results: confusion matrices, curves, bars, maps, time lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from pcm3.viz.figures import PALETTE

PANEL = 3.4  # inches: fits a phone without scrolling
WIDE = 7.2
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "----", "\\\\\\\\", "++++")
COLORS = len(PALETTE) - 1
"""Number of colours of series; black is kept for what all of them have in common."""
_MAP = 4.8  # inches, either way
_PLATE = {"facecolor": "white", "alpha": 0.6, "linewidth": 0, "boxstyle": "square,pad=0.1"}
_OUTLINE = withStroke(linewidth=2.5, foreground="white")
_COUNTED = 30  # more classes leave no room for counts in their cells
_SERIES = 44  # letters in the name of a series


def confusion_figure(counts: ArrayLike, class_names: Sequence[str]) -> Figure:
    """Plot a confusion matrix; shades are shares of the true class.

    Args:
        counts: Number of sequences by true (row) and predicted (column) class ``(K, K)``. Up to
            30 classes, cells show the counts too.
        class_names: Names of the K classes.

    Returns:
        A figure whose first axes holds the matrix and the second its scale.

    Raises:
        ValueError: If the number of rows, columns or names differs.
    """
    counts = np.asarray(counts)
    size = len(class_names)
    if counts.shape != (size, size) or not size:
        raise ValueError(f"expected counts (K, K) of {size} named classes, got {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [short_text(name) for name in class_names]
    cell = 0.24 if size <= _COUNTED else 0.15
    room = 0.06 * max(len(name) for name in names) + 0.5
    side = max(cell * size, 1.5) + room
    figure = Figure(figsize=(side + 0.7, side), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none")
    axis.set_xticks(range(size), names, rotation=90)
    axis.set_yticks(range(size), names)
    axis.tick_params(labelsize=7.5 if size <= _COUNTED else 7, length=0)
    axis.set(xlabel="predicted class", ylabel="true class")
    if size <= _COUNTED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": color}
            axis.text(column, row, str(counts[row, column]), **style)
    else:  # lines that guide the eye to the names
        axis.set_xticks(np.arange(4.5, size - 1, 5), minor=True)
        axis.set_yticks(np.arange(4.5, size - 1, 5), minor=True)
        axis.grid(which="minor", color="#BBBBBB", linewidth=0.5)
        axis.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axis, format=PercentFormatter(1), shrink=0.6, aspect=25)
    bar.ax.tick_params(labelsize=7.5)
    bar.set_label("share of the true class", fontsize=8)
    return figure


class Bars(NamedTuple):
    """A series of bars with one look.

    Attributes:
        values: A value for every name, None if it is missing.
        spread: Half lengths of the error bars, or None.
        place: Number that determines the look, from 0; by default the place among the series.
            Numbers that differ by a multiple of ``COLORS`` share a colour.
    """

    values: Sequence[float | None]
    spread: Sequence[float] | None = None
    place: int | None = None


def bar_figure(
    bars: Mapping[str, Bars], names: Sequence[str], x_label: str, percent: bool = True
) -> Figure:
    """Plot horizontal bars in groups, each below its name.

    Args:
        bars: Series by name.
        names: Names of the groups, from top to bottom.
        x_label: Label of the values.
        percent: Whether values are fractions, shown on an axis from 0 to 100 %.

    Raises:
        ValueError: If there is nothing to draw, or a series has another number of values.
    """
    if not bars or not names:
        raise ValueError(f"expected series and names, got {len(bars)} and {len(names)}")
    for label, series in bars.items():
        if len(series.values) != len(names):
            raise ValueError(f"{label}: expected {len(names)} values, got {len(series.values)}")
    thick = max(0.12, 0.09 * len(bars))  # height of a group below its name, inches
    group = thick + 0.2
    legend = 0.2 * len(bars) if len(bars) > 1 else 0.0
    figure = Figure(figsize=(PANEL, group * len(names) + 0.6 + legend), layout="constrained")
    axis = figure.add_subplot()
    height = thick / group / len(bars)
    middles = np.arange(len(names))
    for number, (label, (values, spread, place)) in enumerate(bars.items()):
        known = [at for at, value in enumerate(values) if value is not None]
        look = number if place is None else place
        axis.barh(
            middles[known] + height * (number - (len(bars) - 1) / 2),
            [value for value in values if value is not None],
            height,
            xerr=None if spread is None else [spread[at] for at in known],
            error_kw={"elinewidth": 0.8, "capsize": 1.5, "ecolor": "#333333"},
            **bar_look(look),
            label=short_text(label, _SERIES),
        )
    # names are above the bars, so that even long names leave them the whole width
    top = thick / group / 2
    style: dict[str, Any] = {"ha": "left", "va": "center_baseline"}
    axis.set_yticks(middles - top - 0.08 / group, [short_text(name) for name in names], **style)
    axis.set_ylim(len(names) - 1 + top + 0.04 / group, -top - 0.2 / group)
    axis.set_xlabel(x_label, fontsize=8)
    axis.grid(axis="x", alpha=0.3, linewidth=0.5)
    axis.set_axisbelow(True)
    strip_frame(axis)
    axis.tick_params(axis="y", length=0, pad=-2)
    if percent:
        axis.set_xlim(0, 1)
        axis.xaxis.set_major_formatter(PercentFormatter(1))
    if len(bars) > 1:
        figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    return figure


class Curve(NamedTuple):
    """A line through points.

    Attributes:
        x: Positions of the points.
        y: Values of the points.
        spread: Half lengths of the error bars, or None.
        place: Number that determines the look, as in ``Bars``.
    """

    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    place: int | None = None


def curve_figure(
    curves: Mapping[str, Curve],
    x_label: str,
    y_label: str = "top-1 accuracy",
    percent: bool = True,
    x_percent: bool = False,
    logarithmic: bool = False,
    baselines: Mapping[str, Curve] | None = None,
    legend: bool = True,
) -> Figure:
    """Plot lines with a marker at every point, and error bars for the spread.

    Args:
        curves: Lines by name.
        x_label: Label of x.
        y_label: Label of y.
        percent: Whether y are fractions, shown on an axis from 0 to 100 %; otherwise from 0
            if no y is negative.
        x_percent: Whether x are fractions, shown as percentages.
        logarithmic: Show x, which must be positive, on a logarithmic scale.
        baselines: Further lines, black, dashed and without markers.
        legend: Whether a legend is below the lines.

    Raises:
        ValueError: If there is nothing to draw, or a curve's lengths differ.
    """
    if not curves:
        raise ValueError("expected at least one curve, got none")
    every = {**curves, **(baselines or {})}
    figure = Figure(figsize=(PANEL, 2.4 + 0.2 * len(every) * legend), layout="constrained")
    axis = figure.add_subplot()
    for number, (label, curve) in enumerate(every.items()):
        lengths = {len(part) for part in (curve.x, curve.y, curve.spread) if part is not None}
        if len(lengths) != 1:
            raise ValueError(f"{label}: expected as many x as y and spread, got {sorted(lengths)}")
        base = number >= len(curves)
        place = number if curve.place is None else curve.place
        dashes = ("-", "--", ":", "-.")[place // COLORS % 4]
        axis.errorbar(
            curve.x,
            curve.y,
            yerr=curve.spread,
            color=PALETTE[0] if base else _color(place),
            marker="" if base else MARKERS[place % len(MARKERS)],
            linestyle="--" if base else dashes,
            markersize=4,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
            label=short_text(label, _SERIES),
        )
    x = sorted({x for curve in every.values() for x in curve.x})
    if logarithmic:
        axis.set_xscale("log")
        axis.set_xticks(x)
        axis.set_xticks([], minor=True)
    elif all(value == int(value) for value in x):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_major_formatter(
        lambda value, _: f"{100 * value:.4g}%" if x_percent else f"{value:.4g}"
    )
    axis.set_xlabel(x_label, fontsize=8)
    axis.set_ylabel(y_label, fontsize=8)
    if percent or all(y >= 0 for curve in every.values() for y in curve.y):
        axis.set_ylim(0, 1 if percent else None)
    if percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.grid(alpha=0.3, linewidth=0.5)
    strip_frame(axis)
    if legend:
        figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    return figure


def embedding_figure(
    maps: Mapping[str, ArrayLike], labels: Sequence[int], class_names: Sequence[str]
) -> Figure:
    """Plot points in the plane by class, with the number of each class at its median.

    Colours repeat after eight classes, with another marker.

    Args:
        maps: Title to points ``(N, 2)``, one axes each.
        labels: Class of each point (N,).
        class_names: Names of all classes; the legend lists those that occur.

    Raises:
        ValueError: If there is no map, or points and labels do not fit.
    """
    if not maps:
        raise ValueError("expected at least one map, got none")
    classes = np.asarray(labels, np.int64)
    present = np.unique(classes).tolist()
    columns = 4 if len(present) > 8 else 2
    rows = -(-len(present) // columns)
    figure = Figure(figsize=(_MAP * len(maps), _MAP + 0.1 + 0.19 * rows), layout="constrained")
    for axis, (title, given) in zip(
        np.ravel(figure.subplots(1, len(maps), squeeze=False)), maps.items(), strict=True
    ):
        points = np.asarray(given, float)
        if points.shape != (len(classes), 2):
            raise ValueError(f"{title}: expected points ({len(classes)}, 2), got {points.shape}")
        for label in present:
            axis.plot(*points[classes == label].T, linestyle="", alpha=0.8, **_look(label))
        for label in present:  # above all points
            x, y = np.median(points[classes == label], axis=0)
            style = {"fontsize": 8, "fontweight": "bold", "ha": "center", "va": "center"}
            axis.text(x, y, str(label), path_effects=[_OUTLINE], **style)
        axis.set_title(short_text(title), fontsize=9, loc="left")
        axis.set(xticks=[], yticks=[])
        axis.set_aspect("equal", adjustable="datalim")
        axis.spines[:].set_color("#BBBBBB")
    handles = [
        Line2D([], [], linestyle="", label=f"{label} {_name(class_names, label)}", **_look(label))
        for label in present
    ]
    _legend(figure, handles, columns)
    return figure


def time_line_figure(videos: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Figure:
    """Plot actions over time: the truth above, proposals below, each class in its colour.

    Proposals of lower confidence are paler. Intervals carry the number of their class.

    Args:
        videos: As in ``details`` of ``evaluate_detection``: ``name``, ``frames``, ``truth`` as
            ``[class, start, end]``, ``proposals`` as ``[class, start, end, confidence]``.
        class_names: Names of all classes; the legend lists those that occur.

    Raises:
        ValueError: If there is no recording.
    """
    if not videos:
        raise ValueError("expected at least one recording, got none")
    present = sorted({row[0] for video in videos for row in (*video["truth"], *video["proposals"])})
    columns = 3 if len(present) > 8 else 2
    rows = -(-len(present) // columns)
    height = 0.85 * len(videos) + 0.3 + 0.19 * rows
    figure = Figure(figsize=(WIDE, height), layout="constrained")
    for axis, video in zip(
        figure.subplots(len(videos), 1, squeeze=False)[:, 0], videos, strict=True
    ):
        _intervals(axis, [(*row[:3], 1.0) for row in video["truth"]], 0)
        _intervals(axis, sorted(video["proposals"], key=lambda row: row[3]), 1)
        axis.set(xlim=(0, video["frames"]), ylim=(1.9, -0.1))
        axis.set_yticks([0.4, 1.4], ["truth", "found"])
        axis.set_title(short_text(video["name"]), fontsize=8, loc="left", pad=2)
        strip_frame(axis)
        axis.tick_params(axis="y", length=0)
    axis.set_xlabel("frame", fontsize=8)
    handles = [
        Patch(
            facecolor=_look(label)["color"],
            hatch=_hatch(label),
            edgecolor="white",
            linewidth=0,
            label=f"{label} {_name(class_names, label)}",
        )
        for label in present
    ]
    _legend(figure, handles, columns)
    return figure


def _intervals(axis: Axes, rows: Sequence[Sequence[Any]], place: int) -> None:
    for label, start, end, confidence in rows:
        axis.barh(
            place,
            end - start,
            0.8,
            left=start,
            align="edge",
            color=_look(label)["color"],
            alpha=0.25 + 0.75 * min(max(float(confidence), 0), 1),
            hatch=_hatch(label),
            edgecolor="white",
            linewidth=0.6,
            gid="proposal" if place else "truth",
        )
        style: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "center", "clip_on": True}
        middle = (start + end) / 2
        axis.text(middle, place + 0.4, str(label), bbox=_PLATE, **style)


def _color(place: int) -> str:
    return PALETTE[1 + place % COLORS]


def _look(label: int) -> dict[str, Any]:
    return {
        "color": PALETTE[(label + 1) % len(PALETTE)],
        "marker": MARKERS[label // len(PALETTE) % len(MARKERS)],
        "markersize": 4.5,
        "markeredgewidth": 0,
    }


def _hatch(label: int) -> str:
    return HATCHES[label // len(PALETTE) % len(HATCHES)]


def _name(class_names: Sequence[str], label: int) -> str:
    return short_text(class_names[label]) if 0 <= label < len(class_names) else ""


def short_text(name: str, longest: int = 28) -> str:
    """Shorten a name to fit, and escape signs that matplotlib would read as a formula."""
    line = "".join(letter for letter in " ".join(str(name).split()) if letter.isprintable())
    short = line if len(line) <= longest else line[: longest - 1] + "…"
    return short.replace("$", r"\$")


def bar_look(place: int) -> dict[str, Any]:
    """Return how bars of the series with this number look, see ``Bars.place``."""
    hatch = HATCHES[place // COLORS % len(HATCHES)]
    return {"color": _color(place), "hatch": hatch, "edgecolor": "white", "linewidth": 0}


def strip_frame(axis: Axes) -> None:
    """Leave only the axes left and below, with small numbers."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7.5)


def _legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=8,
        handletextpad=0.3,
        columnspacing=1.0,
    )
