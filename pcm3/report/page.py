"""The report: results of many runs as one table and one page with pictures."""

from __future__ import annotations

import base64
import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from pcm3.errors import explain_missing
from pcm3.io.files import replacing
from pcm3.report.comparison import (
    Comparisons,
    as_csv,
    as_latex,
    as_markdown,
    as_records,
    compare,
    comparison_notes,
    heading,
    table_lines,
)
from pcm3.report.entries import Entries, column_titles, read_entries
from pcm3.report.overview import draw_methods, draw_times
from pcm3.report.pictures import draw_pictures
from pcm3.report.progress import draw_progress
from pcm3.report.table import (
    LEFT_OUT,
    Row,
    as_json,
    cell_text,
    explain,
    markdown,
    notes,
    remarks,
    run_notes,
    run_table,
    tabulate,
)
from pcm3.runs.series import Entry, Picture

with explain_missing():
    import matplotlib as mpl
    from matplotlib.figure import Figure

_PIXELS = 96  # pixels of an inch on a page


class Report(NamedTuple):
    """What ``write_report`` wrote.

    Attributes:
        entries: The results of the runs.
        left_out: Runs and files that are not in the report, each with the reason.
        rows: All figures.
        comparison: The headline figures of all columns, and tests if there is a baseline.
        page: The page with the pictures.
        table: All figures, the headline ones first, Markdown.
        data: All figures, JSON.
        sheet: The comparison, a line for each column, CSV.
        latex: The comparison as a LaTeX table.
    """

    entries: list[Entry]
    left_out: list[str]
    rows: list[Row]
    comparison: Comparisons
    page: Path
    table: Path
    data: Path
    sheet: Path
    latex: Path


def write_report(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    columns: Sequence[str] | None = None,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    baseline: str | None = None,
) -> Report:
    """Write ``report.html``, ``report.md``, ``report.json``, ``report.csv`` and ``report.tex``.

    Runs that differ only in the seed share a column, with mean and standard deviation. The report
    lists the runs and files that were left out because they have no results or cannot be read. If
    there are settings or a baseline, page and table also have a comparison: the headline figures,
    a line for each column.

    Args:
        runs: Run folders with results.
        out: Folder for the files; made if it is missing.
        columns: The column of each run; by default runs that differ only in the seed share one.
        settings: Settings to show in the comparison, by column.
        baseline: The column that the others are compared with, see ``compare_samples``.

    Raises:
        ValueError: If there is no run, one is given twice, none has results, the baseline is not
            among the columns with results, or ``out`` is a store, which has a ``report.json`` of
            its own.
    """
    read, out = read_entries(runs, columns), Path(out)
    if (out / "meta.json").exists():
        raise ValueError(f"expected a folder for the report, got the store {out}")
    rows = tabulate(read.entries)
    words = {column: (settings or {}).get(given, {}) for column, given in read.given.items()}
    compared = compare(rows, read.entries, baseline, words)
    shown = compared if settings or baseline else None
    data = as_json(read) | ({"comparison": as_records(shown)} if shown else {})
    texts = {
        "report.html": make_page(read, shown),
        "report.md": markdown(read, as_markdown(shown) if shown else ()),
        "report.json": json.dumps(data, indent=1) + "\n",
        "report.csv": as_csv(compared),
        "report.tex": as_latex(compared, read.left_out),
    }
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Report(read.entries, read.left_out, rows, compared, *(out / name for name in texts))


def make_page(read: Entries, compared: Comparisons | None = None) -> str:
    """Make a self-contained page of HTML: runs, and a section for each store and protocol.

    Args:
        read: The results.
        compared: A comparison, which comes first.
    """
    entries = read.entries
    titles = column_titles(entries)
    sections = _comparison(compared) if compared else []
    overview = draw_methods(entries, compared.baseline if compared else None)
    sections += _pictures([*overview, *draw_times(read)])
    sections += _runs(entries, read.left_out)
    sections += _pictures(list(draw_progress(read.metrics)))
    parts: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        parts.setdefault((entry.store, entry.result.protocol), []).append(entry)
    for (store, protocol), group in parts.items():
        rows = tabulate(group)
        sections += [
            f"<section><h2>{_text(f'{store}, {protocol}')}</h2>",
            *_tables(rows, {name: titles[name] for name in column_titles(group)}, group),
            *_pictures(list(draw_pictures(group, list(titles)))),
            "</section>",
        ]
    return _PAGE.replace("{body}", "\n".join(sections))


def _comparison(compared: Comparisons) -> list[str]:
    """Format the comparison and its notes."""
    head, *lines = table_lines(compared)
    words = 1 + len(compared.names_of_settings)
    titles = "".join(f'<th scope="col">{_broken(title)}</th>' for title in head)
    table = ['<div class="scroll"><table class="runs"><thead><tr>', titles, "</tr></thead><tbody>"]
    for name, *cells in lines:
        values = [f"<td>{_text(cell)}</td>" for cell in cells[: words - 1]]
        values += [f'<td class="number">{escape(cell)}</td>' for cell in cells[words - 1 :]]
        table.append(f'<tr><th scope="row">{_text(name)}</th>{"".join(values)}</tr>')
    notes_ = [f"<p>{escape(note)}</p>" for note in comparison_notes(compared)]
    title = f"<section><h2>{_text(heading(compared))}</h2>"
    return [title, *table, "</tbody></table></div>", *notes_, "</section>"]


def _runs(entries: Sequence[Entry], left_out: Sequence[str]) -> list[str]:
    """Format the runs and their data, what was left out, and a folded legend."""
    head, *lines = runs = run_table(entries)
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    table = ['<div class="scroll"><table class="runs"><thead><tr>', titles, "</tr></thead><tbody>"]
    for run, *values in lines:
        cells = "".join(f"<td>{_text(value)}</td>" for value in values)
        table.append(f'<tr><th scope="row">{_text(run)}</th>{cells}</tr>')
    legend = explain(tabulate(entries))
    terms = [f"<dt>{_broken(name)}</dt><dd>{escape(text)}</dd>" for name, text in legend.items()]
    missing = [f"<li>{_text(reason)}</li>" for reason in left_out]
    return [
        *("<section><h2>Runs</h2>", *table, "</tbody></table></div>"),
        *(f"<p>{note}</p>" for note in run_notes(runs)),
        *((f"<p>{LEFT_OUT}</p><ul>", *missing, "</ul>") if missing else ()),
        *("<details><summary>What the figures are</summary><dl>", *terms, "</dl></details>"),
        "</section>",
    ]


def _tables(rows: Sequence[Row], titles: dict[str, str], entries: Sequence[Entry]) -> list[str]:
    """Format the headline figures, notes, and the other figures, folded."""
    counts = {
        name: len({entry.run for entry in entries if entry.column == name}) for name in titles
    }
    best, rest = ([row for row in rows if row.headline == kind] for kind in (True, False))
    lines = _table(best, titles, counts)
    lines += [f"<p>{escape(note)}</p>" for note in (*notes(rows), *remarks(entries))]
    if rest:
        lines += ["<details><summary>All other figures</summary>"]
        lines += [*_table(rest, titles, counts), "</details>"]
    return lines


def _table(rows: Sequence[Row], titles: dict[str, str], counts: dict[str, int]) -> list[str]:
    head = "".join(f'<th scope="col">{_text(title)}</th>' for title in titles.values())
    lines = ['<div class="scroll"><table class="figures"><thead><tr><th scope="col">task</th>']
    lines += [f'<th scope="col">figure</th>{head}</tr></thead><tbody>']
    for row in rows:
        how = f"<br><small>{escape(row.how)}</small>" if row.how else ""
        cells = [cell_text(row.cells.get(name), row.figure, counts[name]) for name in titles]
        values = "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
        first = f"<td>{escape(row.task)}{how}</td>"
        lines.append(f'<tr>{first}<th scope="row">{_broken(row.figure)}</th>{values}</tr>')
    return [*lines, "</tbody></table></div>"]


def _text(text: str) -> str:
    """Return HTML in which file names break after slashes only, and words not at hyphens."""
    words = [
        "".join(f"<span>{escape(part)}</span>" for part in re.findall(r"[^/]+/*|/+", word))
        if re.search("[-/]", word)
        else escape(word)
        for word in re.split(r"(\s+)", text)
    ]
    return "".join(words)


def _broken(figure: str) -> str:
    """Return HTML of a figure's name, which may break after underscores."""
    return escape(figure).replace("_", "_<wbr>")


def _pictures(pictures: Sequence[Picture]) -> list[str]:
    """Format all pictures, folded but for the first of each kind."""
    lines, kinds = [], set()
    for title, caption, figures in pictures:
        kind = title.partition(":")[0].partition(",")[0]
        state = "" if kind in kinds else " open"
        kinds.add(kind)
        lines.append(f"<details{state}><summary>{_text(title)}</summary><figure>")
        lines.append('<div class="pictures">')
        lines += [_image(figure, title) for figure in figures]
        lines.append(f"</div><figcaption>{_text(caption)}</figcaption></figure></details>")
    return lines


def _image(figure: Figure, title: str) -> str:
    width, height = (round(_PIXELS * side) for side in figure.get_size_inches())
    data = base64.b64encode(_svg(figure).encode()).decode()
    return (
        f'<div class="scroll"><img alt="{escape(title)}" width="{width}" height="{height}" '
        f'src="data:image/svg+xml;base64,{data}"></div>'
    )


def _svg(figure: Figure) -> str:
    """Draw the figure as reproducible SVG, whose text uses the reader's fonts."""
    buffer = io.StringIO()
    with (
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pcm3"}),
        warnings.catch_warnings(),
    ):
        # readers' fonts may have letters that matplotlib's font lacks
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Results</title>
<style>
:root { color-scheme: light dark; --text: #1a1a1a; --page: #ffffff; --line: #d0d0d0;
  --soft: #5a5a5a; --shade: #f4f4f4; --task: 8rem; --figure: 15rem; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --page: #16181c; --line: #444a52; --soft: #a8adb5; --shade: #20242a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1200px; color: var(--text);
  background: var(--page); font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 2rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.9rem;
  border-bottom: 1px solid var(--line); }
th, td { padding: 0.3rem 0.7rem; border-top: 1px solid var(--line); text-align: left;
  font-weight: normal; vertical-align: top; }
thead th { font-weight: 600; background: var(--shade); }
tbody { background: var(--page); }
.figures thead th:nth-child(n+3), .number { text-align: right; }
.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
/* names stay where they are while figures pass below */
.figures :is(th, td):nth-child(-n+2), .runs th:first-child { position: sticky; left: 0;
  overflow-wrap: anywhere; }
.figures tbody :is(th, td):nth-child(-n+2), .runs tbody th { background: var(--page); }
table :is(th, td):first-child { min-width: var(--task); max-width: var(--task); }
.figures :is(th, td):nth-child(2) { left: calc(var(--task) - 1px); min-width: var(--figure);
  max-width: var(--figure); }
span { display: inline-block; max-width: 100%; }
dt { font-weight: 600; } dd { margin: 0 0 0.4rem 1rem; color: var(--soft); }
small, figcaption { color: var(--soft); }
details { margin: 0.8rem 0; border: 1px solid var(--line); border-radius: 6px;
  padding: 0.5rem 0.7rem; }
summary { cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
figure { margin: 0.7rem 0 0; }
figcaption { font-size: 0.9rem; margin-top: 0.5rem; overflow-wrap: anywhere; max-width: 50rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 0.7rem; align-items: flex-start; }
.pictures .scroll { background: #ffffff; border-radius: 4px; }
img { display: block; max-width: none; }
@media (max-width: 600px) {
  :root { --task: 5.3rem; --figure: 7rem; }
  body { padding: 0.6rem; } details { padding: 0.5rem 0.4rem; }
  table { font-size: 0.8rem; } th, td { padding: 0.3rem 0.35rem; }
}
</style>
</head>
<body>
<h1>Results</h1>
{body}
</body>
</html>
"""
