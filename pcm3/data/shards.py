"""Shards: parts of a preparation, each read by one process and kept until all are done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.associate import associate
from pcm3.data.axes import Up, turn_up
from pcm3.data.normalize import Normalization, fill_center, is_isc, normalize, someone_first
from pcm3.data.readers import Recording, Source
from pcm3.data.resample import is_same_rate, resample
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.tally import Counts, Tally, body_length, count_jumps
from pcm3.data.units import metres_in
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import replacing, reuse_memory
from pcm3.io.json import read_json
from pcm3.skeleton import JointMap, Skeleton


class _NothingKeptError(Exception):
    """Error for a shard without sequences, which makes no store."""


class Shard(NamedTuple):
    """A part of the work, done by one process and kept when it is finished."""

    folder: Path
    source: Source
    mapping: JointMap | None
    units: Sequence[Any]
    normalization: Normalization
    duplicate_single: bool
    associate: bool
    up: Up | None
    fps: float | None
    by_body: bool
    min_frames: int
    skip_bad: bool

    @property
    def skeleton(self) -> Skeleton:
        """The layout of the store."""
        return self.source.skeleton if self.mapping is None else self.mapping.target

    @property
    def report(self) -> Path:
        """The file with the counts of the finished shard."""
        return self.folder.with_suffix(".json")

    def read_report(self) -> dict[str, Any]:
        """Read the counts of the finished shard."""
        report: dict[str, Any] = read_json(self.report, Counts)
        return report

    def is_done(self) -> bool:
        """Return whether the shard is finished, without bad files unless bad files are skipped."""
        with suppress(SkeletonFormatError):  # a shard with a damaged report is read again
            return not self.read_report()["bad"] or self.skip_bad
        return False


def read_shard(shard: Shard) -> None:
    """Read the units of a shard into a small store of its own, then write its report.

    Raises:
        SkeletonFormatError: If a recording does not follow its format and ``skip_bad`` is false.
    """
    reuse_memory()
    source, tally = shard.source, Tally()
    writer = StoreWriter(
        shard.folder, shard.skeleton, class_names=source.class_names, overwrite=True
    )
    try:
        with writer:
            for unit in shard.units:
                for recording in _read(source, unit):
                    if isinstance(recording, SkeletonFormatError):
                        if not shard.skip_bad:
                            raise recording
                        tally.report["bad"].append(str(recording))
                        continue
                    tally.count_read(recording)
                    reason = _add(recording, shard, writer, tally)
                    if reason:
                        tally.report["dropped"].append({"name": recording.name, "reason": reason})
            if len(writer) == 0:
                raise _NothingKeptError
    except _NothingKeptError:
        pass
    with replacing(shard.report) as temporary:
        temporary.write_text(json.dumps(tally.report))


def _read(source: Source, unit: Any) -> Iterator[Recording | SkeletonFormatError]:
    """Yield the recordings of a unit, then the error that stopped its reading, if any."""
    try:
        yield from source.read(unit)
    except SkeletonFormatError as error:
        yield error


def _left_to_do(recording: Recording, shard: Shard, tally: Tally) -> Normalization:
    """Return the recipe to apply; ``"none"`` if the recording went through it already."""
    if shard.up is not None and is_isc(recording.frames, shard.source.skeleton):
        raise ValueError(
            f"{recording.name} is already turned by 'isc', by its coordinates; leave out --up"
        )
    if shard.normalization == shard.source.normalization:
        return "none"
    if is_isc(recording.frames, shard.source.skeleton):
        tally.report["already_isc"] += 1
        if shard.normalization == "isc" and shard.mapping is not None:
            raise ValueError(
                f"{recording.name} is already normalised by 'isc', by its coordinates; that cannot "
                "be mapped to another layout; give --normalization center, or leave out --to"
            )
        if shard.normalization == "isc":
            return "none"
    return shard.normalization


def _add(recording: Recording, shard: Shard, writer: StoreWriter, tally: Tally) -> str | None:
    """Normalise and write a recording; return the reason if it is dropped."""
    if not recording.frames.any():
        return "no body in any frame"
    source, rate = shard.source, recording.fps or shard.source.fps
    recipe = _left_to_do(recording, shard, tally)
    if shard.up is not None:
        recording = replace(recording, frames=turn_up(recording.frames, shard.up))
    if shard.associate:
        recording = replace(recording, frames=associate(recording.frames))
    tally.count_marks(recording.frames)
    tally.count_direction(recording.frames, source.skeleton)
    if metres_in(source.unit) is not None:
        tally.count_size(recording.frames)
    speed_of = rate if source.unit == "metres" else None
    tally.count_jumps(recording.name, count_jumps(recording.frames, speed_of))
    if shard.mapping is not None:
        recording = replace(recording, frames=shard.mapping.apply(recording.frames))
        if not recording.frames.any():
            return f"nobody has the joints that {shard.skeleton.name} is made of"
    if shard.fps and rate and not is_same_rate(rate, shard.fps):
        recording = resample(recording, rate, shard.fps)
        tally.count_resampled(rate)
    if shard.by_body:
        size = body_length(recording.frames)
        if not 0 < size < np.inf:
            return f"bodies of size {size:g}"
        recording = replace(recording, frames=recording.frames / np.float32(size))
    frames = normalize(
        _with_center(recording, recipe, shard, tally),
        shard.skeleton,
        recipe,
        source.persons,
        keep_order=source.keep_order,
        duplicate_single=shard.duplicate_single,
    )
    if len(frames) < shard.min_frames:
        return f"fewer than {shard.min_frames} frames"
    if not frames.any():
        return "no body left after normalisation"
    writer.add(
        frames,
        recording.label,
        name=recording.name,
        frame_labels=recording.frame_labels,
        segments=recording.segments,
        **recording.columns,
    )
    tally.count_kept(recording.frames, frames)
    if recipe == "isc":
        tally.count_cut(len(recording.frames) - len(frames))
    return None


def _with_center(
    recording: Recording, recipe: Normalization, shard: Shard, tally: Tally
) -> NDArray[np.float32]:
    """Return frames that have the first person and the centre joint which ``"center"`` subtracts.

    The other recipes place persons as published.
    """
    if recipe != "center":
        return recording.frames
    kept = normalize(recording.frames, shard.skeleton, "none", shard.source.persons)
    placed = someone_first(kept)
    if placed is not kept:
        tally.count_note("nobody is in the first place for persons: the others moved forward")
    filled = fill_center(placed, shard.skeleton)
    if filled is not placed:
        tally.count_without_center(recording.name)
    return filled


def total(shards: Sequence[Shard]) -> dict[str, Any]:
    """Add up the reports of finished shards, with the ``sizes`` of all bodies."""
    tally = Tally()
    for shard in shards:
        tally.add(shard.read_report())
    return tally.report | {"read": tally.report["kept"] + len(tally.report["dropped"])}


def append_shards(shards: Sequence[Shard], writer: StoreWriter) -> None:
    """Write all sequences of finished shards."""
    for shard in shards:
        if shard.read_report()["kept"]:
            _append(Store(shard.folder), writer)


def _append(part: Store, writer: StoreWriter) -> None:
    columns = {name: part.values(name) for name in part.columns if name != "duplicate_of"}
    for index in range(len(part)):
        annotation: dict[str, Any] = {}
        if part.frame_labels is not None and part.segments is not None:
            start = int(part.starts[index])
            span = slice(start, start + int(part.lengths[index]))
            annotation["frame_labels"] = part.frame_labels[span]
            annotation["segments"] = part.segments[part.segments[:, 0] == index, 1:]
        writer.add(
            np.asarray(part.sequence(index)),
            int(part.labels[index]),
            name=part.names[index],
            **annotation,
            **{name: values[index] for name, values in columns.items()},
        )
