"""The results of many runs side by side: the tables of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from pcm3._terminal import printable
from pcm3.evaluation.report_legend import explain
from pcm3.evaluation.report_results import Result, Results, column_titles
from pcm3.evaluation.tasks import TASKS

CHANCE = "Chance is the share of the commonest class among the test sequences."
"""What a column of ``run_table`` is."""
LEFT_OUT = "Runs and files that are not in this report:"


class Cell(NamedTuple):
    """A figure of the runs of one column.

    Attributes:
        values: Run to figure.
        seen: Whether pretraining of any had seen test sequences.
        draws: All that the figures are means of, where people want to know how these vary.
    """

    values: dict[str, float]
    seen: bool
    draws: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """Over the runs."""
        return mean(self.values.values())

    @property
    def std(self) -> float | None:
        """Over the runs, with n - 1 in the denominator; None of one run."""
        return stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the draws, or else over the runs; None of a single figure."""
        sample = self.draws or (*self.values.values(),)
        return stdev(sample) if len(sample) > 1 else None


class Row(NamedTuple):
    """A figure of a task.

    Attributes:
        store: Name of the store.
        protocol: Training and test part.
        task: One of ``TASKS``.
        how: Settings as ``Result.settings`` has them, and fused runs, in words.
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
            draws = (*cell.draws, *_draws(each, name))
            row.cells[each.column] = Cell(values, cell.seen or bool(each.seen), draws)
    place = {key[:4]: at for at, key in reversed(list(enumerate(rows)))}
    return sorted(rows.values(), key=lambda row: (place[row[:4]], not row.headline))


def cell_text(cell: Cell | None, figure: str, runs: int) -> str:
    """A figure as people read it: mean ± standard deviation, see ``notes``.

    The number of runs is added where it is not that of the column, and † where pretraining has
    seen test sequences.
    """
    if cell is None:
        return ""
    scale, unit = (1, " mm") if "_mm" in figure else (100, "%")
    text = f"{scale * cell.mean:.1f}"
    text += "" if cell.spread is None else f" ± {scale * cell.spread:.1f}"
    text += unit
    text += "" if len(cell.values) == runs else f" (n = {len(cell.values)})"
    return text + (" †" if cell.seen else "")


def notes(rows: Sequence[Row]) -> list[str]:
    """What the marks in a table mean, those that occur in it."""
    cells = [cell for row in rows for cell in row.cells.values()]
    found = []
    if any(cell.spread is not None and not cell.draws for cell in cells):
        found.append("± is the standard deviation over runs that differ in nothing but the seed.")
    if any(cell.spread is not None and cell.draws for cell in cells):
        found.append(
            "± of top1_at_F is the standard deviation over all draws of the labelled sequences, "
            "those of several seeds taken together."
        )
    if any(cell.seen for cell in cells):
        found.append("† Pretraining has seen test sequences, without their labels.")
    return found


def remarks(results: Sequence[Result]) -> list[str]:
    """What tasks said of their figures, each remark once; of which columns, where not of all."""
    alike: dict[tuple[str, str], list[Result]] = {}
    for each in results:
        alike.setdefault((each.task, each.how), []).append(each)
    found = []
    for (task, how), those in alike.items():
        columns = {each.column for each in those}
        for note in dict.fromkeys(note for each in those for note in each.notes):
            saying = list(dict.fromkeys(each.column for each in those if note in each.notes))
            of = [how] if how else []
            of += saying if len(saying) < len(columns) else []
            found.append(f"{task}{' (' + ', '.join(of) + ')' if of else ''}: {note}")
    return found


def for_people(rows: Sequence[Row]) -> list[Row]:
    """Rows without those whose figure is in a cell of another row."""
    return [row for row in rows if not row.figure.startswith("top1_std_at_")]


def run_table(results: Sequence[Result]) -> list[list[str]]:
    """Runs with what is known of them and of the data that they are evaluated on; a head first."""
    head = ["run", "method", "epochs", "seed", "store", "protocol"]
    head += ["training sequences", "test sequences", "chance"]
    chances: dict[tuple[str, str], float] = {}
    for each in results:
        labels = each.details.get("labels") or each.details.get("clean", {}).get("labels")
        if labels:
            commonest = Counter(labels).most_common(1)[0][1]
            chances[each.store, each.protocol] = commonest / len(labels)
    lines = {}
    for each in sorted(results, key=lambda result: result.place):
        key = (each.run, each.store, each.protocol)
        chance = chances.get(key[1:])
        values = (each.method, each.epochs, each.seed, each.store, each.protocol)
        counts = (each.train_sequences, each.test_sequences or None)
        known = ["" if value is None else str(value) for value in (*values, *counts)]
        lines[key] = [each.run, *known, "" if chance is None else f"{chance:.1%}"]
    return [head, *lines.values()]


def markdown(read: Results) -> str:
    """All tables: headline figures, all others, runs; what is missing; what the figures are."""
    results = read.found
    rows = for_people(tabulate(results))
    best, rest = ([row for row in rows if row.headline == kind] for kind in (True, False))
    parts = ["# Results", *_figures_markdown(best, results)]
    parts += [_escape(remark) for remark in remarks(results)]
    parts += ["## All other figures", *_figures_markdown(rest, results)] if rest else []
    parts += ["## Runs", _table_markdown(run_table(results), 6), CHANCE]
    parts += [LEFT_OUT] if read.left_out else []
    parts += ["\n".join(f"- {_escape(reason)}" for reason in read.left_out)]
    legend = explain(row.figure for row in rows)
    parts += ["## What the figures are"] if legend else []
    parts += ["\n".join(f"- `{name}`: {text}" for name, text in legend.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures_markdown(rows: Sequence[Row], results: Sequence[Result]) -> list[str]:
    """A column for runs that differ in the seed alone, and notes."""
    titles = column_titles(results)
    counts = {name: len({each.run for each in results if each.column == name}) for name in titles}
    lines = [["store", "protocol", "task", "figure", *titles.values()]]
    for row in rows:
        task = f"{row.task} ({row.how})" if row.how else row.task
        cells = [cell_text(row.cells.get(name), row.figure, counts[name]) for name in titles]
        lines.append([row.store, row.protocol, task, row.figure, *cells])
    return [_table_markdown(lines, 4), *notes(rows)]


def _table_markdown(lines: Sequence[Sequence[str]], words: int) -> str:
    """A head and lines, so many columns of words before those of numbers."""
    rule = ["---"] * words + ["---:"] * (len(lines[0]) - words)
    table = [[_escape(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (table[0], rule, *table[1:]))


def as_json(read: Results) -> dict[str, Any]:
    """Results, table and what is missing, for programs."""
    results = read.found
    return {
        "left_out": read.left_out,
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
                    name: {
                        "mean": cell.mean,
                        "std": cell.std,
                        "values": cell.values,
                        **({"draws": cell.draws} if cell.draws else {}),
                    }
                    for name, cell in row.cells.items()
                },
            }
            for row in tabulate(results)
        ],
    }


def _draws(result: Result, figure: str) -> list[float]:
    """Accuracies that ``top1_at_F`` is the mean of."""
    runs = result.details.get("runs", ()) if result.task == "semi" else ()
    return [run["top1"] for run in runs if figure == f"top1_at_{run['fraction']}"]


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
    """Text that Markdown leaves as it is, on one line."""
    cell = printable(cell)
    for letter, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\\", "\\\\")):
        cell = cell.replace(letter, instead)
    for letter in "|*`[]":
        cell = cell.replace(letter, f"\\{letter}")
    return cell
