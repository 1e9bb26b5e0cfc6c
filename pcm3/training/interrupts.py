"""Ctrl-C and termination signals: how a run stops between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was stopped between two steps; with a run folder, after saving a checkpoint."""


def leave_signals(_worker: int) -> None:
    """Signals that go to the whole group are the main process's to act on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or termination signal into a flag; a second one acts at once."""
    caught: list[int] = []
    handlers: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def catch(number: int, _frame: object) -> None:
        caught.append(number)
        restore()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, catch)
    except ValueError:  # not the main thread: signals are somebody else's
        pass
    try:
        yield lambda: bool(caught)
    finally:
        restore()
