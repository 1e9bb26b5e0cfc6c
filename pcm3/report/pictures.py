"""The pictures of the results of one store and protocol."""

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
        entries: The results to draw.
        columns: All columns of the page, which determine the colours; by default those of the
            results.
    """
    order = list(columns or column_titles(entries))
    turn = -(-len(order) // COLORS) * COLORS  # a column gets the same colour this many places on
    for name, task in TASKS.items():
        series = Series()
        ways: dict[str, list[str]] = {}
        for entry in entries:
            if entry.result.task == name:
                known = ways.setdefault(entry.column, [])
                if entry.how not in known:
                    known.append(entry.how)
                place = order.index(entry.column) + turn * known.index(entry.how)
                group = series.setdefault(entry.named(entry.column), Group(place, []))
                group.entries.append(entry)
        for draw in task.pictures if series else ():
            yield from draw(series)
