"""Arrays in an ``.npz``; large arrays are read in parts."""

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

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.pickles import read_plain_pickle
from pcm3.io.reading import (
    MOST_BYTES,
    Range,
    check_room,
    check_text,
    fail,
    most_bytes,
    ranges,
)

# errors of zipfile for files that are damaged, encrypted or packed in an unknown way
_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class NpzArray(NamedTuple):
    """An array in an ``.npz``; only its header has been read.

    Attributes:
        file: The ``.npz``.
        key: Name of the array.
        shape: Shape of the array; sequences lie end to end along the first axis.
        dtype: Dtype of the array.
        stored: Whether the array is uncompressed, so that any part of it can be read.
        begin: Offset of the numbers, in the file if stored, else in the decompressed member.
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: bool
    begin: int

    def units(self, count: int) -> list[Range]:
        """Return the units of all sequences; a single one if the array is compressed."""
        whole = [Range(self.file, 0, count, self.key)]
        return ranges(self.file, count, self.key) if self.stored else whole

    def sequences(self, lengths: NDArray[np.int64], unit: Range) -> Iterator[NDArray[Any]]:
        """Yield the sequences of a unit, one in memory at a time.

        Args:
            lengths: Number of rows of every sequence (N,).
            unit: The unit.

        Raises:
            SkeletonFormatError: If a sequence cannot be read; the message names it.
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
    """Return the names of the arrays in an ``.npz``; empty if the file is another or cut short."""
    try:
        with zipfile.ZipFile(regular(file)) as archive:
            names = archive.namelist()
    except Exception:  # a broken file may raise anything
        return []
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def why_unreadable(file: Path) -> str:
    """Say what is wrong with an ``.npz`` that has no keys."""
    try:
        with zipfile.ZipFile(regular(file)):
            return "an .npz without arrays"
    except zipfile.BadZipFile:
        return "not a readable .npz: expected a zip archive of arrays, whole and not cut short"
    except Exception as error:
        return f"not a readable .npz, or cut short: {error}"


def load_npz(
    file: Path, required: Sequence[str], large: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, NpzArray]]:
    """Load arrays of an ``.npz``, but only the headers of the large ones.

    The checksum of a large array that is not compressed is verified here, once.

    Raises:
        SkeletonFormatError: If the file is not an ``.npz`` or lacks an array; if an array cannot be
            read, is damaged or holds Python objects; if a large array is not in C order, another
            one is larger than 1 GiB, or all others together are out of proportion to the file, see
            ``check_room``.
    """
    if not regular(file).exists():
        fail(file, "no such file")
    keys = npz_keys(file)
    if not keys:
        fail(file, why_unreadable(file))
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        fail(file, twice[0], "expected one array of this name, found several")
    whole = {*required, *optional} - {*large}
    present = {*keys}
    if missing := [key for key in required if key not in present]:
        fail(file, ", ".join(missing), f"missing; the file has {', '.join(keys)}")
    arrays, heads, key = {}, {}, keys[0]
    try:
        with zipfile.ZipFile(file) as archive:
            left = most_bytes(file)  # for all arrays together
            for key in keys:
                if key in whole:
                    arrays[key] = _read_array(archive, file, key, left)
                    left -= arrays[key].nbytes
                    check_text(file, key, arrays[key])
        for key in large:
            heads[key] = _find_array(file, key)
            if heads[key].stored:
                with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as stream:
                    while stream.read(1 << 20):  # raises at the end if the checksum is wrong
                        pass
    except SkeletonFormatError:
        raise
    except Exception as error:  # a broken file may raise anything
        fail(file, key, f"cannot be read, {error}")
    return arrays, heads


def load_objects(file: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[Any]:
    """Load arrays () of one Python object each, such as dicts that ``np.savez`` has saved.

    They are pickles, which are read without running code, see ``load_plain_pickle``.

    Returns:
        The objects in the order of the names; None for an optional one that the file lacks.

    Raises:
        SkeletonFormatError: If the file is not an ``.npz`` or lacks an array; if an array is
            damaged, holds something else, or is out of proportion to the file, see ``check_room``.
    """
    keys = npz_keys(file)
    if not keys:
        fail(file, why_unreadable(file))
    if missing := [key for key in required if key not in keys]:
        fail(file, ", ".join(missing), f"missing; the file has {', '.join(keys)}")
    found: list[Any] = []
    for key in (*required, *optional):
        if key not in keys:
            found.append(None)
            continue
        try:
            with zipfile.ZipFile(file) as archive:
                head = _read_head(archive, file, key)
                if head.shape != () or not head.dtype.hasobject:
                    fail(file, key, f"expected a dict, got {head.dtype} {head.shape}")
                size = archive.getinfo(f"{key}.npy").file_size
                check_room(file, size, key)
                with archive.open(f"{key}.npy") as stream:
                    stream.seek(head.begin)
                    found.append(read_plain_pickle(stream, size, f"{file}: {key}"))
        except SkeletonFormatError:
            raise
        except Exception as error:  # a broken file may raise anything
            fail(file, key, f"cannot be read, {error}")
    return found


class Head(NamedTuple):
    """The header of an array.

    Attributes:
        shape: Shape of the array.
        dtype: Dtype of the array.
        fortran_order: Whether the first axis varies fastest.
        begin: Offset of the numbers in the decompressed member.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    begin: int

    @property
    def size(self) -> int:
        """Size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def other_arrays(file: Path, known: Collection[str]) -> dict[str, Head]:
    """Read the headers of the arrays in an ``.npz`` other than the known ones.

    Raises:
        SkeletonFormatError: If one cannot be read, or its size does not match its header.
    """
    heads, key = {}, ""
    try:
        with zipfile.ZipFile(file) as archive:
            for key in npz_keys(file):
                if key not in known:
                    heads[key] = _read_head(archive, file, key)
    except SkeletonFormatError:
        raise
    except Exception as error:  # a broken file may raise anything
        fail(file, key, f"cannot be read, {error}")
    return heads


def _read_array(archive: zipfile.ZipFile, file: Path, key: str, most: int) -> NDArray[Any]:
    """Read the member ``key.npy``, even if there is one named ``key``, which NumPy would prefer."""
    head = _read_head(archive, file, key)
    if head.size > (most := min(most, MOST_BYTES)):
        what = f"expected at most {most:,} bytes more of such a file, got {head.size:,}"
        fail(file, key, what)
    with archive.open(f"{key}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def read_words(file: Path, key: str, array: NDArray[Any]) -> list[str]:
    """Convert an array (N,) of text, of bytes in UTF-8 or of integers to words.

    Raises:
        SkeletonFormatError: If the array holds something else, or bytes that are not UTF-8.
    """
    if array.dtype.kind not in "USiu":
        fail(file, key, f"expected words, got {array.dtype} {array.shape}")
    values = array.tolist()
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    except UnicodeDecodeError as error:
        fail(file, key, f"expected words in UTF-8, {error}")


def _read_head(archive: zipfile.ZipFile, file: Path, key: str) -> Head:
    """Read a header, and check it against the size of the member before NumPy allocates memory."""
    member = archive.getinfo(f"{key}.npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            fail(file, key, f"expected .npy version 1.0 or 2.0, got {version}")
        if min(shape, default=0) < 0:
            fail(file, key, f"expected sizes from 0, got {shape}")
        head = Head(shape, dtype, fortran_order, stream.tell())
    size = head.begin + head.size
    if not dtype.hasobject and size != member.file_size:
        fail(file, key, f"expected {size} bytes for {dtype} {shape}, got {member.file_size}")
    return head


def _find_array(file: Path, key: str) -> NpzArray:
    """Read the header of a large array, and find where its numbers begin."""
    with zipfile.ZipFile(file) as archive:
        head, member = _read_head(archive, file, key), archive.getinfo(f"{key}.npy")
    if head.fortran_order:
        fail(file, key, f"expected C order; save it as np.ascontiguousarray({key})")
    stored, begin = member.compress_type == zipfile.ZIP_STORED, head.begin
    if stored:  # after the member's local header: 30 bytes, its name and extra field
        with file.open("rb") as raw:
            raw.seek(member.header_offset + 26)
            begin += member.header_offset + 30 + sum(struct.unpack("<2H", raw.read(4)))
    return NpzArray(file, key, head.shape, head.dtype, stored, begin)
