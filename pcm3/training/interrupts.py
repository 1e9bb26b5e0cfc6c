"""Stop a run between two steps after Ctrl-C, a termination signal or a closed terminal."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """The run was stopped between two steps, after a checkpoint was saved to its run folder."""


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first signal of ``STOPS`` into a flag; a second one stops the process at once.

    Signals that are ignored, for example under ``nohup``, stay ignored.

    Yields:
        A function that returns whether a signal has arrived.
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
    except ValueError:  # only the main thread can handle signals
        pass
    try:
        yield lambda: bool(caught)
    finally:
        restore()
