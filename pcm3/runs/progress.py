"""Progress of long operations: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
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

from pcm3.runs.folder import Run
from pcm3.terminal import printable, tell


class ProgressReport:
    """Progress on standard error; standard output stays free for results.

    Args:
        description: The operation in a word or two.
        total: Total number of units of work.
        done: Number of units that are already done.
        quiet: Show nothing.
        transient: Remove the bar at the end.
    """

    def __init__(
        self,
        description: str,
        total: int,
        done: int = 0,
        quiet: bool = False,
        transient: bool = False,
    ) -> None:
        console = Console(stderr=True, quiet=quiet)
        self.plain = not console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal or quiet,
            transient=transient,
        )
        self._task = self._bar.add_task(description, total=total, completed=done, figures="")

    def __enter__(self) -> ProgressReport:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._bar.disable:  # rich before 15 ends a line that it has not begun
            self._bar.stop()

    def advance(self, units: int = 1, figures: str = "") -> None:
        """Advance by a number of units; ``figures`` are shown next to the bar."""
        self._bar.update(self._task, advance=units, figures=figures)

    def advance_to(self, done: int) -> None:
        """Set the number of units that are done."""
        self._bar.update(self._task, completed=done)

    def line(self, text: str) -> None:
        """Print a line that stays above the bar."""
        if self.plain:
            tell(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(printable(text), highlight=False, markup=False)


def track(count: int, description: str, seconds: float = 30.0) -> Generator[int]:
    """Iterate over ``range(count)`` with a bar, or a line every ``seconds`` without a terminal."""
    with ProgressReport(description, count, transient=True) as report:
        printed = time.monotonic()
        for number in range(count):
            yield number
            report.advance()
            if report.plain and time.monotonic() - printed >= seconds:
                report.line(f"{description}: {number + 1} of {count}")
                printed = time.monotonic()


def format_figures(figures: Mapping[str, Any]) -> str:
    """Format names and numbers on one line."""
    return "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )


@contextmanager
def event_files(run: Run | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write metrics as TensorBoard event files to a run folder, or nowhere without one."""
    if run is None:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    with SummaryWriter(str(run.path)) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in record.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, record["epoch"])

        yield write
