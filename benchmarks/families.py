"""Methods of all families on the same open recordings, in the same time: `docs/benchmark.md`.

Prepares the recordings, and trains and evaluates each run of `examples/sweeps/benchmark.toml`, on
one core each, with the seeds in order. Repeat it to continue.

    python benchmarks/families.py --data FOLDER --work FOLDER --jobs 2
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from environment import environment
from open_data import NAMES, open_store

from pcm3.sweep.cells import Cells
from pcm3.sweep.file import read_sweep

FILE = Path(__file__).parents[1] / "examples/sweeps/benchmark.toml"


def measure(number: int, work: Path, file: Path) -> dict[str, Any]:
    """Train and evaluate one run: its figures, and the CPU time of pretraining."""
    torch.set_num_threads(1)
    os.chdir(work)  # the stores of the file are relative to it
    sweep, out = read_sweep(file), work / "runs"
    cell = sweep.cells[number]
    pretraining = Cells(replace(sweep, evaluations=()), out, [number])
    stopped = pretraining.run(cell).path.exists()
    began = time.process_time()
    pretraining.complete(cell)
    seconds = time.process_time() - began
    evaluations = Cells(sweep, out, [number])
    evaluations.complete(cell)
    return {
        "variation": cell.variation.name,
        "seed": cell.seed,
        "epochs": cell.config.train.epochs,
        "cpu_seconds": None if stopped else seconds,
        "figures": _figures(evaluations.run(cell).results),
        "environment": environment(),
    }


def _figures(folder: Path) -> dict[str, dict[str, float]]:
    """Figures by data set, protocol and task."""
    figures = {}
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text())
        name = f"{result['store']} {result['protocol']} {result['command'].split()[-1]}"
        metrics = result["metrics"].items()
        figures[name] = {key: value for key, value in metrics if isinstance(value, float)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--work", type=Path, required=True, help="folder of stores and runs")
    parser.add_argument("--sweep", type=Path, default=FILE, help="the file of the runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    work, sweep, out = options.work.resolve(), options.sweep.resolve(), options.out.resolve()
    for name in NAMES:
        open_store(name, options.data, work / "stores")
    out.mkdir(parents=True, exist_ok=True)
    file = out / "families.json"
    rows = json.loads(file.read_text())["results"] if file.exists() else []
    known = {(row["variation"], row["seed"]) for row in rows}
    cells = [c for c in read_sweep(sweep).cells if (c.variation.name, c.seed) not in known]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(measure, cell.number, work, sweep) for cell in cells]
        try:
            for done in as_completed(futures):
                rows.append(done.result())
                record(rows, file)
        finally:  # if a run failed, the error is told after the runs that have begun
            pool.shutdown(cancel_futures=True)


def record(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Write what was measured so far."""
    result = {
        "benchmark": "families",
        "command": "python benchmarks/families.py --data FOLDER --work FOLDER",
        "results": sorted(rows, key=lambda row: row["seed"]),
    }
    file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
