"""Pictures of a report: one look a column, which run they are of, in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from written_results import result, write_run

from pcm3.report.entries import read_entries
from pcm3.report.pictures import draw_pictures
from pcm3.runs.results import Result
from pcm3.runs.series import Entry, Picture
from pcm3.viz.figures import PALETTE


def entry(task: str, run: str, place: int, **changes: Any) -> Entry:
    found: dict[str, Any] = {"metrics": {}, "details": {}, "class_names": ["a", "b"]}
    own: dict[str, Any] = {"column": run, "settings": {}}
    for name, value in changes.items():
        (found if name in found else own)[name] = value
    common: dict[str, Any] = {"store": "data", "protocol": "xsub", "settings": {}, "runs": []}
    return Entry(
        result=Result(task=task, test_sequences=9, weights=[], **common, **found),
        **{"run": run, "store": "data", "fused": (), "method": None, "epochs": None, "seed": None},
        **own,
        file=f"{run}/results/{task}.json",
        place=place,
    )


def few_labels(run: str, place: int, **settings: Any) -> Entry:
    runs = [{"fraction": share, "top1": share} for share in (0.1, 0.2)]
    return entry("semi", run, place, details={"runs": runs}, settings=settings)


def bars(figure: Figure) -> dict[str, tuple[str, str]]:
    """Series to colour and hatch."""
    groups = [each for each in figure.axes[0].containers if hasattr(each, "patches")]
    return {
        str(group.get_label()): (to_hex(group[0].get_facecolor()).upper(), group[0].get_hatch())
        for group in groups
    }


def lines(figure: Figure) -> dict[str, tuple[str, str]]:
    """Series to colour and dashes."""
    groups = figure.axes[0].containers
    return {
        str(each.get_label()): (each[0].get_color(), each[0].get_linestyle()) for each in groups
    }


def test_a_column_has_one_colour_on_the_page() -> None:
    shown = [
        *(entry("occlusion", name, at, metrics={"top1": 0.5}) for at, name in enumerate("xyz")),
        *(few_labels("x", 0), few_labels("z", 2)),  # the second has no such result
    ]
    occlusion, semi = (each.figures[0] for each in reversed(list(draw_pictures(shown))))
    assert {name: color for name, (color, _) in bars(occlusion).items()} == {
        name: PALETTE[place] for place, name in enumerate("xyz", start=1)
    }
    assert lines(semi) == {"x": (PALETTE[1], "-"), "z": (PALETTE[3], "-")}
    (alone,) = draw_pictures([few_labels("z", 2)], ["x", "y", "z"])  # as on the whole page
    assert lines(alone.figures[0]) == {"z": (PALETTE[3], "-")}


def test_other_settings_have_the_columns_colour_and_another_pattern() -> None:
    (picture,) = draw_pictures([few_labels("x", 0), few_labels("y", 1), few_labels("x", 0, lr=2)])
    assert lines(picture.figures[0]) == {
        "x": (PALETTE[1], "-"),
        "y": (PALETTE[2], "-"),
        "x (lr 2)": (PALETTE[1], "--"),
    }


def test_many_columns_look_different() -> None:
    names = [f"run {number}" for number in range(9)]
    found = [few_labels(name, at, **s) for s in ({}, {"lr": 2}) for at, name in enumerate(names)]
    (picture,) = draw_pictures(found)
    looks = lines(picture.figures[0])
    assert len(set(looks.values())) == len(looks) == 18
    assert all(looks[name][0] == looks[f"{name} (lr 2)"][0] for name in names)


EXAMPLE = {
    **{"frames": np.ones((2, 5, 1, 2, 3)), "labels": [0, 1], "names": ["p", "q"]},
    **{"similarity": [0.5], "hits": [False]},
}
MOTION = {
    **{name: np.ones((2, 2, 3)) for name in ("observed", "true", "predicted")},
    **{"sequence": 0, "mpjpe_mm": 1.0, "zero_velocity_mm": 2.0},
}
TREE = {"bones": [[1, 0]], "center": 0}
VIDEO = {"name": "v", "frames": 9, "truth": [[0, 1, 3]], "proposals": []}


@pytest.mark.parametrize(
    ("task", "title", "details"),
    [
        ("knn", "Map of the features", {"map": {"pca": [[0, 0]], "tsne": [[0, 0]], "labels": [0]}}),
        ("knn", "Retrieval", {"examples": [EXAMPLE], **TREE}),
        ("detection", "Detected actions", {"videos": [VIDEO]}),
        ("prediction", "Predicted motion", {"examples": [MOTION], **TREE}),
    ],
)
def test_pictures_of_one_run_name_it(task: str, title: str, details: dict[str, Any]) -> None:
    seeds = [
        entry(task, f"run-{seed}", seed, column="run", settings={"k": 2}, details=details)
        for seed in range(3)
    ]
    assert [each.title for each in draw_pictures(seeds)] == [
        f"{title}: run-0 (k 2), one of 3 seeds",
    ]
    assert [each.title for each in draw_pictures(seeds[1:2])] == [f"{title}: run-1 (k 2)"]


def test_a_confusion_matrix_has_the_classes_that_occur() -> None:
    counts = np.zeros((60, 60), int)
    counts[3, 3], counts[3, 41], counts[7, 3] = 2, 1, 4
    names = [f"class {number}" for number in range(60)]
    (picture,) = draw_pictures(
        [entry("linear", "x", 0, class_names=names, details={"confusion": counts.tolist()})]
    )
    axis = picture.figures[0].axes[0]
    there = ["class 3", "class 7", "class 41"]
    assert [label.get_text() for label in axis.get_yticklabels()] == there
    assert [label.get_text() for label in axis.get_xticklabels()] == there
    shares = [[2 / 3, 0, 1 / 3], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(np.asarray(axis.images[0].get_array()), shares)
    assert "3 of 60 classes" in picture.caption
    assert "class 7 → class 3 (4); class 3 → class 41 (1)" in picture.caption
    nothing = np.zeros((2, 2), int).tolist()
    assert not [*draw_pictures([entry("linear", "x", 0, details={"confusion": nothing})])]


def test_classes_are_in_the_order_of_their_mean_over_several_charts() -> None:
    rows = np.random.default_rng(0).uniform(size=(2, 27))
    found = [
        entry(
            *("linear", name, place),
            metrics={"per_class": rows[place].tolist()},
            class_names=[f"class {number}" for number in range(27)],
        )
        for place, name in enumerate("xy")
    ]
    (picture,) = draw_pictures(found)
    axes = [figure.axes[0] for figure in picture.figures]
    shown = [[label.get_text() for label in axis.get_yticklabels()] for axis in axes]
    assert [len(names) for names in shown] == [9, 9, 9]
    order = np.argsort(-rows.mean(axis=0))
    assert [name for names in shown for name in names] == [f"class {at}" for at in order]
    widths = [bar.get_width() for bar in axes[1].containers[1]]
    assert widths == pytest.approx(rows[1, order[9:18]])
    assert "the easiest class first, by the mean over all bars of a class" in picture.caption


def finetuned(run: str, place: int, share: float, top1: float, **settings: Any) -> Entry:
    changed = settings | ({"label_fraction": share} if share < 1 else {})
    found = entry("finetune", run, place, metrics={"top1": top1}, settings=changed)
    given = {"label_fraction": share} | settings
    column = run.partition("-")[0]
    return found._replace(column=column, result=replace(found.result, settings=given))


def test_results_that_differ_in_the_labelled_share_are_a_curve() -> None:
    found = [
        *(finetuned("a-0", 0, share, share) for share in (1.0, 0.1, 0.5)),
        *(finetuned("a-1", 1, share, share / 2) for share in (1.0, 0.1)),
        *(finetuned("b-0", 2, share, 0.3) for share in (0.2, 1.0)),
        finetuned("b-0", 2, 0.1, 0.2, lr=2.0),  # the only one with this rate
        finetuned("c-0", 3, 1.0, 0.2),
    ]
    (picture,) = draw_pictures(found)
    assert picture.title == "Accuracy against labels"
    assert lines(picture.figures[0]) == {"a": (PALETTE[1], "-"), "b": (PALETTE[2], "-")}
    axis = picture.figures[0].axes[0]
    (a, _, (spread,)), (b, _, without) = axis.containers
    np.testing.assert_allclose(a.get_xydata(), [[0.1, 0.075], [0.5, 0.5], [1, 0.75]])
    spans = np.diff(np.array(spread.get_segments())[:, :, 1])[:, 0] / 2
    np.testing.assert_allclose(spans, [np.std([0.1, 0.05], ddof=1), 0, np.std([1, 0.5], ddof=1)])
    np.testing.assert_allclose(b.get_xydata(), [[0.2, 0.3], [1, 0.3]])
    assert not without
    assert axis.get_xscale() == "log"
    assert not [*draw_pictures(found[-2:])]


@pytest.mark.parametrize("share", [0, 1.5, "half", [0.5], None])
def test_a_labelled_share_that_cannot_be_is_refused(tmp_path: Path, share: Any) -> None:
    good, bad = (
        result("finetune", {"top1": 0.5}, settings={"label_fraction": value})
        for value in (1, share)
    )
    read = read_entries([write_run(tmp_path / "a", good, bad)])
    assert len(read.entries) == 1
    assert "1.json: expected settings.label_fraction in (0, 1]" in read.left_out[0]


def test_seventeen_columns_of_three_seeds_have_a_map_each() -> None:
    details = {"map": {"pca": [[0, 0]], "tsne": [[0, 0]], "labels": [0]}}
    found = [
        entry("knn", f"{column}-{seed}", 3 * column + seed, column=str(column), details=details)
        for column in range(17)
        for seed in range(3)
    ]
    titles = [each.title for each in draw_pictures(found)]
    assert titles == [f"Map of the features: {at}-0, one of 3 seeds" for at in range(17)]


def test_occlusion_curves_are_over_what_was_really_hidden() -> None:
    spatial = {
        "values": [0, 0.1, 0.2, 0.5],
        "hidden": [0, 0.2, 0.2, 0.4],
        "top1": [0.9, 0.6, 0.5, 0],
    }
    noise = {"values": [0, 0.1], "top1": [0.9, 0.8]}
    later = {"values": [0, 0.2, 0.5], "hidden": [0, 0.2, 0.4], "top1": [0.7, 0.45, 0.2]}
    found = [
        entry("robustness", "a-0", 0, column="a", details={"curves": {"spatial": spatial}}),
        entry(
            *("robustness", "a-1", 1),
            column="a",
            details={"curves": {"spatial": later, "noise": noise}},
        ),
    ]
    (picture,) = draw_pictures(found)
    ((line, _, (spread,)),) = picture.figures[0].axes[0].containers
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.8], [0.2, 0.5], [0.4, 0.1]])
    spans = np.array(spread.get_segments())[:, :, 1]
    deviations = [np.std(each, ddof=1) for each in ([0.9, 0.7], [0.55, 0.45], [0, 0.2])]
    np.testing.assert_allclose((spans[:, 1] - spans[:, 0]) / 2, deviations)
    ((line, *_),) = picture.figures[1].axes[0].containers
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.9], [0.1, 0.8]])


@pytest.fixture(scope="module")
def drawn(evaluated: list[Path]) -> list[Picture]:
    return list(draw_pictures(read_entries(evaluated).entries))


def of_task(paths: list[Path], task: str) -> list[Entry]:
    return [each for each in read_entries(paths).entries if each.result.task == task]


def pictures_of(pictures: Iterable[Picture], start: str) -> list[Picture]:
    return [each for each in pictures if each.title.startswith(start)]


def test_every_task_has_its_picture(evaluated: list[Path], drawn: list[Picture]) -> None:
    titles = [each.title for each in drawn]
    how = {each.result.task: f"run ({each.how})" for each in read_entries(evaluated).entries}
    assert titles == [
        "Accuracy by class, linear",
        "Confusion matrix, linear: run (solver logistic)",
        "Map of the features: run-0, one of 2 seeds",
        "Retrieval: run-0, one of 2 seeds",
        "Accuracy by class, knn",
        "Confusion matrix, knn: run",
        "Accuracy by class, finetune",
        f"Confusion matrix, finetune: {how['finetune']}",
        "Few labels",
        "Occluded recordings",
        "Robustness",
        "Detected actions: run-0, one of 2 seeds",
        "Few-shot recognition",
        "Motion prediction",
        f"Predicted motion: {how['prediction'].replace('run', 'run-0', 1)}, one of 2 seeds",
    ]


def test_confusions_are_added_up_over_the_seeds(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(drawn, "Confusion matrix, linear")
    parts = of_task(evaluated, "linear")
    counts = np.sum([each.result.details["confusion"] for each in parts], axis=0)
    shown = np.asarray(picture.figures[0].axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, counts / counts.sum(axis=1, keepdims=True))
    assert "added up over 2 runs" in picture.caption
    wrong = counts - np.diag(np.diag(counts))
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        names = parts[0].result.class_names
        assert f"{names[row]} → {names[column]} ({wrong.max()})" in picture.caption


def test_bars_of_classes_are_means_and_sorted(evaluated: list[Path], drawn: list[Picture]) -> None:
    (picture,) = pictures_of(drawn, "Accuracy by class, linear")
    axis = picture.figures[0].axes[0]
    parts = of_task(evaluated, "linear")
    means = np.mean([each.result.metrics["per_class"] for each in parts], axis=0)
    shown = {
        label.get_text(): bar.get_width()
        for label, bar in zip(axis.get_yticklabels(), axis.patches, strict=True)
    }
    assert shown == pytest.approx(dict(zip(parts[0].result.class_names, means, strict=True)))
    assert [*shown.values()] == sorted(shown.values(), reverse=True)


def test_robustness_has_mean_and_deviation_over_seeds(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(drawn, "Robustness")
    parts = of_task(evaluated, "robustness")
    kinds = ("spatial", "temporal", "noise", "frame_rate")
    for figure, kind in zip(picture.figures, kinds, strict=True):
        rows = np.array([each.result.details["curves"][kind]["top1"] for each in parts])
        ((line, _, (bars,)),) = figure.axes[0].containers
        curve = parts[0].result.details["curves"][kind]
        values = np.round(curve.get("hidden", curve["values"]), 6)
        np.testing.assert_allclose(line.get_xydata().T, [values, rows.mean(axis=0)])
        spans = np.array(bars.get_segments())[:, :, 1]
        np.testing.assert_allclose(spans[:, 1] - spans[:, 0], 2 * rows.std(axis=0, ddof=1))
    labels = [figure.axes[0].get_xlabel() for figure in picture.figures]
    assert labels[2] == "standard deviation of the noise, metres"


def test_few_labels_have_mean_and_deviation_over_seeds(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(drawn, "Few labels")
    seeds = [each.result.details["runs"] for each in of_task(evaluated, "semi")]
    ((line, _, (bars,)),) = picture.figures[0].axes[0].containers
    np.testing.assert_allclose(line.get_xydata()[:, 0], [0.25, 0.5])
    tops = np.array(
        [
            [np.mean([run["top1"] for run in draws if run["fraction"] == x]) for x in (0.25, 0.5)]
            for draws in seeds
        ]
    )
    assert tops.shape == (2, 2)
    np.testing.assert_allclose(line.get_xydata()[:, 1], tops.mean(axis=0))
    spans = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(spans[:, 1] - spans[:, 0], 2 * tops.std(axis=0, ddof=1))


def test_few_shot_intervals_of_one_run_are_its_own(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(draw_pictures(of_task(evaluated[:1], "fewshot")), "Few-shot")
    (own,) = of_task(evaluated[:1], "fewshot")
    axis = picture.figures[0].axes[0]
    names = [name for name in own.result.metrics if not name.endswith("ci95")]
    titles = [label.get_text() for label in axis.get_yticklabels()]
    assert titles == [name.replace("_", ", ").replace("shot", " shot") for name in names]
    (bars,) = (each for each in axis.containers if hasattr(each, "patches"))
    assert [bar.get_width() for bar in bars.patches] == [own.result.metrics[name] for name in names]
    spans = np.array(bars.errorbar[2][0].get_segments())[:, :, 0]
    intervals = [own.result.metrics[f"{name}_ci95"] for name in names]
    np.testing.assert_allclose((spans[:, 1] - spans[:, 0]) / 2, intervals)
    assert "over seeds" not in picture.caption
    assert "standard deviation over seeds" in pictures_of(drawn, "Few-shot")[0].caption


def test_prediction_states_what_no_motion_gives(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (curve,) = pictures_of(drawn, "Motion prediction")
    parts = of_task(evaluated, "prediction")
    *_, still = curve.figures[0].axes[0].containers
    np.testing.assert_allclose(
        still[0].get_xydata()[:, 1], parts[0].result.details["by_frame"]["zero_velocity"]
    )
    (strips,) = pictures_of(drawn, "Predicted motion")
    assert f"{parts[0].result.metrics['zero_velocity_mm']:.1f} mm" in strips.caption
    assert len(strips.figures) == len(parts[0].result.details["examples"])


def test_time_lines_are_of_six_recordings(drawn: list[Picture]) -> None:
    (picture,) = pictures_of(drawn, "Detected actions")
    assert len(picture.figures[0].axes) == 6
    assert picture.caption.startswith("6 of 8 test recordings")


def test_occlusion_bars(evaluated: list[Path]) -> None:
    (picture,) = pictures_of(draw_pictures(of_task(evaluated[:1], "occlusion")), "Occluded")
    (own,) = of_task(evaluated[:1], "occlusion")
    endings = ("", "_occluded_training")
    keys = ["top1", *(f"{kind}_top1{end}" for kind in ("spatial", "temporal") for end in endings)]
    widths = [bar.get_width() for bar in picture.figures[0].axes[0].patches]
    assert widths == [own.result.metrics[key] for key in keys]
