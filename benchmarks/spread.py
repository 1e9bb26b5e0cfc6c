"""Figures of several seeds as text, and where the results are."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def percent(figure: dict[str, Any], unit: float = 0.01) -> str:
    mean = f"{figure['mean'] / unit:.1f}"
    return mean if figure["std"] is None else f"{mean} ± {figure['std'] / unit:.1f}"


def averaged(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Figures of each data set; those of folds and of shares of the labels as one, their mean."""
    by_set: dict[str, list[dict[str, float]]] = {}
    for name, each in figures.items():
        by_set.setdefault(name.partition(",")[0], []).append(each)
    return {
        name: {kind: statistics.mean(each[kind] for each in group) for kind in group[0]}
        for name, group in by_set.items()
    }


def spread(values: list[float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": std}
