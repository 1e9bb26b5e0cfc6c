"""What a path holds that looks like no format, and what is expected instead."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from pcm3.data.readers.shared.poses import IGNORED
from pcm3.errors import SkeletonFormatError
from pcm3.io.json import read_json
from pcm3.io.npz import npz_keys, why_unreadable
from pcm3.io.pickles import load_plain_pickle
from pcm3.io.reading import files_below, kinds_of, open_npy, shown
from pcm3.io.text import find_delimiter, is_text, why_not_utf8
from pcm3.skeleton import SKELETONS

_READERS = {
    ".txt": ("pku", "msr"),
    ".mat": ("utd",),
    ".skeleton": ("ntu",),
    ".trc": ("trc",),
    ".c3d": ("c3d",),
}
"""Formats of files of a suffix, which are told by their names or their first bytes."""
_SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_SHEET_ADVICE = "save each recording as CSV UTF-8"
_EXPECTED = (
    "expected recordings: .csv, .json, .bvh, .trc, .c3d, .npy, .npz, .pkl, .skeleton, .mat or .txt "
    "files"
)
_TABLE = "columns NAME_x, NAME_y of joints, or joint, x, y with a row for each joint"
_KEYS = "those of mediapipe, openpose, coco, mmpose, azure or ucla"
_BEGINNING = 4096
_MOST_FILES = 10_000


def why_none(path: Path) -> str:
    """Say what is wrong with a path that looks like no format, without its name.

    Raises:
        SkeletonFormatError: If a pickle cannot be read.
    """
    return _why_folder(path) if path.is_dir() else _why_file(path)


def _why_folder(folder: Path) -> str:
    files = sorted(islice(files_below(folder), _MOST_FILES))
    if not files:
        return "an empty folder"
    if arrays := [file for file in files if file.suffix == ".npy"]:
        return f"a folder of .npy files; {_folder_command(folder, arrays[0])}"
    found = f"the folder has {kinds_of(folder)}"
    told = [".csv", ".json", *_READERS]
    recordings = [file for file in files if file.suffix.lower() in told]
    if known := [file for file in recordings if file.name.lower() not in IGNORED]:
        return f"{found}; {known[0].relative_to(folder).as_posix()}: {_why_file(known[0])}"
    sheet = any(file.suffix.lower() in _SHEETS for file in files)
    return f"{found}; {_SHEET_ADVICE if sheet else _EXPECTED}"


def _why_file(file: Path) -> str:
    suffix = file.suffix.lower()
    try:
        with file.open("rb") as stream:
            beginning = stream.read(_BEGINNING)
    except OSError as error:
        return f"cannot be read, {error}"
    if not beginning:
        return "the file is empty"
    explain: dict[str, Callable[[Path], str]] = {
        ".npz": _why_npz,
        ".pkl": _why_pickle,
        ".pickle": _why_pickle,
        ".npy": lambda file: f"a .npy file; {_folder_command(file.parent, file)}",
        ".csv": lambda _: _why_csv(beginning),
        ".json": _why_json,
        **dict.fromkeys(_SHEETS, lambda _: f"a {suffix} file; {_SHEET_ADVICE}"),
        **dict.fromkeys(_READERS, _why_not_named),
    }
    if suffix in explain:
        return explain[suffix](file)
    return f"{f'a {suffix} file' if suffix else 'a file without a suffix'}; {_EXPECTED}"


def _why_not_named(file: Path) -> str:
    names = _READERS[file.suffix.lower()]
    what = f"not what {' and '.join(names)} files of this suffix are named or begin like"
    return f"{what}; give the format if it is {' or '.join(names)}"


def _why_pickle(file: Path) -> str:
    load_plain_pickle(file)  # raises if it cannot be read
    return "a pickle without annotations and split; expected those of PYSKL"


def _why_npz(file: Path) -> str:
    expected = (
        "x_train, y_train, x_test, y_test (ctrgcn), positions_3d or positions_2d (videopose3d), "
        "or joints, lengths, joint_names, parents (packed)"
    )
    if keys := npz_keys(file):
        return f"an .npz with {', '.join(keys)}; expected {expected}"
    return f"{why_unreadable(file)}; expected the arrays {expected}"


def _why_csv(beginning: bytes) -> str:
    if not is_text(beginning):
        return ": ".join(why_not_utf8(beginning))
    lines = beginning.decode("utf-8-sig", "replace").splitlines() or [""]
    header = [cell.strip(' "') for cell in lines[0].split(find_delimiter(lines[0]))]
    if all(map(_is_number, header)):
        return f"line 1 has {len(header)} numbers and no names; expected a header with {_TABLE}"
    return f"a table with the header {_listed(header)}; expected {_TABLE}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _why_json(file: Path) -> str:
    try:
        content = read_json(file, Any)
    except SkeletonFormatError as error:
        return str(error).removeprefix(f"{file}: ")
    where = "an object"
    if isinstance(content, list):
        content, where = content[0] if content else None, "a list of objects"
    if not isinstance(content, dict):
        return f"JSON with {shown(content)}; expected keys, {_KEYS}"
    return f"{where} with the keys {_listed(list(content))}; expected {_KEYS}"


def _listed(words: list[str]) -> str:
    more = len(words) - _LISTED
    some = ", ".join(f"{word:.40}" for word in words[:_LISTED])
    return some + (f", ... ({more} more)" if more > 0 else "")


_LISTED = 8


def _folder_command(folder: Path, array: Path) -> str:
    """Give the command that reads a folder of arrays, with the layouts that its first one fits."""
    try:
        shape = open_npy(array).shape
    except SkeletonFormatError:
        shape = ()
    joints = shape[-2] if len(shape) in (3, 4) else 0
    fitting = [name for name, layout in SKELETONS.items() if len(layout) == joints]
    layout = fitting[0] if len(fitting) == 1 else "LAYOUT"
    one_of = fitting or [*SKELETONS]
    command = f"pcm3 prepare folder {folder} STORE --skeleton {layout}"
    others = "or a skeleton.json with joints and parents"
    if layout == "LAYOUT" or not fitting:
        others = f"LAYOUT is {', '.join(one_of)}, {others}"
    elif fitting:
        others = f"if its {joints} joints are those of {layout}, {others}"
    return f"read the folder: {command} ({others})"
