"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        temporary.replace(file)
    except OSError as error:
        if error.filename != str(temporary):
            raise
        # whoever reads it knows the file by its own name
        raise type(error)(error.errno, error.strerror, str(file)) from None
    finally:
        temporary.unlink(missing_ok=True)
