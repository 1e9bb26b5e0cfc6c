"""Which pictures the results of a store and protocol call for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pcm3.evaluation.tasks.registry import TASKS
from pcm3.report.entries import column_titles
from pcm3.runs.series import Entry, Group, Picture, Series
from pcm3.viz.results import COLORS


def draw_pictures(
    entries: Sequence[Entry], columns: Sequence[str] | None = None
) -> Iterator[Picture]:
    """Yield the pictures that the results of one store and protocol call for.

    Args:
        entries: To be pictured.
        columns: All of the page, which decide on the colours; by default those of the results.
    """
    order = list(columns or column_titles(entries))
    turn = -(-len(order) // COLORS) * COLORS  # so many places on, a column has its colour again
    for name, task in TASKS.items():
        series = Series()
        ways: dict[str, list[str]] = {}
        for each in entries:
            if each.result.task == name:
                known = ways.setdefault(each.column, [])
                if each.how not in known:
                    known.append(each.how)
                place = order.index(each.column) + turn * known.index(each.how)
                group = series.setdefault(each.named(each.column), Group(place, []))
                group.entries.append(each)
        for draw in task.pictures if series else ():
            yield from draw(series)
