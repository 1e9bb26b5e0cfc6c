"""The packed ``.npz`` layout: a whole data set in one file of plain arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Recording, Recordings
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import find_skeleton

__all__ = ["read_packed"]

_REQUIRED = ("joints", "lengths", "labels", "class_names", "joint_names", "parents")
_KNOWN = (*_REQUIRED, "fps", "unit", "source", "licence", "frame_labels", "segments")


def read_packed(path: str | Path) -> Recordings:
    """Read a packed ``.npz``; coordinates are streamed, one sequence in memory at a time.

    Keys: ``joints`` float (sum of T, M, V, C), all sequences end to end; ``lengths`` (N,);
    ``labels`` (N,), -1 for none; ``class_names``; ``joint_names`` (V,); ``parents`` (V,), -1 at
    the root; optionally ``fps``, ``unit``, ``source``, ``licence``; for untrimmed recordings
    ``frame_labels`` (sum of T,), -1 is background, and ``segments`` (S, 4) of sequence, start,
    end (exclusive), class. Every other integer array (N,) is kept as a column: ``subjects``,
    ``views``, ``fold``, ... Other keys are ignored.

    Raises:
        SkeletonFormatError: Naming file, key and place; for NaN coordinates only when the
            iteration reaches them.
    """
    file = Path(path)
    arrays = _load_arrays(file)
    shape, dtype = arrays.pop("joints")
    joint_names = [str(name) for name in arrays["joint_names"]]
    class_names = tuple(str(name) for name in arrays["class_names"])
    _check_joints(file, shape, dtype, len(joint_names))
    columns = _columns(file, arrays, shape[0], len(class_names))
    if "frame_labels" in arrays:
        _check_untrimmed(file, arrays, columns["lengths"], len(class_names))
    try:
        skeleton = find_skeleton(joint_names, [int(parent) for parent in arrays["parents"]])
    except ValueError as error:
        _fail(file, "joint_names, parents", str(error))
    return Recordings(
        skeleton=skeleton,
        class_names=class_names,
        count=len(columns["lengths"]),
        sequences=_sequences(file, columns, arrays),
        fps=float(arrays["fps"]) if "fps" in arrays else None,
        **{key: str(arrays[key]) for key in ("unit", "source", "licence") if key in arrays},
    )


def _fail(file: Path, key: str, what: str) -> NoReturn:
    raise SkeletonFormatError(f"{file}: {key}: {what}")


def _load_arrays(file: Path) -> dict[str, Any]:
    """All arrays but ``joints``, of which only the shape and dtype."""
    if not file.is_file():
        raise SkeletonFormatError(f"{file}: no such file")
    if not zipfile.is_zipfile(file):
        raise SkeletonFormatError(f"{file}: not a readable .npz, or cut short")
    try:
        with np.load(file, allow_pickle=False) as packed:
            if missing := [key for key in _REQUIRED if key not in packed.files]:
                _fail(file, ", ".join(missing), f"missing; the file has {', '.join(packed.files)}")
            arrays = {key: packed[key] for key in packed.files if key != "joints"}
        with zipfile.ZipFile(file) as archive, archive.open("joints.npy") as member:
            arrays["joints"] = _read_header(file, member)
    except SkeletonFormatError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise SkeletonFormatError(f"{file}: not a readable .npz of plain arrays, {error}") from None
    return arrays


def _read_header(file: Path, member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        _fail(file, "joints", f"expected .npy version 1.0 or 2.0, got {version}")
    shape, fortran_order, dtype = read[version](member)
    if fortran_order:
        _fail(file, "joints", "expected C order; save it as np.ascontiguousarray(joints)")
    return shape, dtype


def _check_joints(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], names: int) -> None:
    if len(shape) != 4 or shape[3] not in (2, 3) or 0 in shape:
        _fail(file, "joints", f"expected (sum of T, M, V, C of 2 or 3), got {shape}")
    if dtype.kind != "f":
        _fail(file, "joints", f"expected floating-point coordinates, got {dtype}")
    if shape[2] != names:
        _fail(file, "joint_names", f"expected {shape[2]} names, as joints has, got {names}")


def _columns(
    file: Path, arrays: dict[str, Any], frames: int, classes: int
) -> dict[str, NDArray[np.int64]]:
    lengths, labels = arrays["lengths"], arrays["labels"]
    for key in ("lengths", "labels"):
        if arrays[key].shape != (len(lengths),) or arrays[key].dtype.kind not in "iu":
            shape, dtype = arrays[key].shape, arrays[key].dtype
            _fail(file, key, f"expected integers ({len(lengths)},), got {dtype} {shape}")
    if (lengths < 1).any():
        _fail(file, "lengths", f"sequence {int(np.argmax(lengths < 1))} has no frames")
    if int(lengths.sum()) != frames:
        _fail(file, "lengths", f"add up to {int(lengths.sum())}, but joints has {frames} frames")
    wrong = (labels < -1) | (labels >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        _fail(file, "labels", f"expected [-1, {classes}), sequence {at} has {int(labels[at])}")
    columns = {"lengths": lengths, "labels": labels}
    for key, array in arrays.items():
        if key not in _KNOWN and array.shape == lengths.shape and array.dtype.kind in "iub":
            columns[key] = array
    return {key: column.astype(np.int64) for key, column in columns.items()}


def _check_untrimmed(
    file: Path, arrays: dict[str, Any], lengths: NDArray[np.int64], classes: int
) -> None:
    per_frame = arrays["frame_labels"]
    segments = arrays.setdefault("segments", np.zeros((0, 4), dtype=np.int64))
    if per_frame.shape != (int(lengths.sum()),) or per_frame.dtype.kind != "i":
        shape = per_frame.shape
        _fail(file, "frame_labels", f"expected integers ({int(lengths.sum())},), got {shape}")
    wrong = (per_frame < -1) | (per_frame >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        _fail(file, "frame_labels", f"expected [-1, {classes}), frame {at} has {per_frame[at]}")
    if segments.ndim != 2 or segments.shape[1] != 4 or segments.dtype.kind not in "iu":
        _fail(file, "segments", f"expected integers (S, 4), got {segments.dtype} {segments.shape}")
    for at, (sequence, start, end, action) in enumerate(segments.tolist()):
        inside = 0 <= sequence < len(lengths) and 0 <= start < end <= int(lengths[sequence])
        if not inside or not 0 <= action < classes:
            row = (sequence, start, end, action)
            _fail(file, "segments", f"row {at} {row} lies outside the sequences or the classes")


def _sequences(
    file: Path, columns: dict[str, NDArray[np.int64]], arrays: dict[str, Any]
) -> Iterator[Recording]:
    lengths = columns["lengths"]
    ends = np.cumsum(lengths)
    extra = [key for key in columns if key not in ("lengths", "labels")]
    with zipfile.ZipFile(file) as archive, archive.open("joints.npy") as member:
        shape, dtype = _read_header(file, member)
        for index, length in enumerate(lengths.tolist()):
            frames = _read_frames(file, member, (length, *shape[1:]), dtype, index)
            untrimmed: dict[str, Any] = {}
            if "frame_labels" in arrays:
                span = slice(int(ends[index]) - length, int(ends[index]))
                untrimmed["frame_labels"] = arrays["frame_labels"][span].astype(np.int64)
                rows = arrays["segments"]
                untrimmed["segments"] = rows[rows[:, 0] == index, 1:].astype(np.int64)
            yield Recording(
                frames,
                int(columns["labels"][index]),
                {key: int(columns[key][index]) for key in extra},
                **untrimmed,
            )


def _read_frames(
    file: Path, member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], index: int
) -> NDArray[np.float32]:
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        raw = member.read(size)
    except (OSError, zipfile.BadZipFile) as error:
        _fail(file, "joints", f"sequence {index} cannot be read, {error}")
    if len(raw) != size:
        _fail(file, "joints", f"the file ends inside sequence {index}")
    frames = np.frombuffer(raw, dtype).reshape(shape).astype(np.float32)
    if not np.isfinite(frames).all():
        frame, person, joint, _ = np.argwhere(~np.isfinite(frames))[0].tolist()
        place = f"sequence {index}, frame {frame}, person {person}, joint {joint}"
        _fail(file, "joints", f"NaN or infinity in {place}")
    return frames
