"""Headers of CSV files of joints: which column has which coordinate of which joint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pcm3.data.units import UNITS, full_name
from pcm3.skeleton.words import normal_name

_FRAME = ("frame", "frameid", "frameindex", "framenumber", "frameidx")
_PERSON = ("person", "personid", "trackid", "bodyid")
_JOINT = (
    *("joint", "jointname", "jointtype", "landmark", "landmarkname", "keypoint", "keypointname"),
    "bodypart",
)
_UNIT_OF_TIME = (
    "s secs? seconds? ms msecs? millis milliseconds? us usecs? microseconds? ns nsecs? nanoseconds?"
).replace(" ", "|")
_TIME = re.compile(  # time, Timestamp (ms), time_s, elapsed time
    rf"(?:(?:elapsed|relative)[_. ]?)?(?:time(?:[_. ]?stamp)?|t)"
    rf"(?:[_. ]*[_. (\[](?P<unit>{_UNIT_OF_TIME})[)\]]?)?|(?P<alone>seconds|milliseconds|ms)",
    re.IGNORECASE,
)
_A_SECOND = {"ms": 1e3, "mi": 1e3, "us": 1e6, "ns": 1e9, "na": 1e9}
"""Units of time in a second, by the first letters of their names; of microseconds see below."""
_SCORE = ("score", "confidence", "visibility", "likelihood", "v", "c")
_KINDS = "|".join(("x", "y", "z", *_SCORE))
_UNIT = re.compile(r"(.*\S)\s*[\[(]\s*(\w+)\s*[\])]", re.DOTALL)  # nose_x (mm)
_POSITION = "(?:pos(?:ition)?[_. ]?)?"
_BEFORE = re.compile(  # nose_x, nose.X, nose_PosX
    rf"(?P<name>.+?)[_. ]{_POSITION}(?P<kind>{_KINDS})", re.IGNORECASE | re.DOTALL
)
_AFTER = re.compile(  # X_nose, x_0, x0
    rf"(?P<kind>{_KINDS})(?:[_. ](?P<name>.+)|(?P<number>\d+))",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_ALONE = re.compile(rf"{_POSITION}(?P<kind>{_KINDS})", re.IGNORECASE)  # x


class Header(NamedTuple):
    """Places of the columns of a file.

    Attributes:
        frame: Of the number of the frame, or None.
        person: Of the id of the person, or None.
        joint: Of the joint in long files, or None.
        time: Of the time of the frame, or None.
        per_second: Units of the time in a second, if the name of its column tells.
        joints: For each joint, or for the one of long files, places of ``x``, ``y``, ``z`` and
            ``score``.
        units: Units of the coordinates that the names of columns give, each with one such name.
        ignored: Names of the others.
        time_name: Name of the column of the time; empty without one.
        kinect: Whether the column of the joint is called as that of the Kinect SDK, whose joints
            have numbers of their own.
    """

    frame: int | None
    person: int | None
    joint: int | None
    time: int | None
    per_second: float | None
    joints: Mapping[str, Mapping[str, int]]
    units: Mapping[str, str]
    ignored: Sequence[str]
    time_name: str
    kinect: bool


class _Cell(NamedTuple):
    """What a column of coordinates holds."""

    joint: str
    kind: str
    unit: str | None


def read_header(cells: Sequence[str]) -> Header | None:
    """Find the columns; None if there are no coordinates.

    If some columns are named like ``nose_x``, others like ``x_nose``, those of more joints count.

    Raises:
        ValueError: If both have as many joints.
    """
    names = [normal_name(cell) for cell in cells]
    frame, person, joint = (
        next((at for at, name in enumerate(names) if name in known), None)
        for known in (_FRAME, _PERSON, _JOINT)
    )
    time, per_second = _find_time(cells)
    special = {frame, person, joint, time} - {None}
    styles = [_BEFORE, _AFTER] if joint is None else [_ALONE]
    found = [
        _complete({at: _read(style, cell) for at, cell in enumerate(cells) if at not in special})
        for style in styles
    ]
    most = max(map(len, found))
    if not most:
        return None
    found = [joints for joints in found if len(joints) == most]
    if len(found) > 1:
        one, other = (cells[next(iter(joints.values()))["x"].place] for joints in found)
        raise ValueError(f"expected names of one kind, got {one!r:.60} and {other!r:.60}")
    used = special | {cell.place for places in found[0].values() for cell in places.values()}
    units = {
        cell.unit: cells[cell.place]
        for places in found[0].values()
        for cell in places.values()
        if cell.unit is not None
    }
    joints = {
        name: {kind: cell.place for kind, cell in places.items()}
        for name, places in found[0].items()
    }
    ignored = [cell for at, cell in enumerate(cells) if at not in used]
    time_name = "" if time is None else cells[time]
    kinect = joint is not None and names[joint] == "jointtype"
    return Header(
        *(frame, person, joint, time, per_second, joints, units, ignored, time_name, kinect)
    )


class _Place(NamedTuple):
    place: int
    unit: str | None


def _read(style: re.Pattern[str], cell: str) -> _Cell | None:
    """Read the name of a column in one of the styles, with its unit in brackets."""
    unit = None
    if (match := _UNIT.fullmatch(cell)) and full_name(match[2]) in UNITS:
        cell, unit = match[1], full_name(match[2])
    if not (match := style.fullmatch(cell)):
        return None
    parts, kind = match.groupdict(), match["kind"].lower()
    kind = kind if kind in ("x", "y", "z") else "score"
    return _Cell(parts.get("name") or parts.get("number") or "", kind, unit)


def _complete(cells: Mapping[int, _Cell | None]) -> dict[str, dict[str, _Place]]:
    """Return the joints that have x and y, with the first column of each kind."""
    joints: dict[str, dict[str, _Place]] = {}
    for at, cell in cells.items():
        if cell is not None:
            joints.setdefault(cell.joint, {}).setdefault(cell.kind, _Place(at, cell.unit))
    return {name: places for name, places in joints.items() if {"x", "y"} <= places.keys()}


def _find_time(cells: Sequence[str]) -> tuple[int | None, float | None]:
    for at, cell in enumerate(cells):
        if match := _TIME.fullmatch(cell):
            unit = (match["unit"] or match["alone"] or "").lower()
            if unit.startswith("micro"):
                return at, 1e6
            return at, _A_SECOND.get(unit[:2], 1.0) if unit else None
    return None, None
