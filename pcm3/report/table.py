"""The results of many runs side by side: the tables of a report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from pcm3.evaluation.tasks.registry import TASKS
from pcm3.report.entries import Entries, column_titles
from pcm3.runs.results import Result, is_in_millimetres
from pcm3.runs.series import Entry
from pcm3.terminal import printable

CHANCE = "Chance is the share of the commonest class among the test sequences."
"""Explanation of a column of ``run_table``."""
RUN_WORDS = ("run", "method", "epochs", "seed", "store", "protocol")
"""Columns of ``run_table`` that hold no numbers to compare."""
UNKNOWN = "-"
"""Cell of ``run_table`` whose value is not known."""
NOT_KNOWN = f"{UNKNOWN}: not known, as of an encoder without its run."
SPREAD = (
    "± is the standard deviation over runs that differ in nothing but the seed of training. "
    "A figure of a single run has none."
)
"""What ± and std mean in each format of a report."""
LEFT_OUT = "Runs and files that are not in this report:"


class Cell(NamedTuple):
    """A figure of the runs in one column.

    Attributes:
        values: Run to figure.
        seen: Whether a run has seen test sequences in pretraining; None if this is unknown.
    """

    values: dict[str, float]
    seen: bool | None

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return mean(self.values.values())

    @property
    def std(self) -> float | None:
        """Standard deviation over the runs, with n - 1 in the denominator; None for one run."""
        return stdev(self.values.values()) if len(self.values) > 1 else None


class Row(NamedTuple):
    """A figure of a task.

    Attributes:
        store: Name of the store.
        protocol: Training and test part.
        task: One of ``TASKS``.
        how: Settings and fused runs in words, see ``Entry.how``.
        figure: Name of the figure.
        headline: Whether it is a headline figure of the task.
        cells: Column to figure.
    """

    store: str
    protocol: str
    task: str
    how: str
    figure: str
    headline: bool
    cells: dict[str, Cell]


def tabulate(entries: Sequence[Entry]) -> list[Row]:
    """Make one row for each figure, in the order of the results, headline figures of a task first.

    Runs that differ only in the seed share a cell.
    """
    rows: dict[tuple[str, ...], Row] = {}
    for entry in entries:
        result, task = entry.result, TASKS[entry.result.task]
        figures = _figures(result.metrics)
        best = task.headlines(figures)
        for name in (*best, *(name for name in figures if name not in best)):
            key = (entry.store, result.protocol, result.task, entry.how, name)
            row = rows.setdefault(key, Row(*key, headline=name in best, cells={}))
            cell = row.cells.get(entry.column, Cell({}, False))
            values = cell.values | {entry.run: figures[name]}
            seen = _either(cell.seen, *(about.test_sequences_seen for about in result.runs))
            row.cells[entry.column] = Cell(values, seen)
    place = {key[:4]: at for at, key in reversed(list(enumerate(rows)))}
    return sorted(rows.values(), key=lambda row: (place[row[:4]], not row.headline))


def cell_text(cell: Cell | None, figure: str, runs: int) -> str:
    """Format a figure for readers: mean ± standard deviation, see ``notes``.

    The number of runs is added if it is not that of the column, † if pretraining has seen test
    sequences, and ? if this is unknown.
    """
    if cell is None:
        return ""
    scale, unit = (1, " mm") if is_in_millimetres(figure) else (100, "%")
    text = f"{scale * cell.mean:.1f}"
    text += "" if cell.std is None else f" ± {scale * cell.std:.1f}"
    text += unit
    text += "" if len(cell.values) == runs else f" (n = {len(cell.values)})"
    return text + {True: " †", None: " ?", False: ""}[cell.seen]


def notes(rows: Sequence[Row]) -> list[str]:
    """Explain the marks that occur in a table."""
    cells = [cell for row in rows for cell in row.cells.values()]
    lines = [SPREAD] if cells else []
    if any(cell.seen for cell in cells):
        lines.append("† Pretraining has seen test sequences, without their labels.")
    if any(cell.seen is None for cell in cells):
        lines.append("? Whether pretraining has seen test sequences is unknown.")
    return lines


def remarks(entries: Sequence[Entry]) -> list[str]:
    """Return the notes of results, each once; with its columns if not all of them have it."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.result.task, entry.how), []).append(entry)
    lines = []
    for (task, how), group in groups.items():
        columns: dict[str, list[str]] = {}  # columns by note
        for entry in group:
            for note in entry.result.notes:
                columns.setdefault(note, []).append(entry.column)
        count = len({entry.column for entry in group})
        for note, noted in columns.items():
            some = list(dict.fromkeys(noted))
            words = ([how] if how else []) + (some if len(some) < count else [])
            lines.append(f"{task}{' (' + ', '.join(words) + ')' if words else ''}: {note}")
    return lines


def main_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the most important figure of each task, store, protocol and setting."""
    main: dict[tuple[str, ...], Row] = {}
    for row in rows:
        if row.headline:
            main.setdefault(row[:4], row)
    return [*main.values()]


def explain(rows: Sequence[Row]) -> dict[str, str]:
    """Explain the figures in these rows, in the order of the tasks.

    If tasks explain a figure differently, each explanation is followed by its tasks.
    """
    texts_by_name: dict[str, dict[str, list[str]]] = {}
    for name, task in TASKS.items():
        figures = {row.figure for row in rows if row.task == name}
        for pattern, text in task.legend.items():
            number = re.sub("[A-Z]", r"[\\d.]+", re.escape(pattern))
            if any(re.fullmatch(number, figure) for figure in figures):
                texts_by_name.setdefault(pattern, {}).setdefault(text, []).append(name)
    return {
        pattern: next(iter(texts))
        if len(texts) == 1
        else "; ".join(f"{text} ({', '.join(tasks)})" for text, tasks in texts.items())
        for pattern, texts in texts_by_name.items()
    }


def chance_by_part(entries: Sequence[Entry]) -> dict[tuple[str, str], float]:
    """Return the accuracy of chance by store and protocol, where it is known, see ``CHANCE``."""
    chances: dict[tuple[str, str], float] = {}
    for entry in entries:
        labels = TASKS[entry.result.task].labels(entry.result.details)
        if labels:
            commonest = Counter(labels).most_common(1)[0][1]
            chances[entry.store, entry.result.protocol] = commonest / len(labels)
    return chances


def run_table(entries: Sequence[Entry]) -> list[list[str]]:
    """Tabulate runs and the data that they were evaluated on, a line each, after a head.

    The method is followed by the settings that tell the runs apart. What is not known is ``"-"``;
    columns of which nothing is known are left out.
    """
    counted = ("training sequences (evaluation)", "test sequences")
    head = [*RUN_WORDS, *counted, "chance"]
    chances = chance_by_part(entries)
    lines = {}
    for entry in sorted(entries, key=lambda entry: entry.place):
        result = entry.result
        key = (entry.run, entry.store, result.protocol)
        chance = chances.get(key[1:])
        method = f"{entry.method} ({entry.varied})" if entry.varied else entry.method
        values = (method, entry.epochs, entry.seed, entry.store, result.protocol)
        counts = (result.train_sequences, result.test_sequences or None)
        shares = (None if chance is None else f"{chance:.1%}",)
        known = [UNKNOWN if value is None else str(value) for value in (*values, *counts, *shares)]
        lines[key] = [entry.run, *known]
    columns = zip(head, *lines.values(), strict=True)
    kept = [column for column in columns if set(column[1:]) != {UNKNOWN}]
    return [list(line) for line in zip(*kept, strict=True)]


def run_notes(table: Sequence[Sequence[str]]) -> list[str]:
    """Explain the columns and the signs that occur in a table of ``run_table``."""
    cells = {cell for line in table for cell in line}
    return [CHANCE] * ("chance" in table[0]) + [NOT_KNOWN] * (UNKNOWN in cells)


def markdown(read: Entries, comparison: Sequence[str] = ()) -> str:
    """Format all tables: headline figures, other figures, runs; what was left out; explanations.

    Args:
        read: The results.
        comparison: Paragraphs of a comparison, which come after the headline figures.
    """
    entries = read.entries
    rows = tabulate(entries)
    best, rest = ([row for row in rows if row.headline == kind] for kind in (True, False))
    parts = ["# Results", *_figures_markdown(best, entries)]
    parts += [escape_markdown(remark) for remark in remarks(entries)]
    parts += comparison
    parts += ["## All other figures", *_figures_markdown(rest, entries)] if rest else []
    runs = run_table(entries)
    words = sum(title in RUN_WORDS for title in runs[0])
    parts += ["## Runs", table_markdown(runs, words), *run_notes(runs)]
    parts += [LEFT_OUT] if read.left_out else []
    parts += ["\n".join(f"- {escape_markdown(reason)}" for reason in read.left_out)]
    legend = explain(rows)
    parts += ["## What the figures are"] if legend else []
    parts += ["\n".join(f"- `{name}`: {text}" for name, text in legend.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures_markdown(rows: Sequence[Row], entries: Sequence[Entry]) -> list[str]:
    """Format a table with a column for runs that differ only in the seed, and its notes."""
    titles = column_titles(entries)
    counts = {
        name: len({entry.run for entry in entries if entry.column == name}) for name in titles
    }
    lines = [["store", "protocol", "task", "figure", *titles.values()]]
    for row in rows:
        task = f"{row.task} ({row.how})" if row.how else row.task
        cells = [cell_text(row.cells.get(name), row.figure, counts[name]) for name in titles]
        lines.append([row.store, row.protocol, task, row.figure, *cells])
    return [table_markdown(lines, 4), *notes(rows)]


def table_markdown(lines: Sequence[Sequence[str]], words: int) -> str:
    """Format a Markdown table; the first ``words`` columns are text, the others numbers."""
    rule = ["---"] * words + ["---:"] * (len(lines[0]) - words)
    table = [[escape_markdown(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (table[0], rule, *table[1:]))


def as_json(read: Entries) -> dict[str, Any]:
    """Return results, table and what was left out, for programs."""
    rows = tabulate(read.entries)
    return {
        "left_out": read.left_out,
        "notes": notes(rows),
        "results": [_entry_json(entry) for entry in read.entries],
        "table": [
            {
                **row._asdict(),
                "cells": {
                    name: {
                        "mean": cell.mean,
                        "std": cell.std,
                        "values": cell.values,
                    }
                    for name, cell in row.cells.items()
                },
            }
            for row in rows
        ],
    }


_REPORTED = (
    *("run", "column", "task", "store", "protocol", "settings", "fused", "metrics", "notes"),
    *("seen", "train_sequences", "test_sequences", "method", "epochs", "seed", "file"),
)


def _entry_json(entry: Entry) -> dict[str, Any]:
    content = vars(entry.result) | entry._asdict() | {"seen": _seen(entry.result)}
    return {name: content[name] for name in _REPORTED}


def _seen(result: Result) -> int | None:
    """Return the most test sequences that any run has seen in pretraining; None if not known."""
    seen = [about.test_sequences_seen for about in result.runs]
    known = [count for count in seen if count is not None]
    return max(known, default=None) or (0 if len(known) == len(seen) else None)


def _either(*seen: int | None) -> bool | None:
    """Whether any of these is more than 0; None if none is known to be, but one is unknown."""
    return any(seen) or (None if None in seen else False)


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Collect all single numbers; those in a mapping are named ``MAPPING.KEY``."""
    figures: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            figures |= {f"{name}.{key}": number for key, number in _figures(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            figures[name] = float(value)
    return figures


def escape_markdown(cell: str) -> str:
    """Escape text for Markdown, on one line."""
    cell = printable(cell)
    for letter, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\\", "\\\\")):
        cell = cell.replace(letter, instead)
    for letter in "|*`[]":
        cell = cell.replace(letter, f"\\{letter}")
    return cell
