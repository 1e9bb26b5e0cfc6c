"""Files that are written completely or not at all, and locks on folders."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np

from pcm3.errors import SkeletonFormatError

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]


def regular(file: Path, most: int | None = None) -> Path:
    """Return the path, but refuse a pipe, socket or device without opening it.

    Args:
        file: The file to read. It may be missing; opening it then fails.
        most: Largest size in bytes, for files that are read at once.

    Raises:
        SkeletonFormatError: If the path is not a file, or the file is larger.
    """
    try:
        status = file.stat()
    except (OSError, ValueError):
        return file
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for name, test in _KINDS.items() if test(status.st_mode)), "something")
        raise SkeletonFormatError(f"{file}: expected a file, got {kind}")
    if most is not None and status.st_size > most:
        raise SkeletonFormatError(
            f"{file}: expected at most {most:,} bytes, got {status.st_size:,}"
        )
    return file


_KINDS: dict[str, Callable[[int], bool]] = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces this one if the block ends without an exception.

    Temporary files of processes that were killed while writing this file are removed.

    Raises:
        ValueError: If the folder of the file is itself a file.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"expected a folder, got the file {file.parent}") from None
    # not the process number, which may be the same in two containers
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    handle = -1
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _hold(handle)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
        _remove_abandoned(file)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        # errors name the file that the caller passed
        raise type(error)(error.errno, error.strerror, str(file)) from None
    finally:
        if handle >= 0:
            os.close(handle)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _hold(handle: int) -> bool | None:
    """Lock an open file or folder; False if another process holds it, None without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


_DAY = 86400  # seconds; no file takes longer to write


def _remove_abandoned(file: Path) -> None:
    """Remove temporary files of this file whose writer has ended."""
    pattern = re.compile(rf"\.{re.escape(file.name)}\.[0-9a-f]{{8}}\.tmp")
    with suppress(OSError):  # failing to tidy up is not an error
        for leftover in [entry for entry in file.parent.iterdir() if pattern.fullmatch(entry.name)]:
            handle = os.open(leftover, os.O_RDONLY | os.O_NONBLOCK)
            try:
                held = _hold(handle)
                if held or (held is None and os.fstat(handle).st_mtime < time.time() - _DAY):
                    leftover.unlink()
            finally:
                os.close(handle)


@contextmanager
def locked(folder: Path, task: str) -> Iterator[None]:
    """Lock a folder against other processes until the block ends or the process dies.

    If the file system has no locks, as on some networks, a file ``.lock`` in the folder names the
    process that holds it.

    Args:
        folder: An existing folder.
        task: What the other process is doing, for the message "another process is TASK".

    Raises:
        ValueError: If another process holds the lock.
    """
    handle = os.open(folder, os.O_RDONLY)
    _handles.add(handle)
    try:
        held = _hold(handle)
        if held is False:
            raise ValueError(f"another process is {task}")
        with nullcontext() if held else _lock_file(folder / LOCK, task):
            yield
    finally:
        _handles.remove(handle)
        os.close(handle)


LOCK = ".lock"
"""The file that locks a folder if the file system has no locks."""


@contextmanager
def _lock_file(file: Path, task: str) -> Iterator[None]:
    me = f"{socket.gethostname()} {os.getpid()}"
    while True:
        try:
            with file.open("x") as new:
                new.write(me)
            break
        except FileExistsError:
            with suppress(FileNotFoundError):
                owner = file.read_text(errors="replace")
                if not _is_gone(owner):
                    host, _, process = owner.partition(" ")
                    raise ValueError(
                        f"another process is {task}: process {process} on {host}, as {file} says; "
                        "if there is no such process, delete that file"
                    ) from None
                file.unlink()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _is_gone(owner: str) -> bool:
    """Return whether the process that a lock names ran on this machine and has ended."""
    host, _, process = owner.partition(" ")
    if fcntl is None or host != socket.gethostname() or not process.isdecimal():
        return False  # unknown on another machine
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


_handles: set[int] = set()  # open folders that this process has locked


def _let_go() -> None:
    """Release the locks in a forked child, which may live longer than its parent."""
    for handle in _handles:
        os.close(handle)
    _handles.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)


def reuse_memory() -> None:
    """Make the C library keep freed memory for reuse instead of returning it to the system.

    glibc takes blocks larger than a threshold from the system and returns them when they are freed,
    so that every new block costs a page fault per 4 KiB. Freeing a block raises the threshold to
    its size, at most 32 MiB. With other C libraries this has no effect.
    """
    np.empty(31 << 20, np.uint8)
