"""Details of motion prediction, and the pictures drawn from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from pcm3.evaluation.details import LayoutDetails, check_examples, require
from pcm3.runs.results import Result
from pcm3.runs.series import Picture, Series, source_of
from pcm3.viz.examples import motion_figure
from pcm3.viz.results import Curve, curve_figure


class _Motion(TypedDict):
    sequence: int
    mpjpe_mm: float
    zero_velocity_mm: float
    observed: list[list[list[float]]]
    true: list[list[list[float]]]
    predicted: list[list[list[float]]]


class PredictionDetails(LayoutDetails, total=False):
    """Entries of ``details`` that pictures are drawn from."""

    by_frame: dict[str, list[float]]
    examples: list[_Motion]


def check_details(result: Result) -> None:
    """Require errors of every predicted frame, and examples that can be drawn.

    Raises:
        ValueError: If a part does not fit; the message names it.
    """
    details = result.details
    for at, example in enumerate(details.get("examples", ())):
        lengths = [len(example[name]) for name in ("true", "predicted")]
        require(len({*lengths}) == 1, f"parts of examples[{at}] that fit, got {lengths}")
    check_examples(
        details, lambda motion: [motion["observed"], motion["true"], motion["predicted"]], axes=3
    )
    if "by_frame" in details:
        frames, errors = result.settings.get("predicted"), details["by_frame"]
        counts = {name: len(values) for name, values in errors.items()}
        good = "mpjpe" in errors and {*counts.values()} == {frames}
        require(good, f"errors of {frames} frames by_frame, got {counts}")


def draw_curves(series: Series) -> Iterator[Picture]:
    """Draw the error by predicted frame."""
    curves = {}
    still: Sequence[float] = ()
    for name, group in series.items():
        details = [entry.result.details for entry in group.entries]
        rows = [parts["by_frame"] for parts in details if "by_frame" in parts]
        if rows:
            errors = zip(*(row["mpjpe"] for row in rows), strict=True)
            curves[name] = group.curve(dict(enumerate(errors, 1)), spread=len(rows) > 1)
            still = max(still, rows[0].get("zero_velocity", ()), key=len)
    zero = {"zero velocity: nothing moves": Curve(range(1, len(still) + 1), still)}
    if curves:
        yield Picture(
            "Motion prediction",
            series.caption(
                "Mean distance of the predicted joints from their true positions (MPJPE) by frame, "
                "and the error of predicting that nothing moves"
            ),
            [
                curve_figure(
                    *(curves, "frames ahead", "error, mm"),
                    percent=False,
                    baselines=zero if still else None,
                )
            ],
        )


def draw_strips(series: Series) -> Iterator[Picture]:
    """Draw a few predicted motions over the true ones."""
    for entry, name in series.first_with("examples", "bones", "center"):
        details, metrics = entry.result.details, entry.result.metrics
        layout = details["bones"], details["center"]
        if details["examples"]:
            errors = [
                f"{metrics[key]:.1f} mm" if key in metrics else "not known"
                for key in ("mpjpe_mm", "zero_velocity_mm")
            ]
            yield Picture(
                f"Predicted motion: {name}",
                "The predicted motion (orange) over the true one (grey), relative to the centre "
                "joint, so that the body floats; frame 0 is the last observed one. "
                f"Over the whole test part the error is {errors[0]}; predicting that "
                f"nothing moves (zero velocity) gives {errors[1]}. {source_of([entry])}",
                [motion_figure(example, *layout) for example in details["examples"]],
            )
