"""Work on the shards of a preparation, in one process or several; a killed run continues."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import compress
from pathlib import Path
from typing import Any

from pcm3.data.readers import Source
from pcm3.data.shards import Shard, read_shard
from pcm3.io.files import LOCK, locked
from pcm3.io.reading import file_or_files
from pcm3.skeleton import Skeleton

_LARGEST_SHARD, _FEWEST_SHARDS = 128, 16  # units; a killed run loses only unfinished shards


def cut(whole: Shard) -> list[Shard]:
    """Cut the work into shards, each with some of the units."""
    size = max(1, min(_LARGEST_SHARD, len(whole.units) // _FEWEST_SHARDS))
    return [
        whole._replace(folder=whole.folder / f"{start:08}", units=whole.units[start : start + size])
        for start in range(0, len(whole.units), size)
    ]


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Add the folder to errors of the system that name no file, such as a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(out)) from None


@contextmanager
def partial_folder(
    out: Path, source: Path, opened: Source, skeleton: Skeleton, settings: dict[str, Any]
) -> Iterator[Path]:
    """Yield a folder for the finished shards of exactly this work; others are removed.

    Raises:
        ValueError: If another process is using it.
    """
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=8)
    layouts = [each.to_dict() for each in (opened.skeleton, skeleton)]
    digest.update(f"{json.dumps(layouts)} {opened.units!r}".encode())
    for file in sorted(file_or_files(source)):
        with suppress(OSError):  # a broken link
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
        for entry in out.parent.iterdir():  # left by a merge that was killed
            if re.fullmatch(rf"\.{re.escape(out.name)}\.[0-9a-f]{{8}}\.partial", entry.name):
                shutil.rmtree(entry)
        yield partial


def read_shards(shards: Sequence[Shard], workers: int) -> Iterator[Shard]:
    """Read the shards that are not finished; yield every shard when it is finished.

    Raises:
        ChildProcessError: If a process that reads files is killed.
    """
    done = [shard.is_done() for shard in shards]
    yield from compress(shards, done)
    waiting = [shard for shard, is_done in zip(shards, done, strict=True) if not is_done]
    if workers == 1 or len(waiting) < 2:
        for shard in waiting:
            read_shard(shard)
            yield shard
        return
    # spawned, because a process that has started torch's threads must not fork
    context = multiprocessing.get_context("spawn")
    count = min(workers, len(waiting))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(count, context, initializer=_end_with_parent) as pool:
        try:
            with _no_interrupts():  # workers inherit it: Ctrl-C goes to all processes
                futures = {pool.submit(read_shard, shard): shard for shard in waiting}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            # the pool would wait forever for one that misses its termination while it starts
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise ChildProcessError(
                "a process that reads files was killed, as the system does when memory runs out; "
                "the same command continues with the rest, and fewer --workers need less memory"
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
    """End this worker if its parent is killed, because it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
