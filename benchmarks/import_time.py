"""How long the parts take to import beyond torch; run it where only the core is installed.

Writes the median seconds over several fresh processes, and the extra packages that were found
installed, to results/import_time.json.

    python benchmarks/import_time.py
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

from environment import environment

PARTS = "pcm3.augment, pcm3.losses, pcm3.queue, pcm3.encoders, pcm3.prompts"
EXTRAS = ("lightning_fabric", "tyro", "rich", "safetensors", "sklearn", "matplotlib")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    runs = [(seconds("torch"), seconds(f"torch, {PARTS}")) for _ in range(options.repeats)]
    torch_only, with_parts = (statistics.median(column) for column in zip(*runs, strict=True))
    result = {
        "benchmark": "import_time",
        "command": f"python benchmarks/import_time.py --repeats {options.repeats}",
        "imported": PARTS,
        "extras_installed": [name for name in EXTRAS if importlib.util.find_spec(name)],
        "torch_seconds": round(torch_only, 3),
        "torch_and_parts_seconds": round(with_parts, 3),
        "beyond_torch_seconds": round(with_parts - torch_only, 3),
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "import_time.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def seconds(modules: str) -> float:
    """Time of one import in a fresh process, without the interpreter's own start."""
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
