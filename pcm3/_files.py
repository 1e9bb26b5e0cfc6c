"""Files that are written whole or not at all, and folders that one process writes at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a temporary file beside this one, which takes its place when the block ends well.

    Raises:
        ValueError: If a file is where its folder should be.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"expected a folder, got the file {file.parent}") from None
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        # whoever reads it knows the file by its own name
        raise type(error)(error.errno, error.strerror, str(file)) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, task: str) -> Iterator[None]:
    """Keep other processes out of a folder for as long as the block runs or the process lives.

    Args:
        folder: An existing folder.
        task: What another process may be doing, as in "another process is TASK".

    Raises:
        ValueError: If another process holds it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    _handles.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is {task}") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        _handles.remove(handle)
        os.close(handle)


_handles: set[int] = set()  # of folders that this process holds


def _let_go() -> None:
    """A child must not hold a folder for longer than its parent."""
    for handle in _handles:
        os.close(handle)
    _handles.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)
