"""The comparison of a report: a line for each column, its settings, and tests of a baseline."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from pcm3.report.entries import column_titles
from pcm3.report.significance import FEWEST, LEVEL, Comparison, compare_samples, holm
from pcm3.report.table import (
    LEFT_OUT,
    Cell,
    Row,
    cell_text,
    escape_markdown,
    notes,
    table_markdown,
)
from pcm3.runs.results import is_in_millimetres
from pcm3.runs.series import Entry
from pcm3.terminal import printable


class Tested(NamedTuple):
    """The figure of a column beside that of the baseline.

    Attributes:
        cell: The figure.
        difference: Difference of the mean from that of the baseline; None without a baseline.
        comparison: The test; None without a baseline or if there is none, see ``compare_samples``.
        p: Its p-value after Holm's correction for the number of tests of this figure.
    """

    cell: Cell
    difference: float | None = None
    comparison: Comparison | None = None
    p: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the difference is significant at the 5 % level."""
        return self.p is not None and self.p < LEVEL


class Comparisons(NamedTuple):
    """The headline figures of all columns.

    Attributes:
        titles: Title by column, which gives the number of seeds.
        settings: Settings by column: for each name the value in words. All have the same names.
        baseline: Column that the others are compared with; None for none.
        rows: The figures.
        titles_of_rows: The title of each figure: what tells it from the others.
        cells: For each figure, the columns that have it.
        runs: Number of runs by column.
    """

    titles: dict[str, str]
    settings: Mapping[str, Mapping[str, str]]
    baseline: str | None
    rows: list[Row]
    titles_of_rows: list[str]
    cells: list[dict[str, Tested]]
    runs: dict[str, int]

    @property
    def names_of_settings(self) -> list[str]:
        """Names of the settings."""
        return [*dict.fromkeys(name for values in self.settings.values() for name in values)]


def compare(
    rows: Sequence[Row],
    entries: Sequence[Entry],
    baseline: str | None = None,
    settings: Mapping[str, Mapping[str, str]] = {},
) -> Comparisons:
    """Compare the headline figures of all columns, with a baseline if there is one.

    Args:
        rows: Figures, as ``tabulate`` makes them.
        entries: The results that they are of.
        baseline: A column.
        settings: Settings to show, by column.

    Raises:
        ValueError: If the baseline is not a column.
    """
    titles = column_titles(entries)
    if baseline is not None and baseline not in titles:
        raise ValueError(
            f"expected a baseline with results, among {', '.join(titles)}; got {baseline}"
        )
    best = [row for row in rows if row.headline]
    seeds = {entry.run: entry.run if entry.seed is None else entry.seed for entry in entries}
    members: dict[str, set[str]] = {}
    for entry in entries:
        members.setdefault(entry.column, set()).add(entry.run)
    return Comparisons(
        titles,
        settings,
        baseline,
        best,
        name_rows(best),
        [_test_row(row, baseline, seeds) for row in best],
        {column: len(runs) for column, runs in members.items()},
    )


def _test_row(row: Row, baseline: str | None, seeds: Mapping[str, Hashable]) -> dict[str, Tested]:
    base = row.cells.get(baseline) if baseline is not None else None
    tested = {column: Tested(cell) for column, cell in row.cells.items()}
    if base is None:
        return tested
    of_base = _by_seed(base, seeds)
    for column, cell in row.cells.items():
        if column != baseline:
            found = compare_samples(_by_seed(cell, seeds), of_base)
            tested[column] = Tested(cell, cell.mean - base.mean, found)
    known = [(column, item.comparison) for column, item in tested.items() if item.comparison]
    corrected = holm([found.p for _, found in known])
    for (column, _), p in zip(known, corrected, strict=True):
        tested[column] = tested[column]._replace(p=p)
    return tested


def _by_seed(cell: Cell, seeds: Mapping[str, Hashable]) -> dict[Hashable, float]:
    return {seeds[run]: value for run, value in cell.values.items()}


def name_rows(rows: Sequence[Row]) -> list[str]:
    """Name each figure by task, settings and name, and by store and protocol if they differ."""
    parts = [(row.store, row.protocol, row.task, row.how, row.figure) for row in rows]
    varying = [len({part[at] for part in parts}) > 1 for at in range(2)]
    return [
        " ".join(
            [
                *(word for word, varies in zip(part[:2], varying, strict=True) if varies),
                part[2],
                *([f"({part[3]})"] if part[3] else []),
                part[4],
            ]
        )
        for part in parts
    ]


def table_lines(compared: Comparisons) -> list[list[str]]:
    """Tabulate settings and figures, a line for each column, after a head."""
    names = compared.names_of_settings
    lines = [["", *names, *compared.titles_of_rows]]
    for column, runs in compared.runs.items():
        own = compared.settings.get(column, {})
        words = [f"{runs} seeds"] if runs > 1 else []
        words += ["baseline"] if column == compared.baseline else []
        name = f"{column} ({', '.join(words)})" if words else column
        figures = [
            _text(cells.get(column), row.figure, runs)
            for row, cells in zip(compared.rows, compared.cells, strict=True)
        ]
        lines.append([name, *(own.get(setting, "") for setting in names), *figures])
    return lines


def _text(tested: Tested | None, figure: str, runs: int) -> str:
    if tested is None:
        return ""
    return cell_text(tested.cell, figure, runs) + (" *" if tested.differs else "")


def comparison_notes(compared: Comparisons) -> list[str]:
    """Explain the marks, and which tests were made."""
    lines = notes(compared.rows)
    if compared.baseline is None or len(compared.titles) < 2:
        return lines
    others = [
        item
        for cells in compared.cells
        for column, item in cells.items()
        if column != compared.baseline
    ]
    made = dict.fromkeys(item.comparison.test for item in others if item.comparison)
    if made:
        means = {
            "paired t-test": "a paired t-test over equal seeds",
            "Welch's t-test": "Welch's t-test where the seeds are not the same",
        }
        tests = ", ".join(means[test] for test in made)
        how = (
            f"at the {LEVEL:.0%} level: p of a two-sided test ({tests}), after Holm's correction "
            "for the number of comparisons of a figure."
        )
        if any(item.differs for item in others):
            lines.append(f"* Differs from {compared.baseline} {how}")
        else:
            lines.append(f"No difference from {compared.baseline} is significant {how}")
    if any(item.comparison is None for item in others):
        lines.append(
            f"There is no test where one side has fewer than {FEWEST} seeds or no value varies: "
            "such differences may be due to chance."
        )
    return lines


def heading(compared: Comparisons) -> str:
    """Return the heading, which names store and protocol if all figures have the same."""
    parts = {(row.store, row.protocol) for row in compared.rows}
    return f"Comparison: {', '.join(*parts)}" if len(parts) == 1 else "Comparison"


def as_markdown(compared: Comparisons) -> list[str]:
    """Format a section: title, table and notes."""
    table = table_markdown(table_lines(compared), 1 + len(compared.names_of_settings))
    return [
        f"## {escape_markdown(heading(compared))}",
        table,
        *map(escape_markdown, comparison_notes(compared)),
    ]


def as_csv(compared: Comparisons) -> str:
    """Format as CSV: accuracies as fractions, distances in millimetres, at full precision."""
    names = compared.names_of_settings
    head = ["name", *names]
    for title in compared.titles_of_rows:
        head += [f"{title} {what}" for what in _COLUMNS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(printable, head))
    for column in compared.titles:
        own = compared.settings.get(column, {})
        line: list[Any] = [printable(column), *(printable(own.get(name, "")) for name in names)]
        for cells in compared.cells:
            line += _numbers(cells.get(column))
        writer.writerow(line)
    return text.getvalue()


_COLUMNS = ("mean", "std", "runs", "difference", "test", "p_holm")


def _numbers(tested: Tested | None) -> list[Any]:
    if tested is None:
        return [""] * len(_COLUMNS)
    cell, found = tested.cell, tested.comparison
    values = (cell.mean, cell.std, len(cell.values), tested.difference)
    rest = (found.test if found else None, tested.p)
    return ["" if value is None else value for value in (*values, *rest)]


def as_latex(compared: Comparisons, left_out: Sequence[str] = ()) -> str:
    """Format as a LaTeX table for the package ``booktabs``; the notes are comments.

    Args:
        compared: The figures.
        left_out: Runs and files that are not in the table, each with the reason.
    """
    head, *lines = table_lines(compared)
    words = len(compared.names_of_settings) + 1
    units = ["mm" if is_in_millimetres(row.figure) else "%" for row in compared.rows]
    titles = [f"{title} ({unit})" for title, unit in zip(head[words:], units, strict=True)]
    body = [
        [
            *map(_latex, line[:words]),
            *(_latex(re.sub(r"(%| mm)", "", cell)) for cell in line[words:]),
        ]
        for line in lines
    ]
    rows = [" & ".join(map(_latex, [*head[:words], *titles])), *(" & ".join(line) for line in body)]
    return "\n".join(
        [
            *(f"% {_comment(note)}" for note in _comments(compared, left_out)),
            rf"\begin{{tabular}}{{{'l' * words}{'r' * len(titles)}}}",
            r"\toprule",
            rf"{rows[0]} \\",
            r"\midrule",
            *(rf"{row} \\" for row in rows[1:]),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _comments(compared: Comparisons, left_out: Sequence[str]) -> list[str]:
    missing = [LEFT_OUT, *left_out] if left_out else []
    return [heading(compared), *comparison_notes(compared), *missing]


def _comment(text: str) -> str:
    return printable(text).replace("±", r"$\pm$").replace("†", r"\dag")


_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "†": r"\textsuperscript{\dag}", "*": r"\textsuperscript{*}"},
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in printable(text))


def as_records(compared: Comparisons) -> list[dict[str, Any]]:
    """Return a record for each column and figure, for programs."""
    return [
        {
            "column": column,
            "settings": dict(compared.settings.get(column, {})),
            **dict(zip(("store", "protocol", "task", "how", "figure"), row[:5], strict=True)),
            "mean": item.cell.mean,
            "std": item.cell.std,
            "difference": item.difference,
            "test": item.comparison.test if item.comparison else None,
            "p": item.p,
        }
        for row, cells in zip(compared.rows, compared.cells, strict=True)
        for column, item in cells.items()
    ]
