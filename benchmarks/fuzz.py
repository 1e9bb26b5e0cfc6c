"""Damaged files through every reader, the store, encoders and checkpoints.

Small valid files of every kind are damaged by a seed: flipped, deleted, repeated and swapped bytes,
lines and numbers, members of archives and values of pickles and JSON. Each is read in full, in a
process of its own, and must be refused with the documented error or read as a slow reader reads it.
Writes how many of them were to results/fuzz.json, and fails if anything else happened. With
``--kinds``, the figures of the other kinds in that file stay.

    python benchmarks/fuzz.py
    python benchmarks/fuzz.py --kinds trc c3d
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from environment import environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "data"))

from fuzzing import CASES, fuzz


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1500, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--kinds", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    file = options.out / "fuzz.json"
    others = json.loads(file.read_text())["kinds"] if file.exists() else {}
    kinds, wrong = {name: others[name] for name in CASES if name in others}, {}
    for name in options.kinds:
        start = time.perf_counter()
        figures = fuzz(name, options.first, options.files)
        kinds[name] = {
            "files": figures.files,
            "refused": figures.refused,
            "read_and_verified": figures.correct,
            "wrong": len(figures.wrong),
            "seconds": round(time.perf_counter() - start, 1),
            "commit": environment()["commit"],
        }
        wrong |= {f"{name} {number}": why for number, why in figures.wrong.items()}
        print(name, kinds[name], flush=True)
    keys = ("files", "refused", "read_and_verified", "wrong")
    first = f" --first {options.first}" * bool(options.first)
    result = {
        "benchmark": "fuzz",
        "command": f"python benchmarks/fuzz.py --files {options.files}{first}",
        "kinds": kinds,
        "total": {key: sum(each[key] for each in kinds.values()) for key in keys},
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["total"]))
    if wrong:
        sys.exit("\n".join(f"{key}: {why}" for key, why in wrong.items()))


if __name__ == "__main__":
    main()
