"""``meta.json``, the description in a store: its names, its checks, its reader."""

from __future__ import annotations

import json
import math
import reprlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pcm3.errors import SkeletonFormatError
from pcm3.io.json import read_json
from pcm3.skeleton import MOST_PERSONS

STORE_VERSION = 2
"""Version of the folder's layout; stores of other versions are refused."""

FORMAT = "pcm3-store"
_TAKEN = (
    "self sequence label name frame_labels segments lengths labels slots duplicate_of "
    "file allow_pickle"
)
RESERVED = frozenset(_TAKEN.split())
"""Names that no column can have: the store's own, and arguments of functions with ``**columns``."""
_FILES = (
    "meta.json bodies.npy table.npz names.npy frame_labels.npy segments.npy checksums.npy "
    "report.json"
)
FILES = frozenset(_FILES.split())
"""Names of the files in a store's folder."""
COUNTS = ("sequences", "frames", "rows", "persons", "joints", "channels")

StoreDtype = Literal["float32", "float16"]


def is_column(name: str) -> bool:
    """Whether a further column may have this name."""
    return name.isidentifier() and len(name) <= 100 and name not in RESERVED


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**63


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(type(word) is str for word in value)


def _is_integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int for number in value)


def _is_protocols(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(rule, dict)
        and isinstance(rule.get("column"), str)
        and _is_integers(rule.get("train"))
        and (rule.get("test", ()) is None or _is_integers(rule.get("test")))
        for rule in value.values()
    )


def _is_checksums(value: Any) -> bool:
    return isinstance(value, dict) and all(type(number) is int for number in value.values())


def _is_words_of_columns(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_words(words) and len(set(words)) == len(words) for words in value.values()
    )


def _is_rate(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 < value < math.inf)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(COUNTS, ("an integer from 1", _is_count)),
    "persons": (f"1 to {MOST_PERSONS}", lambda value: _is_count(value) and value <= MOST_PERSONS),
    "columns": (
        "different words",
        lambda value: _is_words(value) and len(set(value)) == len(value),
    ),
    "words": ("different words for each column", _is_words_of_columns),
    "class_names": ("words", _is_words),
    "untrimmed": ("true or false", lambda value: type(value) is bool),
    "protocols": ("rules of column, train and test", _is_protocols),
    "skeleton": ("an object", lambda value: isinstance(value, dict)),
    "bodies": ("a word or null", lambda value: value is None or isinstance(value, str)),
    "fps": ("a number above 0 or null", _is_rate),
    **{
        key: ("a word", lambda value: isinstance(value, str))
        for key in ("dtype", "unit", "normalization", "source")
    },
}


def checksum_of(content: dict[str, Any]) -> int:
    """CRC-32 of the content of ``meta.json`` without its own ``checksum``."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def _check_whole(file: Path, meta: dict[str, Any]) -> None:
    """Verify the checksum of a description; old stores have none.

    Raises:
        SkeletonFormatError: If the description was changed after it was written.
    """
    known = {"checksum", "checksums"} & meta.keys()
    if not known:
        return
    if len(known) == 1 or not _is_checksums(meta["checksums"]):
        raise SkeletonFormatError(f"{file}: damaged, expected checksum and checksums, got {known}")
    if meta["checksum"] != checksum_of(meta):
        raise SkeletonFormatError(
            f"{file}: the checksum is wrong: the file was damaged or changed after it was "
            "written; prepare the store again, or undo the change"
        )


def too_empty(frames: int, rows: int, persons: int, row_bytes: int) -> str | None:
    """What is wrong where a store has room for very many more persons than are in it; else None.

    Args:
        frames: Of all sequences.
        rows: Persons of all frames that are stored.
        persons: Room for them in each frame.
        row_bytes: Of a person in a frame.
    """
    room = frames * persons * row_bytes
    if room <= max(1 << 26, 16 * rows * row_bytes):
        return None
    what = f"expected persons in proportion to the {rows / frames:.3g} of a frame that are stored"
    return f"{what}, at most 16 times as many, got {persons}"


def replaced(store: Path) -> Path:
    """Where a store is kept while another one replaces it."""
    return store.with_name(f".{store.name}.replaced")


def _remedy(missing: Path) -> str:
    if replaced(missing).is_dir():
        return f"the one that was being replaced is {replaced(missing)}; rename it"
    return "make one with `pcm3 prepare`"


def json_text(content: dict[str, Any]) -> bytes:
    """The bytes of a JSON file."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", errors="backslashreplace")  # lone surrogates


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    file.write_bytes(json_text(content))


def read_meta(path: Path, *, any_version: bool = False) -> dict[str, Any]:
    """Read and check the ``meta.json`` of a store.

    Raises:
        SkeletonFormatError: If there is no store, or the file is damaged or of another version.
    """
    file = path / "meta.json"
    if path.exists() and not path.is_dir():
        raise SkeletonFormatError(
            f"{path}: expected a store, which is a folder, got a file; `pcm3 prepare` makes a "
            "store from recordings"
        )
    if not path.is_dir():
        raise SkeletonFormatError(f"{path}: no such store; {_remedy(path)}")
    if not file.is_file():
        what = "a run, not a store" if (path / "config.json").is_file() else "not a store"
        raise SkeletonFormatError(f"{path}: {what}, meta.json is missing")
    meta: dict[str, Any] = read_json(file)
    if meta.get("format") != FORMAT:
        raise SkeletonFormatError(f"{file}: expected a description with format {FORMAT!r}")
    if any_version:
        return meta
    if meta.get("version") != STORE_VERSION:
        raise SkeletonFormatError(
            f"{file}: expected store version {STORE_VERSION}, found {meta.get('version')}; "
            "run `pcm3 prepare` again"
        )
    needed = {*COUNTS, "dtype", "columns", "untrimmed", "class_names", "skeleton"}
    needed |= {"fps", "unit", "normalization", "protocols", "source"}
    if missing := sorted(needed - meta.keys()):
        raise SkeletonFormatError(f"{file}: missing {', '.join(missing)}")
    _check_whole(file, meta)
    meta.setdefault("bodies", None)  # which old stores lack
    meta.setdefault("words", {})
    for key, (kind, fits) in _KINDS.items():
        if not fits(meta[key]):
            got = reprlib.repr(meta[key])
            raise SkeletonFormatError(f"{file}: expected {key} to be {kind}, got {got}")
    for column in ("lengths", "labels", "slots", "duplicate_of"):
        if column not in meta["columns"]:
            raise SkeletonFormatError(f"{file}: expected a column {column}")
    return meta
