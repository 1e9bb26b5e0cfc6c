"""``meta.json``: what a store says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pcm3.errors import SkeletonFormatError

STORE_VERSION = 2
"""Version of the folder's layout; a reader refuses any other."""

FORMAT = "pcm3-store"
COUNTS = ("sequences", "frames", "rows", "persons", "joints", "channels")

StoreDtype = Literal["float32", "float16"]


def write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_meta(path: Path, *, any_version: bool = False) -> dict[str, Any]:
    file = path / "meta.json"
    if path.exists() and not path.is_dir():
        raise SkeletonFormatError(f"{path}: expected a store, which is a folder, got a file")
    if not path.is_dir():
        raise SkeletonFormatError(f"{path}: no such store; make one with `pcm3 prepare`")
    if not file.is_file():
        raise SkeletonFormatError(f"{path}: not a store, meta.json is missing")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SkeletonFormatError(f"{file}: not JSON, {error}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
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
    for column in ("lengths", "labels", "slots", "duplicate_of"):
        if column not in meta["columns"]:
            raise SkeletonFormatError(f"{file}: expected a column {column}")
    return meta
