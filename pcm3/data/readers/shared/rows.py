"""Rows of a table of labels: header, cells, columns of integers or words, class indices."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from pcm3.data.columns import find_mixture, read_value
from pcm3.data.readers.base import MOST_CLASSES
from pcm3.data.store.meta import is_column
from pcm3.io.reading import MOST_COLUMNS, fail, shown
from pcm3.io.text import find_delimiter, open_table


def read_rows(
    file: Path, required: Sequence[str], optional: Collection[str] = ()
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the header, and each row with its line number; cells are stripped of blanks.

    Cells are separated by commas, semicolons or tabs. The names of required and optional columns
    may be written in capitals.

    Args:
        file: The table.
        required: Columns that it must have.
        optional: Columns that it may have, although columns of a store have other names.

    Raises:
        SkeletonFormatError: If the file is wrong; the message names the line.
    """
    rows, last = [], 0
    try:
        with open_table(file) as stream:
            delimiter = find_delimiter(stream.readline())
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for row in reader:
                if any("\n" in cell or "\r" in cell for cell in row):
                    fail(file, f"line {last + 1}", _OPEN_QUOTE)
                last = reader.line_num
                if row:
                    rows.append((last, [cell.strip() for cell in row]))
    except csv.Error as error:
        what = _OPEN_QUOTE if "unexpected end" in str(error) else f"cannot be read, {error}"
        fail(file, f"line {last + 1}", what)
    if rows:
        line, names = rows[0]
        fixed = {*required, *optional} - {*names}
        rows[0] = line, [name.lower() if name.lower() in fixed else name for name in names]
    if len(rows) < 2 or not set(required) <= set(rows[0][1]):
        header = rows[0][1] if rows else ["nothing"]
        columns = f"column{'s' * (len(required) > 1)} {', '.join(required)}"
        what = f"expected a header with {'a ' * (len(required) == 1)}{columns}, and rows below it"
        fail(file, "line 1", f"{what}, got {', '.join(header)}")
    header = rows[0][1]
    if len(header) > MOST_COLUMNS:
        fail(file, "line 1", f"expected at most {MOST_COLUMNS:,} columns, got {len(header):,}")
    for key, count in Counter(header).items():
        known = key in required or key in optional or is_column(key)
        if not known or count > 1:
            what = f"expected unique identifiers as columns, got {shown(key)}"
            fail(file, "line 1", what + _ADVICE.get(key.lower(), ""))
    for line, row in rows[1:]:
        if len(row) != len(header):
            fail(file, f"line {line}", f"expected {len(header)} cells, got {len(row)}")
    return header, rows[1:]


_ADVICE = {
    "name": "; call it subjects if it is a person, which the protocol xsub separates",
    "labels": "; a column of labels is called label",
}
_OPEN_QUOTE = "a quote is opened but not closed in this line"


def did_you_mean(name: str, files: Iterable[str]) -> str:
    """Suggest the file whose name is nearest to a name, capitals aside; empty if none is near."""
    folded = {file.casefold(): file for file in files}
    near = get_close_matches(name.casefold(), folded, 1, _NEAR)
    return f"; did you mean {folded[near[0]]!r:.200}?" if near else ""


_NEAR = 0.85


def read_column(
    file: Path, lines: Sequence[int], key: str, cells: Sequence[str]
) -> list[int | str]:
    """Read the integers or words of a column.

    Raises:
        SkeletonFormatError: If a cell is neither, or the column holds both.
    """
    values: list[int | str] = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            values.append(read_value(cell))
        except ValueError as error:
            what = "a column holds integers or words; leave it out, or write words"
            fail(file, f"line {line}", f"column {key}: {error}; {what}")
    if mixture := find_mixture(values):
        words = sum(isinstance(value, str) for value in values)
        mostly_words = 2 * words > sum(value != -1 for value in values)
        usual, odd = reversed(mixture) if mostly_words else mixture
        kind = "a word" if mostly_words else "a number"
        what = f"column {key}: expected {kind}, as {shown(cells[usual])} in line {lines[usual]} is"
        rule = "labels are" if key == "label" else "the cells of a column are"
        what = f"{what}, got {shown(cells[odd])}; {rule} all integers or all words"
        fail(file, f"line {lines[odd]}", what)
    return values


def read_labels(
    file: Path, lines: Sequence[int], cells: Mapping[str, Sequence[str]]
) -> tuple[list[int], tuple[str, ...] | None]:
    """Return class indices of a column label, and the names of the classes; None without it.

    Raises:
        SkeletonFormatError: If a label is no name and no index from 0.
    """
    if "label" not in cells:
        return [-1] * len(lines), None
    labels = read_column(file, lines, "label", cells["label"])
    names = sorted({label for label in labels if isinstance(label, str)})
    places = {name: place for place, name in enumerate(names)}
    indices = [places[label] if isinstance(label, str) else label for label in labels]
    for line, label in zip(lines, indices, strict=True):
        if label < -1:
            fail(file, f"line {line}", f"expected a label from 0, or -1 for none, got {label}")
        if label >= MOST_CLASSES and not names:
            what = f"expected class indices from 0, got {label}; write names if they are codes"
            fail(file, f"line {line}", what)
    return indices, tuple(names or (str(label) for label in range(max(indices) + 1)))
