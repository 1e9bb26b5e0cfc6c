"""The store: one folder that holds a prepared data set, memory-mapped and self-describing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pcm3.data._meta import COUNTS, StoreDtype, read_meta
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import Skeleton

__all__ = ["Store", "StoreDtype"]


class Store:
    """Read a store folder; the coordinates stay on disk until they are used.

    The folder holds ``frames.npy`` (sum of T, M, V, C), all sequences end to end; ``table.npz``
    with one integer column (N,) per property of a sequence; ``meta.json``; for untrimmed
    recordings ``frame_labels.npy`` (sum of T,) and ``segments.npy`` (S, 4); and ``report.json``
    where ``prepare`` wrote one. Nothing in it is pickled.

    Attributes:
        path: The folder.
        meta: What ``meta.json`` says.
        skeleton: The layout of the joint axis.
        class_names: Names of the classes.
        frames: All frames (sum of T, M, V, C), read-only, float32 or float16.
        lengths: Frames per sequence (N,), int64.
        starts: First frame of each sequence in ``frames`` (N,), int64.
        labels: Class per sequence (N,), int64, -1 where there is none.
        columns: Further integer columns (N,) by name: subjects, views, fold, ... and always
            ``duplicate_of``, the first sequence with the same bits or -1.
        frame_labels: Class per frame (sum of T,), -1 is background; None for trimmed data.
        segments: (S, 4) sequence, start, end (exclusive), class; None for trimmed data.

    Raises:
        SkeletonFormatError: If the folder or a file in it is missing, truncated, of another
            version, or at odds with ``meta.json``.

    Example:
        >>> store = Store("data/ntu60")                                      # doctest: +SKIP
        >>> store.sequence(0).shape                                          # doctest: +SKIP
        (103, 2, 25, 3)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta = read_meta(self.path)
        try:
            self.skeleton = Skeleton.from_dict(self.meta["skeleton"])
        except (ValueError, TypeError) as error:
            raise SkeletonFormatError(f"{self.path / 'meta.json'}: {error}") from None
        self.class_names = tuple(self.meta["class_names"])
        self.frames = self._load("frames.npy", mmap=True)
        table = self._load_table()
        self.lengths = table.pop("lengths")
        self.labels = table.pop("labels")
        self.columns = table
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)
        untrimmed = bool(self.meta["untrimmed"])
        self.frame_labels = self._load("frame_labels.npy") if untrimmed else None
        self.segments = self._load("segments.npy") if untrimmed else None
        self._check_sizes()

    def _load(self, name: str, *, mmap: bool = False) -> NDArray[Any]:
        file = self.path / name
        try:
            loaded = np.load(file, mmap_mode="r" if mmap else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SkeletonFormatError(f"{file}: cannot be read, {error}") from None
        return np.asarray(loaded)

    def _load_table(self) -> dict[str, NDArray[np.int64]]:
        file = self.path / "table.npz"
        try:
            with np.load(file, allow_pickle=False) as table:
                return {name: table[name] for name in self.meta["columns"]}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise SkeletonFormatError(f"{file}: cannot be read, {error}") from None

    def _check_sizes(self) -> None:
        counts = [int(self.meta[key]) for key in COUNTS]
        sequences, frames = counts[:2]
        wanted: dict[str, tuple[int, ...]] = {"frames": tuple(counts[1:])}
        wanted |= {"lengths": (sequences,), "labels": (sequences,)}
        found = {"frames": self.frames, "lengths": self.lengths, "labels": self.labels}
        for name, column in self.columns.items():
            wanted[name], found[name] = (sequences,), column
        if self.frame_labels is not None:
            wanted["frame_labels"], found["frame_labels"] = (frames,), self.frame_labels
        for name, shape in wanted.items():
            if found[name].shape != shape:
                raise SkeletonFormatError(
                    f"{self.path}: expected {name} {shape}, as meta.json says, "
                    f"found {found[name].shape}"
                )
        if self.frames.dtype != self.meta["dtype"]:
            raise SkeletonFormatError(
                f"{self.path}: expected frames of {self.meta['dtype']}, found {self.frames.dtype}"
            )
        if int(self.lengths.sum()) != frames:
            raise SkeletonFormatError(
                f"{self.path}: expected lengths that add up to {frames} frames, "
                f"found {int(self.lengths.sum())}"
            )

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        # A data loader's worker opens the files again instead of receiving a copy of them.
        return Store, (self.path,)

    def __len__(self) -> int:
        """Number of sequences N."""
        return len(self.lengths)

    def __repr__(self) -> str:
        return (
            f"Store({str(self.path)!r}: {len(self)} sequences, {len(self.frames)} frames, "
            f"{self.skeleton.name}, {self.persons} persons, {len(self.class_names)} classes)"
        )

    @property
    def persons(self) -> int:
        """Number of persons M that every frame has room for."""
        return int(self.frames.shape[1])

    def sequence(self, index: int) -> NDArray[Any]:
        """One sequence (T, M, V, C), a read-only view of the file; 0 where nobody is.

        Raises:
            IndexError: If there is no such sequence.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"expected a sequence in [0, {len(self)}), got {index}")
        start = int(self.starts[index])
        return self.frames[start : start + int(self.lengths[index])]

    def summary(self) -> dict[str, Any]:
        """Counts and length quantiles, JSON-able."""
        quantiles = np.quantile(self.lengths, (0, 0.25, 0.5, 0.75, 1)).tolist()
        names = ("min", "q25", "median", "q75", "max")

        def distinct(column: str) -> int | None:
            return len(np.unique(self.columns[column])) if column in self.columns else None

        return {
            "sequences": len(self),
            "frames": len(self.frames),
            "persons": self.persons,
            "skeleton": self.skeleton.name,
            "joints": len(self.skeleton),
            "classes": len(self.class_names),
            "subjects": distinct("subjects"),
            "views": distinct("views"),
            "lengths": dict(zip(names, quantiles, strict=True)),
            "duplicates": int((self.columns["duplicate_of"] >= 0).sum()),
            "segments": None if self.segments is None else len(self.segments),
            "fps": self.meta["fps"],
            "normalization": self.meta["normalization"],
            "dtype": self.meta["dtype"],
        }
