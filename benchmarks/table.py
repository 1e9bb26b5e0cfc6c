"""Print the README's table of recognition results from the files under results/.

python benchmarks/table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DATASETS = {
    "utd_mhad": "UTD-MHAD, cross-subject",
    "nw_ucla": "NW-UCLA, cross-view",
    "sbu_interaction": "SBU, five folds",
}
METHODS = {"random": "random encoder", "contrastive": "contrastive only", "pcm3": "PCM3"}


def table() -> list[str]:
    """One row for each data set and method that has been measured."""
    rows = [
        "| Recordings | Encoder | Linear probe | Nearest neighbour | Seeds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for dataset, title in DATASETS.items():
        file = RESULTS / f"recognition_{dataset}.json"
        if file.exists():
            summary = json.loads(file.read_text())["summary"]
            rows += [row(title, METHODS[method], summary[method]) for method in METHODS]
    return rows


def row(title: str, method: str, summary: dict[str, Any]) -> str:
    """Mean and standard deviation over seeds, in percent."""
    cells = []
    for task in ("linear", "knn"):
        spread = summary[task]["std"]
        text = f"{100 * summary[task]['mean']:.1f}"
        cells.append(text if spread is None else f"{text} ± {100 * spread:.1f}")
    return f"| {title} | {method} | {' | '.join(cells)} | {len(summary['linear']['seeds'])} |"


if __name__ == "__main__":
    print("\n".join(table()))
