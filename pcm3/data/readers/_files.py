"""What several readers do with files and the coordinates in them."""

from __future__ import annotations

import math
import os
import re
import reprlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3._files import regular
from pcm3.data.readers.base import Recording
from pcm3.errors import SkeletonFormatError

MOST_CLASSES = 10_000
"""Labels from here on are taken for codes."""

MOST_BYTES = 1 << 30
"""What is in memory at once, an array, a sequence or a text, may be as large, whatever the size of
its file: that of one that is packed tightly, or has holes, says nothing."""

MOST_COLUMNS = 1000
"""Columns of a table; each is an array of its own in every part of a store."""

MOST_FPS = 100_000
"""Frames per second, far above any camera's."""


def format_error(file: Path, *words: str) -> SkeletonFormatError:
    """An error that names file and place, ``file: place: what``."""
    return SkeletonFormatError(": ".join([str(file), *words]))


def fail(file: Path, *words: str) -> NoReturn:
    """Raise ``format_error``."""
    raise format_error(file, *words) from None


@contextmanager
def parsing(file: Path, *place: str) -> Iterator[None]:
    """Whatever is raised inside is the fault of the file; a broken one may raise anything."""
    try:
        yield
    except SkeletonFormatError:
        raise
    except Exception as error:
        fail(file, *place, f"cannot be read, {type(error).__name__}: {error}")


def or_error(read: Callable[..., Recording], *args: Any) -> Recording | SkeletonFormatError:
    """The recording that ``read(*args)`` gives, or the error that it raises."""
    try:
        return read(*args)
    except SkeletonFormatError as error:
        return error


def is_store(folder: Path) -> bool:
    """Whether a folder is what ``pcm3 prepare`` wrote."""
    meta = folder / "meta.json"
    try:
        return meta.is_file() and b'"pcm3-store"' in meta.read_bytes()
    except OSError:
        return False


def files_below(folder: Path, *, recursive: bool = True) -> Iterator[Path]:
    """The files in a folder and those below it, its own first, found as they are asked for.

    Hidden files and folders and stores are passed over, and so is what cannot be listed. Links to
    folders are followed, after all else and each folder once, whatever links lead to it. Links to
    nothing, pipes and devices count as files: it shows when they are read.
    """
    folders, links, seen = deque([folder]), list[Path](), set[tuple[int, int]]()
    while folders:
        here = folders.popleft()
        with suppress(OSError):
            status = here.stat()
            identity = status.st_dev, status.st_ino
            entries = [] if identity in seen else list(os.scandir(here))
            seen.add(identity)
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(OSError):  # a link to where nothing may be read
                    path = here / entry.name
                    if not entry.is_dir():
                        yield path
                    elif recursive and not is_store(path):
                        (links if entry.is_symlink() else folders).append(path)
        if not folders:
            folders, links = deque(sorted(links)), []


def is_there(path: Path) -> bool:
    """Whether there is a file, or what is none, a link to nothing say; it shows when it is read."""
    try:
        return os.path.lexists(path) and not path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file; False also where one may not look."""
    try:
        return path.is_file()
    except OSError:
        return False


def file_or_files(path: Path) -> Iterator[Path]:
    """A file itself, or those below a folder."""
    return iter([path]) if is_file(path) else files_below(path)


def read_lines(file: Path) -> list[str]:
    """The lines of a text; undecodable bytes are replaced.

    Raises:
        SkeletonFormatError: If the file cannot be read.
    """
    try:
        text = regular(file, MOST_BYTES).read_text(encoding="utf-8-sig", errors="replace")
        return text.splitlines()
    except OSError as error:
        fail(file, f"cannot be read, {error}")


def check_proportion(file: Path, shape: tuple[int, ...]) -> None:
    """``check_room`` for float32 coordinates of this shape.

    Raises:
        SkeletonFormatError: If they take too much.
    """
    check_room(file, 4 * math.prod(shape), f"frames, persons, joints and coordinates {shape}")


def check_room(file: Path, size: int, *place: str) -> None:
    """Require that what is made of a file is in proportion to what it takes on the disk.

    Args:
        file: Holes in it take nothing.
        size: Bytes that are to be taken, at once or one after the other.
        place: What takes them, for the error.

    Raises:
        SkeletonFormatError: If they are above 64 MiB, and above 16 times those of the file.
    """
    try:
        most = most_bytes(file)
    except OSError as error:
        fail(file, f"cannot be read, {error}")
    if size > most:
        fail(file, *place, f"expected at most {most:,} bytes of such a file, got {size:,}")


def most_bytes(file: Path) -> int:
    """What ``check_room`` allows.

    Raises:
        OSError: If there is no such file any more.
    """
    status = file.stat()
    blocks: int = getattr(status, "st_blocks", 0)  # some file systems do not say it
    return max(1 << 26, 16 * min(status.st_size, 512 * blocks or status.st_size))


SEQUENCE_BYTES = 512
"""What preparing keeps of a sequence, whatever its length, for ``check_room``."""


def parse_float(word: str) -> float:
    """``float`` of what a file means by a number: no ``1_000``, no digits of other scripts.

    Raises:
        ValueError: If it is none.
    """
    if "_" in word or not word.isascii():
        raise ValueError(f"expected a number, got {word[:40]!r}")
    return float(word)


def check_text(file: Path, key: str, array: NDArray[Any]) -> None:
    """NumPy makes strings of any bytes, and Python may crash on what is no text.

    Raises:
        SkeletonFormatError: If an array of strings holds what are no letters.
    """
    if array.dtype.kind == "U" and array.size:
        numbers = np.frombuffer(array.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if numbers.max() > sys.maxunicode:
            fail(file, key, "expected text, got numbers that are no letters")


def shown(value: object) -> str:
    """A value as a message shows it, however large it is."""
    try:
        return f"{reprlib.repr(value):.60}"
    except ValueError:  # an integer of very many digits
        return type(value).__name__


class NumberedFiles(NamedTuple):
    """The files of a folder, not of those below it, whose names are numbers of a recording.

    Attributes:
        pattern: Such names for errors, ``aAA_sSS.json`` say.
        name: The same as an expression, a group for every number, the action first.
        actions: Numbers of the actions.
    """

    pattern: str
    name: re.Pattern[str]
    actions: Sequence[int]

    def numbers(self, file: Path) -> list[int]:
        """The numbers in the name of a file; none where it is another name."""
        match = self.name.fullmatch(file.name)
        return [int(number) for number in match.groups()] if match else []

    def any_in(self, folder: Path) -> bool:
        """Whether there are any."""
        return any(self.numbers(file) for file in files_below(folder, recursive=False))

    def find(self, folder: Path) -> list[Path]:
        """All of them, by their numbers.

        Raises:
            SkeletonFormatError: If there are none.
        """
        if not folder.is_dir():
            fail(folder, "no such folder")
        numbered = [(self.numbers(f), f) for f in files_below(folder, recursive=False)]
        found = sorted((numbers, file) for numbers, file in numbered if numbers)
        if not found:
            fail(folder, f"expected files named {self.pattern}, found none")
        return [file for _, file in found]

    def checked(self, file: Path) -> list[int]:
        """The numbers in the name of one of them.

        Raises:
            SkeletonFormatError: If the action is unknown.
        """
        numbers = self.numbers(file)
        if numbers[0] not in self.actions:
            known = ", ".join(map(str, self.actions))
            fail(file, f"expected an action among {known}, got {numbers[0]}")
        return numbers


class Range(NamedTuple):
    """A unit: some of the sequences of a file, of its array ``key`` where it has several."""

    file: Path
    start: int
    end: int
    key: str = ""


def ranges(file: Path, count: int, key: str = "") -> list[Range]:
    """All sequences of a file, 256 in a unit."""
    return [Range(file, at, min(at + 256, count), key) for at in range(0, count, 256)]


def open_npy(file: Path) -> NDArray[Any]:
    """The array of a ``.npy``, still on disk.

    Raises:
        SkeletonFormatError: If it is none, or holds Python objects.
    """
    try:
        array = np.load(regular(file), mmap_mode="r", allow_pickle=False)
    except SkeletonFormatError:
        raise
    except Exception as error:  # a broken file may raise anything
        fail(file, f"not a readable .npy of numbers, {error}")
    if not isinstance(array, np.ndarray):
        fail(file, "expected one array, got an .npz")
    return array


def not_finite(frames: NDArray[np.floating]) -> str | None:
    """Where the first NaN or infinity of (T, M, V, C) is, None where there is none."""
    finite = np.isfinite(frames)
    if finite.all():
        return None
    frame, person, joint, _ = np.argwhere(~finite)[0].tolist()
    return f"frame {frame}, person {person}, joint {joint}"


def unpadded(frames: NDArray[Any]) -> NDArray[Any]:
    """Without the zeros after the last frame; one frame is kept."""
    used = np.flatnonzero(frames.any(axis=tuple(range(1, frames.ndim))))
    return frames[: int(used[-1]) + 1 if len(used) else 1]


def one_person(file: Path, key: str, values: ArrayLike) -> NDArray[np.float32]:
    """Coordinates (T, 20, 3) of one person as (T, 1, 20, 3) float32.

    Raises:
        SkeletonFormatError: If they are of another shape or not finite.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            array = np.asarray(values, dtype=np.float32)
    except Exception as error:  # of lists of anything
        fail(file, key, f"expected numbers, {error}")
    if array.ndim != 3 or array.shape[1:] != (20, 3) or len(array) == 0:
        fail(file, key, f"expected (T, 20, 3), got {array.shape}")
    frames = np.ascontiguousarray(array[:, None])
    if where := not_finite(frames):
        fail(file, key, f"NaN or infinity in {where}")
    return frames


def check_rate(name: str, value: float) -> float:
    """Frames per second.

    Raises:
        ValueError: If it is not a number above 0, or more than 100,000.
    """
    if not 0 < value <= MOST_FPS:
        raise ValueError(f"expected {name} above 0, at most {MOST_FPS:,}, got {value}")
    return float(value)


def group_rates(rates: Iterable[tuple[float, str]]) -> dict[float, str]:
    """Different frame rates, each with the first name that has it.

    Rates within half a per cent are one: files round the time between their frames.
    """
    found: dict[float, str] = {}
    for rate, name in rates:
        if not any(is_same_rate(rate, other) for other in found):
            found[rate] = name
    return found


def is_same_rate(one: float, other: float) -> bool:
    """Whether two frame rates differ by less than half a per cent."""
    return abs(one - other) < 0.005 * max(one, other)
