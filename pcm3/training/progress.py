"""What a long run shows while it works: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressReport:
    """Progress on standard error; standard output stays free for results.

    Args:
        description: What is going on, in a word or two.
        total: Units of work in all.
        done: Units that are done already.
        quiet: Show nothing.
    """

    def __init__(self, description: str, total: int, done: int = 0, quiet: bool = False) -> None:
        console = Console(stderr=True, quiet=quiet)
        self._plain = not console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal or quiet,
        )
        self._task = self._bar.add_task(description, total=total, completed=done, figures="")

    def __enter__(self) -> ProgressReport:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, figures: str = "") -> None:
        """One unit is done; ``figures`` stand beside the bar."""
        self._bar.update(self._task, advance=1, figures=figures)

    def advance_to(self, done: int) -> None:
        """So many units are done."""
        self._bar.update(self._task, completed=done)

    def line(self, text: str) -> None:
        """Say something that stays."""
        if self._plain:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, highlight=False)


def format_figures(figures: Mapping[str, Any]) -> str:
    """Names and numbers on one line."""
    return "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )
