"""Pictures of a report: one look a column, which run they are of, in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pcm3.report.pictures import draw_pictures
from pcm3.report.results import Result
from pcm3.viz.figures import PALETTE


def result(task: str, run: str, place: int, **changes: Any) -> Result:
    empty: dict[str, Any] = {"settings": {}, "metrics": {}, "details": {}, "notes": []}
    common: dict[str, Any] = {
        **{"run": run, "column": run, "task": task, "store": "data", "protocol": "xsub"},
        **{"fused": (), "class_names": ["a", "b"], "seen": None, "train_sequences": 9},
        **{"test_sequences": 9, "method": None, "epochs": None, "seed": None},
        **{"file": f"{run}/results/{task}.json", "place": place},
    }
    return Result(**{**empty, **common, **changes})


def few_labels(run: str, place: int, **settings: Any) -> Result:
    runs = [{"fraction": share, "top1": share} for share in (0.1, 0.2)]
    return result("semi", run, place, details={"runs": runs}, settings=settings)


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
        *(result("occlusion", name, at, metrics={"top1": 0.5}) for at, name in enumerate("xyz")),
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
        result(task, f"run-{seed}", seed, column="run", settings={"k": 2}, details=details)
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
        [result("linear", "x", 0, class_names=names, details={"confusion": counts.tolist()})]
    )
    axis = picture.figures[0].axes[0]
    there = ["class 3", "class 7", "class 41"]
    assert [label.get_text() for label in axis.get_yticklabels()] == there
    assert [label.get_text() for label in axis.get_xticklabels()] == there
    shares = [[2 / 3, 0, 1 / 3], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(np.asarray(axis.images[0].get_array()), shares)
    assert "3 of 60 classes occur" in picture.caption
    assert "class 7 → class 3 (4); class 3 → class 41 (1)" in picture.caption
    nothing = np.zeros((2, 2), int).tolist()
    assert not [*draw_pictures([result("linear", "x", 0, details={"confusion": nothing})])]


def test_classes_are_in_the_order_of_their_mean_over_several_charts() -> None:
    rows = np.random.default_rng(0).uniform(size=(2, 27))
    found = [
        result(
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


def test_occlusion_curves_are_over_what_was_really_hidden() -> None:
    spatial = {
        "values": [0, 0.1, 0.2, 0.5],
        "hidden": [0, 0.2, 0.2, 0.4],
        "top1": [0.9, 0.6, 0.5, 0],
    }
    noise = {"values": [0, 0.1], "top1": [0.9, 0.8]}
    later = {"values": [0, 0.2, 0.5], "hidden": [0, 0.2, 0.4], "top1": [0.7, 0.45, 0.2]}
    found = [
        result("robustness", "a-0", 0, column="a", details={"curves": {"spatial": spatial}}),
        result(
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
