"""Tables of joints: CSV files with a row for each frame, or for each joint of a frame."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pcm3.data.readers.base import Source
from pcm3.data.readers.mediapipe import ImageSize, check_image_size, in_pixels
from pcm3.data.readers.shared.header import Header, read_header
from pcm3.data.readers.shared.poses import (
    Person,
    Poses,
    detect_text,
    find_recordings,
    pose_source,
)
from pcm3.data.readers.shared.table import with_table
from pcm3.data.readers.shared.times import find_rate, read_clock
from pcm3.data.resample import other_unit
from pcm3.data.units import read_unit
from pcm3.io.reading import fail, parse_float, shown
from pcm3.io.text import find_delimiter, open_table
from pcm3.skeleton import BLAZEPOSE33, COCO17, HALPE26, OPENPOSE18, OPENPOSE25, Skeleton
from pcm3.skeleton.markers import join_body

_LAYOUTS = {
    (len(layout), coordinates): layout
    for layout in (BLAZEPOSE33, HALPE26, OPENPOSE25, OPENPOSE18, COCO17)
    for coordinates in (2, 3)
}
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", re.ASCII)
_MISSING = ("", "nan", "na")
"""Cells, in lower case, of a joint that is not seen."""
_BOTH_MARKS = "expected either decimal commas or decimal points in a file, got both"
_SHOWN = 3  # joints that lack a coordinate
_SHARES = 0.9
"""Share of coordinates from 0 to 1 from which they are shares of an image."""


def detect(path: Path) -> bool:
    """Return whether this is a ``.csv`` with coordinates of joints, or a folder with one."""
    return detect_text(path, ".csv", _has_coordinates)


def _has_coordinates(text: str) -> bool:
    line = text.splitlines()[0] if text else ""
    cells = [cell.strip(' "') for cell in line.split(find_delimiter(line))]
    try:
        return read_header(cells) is not None
    except ValueError:  # of two kinds
        return True


@with_table
def read_csv(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    min_score: float = 0.0,
    image_size: ImageSize = None,
    unit: str | None = None,
) -> Source:
    """Read CSV files of joints, one recording each.

    A wide file has a row for each person of a frame, and columns ``NAME_x``, ``NAME_y`` and maybe
    ``NAME_z`` and ``NAME_score`` for each joint (also ``NAME.X``, ``NAME X (mm)``, ``NAME_PosX`` or
    ``X_NAME``), or, as dumps of MediaPipe, ``x_0``, ``y_0``, ``z_0``, ``visibility_0``, or ``x1``,
    ``y1``, ... from 0 or 1. A long file has a row for each joint, with the columns ``joint`` (name
    or number), ``x``, ``y`` and maybe ``z`` and ``score``. ``frame``, ``time`` and ``person`` may
    say whose row it is. Without ``frame``, rows of one time are a frame of a long file or of one
    with persons; otherwise each row of a wide file is a frame. Without ``person`` there is one
    person. A joint whose cells are empty, NaN or NA is not seen. Cells are separated by commas,
    semicolons or tabs; unless by commas, numbers may have a decimal comma. Times give the frame
    rate, see ``find_rate``. Other columns are not read.

    Args:
        path: A file, or a folder whose ``.csv`` files are read, also those in sub-folders.
        skeleton: Layout of the joints. By default it is the built-in one with their names, or
            ``join_body`` makes one if each name says where it belongs. Without names, it is the
            built-in one of their number: 33 are ``blazepose33``, 17 ``coco17``, 18
            ``openpose18``, 25 ``openpose25`` and 26 ``halpe26``.
        min_score: As in ``read_mediapipe``; scores are also called visibility, confidence,
            likelihood, v or c.
        image_size: As in ``read_mediapipe``; z is then left out.
        unit: Unit of the coordinates: metres, centimetres, millimetres, inches, feet, pixels, body
            lengths, image heights or image widths, or m, cm, mm, in, ft or px for short; by default
            the one in the names of the columns, or else metres, or pixels for 2D. If the names say
            another one, they are wrong, and a note says so.

    Raises:
        SkeletonFormatError: If there is no such file. Wrong files raise only when they are read;
            the message names the file and the line.
        ValueError: If the size of the images is not positive, or the unit is unknown.
    """
    root = Path(path)
    check_image_size(image_size)
    return pose_source(
        "csv",
        root,
        find_recordings(root, ".csv"),
        partial(_read, image_size, unit, skeleton is not None),
        _LAYOUTS,
        skeleton=skeleton,
        min_score=min_score,
        unit=None if unit is None else read_unit(unit),
        by_name=False,
        join=join_body,
    )


class _Table(NamedTuple):
    """A file as it is read.

    Attributes:
        file: The file.
        names: Names of its columns.
        header: What they hold.
        rows: The lines and cells below the header.
        commas: Whether numbers may have a decimal comma, as the separator is another.
        marks: The decimal marks so far, of which a file has one: ``1,234`` is also a thousand.
    """

    file: Path
    names: Sequence[str]
    header: Header
    rows: Iterator[tuple[int, list[str]]]
    commas: bool
    marks: set[str]

    def number(self, cell: str) -> float:
        """Read a number.

        Raises:
            ValueError: If the cell is none, or the file has decimal commas and points.
        """
        if not self.commas:
            return parse_float(cell)
        comma = _COMMA.fullmatch(cell)
        self.marks.update("," * bool(comma) + "." * ("." in cell))
        if len(self.marks) > 1:
            raise ValueError(_BOTH_MARKS)
        return parse_float(cell.replace(",", ".") if comma else cell)


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the separator of cells, then the cells of each row that is not empty, with its line."""
    with open_table(file) as stream:
        delimiter = find_delimiter(stream.readline())
        yield 0, [delimiter]
        stream.seek(0)
        try:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for row in reader:
                if any(row):
                    yield reader.line_num, [cell.strip() for cell in row]
        except csv.Error as error:
            fail(file, f"cannot be read, {error}")


def _read(image_size: ImageSize, unit: str | None, layout_known: bool, file: Path) -> Poses:
    rows = _rows(file)
    _, (delimiter,) = next(rows)
    _, cells = next(rows, (1, []))
    if len(set(cells)) < len(cells):
        fail(file, "line 1", "expected columns of different names")
    try:
        header = read_header(cells)
    except ValueError as error:
        fail(file, "line 1", str(error))
    if header is None:
        what = "expected columns NAME_x, NAME_y of joints, or joint, x, y"
        fail(file, "line 1", f"{what}, got {shown(cells)}")
    if len({"z" in places for places in header.joints.values()}) > 1:
        flat = [name for name, places in header.joints.items() if "z" not in places]
        some = ", ".join(flat[:_SHOWN]) + f" and {len(flat) - _SHOWN} more" * (len(flat) > _SHOWN)
        fail(file, "line 1", f"expected z of all joints or of none, got none of {some:.200}")
    own = _unit(file, header, image_size)
    rows = _checked(file, len(cells), delimiter, rows)
    table = _Table(file, cells, header, rows, commas=delimiter != ",", marks=set())
    times: dict[int, str] = {}
    read = _read_wide if header.joint is None else _read_long
    persons, frames, joints = read(table, times)
    if not frames:
        fail(file, "line 2", "expected rows below the header, got none")
    names = None if all(map(_NUMBER.fullmatch, joints)) else joints
    if names is None and header.kinect and not layout_known:
        what = "expected names of joints in the column JointType, got numbers"
        fail(file, f"{what}; --skeleton says whose, such as --skeleton ntu25 for Kinect v2")
    if image_size is None and unit is None and own is None and _are_shares(persons):
        what = (
            "most x and y are from 0 to 1, shares of an image: expected --image-size WIDTH HEIGHT"
        )
        fail(file, f"{what}, or --unit if they are not")
    scaled = [person._replace(points=in_pixels(person.points, image_size)) for person in persons]
    notes = [f"columns that are not read: {', '.join(header.ignored)}"[:300]]
    fps, why = _rate(table, times)
    notes = notes * bool(header.ignored) + why
    if unit is not None and own not in (None, read_unit(unit)):
        notes.append(f"the names of the columns say {own}: read as {read_unit(unit)} all the same")
    return Poses(scaled, frames, names, fps, notes, own)


def _unit(file: Path, header: Header, image_size: ImageSize) -> str | None:
    """Return the unit that the names of the columns give, if any; pixels if images have a size."""
    if len(header.units) > 1:
        first, second, *_ = header.units.values()
        fail(file, "line 1", f"expected one unit, got {first!r:.60} and {second!r:.60}")
    for unit, name in header.units.items():
        if image_size is not None and unit != "pixels":
            what = "expected shares of an image or pixels, as it has a size"
            fail(file, "line 1", f"{what}, got the column {name!r:.60}")
        return unit
    return None


def _rate(table: _Table, times: Mapping[int, str]) -> tuple[float | None, list[str]]:
    """Return the frame rate that the times of frames give, if any, and a note on them."""
    if table.header.time is None:
        return None, []
    name = table.header.time_name
    values: dict[int, float] = {}
    for number, cell in times.items():
        try:
            values[number] = table.number(cell) if ":" not in cell else read_clock(cell)
        except ValueError:
            fps, why = None, f"{shown(cell)} is no time"
            break
    else:
        clock = any(":" in cell for cell in times.values())
        fps, why = find_rate(values, 1.0 if clock else table.header.per_second)
    if fps is not None and (doubt := other_unit(fps)):
        what = f"the frame rate is that of the column {name:.60}, {fps:g} a second{doubt}"
        return fps, [f"{what}: correct the name, such as time_ms or time_s"]
    if fps is not None:
        return fps, [f"the frame rate is that of the column {name:.60}"]
    advice = "if no file gives a frame rate, --source-fps says it"
    return None, [f"the column {name:.60} gives no frame rate, {why}; {advice}"]


def _checked(
    file: Path, width: int, delimiter: str, rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    for line, row in rows:
        if len(row) != width:
            what = f"expected {width} cells, got {len(row)}"
            maybe = delimiter == "," and len(row) > width
            advice = "; numbers with a decimal comma need semicolons or tabs between the cells"
            fail(file, f"line {line}", what + advice * maybe)
        yield line, row


def _are_shares(persons: Sequence[Person]) -> bool:
    seen = [person.points[person.points.any(-1), :2] for person in persons]
    values = np.concatenate(seen) if seen else np.zeros((0, 2))
    return len(values) > 0 and float(((values >= 0) & (values <= 1)).mean()) >= _SHARES


def _frame(table: _Table, line: int, row: Sequence[str], default: int) -> int:
    if table.header.frame is None:
        return default
    cell = row[table.header.frame]
    if not re.fullmatch(r"-?\d{1,18}(\.0*)?", cell, re.ASCII):
        fail(table.file, f"line {line}", f"expected a number of the frame, got {shown(cell)}")
    return int(cell.partition(".")[0])


def _joint(
    table: _Table, line: int, row: Sequence[str], places: Mapping[str, int]
) -> tuple[list[float], float]:
    """Return the coordinates of a joint, 0 if its cells are empty or NaN, and its score."""
    columns = [places[axis] for axis in ("x", "y", "z") if axis in places]
    if all(row[column].lower() in _MISSING for column in columns):
        return [0.0] * len(columns), 0.0
    values = [_coordinate(table, line, row, column) for column in columns]
    return values, _coordinate(table, line, row, places["score"]) if "score" in places else 1.0


def _coordinate(table: _Table, line: int, row: Sequence[str], column: int) -> float:
    """Return the number in a cell.

    Raises:
        SkeletonFormatError: If it is no finite number; the message names line and column.
    """
    cell = row[column]
    try:
        value = table.number(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        got = f"got {shown(cell)} in the column {table.names[column]!r:.100}"
        what = f"expected finite numbers of a joint, {got}"
        if len(table.marks) > 1:
            what = f"{_BOTH_MARKS}; {got}"
        elif not table.commas and _COMMA.fullmatch(cell):
            what += "; a decimal comma is read only if semicolons or tabs separate the cells"
        elif cell.lower() in _MISSING:
            what += "; a joint that is not seen has no number in any of its cells"
        fail(table.file, f"line {line}", what)
    return value


def _read_wide(table: _Table, times: dict[int, str]) -> tuple[list[Person], list[int], list[str]]:
    """Read a file with a row for each person of a frame; fill in the times of frames."""
    header = table.header
    joints = _in_order(table.file, list(header.joints))
    persons, frames = list[Person](), dict[int, None]()
    by_time: dict[str, int] = {}
    for at, (line, row) in enumerate(table.rows):
        default = at
        if header.time is not None and header.person is not None:
            default = by_time.setdefault(row[header.time], len(by_time))
        frame = _frame(table, line, row, default)
        frames[frame] = None
        if header.time is not None:
            times.setdefault(frame, row[header.time])
        found = [_joint(table, line, row, header.joints[joint]) for joint in joints]
        points = np.array([point for point, _ in found], dtype=np.float64)
        scores = np.array([score for _, score in found], dtype=np.float64)
        if points.any():
            persons.append(Person(frame, points, scores, _track(header, row)))
    _check_persons(table.file, header, persons)
    return persons, list(frames), joints


def _read_long(table: _Table, times: dict[int, str]) -> tuple[list[Person], list[int], list[str]]:
    """Read a file with a row for each joint; fill in the times of frames."""
    file, header = table.file, table.header
    places = header.joints[""]
    cells: dict[tuple[int, str | None], dict[str, tuple[list[float], float]]] = {}
    names: dict[str, None] = {}
    if header.frame is None and header.time is None:
        fail(file, "line 1", "expected a column frame or time in a file with a row for each joint")
    assert header.joint is not None
    by_time: dict[str, int] = {}
    for line, row in table.rows:
        time = "" if header.time is None else row[header.time]
        frame = _frame(table, line, row, by_time.setdefault(time, len(by_time)))
        if header.time is not None:
            times.setdefault(frame, time)
        key = frame, _track(header, row)
        name = row[header.joint]
        person = cells.setdefault(key, {})
        if not name or name in person:
            fail(file, f"line {line}", f"expected a joint once in a frame, got {shown(name)}")
        person[name] = _joint(table, line, row, places)
        names[name] = None
    joints = _in_order(file, list(names))
    nothing = [0.0] * (2 + ("z" in places)), 0.0
    persons = []
    for (frame, track), person in cells.items():
        found = [person.get(joint, nothing) for joint in joints]
        points = np.array([point for point, _ in found], dtype=np.float64)
        scores = np.array([score for _, score in found], dtype=np.float64)
        if points.any():
            persons.append(Person(frame, points, scores, track))
    return persons, list(dict.fromkeys(frame for frame, _ in cells)), joints


def _track(header: Header, row: Sequence[str]) -> str | None:
    return None if header.person is None else row[header.person]


def _check_persons(file: Path, header: Header, persons: Sequence[Person]) -> None:
    """Require that a person has one row in a frame."""
    seen: set[tuple[int, float | str | None]] = set()
    for person in persons:
        key = person.frame, person.track
        if key in seen:
            which = "" if header.person is None else f", person {shown(person.track)}"
            advice = "; a column person tells several persons apart" * (header.person is None)
            fail(file, f"frame {person.frame}{which}", f"expected one row{advice}")
        seen.add(key)


def _in_order(file: Path, joints: list[str]) -> list[str]:
    """Return joints that are numbers in their order, others as they are."""
    if not all(map(_NUMBER.fullmatch, joints)):
        return joints
    numbers = sorted(map(int, joints))
    if numbers not in (list(range(len(joints))), list(range(1, len(joints) + 1))):
        fail(file, f"expected joints numbered from 0 or 1 without gaps, got {shown(numbers)}")
    return sorted(joints, key=int)
