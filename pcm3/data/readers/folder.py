"""A folder of plain ``.npy`` files: what a pose estimator and ten lines of Python give."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data._meta import is_column
from pcm3.data.readers._files import (
    MOST_CLASSES,
    codes,
    fail,
    files_below,
    is_file,
    not_finite,
    open_npy,
    shown,
)
from pcm3.data.readers._layout import choose_layout
from pcm3.data.readers.base import Recording, Source
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, SKELETONS, Skeleton

__all__ = ["detect", "read_folder"]

_TABLE, _LAYOUT = "labels.csv", "skeleton.json"


class _Unit(NamedTuple):
    file: Path
    name: str
    label: int
    columns: dict[str, int]
    line: int = 0  # of labels.csv


class _First(NamedTuple):
    """The first file, whose number of coordinates all must have."""

    name: str
    channels: int


_SHOWN = 5  # files that are left out, by name


class _Table(NamedTuple):
    units: list[_Unit]
    class_names: tuple[str, ...] = ()
    notes: Sequence[str] = ()
    left_out: int = 0
    left_out_why: str = ""


def detect(path: Path) -> bool:
    """Whether this is a folder with a ``labels.csv`` or a ``skeleton.json`` beside ``.npy``."""
    described = any(is_file(path / name) for name in (_TABLE, _LAYOUT))
    return described and any(file.suffix == ".npy" for file in files_below(path))


def read_folder(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    fps: float | None = None,
    unit: str | None = None,
) -> Source:
    """Read a folder of ``.npy`` files, one recording each.

    A file holds numbers (T, M, V, C), or (T, V, C) of one person, with C of 2 or 3; 0 where a
    person or joint is not seen; of 2D joints with a score only x and y. ``labels.csv``, if there
    is one, has the columns ``file`` (path inside the folder; files that it does not name are left
    out), ``label`` (optional: class indices or names; empty for none) and any others: integers
    stay as they are, words become codes in alphabetical order, which ``Source.about`` lists, and
    empty cells -1; a column of both is refused. Cells are parted by commas, or by semicolons as
    some spreadsheets write them. Without it every file is read, without labels.
    ``skeleton.json`` names the joints, in the order of the files, as ``choose_layout`` reads it.

    Args:
        path: The folder.
        skeleton: Instead of the folder's ``skeleton.json``, another one, a skeleton, or the name of
            a built-in one: ``"coco17"``, ``"blazepose33"``, ``"ntu25"``, ...
        fps: Frames per second, if known.
        unit: Unit of the coordinates; by default metres, or pixels of 2D.

    Raises:
        ValueError: If no skeleton has the name.
        SkeletonFormatError: Naming the file and the line, key or shape that is wrong; in ``.npy``
            files, and where one is missing, only when they are read.
    """
    folder = Path(path)
    if not folder.is_dir():
        fail(folder, "no such folder")
    layout = _find_layout(folder, skeleton)
    table = _read_table(folder)
    persons, first = _survey(folder, table.units, layout)
    return Source(
        format="folder",
        skeleton=layout,
        class_names=table.class_names,
        units=table.units,
        read=partial(_read_unit, folder, layout, first),
        persons=persons,
        fps=fps,
        unit=unit or ("pixels" if first and first.channels == 2 else "metres"),
        about="; ".join([f"folder {folder.resolve().name}", *table.notes]),
        left_out=table.left_out,
        left_out_why=table.left_out_why,
    )


def _find_layout(folder: Path, given: str | Path | Skeleton | None) -> Skeleton:
    if given is None and not (folder / _LAYOUT).is_file():
        what = f"expected a {_LAYOUT} with joints and parents, or as --skeleton such a file or one "
        fail(folder, f"{what}of {', '.join(SKELETONS)}")
    return choose_layout(folder / _LAYOUT if given is None else given)


def _read_table(folder: Path) -> _Table:
    file = folder / _TABLE
    files = (found for found in files_below(folder) if found.suffix == ".npy")
    names = sorted(found.relative_to(folder).as_posix() for found in files)
    if not names:
        fail(folder, "expected .npy files, found none")
    if not is_file(file):
        return _Table([_Unit(folder / name, name, -1, {}) for name in names])
    header, lines = _read_lines(file)
    cells = {key: [row[at] for _, row in lines] for at, key in enumerate(header)}
    seen: dict[str, int] = {}
    cells["file"] = [PurePosixPath(name).as_posix() for name in cells["file"]]  # without ./
    for (line, _), name in zip(lines, cells["file"], strict=True):
        if name in seen:
            fail(file, f"line {line}", f"{name} is already in line {seen[name]}")
        seen[name] = line
    labels, class_names = _encode_labels(file, lines, cells)
    notes, columns = [], {}
    for key in header:
        if key not in ("file", "label"):
            columns[key], words = _encode(file, lines, key, cells[key])
            if words:
                notes.append(codes(key, words))
    units = [
        _Unit(
            folder / name,
            name,
            labels[row],
            {key: column[row] for key, column in columns.items()},
            lines[row][0],
        )
        for row, name in enumerate(cells["file"])
    ]
    others = sorted(set(names) - set(seen))
    some = ", ".join([*others[:_SHOWN], *(["..."] if len(others) > _SHOWN else [])])
    why = f"not in {_TABLE}: {some}" if others else ""
    units.sort(key=lambda unit: unit.name)
    return _Table(units, class_names, notes, len(others), why)


def _read_lines(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line number; cells without blanks around them."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            parted = ";" if ";" in stream.readline() else ","
            stream.seek(0)
            reader = csv.reader(stream, delimiter=parted)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fail(file, f"cannot be read, {error}")
    if len(rows) < 2 or "file" not in rows[0][1]:
        found = ", ".join(rows[0][1]) if rows else "nothing"
        what = "expected a column file, others as you like, and rows below"
        fail(file, "line 1", f"{what}, got {found}")
    header = rows[0][1]
    for key in header:
        known = key in ("file", "label") or is_column(key)
        if not known or header.count(key) > 1:
            fail(file, "line 1", f"expected unique column names, plain words, got {shown(key)}")
    for line, row in rows[1:]:
        if len(row) != len(header):
            fail(file, f"line {line}", f"expected {len(header)} cells, got {len(row)}")
    return header, rows[1:]


def _encode(
    file: Path, lines: list[tuple[int, list[str]]], key: str, cells: list[str]
) -> tuple[list[int], tuple[str, ...]]:
    """Integers as they are, or else codes of the words; -1 for empty cells."""
    filled = [cell for cell in cells if cell]
    numbers = {cell: number for cell in filled if (number := _integer(cell)) is not None}
    if len(numbers) == len(set(filled)):
        return [numbers.get(cell, -1) for cell in cells], ()
    for (line, _), cell in zip(lines, cells, strict=True):
        if numbers and cell and cell not in numbers and not _is_number(cell):
            what = f"expected an integer in column {key}, as {next(iter(numbers))} is"
            fail(
                file, f"line {line}", f"{what}, got {shown(cell)}; a column of words has no numbers"
            )
    words = tuple(sorted(set(filled)))
    code = {word: number for number, word in enumerate(words)}
    return [code.get(cell, -1) for cell in cells], words


def _integer(cell: str) -> int | None:
    """The integer that a column can hold; None for anything else."""
    try:
        number = int(cell)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _encode_labels(
    file: Path, lines: list[tuple[int, list[str]]], cells: dict[str, list[str]]
) -> tuple[list[int], tuple[str, ...]]:
    if "label" not in cells:
        return [-1] * len(lines), ()
    labels, words = _encode(file, lines, "label", cells["label"])
    for (line, _), label in zip(lines, labels, strict=True):
        if label < -1:
            fail(file, f"line {line}", f"expected a label from 0, or -1 for none, got {label}")
        if label >= MOST_CLASSES and not words:
            what = f"expected class indices from 0, got {label}; write names if they are codes"
            fail(file, f"line {line}", what)
    return labels, words or tuple(str(label) for label in range(max(labels) + 1))


def _open(file: Path, skeleton: Skeleton) -> NDArray[Any]:
    """The array (T, M, V, C), still on disk."""
    array = open_npy(file)
    if array.ndim in (3, 4) and len(array) == 0:
        fail(file, f"has no frames, got {array.shape}")
    wrong_shape = array.ndim not in (3, 4) or array.shape[-1] not in (2, 3) or 0 in array.shape
    if wrong_shape or array.dtype.kind not in "fiu":
        what = "expected numbers (T, M, V, C of 2 or 3) or (T, V, C)"
        fail(file, f"{what}, got {array.dtype} {array.shape}")
    if array.shape[-2] != len(skeleton):
        what = f"expected {len(skeleton)} joints, as skeleton {skeleton.name!r} has"
        fail(file, f"{what}, got {array.shape[-2]} in {array.shape}")
    return np.asarray(array if array.ndim == 4 else array[:, None])


def _survey(folder: Path, units: list[_Unit], skeleton: Skeleton) -> tuple[int, _First | None]:
    """The most persons of any file, and the first file; what is wrong shows when it is read."""
    persons, first = 1, None
    for unit in units:
        with suppress(SkeletonFormatError):
            _check_name(folder, unit)
            _, bodies, _, channels = _open(unit.file, skeleton).shape
            persons = max(persons, bodies)
            first = first or _First(unit.name, channels)
    return persons, first


def _check_name(folder: Path, unit: _Unit) -> None:
    path = PurePosixPath(unit.name)
    inside = not path.is_absolute() and ".." not in path.parts
    if unit.line and not (inside and unit.file.suffix == ".npy" and is_file(unit.file)):
        what = f"expected a .npy file in {folder}, got {unit.name!r:.200}"
        fail(folder / _TABLE, f"line {unit.line}", what)


def _has_scores(frames: NDArray[np.float32]) -> bool:
    """Whether the third values are what pose estimators add to x and y in pixels."""
    scores = frames[..., 2:]
    between = scores.size > 0 and scores.min() >= 0 and 0 < scores.max() <= 1
    return bool(between and np.abs(frames[..., :2]).max() > 2)


def _read_unit(
    folder: Path, skeleton: Skeleton, first: _First | None, unit: _Unit
) -> Iterator[Recording]:
    _check_name(folder, unit)
    array = _open(unit.file, skeleton)
    with np.errstate(over="ignore", invalid="ignore"):
        frames = array.astype(np.float32)
    if first and frames.shape[3] != first.channels:
        what = f"expected {first.channels} coordinates a joint, as in {first.name}"
        fail(unit.file, f"{what}, got {frames.shape[3]}")
    if where := not_finite(frames):
        fail(unit.file, where, "NaN or infinity; write 0 where a joint is not seen")
    if skeleton.name == COCO17.name and _has_scores(frames):
        fail(unit.file, f"looks like x, y, score: write x and y alone, got {frames.shape}")
    yield Recording(frames, unit.label, unit.columns, name=unit.name)
