"""What a long run shows while it works: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
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

from pcm3.runs.folder import Run
from pcm3.terminal import printable, tell


class ProgressReport:
    """Progress on standard error; standard output stays free for results.

    Args:
        description: What is going on, in a word or two.
        total: Units of work in all.
        done: Units that are done already.
        quiet: Show nothing.
        transient: Leave no bar behind.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._bar.disable:  # rich before 15 ends the line that it did not begin
            self._bar.stop()

    def advance(self, units: int = 1, figures: str = "") -> None:
        """So many more units are done; ``figures`` stand beside the bar."""
        self._bar.update(self._task, advance=units, figures=figures)

    def advance_to(self, done: int) -> None:
        """So many units are done."""
        self._bar.update(self._task, completed=done)

    def line(self, text: str) -> None:
        """Say something that stays."""
        if self.plain:
            tell(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(printable(text), highlight=False, markup=False)


def track(count: int, description: str, seconds: float = 30.0) -> Generator[int]:
    """The numbers from 0 to below ``count``, with a bar; elsewhere a line every so many seconds."""
    with ProgressReport(description, count, transient=True) as report:
        said = time.monotonic()
        for number in range(count):
            yield number
            report.advance()
            if report.plain and time.monotonic() - said >= seconds:
                report.line(f"{description}: {number + 1} of {count}")
                said = time.monotonic()


def format_figures(figures: Mapping[str, Any]) -> str:
    """Names and numbers on one line."""
    return "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )


@contextmanager
def event_files(run: Run | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write records as TensorBoard event files to a run folder; nothing without one."""
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
