"""Pickles of plain data, read without running what they say."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pcm3.errors import SkeletonFormatError

__all__ = ["load_plain_pickle"]

_CONTAINERS = (set, frozenset, list, dict, tuple, int, float, str, bytes, bytearray, complex)
_PLAIN = (*_CONTAINERS, bool, type(None), OrderedDict)
_KINDS = "biufcSU"  # booleans, numbers, strings; no objects, no records


def load_plain_pickle(file: str | Path) -> object:
    """Load a pickle that holds only numpy arrays and scalars, plain containers and strings.

    A pickle is a program that may call anything; this one may not: a name other than those that
    such data needs is refused before anything is looked up, and numpy's own ones are rebuilt
    here. Arrays of objects or records are refused as well. The file is loaded whole.

    Raises:
        SkeletonFormatError: If the file is missing, cut short or no pickle, or holds something
            else, which is then named.
    """
    file = Path(file)
    try:
        with file.open("rb") as stream:
            return _settle(_PlainUnpickler(stream).load(), {})
    except _RefusedError as error:
        raise SkeletonFormatError(f"{file}: {error}") from None
    except FileNotFoundError:
        raise SkeletonFormatError(f"{file}: no such file") from None
    except RecursionError:
        raise SkeletonFormatError(f"{file}: nested too deeply") from None
    except Exception as error:  # a broken pickle may raise anything
        what = f"{type(error).__name__}: {error}"
        raise SkeletonFormatError(f"{file}: not a readable pickle, or cut short, {what}") from None


class _RefusedError(Exception):
    """Well-formed, but nothing that plain data needs."""


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1")  # what Python 2's numpy arrays need

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module
        known = _KNOWN.get((module, name))
        if known is None:
            raise _RefusedError(
                f"refused {module}.{name}; only numpy arrays, plain containers, numbers and "
                "strings are read from a pickle"
            )
        return known

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _RefusedError(f"refused a reference to something outside the file, {pid!r}")


class _Function:
    """A function that a pickle may call, but not alter: assignment goes through BUILD."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise _RefusedError("refused to alter a function")


class _Dtype:
    """Stands for a dtype while loading; numpy's own takes flags on trust."""

    __slots__ = ("spec",)

    def __init__(self, spec: Any, *_: Any) -> None:
        try:
            dtype = np.dtype(spec) if isinstance(spec, str) else None
        except TypeError:
            dtype = None
        if dtype is None or dtype.kind not in _KINDS:
            raise _RefusedError(f"refused an array of {spec!r}; only numbers and strings are read")
        self.spec: np.dtype[Any] = dtype

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.spec = self.spec.newbyteorder(order)


class _Array:
    """Stands for an array between the calls that make and fill it."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, raw = state
        if isinstance(raw, list):
            raise _RefusedError("refused an array of objects; only numbers and strings are read")
        self.array = _frombuffer(raw, dtype, shape, "F" if fortran_order else "C")


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _NDARRAY:
        raise _RefusedError("refused an array of another class than numpy.ndarray")
    return _Array()


def _refuse_call(*_: Any) -> NoReturn:
    raise _RefusedError("refused numpy.ndarray(...); arrays are read as numpy writes them")


def _frombuffer(
    raw: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None
) -> NDArray[Any]:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray)):
        raise _RefusedError("refused an array that is not made of bytes and a dtype")
    if min(shape, default=0) < 0 or len(raw) != math.prod(shape) * dtype.spec.itemsize:
        raise _RefusedError(f"{len(raw)} bytes are no array {shape} of {dtype.spec}")
    if len(raw) == 0:
        return np.zeros(shape, dtype.spec)
    array = np.frombuffer(raw, dtype.spec)
    if order == "K" and axis_order is not None:
        return array.reshape(shape).transpose(axis_order)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, raw: Any) -> Any:
    return _frombuffer(raw, dtype, (), "C")[()]


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"refused to encode as {encoding!r}")
    return text.encode("latin1")


_NDARRAY = _Function(_refuse_call)
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Function(_Dtype),
    ("_codecs", "encode"): _Function(_encode),
    ("collections", "OrderedDict"): OrderedDict,
}
_KNOWN |= {("builtins", kind.__name__): kind for kind in _CONTAINERS}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Function(_reconstruct)
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Function(_scalar)
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _Function(_frombuffer)

_PENDING = object()


def _settle(value: Any, done: dict[int, Any]) -> Any:
    """Put arrays and dtypes in the place of what stands for them, once for every object."""
    key = id(value)  # all objects live as long as the outermost one, so ids are unique
    if key not in done:
        done[key] = _PENDING
        done[key] = _settled(value, done)
    if done[key] is _PENDING:
        raise _RefusedError("refused a container that holds itself")
    return done[key]


def _settled(value: Any, done: dict[int, Any]) -> Any:
    kind = type(value)
    if kind is _Array:
        if value.array is None:
            raise _RefusedError("refused an array without content")
        return value.array
    if kind is _Dtype:
        return value.spec
    if kind in (dict, OrderedDict):
        return kind((_settle(key, done), _settle(item, done)) for key, item in value.items())
    if kind in (list, tuple, set, frozenset):
        return kind([_settle(item, done) for item in value])
    if kind not in _PLAIN and not isinstance(value, (np.ndarray, np.generic)):
        raise _RefusedError(f"refused {value!r} as a value; only plain data is read")
    return value
