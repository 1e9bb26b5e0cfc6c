"""A reader of numeric arrays in MATLAB 5 files that is safe on damaged files."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.io.files import regular
from pcm3.io.reading import most_bytes

_MOST_BYTES = 1 << 28
_HEADER, _ORDERS = 128, {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_NUMBERS |= {12: "i8", 13: "u8"}
_HEAD = 6, 5, 1  # kinds of the parts of an array's head
_NUMERIC, _COMPLEX = range(6, 16), 1 << 11


def load_mat_array(file: Path, name: str) -> NDArray[Any] | None:
    """Load the first array of this name from a MATLAB 5 file; None if there is none.

    SciPy's reader is not used because a damaged file may crash it, and the process with it.

    Raises:
        ValueError: If the file is damaged or not a MATLAB 5 file, or the array is not of real
            numbers.
        OSError: If the file cannot be read.
    """
    data = memoryview(regular(file, _MOST_BYTES).read_bytes())
    most = min(_MOST_BYTES, most_bytes(file))
    order = _ORDERS.get(bytes(data[_HEADER - 4 : _HEADER]))
    if order is None:
        raise ValueError("expected the header of version 5")
    at = _HEADER
    try:
        while at < len(data):
            kind, content, at = _element(data, at, order)
            if kind == _COMPRESSED:
                kind, content, _ = _element(memoryview(_unpack(content, order, most)), 0, order)
            if kind == _MATRIX and (array := _array(content, order, name)) is not None:
                return array
    except (struct.error, zlib.error) as error:
        raise ValueError(error) from error
    return None


def _element(data: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Return kind and content of the element at an offset, and the offset of the next element."""
    if at + 8 > len(data):
        raise ValueError("the file ends inside an element")
    kind, size = struct.unpack_from(f"{order}2I", data, at)
    if kind >> 16:  # a small element, packed into its own tag
        kind, size, begin, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    else:
        begin = at + 8
        end = begin + size + (0 if kind == _COMPRESSED else -size % 8)
    if begin + size > min(end, len(data)):
        raise ValueError(f"expected {size} bytes in an element, got {len(data) - begin}")
    return kind, data[begin : begin + size], end


def _unpack(packed: memoryview, order: str, most: int) -> bytes:
    """Unpack the single element in compressed data, and verify its checksum."""
    unpacker = zlib.decompressobj()
    start = unpacker.decompress(packed, 8)
    size = 8 + (struct.unpack_from(f"{order}2I", start)[1] if len(start) == 8 else 0)
    if size > most:
        raise ValueError(f"expected at most {most:,} bytes after unpacking, got {size:,}")
    start += unpacker.decompress(unpacker.unconsumed_tail, max(size - 8, 1))
    more = unpacker.decompress(unpacker.unconsumed_tail, 1)
    if len(start) != size or more or not unpacker.eof:
        raise ValueError(f"expected {size} bytes of compressed data")
    return start


def _array(content: memoryview, order: str, name: str) -> NDArray[Any] | None:
    one, flags, at = _element(content, 0, order)
    two, dimensions, at = _element(content, at, order)
    three, label, at = _element(content, at, order)
    if (one, two, three) != _HEAD:
        raise ValueError("expected flags, dimensions and name at the head of an array")
    if bytes(label) != name.encode():
        return None
    (about,) = struct.unpack_from(f"{order}I", flags)
    kind, values, _ = _element(content, at, order)
    if about & 0xFF not in _NUMERIC or about & _COMPLEX or kind not in _NUMBERS:
        raise ValueError(f"expected {name} to be an array of real numbers")
    shape = np.frombuffer(dimensions, f"{order}i4").tolist()
    array = np.frombuffer(values, f"{order}{_NUMBERS[kind]}")
    if min(shape, default=0) < 0 or math.prod(shape) != len(array):
        raise ValueError(f"expected {name} of shape {tuple(shape)}, got {len(array)} numbers")
    return array.reshape(shape, order="F")
