"""Ctrl-C, termination signals and closed terminals: how a run stops between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """The run was stopped between two steps; with a run folder, after saving a checkpoint."""


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first of these signals into a flag; a second one acts at once.

    One that is ignored, as ``nohup`` has it, stays so.
    """
    caught: list[int] = []
    handlers: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def catch(number: int, _frame: object) -> None:
        caught.append(number)
        restore()

    try:
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                handlers[number] = signal.signal(number, catch)
    except ValueError:  # not the main thread: signals are somebody else's
        pass
    try:
        yield lambda: bool(caught)
    finally:
        restore()
