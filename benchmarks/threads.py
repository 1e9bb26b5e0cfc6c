"""How many threads suit small models: steps on an idle machine and beside other work.

    python benchmarks/threads.py

Every row is a process of its own. The other work is one process for each core that computes matrix
products with one thread, as a second run would. "passive" threads sleep while they wait
(OMP_WAIT_POLICY=PASSIVE), as those of the command pcm3 do; by default they spin.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from environment import environment
from step import FRAMES, library_step

from pcm3 import NTU25
from pcm3.methods.catalog import get_preset

CASES = ("small:64", "small-mamp:64")
BUSY = "import torch; torch.set_num_threads(1); a = torch.randn(512, 512)\nwhile True: a @ a"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", nargs="+", default=CASES, help="PRESET:BATCH, several")
    parser.add_argument("--threads", nargs="+", default=[1, os.cpu_count() or 1], type=int)
    parser.add_argument("--steps", type=int, default=12, help="measured after two to warm up")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.case[0], options.threads[0], options.steps)))
        return
    rows: list[dict[str, Any]] = []
    for beside in ("nothing", "other work"):
        others = [
            subprocess.Popen([sys.executable, "-c", BUSY])
            for _ in range(os.cpu_count() or 1)
            if beside == "other work"
        ]
        try:
            for case, threads, wait in product(options.case, options.threads, ("spin", "passive")):
                if threads == 1 and wait == "spin":
                    continue  # nobody to wait for
                command = [sys.executable, __file__, "--one", "--case", case]
                command += ["--threads", str(threads), "--steps", str(options.steps)]
                policy = {"OMP_WAIT_POLICY": "PASSIVE"} if wait == "passive" else {}
                done = subprocess.run(
                    command,
                    env=os.environ | policy,
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                seconds = json.loads(done.stdout.splitlines()[-1])
                row = {"case": case, "beside": beside, "threads": threads, "wait": wait}
                rows.append(row | {"seconds": seconds})
                print(json.dumps(rows[-1]), flush=True)
        finally:
            for other in others:
                other.kill()
                other.wait()
    given = " ".join(sys.argv[1:]).partition("--out")[0]
    result = {
        "benchmark": "threads",
        "command": f"python benchmarks/threads.py {given}".strip(),
        "data": f"random coordinates, NTU25, two persons, {FRAMES} frames",
        "rows": rows,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "threads.json").write_text(json.dumps(result, indent=2) + "\n")


def measure(case: str, threads: int, steps: int) -> float:
    """Median seconds of a step."""
    torch.set_num_threads(threads)
    preset, size = case.split(":")
    torch.manual_seed(0)
    model = get_preset(preset).model.build(NTU25, persons=2)
    step = library_step(model, "cpu", "fp32", "off")
    clips = torch.randn(int(size), 3, FRAMES, 25, 2)
    lengths = torch.full((int(size),), FRAMES)
    seconds = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        step(clips, lengths)
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds[2:]), 4)


if __name__ == "__main__":
    main()
