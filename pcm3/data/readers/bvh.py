"""BVH motion capture: one file or a folder of them."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Recording, Source, not_finite
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.readers.shared.poses import EACH_LAYOUT
from pcm3.data.readers.shared.table import TABLE, named_files, with_table
from pcm3.data.resample import MOST_FPS, group_rates
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.reading import (
    MOST_BYTES,
    check_proportion,
    fail,
    file_or_files,
    format_error,
    kinds_of,
    parse_float,
    parsing,
)
from pcm3.skeleton import Skeleton

_CHANNELS = frozenset(f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation"))
_MOST_JOINTS = 1000
_LONGEST = 1000.0  # seconds between frames
_AT_ORIGIN = 1e-9  # metres; all joints are seen, but 0 would mean that one is not


class _Joint(NamedTuple):
    name: str
    parent: int
    offset: list[float]
    channels: list[str]


class _Header(NamedTuple):
    joints: list[_Joint]
    frames: int
    fps: float
    first_row: int

    @property
    def layout(self) -> list[tuple[str, int]]:
        """Names and parents."""
        return [(joint.name, joint.parent) for joint in self.joints]


class _First(NamedTuple):
    """The first readable file, whose joints all files must have."""

    file: Path
    layout: list[tuple[str, int]]


def detect(path: Path) -> bool:
    """Return whether this is a ``.bvh`` file or a folder that holds any."""
    return next(iter(_files(path)), None) is not None


@with_table
def read_bvh(
    path: str | Path,
    *,
    unit_scale: float = 0.01,
    count_rows: bool = False,
    skeleton: str | Path | Skeleton | None = None,
) -> Source:
    """Read BVH files of one hierarchy: joint positions by forward kinematics, in metres.

    Files are read word by word, regardless of line breaks, and regardless of case except in
    names. Rotations are applied in the order of a joint's channels, relative to its parent.
    Position channels replace the offset on their axis. Every ``End Site`` is a joint named
    ``PARENT_end``, or ``PARENT_end2``, ... if the parent has several. Recordings are named after
    their files; labels and columns come from ``labels.csv`` in the folder, see ``with_table``.

    Args:
        path: A file, or a folder whose ``.bvh`` files are read, also those in sub-folders.
        unit_scale: Metres per unit of the file. Most files use centimetres, some inches (0.0254).
        count_rows: Read all frames of the file, even if the header gives another number.
        skeleton: Parts, mirror and centre to use instead of those derived from the names of the
            joints, see ``choose_layout``.

    Raises:
        SkeletonFormatError: If the first hierarchy is not that of a human. A file that is wrong or
            has another hierarchy raises only when it is read; the message names file and line.
        ValueError: If ``unit_scale`` is not positive.
    """
    if not unit_scale > 0:
        raise ValueError(f"expected unit_scale > 0, got {unit_scale}")
    root = Path(path)
    files = sorted(_files(root))
    if not files:
        fail(root, f"expected .bvh files, found {kinds_of(root)}")
    first, rates, errors = None, list[tuple[float, str]](), list[SkeletonFormatError]()
    for file in named_files(root, files):
        try:
            with _opened(file) as stream:
                header = _read_header(file, stream)
        except SkeletonFormatError as error:
            errors.append(error)
            continue
        first = first or _First(file, header.layout)
        if header.layout == first.layout:
            rates.append((header.fps, file.name))
    if first is None:
        raise errors[0] if errors else format_error(root, f"{TABLE} names none of its .bvh files")
    names, parents = zip(*first.layout, strict=True)
    try:
        layout = (
            Skeleton.from_parents(names, parents, name="bvh")
            if skeleton is None
            else choose_layout(skeleton, names, parents)
        )
    except SkeletonFormatError:
        raise
    except ValueError as error:
        fail(first.file, str(error))
    different = group_rates(rates)
    return Source(
        format="bvh",
        skeleton=layout,
        class_names=(),
        units=files,
        read=partial(_read_unit, unit_scale, count_rows, first),
        fps=next(iter(different)) if len(different) == 1 else None,
        rates=different if len(different) > 1 else {},
        about=f"BVH, {root.resolve().name}",
    )


def _files(path: Path) -> Iterator[Path]:
    return (file for file in file_or_files(path) if file.suffix.lower() == ".bvh")


def _fail(file: Path, row: int, what: str) -> NoReturn:
    fail(file, f"line {row + 1}", what)


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    try:
        with regular(file, MOST_BYTES).open(encoding="utf-8-sig", errors="replace") as stream:
            yield stream
    except OSError as error:
        fail(file, f"cannot be read, {error}")


class _Words:
    """The words of a text and their rows; braces are words of their own."""

    def __init__(self, file: Path, stream: TextIO) -> None:
        self.file, self.row, self._stream = file, 0, stream
        self._read, self._left, self._blanks = 0, deque[str](), ""

    def fail(self, what: str) -> NoReturn:
        _fail(self.file, self.row, what)

    def next(self) -> str:
        """Return the next word, "" at the end."""
        while not self._left:
            if not (line := self._stream.readline()):
                return ""
            self._read += 1
            self._left.extend(self._split(line))
        self.row = self._read - 1
        return self._left.popleft()

    def rest(self) -> list[str]:
        """Return the words up to the end of the row or the next brace."""
        words = []
        while self._left and self._left[0] not in ("{", "}"):
            words.append(self._left.popleft())
        return words

    def numbers(self, count: int) -> list[float]:
        """Read the next ``count`` words as finite numbers."""
        words = [self.next() for _ in range(count)]
        try:
            values = [parse_float(word) for word in words]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            self.fail(f"expected {count} finite numbers, got {' '.join(words)[:60]!r}")
        return values

    def drop_colons(self) -> None:
        """Treat colons as blanks from here on; before, they may be part of a name."""
        self._blanks = ":"
        self._left = deque(word for text in self._left for word in self._split(text))

    def _split(self, text: str) -> list[str]:
        for brace in "{}":
            text = text.replace(brace, f" {brace} ")
        return (text.replace(self._blanks, " ") if self._blanks else text).split()


def _read_header(file: Path, stream: TextIO) -> _Header:
    """Read the hierarchy and the header of the motion, up to the first row of numbers."""
    words = _Words(file, stream)
    joints = _read_hierarchy(words)
    words.drop_colons()
    values: list[float] = []
    for name in (["frames"], ["frame", "time"]):
        read = [words.next() for _ in name]
        if [word.lower() for word in read] != name:
            words.fail(f"expected {' '.join(name)}:, got {' '.join(read)[:60] or 'the end'!r}")
        values += words.numbers(1)
    frames, frame_time = values
    if frames < 1 or frames != int(frames) or not 1 / MOST_FPS <= frame_time <= _LONGEST:
        words.fail(f"expected frames and a frame time, got {frames} and {frame_time}")
    if extra := words.rest():
        words.fail(f"expected the first frame on a new line, got {' '.join(extra)[:60]!r}")
    rate = 1 / frame_time
    whole = round(rate)  # the rate, if the frame time is rounded
    rate = whole if abs(rate - whole) < 5e-4 * rate else round(rate, 3)
    return _Header(joints, int(frames), float(rate), words.row + 1)


def _read_hierarchy(words: _Words) -> list[_Joint]:
    """Read all joints, up to and including the word MOTION."""
    joints: list[_Joint] = []
    ends: Counter[str] = Counter()
    inside: list[int] = []  # joints that are open
    while (key := words.next().upper()) != "MOTION":
        at = inside[-1] if inside else -1
        if not key:
            words.fail("expected MOTION, the file ends")
        elif key in ("ROOT", "JOINT", "END"):
            joints.append(_open_joint(words, key, joints, at, ends))
            inside.append(len(joints) - 1)
        elif key == "}" and inside:
            if not joints[inside.pop()].offset:
                words.fail(f"joint {joints[at].name} has no OFFSET")
        elif key == "OFFSET" and inside and not joints[at].offset:
            joints[at].offset.extend(words.numbers(3))
        elif key == "CHANNELS" and inside and not joints[at].channels:
            joints[at].channels.extend(_read_channels(words))
        elif key != "HIERARCHY" or joints:
            words.fail(f"unexpected {' '.join([key, *words.rest()])[:60]!r} in HIERARCHY")
    if inside or not joints:
        words.fail("expected a complete HIERARCHY with one ROOT before MOTION")
    if not any(joint.channels for joint in joints):
        words.fail("expected CHANNELS, found none")
    return joints


def _open_joint(
    words: _Words, key: str, joints: list[_Joint], parent: int, ends: Counter[str]
) -> _Joint:
    """Read a joint up to its brace; ``ends`` counts the end sites of each parent."""
    name = " ".join(words.rest())
    if (key == "ROOT") != (not joints) or (key != "ROOT" and parent < 0) or not name:
        words.fail(f"{key} is out of place; expected one ROOT, JOINT and End inside it")
    if words.next() != "{":
        words.fail(f"expected a brace after {key} {name[:60]}")
    if len(joints) == _MOST_JOINTS:
        words.fail(f"expected at most {_MOST_JOINTS:,} joints")
    if key == "END":
        name = f"{joints[parent].name}_end"
        ends[name] += 1
        name += str(ends[name]) if ends[name] > 1 else ""
    return _Joint(name, parent, [], [])


def _read_channels(words: _Words) -> list[str]:
    count = words.next()
    if not re.fullmatch(r"[0-9]{1,2}", count):
        words.fail(f"expected the number of channels, got {count[:60]!r}")
    channels = [words.next() for _ in range(int(count))]
    names = [name.capitalize() for name in channels]
    if not _CHANNELS.issuperset(names):
        what = "expected as many of Xposition, Xrotation, ..."
        words.fail(f"{what} as CHANNELS says, {count}, got {' '.join(channels)[:60]!r}")
    return names


def _read_unit(
    unit_scale: float, count_rows: bool, first: _First, file: Path
) -> Iterator[Recording]:
    with _opened(file) as stream:
        header = _read_header(file, stream)
        text = stream.read()
    if header.layout != first.layout:
        fail(file, f"its joints differ from those of {first.file}; {EACH_LAYOUT}")
    width = sum(len(joint.channels) for joint in header.joints)
    values = _read_motion(file, header.first_row, text)
    rows, rest = divmod(len(values), width)
    last = header.first_row + len(text.splitlines()) - 1
    if rest or rows != header.frames:
        _check_rows(file, header, width, text)
    if rest:
        _fail(file, last, f"expected frames of {width} numbers, got {rest} after {rows} frames")
    if rows == 0 or (rows != header.frames and not count_rows):
        advice = "; --count-rows reads those in the file" if rows else ""
        _fail(file, last, f"expected {header.frames} frames, got {rows}{advice}")
    check_proportion(file, (rows, 1, len(header.joints), 3))
    with parsing(file), np.errstate(over="ignore", invalid="ignore"):
        positions = _positions(header.joints, values.reshape(rows, width))
        frames = (positions * unit_scale).astype(np.float32)[:, None]
    frames[~frames.any(-1)] = _AT_ORIGIN
    if where := not_finite(frames):
        fail(file, f"coordinates overflow float32 in {where}")
    notes = ["other numbers of frames than in the headers, all read"] * (rows != header.frames)
    yield Recording(frames, name=file.stem, fps=header.fps, notes=notes)


def _check_rows(file: Path, header: _Header, width: int, text: str) -> None:
    """Require frames of the right width if the file has one in each row, as most have.

    They have if there are as many rows as frames, or most rows have the right width.
    """
    counts = {row: len(line.split()) for row, line in enumerate(text.split("\n"), header.first_row)}
    counts = {row: count for row, count in counts.items() if count}
    right = sum(count == width for count in counts.values())
    if len(counts) == header.frames or 2 * right > len(counts):
        for row, count in counts.items():
            if count != width:
                _fail(file, row, f"expected {width} numbers, as the channels are, got {count}")


def _read_motion(file: Path, first_row: int, text: str) -> NDArray[np.float64]:
    """Read the numbers of all frames of the file."""
    try:
        if not text.isascii() or "_" in text:
            raise ValueError
        values = np.array(list(map(float, text.split())), dtype=np.float64)
    except ValueError:
        values = np.array([math.nan])
    if not np.isfinite(values).all():
        _explain(file, first_row, text)
    return values


def _explain(file: Path, first_row: int, text: str) -> NoReturn:
    """Raise an error that names the first word that is not a number."""
    for row, line in enumerate(text.split("\n"), first_row):
        for word in line.split():
            try:
                finite = math.isfinite(parse_float(word))
            except ValueError:
                finite = False
            if not finite:
                _fail(file, row, f"expected finite numbers, got {word[:60]!r}")
    fail(file, "expected finite numbers")


def _positions(joints: list[_Joint], motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute world positions (T, V, 3) of the joints from their channels (T, channels)."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 - slow, for one format

    positions = np.zeros((len(motion), len(joints), 3))
    rotations: list[Rotation] = []
    column = 0
    for index, joint in enumerate(joints):
        local = np.tile(np.array(joint.offset), (len(motion), 1))
        turn = Rotation.identity(len(motion))
        for channel in joint.channels:
            values = motion[:, column, None]
            column += 1
            if channel.endswith("position"):
                local[:, "XYZ".index(channel[0])] = values[:, 0]
            else:
                turn = turn * Rotation.from_euler(channel[0].lower(), values, degrees=True)
        if joint.parent < 0:
            positions[:, index] = local
            rotations.append(turn)
        else:
            parent = rotations[joint.parent]
            positions[:, index] = positions[:, joint.parent] + parent.apply(local)
            rotations.append(parent * turn)
    return positions
