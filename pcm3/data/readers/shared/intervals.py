"""``intervals.csv``: labels of intervals of the recordings of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from pcm3.data.readers.base import Recording, Source
from pcm3.data.readers.shared.rows import did_you_mean, read_labels, read_rows
from pcm3.data.readers.shared.spelling import count_labels, note_on_names
from pcm3.data.store.intervals import paint
from pcm3.errors import SkeletonFormatError
from pcm3.io.reading import fail, format_error, shown

INTERVALS = "intervals.csv"
_KEYS = ("recording", "start", "end", "label")
_FRAME = re.compile(r"\d{1,9}", re.ASCII)


class Interval(NamedTuple):
    """A row of the table: frames from start to end, without the end, and their class."""

    line: int
    start: int
    end: int
    label: int


class Intervals(NamedTuple):
    """A table of intervals.

    Attributes:
        file: The table.
        rows: The intervals of each recording by their start.
        class_names: Names of the classes.
    """

    file: Path
    rows: Mapping[str, Sequence[Interval]]
    class_names: tuple[str, ...]


def read_intervals(folder: Path) -> Intervals | None:
    """Read the ``intervals.csv`` in a folder; None if there is none.

    Its columns are ``recording`` (a path inside the folder, as ``file`` in ``labels.csv``),
    ``start`` and ``end`` (frames from 0, the end is the frame after the last), and ``label`` (class
    index or name). Intervals of a recording do not overlap.

    Raises:
        SkeletonFormatError: If the table is wrong; the message names the line.
    """
    file = folder / INTERVALS
    if not folder.is_dir() or not os.path.lexists(file):
        return None
    header, lines = read_rows(file, _KEYS)
    if others := [key for key in header if key not in _KEYS]:
        fail(file, "line 1", f"expected the columns {', '.join(_KEYS)}, got also {others[0]:.60}")
    numbers = [line for line, _ in lines]
    cells = {key: [row[at] for _, row in lines] for at, key in enumerate(header)}
    labels, class_names = read_labels(file, numbers, cells)
    found: dict[str, list[Interval]] = {}
    for at, line in enumerate(numbers):
        ends = [cells["start"][at], cells["end"][at]]
        start, end = (int(cell) if _FRAME.fullmatch(cell) else -1 for cell in ends)
        if not 0 <= start < end:
            what = "expected a start from 0 and a later end, in frames"
            fail(file, f"line {line}", f"{what}, got {shown(ends[0])} and {shown(ends[1])}")
        if labels[at] < 0:
            fail(file, f"line {line}", "expected a label, got none")
        name = PurePosixPath(cells["recording"][at]).as_posix()  # without ./
        found.setdefault(name, []).append(Interval(line, start, end, labels[at]))
    for name, rows in found.items():
        rows.sort(key=lambda row: row.start)
        for one, other in pairwise(rows):
            if other.start < one.end:
                what = f"overlaps the interval of line {one.line} of {name:.200}"
                fail(file, f"line {other.line}", what)
    return Intervals(file, found, class_names or ())


def with_intervals(source: Source, folder: Path, intervals: Intervals) -> Source:
    """Give the recordings of a folder the labels of intervals; other frames are background.

    Raises:
        SkeletonFormatError: If the files have labels themselves, or a recording is not there.
            Intervals beyond the end of a recording raise only when it is read.
    """
    if source.class_names or source.untrimmed:
        what = f"files of format {source.format} have labels of their own"
        fail(intervals.file, f"{what}; move the table away")
    names = {_name(folder, unit) for unit in source.units}
    for name, rows in intervals.rows.items():
        if name not in names:
            what = f"expected a file of format {source.format} in {folder}, got {name!r:.200}"
            fail(intervals.file, f"line {rows[0].line}", what + did_you_mean(name, names))
    labels = (row.label for rows in intervals.rows.values() for row in rows)
    counts = count_labels(intervals.class_names, labels)
    notes = [*source.label_notes, *note_on_names(INTERVALS, counts)]
    if without := len(names - intervals.rows.keys()):
        recordings = f"{without} recording{'s' * (without > 1)}"
        notes.append(f"{INTERVALS} has no interval of {recordings}: all frames are background")
    return replace(
        source,
        class_names=intervals.class_names,
        untrimmed=True,
        read=partial(_read_unit, source.read, intervals, folder),
        label_notes=notes,
    )


def _name(folder: Path, unit: Any) -> str:
    file: Path = unit if isinstance(unit, Path) else unit.file
    return file.relative_to(folder).as_posix()


def _read_unit(
    read: Callable[[Any], Iterator[Recording | SkeletonFormatError]],
    intervals: Intervals,
    folder: Path,
    unit: Any,
) -> Iterator[Recording | SkeletonFormatError]:
    rows = intervals.rows.get(_name(folder, unit), ())
    for recording in read(unit):
        if isinstance(recording, SkeletonFormatError):
            yield recording
            continue
        length = len(recording.frames)
        if rows and rows[-1].end > length:
            what = f"expected an end of at most {length}, the frames of {recording.name:.200}"
            place = f"line {rows[-1].line}"
            yield format_error(intervals.file, place, f"{what}, got {rows[-1].end}")
            continue
        segments = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 3)
        labels = paint(length, segments)
        yield replace(recording, frame_labels=labels, segments=segments)
