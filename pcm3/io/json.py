"""Reading JSON files with a check of their structure; every error names the file."""

from __future__ import annotations

import json
import math
import reprlib
from contextlib import suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular

_DEEPEST = 50
_WORDS = {
    **{str: "text", int: "an integer", float: "a number", bool: "true or false"},
    NoneType: "null",
}


def read_json(file: Path, kind: Any = dict[str, Any]) -> Any:
    """Read a JSON file, and check that its content is of a type.

    Args:
        file: The file, in UTF-8.
        kind: The expected type, see ``check_kind``.

    Raises:
        SkeletonFormatError: If the file is missing, is not JSON, or holds another type.
    """
    try:
        data = regular(file).read_bytes()
    except OSError as error:
        raise SkeletonFormatError(f"expected a file, got {file}: {error.strerror}") from None
    return parse_json(data, str(file), kind)


def parse_json(data: bytes, where: str, kind: Any = dict[str, Any]) -> Any:
    """Parse a JSON text, and check that its value is of a type; errors name it ``where``.

    Raises:
        SkeletonFormatError: If the text is not JSON, or holds another type.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        raise SkeletonFormatError(f"{where}: expected JSON, {error}") from None
    try:
        check_kind(value, kind)
    except ValueError as error:
        raise SkeletonFormatError(f"{where}: {error}") from None
    return value


def check_kind(value: Any, kind: Any, name: str = "") -> None:
    """Require that a value read from JSON is of a type.

    Args:
        value: Made of dictionaries, lists, strings, numbers, booleans and None.
        kind: ``str``, ``int`` (64 bits), ``float`` (finite, may be an integer), ``bool``,
            ``None``, ``Any``, literals, unions, ``dict[str, ...]``, ``list[...]``, tuples (lists
            in JSON) and typed dictionaries, which may have further keys.
        name: Name of the value in messages.

    Raises:
        ValueError: If the value is of another type; the message says where, what was expected and
            what came.
    """
    if kind is Any or (kind in _WORDS and _is_scalar(value, kind)):  # the most frequent case
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        _check_fields(value, kind, name)
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            check_kind(item, arguments[1], f"{name}.{key}".lstrip("."))
    elif origin in (list, tuple) and isinstance(value, list):
        fixed = origin is tuple and arguments[-1:] != (...,)
        if fixed and len(value) != len(arguments):
            raise _wrong(value, kind, name)
        for at, item in enumerate(value):
            check_kind(item, arguments[at] if fixed else arguments[0], f"{name}[{at}]")
    elif not _is_among(value, origin, arguments):
        raise _wrong(value, kind, name)


def _check_fields(value: Any, kind: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise _wrong(value, dict, name)
    kinds = get_type_hints(kind)
    if missing := [key for key in kinds if key in kind.__required_keys__ - value.keys()]:
        raise ValueError(f"expected{f' {name} with' * bool(name)} {', '.join(missing)}, got none")
    for key, expected in kinds.items():
        if key in value:
            check_kind(value[key], expected, f"{name}.{key}".lstrip("."))


def _is_among(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    """Return whether a value is of a type of a union, or one of the literal values."""
    if origin not in (Union, UnionType):
        literals = [(type(each), each) for each in arguments] if origin is Literal else []
        return (type(value), value) in literals  # as 1 equals True
    for kind in arguments:
        with suppress(ValueError):
            check_kind(value, kind)
            return True
    return False


def _is_scalar(value: Any, kind: Any) -> bool:
    if type(value) is int:  # an integer is a number too
        return kind in (int, float) and -(2**63) <= value < 2**63
    return type(value) is kind and (kind is not float or math.isfinite(value))


def _wrong(value: Any, kind: Any, name: str) -> ValueError:
    got = reprlib.repr(value)
    return ValueError(f"expected{f' {name} to be' * bool(name)} {_words(kind)}, got {got}")


def _words(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (list, tuple):
        fixed = origin is tuple and arguments[-1:] != (...,)
        return f"a list of {len(arguments)}" if fixed else "a list"
    return _WORDS.get(kind, "an object")


def _check_depth(value: Any) -> None:
    """Refuse nesting that is too deep for recursive functions."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items]
    raise ValueError(f"nested deeper than {_DEEPEST} levels")


def _refuse(constant: str) -> Any:
    raise ValueError(f"got {constant}")
