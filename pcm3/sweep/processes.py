"""Runs the cells of a sweep, each in a process of its own, several at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pcm3.sweep.file import Cell
from pcm3.terminal import tell
from pcm3.training.interrupts import deferred_signals
from pcm3.training.workers import how_it_ended

_LOOK_EVERY = 0.1  # seconds


def run_processes(
    cells: Sequence[Cell],
    command: Callable[[Cell], list[str]],
    jobs: int,
    logs: Path,
) -> list[str]:
    """Run a command for each cell, and go on with the others if one fails.

    A cell that starts from another one of ``cells`` waits for it. With one process at a time its
    output is shown, with several it goes to ``NAME.log``. After Ctrl-C or a termination signal the
    processes are asked to stop, and nothing more is started.

    Args:
        cells: The cells, each after the one that it starts from.
        command: Returns the command of a cell.
        jobs: Largest number of processes at a time.
        logs: Folder of the log files.

    Returns:
        A line for each cell that failed.

    Raises:
        KeyboardInterrupt: After the processes have stopped.
    """
    waiting, failed = list(cells), dict[int, str]()
    running: dict[int, tuple[Cell, subprocess.Popen[bytes]]] = {}
    environment = dict(os.environ)
    if jobs > 1:
        share = max(1, len(os.sched_getaffinity(0)) // jobs)
        environment.setdefault("OMP_NUM_THREADS", str(share))
        logs.mkdir(parents=True, exist_ok=True)
    with deferred_signals() as stopped:
        try:
            while (waiting or running) and not stopped():
                for cell in _ready(waiting, running, failed)[: jobs - len(running)]:
                    waiting.remove(cell)
                    running[cell.number] = (
                        cell,
                        _start(command(cell), cell, jobs, logs, environment),
                    )
                time.sleep(_LOOK_EVERY)
                for number, (cell, process) in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[number]
                    if process.returncode != 0:
                        where = f"; see {_log(logs, cell)}" if jobs > 1 else ""
                        failed[number] = f"{cell.name} {how_it_ended(process.returncode)}{where}"
                        tell(f"pcm3: {failed[number]}", file=sys.stderr, flush=True)
                    elif jobs > 1:
                        tell(f"{cell.name}: finished", flush=True)
            _stop(running)
        except BaseException:
            _stop(running)
            raise
    if stopped():
        raise KeyboardInterrupt(f"stopped; {len(waiting)} cells were not begun")
    return [*failed.values()]


def _ready(
    waiting: list[Cell],
    running: dict[int, tuple[Cell, subprocess.Popen[bytes]]],
    failed: dict[int, str],
) -> list[Cell]:
    """Return the cells that can begin; those whose first run has failed fail too."""
    for cell in list(waiting):
        if cell.start in failed:
            waiting.remove(cell)
            first = failed[cell.start].partition(" ")[0]
            failed[cell.number] = f"{cell.name} was left out, as {first} failed"
    pending = {cell.number for cell in waiting} | running.keys()
    return [cell for cell in waiting if cell.start not in pending]


def _log(logs: Path, cell: Cell) -> Path:
    return logs / f"{cell.name}.log"


def _start(
    command: list[str], cell: Cell, jobs: int, logs: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    # in a session of its own, so that Ctrl-C reaches it once, through this process
    if jobs == 1:
        return subprocess.Popen(command, env=environment, start_new_session=True)
    with _log(logs, cell).open("wb") as log:
        return subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=log, stderr=log
        )


def _stop(running: dict[int, tuple[Cell, subprocess.Popen[bytes]]]) -> None:
    """Ask processes to stop, and wait for them."""
    for _, process in running.values():
        process.terminate()
    for _, process in running.values():
        process.wait()
