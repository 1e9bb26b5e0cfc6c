"""Panels of bars stay readable with many long names, and refuse what does not fit."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pcm3.viz.panels import Panel, panel_figure, wrap_text

NAMES = [f"method with a long name {number} and settings that go on" for number in range(19)]


def test_nineteen_names_and_fifteen_titles_do_not_overlap() -> None:
    values = [0.5 + number / 100 for number in range(19)]
    title = "some-store xsub finetune (solver mamp, epochs 100) top1_at_{}"
    panels = [Panel(title.format(at), values, [0.01] * 19, 0.5) for at in range(15)]
    figure = panel_figure(panels, NAMES)
    figure.draw_without_rendering()
    for row in range(0, 15, 3):
        first, *others = figure.axes[row : row + 3]
        boxes = [label.get_window_extent() for label in first.get_yticklabels()]
        assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
        assert min(box.x0 for box in boxes) >= 0
        assert not any(label.get_text() for axis in others for label in axis.get_yticklabels())
        titles = [axis._left_title.get_window_extent() for axis in (first, *others)]
        assert all(left.x1 < right.x0 for left, right in pairwise(titles))
        assert titles[-1].x1 <= figure.bbox.x1
        assert all(axis.bbox.width > 100 for axis in (first, *others))


@pytest.mark.parametrize(
    ("panels", "names", "message"),
    [
        ([], ["a"], "got 0 and 1"),
        ([Panel("x", [], [])], [], "got 1 and 0"),
        ([Panel("x", [0.5], [None])], ["a", "b"], "x: expected 2 values, got 1"),
        ([Panel("x", [0.5, 0.5], [None])], ["a", "b"], "x: expected 2 values, got 1"),
    ],
)
def test_says_what_does_not_fit(panels: list[Panel], names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panel_figure(panels, names)


def test_titles_break_into_lines_and_end_when_there_is_no_room() -> None:
    assert wrap_text("linear top1") == "linear top1"
    assert wrap_text("one two three $4", 8) == "one two\nthree \\$4"
    assert wrap_text("one two three four", 8, lines=2) == "one two\nthree…"
