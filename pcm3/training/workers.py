"""Worker processes that read batches, and that never outlive the reading."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

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
    batches: Any = None
    workers: list[BaseProcess] = []
    try:
        with _no_handler():
            batches = iter(loader)
        workers = getattr(batches, "_workers", [])  # not those that are active: some may not be
        yield batches
    except Exception as error:
        if not _is_of_worker(error):
            raise
        wait([worker.sentinel for worker in workers], timeout=1)  # its end may be seen later
        killed = [worker for worker in workers if not worker.is_alive()]
        if not killed:
            raise
        raise ChildProcessError(
            f"a process that reads batches {how_it_ended(killed[0].exitcode)}, possibly because "
            "memory ran out; lower --train.workers or --train.batch-size"
        ) from error
    finally:
        if workers:
            # Python would wait at its exit for workers that ignore its termination signal
            batches._shutdown_workers()
        for worker in workers or set(multiprocessing.active_children()) - before:
            worker.kill()


@contextmanager
def _no_handler() -> Iterator[None]:
    """Keep torch from raising an error wherever the run is, as soon as a worker has ended.

    Other libraries may catch it, or be left in a bad state. Torch also looks after the workers
    while it waits for a batch, every few seconds.
    """
    before = getattr(signal_handling, "_SIGCHLD_handler_set", False)
    signal_handling._SIGCHLD_handler_set = True
    try:
        yield
    finally:
        signal_handling._SIGCHLD_handler_set = before


def _is_of_worker(error: BaseException | None) -> bool:
    """Whether torch raised it for a worker, or a connection broke off, or in its course."""
    while error is not None:
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            return True
        if isinstance(error, (EOFError, ConnectionError)):  # a worker that was sending a batch
            return True
        error = error.__context__
    return False


def how_it_ended(exitcode: int | None) -> str:
    """Describe the exit code of a child process, for example "was killed by SIGKILL"."""
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    return f"was killed by {signal.Signals(-exitcode).name}"
