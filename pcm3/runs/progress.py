"""Progress of long operations: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pcm3.errors import explain_missing
from pcm3.runs.folder import Run
from pcm3.terminal import duration, printable, tell

with explain_missing():
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )


class ProgressReport:
    """Progress on standard error; standard output stays free for results.

    On a terminal it is one line as wide as the terminal, with the time left. Elsewhere each call of
    ``show`` prints a line.

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
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not console.is_terminal or quiet,
            transient=transient,
            expand=True,
        )
        self._task = self._bar.add_task(description, total=total, completed=done, figures="")
        self._description, self._total, self._done = description, total, done
        self._before, self._started = done, time.monotonic()

    def __enter__(self) -> ProgressReport:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._bar.disable:  # rich before 15 ends a line that it has not begun
            self._bar.stop()

    def advance(self, units: int = 1) -> None:
        """Advance by a number of units."""
        self.advance_to(self._done + units)

    def advance_to(self, done: int) -> None:
        """Set the number of units that are done."""
        self._done = done
        self._bar.update(self._task, completed=done)

    def show(self, figures: str) -> None:
        """Show figures beside the bar, or without a terminal on a new line with the time left."""
        self._bar.update(self._task, figures=printable(figures))
        if self.plain:
            left = self._seconds_left()
            parts = [f"{self._description}: {figures}"]
            parts += [f"{duration(left)} left"] if left else []
            tell("  ".join(parts), file=sys.stderr, flush=True)

    def _seconds_left(self) -> float:
        """Time left at the mean speed so far; 0 if it is not known."""
        new = self._done - self._before
        passed = time.monotonic() - self._started
        return passed * (self._total - self._done) / new if new > 0 else 0.0


def track(count: int, description: str, seconds: float = 30.0) -> Generator[int]:
    """Iterate over ``range(count)`` with a bar, or a line every ``seconds`` without a terminal."""
    with ProgressReport(description, count, transient=True) as report:
        printed = time.monotonic()
        for number in range(count):
            yield number
            report.advance()
            if report.plain and time.monotonic() - printed >= seconds:
                report.show(f"{number + 1} of {count}")
                printed = time.monotonic()


def format_epoch(record: Mapping[str, Any], epochs: int) -> str:
    """Format the figures of an epoch that matter while training; the record has them all."""
    figures = [f"epoch {record['epoch']}/{epochs}"]
    if "total" in record:  # not before training
        figures.append(f"loss {record['total']:.4g}")
    if "knn" in record:
        figures.append(f"kNN {record['knn']:.1%}")
    if record.get("skipped"):
        figures.append(f"{record['skipped']} skipped")
    return "  ".join(figures)


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
