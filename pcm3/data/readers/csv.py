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
from pcm3.data.readers.shared.poses import (
    Person,
    Poses,
    detect_text,
    find_recordings,
    pose_source,
)
from pcm3.data.readers.shared.table import with_table
from pcm3.data.units import read_unit
from pcm3.io.files import regular
from pcm3.io.reading import MOST_BYTES, fail, parse_float, shown
from pcm3.skeleton import BLAZEPOSE33, COCO17, HALPE26, OPENPOSE18, OPENPOSE25, Skeleton
from pcm3.skeleton.words import normal_name

_LAYOUTS = {
    (len(layout), coordinates): layout
    for layout in (BLAZEPOSE33, HALPE26, OPENPOSE25, OPENPOSE18, COCO17)
    for coordinates in (2, 3)
}
_FRAME = ("frame", "frameid", "frameindex", "framenumber", "frameidx")
_PERSON = ("person", "personid", "trackid")
_JOINT = ("joint", "jointname", "landmark", "landmarkname", "keypoint", "keypointname", "bodypart")
_SCORE = ("score", "confidence", "visibility", "likelihood", "v", "c")
_KINDS = "|".join(("x", "y", "z", *_SCORE))
_BEFORE = re.compile(rf"(.+)[_. ]({_KINDS})", re.IGNORECASE | re.DOTALL)  # nose_x
_AFTER = re.compile(rf"({_KINDS})[_. ]?(\d+)", re.IGNORECASE | re.ASCII)  # x_0, x0
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_SHARES = 0.9
"""Share of coordinates from 0 to 1 from which they are shares of an image."""


class _Columns(NamedTuple):
    """Places of the columns of a file.

    Attributes:
        frame: Of the number of the frame, or None.
        person: Of the id of the person, or None.
        joint: Of the joint in long files, or None.
        joints: For each joint, or for the one of long files, places of ``x``, ``y``, ``z`` and
            ``score``.
        ignored: Names of the others.
    """

    frame: int | None
    person: int | None
    joint: int | None
    joints: Mapping[str, Mapping[str, int]]
    ignored: Sequence[str]


def detect(path: Path) -> bool:
    """Return whether this is a ``.csv`` with coordinates of joints, or a folder with one."""
    return detect_text(path, ".csv", _has_coordinates)


def _has_coordinates(text: str) -> bool:
    line = text.splitlines()[0] if text else ""
    return _find_columns([cell.strip() for cell in line.split(_delimiter(line))]) is not None


def _delimiter(line: str) -> str:
    return next((mark for mark in (";", "\t") if mark in line), ",")


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
    ``NAME_z`` and ``NAME_score`` for each joint, or, as dumps of MediaPipe, ``x_0``, ``y_0``,
    ``z_0``, ``visibility_0``, or ``x1``, ``y1``, ... from 0 or 1. A long file has a row for each
    joint, with the columns ``joint`` (name or number), ``x``, ``y`` and maybe ``z`` and ``score``.
    ``frame`` and ``person`` may say whose row it is; without ``frame`` each row of a wide file is
    a frame, without ``person`` there is one person. A joint without numbers is not seen. Cells
    are separated by commas, semicolons or tabs. Other columns are not read.

    Args:
        path: A file, or a folder whose ``.csv`` files are read, also those in sub-folders.
        skeleton: Layout of the joints. By default it is the built-in one with their names, or of
            their number, if they have no names: 33 are ``blazepose33``, 17 ``coco17``, 18
            ``openpose18``, 25 ``openpose25`` and 26 ``halpe26``.
        min_score: As in ``read_mediapipe``; scores are also called visibility, confidence,
            likelihood, v or c.
        image_size: As in ``read_mediapipe``; z is then left out.
        unit: Unit of the coordinates, see ``units.read_unit``; by default metres, or pixels for
            2D.

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
        partial(_read, image_size, unit is not None),
        _LAYOUTS,
        skeleton=skeleton,
        min_score=min_score,
        unit=None if unit is None else read_unit(unit),
        by_name=False,
    )


def _find_columns(header: Sequence[str]) -> _Columns | None:
    """Find the columns; None if there are no coordinates."""
    names = [normal_name(cell) for cell in header]
    frame, person, joint = (
        next((at for at, name in enumerate(names) if name in known), None)
        for known in (_FRAME, _PERSON, _JOINT)
    )
    joints: dict[str, dict[str, int]] = {}
    used = {place for place in (frame, person, joint) if place is not None}
    for at, cell in enumerate(header):
        if at in used:
            continue
        if joint is not None:
            parts = ("", cell) if re.fullmatch(_KINDS, cell, re.IGNORECASE) else None
        elif match := _AFTER.fullmatch(cell):
            parts = (match[2], match[1])
        else:
            match = _BEFORE.fullmatch(cell)
            parts = (match[1], match[2]) if match else None
        if parts is not None:
            kind = parts[1].lower()
            kind = kind if kind in ("x", "y", "z") else "score"
            if joints.setdefault(parts[0], {}).setdefault(kind, at) == at:
                used.add(at)
    joints = {name: places for name, places in joints.items() if {"x", "y"} <= places.keys()}
    used -= {at for at in used if at not in (frame, person, joint)}
    used |= {at for places in joints.values() for at in places.values()}
    ignored = [cell for at, cell in enumerate(header) if at not in used]
    return _Columns(frame, person, joint, joints, ignored) if joints else None


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not empty, with its line."""
    try:
        with regular(file, MOST_BYTES).open(encoding="utf-8-sig", newline="") as stream:
            delimiter = _delimiter(stream.readline())
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for row in reader:
                if any(row):
                    yield reader.line_num, [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fail(file, f"cannot be read, {error}")


def _read(image_size: ImageSize, known_unit: bool, file: Path) -> Poses:
    rows = _rows(file)
    _, header = next(rows, (1, []))
    if len(set(header)) < len(header):
        fail(file, "line 1", "expected columns of different names")
    columns = _find_columns(header)
    if columns is None:
        what = "expected columns NAME_x, NAME_y of joints, or joint, x, y"
        fail(file, "line 1", f"{what}, got {shown(header)}")
    widths = {"z" in places for places in columns.joints.values()}
    if len(widths) > 1:
        fail(file, "line 1", "expected z of all joints or of none")
    read = _read_wide if columns.joint is None else _read_long
    persons, frames, joints = read(file, columns, _checked(file, len(header), rows))
    if not frames:
        fail(file, "line 2", "expected rows below the header, got none")
    if image_size is None and not known_unit and _are_shares(persons):
        what = (
            "most x and y are from 0 to 1, shares of an image: expected --image-size WIDTH HEIGHT"
        )
        fail(file, f"{what}, or --unit if they are not")
    scaled = [person._replace(points=in_pixels(person.points, image_size)) for person in persons]
    notes = [f"columns that are not read: {', '.join(columns.ignored)}"[:300]]
    names = None if all(map(_NUMBER.fullmatch, joints)) else joints
    return Poses(scaled, frames, names, notes=notes * bool(columns.ignored))


def _checked(
    file: Path, width: int, rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    for line, row in rows:
        if len(row) != width:
            fail(file, f"line {line}", f"expected {width} cells, got {len(row)}")
        yield line, row


def _are_shares(persons: Sequence[Person]) -> bool:
    seen = [person.points[person.points.any(-1), :2] for person in persons]
    values = np.concatenate(seen) if seen else np.zeros((0, 2))
    return len(values) > 0 and float(((values >= 0) & (values <= 1)).mean()) >= _SHARES


def _frame(file: Path, line: int, columns: _Columns, row: Sequence[str], default: int) -> int:
    if columns.frame is None:
        return default
    cell = row[columns.frame]
    if not re.fullmatch(r"-?\d{1,18}(\.0*)?", cell, re.ASCII):
        fail(file, f"line {line}", f"expected a number of the frame, got {shown(cell)}")
    return int(cell.partition(".")[0])


def _joint(
    file: Path, line: int, row: Sequence[str], places: Mapping[str, int]
) -> tuple[list[float], float]:
    """Return the coordinates of a joint, 0 if its cells are empty, and its score."""
    cells = [row[places[axis]] for axis in ("x", "y", "z") if axis in places]
    if not any(cells):
        return [0.0] * len(cells), 0.0
    score = row[places["score"]] if "score" in places else "1"
    try:
        values = [parse_float(cell) for cell in (*cells, score)]
    except ValueError:
        values = [np.nan]
    if not np.isfinite(values).all():
        got = ", ".join((*cells, score))
        fail(file, f"line {line}", f"expected finite numbers of a joint, got {shown(got)}")
    return values[:-1], values[-1]


def _read_wide(
    file: Path, columns: _Columns, rows: Iterator[tuple[int, list[str]]]
) -> tuple[list[Person], list[int], list[str]]:
    joints = _in_order(file, list(columns.joints))
    persons, frames = list[Person](), dict[int, None]()
    for at, (line, row) in enumerate(rows):
        frame = _frame(file, line, columns, row, at)
        frames[frame] = None
        found = [_joint(file, line, row, columns.joints[joint]) for joint in joints]
        points = np.array([point for point, _ in found], dtype=np.float64)
        scores = np.array([score for _, score in found], dtype=np.float64)
        if points.any():
            persons.append(Person(frame, points, scores, _track(columns, row)))
    _check_persons(file, columns, persons)
    return persons, list(frames), joints


def _read_long(
    file: Path, columns: _Columns, rows: Iterator[tuple[int, list[str]]]
) -> tuple[list[Person], list[int], list[str]]:
    places = columns.joints[""]
    cells: dict[tuple[int, str | None], dict[str, tuple[list[float], float]]] = {}
    names: dict[str, None] = {}
    if columns.frame is None:
        fail(file, "line 1", "expected a column frame in a file with a row for each joint")
    assert columns.joint is not None
    for line, row in rows:
        key = _frame(file, line, columns, row, 0), _track(columns, row)
        name = row[columns.joint]
        person = cells.setdefault(key, {})
        if not name or name in person:
            fail(file, f"line {line}", f"expected a joint once in a frame, got {shown(name)}")
        person[name] = _joint(file, line, row, places)
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


def _track(columns: _Columns, row: Sequence[str]) -> str | None:
    return None if columns.person is None else row[columns.person]


def _check_persons(file: Path, columns: _Columns, persons: Sequence[Person]) -> None:
    """Require that a person has one row in a frame."""
    seen: set[tuple[int, float | str | None]] = set()
    for person in persons:
        key = person.frame, person.track
        if key in seen:
            which = "" if columns.person is None else f", person {shown(person.track)}"
            advice = "; a column person tells several persons apart" * (columns.person is None)
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
