"""NTU RGB+D: a folder of raw Kinect v2 text files, one recording each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Recording, Source
from pcm3.data.readers.shared.names import NTU_ACTIONS, NtuName, ntu_edition, ntu_protocols
from pcm3.data.readers.shared.table import with_table
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.reading import (
    MOST_BYTES,
    check_proportion,
    fail,
    file_or_files,
    parsing,
    read_lines,
)
from pcm3.skeleton import NTU25

Bodies = Literal["place", "tracked"]

_JOINTS = len(NTU25)
_BODY_VALUES, _JOINT_VALUES = 10, 12
_JOINT_COUNT = str(_JOINTS).encode()
_BODY = [_BODY_VALUES, 1] + [_JOINT_VALUES] * _JOINTS  # values in the lines of a body


def detect(path: Path) -> bool:
    """Return whether this is a ``SsssCcccPpppRrrrAaaa.skeleton``, or a folder that holds any."""
    files = file_or_files(path)
    return any(f.suffix == ".skeleton" and NtuName.parse(f.name) is not None for f in files)


@with_table
def read_ntu(
    path: str | Path,
    *,
    ignore: str | Path | None = None,
    edition: Literal[60, 120] | None = None,
    bodies: Bodies = "tracked",
) -> Source:
    """Read NTU RGB+D 60 or 120: ``SsssCcccPpppRrrrAaaa.skeleton`` files, also in sub-folders.

    A file without any body gives frames (T, 0, 25, 3). The label is the action, counted from 0.
    Columns are ``subjects`` (P), ``views`` (camera, C), ``setups`` (S) and ``replications`` (R),
    counted from 1 as in the names. Only positions are read, in metres; the nine other values of a
    joint must be there but are ignored.

    Args:
        path: A folder, or one file.
        ignore: Text file that names the samples to leave out, one per line. The data set comes with
            such a list of missing or incomplete skeletons. The file must name at least one sample.
            Lines that do not begin like a name are comments.
        edition: 60 reads only the samples of NTU RGB+D 60, 120 those of both editions. NTU RGB+D
            60 has actions up to A060 and setups up to S017. By default the edition is 120 if an
            action is above A060. The edition determines the classes and the protocols: ``xsub``
            and ``xview``, or ``xsub`` and ``xset``.
        bodies: Bodies by id (tracked) or by place in each frame's list (place, default for isc).
            With ``"tracked"``, a slot holds the body with one id, in the order in which the ids
            appear. With ``"place"``, it holds the body at one place of each frame's list, whatever
            its id, like the published ``"isc"`` data; if ids change or bodies leave, a slot mixes
            persons.

    Raises:
        SkeletonFormatError: If there is no file. A file that has another name or does not follow
            the format raises only when it is read; the message names the line.
        ValueError: If ``edition`` or ``bodies`` is unknown.
    """
    if edition not in (None, 60, 120):
        raise ValueError(f"expected edition 60 or 120, got {edition!r}")
    if bodies not in get_args(Bodies):
        raise ValueError(f"expected bodies 'place' or 'tracked', got {bodies!r}")
    root = Path(path)
    ignored = frozenset[str]() if ignore is None else _ignored_names(Path(ignore))
    listed = [file for file in file_or_files(root) if file.suffix == ".skeleton"]
    files = [file for file in listed if file.stem not in ignored]
    unmatched = len(ignored - {file.stem for file in listed})
    why = [f"named in {Path(str(ignore)).name}"] if ignored else []
    names = {file: name for file in files if (name := _known_name(file))}  # others fail when read
    if edition == 60:
        beyond = {f for f, name in names.items() if name.action > 60 or name.setups > 17}
        files = [file for file in files if file not in beyond]
        names = {file: name for file, name in names.items() if file not in beyond}
        why += ["beyond NTU RGB+D 60"] if beyond else []
    if files and not names:
        _parse_name(files[0])
    if not names:
        which = " of NTU RGB+D 60 (up to A060 and S017)" if edition == 60 else ""
        left = f" besides those that {ignore} names" if ignored else ""
        fail(root, f"expected .skeleton files{which}, found none{left}")
    edition = edition or ntu_edition(names.values())
    return Source(
        format="ntu",
        skeleton=NTU25,
        class_names=NTU_ACTIONS[:edition],
        units=sorted(files, key=lambda file: (file.name, file)),
        read=partial(_read_unit, tracked=bodies == "tracked"),
        persons=2,
        bodies=bodies,
        protocols=ntu_protocols(edition),
        fps=30.0,
        about=f"NTU RGB+D {edition}",
        licence="academic research only, no redistribution; see the data set's release agreement",
        left_out=len(listed) - len(files),
        left_out_why=" or ".join(why),
        notes=[f"{unmatched:,} of {len(ignored):,} names in {Path(str(ignore)).name} match no file"]
        if unmatched
        else [],
    )


def _ignored_names(file: Path) -> frozenset[str]:
    names = set()
    for number, line in enumerate(read_lines(file), 1):
        name = line.strip().removesuffix(".skeleton")
        if NtuName.parse(name):
            names.add(name)
        elif re.match(r"S\d", name):
            what = f"expected a name like S001C002P003R002A013, got {name!r}"
            fail(file, f"line {number}", what)
    if not names:
        fail(file, "expected names like S001C002P003R002A013, found none")
    return frozenset(names)


def _known_name(file: Path) -> NtuName | None:
    name = NtuName.parse(file.name)
    return name if name and min(name) >= 1 and name.action <= len(NTU_ACTIONS) else None


def _parse_name(file: Path) -> NtuName:
    name = _known_name(file)
    if name is None:
        what = "expected a name SsssCcccPpppRrrrAaaa.skeleton, numbers from 1"
        fail(file, f"{what}, actions up to {len(NTU_ACTIONS)}")
    return name


def _read_unit(file: Path, tracked: bool) -> Iterator[Recording]:
    name = _parse_name(file)
    frames = _read_frames(file, tracked)
    yield Recording(frames, name.action - 1, name.columns, name=file.stem)


def _read_frames(file: Path, tracked: bool) -> NDArray[np.float32]:
    """Read positions (T, B, 25, 3), bodies in order of first appearance."""
    try:
        data = regular(file, MOST_BYTES).read_bytes()
    except OSError as error:
        fail(file, f"cannot be read, {error}")
    try:
        return _parse(_Text(file, data), tracked)
    except (SkeletonFormatError, ArithmeticError, LookupError, ValueError):
        # the only problem may be white space other than single spaces
        tidy = b"\n".join(b" ".join(line.split()) for line in data.split(b"\n"))
        with parsing(file):
            return _parse(_Text(file, tidy.rstrip()), tracked)


def _parse(text: _Text, tracked: bool) -> NDArray[np.float32]:
    length, bodies = _walk(text, tracked)
    slots: dict[int, int] = {}
    for _, body, _ in bodies:
        slots.setdefault(body, len(slots))
    shape = length, len(slots), _JOINTS, 3
    check_proportion(text.file, shape)
    frames = np.zeros(shape, dtype=np.float32)
    if bodies:
        times = [frame for frame, _, _ in bodies]
        places = [slots[body] for _, body, _ in bodies]
        lines = np.add.outer([line for _, _, line in bodies], np.arange(_JOINTS))
        frames[times, places] = text.positions(lines.ravel()).reshape(-1, _JOINTS, 3)
    return frames


def _walk(text: _Text, tracked: bool) -> tuple[int, list[tuple[int, int, int]]]:
    """Return the number of frames, and frame, id or place, and first joint line of each body."""
    length = text.integer(0, 1, "the number of frames")
    bodies: list[tuple[int, int, int]] = []
    line = 1
    for frame in range(length):
        seen = set()
        count = text.integer(line, 1, "the number of bodies", frame)
        line += 1
        for place in range(count):
            body = text.integer(line, _BODY_VALUES, "a body", frame)
            body = body if tracked else place
            if body in seen:
                text.fail(line, f"body {body} is twice in frame {frame}")
            seen.add(body)
            if text.counts[line : line + len(_BODY)] != _BODY or not text.has_joints(line + 1):
                joints = text.integer(line + 1, 1, "the number of joints")
                if joints != _JOINTS:
                    text.fail(line + 1, f"expected {_JOINTS} joints, got {joints}")
                text.expect_rows(line + 2, _JOINTS, _JOINT_VALUES, "a joint")
            bodies.append((frame, body, line + 2))
            line += 2 + _JOINTS
    if line < len(text.counts):
        text.fail(line, f"expected the end of the file after {length} frames")
    return length, bodies


class _Text:
    """A text file with lines of numbers, separated by single spaces.

    Only numbers that are needed are parsed, by ``integer`` and ``positions``. ``starts`` and
    ``ends`` are the bounds of the lines, and ``counts`` holds the number of values of each line.
    """

    def __init__(self, file: Path, data: bytes) -> None:
        if not data or data.isspace():
            fail(file, "the file is empty")
        self.file, self.data = file, data + b"\n" * _WINDOW
        self.raw = np.frombuffer(self.data, np.uint8)
        length = len(data) + (not data.endswith(b"\n"))
        blanks = np.flatnonzero(self.raw[:length] <= ord(" "))
        kinds = self.raw[blanks]
        is_space, is_end = kinds == ord(" "), kinds == ord("\n")
        joined = np.diff(blanks) == 1
        is_return = np.append((kinds[:-1] == ord("\r")) & joined & is_end[1:], False)
        if not (is_space | is_end | is_return).all() or (is_space[:-1] & joined).any():
            raise ValueError("expected single spaces between values")
        rows = np.flatnonzero(is_end)
        spaces = np.cumsum(is_space, dtype=np.int32)[rows]  # up to the end of each line
        ends = blanks[rows]
        self.first = np.concatenate(([0], ends[:-1] + 1))
        self.counts = (np.diff(spaces, prepend=0) + 1).tolist()
        self.starts, self.ends = self.first.tolist(), ends.tolist()

    def fail(self, line: int, what: str) -> NoReturn:
        fail(self.file, f"line {line + 1}", what)

    def expect_rows(self, line: int, rows: int, values: int, what: str) -> None:
        """Require that these lines exist and have this number of values."""
        counts = self.counts[line : line + rows]
        if counts == [values] * rows:
            return
        what = f"expected {what}, {values} value{'' if values == 1 else 's'}"
        for at, count in enumerate(counts, line):
            if count != values:
                self.fail(at, f"{what}, got {count}")
        self.fail(len(self.counts), f"{what}, but the file ends")

    def has_joints(self, line: int) -> bool:
        """Return whether a line is exactly the number of joints, ``25``."""
        return self.data[self.starts[line] : self.ends[line]].rstrip() == _JOINT_COUNT

    def integer(self, line: int, values: int, what: str, frame: int | None = None) -> int:
        """Read the first value of a line with this many values, an integer >= 0 of any size."""
        if line >= len(self.counts) or self.counts[line] != values:
            self.expect_rows(line, 1, values, _of(what, frame))
        value = self.data[self.starts[line] : self.ends[line]].partition(b" ")[0].rstrip()
        if not value.isdigit() or len(value) > 20:
            self.fail(line, f"expected {_of(what, frame)}, an integer, got {_show(value)}")
        return int(value)

    def positions(self, lines: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the first three values (lines, 3) of lines with more values."""
        first = self.first[lines]
        windows = np.lib.stride_tricks.sliding_window_view(self.raw, _WINDOW)[first]
        spaces = windows == ord(" ")
        lengths = []
        for _ in range(3):
            lengths.append(spaces.argmax(1))
            spaces[np.arange(len(first)), lengths[-1]] = False
        ends = np.stack([first + length for length in lengths])
        starts = np.concatenate([first[None], ends[:-1] + 1])
        numbers, odd = _decimals(self.raw, starts.ravel(), ends.ravel())
        positions = numbers.reshape(3, -1).T
        odd_lines = odd.reshape(3, -1).any(0) | (lengths[2] == 0)  # no third space there
        for at in np.flatnonzero(odd_lines).tolist():
            positions[at] = self._three_floats(int(lines[at]))
        return positions.astype(np.float32)

    def _three_floats(self, line: int) -> list[float]:
        values = self.data[self.starts[line] : self.ends[line]].split(b" ")[:3]
        numbers = []
        for value in values:
            try:
                number = float(value.replace(b"_", b"?"))  # refuse 1_000, a number in Python
            except ValueError:
                number = math.nan
            if not abs(number) <= _LARGEST:
                self.fail(line, f"expected a finite number, got {_show(value)}")
            numbers.append(number)
        return numbers


_LARGEST = float(np.finfo(np.float32).max)
_WINDOW = 48  # three numbers of up to 15 characters
_WIDTH = 15  # number of decimal digits that a float64 holds exactly
_PLACES = np.arange(_WIDTH - 1, -1, -1, dtype=np.uint8)[:, None]  # of a right-aligned number
_POWERS = 10.0 ** np.arange(_WIDTH + 1)


def _decimals(
    raw: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Parse decimals such as ``-0.2181153`` at these places of a text, rounded as ``float`` does.

    All numbers are parsed together: the digits of a number form one integer, which is divided by a
    power of ten. Both are exact in float64, so the quotient is rounded correctly. Other notations
    (exponents, more than 15 characters) and words are left to the caller.

    Returns:
        The numbers, and a mask of the places with something else.
    """
    windows = np.lib.stride_tricks.sliding_window_view(raw, _WIDTH)[ends - _WIDTH]
    columns = np.ascontiguousarray(windows.T)  # (15, numbers), right-aligned
    lengths = ends - starts
    inside = np.minimum(lengths, _WIDTH).astype(np.uint8) > _PLACES
    digits = columns - np.uint8(ord("0"))
    is_digit = (digits < 10) & inside
    is_point = (columns == ord(".")) & inside
    points = is_point.sum(0, dtype=np.uint8)
    decimals = (is_point * _PLACES).sum(0, dtype=np.uint8) % _WIDTH
    minus = raw[starts] == ord("-")
    count = is_digit.sum(0, dtype=np.uint8)
    odd = (count + points + minus != lengths) | (points > 1) | (count == 0)
    integers = _POWERS[_PLACES[:, 0]] @ (digits * is_digit)  # with a 0 for the point
    whole = np.floor(integers / _POWERS[decimals + 1]) * points
    numbers = (integers - whole * _POWERS[decimals] * 9) / _POWERS[decimals]
    return np.where(minus, -numbers, numbers), odd


def _of(what: str, frame: int | None) -> str:
    return what if frame is None else f"{what} of frame {frame}"


def _show(value: bytes) -> str:
    return repr(value[:40].decode("ascii", "replace"))
