"""``panel_figure``: small multiples of horizontal bars, a panel for each figure of a table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pcm3.viz.figures import PALETTE
from pcm3.viz.results import bar_look, short_text, strip_frame

COLUMNS = 3
_WIDTH, _BAR, _HEAD = 1.75, 0.14, 0.75  # inches of a panel, a bar, and title and numbers
_LETTER = 0.058  # inches
_LONGEST = 40  # letters in a name


class Panel(NamedTuple):
    """The bars of one panel.

    Attributes:
        title: Title of the panel.
        values: A value for every name, None if it is missing.
        spread: Half the length of the error bar of each value, None for no error bar.
        line: Value at which a thin line is drawn, or None.
        chance: Value at which a dotted line is drawn, or None.
        percent: Whether values are fractions, shown as percentages.
    """

    title: str
    values: Sequence[float | None]
    spread: Sequence[float | None]
    line: float | None = None
    chance: float | None = None
    percent: bool = True


def panel_figure(panels: Sequence[Panel], names: Sequence[str]) -> Figure:
    """Plot panels of horizontal bars, one bar for each name, three panels side by side.

    Every panel starts at 0 and has its own scale. The place of a name determines the look of its
    bars, as in ``Bars``.

    Args:
        panels: The panels, row by row.
        names: Names of the bars from top to bottom, shown left of each row.

    Returns:
        A figure with one axes for each panel.

    Raises:
        ValueError: If there is nothing to draw, or a panel has another number of values.
    """
    if not panels or not names:
        raise ValueError(f"expected panels and names, got {len(panels)} and {len(names)}")
    for panel in panels:
        for part in (panel.values, panel.spread):
            if len(part) != len(names):
                raise ValueError(f"{panel.title}: expected {len(names)} values, got {len(part)}")
    shown = [short_text(name, _LONGEST) for name in names]
    columns = min(COLUMNS, len(panels))
    rows = ceil(len(panels) / columns)
    size = (
        _WIDTH * columns + _LETTER * max(map(len, shown)),
        (_BAR * len(names) + _HEAD) * rows,
    )
    figure = Figure(figsize=size, layout="constrained")
    for place, panel in enumerate(panels):
        axis = figure.add_subplot(rows, columns, place + 1)
        for at, (value, spread) in enumerate(zip(panel.values, panel.spread, strict=True)):
            if value is not None:
                style = {"elinewidth": 0.8, "capsize": 1.5, "ecolor": "#333333"}
                axis.barh(at, value, 0.8, xerr=spread, error_kw=style, **bar_look(at))
        for value, dashes in ((panel.line, "-"), (panel.chance, ":")):
            if value is not None:
                axis.axvline(value, color=PALETTE[0], linewidth=0.7, linestyle=dashes)
        axis.set_title(wrap_text(panel.title), fontsize=7.5, loc="left")
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_xlim(0)
        axis.set_yticks(range(len(names)), shown if place % columns == 0 else [""] * len(names))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        if panel.percent:
            axis.xaxis.set_major_formatter(PercentFormatter(1))
        axis.grid(axis="x", alpha=0.3, linewidth=0.5)
        axis.set_axisbelow(True)
        strip_frame(axis)
        axis.tick_params(axis="both", labelsize=7)
        axis.tick_params(axis="y", length=0)
    return figure


def wrap_text(text: str, width: int = 30, lines: int = 3) -> str:
    """Break a text into lines to fit, and escape it as ``short_text`` does."""
    parts = textwrap.wrap(" ".join(text.split()), width, max_lines=lines, placeholder="…")
    return "\n".join(short_text(part, width) for part in parts)
