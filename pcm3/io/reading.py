"""Helpers of readers: errors that name the place, searches of folders, text and ``.npy`` files."""

from __future__ import annotations

import math
import os
import reprlib
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular

MOST_COLUMNS = 1000
"""Largest number of columns of a table; each is an array in each part of a store."""

MOST_BYTES = 1 << 30
"""Largest size in memory of an array, a sequence or a text. The size of a file is no limit,
because it may be compressed or sparse."""


def format_error(file: Path, *words: str) -> SkeletonFormatError:
    """Make an error with the message ``file: place: what``."""
    return SkeletonFormatError(": ".join([str(file), *words]))


def fail(file: Path, *words: str) -> NoReturn:
    """Raise ``format_error``."""
    raise format_error(file, *words) from None


@contextmanager
def parsing(file: Path, *place: str) -> Iterator[None]:
    """Turn any exception of the block into a format error, because a broken file may raise any."""
    try:
        yield
    except SkeletonFormatError:
        raise
    except Exception as error:
        fail(file, *place, f"cannot be read, {type(error).__name__}: {error}")


def is_store(folder: Path) -> bool:
    """Return whether a folder is a store, as ``pcm3 prepare`` writes."""
    meta = folder / "meta.json"
    try:
        return meta.is_file() and b'"pcm3-store"' in meta.read_bytes()
    except OSError:
        return False


def files_below(folder: Path, *, recursive: bool = True) -> Iterator[Path]:
    """Yield the files in a folder and, after them, those below it, searched lazily.

    Hidden files and folders, stores, and folders that cannot be listed are skipped. Links to
    folders are followed last, and each folder is visited once. Broken links, pipes and devices
    count as files and raise an error when they are read.
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
                with suppress(OSError):  # a link to a place without permission to read
                    path = here / entry.name
                    if not entry.is_dir():
                        yield path
                    elif recursive and not is_store(path):
                        (links if entry.is_symlink() else folders).append(path)
        if not folders:
            folders, links = deque(sorted(links)), []


def is_there(path: Path) -> bool:
    """Return whether the path exists and is not a folder; broken links count."""
    try:
        return os.path.lexists(path) and not path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Return whether the path is a file; False if that cannot be found out."""
    try:
        return path.is_file()
    except OSError:
        return False


def file_or_files(path: Path) -> Iterator[Path]:
    """Iterate over the file itself, or over the files below a folder."""
    return iter([path]) if is_file(path) else files_below(path)


def kinds_of(path: Path) -> str:
    """Count the files of a path by their suffixes, such as ``3 .xlsx files, 1 .csv file``.

    Of a large folder only the first 10,000 files are counted.
    """
    suffixes = (file.suffix.lower() for file in islice(file_or_files(path), _MOST_COUNTED))
    counts = Counter(suffixes).most_common()
    named = [
        f"{count:,} {suffix} file{'s' * (count > 1)}".replace("  ", " ")
        for suffix, count in counts[:_KINDS_SHOWN]
    ]
    return ", ".join([*named, *["other files"] * (len(counts) > _KINDS_SHOWN)]) or "none"


_MOST_COUNTED = 10_000
_KINDS_SHOWN = 4


def read_lines(file: Path) -> list[str]:
    """Read the lines of a text file; undecodable bytes are replaced.

    Raises:
        SkeletonFormatError: If the file cannot be read.
    """
    try:
        text = regular(file, MOST_BYTES).read_text(encoding="utf-8-sig", errors="replace")
        return text.splitlines()
    except OSError as error:
        fail(file, f"cannot be read, {error}")


def check_proportion(file: Path, shape: tuple[int, ...]) -> None:
    """Require room for float32 coordinates of this shape, see ``check_room``.

    Raises:
        SkeletonFormatError: If they are too large for the file.
    """
    check_room(file, 4 * math.prod(shape), f"frames, persons, joints and coordinates {shape}")


def check_room(file: Path, size: int, *place: str) -> None:
    """Require that the memory for the content of a file is in proportion to its size on disk.

    Args:
        file: The file; holes in a sparse file do not count.
        size: Bytes that are needed, at once or one after the other.
        place: Place in the file that needs them, for the error.

    Raises:
        SkeletonFormatError: If the size is more than 64 MiB and more than 16 times that of the
            file.
    """
    try:
        most = most_bytes(file)
    except OSError as error:
        fail(file, f"cannot be read, {error}")
    if size > most:
        fail(file, *place, f"expected at most {most:,} bytes of such a file, got {size:,}")


def most_bytes(*files: Path) -> int:
    """Return the number of bytes that ``check_room`` allows for the content of files.

    Raises:
        OSError: If a file is gone.
    """
    total = 0
    for status in (file.stat() for file in files):
        blocks: int = getattr(status, "st_blocks", 0)  # some file systems do not give it
        total += min(status.st_size, 512 * blocks or status.st_size)
    return max(1 << 26, 16 * total)


SEQUENCE_BYTES = 512
"""Bytes that ``prepare`` needs for each sequence of any length, for ``check_room``."""


def parse_float(word: str) -> float:
    """Parse a word as ``float`` does, but refuse ``1_000`` and digits of other scripts.

    Raises:
        ValueError: If the word is not a number.
    """
    if "_" in word or not word.isascii():
        raise ValueError(f"expected a number, got {word[:40]!r}")
    return float(word)


def check_text(file: Path, key: str, array: NDArray[Any]) -> None:
    """Require valid characters in an array of strings, as invalid ones may crash Python.

    Raises:
        SkeletonFormatError: If a string holds numbers that are not characters.
    """
    if array.dtype.kind == "U" and array.size:
        numbers = np.frombuffer(array.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if numbers.max() > sys.maxunicode:
            fail(file, key, "expected text, got numbers that are not characters")


def shown(value: object) -> str:
    """Shorten a value for a message."""
    try:
        return f"{reprlib.repr(value):.60}"
    except ValueError:  # an integer of very many digits
        return type(value).__name__


def open_npy(file: Path) -> NDArray[Any]:
    """Open the array of a ``.npy``, memory-mapped.

    Raises:
        SkeletonFormatError: If the file is not a ``.npy``, or holds Python objects.
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


class Range(NamedTuple):
    """A unit: a range of the sequences of a file, or of its array ``key``."""

    file: Path
    start: int
    end: int
    key: str = ""


def ranges(file: Path, count: int, key: str = "") -> list[Range]:
    """Return units of 256 sequences each that cover a file."""
    return [Range(file, at, min(at + 256, count), key) for at in range(0, count, 256)]
