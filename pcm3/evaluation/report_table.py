"""The results of many runs side by side: the tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from pcm3.evaluation.report_results import Result, column_titles
from pcm3.evaluation.tasks import TASKS


class Cell(NamedTuple):
    """A figure of the runs of one column.

    Attributes:
        values: Run to figure.
        seen: Whether pretraining of any had seen test sequences.
    """

    values: dict[str, float]
    seen: bool

    @property
    def mean(self) -> float:
        """Over the runs."""
        return mean(self.values.values())

    @property
    def std(self) -> float | None:
        """Over the runs, with n - 1 in the denominator; None of one run."""
        return stdev(self.values.values()) if len(self.values) > 1 else None


class Row(NamedTuple):
    """A figure of a task.

    Attributes:
        store: Name of the store.
        protocol: Training and test part.
        task: One of ``TASKS``.
        how: Settings that are not the defaults, and fused runs, in words.
        figure: Its name.
        headline: Whether it is among those that say most.
        cells: Column to figure.
    """

    store: str
    protocol: str
    task: str
    how: str
    figure: str
    headline: bool
    cells: dict[str, Cell]


def tabulate(results: Sequence[Result]) -> list[Row]:
    """One row for each figure, the headline figures of a task first, in the results' order.

    Runs that differ in nothing but the seed share a cell.
    """
    rows: dict[tuple[str, ...], Row] = {}
    for each in results:
        figures = _figures(each.metrics)
        best = TASKS[each.task].headlines(figures)
        for name in (*best, *(name for name in figures if name not in best)):
            key = (each.store, each.protocol, each.task, each.how, name)
            row = rows.setdefault(key, Row(*key, headline=name in best, cells={}))
            cell = row.cells.get(each.column, Cell({}, False))
            values = cell.values | {each.run: figures[name]}
            row.cells[each.column] = Cell(values, cell.seen or bool(each.seen))
    place = {key[:4]: at for at, key in reversed(list(enumerate(rows)))}
    return sorted(rows.values(), key=lambda row: (place[row[:4]], not row.headline))


def cell_text(cell: Cell | None, figure: str, runs: int) -> str:
    """A figure as people read it: mean ± standard deviation of several runs.

    The number of runs is added where it is not that of the column, and † where pretraining has
    seen test sequences.
    """
    if cell is None:
        return ""
    scale, unit = (1, " mm") if "_mm" in figure else (100, "%")
    text = f"{scale * cell.mean:.1f}"
    text += "" if cell.std is None else f" ± {scale * cell.std:.1f}"
    text += unit
    text += "" if len(cell.values) == runs else f" (n = {len(cell.values)})"
    return text + (" †" if cell.seen else "")


def notes(rows: Sequence[Row]) -> list[str]:
    """What the marks in a table mean, those that occur in it."""
    cells = [cell for row in rows for cell in row.cells.values()]
    found = []
    if any(cell.std is not None for cell in cells):
        found.append("± is the standard deviation over runs that differ in nothing but the seed.")
    if any(cell.seen for cell in cells):
        found.append("† Pretraining has seen test sequences, without their labels.")
    return found


def markdown(results: Sequence[Result]) -> str:
    """The headline figures as a Markdown table, a column for runs that differ in the seed alone."""
    titles, rows = column_titles(results), [row for row in tabulate(results) if row.headline]
    counts = {name: len({each.run for each in results if each.column == name}) for name in titles}
    head = ["store", "protocol", "task", "figure", *titles.values()]
    lines = [head, ["---"] * 4 + ["---:"] * len(titles)]
    for row in rows:
        task = f"{row.task} ({row.how})" if row.how else row.task
        cells = [cell_text(row.cells.get(name), row.figure, counts[name]) for name in titles]
        lines.append([row.store, row.protocol, task, row.figure, *cells])
    table = [f"| {' | '.join(_escape(cell) for cell in line)} |" for line in lines]
    return "\n".join(["# Results", "", *table, *(f"\n{note}" for note in notes(rows))]) + "\n"


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Results and table for programs."""
    return {
        "results": [
            {
                name: value
                for name, value in each._asdict().items()
                if name not in ("details", "class_names", "place")
            }
            for each in results
        ],
        "table": [
            {
                **row._asdict(),
                "cells": {
                    name: {"mean": cell.mean, "std": cell.std, "values": cell.values}
                    for name, cell in row.cells.items()
                },
            }
            for row in tabulate(results)
        ],
    }


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Single numbers, those of a mapping by its name and theirs."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": each for key, each in _figures(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def _escape(cell: str) -> str:
    """Text that Markdown leaves as it is."""
    for letter, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\\", "\\\\")):
        cell = cell.replace(letter, instead)
    for letter in "|*`[]":
        cell = cell.replace(letter, f"\\{letter}")
    return " ".join(cell.split())
