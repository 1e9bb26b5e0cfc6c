"""What commands print: names from files do not steer the terminal."""

from __future__ import annotations

import re
from typing import TextIO

# controls but tabs and ends of lines, and what turns the direction of writing
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with control characters as Python writes them, a backslash and ``x1b`` for one."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def tell(text: str, file: TextIO | None = None, *, flush: bool = False) -> None:
    """Print a text, by default on standard output; what steers a terminal is shown instead."""
    print(printable(text), file=file, flush=flush)
