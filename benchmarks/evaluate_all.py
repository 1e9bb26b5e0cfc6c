"""How long `pcm3 evaluate all` takes for one run, task by task.

Evaluates a copy of the run, so that results that are there already count for nothing.

    python benchmarks/evaluate_all.py RUN STORE
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import environment


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / options.run.name
        shutil.copytree(options.run, run, ignore=shutil.ignore_patterns("results"))
        command = ["evaluate", "all", "--run", str(run), "--data", str(options.store)]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pcm3", *command], check=True)
        seconds = time.perf_counter() - started
        tasks = {
            (result := json.loads(file.read_text()))["command"]: result["seconds"]
            for file in sorted((run / "results").glob("*.json"))
        }
    result = {
        "benchmark": "evaluate_all",
        "command": f"python benchmarks/evaluate_all.py {options.run.name} {options.store.name}",
        "seconds": round(seconds, 1),
        "seconds_by_task": tasks,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"evaluate_all_{options.store.name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
