"""Settings in the tables of a file: merged, in words, and checked where they change others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from types import NoneType
from typing import Any, TypeAlias, TypeVar, get_args, get_type_hints

from pcm3.io.json import check_kind

Kind = TypeVar("Kind")
Table: TypeAlias = dict[str, Any]


def check_names(given: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Require that all names are known.

    Args:
        given: The names.
        known: What they may be.
        where: Their place in messages.

    Raises:
        ValueError: If a name is unknown; the message suggests the most similar one.
    """
    names = [*known]
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names)}"
            raise ValueError(f"unknown {f'{where}.' if where else ''}{name}{hint}")


def change_settings(settings: Kind, changes: Mapping[str, Any], where: str = "") -> Kind:
    """Return a copy of settings with some changed, after a check of names and types.

    Args:
        settings: A dataclass; its fields may be dataclasses too.
        changes: New values by name: lists for tuples, tables for dataclasses, and ``"none"`` for
            None.
        where: Place of the changes in messages.

    Raises:
        ValueError: If a name is unknown, or a value is of another type or out of range.
    """
    assert is_dataclass(settings)
    assert not isinstance(settings, type)
    check_names(changes, (field.name for field in fields(settings)), where)
    kinds, values = get_type_hints(type(settings)), dict[str, Any]()
    for name, value in changes.items():
        place, old, kind = f"{where}.{name}".lstrip("."), getattr(settings, name), kinds[name]
        if is_dataclass(old):
            check_kind(value, dict[str, Any], place)
            values[name] = change_settings(old, value, place)
        elif value == "none" and NoneType in get_args(kind):
            values[name] = None
        else:
            check_kind(value, kind, place)
            values[name] = tuple(value) if isinstance(value, list) else value
    try:
        new: Kind = replace(settings, **values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from None
    return new


def in_words(value: Any) -> str:
    """Format the value of a setting."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    return "none" if value is None else str(value)


def flatten(table: Table, prefix: str = "") -> Table:
    """Return the values in a table and in those inside it, by dotted name."""
    flat = Table()
    for name, value in table.items():
        inner = flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        flat |= {f"{prefix}{name}": value} if inner is None else inner
    return flat


def nest(flat: Table) -> Table:
    """Return the table of values with dotted names, the inverse of ``flatten``."""
    nested = Table()
    for name, value in flat.items():
        *groups, last = name.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return nested


def merge(first: Table, second: Table) -> Table:
    """Merge tables; where both have a setting, the second one's counts."""
    merged = dict(first)
    for name, value in second.items():
        both = isinstance(value, dict) and isinstance(first.get(name), dict)
        merged[name] = merge(first[name], value) if both else value
    return merged
