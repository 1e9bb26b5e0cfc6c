"""What commands print: names from files neither steer the terminal nor break a line."""

from __future__ import annotations

import re
from typing import TextIO

# control characters, tabs and line breaks included, and those that change the direction of writing
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text on one line, with control characters escaped as in Python: ``\x1b``, ``\n``."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def tell(*lines: str, file: TextIO | None = None, flush: bool = False) -> None:
    """Print each text as one line, by default on standard output, with ``printable`` characters."""
    print(*map(printable, lines), sep="\n", file=file, flush=flush)


def duration(seconds: float) -> str:
    """Format a time in a suitable unit, such as "3.43 days" or "12 seconds"."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
