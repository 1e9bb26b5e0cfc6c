"""Pictures of training: what was measured on held-out training data, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from pcm3.runs.series import Picture, std_of
from pcm3.viz.results import Curve, curve_figure

MEASURES = {
    "knn": "nearest neighbour, accuracy",
    "linear": "linear probe, accuracy",
    "feature_rank": "effective rank of the features",
    "feature_std": "deviation of the directions",
    "alignment": "alignment",
    "uniformity": "uniformity",
}
"""Labels of what ``feature_monitor`` measures."""
_FRACTIONS = ("knn", "linear")


def draw_progress(
    metrics: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
) -> Iterator[Picture]:
    """Yield the curves of what was measured during training, if anything was.

    Args:
        metrics: Column to the metrics of each of its runs, a record for each epoch, in the order of
            the page, which determines the colours.
    """
    figures = []
    for name, label in MEASURES.items():
        curves = {
            column: curve
            for place, (column, runs) in enumerate(metrics.items())
            if (curve := _curve(runs, name, place)) is not None
        }
        if curves:
            figures.append(curve_figure(curves, "epoch", label, percent=name in _FRACTIONS))
    if figures:
        yield Picture(
            "Features during training",
            "Measured during training on a held-out part of the training data, whose labels were "
            "used for nothing else; epoch 0 is before training. Of several runs mean and standard "
            "deviation over seeds. An effective rank near 1, or a deviation, alignment and "
            "uniformity near 0, mean that the features have collapsed. From metrics.jsonl of the "
            "runs.",
            figures,
        )


def _curve(runs: Sequence[Sequence[Mapping[str, float]]], name: str, place: int) -> Curve | None:
    """Average a measure over runs, at each epoch in which a run has it."""
    points: dict[float, list[float]] = {}
    for records in runs:
        for record in records:
            if name in record:
                points.setdefault(record["epoch"], []).append(record[name])
    if not points:
        return None
    epochs = sorted(points)
    spread = [std_of(points[epoch]) for epoch in epochs] if len(runs) > 1 else None
    return Curve(epochs, [mean(points[epoch]) for epoch in epochs], spread, place)
