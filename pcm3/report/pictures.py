"""Which pictures the results of a store and protocol call for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pcm3.report.results import Result, column_titles
from pcm3.viz.examples import motion_figure, retrieval_figure
from pcm3.viz.results import (
    COLORS,
    Bars,
    Curve,
    bar_figure,
    confusion_figure,
    curve_figure,
    embedding_figure,
    short_text,
    time_line_figure,
)

_CLASSES = 12  # the most in one chart of bars: several side by side fill a page


class Picture(NamedTuple):
    """Figures that belong together.

    Attributes:
        title: What it is.
        caption: What it shows, and which results it is from.
        figures: To be set side by side where there is room.
    """

    title: str
    caption: str
    figures: list[Figure]


class Group(NamedTuple):
    """Results of runs that differ in nothing but the seed.

    Attributes:
        place: Decides on the look: a column has one colour, other settings another pattern.
        results: In the order of the runs.
    """

    place: int
    results: list[Result]


Series = dict[str, Group]
"""Name to results."""


def draw_pictures(
    results: Sequence[Result], columns: Sequence[str] | None = None
) -> Iterator[Picture]:
    """Pictures of the results of one store and protocol, each where they hold what it needs.

    Args:
        results: To be pictured.
        columns: All of the page, which decide on the colours; by default those of the results.
    """
    order = list(columns or column_titles(results))
    turn = -(-len(order) // COLORS) * COLORS  # so many places on, a column has its colour again
    for task, drawers in _DRAWERS.items():
        series: Series = {}
        ways: dict[str, list[str]] = {}
        for each in results:
            if each.task == task:
                known = ways.setdefault(each.column, [])
                if each.how not in known:
                    known.append(each.how)
                place = order.index(each.column) + turn * known.index(each.how)
                series.setdefault(_named(each.column, each), Group(place, [])).results.append(each)
        for draw in drawers if series else ():
            yield from draw(series)


def _named(name: str, result: Result) -> str:
    return f"{name} ({result.how})" if result.how else name


# --- recognition ----------------------------------------------------------------------------------


def _confusions(series: Series) -> Iterator[Picture]:
    for name, (_, those) in series.items():
        group = [each for each in those if each.class_names and "confusion" in each.details]
        if not group:
            continue
        counts = np.sum([each.details["confusion"] for each in group], axis=0)
        there = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1)).tolist()
        if not there:
            continue
        rest = len(counts) - len(there)
        of = f" {len(there)} of {len(counts)} classes occur; the others are left out." * bool(rest)
        counts = counts[np.ix_(there, there)]
        names = [group[0].class_names[at] for at in there]
        wrong = counts - np.diag(np.diag(counts))
        worst = [
            f"{names[at // len(names)]} → {names[at % len(names)]} ({wrong.flat[at]})"
            for at in np.argsort(-wrong, axis=None, kind="stable")[:3].tolist()
            if wrong.flat[at]
        ]
        said = f" Most frequent mistakes, truth → prediction: {'; '.join(worst)}." if worst else ""
        added = f", added up over {len(group)} runs" if len(group) > 1 else ""
        yield Picture(
            f"Confusion matrix, {group[0].task}: {name}",
            f"Test sequences by true class (rows) and predicted class (columns){added}; the "
            f"darker, the larger the share of the true class.{of}{said} {_source(group)}",
            [confusion_figure(counts, names)],
        )


def _class_accuracy(series: Series) -> Iterator[Picture]:
    rows, used = {}, []
    for name, (_, group) in series.items():
        found = [each.metrics["per_class"] for each in group if _by_class(each)]
        if found:
            rows[name] = [_mean(values) for values in zip(*found, strict=True)]
            used += [each for each in group if _by_class(each)]
    if not rows:
        return

    def bars(classes: list[int]) -> dict[str, Bars]:
        return {
            name: Bars([row[at] for at in classes], place=series[name].place)
            for name, row in rows.items()
        }

    names = used[0].class_names
    overall = [_mean(values) for values in zip(*rows.values(), strict=True)]
    there = [at for at, value in enumerate(overall) if value is not None]
    order = sorted(there, key=lambda at: -(overall[at] or 0))
    parts = [part.tolist() for part in np.array_split(order, -(-len(order) // _CLASSES))]
    first = "the easiest class first"
    first += ", by the mean over all bars of a class" if len(rows) > 1 else ""
    yield Picture(
        f"Accuracy by class, {used[0].task}",
        f"Share of each class's test sequences that is recognised (top-1), {first}"
        f"{'; of several seeds the mean' if _several(series) else ''}. {_source(used)}",
        [bar_figure(bars(part), [names[at] for at in part], "top-1 accuracy") for part in parts],
    )


def _by_class(result: Result) -> bool:
    return bool(result.class_names) and "per_class" in result.metrics


# --- retrieval ------------------------------------------------------------------------------------


def _maps(series: Series) -> Iterator[Picture]:
    for _, group in series.values():
        for each in _first(group, "map"):
            layout = each.details["map"]
            maps = {"PCA": layout["pca"], "t-SNE": layout["tsne"]}
            yield Picture(
                f"Map of the features: {_one(each, group)}",
                f"Features of {len(layout['labels'])} test sequences, L2-normalised, in the plane: "
                "their two principal components, and t-SNE, which keeps neighbours together, while "
                "distances between groups mean little. A number is at the middle of its class. "
                f"{_source([each])}",
                [embedding_figure(maps, layout["labels"], each.class_names)],
            )


def _galleries(series: Series) -> Iterator[Picture]:
    for _, group in series.values():
        for each in _first(group, "examples", "bones", "center"):
            details = each.details
            examples = [example for example in details["examples"] if "frames" in example]
            layout = details["bones"], details["center"]
            figures = [retrieval_figure(example, *layout, each.class_names) for example in examples]
            if figures:
                yield Picture(
                    f"Retrieval: {_one(each, group)}",
                    "Test sequences, drawn at random, and below each the training sequences "
                    "nearest to it, with the cosine similarity of their features: blue those of "
                    "the same class, orange the others. Recordings are drawn as they are stored: "
                    f"bodies float where each frame is centred. {_source([each])}",
                    figures,
                )


# --- occlusion and robustness ---------------------------------------------------------------------

_OCCLUSIONS = {
    "top1": "clean",
    "spatial_top1": "parts hidden",
    "spatial_top1_occluded_training": "parts, trained alike",
    "temporal_top1": "frames hidden",
    "temporal_top1_occluded_training": "frames, trained alike",
}


def _occlusion_bars(series: Series) -> Iterator[Picture]:
    keys = [key for key in _OCCLUSIONS if any(key in each.metrics for each in _all(series))]
    bars = {
        name: Bars(
            [_mean(_metric(group, key)) for key in keys],
            [_std(_metric(group, key)) for key in keys] if len(group) > 1 else None,
            place,
        )
        for name, (place, group) in series.items()
    }
    if keys:
        yield Picture(
            "Occluded recordings",
            "Accuracy of a linear classifier on test recordings with body parts, or a block of "
            "frames, hidden: trained on clean recordings, and trained on ones occluded alike"
            f"{_over_seeds(series)}. {_source(_all(series))}",
            [bar_figure(bars, [_OCCLUSIONS[key] for key in keys], "top-1 accuracy")],
        )


def _robustness_curves(series: Series) -> Iterator[Picture]:
    units = {each.details.get("unit") for each in _all(series)}
    unit = f", {short_text(str(units.pop()))}" if len(units) == 1 and None not in units else ""
    labels = {
        "spatial": "hidden share of the joints",
        "temporal": "hidden share of the frames",
        "noise": f"standard deviation of the noise{unit}",
        "frame_rate": "only every n-th frame",
    }
    figures = []
    for kind, label in labels.items():
        curves = {}
        for name, (place, group) in series.items():
            found = [each.details.get("curves", {}).get(kind) for each in group]
            points = _points([curve for curve in found if curve])
            if points:
                spread = [_std(row) for row in points.values()] if len(group) > 1 else None
                means = [mean(row) for row in points.values()]
                curves[name] = Curve(list(points), means, spread, place)
        if curves:
            share = kind in ("spatial", "temporal")
            figures.append(curve_figure(curves, label, x_percent=share))
    if figures:
        yield Picture(
            "Robustness",
            "Accuracy of a linear classifier, trained on clean recordings, on ever more altered "
            f"test recordings{_over_seeds(series)}. {_source(_all(series))}",
            figures,
        )


def _points(curves: Sequence[Mapping[str, Sequence[float]]]) -> dict[float, list[float]]:
    """Where on the curves' x axis, a hidden share where there is one, to what each found there."""
    points: dict[float, list[float]] = {}
    for curve in curves:
        own: dict[float, list[float]] = {}
        for x, y in zip(curve.get("hidden", curve["values"]), curve["top1"], strict=True):
            own.setdefault(round(x, 6), []).append(y)  # several ratios may hide the same parts
        for x, found in own.items():
            points.setdefault(x, []).append(mean(found))
    return dict(sorted(points.items()))


# --- few labels -----------------------------------------------------------------------------------


def _semi_curve(series: Series) -> Iterator[Picture]:
    curves = {}
    for name, (place, group) in series.items():
        found: dict[float, list[float]] = {}
        for each in group:
            for run in each.details.get("runs", ()):
                found.setdefault(run["fraction"], []).append(run["top1"])
        if found:
            shares = sorted(found)
            means, spread = ([f(found[share]) for share in shares] for f in (mean, _std))
            curves[name] = Curve(shares, means, spread, place)
    if curves:
        yield Picture(
            "Few labels",
            "Accuracy after fine-tuning with the labels of a share of the training part: mean and "
            "standard deviation over the draws of the labelled sequences, of all seeds together. "
            f"{_source(_all(series))}",
            [curve_figure(curves, "labelled share", x_percent=True, logarithmic=True)],
        )


def _fewshot_bars(series: Series) -> Iterator[Picture]:
    there = dict.fromkeys(key for each in _all(series) for key in each.metrics)
    names = [name for name in there if f"{name}_ci95" in there]
    bars = {}
    for label, (place, group) in series.items():
        values = [_mean(_metric(group, name)) for name in names]
        if len(group) > 1:
            spread = [_std(_metric(group, name)) for name in names]
        else:
            spread = [group[0].metrics.get(f"{name}_ci95", 0.0) for name in names]
        bars[label] = Bars(values, spread, place)
    if names:
        several = ", of several runs the standard deviation over seeds" if _several(series) else ""
        titles = [name.replace("_", ", ").replace("shot", " shot") for name in names]
        yield Picture(
            "Few-shot recognition",
            "Mean accuracy over episodes of a few classes with a few examples each, by classifier "
            f"and number of examples. The lines are 95 % intervals of the mean{several}. "
            f"{_source(_all(series))}",
            [bar_figure(bars, titles, "accuracy")],
        )


# --- detection and prediction ---------------------------------------------------------------------


def _time_lines(series: Series) -> Iterator[Picture]:
    for _, group in series.values():
        for each in _first(group, "videos"):
            videos = each.details["videos"][:6]
            if videos:
                yield Picture(
                    f"Detected actions: {_one(each, group)}",
                    f"{len(videos)} of {len(each.details['videos'])} test recordings over time: "
                    "the annotated actions above, what was found below, the paler the less sure. "
                    f"Numbers and colours are classes. {_source([each])}",
                    [time_line_figure(videos, each.class_names)],
                )


def _prediction_curves(series: Series) -> Iterator[Picture]:
    curves = {}
    still: Sequence[float] = ()
    for name, (place, group) in series.items():
        rows = [each.details["by_frame"] for each in group if "by_frame" in each.details]
        if rows:
            errors = list(zip(*(row["mpjpe"] for row in rows), strict=True))
            spread = [_std(row) for row in errors] if len(rows) > 1 else None
            frames = range(1, len(errors) + 1)
            curves[name] = Curve(frames, [mean(row) for row in errors], spread, place)
            longer = rows[0].get("zero_velocity", ())
            still = longer if len(longer) > len(still) else still
    zero = {"zero velocity: nothing moves": Curve(range(1, len(still) + 1), still)}
    if curves:
        yield Picture(
            "Motion prediction",
            "Mean distance of the predicted joints from where they really were (MPJPE), by frame, "
            "beside predicting that nothing moves"
            f"{_over_seeds(series)}. {_source(_all(series))}",
            [
                curve_figure(
                    *(curves, "frames ahead", "error, mm"),
                    percent=False,
                    baselines=zero if still else None,
                )
            ],
        )


def _prediction_strips(series: Series) -> Iterator[Picture]:
    for _, group in series.values():
        for each in _first(group, "examples", "bones", "center"):
            layout = each.details["bones"], each.details["center"]
            examples = [one for one in each.details["examples"] if "zero_velocity_mm" in one]
            if examples:
                errors = [
                    f"{each.metrics[key]:.1f} mm" if key in each.metrics else "not known"
                    for key in ("mpjpe_mm", "zero_velocity_mm")
                ]
                yield Picture(
                    f"Predicted motion: {_one(each, group)}",
                    "The predicted motion, orange, over the true one, grey, relative to the centre "
                    "joint, so that the body floats; frame 0 is the last one seen. "
                    f"Over the whole test part the error is {errors[0]}; predicting that "
                    f"nothing moves (zero velocity) gives {errors[1]}. {_source([each])}",
                    [motion_figure(example, *layout) for example in examples],
                )


_RECOGNITION = (_class_accuracy, _confusions)
_DRAWERS: dict[str, tuple[Callable[[Series], Iterator[Picture]], ...]] = {
    "linear": _RECOGNITION,
    "knn": (_maps, _galleries, *_RECOGNITION),
    "finetune": _RECOGNITION,
    "semi": (_semi_curve,),
    "occlusion": (_occlusion_bars,),
    "robustness": (_robustness_curves,),
    "detection": (_time_lines,),
    "fewshot": (_fewshot_bars,),
    "prediction": (_prediction_curves, _prediction_strips),
}


def _first(group: Sequence[Result], *needed: str) -> list[Result]:
    """The first result with these details, alone, or none."""
    return [each for each in group if all(name in each.details for name in needed)][:1]


def _one(result: Result, group: Sequence[Result]) -> str:
    """Which of several runs a picture is of."""
    return _named(result.run, result) + (f", one of {len(group)} seeds" if len(group) > 1 else "")


def _all(series: Series) -> list[Result]:
    return [each for group in series.values() for each in group.results]


def _several(series: Series) -> bool:
    return any(len(group.results) > 1 for group in series.values())


def _metric(group: Sequence[Result], name: str) -> list[float]:
    return [each.metrics[name] for each in group if name in each.metrics]


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return mean(there) if there else None


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _over_seeds(series: Series) -> str:
    return "; of several runs mean and standard deviation over seeds" if _several(series) else ""


def _source(results: Sequence[Result]) -> str:
    return f"From {', '.join(dict.fromkeys(each.file for each in results))}."
