"""Pictures of results show the numbers they were given, by name."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from pcm3.viz import (
    Bars,
    Curve,
    bar_figure,
    confusion_figure,
    curve_figure,
    embedding_figure,
    time_line_figure,
)
from pcm3.viz.figures import PALETTE
from pcm3.viz.results import COLORS, short_text


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestConfusion:
    def test_shades_are_shares_of_the_true_class_and_cells_have_counts(self) -> None:
        counts = [[3, 1, 0], [0, 0, 0], [0, 2, 2]]
        figure = confusion_figure(counts, ["a", "b", "c"])
        axis = figure.axes[0]
        shares = [[0.75, 0.25, 0], [0, 0, 0], [0, 0.5, 0.5]]
        np.testing.assert_allclose(np.asarray(axis.images[0].get_array()), shares)
        assert axis.images[0].get_clim() == (0, 1)
        placed = {text.get_position()[::-1]: text.get_text() for text in axis.texts}
        assert placed == {(0, 0): "3", (0, 1): "1", (2, 1): "2", (2, 2): "2"}
        for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
            assert [label.get_text() for label in labels] == ["a", "b", "c"]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted class", "true class")

    def test_sixty_classes_have_room_for_their_names(self) -> None:
        figure = confusion_figure(np.eye(60, dtype=int), [f"action number {k}" for k in range(60)])
        axis = figure.axes[0]
        assert not axis.texts
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in axis.get_yticklabels()]
        assert all(b.y1 < a.y0 for a, b in pairwise(boxes))  # none overlap
        assert all(box.x0 >= 0 for box in boxes)

    def test_says_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match=r"\(K, K\) of 2.*\(2, 3\)"):
            confusion_figure(np.zeros((2, 3)), ["a", "b"])


class TestBars:
    def test_one_group_a_name_and_one_colour_a_series(self) -> None:
        bars = {"one": Bars([0.5, None, 0.25]), "two": Bars([0.1, 0.2, 0.3], [0.01, 0.02, 0.03])}
        figure = bar_figure(bars, ["x", "y", "z"], "accuracy")
        axis = figure.axes[0]
        assert legend(figure) == ["one", "two"]
        first, second = (each for each in axis.containers if hasattr(each, "patches"))
        assert [bar.get_width() for bar in first.patches] == [0.5, 0.25]
        assert [bar.get_width() for bar in second.patches] == [0.1, 0.2, 0.3]
        assert {to_hex(bar.get_facecolor()).upper() for bar in first.patches} == {PALETTE[1]}
        assert {to_hex(bar.get_facecolor()).upper() for bar in second.patches} == {PALETTE[2]}
        spans = np.array(second.errorbar[2][0].get_segments())[:, :, 0]
        np.testing.assert_allclose(spans, [[0.09, 0.11], [0.18, 0.22], [0.27, 0.33]])
        middles = axis.get_yticks()
        for place, bar in zip((0, 2), first.patches, strict=True):  # each beside its name
            assert abs(bar.get_y() + bar.get_height() / 2 - middles[place]) < 0.5
        assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first on top
        assert axis.get_xlim() == (0, 1)

    def test_one_series_needs_no_legend(self) -> None:
        figure = bar_figure({"one": Bars([3.0])}, ["x"], "mm", percent=False)
        assert not figure.legends
        assert figure.axes[0].get_xlim()[1] > 3

    def test_bars_have_the_whole_width_however_long_names_are(self) -> None:
        bars = {"one": Bars([1.0, 0.5]), "two": Bars([0.25, 0.1])}
        figure = bar_figure(bars, ["x" * 40, "y"], "accuracy")
        figure.draw_without_rendering()
        axis = figure.axes[0]
        assert axis.bbox.width > 0.85 * figure.bbox.width
        ticks = [label.get_window_extent() for label in axis.get_xticklabels()]
        assert all(left.x1 + 5 < right.x0 for left, right in pairwise(ticks))
        assert ticks[-1].x1 <= figure.bbox.x1
        spans = [
            (name.get_window_extent(), [bar.get_window_extent() for bar in group])
            for name, group in zip(
                axis.get_yticklabels(), zip(*axis.containers, strict=True), strict=True
            )
        ]
        for name, group in spans:  # each above its bars
            assert name.y0 >= max(bar.y1 for bar in group)
            assert name.x0 >= axis.bbox.x0
        assert spans[1][0].y1 <= min(bar.y0 for bar in spans[0][1])

    def test_places_decide_on_the_look(self) -> None:
        bars = {"a": Bars([1.0], place=2), "b": Bars([1.0], place=2 + COLORS)}
        first, second = bar_figure(bars, ["x"], "accuracy").axes[0].patches
        assert to_hex(first.get_facecolor()) == to_hex(second.get_facecolor()) == PALETTE[3].lower()
        assert (first.get_hatch() or "") != (second.get_hatch() or "")
        curves = {"a": Curve([0], [1], place=2), "b": Curve([0], [1], place=2 + COLORS)}
        first, second = (each[0] for each in curve_figure(curves, "x").axes[0].containers)
        assert first.get_color() == second.get_color() == PALETTE[3]
        assert first.get_linestyle() != second.get_linestyle()

    @pytest.mark.parametrize(
        ("bars", "names", "message"),
        [
            ({}, ["a"], "expected series and names, got 0 and 1"),
            ({"one": Bars([])}, [], "got 1 and 0"),
            ({"one": Bars([1.0])}, ["a", "b"], "one: expected 2 values, got 1"),
        ],
    )
    def test_says_what_does_not_fit(self, bars: Any, names: list[str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            bar_figure(bars, names, "x")


class TestCurves:
    def test_lines_go_through_their_points(self) -> None:
        curves = {"a": Curve([0.1, 0.2], [0.5, 0.6], [0.05, 0.0]), "b": Curve([0.1], [0.3])}
        base = {"chance": Curve([0.1, 0.2], [0.1, 0.1])}
        figure = curve_figure(curves, "share", x_percent=True, baselines=base)
        axis = figure.axes[0]
        assert legend(figure) == ["a", "b", "chance"]
        first, second, third = axis.containers
        np.testing.assert_allclose(first[0].get_xydata(), [[0.1, 0.5], [0.2, 0.6]])
        np.testing.assert_allclose(second[0].get_xydata(), [[0.1, 0.3]])
        spans = np.array(first[2][0].get_segments())[:, :, 1]
        np.testing.assert_allclose(spans, [[0.45, 0.55], [0.6, 0.6]])
        assert len({each[0].get_marker() for each in axis.containers}) == 3
        assert len({each[0].get_color() for each in axis.containers}) == 3
        assert (third[0].get_color(), third[0].get_linestyle()) == (PALETTE[0], "--")
        assert axis.get_ylim() == (0, 1)
        assert axis.xaxis.get_major_formatter()(0.05, 0) == "5%"

    def test_a_logarithmic_axis_is_marked_where_there_are_points(self) -> None:
        curves = {"a": Curve([0.01, 0.2], [0.1, 0.2]), "b": Curve([0.05], [0.1])}
        axis = curve_figure(curves, "x", logarithmic=True, x_percent=True).axes[0]
        assert axis.get_xscale() == "log"
        assert list(axis.get_xticks()) == [0.01, 0.05, 0.2]
        assert [t.get_text() for t in axis.get_xticklabels()] == ["1%", "5%", "20%"]

    def test_errors_start_at_zero(self) -> None:
        axis = curve_figure({"a": Curve([1, 2], [30, 40])}, "x", "mm", percent=False).axes[0]
        assert axis.get_ylim()[0] == 0
        assert axis.get_ylim()[1] > 40
        assert all(tick == int(tick) for tick in axis.get_xticks())

    def test_says_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="at least one curve, got none"):
            curve_figure({}, "x")
        with pytest.raises(
            ValueError, match=r"a: expected as many x as y and spread, got \[1, 2\]"
        ):
            curve_figure({"a": Curve([1, 2], [1])}, "x")


class TestEmbedding:
    def test_points_by_class_and_numbers_in_their_middle(self) -> None:
        rng = np.random.default_rng(0)
        points, labels = rng.normal(size=(20, 2)), np.repeat([0, 3, 9, 17], 5)
        names = [f"class {k}" for k in range(20)]
        figure = embedding_figure({"PCA": points, "t-SNE": -points}, labels.tolist(), names)
        assert [axis.get_title(loc="left") for axis in figure.axes] == ["PCA", "t-SNE"]
        for axis, shown in zip(figure.axes, (points, -points), strict=True):
            for label, group in zip((0, 3, 9, 17), axis.lines, strict=True):
                np.testing.assert_allclose(group.get_xydata(), shown[labels == label])
                assert group.get_linestyle() == "None"
            assert texts(axis) == ["0", "3", "9", "17"]
            assert all(text.get_path_effects() for text in axis.texts)  # outlined
            assert all(text.get_bbox_patch() is None for text in axis.texts)
            middle = np.median(shown[labels == 3], axis=0)
            np.testing.assert_allclose(axis.texts[1].get_position(), middle)
        assert legend(figure) == ["0 class 0", "3 class 3", "9 class 9", "17 class 17"]

    def test_sixty_classes_look_different(self) -> None:
        points = np.random.default_rng(0).normal(size=(60, 2))
        names = [f"class {k}" for k in range(60)]
        figure = embedding_figure({"PCA": points}, range(60), names)
        handles = figure.legends[0].legend_handles
        looks = {(handle.get_color(), handle.get_marker()) for handle in handles}  # type: ignore[union-attr]
        assert len(looks) == 60

    def test_says_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="at least one map, got none"):
            embedding_figure({}, [0], ["a"])
        with pytest.raises(ValueError, match=r"t.*points \(1, 2\).*\(2, 2\)"):
            embedding_figure({"t": np.zeros((2, 2))}, [0], ["a"])


class TestTimeLines:
    VIDEO: ClassVar[dict[str, Any]] = {
        "name": "first",
        "frames": 100,
        "truth": [[0, 10, 30], [9, 40, 50]],
        "proposals": [[1, 60, 65, 0.0], [0, 12, 28, 1.0]],
    }

    def test_truth_above_and_proposals_below(self) -> None:
        figure = time_line_figure([self.VIDEO, self.VIDEO | {"name": "second"}], ["x"] * 10)
        assert [axis.get_title(loc="left") for axis in figure.axes] == ["first", "second"]
        axis = figure.axes[0]
        assert axis.get_xlim() == (0, 100)
        spans = {
            gid: [
                (bar.get_x(), bar.get_x() + bar.get_width(), bar.get_y())
                for bar in axis.patches
                if bar.get_gid() == gid
            ]
            for gid in ("truth", "proposal")
        }
        assert spans["truth"] == [(10, 30, 0), (40, 50, 0)]
        assert spans["proposal"] == [(60, 65, 1), (12, 28, 1)]  # the surest on top
        assert axis.get_ylim()[0] > axis.get_ylim()[1]
        assert texts(axis) == ["0", "9", "1", "0"]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["truth", "found"]

    def test_a_class_has_one_look_and_the_unsure_are_pale(self) -> None:
        axis = time_line_figure([self.VIDEO], ["x"] * 10).axes[0]
        true, other, unsure, sure = axis.patches
        assert to_hex(true.get_facecolor()) == to_hex(sure.get_facecolor())
        assert to_hex(other.get_facecolor()) == to_hex(unsure.get_facecolor())  # 9 and 1 share it
        assert (other.get_hatch() or "") != (unsure.get_hatch() or "")
        assert unsure.get_alpha() < sure.get_alpha() == 1  # type: ignore[operator]

    def test_legend_has_the_classes_that_are_there(self) -> None:
        names = [f"class {k}" for k in range(10)]
        assert legend(time_line_figure([self.VIDEO], names)) == [
            *("0 class 0", "1 class 1", "9 class 9"),
        ]

    def test_nothing_found(self) -> None:
        empty = {"name": "", "frames": 5, "truth": [], "proposals": []}
        assert not time_line_figure([empty], []).axes[0].patches
        with pytest.raises(ValueError, match="at least one recording, got none"):
            time_line_figure([], [])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a_b^c", "a_b^c"),
        ("$x$ and $y", r"\$x\$ and \$y"),
        ("two\n  lines", "two lines"),
        ("bell\x07", "bell"),
        ("x" * 28, "x" * 28),
        ("x" * 29, "x" * 27 + "…"),
    ],
)
def test_names_as_they_are_written(name: str, shown: str) -> None:
    assert short_text(name) == shown
