"""Checkpoints: written whole, verified before they are read, and the one before kept."""

from __future__ import annotations

import errno
import io
import sys
import zipfile
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import replacing
from pcm3.io.torch_files import load_plain
from pcm3.terminal import tell


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one that was there becomes the one before.

    However the process ends, one of the two is there, whole.
    """
    with replacing(file) as temporary:
        with temporary.open("wb") as out:
            sink = _Sink(out)
            try:
                torch.save(state, cast(IO[bytes], sink))
            except Exception:
                if sink.error is not None:
                    sink.error.filename = str(temporary)
                    raise sink.error from None
                raise
        if file.exists():
            file.replace(previous(file))


class _Sink(io.RawIOBase):
    """Passes on what is written; remembers why it could not be, of which torch says nothing."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self.out = out
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.out.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.out.flush()


def load_checkpoint(file: Path) -> dict[str, Any] | None:
    """The last checkpoint that is whole, on the CPU; None where none was written.

    A damaged one is named on standard error, and the one before is read.

    Raises:
        ValueError: If all that were written are damaged.
    """
    there = [each for each in (file, previous(file)) if each.exists()]
    for each in there:
        try:
            return _read(each)
        except Exception as error:  # what reading damaged bytes may end in is anyone's guess
            # a place in the file that cannot be is damage; a disk that fails is another matter
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            # torch's own words may say how to read it all the same, code and all
            reason = (
                str(error)
                if isinstance(error, (_DamagedError, SkeletonFormatError))
                else type(error).__name__
            )
            tell(f"warning: the checkpoint {each} is damaged: {reason}", file=sys.stderr)
    if there:
        raise ValueError(
            f"expected a checkpoint, but {' and '.join(map(str, there))} "
            f"{'is' if len(there) == 1 else 'are'} damaged; delete the folder to begin anew"
        )
    return None


def _read(file: Path) -> dict[str, Any]:
    """Read, and verify the checksums, which torch writes and does not look at."""
    state = load_plain(file)
    with zipfile.ZipFile(file) as archive:
        member = archive.testzip()
    if member is not None:
        raise _DamagedError(f"the checksum of {member} is wrong")
    if not isinstance(state, dict):
        raise _DamagedError(f"expected a mapping, got {type(state).__name__}")
    return state


class _DamagedError(Exception):
    """Readable, but not what was written."""


def previous(file: Path) -> Path:
    """Where the checkpoint before is kept."""
    return file.with_stem(f"{file.stem}-previous")
