"""``meta.json``, the description in a store: reader, checks and names."""

from __future__ import annotations

import json
import math
import reprlib
import zlib
from pathlib import Path
from typing import Any, Literal, TypedDict

from pcm3.io.json import check_kind, read_json
from pcm3.io.reading import fail
from pcm3.skeleton import MOST_PERSONS

STORE_VERSION = 2
"""Version of the folder's layout; stores of other versions are refused."""

FORMAT = "pcm3-store"
_TAKEN = (
    "self sequence label name frame_labels segments lengths labels slots duplicate_of "
    "file allow_pickle"
)
RESERVED = frozenset(_TAKEN.split())
"""Names that no column can have: those of the store, and of arguments next to ``**columns``."""
_FILES = (
    "meta.json bodies.npy table.npz names.npy frame_labels.npy segments.npy checksums.npy "
    "report.json"
)
FILES = frozenset(_FILES.split())
"""Names of the files in a store's folder."""
COUNTS = ("sequences", "frames", "rows", "persons", "joints", "channels")

StoreDtype = Literal["float32", "float16"]


def is_column(name: str) -> bool:
    """Return whether a further column may have this name."""
    return name.isidentifier() and len(name) <= 100 and name not in RESERVED


class _Rule(TypedDict):
    column: str
    train: list[int]
    test: list[int] | None


class StoredMapping(TypedDict):
    """What the joints of a store were mapped from, see ``JointMap.report``."""

    source: str
    exact: dict[str, str]
    derived: dict[str, dict[str, float]]


class _Required(TypedDict):
    sequences: int
    frames: int
    rows: int
    persons: int
    joints: int
    channels: int
    dtype: str
    columns: list[str]
    untrimmed: bool
    class_names: list[str]
    skeleton: dict[str, Any]
    fps: float | None
    unit: str
    normalization: str
    protocols: dict[str, _Rule]
    source: str


class _Meta(_Required, total=False):  # old stores lack these
    mapping: StoredMapping  # and stores whose joints were not mapped
    bodies: str | None
    words: dict[str, list[str]]
    checksum: int
    checksums: dict[str, int]


def checksum_of(content: dict[str, Any]) -> int:
    """Compute the CRC-32 of the content of ``meta.json`` without its own ``checksum``."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def _check_values(file: Path, meta: dict[str, Any]) -> None:
    """Require counts, rates and words that make sense.

    Raises:
        SkeletonFormatError: If a value is out of range or a word occurs twice.
    """
    bounds = dict.fromkeys(COUNTS, math.inf) | {"persons": MOST_PERSONS}
    for name, most in bounds.items():
        if not 1 <= meta[name] <= most:
            upper = "" if most == math.inf else f" and <= {most}"
            fail(file, f"expected {name} >= 1{upper}, got {meta[name]}")
    if meta["fps"] is not None and not meta["fps"] > 0:
        fail(file, f"expected fps > 0, got {meta['fps']}")
    for name, words in {"columns": meta["columns"], **meta["words"]}.items():
        if len(set(words)) < len(words):
            got = reprlib.repr(words)
            fail(file, f"expected different words in {name}, got {got}")
    if missing := {"lengths", "labels", "slots", "duplicate_of"} - set(meta["columns"]):
        fail(file, f"expected the columns {', '.join(sorted(missing))}")


def _check_whole(file: Path, meta: dict[str, Any]) -> None:
    """Verify the checksum of a description; old stores have none.

    Raises:
        SkeletonFormatError: If the description was changed after it was written.
    """
    known = {"checksum", "checksums"} & meta.keys()
    if len(known) == 1:
        fail(file, f"damaged, expected checksum and checksums, got {known}")
    if known and meta["checksum"] != checksum_of(meta):
        fail(
            file,
            "the checksum is wrong: the file was damaged or changed after it was "
            "written; prepare the store again, or undo the change",
        )


def too_empty(frames: int, rows: int, persons: int, row_bytes: int) -> str | None:
    """Say what is wrong if a store has room for far more persons than it holds; else None.

    Args:
        frames: Number of frames of all sequences.
        rows: Number of stored persons in all frames.
        persons: Number of persons that each frame has room for.
        row_bytes: Bytes of a person in a frame.
    """
    room = frames * persons * row_bytes
    if room <= max(1 << 26, 16 * rows * row_bytes):
        return None
    stored = f"the {rows / frames:.3g} stored persons per frame"
    return f"expected persons in proportion, at most 16 times {stored}, got {persons}"


def replaced(store: Path) -> Path:
    """Return where a store is kept while another one replaces it."""
    return store.with_name(f".{store.name}.replaced")


def _remedy(missing: Path) -> str:
    if replaced(missing).is_dir():
        return f"the store that was being replaced is {replaced(missing)}; rename it"
    return "make one with `pcm3 prepare`"


def json_text(content: dict[str, Any]) -> bytes:
    """Return the bytes of a JSON file."""
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
        fail(
            path,
            "expected a store, which is a folder, got a file; `pcm3 prepare` makes a "
            "store from recordings",
        )
    if not path.is_dir():
        fail(path, f"no such store; {_remedy(path)}")
    if not file.is_file():
        if (path / "config.json").is_file():
            fail(path, "a run, not a store: meta.json is missing")
        fail(path, "not a store (no meta.json): run pcm3 prepare first")
    meta: dict[str, Any] = read_json(file)
    if meta.get("format") != FORMAT:
        fail(file, f"expected a description with format {FORMAT!r}")
    if any_version:
        return meta
    if meta.get("version") != STORE_VERSION:
        fail(
            file,
            f"expected store version {STORE_VERSION}, found {meta.get('version')}; "
            "run `pcm3 prepare` again",
        )
    try:
        check_kind(meta, _Meta)
    except ValueError as error:
        fail(file, str(error))
    _check_whole(file, meta)
    meta.setdefault("bodies", None)
    meta.setdefault("words", {})
    _check_values(file, meta)
    return meta
