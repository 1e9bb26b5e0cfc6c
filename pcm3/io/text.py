"""Text of tables: opening files with clear errors, and the separator of cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pcm3.io.files import regular
from pcm3.io.reading import MOST_BYTES, fail

_BLANKS = b"\t\n\r\f\x1a\x1b"
_ADVICE = "save it as CSV UTF-8"


@contextmanager
def open_table(file: Path) -> Iterator[TextIO]:
    """Open a text file of a table for the time of the ``with`` block; line breaks are kept.

    Raises:
        SkeletonFormatError: If it is empty, cannot be read, or holds something else than UTF-8
            text; this is found only when the bytes are read.
    """
    try:
        with regular(file, MOST_BYTES).open(encoding="utf-8-sig", newline="") as stream:
            if not stream.read(1):
                fail(file, "the file is empty")
            stream.seek(0)
            yield stream
    except UnicodeDecodeError:
        fail(file, *why_not_utf8(file.read_bytes()))
    except OSError as error:
        fail(file, f"cannot be read, {error}")


def why_not_utf8(content: bytes) -> list[str]:
    """Say where bytes are not text in UTF-8, and how to mend that."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [f"text in UTF-16; {_ADVICE}"]
    if not is_text(content):
        return ["not text"]
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return [f"line {line}", f"text in another encoding than UTF-8; {_ADVICE}"]
    return ["cannot be read"]  # it was written to in the meantime


def is_text(content: bytes) -> bool:
    """Return whether bytes are text, in any encoding of one byte for an ASCII character."""
    return all(byte >= 32 or byte in _BLANKS for byte in content)


def find_delimiter(line: str) -> str:
    """Return what separates the cells of a header: a semicolon, a tab, or else a comma."""
    return next((mark for mark in (";", "\t") if mark in line), ",")
