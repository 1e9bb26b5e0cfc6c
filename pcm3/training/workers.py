"""Processes that read batches: they end when the reading ends, however it ends."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from pcm3.data.dataset import Batch
from pcm3.training.interrupts import STOPS


def leave_signals(_worker: int) -> None:
    """Let a worker ignore the signals that go to the whole group: they are for the main process."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def reading(loader: DataLoader[Any]) -> Iterator[Iterator[Batch]]:
    """Iterate over a loader once; at the end of the block none of its workers is left.

    Raises:
        ChildProcessError: If a worker was killed.
    """
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    workers = set(multiprocessing.active_children()) - before
    try:
        yield batches
    except RuntimeError as error:
        killed = [worker for worker in workers if not worker.is_alive()]
        if not killed:
            raise
        raise ChildProcessError(
            f"a process that reads batches {how_it_ended(killed[0].exitcode)}, as the system does "
            "when memory runs out; lower --train.workers or --train.batch-size"
        ) from error
    finally:
        if workers:
            # Python would wait at its exit for workers that ignore its termination signal
            batches._shutdown_workers()  # type: ignore[attr-defined]
            for worker in workers:
                worker.kill()


def how_it_ended(exitcode: int | None) -> str:
    """Words for the exit code of a child process: "was killed by SIGKILL"."""
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    return f"was killed by {signal.Signals(-exitcode).name}"
