"""Checkpoints: atomic writes, checksums verified on reading, and the previous one as backup."""

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
    """Write a checkpoint and rename the existing one to the previous one.

    At least one of the two is intact, no matter when the process ends.

    Raises:
        OSError: If the file cannot be written; it is named in the error.
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
    """Pass written data on, and keep the error of a failed write, which torch hides."""

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
    """Load the last intact checkpoint on the CPU; None if no checkpoint was written.

    If the last one is damaged, a warning on standard error says so and the previous one is read.

    Raises:
        ValueError: If all checkpoints are damaged.
    """
    candidates = [path for path in (file, previous(file)) if path.exists()]
    for candidate in candidates:
        try:
            return _read(candidate)
        except Exception as error:  # damaged bytes may raise any error
            # EINVAL comes from an impossible offset in a damaged file, others from the disk
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            # torch's own message may recommend to run code from the file
            reason = (
                str(error)
                if isinstance(error, (_DamagedError, SkeletonFormatError))
                else type(error).__name__
            )
            tell(f"warning: the checkpoint {candidate} is damaged: {reason}", file=sys.stderr)
    if candidates:
        raise ValueError(
            f"expected a checkpoint, but {' and '.join(map(str, candidates))} "
            f"{'is' if len(candidates) == 1 else 'are'} damaged; delete the folder to start again"
        )
    return None


def _read(file: Path) -> dict[str, Any]:
    """Read a checkpoint and verify its checksums, which torch writes but does not check."""
    state = load_plain(file)
    with zipfile.ZipFile(file) as archive:
        member = archive.testzip()
    if member is not None:
        raise _DamagedError(f"the checksum of {member} is wrong")
    if not isinstance(state, dict):
        raise _DamagedError(f"expected a mapping, got {type(state).__name__}")
    return state


class _DamagedError(Exception):
    """The file can be read, but its content has changed."""


def previous(file: Path) -> Path:
    """Return the path of the previous checkpoint."""
    return file.with_stem(f"{file.stem}-previous")
