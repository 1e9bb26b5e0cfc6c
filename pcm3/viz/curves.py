"""``loss_curves``: the course of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from numbers import Real
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pcm3.viz.figures import PALETTE

COLUMNS = 4
NOT_TERMS = ("epoch", "step", "lr", "samples_per_second")


def loss_curves(records: Sequence[Mapping[str, Any]], terms: Sequence[str] | None = None) -> Figure:
    """Plot every term against the epoch in a panel of its own; accuracies come last.

    Args:
        records: The records of the run: ``"epoch"`` and scalars. A record may lack a term.
        terms: The terms to show, in this order. By default every scalar except epoch, step,
            learning rate and speed in order of appearance, then ``linear`` and terms with ``knn``
            in their name, as percentages.

    Returns:
        A figure with one axes per term, titled with its name.

    Raises:
        ValueError: If there is nothing to draw, a term is in no record, or a record lacks its
            epoch.
    """
    for place, record in enumerate(records):
        if "epoch" not in record:
            raise ValueError(f"expected an 'epoch' in every record, record {place} has {[*record]}")
    known = list(
        dict.fromkeys(
            key
            for record in records
            for key, value in record.items()
            if isinstance(value, Real) and not isinstance(value, bool)
        )
    )
    if terms is None:
        terms = sorted((key for key in known if key not in NOT_TERMS), key=_is_accuracy)
    if not terms or not set(terms) <= set(known):
        raise ValueError(f"expected terms to draw among {known}, got {list(terms)}")
    columns = min(COLUMNS, len(terms))
    rows = ceil(len(terms) / columns)
    figure = Figure(figsize=(2.6 * columns, 1.9 * rows + 0.2), layout="constrained")
    for place, term in enumerate(terms, start=1):
        axis = figure.add_subplot(rows, columns, place)
        points = [(record["epoch"], record[term]) for record in records if term in record]
        marker = "o" if len(points) == 1 else ""
        color = PALETTE[2] if _is_accuracy(term) else PALETTE[1]
        axis.plot(*zip(*points, strict=True), color=color, linewidth=1.5, marker=marker)
        axis.set_title(term, fontsize="medium", loc="left")
        axis.grid(alpha=0.3, linewidth=0.5)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize="small")
        if place > len(terms) - columns:
            axis.set_xlabel("epoch", fontsize="small")
        if _is_accuracy(term):
            axis.set_ylim(0, 1)
            axis.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _is_accuracy(term: str) -> bool:
    return "knn" in term.lower() or term == "linear"
