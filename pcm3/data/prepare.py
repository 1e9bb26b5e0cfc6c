"""Raw files in, a store out: in parallel, in constant memory, resumable, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from pcm3._files import locked, replacing
from pcm3._memory import reuse_memory
from pcm3.data.normalize import Normalization, normalize
from pcm3.data.readers import Format, Recording, Source, open_source
from pcm3.data.store import Store, StoreDtype
from pcm3.data.writer import StoreWriter
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import Skeleton

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
    min_frames: int
    skip_bad: bool

    @property
    def report(self) -> Path:
        return self.folder.with_suffix(".json")

    def read_report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.report.read_text())
        return report

    def is_done(self) -> bool:
        return self.report.exists() and (self.skip_bad or not self.read_report()["bad"])


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    format: Format | None = None,
    normalization: Normalization = "center",
    duplicate_single: bool = False,
    persons: int | None = None,
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
        normalization: Recipe for the coordinates, see ``normalize``.
        duplicate_single: Of ``"sgn"``, see there: the published NTU-120 data.
        persons: M of the store; by default what the format has.
        dtype: Type of the stored coordinates.
        min_frames: Shorter sequences are dropped.
        skip_bad: Count files that do not hold what their format promises, instead of stopping.
        workers: Processes that read; one for each core by default.
        overwrite: Replace a store that is already there.
        progress: Called with how many units (files, mostly) are done and how many there are.
        options: Of every reader, ``skeleton``, see ``open_source``; of one, ``untrimmed=True`` for
            PKU-MMD say.

    Returns:
        The report, also kept as ``report.json`` in the store: the settings, ``skeleton``
        (``Skeleton.summary``), ``units`` (files, or
        parts of a large file), ``left_out`` files and why, ``frames_read``, ``read`` and ``kept``
        sequences, ``dropped`` (name and reason of each), ``bad`` (message for each that was
        skipped), ``bodies`` (how many recordings hold 0, 1, 2, ... bodies) and, not in the file,
        ``Store.summary()`` as ``summary``.

    Raises:
        SkeletonFormatError: If a file does not hold what its format promises.
        ValueError: If ``out`` exists, an option is unknown, or no sequence is left.
    """
    for name, value in (("workers", workers), ("min_frames", min_frames), ("persons", persons)):
        if value is not None and value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}")
    if normalization not in get_args(Normalization):
        expected = ", ".join(get_args(Normalization))
        raise ValueError(f"expected a normalization among {expected}, got {normalization!r}")
    if duplicate_single and normalization != "sgn":
        raise ValueError(f"duplicate_single belongs to normalization 'sgn', got {normalization!r}")
    opened = open_source(Path(source), format, **options)
    opened = replace(opened, persons=persons or opened.persons)
    settings = {
        "format": opened.format,
        "source": Path(source).resolve().name,
        "options": {name: _plain(value) for name, value in options.items()},
        "normalization": normalization,
        "duplicate_single": duplicate_single,
        "persons": opened.persons,
        "min_frames": min_frames,
        "skeleton": opened.skeleton.summary(),
    }
    writer = StoreWriter(  # refuses a bad target before any work is done
        out,
        opened.skeleton,
        class_names=opened.class_names,
        dtype=dtype,
        fps=opened.fps,
        unit=opened.unit,
        source=opened.about,
        licence=opened.licence,
        normalization=normalization,
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
            min_frames,
            skip_bad,
        )
        shards, done = _cut(whole), 0
        for shard in _work(shards, workers or os.cpu_count() or 1):
            done += len(shard.units)
            if progress is not None:
                progress(done, len(opened.units))
        report = settings | {
            "dtype": dtype,
            "units": len(opened.units),
            "left_out": opened.left_out,
            "left_out_why": opened.left_out_why,
        }
        report |= _total(shards)
        if not report["kept"]:
            shutil.rmtree(partial)
            raise ValueError(_why_nothing(report))
        with writer:
            for shard in shards:
                if shard.read_report()["kept"]:
                    _append(Store(shard.folder), writer)
            writer.report = report
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
    digest.update(repr((opened.skeleton, opened.units)).encode())
    for file in sorted(source.rglob("[!.]*")) if source.is_dir() else [source]:
        with suppress(OSError):  # a link that leads nowhere
            status = file.stat()
            if not file.is_dir():
                digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    partial = out.with_name(f".{out.name}.shards")
    partial.mkdir(parents=True, exist_ok=True)
    with locked(partial, f"preparing {out}"):
        key = partial / "key"
        if not key.is_file() or key.read_text() != digest.hexdigest():
            for entry in partial.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            key.write_text(digest.hexdigest())
        for other in out.parent.glob(f".{out.name}.*.partial"):  # of a merge that was killed
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
    source = shard.source
    dropped: list[dict[str, str]] = []
    bad: list[str] = []
    bodies: Counter[int] = Counter()
    frames = 0
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
                        bad.append(str(found))
                        continue
                    bodies[_bodies(found)] += 1
                    frames += len(found.frames)
                    reason = _add(found, shard, writer)
                    if reason:
                        dropped.append({"name": found.name, "reason": reason})
            if len(writer) == 0:
                raise _NothingKeptError
    except _NothingKeptError:
        pass
    report = {"kept": len(writer), "frames_read": frames, "dropped": dropped, "bad": bad}
    report["bodies"] = bodies
    with replacing(shard.report) as temporary:
        temporary.write_text(json.dumps(report))


def _read(source: Source, unit: Any) -> Iterator[Recording | SkeletonFormatError]:
    """What a unit holds, with the error that ends it too early at its end."""
    try:
        yield from source.read(unit)
    except SkeletonFormatError as error:
        yield error


def _plain(value: Any) -> Any:
    """For JSON, and without the folders of a machine."""
    return value.name if isinstance(value, Path | Skeleton) else value


def _bodies(recording: Recording) -> int:
    return int(recording.frames.any(axis=(0, 2, 3)).sum())


def _add(recording: Recording, shard: _Shard, writer: StoreWriter) -> str | None:
    """Normalise and write a recording, or say why it is dropped."""
    if not recording.frames.any():
        return "no body in any frame"
    frames = normalize(
        recording.frames,
        shard.source.skeleton,
        shard.normalization,
        shard.source.persons,
        duplicate_single=shard.duplicate_single,
    )
    if len(frames) < shard.min_frames:
        return f"fewer than {shard.min_frames} frames"
    if not frames.any():
        return "no body left after normalisation"
    if recording.frame_labels is not None and len(frames) != len(recording.frames):
        raise ValueError(
            f"{recording.name}: recipe {shard.normalization!r} drops frames, so frame labels would "
            "no longer fit; use 'center' or 'none' for untrimmed recordings"
        )
    writer.add(
        frames,
        recording.label,
        name=recording.name,
        frame_labels=recording.frame_labels,
        segments=recording.segments,
        **recording.columns,
    )
    return None


def _total(shards: Sequence[_Shard]) -> dict[str, Any]:
    total: dict[str, Any] = {"kept": 0, "frames_read": 0, "dropped": [], "bad": []}
    bodies: Counter[str] = Counter()
    for shard in shards:
        report = shard.read_report()
        for key in total:
            total[key] += report[key]
        bodies.update(report["bodies"])
    return total | {"bodies": dict(bodies), "read": total["kept"] + len(total["dropped"])}


def _why_nothing(report: dict[str, Any]) -> str:
    reasons = Counter(entry["reason"] for entry in report["dropped"]).most_common()
    why = [f"{count} {reason}" for reason, count in reasons]
    why += [f"{len(report['bad'])} parts are bad, {report['bad'][0]}"] if report["bad"] else []
    return f"none of {report['read']} sequences is left: {'; '.join(why)}"


def _append(part: Store, writer: StoreWriter) -> None:
    columns = {name: part.columns[name] for name in part.columns if name != "duplicate_of"}
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
            **{name: int(values[index]) for name, values in columns.items()},
        )
