"""``labels.csv``: labels and columns for the recordings of a folder, file by file."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial, wraps
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any, Concatenate, NamedTuple, ParamSpec

from pcm3.data.readers.base import Recording, Source
from pcm3.data.readers.shared.intervals import (
    INTERVALS,
    Intervals,
    read_intervals,
    with_intervals,
)
from pcm3.data.readers.shared.rows import did_you_mean, read_column, read_labels, read_rows
from pcm3.data.readers.shared.spelling import count_labels, note_on_names
from pcm3.data.resample import check_rate, group_rates
from pcm3.errors import SkeletonFormatError
from pcm3.io.reading import fail, files_below, parse_float, shown

TABLE = "labels.csv"
_KEYS = ("file", "label", "fps")
_SHEETS = (".csv", ".txt", ".tsv", ".xlsx", ".xls", ".ods")
_SHOWN = 5  # number of files to name

P = ParamSpec("P")


class _Row(NamedTuple):
    line: int
    name: str
    label: int
    fps: float | None
    columns: dict[str, int | str]


class _Table(NamedTuple):
    file: Path
    rows: list[_Row]
    class_names: tuple[str, ...] | None  # None without labels

    def rows_of(self, files: Sequence[Path]) -> list[_Row | None]:
        """Return the row that names each file, directly or through a link."""
        folder = self.file.parent
        by_name = {row.name: row for row in self.rows if _is_inside(row.name)}
        names = [file.relative_to(folder).as_posix() for file in files]
        others = by_name.keys() - set(names)
        by_path = {_real(folder / name): by_name[name] for name in others}
        return [
            by_name.get(name) or (by_path.get(_real(file)) if by_path else None)
            for name, file in zip(names, files, strict=True)
        ]


class _Named(NamedTuple):
    """A unit of a table: a unit of the source, or None if its file is missing, and its row.

    ``advice`` suggests what the row of a missing file may mean, or is empty.
    """

    unit: Any
    row: _Row
    advice: str = ""


def with_table(
    read: Callable[Concatenate[str | Path, P], Source],
) -> Callable[Concatenate[str | Path, P], Source]:
    """Make a reader of a folder, whose units are files, use the ``labels.csv`` in the folder.

    The table has the column ``file``, a path inside the folder (if a recording has several files,
    that of the coordinates). It may have ``label`` (class indices or names, empty for none) and
    ``fps`` (frames per second), unless files of the format have these themselves. All others
    become columns of integers or of words, see ``read_value``; empty cells are -1. Cells are
    separated by commas or, as in the files of some spreadsheets, by semicolons or tabs. Files that
    the table does not name are left out. An ``intervals.csv`` gives labels of frames, see
    ``read_intervals``.
    """

    @wraps(read)
    def wrapped(path: str | Path, /, *args: P.args, **options: P.kwargs) -> Source:
        source, folder = read(path, *args, **options), Path(path)
        if others := _tables_below(folder):
            what = f"not read, because only a table in {folder.resolve().name} itself is"
            source = replace(source, notes=[*source.notes, f"{', '.join(others)}: {what}"])
        if others := _tables_beside(folder):
            what = f"not read, because labels come from {TABLE}"
            source = replace(source, label_notes=[*source.label_notes, f"{others[0]}: {what}"])
        table, intervals = _read_table(folder), read_intervals(folder)
        if intervals is not None:
            source = with_intervals(source, folder, intervals)
        if table is None:
            return source
        if intervals is not None:
            _check_both(table, intervals)
        return _join(source, table)

    return wrapped


def named_files(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the files that the table in the folder names, or all if there is no table.

    Raises:
        SkeletonFormatError: If the table names none of them.
    """
    table, files = _read_table(folder), list(files)
    if table is None:
        return files
    named = [file for file, row in zip(files, table.rows_of(files), strict=True) if row]
    if files and table.rows and not named:
        first = table.rows[0]
        known = files[0].relative_to(folder).as_posix()
        what = f"expected names of files that are in {folder}, such as {known!r}"
        names = [file.relative_to(folder).as_posix() for file in files]
        what = f"{what}, got {first.name!r:.200}{did_you_mean(first.name, names)}"
        fail(table.file, f"line {first.line}", what)
    return named


def refuse_table(folder: Path, format: str) -> None:
    """Refuse a table, for readers that use none.

    Raises:
        SkeletonFormatError: If the folder holds a table.
    """
    for name in (TABLE, INTERVALS):
        if os.path.lexists(folder / name):
            fail(folder / name, f"format {format} has its own label files; move the table away")


def _check_both(table: _Table, intervals: Intervals) -> None:
    """Require that intervals have the only labels, and are of recordings that the table names."""
    if table.class_names is not None:
        fail(table.file, "line 1", f"column label: {INTERVALS} gives the labels; leave it out")
    named = {row.name for row in table.rows}
    for name, rows in intervals.rows.items():
        if name not in named:
            fail(intervals.file, f"line {rows[0].line}", f"{TABLE} leaves out {name:.200}")


def _join(source: Source, table: _Table) -> Source:
    labels, class_names = table.class_names, source.class_names
    if labels is not None and class_names:
        what = f"files of format {source.format} have labels of their own"
        fail(table.file, "line 1", f"column label: {what}; give it another name to keep it")
    files = [unit if isinstance(unit, Path) else unit.file for unit in source.units]
    rows = table.rows_of(files)
    units = [_Named(unit, row) for unit, row in zip(source.units, rows, strict=True) if row]
    folder = table.file.parent
    others = [
        file.relative_to(folder).as_posix()
        for file, row in zip(files, rows, strict=True)
        if row is None
    ]
    matched = {unit.row.line for unit in units}
    missing = [row for row in table.rows if row.line not in matched]
    units += [
        _Named(None, row, did_you_mean(row.name, others) if at < _SHOWN else "")
        for at, row in enumerate(missing)
    ]
    some = ", ".join([*sorted(others)[:_SHOWN], *(["..."] if len(others) > _SHOWN else [])])
    why = [source.left_out_why] * bool(source.left_out_why)
    why += [f"not in {TABLE}: {some}"] * bool(others)
    rates = group_rates((row.fps, row.name) for row in table.rows if row.fps is not None)
    if rates and (source.fps is not None or source.rates):
        fail(table.file, "line 1", f"column fps: files of format {source.format} give it already")
    columns = [*table.rows[0].columns] if table.rows else []
    given = ["label"] * (labels is not None) + ["fps"] * bool(rates)
    counts = count_labels(labels or (), (row.label for row in table.rows))
    notes = note_on_names(TABLE, counts) + _hints(columns, given)
    if labels is None and not class_names:
        names = ", ".join(["file", *columns])
        notes.append(f"{TABLE} has no column label, only {names:.200}: no recording has a label")
    return replace(
        source,
        label_notes=[*source.label_notes, *notes],
        class_names=class_names if labels is None else labels,
        units=units,
        read=partial(_read_unit, source, table.file),
        rates=rates or source.rates,
        left_out=source.left_out + len(others),
        left_out_why=" or ".join(why),
    )


_MEANT = {
    "label": ("label", "labels", "class", "classes", "action", "activity", "category"),
    "subjects": (
        *("subjects", "subject", "person", "actor", "participant", "performer"),
        *("client", "patient", "name", "user", "athlete", "volunteer"),
    ),
    "views": ("views", "view", "camera", "cameras", "viewpoint"),
    "fps": ("fps", "rate", "framerate", "frame_rate", "hz"),
}
"""Columns with a meaning, and what else they may be called."""
_CLOSE = 0.85


def probably_meant(known: str, columns: Collection[str]) -> list[str]:
    """Columns whose names are close to what else a column with a meaning may be called."""
    return [key for key in columns if get_close_matches(key.lower(), _MEANT[known], 1, _CLOSE)]


def _hints(columns: Sequence[str], given: Sequence[str]) -> list[str]:
    """Ask whether a column is meant to be one with a meaning that the table lacks."""
    hints = []
    for known in _MEANT:
        meant = probably_meant(known, columns)
        if known not in (*columns, *given) and meant:
            what = f"{TABLE}: the column {meant[0]} is kept as it is"
            hints.append(f"{what}; call it {known} if it is meant as that")
    return hints


def _read_unit(
    source: Source, file: Path, named: _Named
) -> Iterator[Recording | SkeletonFormatError]:
    row = named.row
    if named.unit is None:
        what = f"expected a file of format {source.format} in {file.parent}, got {row.name!r:.200}"
        if _is_inside(row.name) and (meant := sorted(file.parent.glob(f"{escape(row.name)}.*"))):
            what += f"; did you mean {row.name + meant[0].suffix!r}?"
        else:
            what += named.advice
        fail(file, f"line {row.line}", what)
    for recording in source.read(named.unit):
        if isinstance(recording, SkeletonFormatError):
            yield recording
            continue
        if both := sorted(row.columns.keys() & recording.columns.keys()):
            what = f"files of format {source.format} give it already"
            fail(file, "line 1", f"column {both[0]}: {what}; give it another name to keep it")
        yield replace(
            recording,
            label=recording.label if source.class_names else row.label,
            columns={**recording.columns, **row.columns},
            fps=row.fps or recording.fps,
        )


def _tables_beside(folder: Path) -> list[str]:
    """Find files of a folder that are called like the table, which are not used."""
    files = files_below(folder, recursive=False) if folder.is_dir() else ()
    return sorted(
        file.name
        for file in files
        if file.stem.lower() in ("label", "labels")
        and file.suffix.lower() in _SHEETS
        and file.name != TABLE
    )


def _tables_below(folder: Path) -> list[str]:
    """Find tables in sub-folders, which are not used."""
    files = files_below(folder) if folder.is_dir() else ()
    return sorted(
        file.relative_to(folder).as_posix()
        for file in files
        if file.name == TABLE and file.parent != folder
    )[:_SHOWN]


def _real(path: Path) -> Path:
    """Resolve the links of a path; return it as it is if they form a loop."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _read_table(folder: Path) -> _Table | None:
    file = folder / TABLE
    if not folder.is_dir() or not os.path.lexists(file):
        return None
    header, lines = read_rows(file, ["file"], _KEYS)
    cells = {key: [row[at] for _, row in lines] for at, key in enumerate(header)}
    numbers = [line for line, _ in lines]
    names = [PurePosixPath(name).as_posix() for name in cells["file"]]  # without ./
    seen: dict[str, int] = {}
    for line, name in zip(numbers, names, strict=True):
        if name in seen:
            fail(file, f"line {line}", f"{name} is already in line {seen[name]}")
        seen[name] = line
    labels, class_names = read_labels(file, numbers, cells)
    columns = {
        key: read_column(file, numbers, key, cells[key]) for key in header if key not in _KEYS
    }
    rates = _rates(file, numbers, cells.get("fps", [""] * len(lines)))
    rows = [
        _Row(
            line,
            names[at],
            labels[at],
            rates[at],
            {key: column[at] for key, column in columns.items()},
        )
        for at, line in enumerate(numbers)
    ]
    return _Table(file, rows, class_names)


def _rates(file: Path, lines: Sequence[int], cells: Sequence[str]) -> list[float | None]:
    """Read the frames per second of each row; None in all rows if the table does not give them."""
    rates: list[float | None] = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            rates.append(check_rate("a number", parse_float(cell)) if any(cells) else None)
        except ValueError:
            what = f"expected frames per second, a number above 0, got {shown(cell)}"
            fail(file, f"line {line}", f"column fps: {what}")
    return rates
