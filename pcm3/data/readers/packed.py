"""The packed ``.npz`` layout: a whole data set in one file of plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pcm3.data.columns import find_mixture, read_value
from pcm3.data.normalize import Normalization
from pcm3.data.readers.base import MOST_CLASSES, Recording, Source, not_finite, or_error
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.readers.shared.third import Coordinates, Third, find_third
from pcm3.data.resample import check_rate
from pcm3.data.store.intervals import contradiction, find_segments, paint
from pcm3.data.store.meta import is_column
from pcm3.data.units import UNITS, full_name
from pcm3.errors import SkeletonFormatError
from pcm3.io.npz import NpzArray, load_npz, npz_keys, other_arrays, read_words
from pcm3.io.reading import MOST_COLUMNS, SEQUENCE_BYTES, Range, check_room, fail, shown
from pcm3.skeleton import Skeleton, find_skeleton

_REQUIRED = ("joints", "lengths", "joint_names", "parents")
_OPTIONAL = "labels class_names frame_labels segments fps unit source licence normalization"
_KNOWN = frozenset((*_REQUIRED, *_OPTIONAL.split()))
_COLUMNS = "subjects views setups replications trial trials videos fold"
"""Names that protocols and readers use; arrays with these names are never ignored."""


class _Data(NamedTuple):
    """All arrays except the coordinates."""

    joints: NpzArray
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]  # first frame of each sequence
    labels: NDArray[np.int64]
    columns: Mapping[str, list[int | str]]
    frame_labels: NDArray[np.int64] | None
    segments: NDArray[np.int64] | None  # by sequence
    third: Third | None  # None if joints have two numbers


def detect(path: Path) -> bool:
    """Return whether this is a packed ``.npz``."""
    return path.suffix == ".npz" and set(_REQUIRED) <= set(npz_keys(path))


def read_packed(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    coordinates: Coordinates = None,
) -> Source:
    """Read a packed ``.npz``, one sequence in memory at a time.

    Required keys: ``joints`` float (sum of T, M, V, C), all sequences end to end; ``lengths``
    (N,); ``joint_names`` (V,); ``parents`` (V,), -1 at the root. Optional keys: ``labels`` (N,), -1
    for none; ``class_names``; ``fps``; ``unit``, by default metres, or pixels for 2D; ``source``;
    ``licence``; ``normalization``, the recipe that was already applied, such as ``"isc"``.

    Untrimmed recordings have ``frame_labels`` (sum of T,), -1 for background, or ``segments``
    (S, 4) of sequence, start, end (exclusive) and class, or both, which must then agree. Missing
    segments are the runs of equal frame labels; the missing label of a frame is the class of the
    last segment that holds it.

    Every other array (N,) of integers or words becomes a column: ``subjects``, ``views``,
    ``fold``, ...; 1.0 and text such as ``"1"`` count as integers. Other arrays are ignored and
    listed in ``Source.notes``, or refused if a protocol uses their name. Files written by
    ``np.savez`` can be read by several processes, compressed ones only from the beginning.

    Args:
        path: The file.
        skeleton: Parts, mirror and centre to use instead of those derived from the names of the
            joints, see ``choose_layout``.
        coordinates: Read only x and y (2) or also z (3) of three numbers per joint. By default
            recordings whose third numbers are all 0 are 2D, and recordings whose third numbers
            look like scores are refused, unless ``unit`` is one of length.

    Raises:
        ValueError: If ``coordinates`` is 3 and C is 2.
        SkeletonFormatError: If an array is wrong; the message names file, key and place. NaN
            coordinates raise only when they are read.
    """
    file = Path(path)
    arrays, large = load_npz(file, _REQUIRED, ("joints",), _OPTIONAL.split())
    joints = large["joints"]
    joint_names = read_words(file, "joint_names", _row(file, arrays, "joint_names"))
    _check_joints(joints, len(joint_names))
    parents = _row(file, arrays, "parents")
    if len(parents) != len(joint_names) or parents.dtype.kind not in "iu":
        what = f"expected integers ({len(joint_names)},), one per joint"
        fail(file, "parents", f"{what}, got {parents.dtype} {parents.shape}")
    lengths = _lengths(file, arrays, joints.shape[0])
    labels = _integers(file, arrays, "labels", lengths.shape)
    class_names = _class_names(file, arrays, labels)
    wrong = (labels < -1) | (labels >= len(class_names))
    if wrong.any():
        at, expected = int(np.argmax(wrong)), f"expected [-1, {len(class_names)})"
        fail(file, "labels", f"{expected}, sequence {at} has {int(labels[at])}")
    columns, ignored = _columns(file, len(lengths))
    unit = full_name(_text(file, arrays, "unit", "")) or None
    third = _third(joints, lengths, coordinates, unit) if joints.shape[3] == 3 else None
    if coordinates == 3 and third is None:
        raise ValueError("expected recordings of 3 numbers per joint for 3 coordinates, got 2")
    flat = third is None or third.coordinates == 2
    notes = [f"arrays that are not columns, ignored: {', '.join(ignored)}"] if ignored else []
    unit = unit or ("pixels" if flat else "metres")
    if unit not in UNITS:
        notes.append(f"the unit is none of {', '.join(UNITS)}: {shown(unit)}")
    data = _Data(
        joints,
        lengths,
        np.cumsum(lengths) - lengths,
        labels,
        columns,
        _frame_labels(file, arrays, int(lengths.sum()), len(class_names)),
        _segments(file, arrays, lengths, len(class_names)),
        third,
    )
    try:
        tree = parents.tolist()
        layout = (
            find_skeleton(joint_names, tree)
            if skeleton is None
            else choose_layout(skeleton, joint_names, tree)
        )
    except SkeletonFormatError:
        raise
    except ValueError as error:
        fail(file, "joint_names, parents", str(error))
    return Source(
        format="packed",
        skeleton=layout,
        class_names=class_names,
        units=joints.units(len(lengths)),
        read=partial(_read_unit, data),
        persons=joints.shape[1],
        normalization=_normalization(file, arrays),
        untrimmed="frame_labels" in arrays or "segments" in arrays,
        fps=_fps(file, arrays),
        unit=unit,
        about=_text(file, arrays, "source", file.name),
        licence=_text(file, arrays, "licence", ""),
        notes=[*notes, *(third.notes if third else ())],
    )


def _row(file: Path, arrays: dict[str, Any], key: str) -> NDArray[Any]:
    array: NDArray[Any] = arrays[key]
    if array.ndim != 1:
        fail(file, key, f"expected one axis, got {array.dtype} {array.shape}")
    return array


def _class_names(file: Path, arrays: dict[str, Any], labels: NDArray[np.int64]) -> tuple[str, ...]:
    if "class_names" in arrays:
        names = _row(file, arrays, "class_names")
        check_room(file, SEQUENCE_BYTES * len(names), "class_names", f"{len(names):,} classes")
        return tuple(read_words(file, "class_names", names))
    if (labels >= MOST_CLASSES).any():
        at = int(np.argmax(labels >= MOST_CLASSES))
        what = f"expected class indices from 0, got {int(labels[at])} for sequence {at}"
        fail(file, "labels", f"{what}; give class_names if there are so many classes")
    return tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))


def _normalization(file: Path, arrays: dict[str, Any]) -> Normalization:
    recipe = str(arrays.get("normalization", "none"))
    known: dict[str, Normalization] = {recipe: recipe for recipe in get_args(Normalization)}
    if recipe not in known:
        fail(file, "normalization", f"expected one of {', '.join(known)}, got {shown(recipe)}")
    return known[recipe]


def _fps(file: Path, arrays: dict[str, Any]) -> float | None:
    if "fps" not in arrays:
        return None
    array = arrays["fps"]
    if array.size != 1 or array.dtype.kind not in "iuf":
        fail(file, "fps", f"expected one number, got {array.dtype} {array.shape}")
    try:
        return check_rate("fps", array.item())
    except ValueError as error:
        fail(file, str(error))


def _text(file: Path, arrays: dict[str, Any], key: str, default: str) -> str:
    if key not in arrays:
        return default
    if arrays[key].size != 1:
        fail(file, key, f"expected one text, got {arrays[key].dtype} {arrays[key].shape}")
    return read_words(file, key, arrays[key].reshape(1))[0]


def _check_joints(joints: NpzArray, names: int) -> None:
    file, shape, dtype = joints.file, joints.shape, joints.dtype
    if len(shape) != 4 or shape[3] not in (2, 3) or 0 in shape:
        fail(file, "joints", f"expected (sum of T, M, V, C of 2 or 3), got {shape}")
    if dtype.kind != "f":
        fail(file, "joints", f"expected floating-point coordinates, got {dtype}")
    if shape[2] != names:
        fail(file, "joint_names", f"expected {shape[2]} names, as joints has, got {names}")


def _third(
    joints: NpzArray, lengths: NDArray[np.int64], given: Coordinates, unit: str | None
) -> Third:
    """Find out what the third numbers are, and skip unreadable recordings."""

    def recordings() -> Iterator[tuple[str, Callable[[], NDArray[np.float32]]]]:
        with suppress(SkeletonFormatError):
            for part in joints.units(len(lengths)):
                for index, rows in enumerate(joints.sequences(lengths, part), part.start):
                    yield f"sequence {index}", partial(_frames, rows)

    return find_third(recordings(), given, unit)


def _frames(rows: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return rows.astype(np.float32)


def _integers(
    file: Path, arrays: dict[str, Any], key: str, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return an integer array of this shape, filled with -1 if the key is missing."""
    array = arrays.get(key, np.full(shape, -1))
    if array.shape != shape or array.dtype.kind not in "iu":
        fail(file, key, f"expected integers {shape}, got {array.dtype} {array.shape}")
    if array.size and int(array.max()) >= 2**63:
        fail(file, key, f"expected integers of 64 bits, got {int(array.max())}")
    return np.asarray(array.astype(np.int64))


def _lengths(file: Path, arrays: dict[str, Any], frames: int) -> NDArray[np.int64]:
    lengths = _integers(file, arrays, "lengths", (len(_row(file, arrays, "lengths")),))
    check_room(file, SEQUENCE_BYTES * len(lengths), "lengths", f"{len(lengths):,} sequences")
    if (lengths < 1).any():
        fail(file, "lengths", f"sequence {int(np.argmax(lengths < 1))} has no frames")
    total = sum(lengths.tolist())
    if total != frames:
        fail(file, "lengths", f"add up to {total}, but joints has {frames} frames")
    return lengths


def _columns(file: Path, count: int) -> tuple[dict[str, list[int | str]], list[str]]:
    """Read all columns, and describe the arrays that are not columns."""
    columns, ignored = {}, []
    others = other_arrays(file, _KNOWN)
    fitting = [
        key
        for key, head in others.items()
        if head.shape == (count,) and head.dtype.kind in "iubfUS"
    ]
    if len(fitting) > MOST_COLUMNS:
        fail(file, f"expected at most {MOST_COLUMNS:,} columns, got {len(fitting):,}")
    arrays, _ = load_npz(file, fitting, ())
    for key, head in others.items():
        kind = f"{head.dtype} {head.shape}"
        if key not in arrays:
            if key in _COLUMNS.split():
                what = f"expected integers or words ({count},), one per sequence"
                fail(file, key, f"{what}, got {kind}")
            ignored.append(f"{shown(key)} {kind}")
            continue
        if key not in _COLUMNS.split() and head.dtype.kind == "f" and not _are_whole(arrays[key]):
            ignored.append(f"{shown(key)} {kind}")
        elif not is_column(key):
            fail(file, shown(key), "expected an identifier as a column, not a reserved one")
        else:
            columns[key] = _column(file, key, arrays[key])
    return columns, ignored


def _are_whole(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all() and (array == np.floor(array)).all())


def _column(file: Path, key: str, array: NDArray[Any]) -> list[int | str]:
    """Read the integers or words of a column."""
    cells, first, places = np.unique(array, return_index=True, return_inverse=True)
    values = []
    for cell, at in zip(cells.tolist(), first.tolist(), strict=True):
        try:
            values.append(read_value(cell))
        except ValueError as error:
            fail(file, key, f"sequence {at}: {error}")
    column = [values[place] for place in places.tolist()]
    if mixture := find_mixture(column):
        number, word = (f"{shown(column[at])} of sequence {at}" for at in mixture)
        fail(file, key, f"expected only numbers or only words, got {number} and {word}")
    return column


def _frame_labels(
    file: Path, arrays: dict[str, Any], frames: int, classes: int
) -> NDArray[np.int64] | None:
    if "frame_labels" not in arrays:
        return None
    labels = _integers(file, arrays, "frame_labels", (frames,))
    wrong = (labels < -1) | (labels >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        fail(file, "frame_labels", f"expected [-1, {classes}), frame {at} has {labels[at]}")
    return labels


def _segments(
    file: Path, arrays: dict[str, Any], lengths: NDArray[np.int64], classes: int
) -> NDArray[np.int64] | None:
    """Read the segments (S, 4), grouped by sequence."""
    if "segments" not in arrays:
        return None
    segments = arrays["segments"]
    if segments.ndim != 2 or segments.shape[1] != 4:
        fail(file, "segments", f"expected integers (S, 4), got {segments.dtype} {segments.shape}")
    segments = _integers(file, arrays, "segments", segments.shape)
    for at, (sequence, start, end, action) in enumerate(segments.tolist()):
        inside = 0 <= sequence < len(lengths) and 0 <= start < end <= int(lengths[sequence])
        if not inside or not 0 <= action < classes:
            row = (sequence, start, end, action)
            fail(file, "segments", f"row {at} {row} lies outside the sequences or the classes")
    return np.asarray(segments[np.argsort(segments[:, 0], kind="stable")])


def _untrimmed(
    file: Path, data: _Data, index: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Return frame labels and segments of one sequence."""
    labels = segments = None
    start, length = int(data.starts[index]), int(data.lengths[index])
    if data.frame_labels is not None:
        labels = data.frame_labels[start : start + length]
    if data.segments is not None:
        first, last = np.searchsorted(data.segments[:, 0], [index, index + 1])
        segments = data.segments[first:last, 1:]
    if labels is None and segments is not None:
        return paint(length, segments), segments
    if labels is not None and segments is None:
        return labels, find_segments(labels)
    if labels is not None and segments is not None and (wrong := contradiction(labels, segments)):
        fail(file, "frame_labels, segments", f"sequence {index}: {wrong}")
    return labels, segments


def _read_unit(data: _Data, unit: Range) -> Iterator[Recording | SkeletonFormatError]:
    sequences = data.joints.sequences(data.lengths, unit)
    for index, rows in enumerate(sequences, unit.start):
        yield or_error(_recording, unit.file, data, index, rows)


def _recording(file: Path, data: _Data, index: int, rows: NDArray[Any]) -> Recording:
    frames = _frames(rows)
    if where := not_finite(frames):
        fail(file, "joints", f"NaN or infinity in sequence {index}, {where}")
    if data.third is not None:
        frames = data.third.take(frames, file, f"joints: sequence {index}")
    return Recording(
        frames,
        int(data.labels[index]),
        {key: column[index] for key, column in data.columns.items()},
        *_untrimmed(file, data, index),
        name=f"sequence {index}",
    )
