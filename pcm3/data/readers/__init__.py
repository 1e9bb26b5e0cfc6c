"""Readers of recordings, one file per format, and ``open_source``, which chooses one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from pcm3.data.readers.base import Reader, Recording, Source
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.readers.shared.unknown import why_none
from pcm3.io.files import regular
from pcm3.io.reading import fail, is_store
from pcm3.skeleton import Skeleton

__all__ = ["READERS", "Format", "Reader", "Recording", "Source", "open_source"]

Format = Literal[
    "ntu",
    "pku",
    "pyskl",
    "ctrgcn",
    "agcn",
    "ucla",
    "utd",
    "msr",
    "bvh",
    "packed",
    "folder",
    "mediapipe",
    "openpose",
    "coco",
    "mmpose",
    "azure",
    "csv",
    "videopose3d",
    "freemocap",
    "trc",
    "c3d",
]
"""Names of the formats; each is a module of this package with ``detect`` and ``read_NAME``."""

READERS: dict[str, Reader] = {
    name: Reader.of(name, import_module(f"pcm3.data.readers.{name}")) for name in get_args(Format)
}
"""The readers by the names of their formats."""

_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".tbz2", ".bz2", ".txz", ".xz", ".zst")


def open_source(
    path: str | Path,
    format: Format | None = None,
    *,
    skeleton: str | Path | Skeleton | None = None,
    defaults: Mapping[str, Any] = {},
    **options: Any,
) -> Source:
    """Open recordings of a format, by default the one that the path looks like.

    Args:
        path: A file or a folder, depending on the format.
        format: Name of the format, by default detected from the path.
        skeleton: A skeleton, the name of a built-in one, or a ``skeleton.json``. It replaces the
            skeleton of the format or the one derived from the names of the joints, and must have
            the joints of the recordings, see ``choose_layout``.
        defaults: Options that are used if the reader has them and ``options`` does not set them.
        options: Options of the format's reader, such as ``untrimmed=True`` for PKU-MMD.

    Raises:
        SkeletonFormatError: If the path looks like no format, or the files do not follow it.
        ValueError: If the format or an option is unknown, or the skeleton has other joints.
    """
    path = Path(path)
    _check_path(path)
    name = format or detect_format(path)
    if name not in READERS:
        raise ValueError(f"expected a format among {', '.join(READERS)}, got {name!r}")
    reader = READERS[name]
    if unknown := sorted(options.keys() - reader.options):
        known = ", ".join(dict.fromkeys([*reader.options, "skeleton"]))
        raise ValueError(f"format {name!r} has the options {known}; got {', '.join(unknown)}")
    options = {key: defaults[key] for key in reader.options if key in defaults} | options
    if "skeleton" in reader.options:
        return reader.read(path, skeleton=skeleton, **options)
    source = reader.read(path, **options)
    if skeleton is None:
        return source
    layout = choose_layout(skeleton, source.skeleton.joints, source.skeleton.parents)
    return replace(source, skeleton=layout)


def _check_path(path: Path) -> None:
    if not os.access(path, os.F_OK):
        fail(path, "no such file or folder")
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        fail(path, "no permission to read it")
    if not path.is_dir():
        regular(path)
    if is_store(path):
        fail(path, "is already a store, which pcm3.Store opens")
    if path.suffix.lower() in _ARCHIVES and path.is_file():
        fail(path, "expected a folder, got an archive; unpack it first")


def detect_format(path: Path) -> str:
    """Return the format that a path looks like.

    Raises:
        SkeletonFormatError: If it looks like no format, or like several.
    """
    names = [name for name, reader in READERS.items() if reader.detect(path)]
    if not names:
        fail(path, why_none(path))
    if len(names) > 1:
        fail(path, f"holds files of several formats, {', '.join(names)}; give the format")
    return names[0]
