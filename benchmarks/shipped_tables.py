"""Tables of `docs/pretrained.md` from `results/shipped*.json`; table.py prints them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from spread import RESULTS, averaged, percent, spread

SHIPPED = {
    "utd_mhad": "UTD-MHAD",
    "nw_ucla": "NW-UCLA",
    "kard": "KARD",
    "uiprmd": "UI-PRMD",
    "bandai": "Bandai-Namco",
    "msrc12": "MSRC-12, 1, 5, 10 % of labels",
    "sbu": "SBU",
}
WITHOUT_DEPTH = SHIPPED | {"penn": "Penn Action"}
ENCODERS = {
    "untrained": "untrained",
    "shipped": "shipped",
    "pool": "pool",
    "own": "own",
    "continued": "shipped, then own",
}
FINE_TUNED = {
    f"{name}{share}": f"{name}, fine-tuned{' with' * bool(share)}{share[1:]}"
    for name in ("UTD-MHAD", "NW-UCLA")
    for share in ("", ", 20 % of labels")
}
KINDS = {"linear": "linear", "knn": "neighbour", "five": "5 labels"}
METHODS = {
    "small": "PCM3",
    "small-pp": "PCM3++",
    "small-contrastive": "contrastive only",
    "small-mamp": "MAMP",
}
PARTS = {
    "scripts": "16 scripted actions",
    "motion": "random programmes",
    "pairs": "random programmes, keys from another recording",
    "pairs without cameras": "one camera, in front",
    "pairs without bodies": "one body",
    "pairs without sensors": "no noise of sensors",
    "pairs without goals": "no targets of the hands",
    "pairs without postures": "no postures",
    "pairs without oscillations": "no oscillations",
}
DIMENSIONS = {
    "untrained": "untrained",
    "motion": "3D",
    "flat": "2D",
    "both": "half in 3D, half in 2D",
    "shipped": "shipped",
}


def _rows(name: str) -> list[dict[str, Any]]:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text())["results"] if file.exists() else []


def shipped(results: str, sets: Mapping[str, str]) -> list[str]:
    """Three rows for each encoder in the body form: what it is worth on each data set."""
    rows = [f"| Encoder | With | {' | '.join(sets.values())} | Mean | Seeds |"]
    rows.append("| --- " * (len(sets) + 4) + "|")
    for what, title in ENCODERS.items():
        runs = [averaged(row["figures"]) for row in _rows(results) if row["what"] == what]
        for kind, name in KINDS.items() if runs else ():
            values = [[run[file][kind] for run in runs if file in run] for file in sets]
            whole = [run for run in runs if run.keys() == sets.keys()]
            values.append([statistics.mean(each[kind] for each in run.values()) for run in whole])
            cells = " | ".join(percent(spread(each)) if each else "-" for each in values)
            rows.append(f"| {title} | {name} | {cells} | {len(runs)} |")
    return rows


def tasks() -> list[str]:
    """One row for each task, one column for each encoder that was measured in some."""
    rows = _rows("shipped_tasks")
    encoders = [name for name in ENCODERS if any(row["encoder"] == name for row in rows)]
    lines = [f"| Task | {' | '.join(ENCODERS[name] for name in encoders)} |"]
    lines.append("| --- " * (len(encoders) + 1) + "|")
    for what in dict.fromkeys(row["what"] for row in rows):
        cells = []
        for name in encoders:
            asked = {"what": what, "encoder": name}
            values = [row["figure"] for row in rows if asked.items() <= row.items()]
            cells.append(percent(spread(values)) if values else "-")
        lines.append(f"| {FINE_TUNED.get(what, what)} | {' | '.join(cells)} |")
    return lines


def dimensions() -> list[str]:
    """One row for each kind of training data: means over the data sets in 3D, and in 2D."""
    kinds = [f"{name}, {depth}" for depth in ("3D", "2D") for name in KINDS.values()]
    lines = [f"| Trained on motion in | {' | '.join(kinds)} |", "| --- " * 7 + "|"]
    for what, title in DIMENSIONS.items():
        cells = []
        for name in ("shipped_dimensions", "shipped_dimensions_2d"):
            rows = [row for row in _rows(name) if row["what"] == what]
            runs = [averaged(row["figures"]).values() for row in rows]
            for kind in KINDS if runs else ():
                means = [statistics.mean(each[kind] for each in run) for run in runs]
                cells.append(percent(spread(means)))
        if cells:
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def compared(key: str, titles: Mapping[str, str]) -> list[str]:
    """One row for each method (`preset`) or kind of data (`what`): means over the data sets."""
    lines = ["| Trained with | Steps | CPU minutes | Linear | Neighbour | 5 labels | Seeds |"]
    lines.append("| --- " * 7 + "|")
    for value, title in titles.items():
        asked = {"preset": "small", "what": "motion"} | {key: value}
        rows = [row for row in _rows("shipped_choices") if asked.items() <= row.items()]
        if not rows:
            continue
        minutes = statistics.mean(row["cpu_seconds"] for row in rows) / 60
        runs = [averaged(row["figures"]).values() for row in rows]
        cells = [
            percent(spread([statistics.mean(each[kind] for each in run) for run in runs]))
            for kind in KINDS
        ]
        cells = [f"{rows[0]['steps']:,}", f"{minutes:.1f}", *cells, str(len(runs))]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


TABLES: dict[str, Callable[[], list[str]]] = {
    "shipped": lambda: shipped("shipped", SHIPPED),
    "shipped_2d": lambda: shipped("shipped_2d", WITHOUT_DEPTH),
    "shipped_tasks": tasks,
    "shipped_methods": lambda: compared("preset", METHODS),
    "shipped_dimensions": dimensions,
    "shipped_parts": lambda: compared("what", PARTS),
}
