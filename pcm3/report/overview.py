"""Pictures of all columns and tasks: bars of the main figures, accuracy by pretraining time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from pcm3.report.comparison import name_rows
from pcm3.report.entries import Entries, column_titles
from pcm3.report.ranks import mean_ranks
from pcm3.report.table import Cell, Row, chance_by_part, main_rows, tabulate
from pcm3.runs.results import is_in_millimetres
from pcm3.runs.series import Entry, Picture
from pcm3.viz.panels import Panel, panel_figure, wrap_text
from pcm3.viz.results import Curve, curve_figure


def draw_methods(entries: Sequence[Entry], baseline: str | None = None) -> Iterator[Picture]:
    """Yield panels of bars, if there are at least two columns: mean ranks and each main figure.

    Encoders that were kept during training are left out.

    Args:
        entries: The results.
        baseline: A column, at whose value each panel has a line.
    """
    columns = [*column_titles(entries)]
    rows = main_rows(tabulate([each for each in entries if each.result.runs[0].epoch is None]))
    if len(columns) < 2 or not rows:
        return
    chances = chance_by_part(entries)
    panels, texts = [], []
    if ranks := mean_ranks(rows):
        means = [ranks.means.get(column) for column in columns]
        panels.append(Panel("mean rank", means, [None] * len(columns), percent=False))
        texts.append(
            f"The mean rank is over {ranks.used} of the {len(rows)} figures, those that all "
            "columns have; 1 is the best."
        )
    else:
        texts.append("There is no mean rank, because the columns have too few figures in common.")
    for row, title in zip(rows, name_rows(rows), strict=True):
        cells = [row.cells.get(column) for column in columns]
        base = row.cells.get(baseline) if baseline is not None else None
        panels.append(
            Panel(
                title,
                [cell and cell.mean for cell in cells],
                [cell and cell.std for cell in cells],
                base and base.mean,
                chances.get((row.store, row.protocol)) if "top1" in row.figure else None,
                percent=not is_in_millimetres(row.figure),
            )
        )
    texts.append(
        "Each panel has the most important figure of a task and a scale of its own, in percent "
        "or, if the name says so, in millimetres, of which fewer are better. Error bars are the "
        "standard deviations of the tables (±); a figure that a column lacks has no bar."
    )
    if baseline is not None:
        texts.append(f"The line is at the value of {baseline}.")
    if any(panel.chance is not None for panel in panels):
        texts.append("The dotted line is at chance, the share of the commonest class.")
    yield Picture("Methods by task", " ".join(texts), [panel_figure(panels, columns)])


def draw_times(read: Entries) -> Iterator[Picture]:
    """Yield a plot of the main accuracy of each task against the minutes of pretraining.

    There is none with fewer than two columns. A plot has a point for each column and, if it was
    evaluated, each kept encoder, if the time of every epoch up to it is known. Scores of several
    runs that were added up are left out, as are plots with a single point.
    """
    columns = [*column_titles(read.entries)]
    if len(columns) < 2:
        return
    records = _records_by_run(read)
    rows: dict[tuple[Any, ...], Row] = {}
    points: dict[tuple[Any, ...], dict[str, list[tuple[float, Cell]]]] = {}
    for epoch, row in _rows_by_epoch(read):
        key = row[:5]
        rows.setdefault(key, row)
        for column, cell in row.cells.items():
            minutes = [_minutes(records[run], epoch) for run in cell.values]
            known = [value for value in minutes if value is not None]
            if len(known) == len(minutes):
                found = points.setdefault(key, {}).setdefault(column, [])
                found.append((mean(known), cell))
    titles = name_rows([*rows.values()])
    figures, named = [], set[str]()
    for key, title in zip(rows, titles, strict=True):
        curves = {
            column: _curve(points[key][column], place)
            for place, column in enumerate(columns)
            if column in points.get(key, {})
        }
        if sum(len(curve.x) for curve in curves.values()) > 1:
            new = not named.issuperset(curves)  # one legend does for figures of the same columns
            named |= curves.keys()
            label = "minutes of pretraining"
            figures.append(curve_figure(curves, label, wrap_text(title), legend=new))
    if figures:
        yield Picture(
            "Accuracy against pretraining time",
            "Mean accuracy of each column over the minutes that its pretraining took, without "
            "evaluation and without runs that it started from. A line joins the encoders that were "
            "kept during training. Error bars are the standard deviations of the tables (±). Times "
            "are comparable if the runs had the same machine to themselves. A legend holds for the "
            "plots after it. From metrics.jsonl of the runs.",
            figures,
        )


def _records_by_run(read: Entries) -> dict[str, Sequence[Mapping[str, float]]]:
    """Return the metrics of each run, a record for each epoch, by its name."""
    runs: dict[str, dict[str, None]] = {}
    for entry in sorted(read.entries, key=lambda entry: entry.place):
        runs.setdefault(entry.column, {})[entry.run] = None
    return {
        run: records
        for column, members in runs.items()
        for run, records in zip(members, read.metrics[column], strict=True)
    }


def _rows_by_epoch(read: Entries) -> Iterator[tuple[int | None, Row]]:
    """Yield the main accuracies of the encoders of each epoch, None for the last encoders.

    Rows that differ only in the epoch have the same names.
    """
    single = [entry for entry in read.entries if not entry.fused]
    for epoch in dict.fromkeys(entry.result.runs[0].epoch for entry in single):
        entries = [
            entry._replace(
                settings={name: value for name, value in entry.settings.items() if name != "epoch"}
            )
            for entry in single
            if entry.result.runs[0].epoch == epoch
        ]
        for row in main_rows(tabulate(entries)):
            if not is_in_millimetres(row.figure):
                yield epoch, row


def _minutes(records: Sequence[Mapping[str, float]], epoch: int | None) -> float | None:
    """Minutes of training up to the end of an epoch, or of the run; None if not known."""
    epochs = [record for record in records if epoch is None or record["epoch"] <= epoch]
    whole = [record["epoch"] for record in epochs] == [*range(1, (epoch or len(epochs)) + 1)]
    if not epochs or not whole or any("seconds" not in record for record in epochs):
        return None
    return sum(record["seconds"] for record in epochs) / 60


def _curve(points: Sequence[tuple[float, Cell]], place: int) -> Curve:
    """Return a line through the means of cells, in the order of the minutes."""
    ordered = sorted(points, key=lambda point: point[0])
    spread = [cell.std for _, cell in ordered]
    return Curve(
        [minutes for minutes, _ in ordered],
        [cell.mean for _, cell in ordered],
        [value or 0.0 for value in spread] if any(value is not None for value in spread) else None,
        place,
    )
