"""How far the library is from numbers recorded with the reference implementations.

Prints the largest difference of every quantity of every file and its tolerance, writes them to
results/fidelity.json, and fails if one is above it.

    python benchmarks/fidelity.py
    python benchmarks/fidelity.py --golden FOLDER_OF_RECORDED_NPZ
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from environment import environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))

from golden_files import COMPARISONS, load, worst
from golden_rows import Row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--golden",
        type=Path,
        default=Path(__file__).parents[1] / "tests" / "golden",
        help="folder of recorded .npz files; by default those that are committed",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    recorded = sorted(options.golden.glob("*.npz"))
    if not recorded:
        sys.exit(f"expected recorded .npz files, found none in {options.golden}")
    files, skipped, wrong = {}, [], 0
    for file in recorded:
        if file.stem not in COMPARISONS:
            skipped.append(file.name)
            continue
        rows = worst(COMPARISONS[file.stem](load(file)))
        wrong += sum(not row.within for row in rows)
        files[file.name] = {row.quantity: described(row) for row in rows}
        print(f"\n{file.name}")
        for row in rows:
            print(line(row), flush=True)
    for name in skipped:
        print(f"\n{name}: not covered")
    result = {
        "benchmark": "fidelity",
        "command": f"python benchmarks/fidelity.py --golden {options.golden.name}",
        "files": files,
        "not_covered": skipped,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "fidelity.json").write_text(json.dumps(result, indent=2) + "\n")
    if wrong:
        sys.exit(f"{wrong} quantities are out of tolerance")


def line(row: Row) -> str:
    verdict = "" if row.within else "  OUT OF TOLERANCE"
    place = f"  {row.place}" if row.place else ""
    return (
        f"  {row.quantity:36} {row.difference:8.1e} of {row.tolerance:6.0e} {row.measure}"
        f"{place}{verdict}"
    )


def described(row: Row) -> dict[str, Any]:
    """For JSON, which has no infinity."""
    difference = row.difference if math.isfinite(row.difference) else None
    return {
        "difference": difference,
        "tolerance": row.tolerance,
        "measure": row.measure,
        "place": row.place,
    }


if __name__ == "__main__":
    main()
