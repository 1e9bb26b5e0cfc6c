"""``StoreWriter``, which writes a store sequence by sequence, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.columns import code_words, find_mixture, read_value
from pcm3.data.protocols import Protocol
from pcm3.data.store.intervals import contradiction, find_segments
from pcm3.data.store.meta import (
    COUNTS,
    FILES,
    FORMAT,
    STORE_VERSION,
    StoreDtype,
    checksum_of,
    is_column,
    json_text,
    read_meta,
    replaced,
    too_empty,
    write_json,
)
from pcm3.io.reading import shown
from pcm3.skeleton import MOST_PERSONS, Skeleton


class StoreWriter:
    """Writer of a store, sequence by sequence, in constant memory; a context manager.

    Sequences go to a hidden folder next to the target, which is renamed to the target when the
    ``with`` block ends without an exception, and removed otherwise. If the path is a link, the
    folder that it points to is written.

    Args:
        path: The folder to write.
        skeleton: The layout of the joint axis.
        class_names: Names of the classes; labels index them.
        dtype: ``"float32"``, or ``"float16"`` for half the size, which rounds coordinates by up
            to about 0.05 %. No coordinate is rounded to 0, as a 0 means that a joint is not seen.
        fps: Frames per second, if known.
        unit: Unit of the coordinates.
        source: Where the recordings come from.
        licence: The licence of the recordings.
        normalization: The recipe that was applied to the coordinates.
        bodies: How the bodies of a frame were told apart, ``"place"`` or ``"tracked"``, or None
            if the format leaves no choice.
        mapping: What the joints were mapped from, see ``JointMap.report``, or None.
        protocols: Published divisions into training and test part, by name; each needs its column.
        overwrite: Replace an existing store. Folders that are not a store, or hold other files
            too, are never replaced.

    Attributes:
        report: A JSON-able dict to write as ``report.json``, or None.
        rounding: The largest rounding error of a coordinate so far.

    Raises:
        ValueError: If the path exists, the dtype is unknown, or no sequence was added.

    Example:
        >>> with StoreWriter("mine", NTU25, class_names=["wave"]) as writer:  # doctest: +SKIP
        ...     writer.add(sequence, label=0, subjects=1)
    """

    def __init__(
        self,
        path: str | Path,
        skeleton: Skeleton,
        *,
        class_names: Sequence[str],
        dtype: StoreDtype = "float32",
        fps: float | None = None,
        unit: str = "metres",
        source: str = "",
        licence: str = "",
        normalization: str = "none",
        bodies: str | None = None,
        mapping: Mapping[str, Any] | None = None,
        protocols: Mapping[str, Protocol] | None = None,
        overwrite: bool = False,
    ) -> None:
        if dtype not in get_args(StoreDtype):
            raise ValueError(f"expected a dtype among {get_args(StoreDtype)}, got {dtype!r}")
        self.path = Path(path)
        self._target = Path(os.path.realpath(path)) if self.path.is_symlink() else self.path
        self.skeleton = skeleton
        if wrong := [name for name in class_names if isinstance(name, bytes)]:
            raise ValueError(f"expected class names, words, got {shown(wrong[0])}")
        self.class_names = [str(name) for name in class_names]
        self.report: dict[str, Any] | None = None
        self.rounding = 0.0
        self._dtype = np.dtype(dtype)
        self._about = {
            "fps": fps,
            "unit": unit,
            "source": source,
            "licence": licence,
            "normalization": normalization,
            "bodies": bodies,
            "protocols": {name: rule._asdict() for name, rule in (protocols or {}).items()},
            **({} if mapping is None else {"mapping": dict(mapping)}),
        }
        self._overwrite = overwrite
        self._check_target()
        self._folder = self._target.with_name(
            f".{self._target.name}.{uuid.uuid4().hex[:8]}.partial"
        )
        self._file: IO[bytes] | None = None
        self._shape: tuple[int, ...] | None = None
        self._rows: list[dict[str, int | str]] = []
        self._telling: dict[str, int | str] = {}
        self._names: list[str] = []
        self._checksums: list[int] = []
        self._first_with: dict[bytes, int] = {}
        self._frame_labels: list[NDArray[np.int64]] = []
        self._segments: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        """Number of sequences added so far."""
        return len(self._rows)

    def __enter__(self) -> StoreWriter:
        self._folder.mkdir(parents=True)
        self._file = (self._folder / "bodies.npy").open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._file is not None:
                self._file.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(
        self,
        sequence: ArrayLike,
        label: int = -1,
        *,
        name: str = "",
        frame_labels: ArrayLike | None = None,
        segments: ArrayLike | None = None,
        **columns: int | str,
    ) -> None:
        """Append one sequence.

        Args:
            sequence: (T, M, V, C) finite coordinates, C of 2 or 3; 0 where nobody is. M and C
                are those of the first sequence.
            label: Class in [0, classes), or -1.
            name: Name of the sequence.
            frame_labels: Class of every frame (T,), -1 is background; for all sequences or none.
            segments: (S, 3) start, end (exclusive), class; only with ``frame_labels``, and by
                default their runs of equal labels. Segments may overlap, but the label of every
                frame must be the class of a segment that holds it, or -1 outside segments.
            **columns: Integers or words that describe the sequence (``subjects=3`` or
                ``subjects="anna"``), the same names in every call; -1 or ``""`` for a missing
                value. A column holds integers or words, not both. Text that is a number counts as
                that number.

        Raises:
            ValueError: If something does not fit; the message names the sequence.
        """
        if self._file is None:
            raise ValueError("expected `with StoreWriter(...) as writer:` around add()")
        frames = np.ascontiguousarray(sequence, dtype=np.float32)
        self._check_sequence(frames, label)
        slots = _slots(frames)
        row: dict[str, int | str] = {"lengths": len(frames), "labels": int(label), "slots": slots}
        row |= {name: self._read_column(name, value) for name, value in columns.items()}
        row["duplicate_of"] = self._duplicate_of(frames)
        if self._rows and row.keys() != self._rows[0].keys():
            self._fail(f"expected the columns {list(self._rows[0])}, got {list(row)}")
        if np.abs(frames).max() > np.finfo(self._dtype).max:
            self._fail(f"coordinates up to {np.abs(frames).max():.4g} do not fit {self._dtype}")
        self._add_annotation(len(frames), frame_labels, segments)
        if not self._rows:
            self._shape = frames.shape[1:]
            self._write_header(0)
        content = self._rounded(frames[:, :slots]).tobytes()
        self._file.write(content)
        self._checksums.append(zlib.crc32(content))
        self._rows.append(row)
        self._names.append(name)

    def _read_column(self, name: str, value: Any) -> int | str:
        if not is_column(name):
            self._fail(f"expected identifiers as names of columns, not reserved, got {name!r:.60}")
        try:
            read = read_value(value)
        except ValueError as error:
            self._fail(f"column {name}: {error}")
        if find_mixture([self._telling.setdefault(name, read), read]):
            what = "expected only integers or only words, got"
            self._fail(f"column {name}: {what} {shown(self._telling[name])} and {shown(read)}")
        if self._telling[name] == -1:
            self._telling[name] = read
        return read

    def _fail(self, what: str) -> NoReturn:
        raise ValueError(f"sequence {len(self._rows)}: {what}")

    def _rounded(self, frames: NDArray[np.float32]) -> NDArray[Any]:
        """Round coordinates to the store's dtype; only 0 becomes 0."""
        if self._dtype == frames.dtype:
            return frames
        rounded = frames.astype(self._dtype)
        smallest = np.copysign(np.finfo(self._dtype).smallest_subnormal, frames)
        rounded = np.where((rounded == 0) & (frames != 0), smallest, rounded).astype(self._dtype)
        self.rounding = max(self.rounding, float(np.abs(rounded - frames).max()))
        return rounded

    def _check_target(self) -> None:
        old = replaced(self._target)
        if old.exists() and not self._target.exists():  # a process was killed while replacing it
            old.rename(self._target)
        if not self._target.exists():
            return
        if not self._overwrite:
            raise ValueError(
                f"{self.path}: already exists; choose another name, or overwrite it (--overwrite)"
            )
        read_meta(self._target, any_version=True)  # never delete a folder that is not a store
        others = sorted({file.name for file in self._target.iterdir()} - FILES)
        if others:
            raise ValueError(
                f"{self.path}: expected only the files of a store to overwrite, got "
                f"{', '.join(others[:5])} too; move them elsewhere"
            )

    def _check_sequence(self, frames: NDArray[np.float32], label: int) -> None:
        joints = len(self.skeleton)
        expected = f"(T, M, V={joints}, C of 2 or 3)"
        fits = frames.ndim == 4 and frames.shape[2] == joints and frames.shape[3] in (2, 3)
        if self._shape is not None:
            expected = f"(T, {', '.join(map(str, self._shape))})"
            fits = frames.shape[1:] == self._shape
        fits = fits and frames.shape[1] <= MOST_PERSONS
        if not fits or 0 in frames.shape:
            self._fail(f"expected coordinates {expected}, got {frames.shape}")
        if not np.isfinite(frames).all():
            frame, person, joint, _ = np.argwhere(~np.isfinite(frames))[0].tolist()
            self._fail(f"NaN or infinity in frame {frame}, person {person}, joint {joint}")
        whole = isinstance(label, (int, np.integer))
        if not whole or not -1 <= label < len(self.class_names):
            self._fail(f"expected a label in [-1, {len(self.class_names)}), got {label}")

    def _duplicate_of(self, frames: NDArray[np.float32]) -> int:
        """Return the index of the first sequence with the same bits, or -1."""
        digest = hashlib.blake2b(frames.tobytes(), digest_size=16).digest()
        first = self._first_with.setdefault(digest, len(self._rows))
        return -1 if first == len(self._rows) else first

    def _add_annotation(
        self, length: int, frame_labels: ArrayLike | None, segments: ArrayLike | None
    ) -> None:
        if self._rows and (frame_labels is not None) != bool(self._frame_labels):
            self._fail("expected frame_labels for all sequences or for none")
        if frame_labels is None:
            if segments is not None:
                self._fail("expected frame_labels with segments")
            return
        per_frame = self._integers("frame_labels", frame_labels)
        classes = len(self.class_names)
        if per_frame.shape != (length,) or per_frame.min() < -1 or per_frame.max() >= classes:
            self._fail(f"expected frame_labels ({length},) in [-1, {classes})")
        spans = (
            find_segments(per_frame) if segments is None else self._integers("segments", segments)
        ).reshape(-1, 3)
        for start, end, action in spans.tolist():
            if not (0 <= start < end <= length and 0 <= action < classes):
                self._fail(
                    f"expected segments within {length} frames and {classes} classes, "
                    f"got start {start}, end {end}, class {action}"
                )
        if wrong := contradiction(per_frame, spans):
            self._fail(wrong)
        self._frame_labels.append(per_frame)
        index = np.full((len(spans), 1), len(self._rows), dtype=np.int64)
        self._segments.append(np.concatenate([index, spans], axis=1))

    def _integers(self, name: str, values: ArrayLike) -> NDArray[np.int64]:
        array = np.asarray(values)
        if array.size and array.dtype.kind not in "iu":
            self._fail(f"expected {name} of integers, got {array.dtype}")
        return array.astype(np.int64)

    def _write_header(self, rows: int) -> None:
        """Write the .npy header, which NumPy pads so that the first axis can grow in place."""
        assert self._file is not None
        assert self._shape is not None
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (rows, *self._shape[1:]),
            },
        )

    def _finish(self) -> None:
        if not self._rows or self._shape is None or self._file is None:
            raise ValueError(f"{self.path}: no sequences were added, so no store was written")
        columns: dict[str, Any] = {}
        words: dict[str, tuple[str, ...]] = {}
        for name in self._rows[0]:
            columns[name], known = code_words(row[name] for row in self._rows)
            words |= {name: known} if known else {}
        frames = int(columns["lengths"].sum())
        rows = int((columns["lengths"] * columns["slots"]).sum())
        row_bytes = math.prod(self._shape[1:]) * self._dtype.itemsize
        if wrong := too_empty(frames, rows, self._shape[0], row_bytes):
            raise ValueError(f"{self.path}: {wrong}")
        self._file.seek(0)
        self._write_header(rows)
        self._file.close()
        np.savez(self._folder / "table.npz", **columns)  # its zip archive has checksums
        arrays: dict[str, NDArray[Any]] = {
            "names.npy": np.array(self._names, dtype=str),
            "checksums.npy": np.array(self._checksums, dtype=np.uint32),
        }
        if self._frame_labels:
            arrays["frame_labels.npy"] = np.concatenate(self._frame_labels)
            arrays["segments.npy"] = np.concatenate(self._segments)
        for name, values in arrays.items():
            np.save(self._folder / name, values)
        if self.report is not None:
            write_json(self._folder / "report.json", self.report)
        counts = (len(self._rows), frames, rows, *self._shape)
        meta: dict[str, Any] = {
            "format": FORMAT,
            "version": STORE_VERSION,
            **dict(zip(COUNTS, counts, strict=True)),
            "dtype": self._dtype.name,
            "columns": list(columns),
            "words": words,
            "untrimmed": bool(self._frame_labels),
            **self._about,
            "class_names": self.class_names,
            "skeleton": self.skeleton.to_dict(),
            "checksums": {name: zlib.crc32(values.tobytes()) for name, values in arrays.items()},
        }
        meta["checksum"] = checksum_of(json.loads(json_text(meta)))
        write_json(self._folder / "meta.json", meta)  # last, because it makes the folder a store
        self._move_into_place()

    def _move_into_place(self) -> None:
        self._check_target()
        if not self._target.exists():
            self._folder.rename(self._target)
            return
        old = replaced(self._target)
        if old.exists():  # left by a process that was killed before it removed it
            shutil.rmtree(old)
        self._target.rename(old)
        try:
            self._folder.rename(self._target)
        except BaseException:
            old.rename(self._target)
            raise
        shutil.rmtree(old)


def _slots(frames: NDArray[np.float32]) -> int:
    """Return the number of persons up to the last one who is ever seen, at least 1."""
    seen = np.flatnonzero(frames.any(axis=(0, 2, 3)))
    return int(seen[-1]) + 1 if len(seen) else 1
