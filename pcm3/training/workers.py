"""Worker processes that read batches, and that never outlive the reading."""

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
    """Make a worker ignore stop signals, which are handled by the main process."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def reading(loader: DataLoader[Any]) -> Iterator[Iterator[Batch]]:
    """Iterate over a loader once; its workers have ended when the block ends.

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
            f"a process that reads batches {how_it_ended(killed[0].exitcode)}, possibly because "
            "memory ran out; lower --train.workers or --train.batch-size"
        ) from error
    finally:
        if workers:
            # at exit, Python would wait for workers that ignore the termination signal
            batches._shutdown_workers()  # type: ignore[attr-defined]
            for worker in workers:
                worker.kill()


def how_it_ended(exitcode: int | None) -> str:
    """Describe the exit code of a child process, for example "was killed by SIGKILL"."""
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    return f"was killed by {signal.Signals(-exitcode).name}"
