"""JSON that is read again: what fits a type, and what errors name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

from pcm3.errors import SkeletonFormatError
from pcm3.io.json import check_kind, parse_json, read_json


class Base(TypedDict):
    name: str


class Record(Base, total=False):
    values: list[float]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (str, ["", "a"], [1, None, []]),
        (int, [0, -1, 2**63 - 1], [1.0, True, "1", 2**63, None]),
        (float, [0, 1.5, -1e300], [float("nan"), float("inf"), True, 10**400, "1"]),
        (bool, [True, False], [0, 1, "true"]),
        (float | None, [None, 1], ["", False]),
        (Literal["a", 1], ["a", 1], ["b", True, [], {}]),
        (list[int], [[], [1]], [1, {}, [1.5], ["1"]]),
        (tuple[int, float], [[1, 2.5]], [[1], [1, 2, 3], [1.5, 1], None]),
        (tuple[str, ...], [[], ["a", "b"]], ["a", [1]]),
        (dict[str, list[bool]], [{}, {"a": [True]}], [[], {"a": True}, {"a": [1]}]),
        (Record, [{"name": "a"}, {"name": "a", "values": [1], "more": {}}], [{}, {"name": 1}, []]),
        (Record, [], [{"name": "a", "values": [None]}, {"name": "a", "values": 1}]),
        (Any, [None, [{}]], []),
    ],
)
def test_what_fits_a_type(kind: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check_kind(value, kind)
    for value in bad:
        with pytest.raises(ValueError, match=r"^expected "):
            check_kind(value, kind)


def test_errors_name_the_place() -> None:
    bad = {"b": [{"name": ""}, {"name": "", "values": ["1"]}]}
    with pytest.raises(
        ValueError, match=r"^expected a\.b\[1\]\.values\[0\] to be a number, got '1"
    ):
        check_kind(bad, dict[str, list[Record]], "a")


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"\xff{}", b'{"a": "\xed\xa0\x80"}', b"[]", b"null", b'{"a": NaN}'),
        *(b'{"a": -Infinity}', b'{"a": ' + b"9" * 5000 + b"}"),
        *(b'{"a": ' + b"[" * deep + b"]" * deep + b"}" for deep in (60, 900, 10**5)),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_object(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text)
    with pytest.raises(SkeletonFormatError, match=r"a\.json: expected "):
        read_json(file)
    with pytest.raises(SkeletonFormatError, match=r"line 3: expected "):
        parse_json(text, "line 3")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe", "."):
        with pytest.raises(SkeletonFormatError, match="expected a file, got"):
            read_json(tmp_path / name)


def test_what_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    value = {"name": "wave \u00e4", "values": [1, 2.5], "deep": json.loads("[" * 48 + "]" * 48)}
    file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert read_json(file, Record) == value
