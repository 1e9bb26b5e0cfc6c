"""Put the measured results into README and docs: every table from the files under results/.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``.

    python benchmarks/table.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
DATASETS = {
    "utd_mhad": "UTD-MHAD, cross-subject",
    "nw_ucla": "NW-UCLA, cross-view",
    "sbu_interaction": "SBU, five folds",
}
ROWS = {
    "recognition": {"random": "random encoder", "contrastive": "contrastive only", "pcm3": "PCM3"},
    "methods": {
        "pcm3": "PCM3",
        "pcm3pp": "PCM3++",
        "pcm3pp_distilled": "PCM3++, post-distilled",
        "mamp": "MAMP",
        "mae": "MAE (MAMP with coordinates)",
    },
    "encoders": {"gru": "GRU", "stgcn": "graph convolution", "transformer": "transformer"},
    "streams": {
        "pcm3": "joint",
        "bone": "bone",
        "motion": "motion",
        "fused_equally": "all three, equal weights",
        "fused_0.6_0.6_0.4": "all three, weights 0.6, 0.6, 0.4",
    },
    "prompts": {
        "pcm3": "after the input normalisation",
        "pre_norm": "before it",
        "no_prompts": "no prompts",
    },
}


def table(suite: str) -> list[str]:
    """One row for each data set and variant that has been measured."""
    rows = []
    for dataset, title in DATASETS.items():
        file = RESULTS / f"{suite}_{dataset}.json"
        if file.exists():
            summary = json.loads(file.read_text())["summary"]
            rows += [row(title, name, summary[key]) for key, name in ROWS[suite].items()]
    head = "| Recordings | Encoder | Linear probe | Nearest neighbour | Seeds |"
    return [head, "| --- | --- | --- | --- | --- |", *rows]


def row(title: str, name: str, summary: dict[str, Any]) -> str:
    """Mean and standard deviation over seeds, in percent."""
    cells = [percent(summary[task]) if task in summary else "" for task in ("linear", "knn")]
    return f"| {title} | {name} | {' | '.join(cells)} | {len(summary['linear']['seeds'])} |"


def percent(figure: dict[str, Any]) -> str:
    mean = f"{100 * figure['mean']:.1f}"
    return mean if figure["std"] is None else f"{mean} ± {100 * figure['std']:.1f}"


def gradients() -> list[str]:
    """Mean gradient norms of prompts in either position."""
    rows = ["| Domain prompts | of domain prompts | of task prompts | of the input normalisation |"]
    rows += ["| --- | --- | --- | --- |"]
    file = RESULTS / "prompt_gradients_utd_mhad.json"
    names = {"post_norm": "after the input normalisation", "pre_norm": "before it"}
    for position, norms in json.loads(file.read_text())["mean_gradient_norm"].items():
        rows.append(f"| {names[position]} | {' | '.join(f'{n:.2g}' for n in norms.values())} |")
    return rows


def filled(page: str) -> str:
    """A page with all its tables as they are on file."""

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        rows = gradients() if name == "gradients" else table(name)
        return "\n".join([f"<!-- table {name} -->", *rows, "<!-- end -->"])

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text()))
