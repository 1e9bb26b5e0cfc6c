"""Tables of answers as ``.csv`` files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from pcm3.io.files import replacing


def write_table(file: str | Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows below the names of their columns, whole or not at all."""
    with (
        replacing(Path(file)) as temporary,
        temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def who(person: int) -> str:
    """The number of a person as text; ``"all"`` for several who are taken together."""
    return "all" if person < 0 else str(person)


SECONDS = ("start_seconds", "end_seconds")
"""Names of what ``in_seconds`` gives."""


def in_seconds(start: int, end: int, fps: float | None) -> dict[str, float]:
    """Begin and end of a span of frames in seconds, empty if the frame rate is unknown."""
    if fps is None:
        return {}
    return {name: round(at / fps, 3) for name, at in zip(SECONDS, (start, end), strict=True)}
