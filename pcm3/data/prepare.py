"""Raw files in, a store out: in parallel, in constant memory, resumable, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pcm3._files import LOCK, locked, replacing
from pcm3._json import read_json
from pcm3._memory import reuse_memory
from pcm3.data._recipes import settle
from pcm3.data._tally import Counts, Tally, count_jumps, limit_of_jumps
from pcm3.data.associate import associate as associated
from pcm3.data.normalize import Normalization, is_isc, normalize
from pcm3.data.readers import Format, Recording, Source, open_source
from pcm3.data.readers._files import check_rate, file_or_files, is_same_rate
from pcm3.data.resample import note_on_rate, rate_of_store, resample, with_rate
from pcm3.data.store import Store, StoreDtype
from pcm3.data.writer import StoreWriter
from pcm3.errors import SkeletonFormatError

__all__ = ["prepare"]

_LARGEST_SHARD, _FEWEST_SHARDS = 128, 16  # units; shards are also what a kill can lose


class _NothingKeptError(Exception):
    """A shard has no sequence, so there is no store to write."""


class _Shard(NamedTuple):
    """A part of the work that one process does and that is kept once it is done."""

    folder: Path
    source: Source
    units: Sequence[Any]
    normalization: Normalization
    duplicate_single: bool
    associate: bool
    fps: float | None
    min_frames: int
    skip_bad: bool

    @property
    def report(self) -> Path:
        return self.folder.with_suffix(".json")

    def read_report(self) -> dict[str, Any]:
        report: dict[str, Any] = read_json(self.report, Counts)
        return report

    def is_done(self) -> bool:
        with suppress(SkeletonFormatError):  # a damaged report is of a shard to be read again
            return not self.read_report()["bad"] or self.skip_bad
        return False


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    format: Format | None = None,
    normalization: Normalization | None = None,
    duplicate_single: bool = False,
    persons: int | None = None,
    associate: bool = False,
    fps: float | None = None,
    source_fps: float | None = None,
    dtype: StoreDtype = "float32",
    min_frames: int = 1,
    skip_bad: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Turn raw files into a store.

    The work is cut into shards that are kept beside the store until it is complete: after a
    kill, the same call goes on where it was.

    Args:
        source: The file or folder to read.
        out: The store to write; it appears only when it is complete.
        format: What the files are; found out from the path by default.
        normalization: Recipe for the coordinates, see ``normalize``; by default ``"center"``, or
            the one that the recordings went through already, which is not applied again.
        duplicate_single: Of ``"sgn"``, see there: the published NTU-120 data.
        persons: M of the store; by default what the format has.
        associate: Give every person one slot by continuity, whatever the files say, see
            ``associate.associate``; before all else.
        fps: Frames per second of the store. Recordings of another rate are resampled, see
            ``resample.resample``; where nothing says theirs, it is taken for theirs.
        source_fps: Frames per second of the recordings, where files do not say them.
        dtype: Type of the stored coordinates.
        min_frames: Shorter sequences are dropped.
        skip_bad: Count files that do not hold what their format promises, instead of stopping.
        workers: Processes that read; one for each core by default.
        overwrite: Replace a store that is already there.
        progress: Called with how many units (files, mostly) are done and how many there are.
        options: Of the reader, ``untrimmed=True`` for PKU-MMD say. ``bodies`` of NTU RGB+D is
            ``"place"`` by default where the recipe is ``"isc"``.

    Returns:
        The report, also kept as ``report.json`` in the store: the settings, ``units`` (files, or
        parts of a large file), ``left_out`` files and why, ``read`` sequences, all of
        ``Tally.report`` (what was kept, dropped, bad, resampled, which bodies jump, and in how many
        frames persons are missing), ``held`` (the recipe that all recordings went through
        already, by their format), ``rounding`` (the largest error of ``"float16"``) and, not in
        the file, ``Store.summary()`` as ``summary``.

    Raises:
        SkeletonFormatError: If a file does not hold what its format promises.
        ValueError: If ``out`` exists, an option is unknown, the recipe does not suit the
            recordings, recordings of several frame rates have none in common by ``fps``, or no
            sequence is left.
        ChildProcessError: If a process that reads is killed. The same call goes on from what
            is done.
    """
    for name, rate in (("fps", fps), ("source_fps", source_fps)):
        if rate is not None:
            check_rate(name, rate)
    for name, value in (("workers", workers), ("min_frames", min_frames), ("persons", persons)):
        if value is not None and value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}")
    defaults = {"bodies": "place"} if normalization == "isc" else {}
    opened = open_source(Path(source), format, defaults=defaults, **options)
    opened = replace(with_rate(opened, source_fps), persons=persons or opened.persons)
    rate = rate_of_store(opened, fps)
    normalization = settle(opened, normalization, duplicate_single)
    if opened.bodies is not None:
        options["bodies"] = opened.bodies
    settings = {
        "format": opened.format,
        "source": Path(source).resolve().name,
        "options": {name: _plain(value) for name, value in options.items()},
        "normalization": normalization,
        "held": opened.normalization,
        "duplicate_single": duplicate_single,
        "persons": opened.persons,
        "associate": associate,
        "fps": rate,
        "source_fps": source_fps,
        "min_frames": min_frames,
    }
    writer = StoreWriter(  # refuses a bad target before any work is done
        out,
        opened.skeleton,
        class_names=opened.class_names,
        dtype=dtype,
        fps=rate,
        unit=opened.unit,
        source=opened.about,
        licence=opened.licence,
        normalization=normalization,
        bodies=opened.bodies,
        protocols=opened.protocols,
        overwrite=overwrite,
    )
    with (
        _writing_to(Path(out)),
        _partial_folder(Path(out), Path(source), opened, settings) as partial,
    ):
        whole = _Shard(
            partial,
            replace(opened, units=()),  # once is enough
            opened.units,
            normalization,
            duplicate_single,
            associate,
            fps,
            min_frames,
            skip_bad,
        )
        shards, done = _cut(whole), 0
        for shard in _work(shards, workers or os.cpu_count() or 1):
            done += len(shard.units)
            if progress is not None:
                progress(done, len(opened.units))
        report: dict[str, Any] = settings | {
            "dtype": dtype,
            "units": len(opened.units),
            "left_out": opened.left_out,
            "left_out_why": opened.left_out_why,
        }
        report |= _total(shards)
        notes = [*opened.notes, *note_on_rate(opened, fps)]
        report["notes"] = dict.fromkeys(notes, 1) | report["notes"]
        report["jumps"]["limit"] = limit_of_jumps(opened)
        if not report["kept"]:
            shutil.rmtree(partial)
            raise ValueError(_why_nothing(report))
        with writer:
            for shard in shards:
                if shard.read_report()["kept"]:
                    _append(Store(shard.folder), writer)
            writer.report = report = report | {"rounding": writer.rounding}
        shutil.rmtree(partial)
    return report | {"summary": Store(out).summary()}


def _cut(whole: _Shard) -> list[_Shard]:
    size = max(1, min(_LARGEST_SHARD, len(whole.units) // _FEWEST_SHARDS))
    return [
        whole._replace(folder=whole.folder / f"{start:08}", units=whole.units[start : start + size])
        for start in range(0, len(whole.units), size)
    ]


@contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    """Say where, if the system does not: that the disk is full, say."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(out)) from None


@contextmanager
def _partial_folder(
    out: Path, source: Path, opened: Source, settings: dict[str, Any]
) -> Iterator[Path]:
    """Where finished shards of exactly this work are kept; what else is left is removed.

    Raises:
        ValueError: If another process is at work in it.
    """
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=8)
    digest.update(repr(opened.units).encode())
    for file in sorted(file_or_files(source)):
        with suppress(OSError):  # a link that leads nowhere
            status = file.stat()
            digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    partial = out.with_name(f".{out.name}.shards")
    partial.mkdir(parents=True, exist_ok=True)
    with locked(partial, f"preparing {out}"):
        key = partial / "key"
        if not key.is_file() or key.read_text() != digest.hexdigest():
            for entry in partial.iterdir():
                if entry.name != LOCK:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            key.write_text(digest.hexdigest())
        for other in out.parent.iterdir():  # of a merge that was killed
            if re.fullmatch(rf"\.{re.escape(out.name)}\.[0-9a-f]{{8}}\.partial", other.name):
                shutil.rmtree(other)
        yield partial


def _work(shards: Sequence[_Shard], workers: int) -> Iterator[_Shard]:
    """Do what is not done yet; gives every shard once it is."""
    done = [shard.is_done() for shard in shards]
    yield from compress(shards, done)
    waiting = [shard for shard, is_done in zip(shards, done, strict=True) if not is_done]
    if workers == 1 or len(waiting) < 2:
        for shard in waiting:
            _do(shard)
            yield shard
        return
    # Not forked: a process that has started torch's threads must not be.
    context = multiprocessing.get_context("spawn")
    count = min(workers, len(waiting))
    with ProcessPoolExecutor(count, context, initializer=_end_with_parent) as pool:
        with _no_interrupts():  # which goes to the whole group; the workers start deaf to it
            futures = {pool.submit(_do, shard): shard for shard in waiting}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            raise ChildProcessError(
                "a process that reads files was killed, as the system does when memory runs out; "
                "the same command goes on from what is done, fewer --workers take less"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(shard: _Shard) -> None:
    """Read the units of a shard into a small store of its own; its report comes last."""
    reuse_memory()
    source, tally = shard.source, Tally()
    writer = StoreWriter(
        shard.folder, source.skeleton, class_names=source.class_names, overwrite=True
    )
    try:
        with writer:
            for unit in shard.units:
                for found in _read(source, unit):
                    if isinstance(found, SkeletonFormatError):
                        if not shard.skip_bad:
                            what = "--skip-bad counts what is bad and goes on"
                            raise SkeletonFormatError(f"{found}; {what}")
                        tally.report["bad"].append(str(found))
                        continue
                    tally.count_read(found)
                    reason = _add(found, shard, writer, tally)
                    if reason:
                        tally.report["dropped"].append({"name": found.name, "reason": reason})
            if len(writer) == 0:
                raise _NothingKeptError
    except _NothingKeptError:
        pass
    with replacing(shard.report) as temporary:
        temporary.write_text(json.dumps(tally.report))


def _read(source: Source, unit: Any) -> Iterator[Recording | SkeletonFormatError]:
    """What a unit holds, with the error that ends it too early at its end."""
    try:
        yield from source.read(unit)
    except SkeletonFormatError as error:
        yield error


def _plain(value: Any) -> Any:
    """For JSON, and without the folders of a machine."""
    return value.name if isinstance(value, Path) else value


def _left_to_do(recording: Recording, shard: _Shard, tally: Tally) -> Normalization:
    """The recipe, or "none" for a recording that went through it already."""
    if shard.normalization == shard.source.normalization:
        return "none"
    if is_isc(recording.frames, shard.source.skeleton):
        tally.report["already_isc"] += 1
        if shard.normalization == "isc":
            return "none"
    return shard.normalization


def _add(recording: Recording, shard: _Shard, writer: StoreWriter, tally: Tally) -> str | None:
    """Normalise and write a recording, or say why it is dropped."""
    if not recording.frames.any():
        return "no body in any frame"
    source, rate = shard.source, recording.fps or shard.source.fps
    recipe = _left_to_do(recording, shard, tally)
    if shard.associate:
        recording = replace(recording, frames=associated(recording.frames))
    speed_of = rate if source.unit == "metres" else None
    tally.count_jumps(recording.name, count_jumps(recording.frames, speed_of))
    if shard.fps and rate and not is_same_rate(rate, shard.fps):
        recording = resample(recording, rate, shard.fps)
        tally.count_resampled(rate)
    frames = normalize(
        recording.frames,
        source.skeleton,
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
    return None


def _total(shards: Sequence[_Shard]) -> dict[str, Any]:
    total = Tally()
    for shard in shards:
        total.add(shard.read_report())
    return total.report | {"read": total.report["kept"] + len(total.report["dropped"])}


def _why_nothing(report: dict[str, Any]) -> str:
    reasons = Counter(entry["reason"] for entry in report["dropped"]).most_common()
    why = [f"{count} {reason}" for reason, count in reasons]
    why += [f"{len(report['bad'])} parts are bad, {report['bad'][0]}"] if report["bad"] else []
    return f"none of {report['read']} sequences is left: {'; '.join(why)}"


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
