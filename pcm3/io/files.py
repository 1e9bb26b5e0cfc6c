"""Files that are written whole or not at all, and folders that one process writes at a time."""

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
    """The file, if reading it comes to an end: pipes, sockets and devices are refused unopened.

    Args:
        file: To be read; what is missing shows when it is opened.
        most: Bytes that it may have, where it is read at once.

    Raises:
        SkeletonFormatError: If it is something else, or larger.
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
    """Give a temporary file beside this one, which takes its place when the block ends well.

    Temporary files of processes that were killed as they wrote this file are removed.

    Raises:
        ValueError: If a file is where its folder should be.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"expected a folder, got the file {file.parent}") from None
    # not the process number alone: processes of two containers may share one
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
        # whoever reads it knows the file by its own name
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


_DAY = 86400  # seconds; nobody writes a file for longer


def _remove_abandoned(file: Path) -> None:
    """Remove temporary files of this file whose writer is no more."""
    pattern = re.compile(rf"\.{re.escape(file.name)}\.[0-9a-f]{{8}}\.tmp")
    with suppress(OSError):  # tidying up is no reason to fail
        for other in [each for each in file.parent.iterdir() if pattern.fullmatch(each.name)]:
            handle = os.open(other, os.O_RDONLY | os.O_NONBLOCK)
            try:
                held = _hold(handle)
                if held or (held is None and os.fstat(handle).st_mtime < time.time() - _DAY):
                    other.unlink()
            finally:
                os.close(handle)


@contextmanager
def locked(folder: Path, task: str) -> Iterator[None]:
    """Keep other processes out of a folder for as long as the block runs or the process lives.

    Where the file system has no locks, as on some networks, a file ``.lock`` in the folder says
    which process holds it.

    Args:
        folder: An existing folder.
        task: What another process may be doing, as in "another process is TASK".

    Raises:
        ValueError: If another process holds it.
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
"""The file that holds a folder where the file system has no locks."""


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
    """Whether the process that a lock names was one of this machine, and has ended."""
    host, _, process = owner.partition(" ")
    if fcntl is None or host != socket.gethostname() or not process.isdecimal():
        return False  # nobody here can tell
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


_handles: set[int] = set()  # of folders that this process holds


def _let_go() -> None:
    """A child must not hold a folder for longer than its parent."""
    for handle in _handles:
        os.close(handle)
    _handles.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)


def reuse_memory() -> None:
    """Let the C library keep freed memory instead of handing it back and asking for it anew.

    glibc takes blocks larger than a threshold from the system and returns them when they are freed;
    every new one then costs a page fault for each 4 KiB. Freeing one block raises the threshold to
    its size, at most 32 MiB. Elsewhere this does nothing.
    """
    np.empty(31 << 20, np.uint8)
