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
from typing import Any

from pcm3._files import LOCK, locked
from pcm3.data._recipes import settle
from pcm3.data._shards import Shard, append_shards, read_shard, total
from pcm3.data._tally import limit_of_jumps
from pcm3.data.normalize import Normalization
from pcm3.data.readers import Format, Source, open_source
from pcm3.data.readers._files import check_rate, file_or_files
from pcm3.data.resample import note_on_rate, rate_of_store, with_rate
from pcm3.data.store import Store, StoreDtype
from pcm3.data.writer import StoreWriter
from pcm3.skeleton import Skeleton

__all__ = ["prepare"]

_BY_BODY = (
    "pixels divided by the length of the bodies, the median of each recording; --keep-pixels "
    "leaves them"
)
_LARGEST_SHARD, _FEWEST_SHARDS = 128, 16  # units; shards are also what a kill can lose


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
    keep_pixels: bool = False,
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
        keep_pixels: Leave coordinates in pixels as they are. By default those of each recording
            are divided by the length of its bodies, ``_tally.body_length``, so that training does
            not depend on the size of the image; the store's unit is then ``"body lengths"``.
        dtype: Type of the stored coordinates.
        min_frames: Shorter sequences are dropped.
        skip_bad: Count files that do not hold what their format promises, instead of stopping.
        workers: Processes that read; one for each core by default.
        overwrite: Replace a store that is already there.
        progress: Called with how many units (files, mostly) are done and how many there are.
        options: Of every reader, ``skeleton``, see ``open_source``; of one, ``untrimmed=True`` for
            PKU-MMD say. ``bodies`` of NTU RGB+D is ``"place"`` by default where the recipe is
            ``"isc"``.

    Returns:
        The report, also kept as ``report.json`` in the store: the settings, ``skeleton``
        (``Skeleton.summary``), ``units`` (files, or parts of a large file), ``left_out`` files
        and why, ``read`` sequences, all of ``Tally.report`` (what was kept, dropped, bad,
        resampled, which bodies jump, and in how many frames persons are missing), ``held`` (the
        recipe that all recordings went through already, by their format), ``rounding`` (the
        largest error of ``"float16"``) and, not in the file, ``Store.summary()`` as ``summary``.

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
    by_body = opened.unit == "pixels" and not keep_pixels
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
        "keep_pixels": keep_pixels,
        "min_frames": min_frames,
        "skeleton": opened.skeleton.summary(),
    }
    writer = StoreWriter(  # refuses a bad target before any work is done
        out,
        opened.skeleton,
        class_names=opened.class_names,
        dtype=dtype,
        fps=rate,
        unit="body lengths" if by_body else opened.unit,
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
        whole = Shard(
            partial,
            replace(opened, units=()),  # once is enough
            opened.units,
            normalization,
            duplicate_single,
            associate,
            fps,
            by_body,
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
        report |= total(shards)
        notes = [_BY_BODY] * by_body + [*opened.notes, *note_on_rate(opened, fps)]
        report["notes"] = dict.fromkeys(notes, 1) | report["notes"]
        report["jumps"]["limit"] = limit_of_jumps(opened)
        if not report["kept"]:
            shutil.rmtree(partial)
            raise ValueError(_why_nothing(report))
        with writer:
            append_shards(shards, writer)
            writer.report = report = report | {"rounding": writer.rounding}
        shutil.rmtree(partial)
    return report | {"summary": Store(out).summary()}


def _cut(whole: Shard) -> list[Shard]:
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


def _work(shards: Sequence[Shard], workers: int) -> Iterator[Shard]:
    """Do what is not done yet; gives every shard once it is."""
    done = [shard.is_done() for shard in shards]
    yield from compress(shards, done)
    waiting = [shard for shard, is_done in zip(shards, done, strict=True) if not is_done]
    if workers == 1 or len(waiting) < 2:
        for shard in waiting:
            read_shard(shard)
            yield shard
        return
    # Not forked: a process that has started torch's threads must not be.
    context = multiprocessing.get_context("spawn")
    count = min(workers, len(waiting))
    with ProcessPoolExecutor(count, context, initializer=_end_with_parent) as pool:
        try:
            with _no_interrupts():  # which goes to the whole group; the workers start deaf to it
                futures = {pool.submit(read_shard, shard): shard for shard in waiting}
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


def _plain(value: Any) -> Any:
    """For JSON, and without the folders of a machine."""
    return value.name if isinstance(value, Path | Skeleton) else value


def _why_nothing(report: dict[str, Any]) -> str:
    reasons = Counter(entry["reason"] for entry in report["dropped"]).most_common()
    why = [f"{count} {reason}" for reason, count in reasons]
    why += [f"{len(report['bad'])} parts are bad, {report['bad'][0]}"] if report["bad"] else []
    return f"none of {report['read']} sequences is left: {'; '.join(why)}"
