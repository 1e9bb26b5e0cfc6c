"""Arrays in an ``.npz`` that are too large to load."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3._files import regular
from pcm3.data.readers._files import (
    MOST_BYTES,
    Range,
    check_text,
    fail,
    most_bytes,
    ranges,
)
from pcm3.errors import SkeletonFormatError

# What zipfile raises for files that are damaged, encrypted or packed by a way it does not know.
_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class NpzArray(NamedTuple):
    """An array in an ``.npz`` of which only the head has been read.

    Attributes:
        file: The ``.npz``.
        key: The array's name in it.
        shape: Its shape; sequences lie end to end along the first axis.
        dtype: Its dtype.
        stored: Whether it is not compressed, so that any part of it can be read.
        begin: Where its numbers begin: in the file if stored, else in the unpacked array.
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: bool
    begin: int

    def units(self, count: int) -> list[Range]:
        """All sequences; in one unit if the array is compressed."""
        whole = [Range(self.file, 0, count, self.key)]
        return ranges(self.file, count, self.key) if self.stored else whole

    def sequences(self, lengths: NDArray[np.int64], unit: Range) -> Iterator[NDArray[Any]]:
        """The sequences of a unit, one in memory at a time.

        Args:
            lengths: Rows of every sequence (N,).
            unit: Which.

        Raises:
            SkeletonFormatError: Naming the sequence, if it cannot be read.
        """
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        index = unit.start
        try:
            most = min(MOST_BYTES, most_bytes(self.file))
            with self._open() as stream:
                stream.seek(self.begin + int(lengths[: unit.start].sum()) * row)
                for index in range(unit.start, unit.end):
                    size = int(lengths[index]) * row
                    if size > most:
                        what = f"expected at most {most:,} bytes of such a file, got {size:,}"
                        fail(self.file, self.key, f"sequence {index}", what)
                    raw = stream.read(size)
                    if len(raw) != size:
                        fail(self.file, self.key, f"the file ends inside sequence {index}")
                    yield np.frombuffer(raw, self.dtype).reshape(-1, *self.shape[1:])
        except _ERRORS as error:
            fail(self.file, self.key, f"sequence {index} cannot be read, {error}")

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        if self.stored:
            with self.file.open("rb") as stream:
                yield stream
        else:
            with (
                zipfile.ZipFile(self.file) as archive,
                archive.open(f"{self.key}.npy") as stream,
            ):
                yield stream


def npz_keys(file: Path) -> list[str]:
    """Names of the arrays in an ``.npz``; none where it is no such file, or cut short."""
    try:
        with zipfile.ZipFile(regular(file)) as archive:
            names = archive.namelist()
    except Exception:  # a broken file may raise anything
        return []
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def why_unreadable(file: Path) -> str:
    """What is wrong with an ``.npz`` without keys."""
    try:
        with zipfile.ZipFile(regular(file)):
            return "an .npz without arrays"
    except Exception as error:
        return f"not a readable .npz, or cut short: {error}"


def load_npz(
    file: Path, required: Sequence[str], large: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, NpzArray]]:
    """The named arrays of an ``.npz``; of the large ones only the head, and others are not read.

    The checksum of a large array that is not compressed is compared here, once.

    Raises:
        SkeletonFormatError: If it is none, lacks an array, or an array cannot be read, is damaged
            or of Python objects; or a large one is not in C order; or another larger than 1 GiB,
            or all others together out of proportion, see ``check_room``.
    """
    if not regular(file).exists():
        fail(file, "no such file")
    keys = npz_keys(file)
    if not keys:
        fail(file, why_unreadable(file))
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        fail(file, twice[0], "expected one array of this name, found several")
    wanted = {*required, *optional} - {*large}
    there = {*keys}
    if missing := [key for key in required if key not in there]:
        fail(file, ", ".join(missing), f"missing; the file has {', '.join(keys)}")
    arrays, heads, key = {}, {}, keys[0]
    try:
        with zipfile.ZipFile(file) as archive:
            left = most_bytes(file)  # for all of them together
            for key in keys:
                if key in wanted:
                    arrays[key] = _read_array(archive, file, key, left)
                    left -= arrays[key].nbytes
                    check_text(file, key, arrays[key])
        for key in large:
            heads[key] = _read_head(file, key)
            if heads[key].stored:
                _compare_checksum(file, key)
    except SkeletonFormatError:
        raise
    except Exception as error:  # a broken file may raise anything
        fail(file, key, f"cannot be read, {error}")
    return arrays, heads


class Head(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def other_arrays(file: Path, known: Collection[str]) -> dict[str, Head]:
    """The heads of the arrays in an ``.npz`` that are not known by name.

    Raises:
        SkeletonFormatError: If one of them cannot be read, or is not as large as its head says.
    """
    heads, key = {}, ""
    try:
        with zipfile.ZipFile(file) as archive:
            for key in npz_keys(file):
                if key not in known:
                    heads[key] = _check_size(archive, file, key)
    except SkeletonFormatError:
        raise
    except Exception as error:  # a broken file may raise anything
        fail(file, key, f"cannot be read, {error}")
    return heads


def _compare_checksum(file: Path, key: str) -> None:
    """Later, parts of the array are read, which says nothing of the rest."""
    with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as stream:
        while stream.read(1 << 20):  # raises at the end
            pass


def _read_array(archive: zipfile.ZipFile, file: Path, key: str, most: int) -> NDArray[Any]:
    """The member ``key.npy``; NumPy would take one called ``key`` alone before it."""
    head = _check_size(archive, file, key)
    if head.size > (most := min(most, MOST_BYTES)):
        what = f"expected at most {most:,} bytes more of such a file, got {head.size:,}"
        fail(file, key, what)
    with archive.open(f"{key}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def read_words(file: Path, key: str, array: NDArray[Any]) -> list[str]:
    """The words of an array (N,) of text, of bytes in UTF-8 or of integers.

    Raises:
        SkeletonFormatError: If it is of something else, or no UTF-8.
    """
    if array.dtype.kind not in "USiu":
        fail(file, key, f"expected words, got {array.dtype} {array.shape}")
    values = array.tolist()
    try:
        return [each.decode() if isinstance(each, bytes) else str(each) for each in values]
    except UnicodeDecodeError as error:
        fail(file, key, f"expected words in UTF-8, {error}")


def _check_size(archive: zipfile.ZipFile, file: Path, key: str) -> Head:
    """NumPy makes room for what the head of an array says, before it reads the rest."""
    member = archive.getinfo(f"{key}.npy")
    with archive.open(member) as stream:
        shape, _, dtype = _parse_head(file, key, stream)
        size = stream.tell() + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and size != member.file_size:
        fail(file, key, f"expected {size} bytes for {dtype} {shape}, got {member.file_size}")
    return Head(shape, dtype)


def _parse_head(
    file: Path, key: str, stream: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran's order, and dtype."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        fail(file, key, f"expected .npy version 1.0 or 2.0, got {version}")
    if min(shape, default=0) < 0:
        fail(file, key, f"expected sizes from 0, got {shape}")
    return shape, fortran_order, dtype


def _read_head(file: Path, key: str) -> NpzArray:
    with zipfile.ZipFile(file) as archive:
        member = archive.getinfo(f"{key}.npy")
        with archive.open(member) as stream:
            shape, fortran_order, dtype = _parse_head(file, key, stream)
            begin = stream.tell()
    if fortran_order:
        fail(file, key, f"expected C order; save it as np.ascontiguousarray({key})")
    size = begin + math.prod(shape) * dtype.itemsize
    if size != member.file_size:
        what = f"expected {size} bytes for {dtype} {shape}, got {member.file_size}"
        fail(file, key, what)
    stored = member.compress_type == zipfile.ZIP_STORED
    if stored:  # behind the member's local header: 30 bytes, its name and extra field
        with file.open("rb") as raw:
            raw.seek(member.header_offset + 26)
            begin += member.header_offset + 30 + sum(struct.unpack("<2H", raw.read(4)))
    return NpzArray(file, key, shape, dtype, stored, begin)
