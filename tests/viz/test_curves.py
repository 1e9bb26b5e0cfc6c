"""Loss curves show every term where and when it was recorded."""

from typing import Any

import numpy as np
import pytest

from pcm3.viz import loss_curves

RECORDS: list[dict[str, Any]] = [
    {"epoch": 0, "knn/top1": 0.25, "total": 9.0, "masked_mse": 0.5, "preset": "small"},
    {"epoch": 1, "lr": 0.1, "total": 7.0, "masked_mse": np.float32(0.25), "done": False},
    {"epoch": 2, "total": 6, "knn/top1": 0.75, "masked_mse": 0.125},
]


def test_one_panel_a_scalar_with_accuracy_last() -> None:
    figure = loss_curves(RECORDS)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "total",
        "masked_mse",
        "knn/top1",
    ]


def test_curves_are_the_recorded_values_against_their_epochs() -> None:
    total, mse, knn = (axis.lines[0].get_xydata() for axis in loss_curves(RECORDS).axes)
    np.testing.assert_array_equal(total, [(0, 9), (1, 7), (2, 6)])
    np.testing.assert_array_equal(mse, [(0, 0.5), (1, 0.25), (2, 0.125)])
    np.testing.assert_array_equal(knn, [(0, 0.25), (2, 0.75)])  # not every epoch has it


def test_accuracy_is_a_share_of_one() -> None:
    axis = loss_curves(RECORDS).axes[-1]
    assert axis.get_ylim() == (0, 1)
    assert axis.yaxis.get_major_formatter()(0.5, 0) == "50%"


def test_chosen_terms_in_their_order() -> None:
    figure = loss_curves(RECORDS, terms=["knn/top1", "lr"])
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["knn/top1", "lr"]


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 1, 4), (9, 3, 4)])
def test_grid_and_epoch_labels(count: int, rows: int, columns: int) -> None:
    axes = loss_curves([{"epoch": 0} | {f"term{k}": 1.0 for k in range(count)}]).axes
    assert len(axes) == count
    assert axes[0].get_gridspec().get_geometry() == (rows, columns)
    labelled = [axis.get_xlabel() == "epoch" for axis in axes]  # the lowest of every column
    assert labelled == [place + columns >= count for place in range(count)]


def test_a_single_epoch_is_visible() -> None:
    line = loss_curves(RECORDS[:1]).axes[0].lines[0]
    assert line.get_marker() == "o"


@pytest.mark.parametrize(
    ("records", "terms", "message"),
    [
        ([], None, r"terms to draw among \[\], got \[\]"),
        ([{"epoch": 1, "note": "x"}], None, r"among \['epoch'\].*\[\]"),
        (RECORDS, ["kl"], r"among \['epoch', 'knn/top1', 'total'.*\['kl'\]"),
        ([{"epoch": 1, "a": 1.0}, {"a": 1.0}], None, r"record 1 has \['a'\]"),
    ],
)
def test_says_what_is_wrong(records: Any, terms: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_curves(records, terms)
