"""The store: one folder that holds a prepared data set, memory-mapped and self-describing."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.data.axes import CLEARLY, Up, along, from_legs_to_trunk, turn_up
from pcm3.data.protocols import Protocol
from pcm3.data.store.meta import read_meta, too_empty
from pcm3.errors import SkeletonFormatError
from pcm3.io.npz import load_npz
from pcm3.io.reading import check_text, fail, open_npy
from pcm3.skeleton import Skeleton

_SOME = 32  # sequences that determine which way is up


class Store:
    """A store folder; coordinates stay on disk until they are used.

    The folder holds ``bodies.npy`` (R, V, C), all sequences end to end, each without empty persons
    at the end; ``table.npz`` with one integer column (N,) per property of a sequence; ``names.npy``
    (N,); ``meta.json``; for untrimmed recordings ``frame_labels.npy`` (sum of T,) and
    ``segments.npy`` (S, 4); ``checksums.npy`` (N,) with the CRC-32 of each sequence; and
    ``report.json`` if ``prepare`` wrote the store. Nothing in it is pickled.

    Checksums are verified on reading: those of ``meta.json`` and the table when the store is
    opened, those of the names, frame labels, segments and each sequence on first use. Stores of
    old versions have no checksums and are read without these checks.

    Args:
        path: The folder.
        up: The axis that points up, if it is known; by default bodies show it, see ``up``.
        left_handed: Whether the axes are left-handed, if it is known; otherwise bodies show it
            where it matters, see ``BodyForm``.

    Attributes:
        path: The folder.
        known_up: The argument ``up``.
        known_left_handed: The argument ``left_handed``.
        meta: The content of ``meta.json``.
        skeleton: The layout of the joint axis.
        class_names: Names of the classes.
        protocols: The divisions that the data set is published with, by name.
        persons: Number of persons M that every frame has room for.
        bodies: The persons of all frames (R, V, C), read-only, float32 or float16; R is the sum
            of ``lengths`` times ``slots``.
        lengths: Frames per sequence (N,), int64.
        slots: Number of persons of each sequence that ``bodies`` holds (N,), 1 to M; the others
            are empty.
        starts: First frame of each sequence, counted through all sequences (N,), int64; its
            ``frame_labels`` begin there.
        labels: Class per sequence (N,), int64; -1 for none.
        columns: Further integer columns (N,) by name: subjects, views, fold, ... and always
            ``duplicate_of``, the first sequence with the same bits or -1. A column of words holds
            positions in ``words``, -1 for none.
        words: The words of each column of words, in alphabetical order.

    Raises:
        SkeletonFormatError: If the folder or a file in it is missing, truncated, of another
            version, or inconsistent with ``meta.json``.

    Example:
        >>> store = Store("data/ntu60")                                      # doctest: +SKIP
        >>> store.sequence(0).shape                                          # doctest: +SKIP
        (103, 2, 25, 3)
    """

    def __init__(
        self, path: str | Path, *, up: Up | None = None, left_handed: bool | None = None
    ) -> None:
        self.path = Path(path)
        self.known_up, self.known_left_handed = up, left_handed
        self.meta = read_meta(self.path)
        try:
            self.skeleton = Skeleton.from_dict(self.meta["skeleton"])
        except ValueError as error:
            fail(self.path / "meta.json", str(error))
        self.class_names = tuple(self.meta["class_names"])
        self.protocols = {
            name: Protocol(
                rule["column"], tuple(rule["train"]), rule["test"] and tuple(rule["test"])
            )
            for name, rule in self.meta["protocols"].items()
        }
        self.persons = int(self.meta["persons"])
        self.bodies = self._load("bodies.npy")
        table, _ = load_npz(self.path / "table.npz", self.meta["columns"], ())
        table = {name: table[name] for name in self.meta["columns"]}
        self.lengths = table.pop("lengths")
        self.labels = table.pop("labels")
        self.slots = table.pop("slots")
        self.columns = table
        self.words = {name: tuple(words) for name, words in self.meta["words"].items()}
        untrimmed = self.meta["untrimmed"]
        names = ("frame_labels.npy", "segments.npy") if untrimmed else ()
        self._unverified = {name: np.asarray(open_npy(self.path / name)) for name in names}
        self._check_sizes()
        self._check_values()
        self._verified = np.full(len(self), "checksums" not in self.meta)
        self.starts = _starts(self.lengths)
        self._rows = _starts(self.lengths * self.slots)
        self._opened = self._file_state()

    def check_unchanged(self) -> None:
        """Require that the file of the coordinates is the one that was opened.

        Raises:
            SkeletonFormatError: If the file was removed, replaced or written to.
        """
        if self._file_state() != self._opened:
            raise SkeletonFormatError(f"{self.path} was removed or changed while it was in use")

    def _file_state(self) -> tuple[int, ...] | None:
        try:
            status = (self.path / "bodies.npy").stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _load(self, name: str) -> NDArray[Any]:
        """Open an array, memory-mapped; the checksum of all but the coordinates is verified."""
        return self._verify(name, np.asarray(open_npy(self.path / name)))

    def _verify(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        known = self.meta.get("checksums", {})
        if name in known and zlib.crc32(np.ascontiguousarray(values).data) != known[name]:
            fail(self.path / name, "damaged, the checksum is wrong")
        return values

    @cached_property
    def frame_labels(self) -> NDArray[np.int64] | None:
        """Class per frame (sum of T,), -1 is background; None for trimmed data."""
        return self._annotation("frame_labels.npy")

    @cached_property
    def segments(self) -> NDArray[np.int64] | None:
        """(S, 4) sequence, start, end (exclusive), class; None for trimmed data."""
        return self._annotation("segments.npy")

    def _annotation(self, name: str) -> NDArray[np.int64] | None:
        # not when the store is opened, which would take twice as long
        return self._verify(name, np.array(self._unverified[name])) if self._unverified else None

    def _check_sizes(self) -> None:
        sequences, frames, rows = (int(self.meta[key]) for key in ("sequences", "frames", "rows"))
        joints, channels = int(self.meta["joints"]), int(self.meta["channels"])
        columns = {"lengths": self.lengths, "labels": self.labels, "slots": self.slots}
        arrays: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
            "bodies": (self.bodies, (rows, joints, channels)),
            **{name: (column, (sequences,)) for name, column in (columns | self.columns).items()},
        }
        if self._unverified:
            frame_labels, segments = self._unverified.values()
            arrays["frame_labels"] = frame_labels, (frames,)
            arrays["segments"] = segments, (len(segments), 4)
        for name, (array, size) in arrays.items():
            if name != "bodies" and array.dtype != np.int64:
                fail(self.path, f"expected {name} of int64, found {array.dtype}")
            if array.shape != size:
                what = f"expected {name} {size}, as meta.json says, found {array.shape}"
                fail(self.path, what)
        if joints != len(self.skeleton):
            what = f"expected {len(self.skeleton)} joints, as the skeleton has, found {joints}"
            fail(self.path, what)
        if self.bodies.dtype != self.meta["dtype"]:
            fail(self.path, f"expected bodies of {self.meta['dtype']}, found {self.bodies.dtype}")

    def _check_values(self) -> None:
        frames, rows = int(self.meta["frames"]), int(self.meta["rows"])
        if (self.lengths < 1).any() or ((self.slots < 1) | (self.slots > self.persons)).any():
            fail(self.path, f"expected lengths from 1 and slots from 1 to {self.persons}")
        if (self.lengths > frames).any():
            fail(self.path, f"expected lengths up to {frames} frames")
        sums = (int(self.lengths.sum()), int((self.lengths * self.slots).sum()))
        if sums != (frames, rows):
            fail(
                self.path,
                f"expected lengths that add up to {frames} frames and {rows} bodies, "
                f"found {sums[0]} and {sums[1]}",
            )
        row_bytes = math.prod(self.bodies.shape[1:]) * self.bodies.itemsize
        if wrong := too_empty(frames, rows, self.persons, row_bytes):
            fail(self.path, wrong)
        classes = len(self.class_names)
        frame_labels = self._unverified.get("frame_labels.npy")
        for name, labels in (("labels", self.labels), ("frame_labels", frame_labels)):
            if labels is not None and ((labels < -1) | (labels >= classes)).any():
                fail(self.path, f"expected {name} in [-1, {classes})")
        for name, words in self.words.items():
            values = self.columns.get(name)
            if values is None or ((values < -1) | (values >= len(words))).any():
                fail(self.path, f"expected a column {name} of words in [-1, {len(words)})")
        segments = self._unverified.get("segments.npy")
        if segments is not None and len(segments):
            index, start, end, label = segments.T
            inside = (index >= 0) & (index < len(self)) & (start >= 0) & (start < end)
            inside &= end <= self.lengths[index.clip(0, len(self) - 1)]
            if not (inside & (label >= 0) & (label < classes)).all():
                fail(self.path, f"expected segments within the sequences and {classes} classes")

    def __reduce__(self) -> tuple[partial[Store], tuple[Path]]:
        # workers of a data loader open the files again instead of receiving a copy
        known = partial(Store, up=self.known_up, left_handed=self.known_left_handed)
        return known, (self.path,)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each sequence (N,), usually that of its file."""
        names = self._load("names.npy")
        if names.shape != (len(self),) or names.dtype.kind != "U":
            fail(self.path / "names.npy", f"expected {len(self)} names")
        check_text(self.path / "names.npy", "names", names)
        return tuple(names.tolist())

    @cached_property
    def checksums(self) -> NDArray[np.uint32] | None:
        """CRC-32 of the coordinates of each sequence (N,), None if the store has none."""
        if "checksums" not in self.meta:
            return None
        checksums = np.array(self._load("checksums.npy"))
        if checksums.shape != (len(self),):
            fail(
                self.path / "checksums.npy",
                f"expected {len(self)} checksums, found {checksums.shape}",
            )
        return checksums

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the content: coordinates, labels, columns and names.

        If the store has no checksums, it covers the coordinates of 16 sequences only.
        """
        digest = hashlib.blake2b(digest_size=8)
        about = {k: v for k, v in self.meta.items() if k not in ("source", "licence", "checksum")}
        digest.update(json.dumps(about, sort_keys=True).encode())
        columns = {"lengths": self.lengths, "labels": self.labels, **self.columns}
        for name in sorted(columns):
            digest.update(name.encode() + columns[name].tobytes())
        if self.checksums is None:
            some = np.linspace(0, len(self) - 1, min(len(self), 16)).astype(int).tolist()
            for index in some:
                digest.update(self.stored(index).tobytes())
            digest.update("\n".join(self.names).encode())
        return digest.hexdigest()

    def values(self, column: str) -> NDArray[Any]:
        """Return a column (N,) of integers, or of words, with ``""`` for missing ones.

        Raises:
            KeyError: If there is no such column.
        """
        codes = self.columns[column]
        return np.array(("", *self.words[column]))[codes + 1] if column in self.words else codes

    def __len__(self) -> int:
        """Number of sequences N."""
        return len(self.lengths)

    def __repr__(self) -> str:
        return (
            f"Store({str(self.path)!r}: {len(self)} sequences, {int(self.lengths.sum())} frames, "
            f"{self.skeleton.name}, {self.persons} persons, {len(self.class_names)} classes)"
        )

    @property
    def channels(self) -> int:
        """Number of coordinates C."""
        return int(self.bodies.shape[-1])

    def stored(self, index: int) -> NDArray[Any]:
        """Return the stored persons of one sequence (T, M', V, C), a read-only view of the file.

        Raises:
            IndexError: If the index is out of range.
            SkeletonFormatError: If the checksum of the sequence is wrong.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"expected a sequence in [0, {len(self)}), got {index}")
        length, slots, start = (
            int(column[index]) for column in (self.lengths, self.slots, self._rows)
        )
        rows = self.bodies[start : start + length * slots]
        if not self._verified[index]:
            assert self.checksums is not None
            if zlib.crc32(rows.data) != self.checksums[index]:
                fail(
                    self.path / "bodies.npy",
                    f"sequence {index} is damaged, its checksum is wrong; prepare the store again",
                )
            self._verified[index] = True
        return rows.reshape(length, slots, *rows.shape[1:])

    def sequence(self, index: int) -> NDArray[Any]:
        """Return one sequence (T, M, V, C); 0 where nobody is.

        Raises:
            IndexError: If the index is out of range.
        """
        stored = self.stored(index)
        empty = self.persons - stored.shape[1]
        return np.pad(stored, ((0, 0), (0, empty), (0, 0), (0, 0))) if empty else stored

    @property
    def origin(self) -> str | None:
        """The joint of the first person that is the origin of every frame, or None."""
        centred = self.meta["normalization"] in ("center", "isc")
        return self.skeleton.joints[self.skeleton.center] if centred else None

    def upright(self, points: NDArray[Any]) -> NDArray[Any]:
        """Turn stored coordinates (..., C) so that the second one points up, see ``up``."""
        return points if self.up == "y" else turn_up(points, self.up)

    @cached_property
    def up(self) -> Up:
        """The axis that points up, from legs to trunks, on average over several sequences.

        It is the second one, or the opposite of it as in image coordinates, unless bodies of three
        coordinates extend along another one by far. Without a trunk or legs in sight, it is
        ``"y"``, or ``"-y"`` in 2D.
        """
        if self.known_up is not None:
            return self.known_up
        parts, isc = self.skeleton.parts, self.meta["normalization"] == "isc"
        unknown: Up = "z" if isc else "-y" if self.channels == 2 else "y"
        if not {"trunk", "left_leg", "right_leg"} <= parts.keys():
            return unknown
        # several sequences, because people may lie down in one
        some = np.linspace(0, len(self) - 1, min(len(self), _SOME)).astype(int)
        points = np.concatenate([self.stored(int(at))[:, 0] for at in some])
        body = from_legs_to_trunk(points, parts, self.seen(points))
        if not body.any():
            return unknown
        axis = 1
        if isc:
            axis = 2
        elif self.channels == 3:
            longest = 2 if abs(body[2]) >= abs(body[0]) else 0
            axis = longest if abs(body[longest]) > CLEARLY * abs(body[1]) else 1
        return along(body, axis)

    def seen(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """Which joints of stored coordinates (..., V, C) of the first person are seen, (..., V).

        The joint that is the origin, see ``origin``, is seen in all frames with any other joint.
        """
        seen = np.asarray(points.any(axis=-1))
        if self.origin is not None:
            seen[..., self.skeleton.center] |= seen.any(axis=-1)
        return seen

    def summary(self) -> dict[str, Any]:
        """Summarise the content: counts, and quantiles and a histogram of lengths; JSON-able."""
        labelled = np.bincount(self.labels[self.labels >= 0], minlength=len(self.class_names))
        counts, edges = _histogram(self.lengths)
        quantiles = np.quantile(self.lengths, (0, 0.25, 0.5, 0.75, 1)).tolist()
        names = ("min", "q25", "median", "q75", "max")

        def distinct(column: str) -> int | None:
            values = self.columns.get(column)
            return None if values is None else len(np.unique(values[values != -1]))

        return {
            "sequences": len(self),
            "frames": int(self.lengths.sum()),
            "persons": self.persons,
            "skeleton": self.skeleton.name,
            **self.skeleton.summary(),
            "joints": len(self.skeleton),
            "channels": self.channels,
            "classes": len(self.class_names),
            "labelled": dict(zip(self.class_names, labelled.tolist(), strict=True)),
            "unlabelled": int((self.labels < 0).sum()) if self.frame_labels is None else 0,
            "subjects": distinct("subjects"),
            "views": distinct("views"),
            "lengths": dict(zip(names, quantiles, strict=True)),
            "columns": {name: distinct(name) for name in self.columns if name != "duplicate_of"},
            "words": {name: list(words) for name, words in self.words.items()},
            "people": {
                str(count): int((self.slots == count).sum()) for count in np.unique(self.slots)
            },
            "length_histogram": {"edges": edges, "counts": counts},
            "duplicates": int((self.columns["duplicate_of"] >= 0).sum()),
            "segments": None if self.segments is None else len(self.segments),
            "protocols": list(self.protocols),
            "fps": self.meta["fps"],
            "normalization": self.meta["normalization"],
            "bodies": self.meta["bodies"],
            "source": self.meta["source"],
            "unit": self.meta["unit"],
            "dtype": self.meta["dtype"],
            "megabytes": self.bodies.nbytes / 1e6,
            **({"mapping": self.meta["mapping"]} if "mapping" in self.meta else {}),
        }


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)


def _histogram(lengths: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Count lengths in at most 8 bins of whole frames; return the edges too, the last exclusive."""
    low, high = int(lengths.min()), int(lengths.max()) + 1
    step = -(-(high - low) // 8)
    edges = np.arange(low, high + step, step)
    counts, _ = np.histogram(lengths, edges)
    return counts.tolist(), edges.tolist()
