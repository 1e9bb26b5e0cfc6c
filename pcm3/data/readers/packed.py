"""The packed ``.npz`` layout: a whole data set in one file of plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data._meta import is_column
from pcm3.data.readers._files import (
    MOST_CLASSES,
    Range,
    codes,
    fail,
    not_finite,
    or_error,
    parsing,
    shown,
)
from pcm3.data.readers._layout import choose_layout
from pcm3.data.readers._npz import NpzArray, load_npz, npz_keys
from pcm3.data.readers.base import Recording, Source
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import Skeleton, find_skeleton

__all__ = ["detect", "read_packed"]

_REQUIRED = ("joints", "lengths", "joint_names", "parents")
_OPTIONAL = "labels class_names frame_labels segments fps unit source licence"
_KNOWN = frozenset((*_REQUIRED, *_OPTIONAL.split()))
_COLUMNS = "subjects views setups replications trial trials videos fold"
"""What protocols and readers know by name: never ignored."""


class _Data(NamedTuple):
    """All arrays but the coordinates."""

    joints: NpzArray
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.int64]]
    frame_labels: NDArray[Any] | None
    segments: NDArray[Any] | None


def detect(path: Path) -> bool:
    """Whether this is a packed ``.npz``."""
    return path.suffix == ".npz" and set(_REQUIRED) <= set(npz_keys(path))


def read_packed(path: str | Path, *, skeleton: str | Path | Skeleton | None = None) -> Source:
    """Read a packed ``.npz``, one sequence in memory at a time.

    Keys: ``joints`` float (sum of T, M, V, C), all sequences end to end; ``lengths`` (N,);
    ``joint_names`` (V,); ``parents`` (V,), -1 at the root; optionally ``labels`` (N,), -1 for none;
    ``class_names``; ``fps``, ``unit``, ``source``, ``licence``; for untrimmed recordings
    ``frame_labels`` (sum of T,), -1 is background, and ``segments`` (S, 4) of sequence, start,
    end (exclusive), class. Every other array (N,) of integers or words is kept as a column:
    ``subjects``, ``views``, ``fold``, ...; words become codes in alphabetical order, which
    ``Source.about`` lists. Other keys are ignored, unless protocols know them by name. A file
    written by ``np.savez`` can be read by several processes; a compressed one only from its
    beginning.

    Args:
        path: The file.
        skeleton: What to use in place of parts, mirror and centre by the names: a
            ``skeleton.json``, say, as ``choose_layout`` reads it.

    Raises:
        SkeletonFormatError: Naming file, key and place; NaN coordinates only when they are read.
    """
    file = Path(path)
    arrays, large = load_npz(file, _REQUIRED, ("joints",))
    joints = large["joints"]
    joint_names = [str(name) for name in _row(file, arrays, "joint_names")]
    _check_joints(joints, len(joint_names))
    parents = _row(file, arrays, "parents")
    if len(parents) != len(joint_names) or parents.dtype.kind not in "iu":
        what = f"expected integers ({len(joint_names)},), one a joint"
        fail(file, "parents", f"{what}, got {parents.dtype} {parents.shape}")
    _row(file, arrays, "lengths")
    _check_columns(file, arrays)
    notes = _encode_words(arrays)
    columns = _columns(file, arrays, joints.shape[0])
    lengths, labels = columns.pop("lengths"), columns.pop("labels")
    class_names = _class_names(file, arrays, labels)
    wrong = (labels < -1) | (labels >= len(class_names))
    if wrong.any():
        at, expected = int(np.argmax(wrong)), f"expected [-1, {len(class_names)})"
        fail(file, "labels", f"{expected}, sequence {at} has {int(labels[at])}")
    if "frame_labels" in arrays:
        _check_untrimmed(file, arrays, lengths, len(class_names))
    data = _Data(
        joints, lengths, labels, columns, arrays.get("frame_labels"), arrays.get("segments")
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
        fps=_fps(file, arrays),
        unit=str(arrays.get("unit", "metres")),
        about="; ".join([str(arrays.get("source", file.name)), *notes]),
        licence=str(arrays.get("licence", "")),
    )


def _row(file: Path, arrays: dict[str, Any], key: str) -> NDArray[Any]:
    array: NDArray[Any] = arrays[key]
    if array.ndim != 1:
        fail(file, key, f"expected one axis, got {array.dtype} {array.shape}")
    return array


def _class_names(file: Path, arrays: dict[str, Any], labels: NDArray[np.int64]) -> tuple[str, ...]:
    if "class_names" in arrays:
        return tuple(str(name) for name in _row(file, arrays, "class_names"))
    if (labels >= MOST_CLASSES).any():
        at = int(np.argmax(labels >= MOST_CLASSES))
        what = f"expected class indices from 0, got {int(labels[at])} for sequence {at}"
        fail(file, "labels", f"{what}; give class_names if there are so many classes")
    return tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))


def _fps(file: Path, arrays: dict[str, Any]) -> float | None:
    if "fps" not in arrays:
        return None
    with parsing(file, "fps"):
        return float(arrays["fps"])


def _check_joints(joints: NpzArray, names: int) -> None:
    file, shape, dtype = joints.file, joints.shape, joints.dtype
    if len(shape) != 4 or shape[3] not in (2, 3) or 0 in shape:
        fail(file, "joints", f"expected (sum of T, M, V, C of 2 or 3), got {shape}")
    if dtype.kind != "f":
        fail(file, "joints", f"expected floating-point coordinates, got {dtype}")
    if shape[2] != names:
        fail(file, "joint_names", f"expected {shape[2]} names, as joints has, got {names}")


def _check_columns(file: Path, arrays: dict[str, Any]) -> None:
    count = len(arrays["lengths"])
    for key in arrays.keys() & _COLUMNS.split():
        shape, dtype = arrays[key].shape, arrays[key].dtype
        if shape != (count,) or dtype.kind not in "iubUS":
            what = f"expected integers or words ({count},), one a sequence"
            fail(file, key, f"{what}, got {dtype} {shape}")


def _encode_words(arrays: dict[str, Any]) -> list[str]:
    """Replace columns of words by codes; what they stand for."""
    notes, shape = [], arrays["lengths"].shape
    for key, array in arrays.items():
        if key not in _KNOWN and array.shape == shape and array.dtype.kind in "US":
            words, arrays[key] = np.unique(array.astype(str), return_inverse=True)
            notes.append(codes(key, words.tolist()))
    return notes


def _columns(file: Path, arrays: dict[str, Any], frames: int) -> dict[str, NDArray[np.int64]]:
    lengths = arrays["lengths"]
    labels = arrays.setdefault("labels", np.full(lengths.shape, -1))
    for key in ("lengths", "labels"):
        if arrays[key].shape != (len(lengths),) or arrays[key].dtype.kind not in "iu":
            shape, dtype = arrays[key].shape, arrays[key].dtype
            fail(file, key, f"expected integers ({len(lengths)},), got {dtype} {shape}")
    if (lengths < 1).any():
        fail(file, "lengths", f"sequence {int(np.argmax(lengths < 1))} has no frames")
    if int(lengths.sum()) != frames:
        fail(file, "lengths", f"add up to {int(lengths.sum())}, but joints has {frames} frames")
    columns = {"lengths": lengths, "labels": labels}
    for key, array in arrays.items():
        if key not in _KNOWN and array.shape == lengths.shape and array.dtype.kind in "iub":
            if not is_column(key):
                fail(file, shown(key), "expected the name of a column, a plain word of its own")
            columns[key] = array
    return {key: column.astype(np.int64) for key, column in columns.items()}


def _check_untrimmed(
    file: Path, arrays: dict[str, Any], lengths: NDArray[np.int64], classes: int
) -> None:
    per_frame = arrays["frame_labels"]
    segments = arrays.setdefault("segments", np.zeros((0, 4), dtype=np.int64))
    if per_frame.shape != (int(lengths.sum()),) or per_frame.dtype.kind != "i":
        shape = per_frame.shape
        fail(file, "frame_labels", f"expected integers ({int(lengths.sum())},), got {shape}")
    wrong = (per_frame < -1) | (per_frame >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        fail(file, "frame_labels", f"expected [-1, {classes}), frame {at} has {per_frame[at]}")
    if segments.ndim != 2 or segments.shape[1] != 4 or segments.dtype.kind not in "iu":
        fail(file, "segments", f"expected integers (S, 4), got {segments.dtype} {segments.shape}")
    for at, (sequence, start, end, action) in enumerate(segments.tolist()):
        inside = 0 <= sequence < len(lengths) and 0 <= start < end <= int(lengths[sequence])
        if not inside or not 0 <= action < classes:
            row = (sequence, start, end, action)
            fail(file, "segments", f"row {at} {row} lies outside the sequences or the classes")


def _untrimmed(
    data: _Data, index: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Frame labels and segments of one sequence."""
    if data.frame_labels is None or data.segments is None:
        return None, None
    start = int(data.lengths[:index].sum())
    rows = data.segments[data.segments[:, 0] == index, 1:]
    span = data.frame_labels[start : start + int(data.lengths[index])]
    return span.astype(np.int64), rows.astype(np.int64)


def _read_unit(data: _Data, unit: Range) -> Iterator[Recording | SkeletonFormatError]:
    sequences = data.joints.sequences(data.lengths, unit)
    for index, rows in enumerate(sequences, unit.start):
        yield or_error(_recording, unit.file, data, index, rows)


def _recording(file: Path, data: _Data, index: int, rows: NDArray[Any]) -> Recording:
    with np.errstate(over="ignore", invalid="ignore"):
        frames = rows.astype(np.float32)
    if where := not_finite(frames):
        fail(file, "joints", f"NaN or infinity in sequence {index}, {where}")
    return Recording(
        frames,
        int(data.labels[index]),
        {key: int(column[index]) for key, column in data.columns.items()},
        *_untrimmed(data, index),
        name=f"sequence {index}",
    )
