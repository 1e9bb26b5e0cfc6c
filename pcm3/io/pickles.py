"""A reader of pickles of plain data that runs no code from them."""

from __future__ import annotations

import math
import pickle
import reprlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular

_ATOMS = (str, bytes, int, float, complex, bool, type(None))
_PLAIN = (*_ATOMS, bytearray)
_KINDS = "biufcSUO"  # booleans, numbers, strings, and one object; no records


def load_plain_pickle(file: str | Path) -> object:
    """Load a pickle that holds only numpy arrays and scalars, plain containers and strings.

    A pickle is a program that may call any function. Here, all names are refused before they are
    looked up, except those that such data need, and numpy's functions are replaced. Arrays of
    objects or records are refused too, except for one that only wraps a single object, and so are
    pickles that would take far more time or memory than their size justifies. The file is loaded
    as a whole.

    Raises:
        SkeletonFormatError: If the file is missing, cut short or not a pickle, or holds something
            else, which the message names.
    """
    file = Path(file)
    try:
        with regular(file).open("rb") as stream:
            return read_plain_pickle(stream, file.stat().st_size, str(file))
    except FileNotFoundError:
        raise SkeletonFormatError(f"{file}: no such file") from None
    except OSError as error:
        raise SkeletonFormatError(f"{file}: cannot be read, {error}") from None


def read_plain_pickle(stream: IO[bytes], size: int, place: str) -> object:
    """Read a pickle as ``load_plain_pickle`` does, from a stream that ends at ``size`` bytes.

    Raises:
        SkeletonFormatError: As ``load_plain_pickle``, with ``place`` for the name of the file.
    """
    try:
        return _settle(_PlainUnpickler(_Bounded(stream, size), size).load(), {})
    except _RefusedError as error:
        raise SkeletonFormatError(f"{place}: {error}") from None
    except RecursionError:
        raise SkeletonFormatError(f"{place}: nested too deeply") from None
    except Exception as error:  # a broken pickle may raise anything
        what = f"{type(error).__name__}: {error}"
        raise SkeletonFormatError(f"{place}: not a readable pickle, or cut short, {what}") from None


class _RefusedError(Exception):
    """Error for a well-formed pickle of something other than plain data."""


class _Bounded:
    """A stream that refuses to read more than is left, before memory is allocated."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size

    def readline(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the file ends inside a line")
        return line

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._size - self._stream.tell():
            raise EOFError(f"the file ends before {size} more bytes")
        return self._stream.read(size)


_Unpickler: Any = pickle._Unpickler


class _PlainUnpickler(_Unpickler):  # type: ignore[misc]
    """Python's unpickler for plain data; the one in C allocates memory for any memo index."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(self, stream: _Bounded, size: int) -> None:
        super().__init__(stream, encoding="latin1")  # numpy arrays of Python 2 need it
        self._left = _FREE + size

    def spend(self, cost: int) -> None:
        """Limit the memory of the containers of a file in proportion to its size."""
        self._left -= cost
        if self._left < 0:
            raise _RefusedError("refused a large number of almost empty containers")

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
        what = "refused a reference to something outside the file"
        raise _RefusedError(f"{what}, {reprlib.repr(pid)}")

    def get_extension(self, code: int) -> NoReturn:
        raise _RefusedError(f"refused the extension {code}; its meaning is not in the file")

    def load_bytearray8(self) -> None:
        self.load_binbytes8()
        self.stack[-1] = bytearray(self.stack[-1])

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _check_keys(self.stack[::2])  # after the last mark
        super().load_setitems()

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_additems(self) -> None:
        _check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self) -> None:
        _check_keys(self.stack)
        super().load_frozenset()

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset


_FREE = 1_000_000
_COSTS = {
    **dict.fromkeys((pickle.EMPTY_LIST, pickle.LIST, pickle.TUPLE), 4),
    **dict.fromkeys((pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3), 4),
    **dict.fromkeys((pickle.EMPTY_DICT, pickle.DICT), 8),
    **dict.fromkeys((pickle.REDUCE, pickle.INST, pickle.OBJ), 10),
    **dict.fromkeys((pickle.EMPTY_SET, pickle.FROZENSET), 16),
}
"""The least number of bytes that a container with content takes in a file."""


def _spending(load: Callable[[Any], None], cost: int) -> Callable[[Any], None]:
    def spend_and_load(unpickler: _PlainUnpickler) -> None:
        unpickler.spend(cost)
        load(unpickler)

    return spend_and_load


for _code, _cost in _COSTS.items():
    _PlainUnpickler.dispatch[_code[0]] = _spending(_PlainUnpickler.dispatch[_code[0]], _cost)


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys that could take forever to hash: nested tuples and numbers with equal hashes."""
    for key in keys:
        members = key if type(key) is tuple else (key,)
        if len(members) > _LONGEST_KEY or not all(map(_is_short, members)):
            what = "expected keys and members of sets that are words, numbers or tuples of them"
            raise _RefusedError(f"{what}, got {reprlib.repr(key)}")


_LONGEST_KEY = 16


def _is_short(member: Any) -> bool:
    kind = type(member)
    if kind is int:  # smaller ones have different hashes
        return abs(int(member)) < 2**60
    known: bool = kind in _ATOMS or isinstance(member, np.generic)
    return known and not isinstance(member, (complex, np.complexfloating))


class _Function:
    """A function that a pickle may call, but not alter with the opcode BUILD."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise _RefusedError("refused to alter a function")


class _Dtype:
    """A stand-in for a dtype while loading, because numpy's dtype trusts the flags of the file."""

    __slots__ = ("spec",)

    def __init__(self, spec: Any, *_: Any) -> None:
        try:
            dtype = np.dtype(spec) if isinstance(spec, str) else None
        except TypeError:
            dtype = None
        if dtype is None or dtype.kind not in _KINDS:
            what = f"refused an array of {reprlib.repr(spec)}"
            raise _RefusedError(f"{what}; only numbers and strings are read")
        self.spec: np.dtype[Any] = dtype

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.spec = self.spec.newbyteorder(order)


class _Array:
    """A stand-in for an array between the calls that create and fill it.

    ``np.savez`` wraps a dict in an array () of objects; then this is the dict.
    """

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: Any = None

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran_order, raw = state
        if version != 1:
            raise _RefusedError(f"refused an array of version {version!r:.40}; numpy writes 1")
        if isinstance(raw, list):
            if shape != () or len(raw) != 1:
                what = "refused an array of objects"
                raise _RefusedError(f"{what}; only numbers and strings are read")
            (self.array,) = raw
            return
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
        raise _RefusedError("refused an array that does not consist of bytes and a dtype")
    if dtype.spec.kind == "O":
        raise _RefusedError("refused an array of objects; only numbers and strings are read")
    size, count = dtype.spec.itemsize, math.prod(shape)
    if min(shape, default=0) < 0 or len(raw) != count * size or (count and not size):
        what = f"{len(raw)} bytes do not form an array {reprlib.repr(shape)} of {dtype.spec}"
        raise _RefusedError(what)
    if len(raw) == 0:
        return np.zeros(shape, dtype.spec)
    array = np.frombuffer(raw, dtype.spec)
    if dtype.spec.kind == "U":
        letters = np.frombuffer(raw, np.dtype("u4").newbyteorder(dtype.spec.byteorder))
        if letters.max() > sys.maxunicode:
            raise _RefusedError("refused text of numbers that are not characters")
    if order == "K" and axis_order is not None:
        return array.reshape(shape).transpose(axis_order)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, raw: Any) -> Any:
    return _frombuffer(raw, dtype, (), "C")[()]


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"refused to encode as {reprlib.repr(encoding)}")
    return text.encode("latin1")


def _bytes(content: Any = b"", encoding: Any = "latin-1") -> bytes:
    content = _encode(content, encoding) if isinstance(content, str) else content
    if not isinstance(content, (bytes, bytearray)):  # bytes(n) would allocate n bytes
        raise _RefusedError(f"refused to make bytes of {type(content).__name__}")
    return bytes(content)


def _members(items: Any = ()) -> tuple[Any, ...]:
    members = tuple(items)
    _check_keys(members)
    return members


def _pairs(items: Any = ()) -> dict[Any, Any]:
    pairs = [(key, value) for key, value in items]
    _check_keys(key for key, _ in pairs)
    return dict(pairs)


_NDARRAY = _Function(_refuse_call)
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Function(_Dtype),
    ("_codecs", "encode"): _Function(_encode),
    ("collections", "OrderedDict"): _Function(lambda *items: OrderedDict(_pairs(*items))),
    ("builtins", "set"): _Function(lambda *items: set(_members(*items))),
    ("builtins", "frozenset"): _Function(lambda *items: frozenset(_members(*items))),
    ("builtins", "bytes"): _Function(_bytes),
    ("builtins", "bytearray"): _Function(lambda *content: bytearray(_bytes(*content))),
    ("builtins", "complex"): _Function(complex),
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Function(_reconstruct)
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Function(_scalar)
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _Function(_frombuffer)

_PENDING = object()


def _settle(value: Any, done: dict[int, Any]) -> Any:
    """Replace placeholders by arrays and dtypes, once for every object."""
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
        return _settle(value.array, done)
    if kind is _Dtype:
        return value.spec
    if kind in (dict, OrderedDict):
        return kind((_settle(key, done), _settle(item, done)) for key, item in value.items())
    if kind in (list, tuple, set, frozenset):
        return kind([_settle(item, done) for item in value])
    if kind not in _PLAIN and not isinstance(value, (np.ndarray, np.generic)):
        raise _RefusedError(f"refused {reprlib.repr(value)} as a value; only plain data is read")
    return value
