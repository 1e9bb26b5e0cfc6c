"""Printing with control characters escaped, so that names in files cannot steer the terminal."""

from __future__ import annotations

import re
from typing import TextIO

# controls except tab and newline, marks of the writing direction
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with control characters escaped as in Python, such as a backslash and ``x1b``."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def tell(text: str, file: TextIO | None = None, *, flush: bool = False) -> None:
    """Print a text, by default to standard output, with control characters escaped."""
    print(printable(text), file=file, flush=flush)
