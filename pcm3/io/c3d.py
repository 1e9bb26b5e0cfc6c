"""C3D files of motion capture: parameters, and the coordinates of points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.io.files import regular
from pcm3.io.reading import check_room, fail, parsing

_BLOCK = 512
_KEY = 0x50  # the second byte of every C3D file
_INTEL, _DEC, _MIPS = 84, 85, 86
_TYPES = {-1: "S1", 1: "i1", 2: "i2", 4: "f4"}
_POINT = 4  # x, y, z, and the residual with the cameras


class Points(NamedTuple):
    """The points of a C3D file.

    Attributes:
        names: Name of each of V points.
        values: Coordinates (T, V, 3) in the unit of the file, NaN where a point is not seen.
        fps: Frames per second.
        unit: Unit of the coordinates; empty if the file does not give it.
        kinds: Names of points that are no places, by what they are, such as ``"ANGLES"``.
    """

    names: Sequence[str]
    values: NDArray[np.float64]
    fps: float
    unit: str
    kinds: Mapping[str, Sequence[str]]


_KINDS = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS", "REACTIONS")


def is_c3d(file: Path) -> bool:
    """Return whether a file begins as C3D files do."""
    try:
        with regular(file).open("rb") as stream:
            return stream.read(2)[1:] == bytes([_KEY])
    except Exception:  # of any kind, as the file may be anything
        return False


def load_points(file: Path) -> Points:
    """Read the points of a C3D file; analog channels are skipped.

    Integers and floats of Intel, DEC and MIPS processors are read.

    Raises:
        SkeletonFormatError: If the file cannot be read; the message names block or parameter.
    """
    try:
        check_room(file, regular(file).stat().st_size)
        data = file.read_bytes()
    except OSError as error:
        fail(file, f"cannot be read, {error}")
    if len(data) < 2 * _BLOCK or data[1] != _KEY:
        fail(file, "expected a C3D file, whose second byte is 80")
    with parsing(file, "parameters"):
        start = (data[0] - 1) * _BLOCK
        kind = data[start + 3] if 0 < start < len(data) - 4 else 0
        if kind not in (_INTEL, _DEC, _MIPS):
            fail(file, "parameters", f"expected a processor of type 84, 85 or 86, got {kind}")
        parameters = _parameters(file, data, start + 4, kind)
    return _points(file, data, kind, parameters)


def _array(data: bytes, dtype: str, processor: int) -> NDArray[Any]:
    """Return numbers as a processor writes them."""
    if dtype == "f4" and processor == _DEC:  # words in another order, an exponent larger by two
        words = np.frombuffer(data, "<u2").reshape(-1, 2)[:, ::-1]
        return np.ascontiguousarray(words).view("<f4").ravel() / 4
    return np.frombuffer(data, (">" if processor == _MIPS else "<") + dtype)


def _parameters(file: Path, data: bytes, at: int, processor: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of parameters by ``GROUP:NAME``; the first axis varies slowest."""
    groups: dict[int, str] = {}
    found: list[tuple[int, str, NDArray[Any]]] = []
    while at + 2 < len(data) and (length := abs(_signed(data[at]))):
        number = _signed(data[at + 1])
        name = data[at + 2 : at + 2 + length].decode("latin1").upper().strip()
        after = at + 2 + length
        step = int(_array(data[after : after + 2], "i2", processor)[0])
        if number < 0:
            groups[-number] = name
        else:
            found.append((number, name, _value(file, name, data, after + 2, processor)))
        if step < 1:  # the last one
            break
        at = after + step
    return {f"{groups[group]}:{name}": value for group, name, value in found if group in groups}


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _value(file: Path, name: str, data: bytes, at: int, processor: int) -> NDArray[Any]:
    kind = _signed(data[at])
    if kind not in _TYPES:
        fail(file, f"parameter {name:.40}", f"expected a type among -1, 1, 2, 4, got {kind}")
    shape = tuple(data[at + 2 : at + 2 + data[at + 1]])
    begin = at + 2 + len(shape)
    end = begin + abs(kind) * math.prod(shape)
    if len(shape) != data[at + 1] or end > len(data):
        fail(file, f"parameter {name:.40}", "the file ends inside it")
    return _array(data[begin:end], _TYPES[kind], processor).reshape(shape[::-1])


def _words(value: NDArray[Any] | None) -> list[str]:
    """Return the words of a parameter of characters."""
    if value is None or value.dtype.kind != "S":
        return []
    rows = value.reshape(-1, value.shape[-1]) if value.ndim else value.reshape(1, 1)
    return [row.tobytes().decode("latin1").strip(" \0") for row in rows]


def _points(file: Path, data: bytes, kind: int, parameters: dict[str, NDArray[Any]]) -> Points:
    words = _array(data[:24], "u2", kind)
    count, samples, first, last, block = (int(words[at]) for at in (1, 2, 3, 4, 8))
    scale, fps = (float(_array(data[at : at + 4], "f4", kind)[0]) for at in (12, 20))
    frames = _frames(parameters, first, last)
    if count == 0 or frames < 1 or block < 2 or not math.isfinite(scale) or scale == 0:
        what = "expected points, frames, a scale and a first block of data"
        fail(file, "header", f"{what}, got {count}, {frames}, {scale:g} and {block}")
    used = parameters.get("POINT:USED")
    if (
        used is not None
        and used.size == 1
        and int(used.ravel()[0]) not in (count, count - (1 << 16))
    ):
        what = f"expected {count} points, as in the header"
        fail(file, "parameter POINT:USED", f"{what}, got {used.ravel()[0]}")
    dtype = "f4" if scale < 0 else "i2"
    width = int(dtype[1]) * (_POINT * count + samples)
    begin = (block - 1) * _BLOCK
    if begin + frames * width > len(data):
        what = f"expected {frames} frames of {width} bytes from byte {begin}"
        fail(file, "data", f"{what}, got {max(0, len(data) - begin)} bytes")
    check_room(file, 8 * frames * count * _POINT, f"{frames} frames of {count} points")
    rows = np.frombuffer(data, "u1", frames * width, begin).reshape(frames, width)
    raw = rows[:, : int(dtype[1]) * _POINT * count].tobytes()
    with np.errstate(all="ignore"):
        values = _array(raw, dtype, kind).astype(np.float64).reshape(frames, count, _POINT)
    points = values[..., :3] * (1 if scale < 0 else scale)
    points[~(values[..., 3] >= 0)] = np.nan  # a negative residual says that it is not seen
    names = _words(parameters.get("POINT:LABELS"))
    for number in range(2, 100):
        if (more := parameters.get(f"POINT:LABELS{number}")) is None:
            break
        names += _words(more)
    unit = _words(parameters.get("POINT:UNITS"))[:1]
    kinds = {name: _words(parameters.get(f"POINT:{name}")) for name in _KINDS}
    return Points(names[:count], points, fps, unit[0] if unit else "", kinds)


def _frames(parameters: dict[str, NDArray[Any]], first: int, last: int) -> int:
    """Return the number of frames; 16 bits, as of the header, cannot hold more than 65,535."""
    count = parameters.get("POINT:FRAMES")
    if count is not None and count.size == 1 and count.dtype.kind in "if":
        number = float(count.ravel()[0])
        if 1 <= number < math.inf and (count.dtype.kind == "f" or number < 0x7FFF):
            return int(number)
    ends = [parameters.get(f"TRIAL:ACTUAL_{which}_FIELD") for which in ("START", "END")]
    words = [end.ravel().astype("i2").view("u2") for end in ends if end is not None]
    if [len(word) for word in words] == [2, 2]:
        one, other = (int(low) + (int(high) << 16) for low, high in words)
        return other - one + 1
    return last - first + 1
