"""Every command that starts processes, killed at each of them: it ends, says why, leaves nothing.

The commands are those that read with ``--workers`` and train with ``--train.workers`` and
``--train.devices``; evaluation and the demo start none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import test_ntu
from test_damaged_json import PRETRAIN

from pcm3.data import Store
from pcm3.data.prepare import prepare
from pcm3.data.synthetic import generate
from pcm3.runs.folder import Run

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")

ENDLESS = ["pretrain", "--data", "store", "--out", "out", *PRETRAIN, "--train.epochs", "100000"]
COMMANDS = {
    "prepare": ["prepare", "raw", "out", "--workers", "2"],
    "workers": [*ENDLESS, "--train.workers", "2"],
    "devices": [*ENDLESS, "--train.devices", "2"],
    "workers of devices": [*ENDLESS, "--train.devices", "2", "--train.workers", "1"],
}
SLOW = pytest.mark.slow
KILLS = [
    ("prepare", 2, "works"),
    *(("workers", 0, "starts"), ("devices", 0, "works"), ("workers of devices", 1, "works")),
    *(pytest.param("prepare", *rest, marks=SLOW) for rest in ((1, "works"), (1, "starts"))),
    pytest.param("prepare", 2, "starts", marks=SLOW),
    *(
        pytest.param("workers", *rest, marks=SLOW)
        for rest in ((1, "starts"), (0, "works"), (1, "works"))
    ),
    pytest.param("devices", 0, "starts", marks=SLOW),
    *(pytest.param("workers of devices", child, "works", marks=SLOW) for child in (0, 2)),
]
"""Command, which of its processes by their numbers, and when it is killed. The first process of
``prepare`` is Python's own, which does no work; it has a test of its own."""


class Process(NamedTuple):
    """A process as ``/proc`` has it."""

    number: int
    parent: int
    group: int
    state: str


def processes() -> list[Process]:
    """All that are there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:  # it has just ended
                continue
            found.append(Process(int(entry.name), int(parent), int(group), state))
    return found


def members(group: int) -> list[int]:
    """The processes of a group but its first, those that have ended left out."""
    return sorted(
        each.number
        for each in processes()
        if each.group == group and each.number != group and each.state != "Z"
    )


def wait_for(condition: Callable[[], object], what: str) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"waited in vain for {what}")


def is_at_work(folder: Path) -> bool:
    """Whether a part of the recordings is read, or an epoch trained."""
    metrics = folder / "out" / "metrics.jsonl"
    return any((folder / ".out.shards").glob("*.json")) or (
        metrics.is_file() and metrics.stat().st_size > 0
    )


def kill_one(folder: Path, command: str, child: int, moment: str) -> tuple[int, str]:
    """Start a command, kill one of its processes, wait; its exit code and what it said."""
    with subprocess.Popen(
        [sys.executable, "-m", "pcm3", *COMMANDS[command]],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the first of a group of its own
    ) as started:
        try:
            wait_for(lambda: len(members(started.pid)) > child, "the process")
            if moment == "works":
                wait_for(lambda: is_at_work(folder), "work")
            os.kill(members(started.pid)[child], signal.SIGKILL)
            _, said = started.communicate(timeout=90)  # until nobody holds its standard error
        finally:
            for number in (*members(started.pid), started.pid):
                left = members(started.pid)
                if number in left or started.poll() is None:
                    os.kill(number, signal.SIGKILL)
        wait_for(lambda: not members(started.pid), "the end of all processes")
    return started.returncode, said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Raw recordings that take a while, and a small store."""
    text = test_ntu.format_ntu(test_ntu.random_frames(200))
    (tmp_path / "raw").mkdir()
    first = tmp_path / "raw" / "S001C001P001R001A001.skeleton"
    first.write_text(text)
    for number in range(2, 201):
        (first.parent / f"S001C001P001R{number:03d}A001.skeleton").hardlink_to(first)
    generate(tmp_path / "store", sequences=24, frames=(10, 20))
    return tmp_path


@pytest.mark.parametrize(("command", "child", "moment"), KILLS)
def test_a_command_whose_process_is_killed_ends(
    folder: Path, command: str, child: int, moment: str
) -> None:
    code, said = kill_one(folder, command, child, moment)
    assert code == 2, said
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("pcm3: error: ")]
    # of the two processes that train, the one that lost its worker and the one that lost that
    assert len(errors) == (2 if command == "workers of devices" and len(errors) == 2 else 1), said
    assert "killed" in errors[0]
    assert said.splitlines()[-1] == errors[-1]
    kept = {"raw", "store", ".out.shards" if command == "prepare" else "out"}
    assert {each.name for each in folder.iterdir()} <= kept
    if command == "prepare":
        report = prepare(folder / "raw", folder / "out", workers=1)
        assert (report["kept"], len(Store(folder / "out"))) == (200, 200)
        assert {each.name for each in folder.iterdir()} == {"raw", "store", "out"}
    elif moment == "works":
        run = Run(folder / "out")
        files = {each.name for each in run.path.iterdir()}
        known = {"config.json", "seen.npz", "metrics.jsonl"}
        known |= {"checkpoint.pt", "checkpoint-previous.pt"}
        assert files <= known
        assert len(run.read_metrics()) > 0
        run.load_checkpoint()


def test_the_process_that_does_no_work_is_not_missed(folder: Path) -> None:
    code, _ = kill_one(folder, "prepare", 0, "starts")
    assert code == 0
    store = Store(folder / "out")
    assert len([store.sequence(index) for index in range(len(store))]) == 200
