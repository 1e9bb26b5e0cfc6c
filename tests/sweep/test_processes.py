"""Processes of a sweep: how many, in what order, what happens if one fails or all are stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from threading import Thread

import pytest

from pcm3.methods.catalog import get_preset
from pcm3.sweep.file import Cell, Variation
from pcm3.sweep.processes import run_processes


def cells(*starts: int | None) -> list[Cell]:
    rows = [Variation(f"v{at}", get_preset("small"), (), None, {}) for at in range(len(starts))]
    return [
        Cell(at, row, 0, start) for at, (row, start) in enumerate(zip(rows, starts, strict=True))
    ]


def times(folder: Path) -> dict[str, tuple[float, float]]:
    return {
        file.stem: (file.stat().st_mtime, file.with_suffix(".end").stat().st_mtime)
        for file in folder.glob("*.begin")
    }


def timed(folder: Path, cell: Cell) -> list[str]:
    place = folder / str(cell.number)
    return ["sh", "-c", f"touch {place}.begin; sleep 0.3; touch {place}.end"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_processes_than_jobs(jobs: int, tmp_path: Path) -> None:
    assert run_processes(cells(*[None] * 4), lambda c: timed(tmp_path, c), jobs, tmp_path) == []
    spans = times(tmp_path)
    assert len(spans) == 4
    most = max(sum(a <= begin <= b for a, b in spans.values()) for begin, _ in spans.values())
    assert most == jobs


def test_a_cell_waits_for_the_one_that_it_starts_from(tmp_path: Path) -> None:
    assert run_processes(cells(None, 0, None), lambda c: timed(tmp_path, c), 3, tmp_path) == []
    spans = times(tmp_path)
    assert spans["1"][0] >= spans["0"][1]
    assert spans["2"][0] < spans["0"][1]


def test_one_that_fails_stops_only_those_that_start_from_it(tmp_path: Path) -> None:
    def command(cell: Cell) -> list[str]:
        return [
            "sh",
            "-c",
            f"echo said; touch {tmp_path}/{cell.number}; exit {3 * (cell.number == 0)}",
        ]

    failed = run_processes(cells(None, 0, None, 1), command, 2, tmp_path / "logs")
    assert [line.split()[0] for line in failed] == ["v0-seed0", "v1-seed0", "v3-seed0"]
    assert [(tmp_path / str(number)).exists() for number in range(4)] == [True, False, True, False]
    assert (tmp_path / "logs" / "v0-seed0.log").read_text() == "said\n"


def test_processes_are_asked_to_stop(tmp_path: Path) -> None:
    def command(cell: Cell) -> list[str]:
        place = f"{tmp_path}/{cell.number}"
        trap = f"trap 'touch {place}.stopped; exit 130' TERM; touch {place}.begin"
        return ["sh", "-c", f"{trap}; while :; do sleep 0.05; done"]

    def stop() -> None:
        while not (tmp_path / "1.begin").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=stop)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_processes(cells(None, None, None), command, 2, tmp_path)
    thread.join()
    assert sorted(path.name for path in tmp_path.glob("*.stopped")) == ["0.stopped", "1.stopped"]
    assert not (tmp_path / "2.begin").exists()
