"""Labels over time as coloured intervals."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pcm3.viz.timelines import Interval, label_figure, label_looks, similarity_figure

ROWS = {
    "person 0": [Interval("wave", 0, 30, 0.9), Interval("bow", 30, 45, 0.4)],
    "person 1": [Interval("unknown", 0, 60, 0.3), Interval("wave", 60, 90, 1.0)],
}


def spans(figure: Figure) -> list[tuple[float, float, float]]:
    """Row, start and end of each bar."""
    return [
        (bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_x() + bar.get_width())
        for bar in figure.axes[0].patches
    ]


def test_intervals_are_in_seconds_if_the_rate_is_known() -> None:
    figure = label_figure(ROWS, 120)
    expected = [(0, 0, 30), (0, 30, 45), (1, 0, 60), (1, 60, 90)]
    np.testing.assert_allclose(spans(figure), expected)
    assert figure.axes[0].get_xlim() == (0, 120)
    assert figure.axes[0].get_xlabel().startswith("frame")
    seconds = label_figure(ROWS, 120, 30)
    np.testing.assert_allclose(spans(seconds), [(row, a / 30, b / 30) for row, a, b in expected])
    assert seconds.axes[0].get_xlim() == (0, 4)
    assert seconds.axes[0].get_xlabel().startswith("seconds")
    low, high = seconds.axes[0].get_ylim()
    assert low > high  # the first row is above
    names = [label.get_text() for label in seconds.axes[0].get_yticklabels()]
    assert names == ["person 0", "person 1"]


def test_a_class_has_one_colour_and_the_less_probable_are_paler() -> None:
    figure = label_figure(ROWS, 120, title="a $5 bill")
    wave, bow, unknown, again = figure.axes[0].patches
    colors = [to_hex(bar.get_facecolor()) for bar in (wave, bow, unknown, again)]
    assert colors[0] == colors[3]
    assert len(set(colors)) == 3
    red, green, blue = unknown.get_facecolor()[:3]
    assert red == green == blue  # grey
    pale = [bar.get_alpha() or 0 for bar in (unknown, bow, wave, again)]
    assert pale == sorted(pale)
    assert pale[0] < pale[-1] == 1
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["wave", "bow", "unknown"]
    figure.draw_without_rendering()


def test_many_classes_are_told_apart() -> None:
    looks = label_looks([f"class {number}" for number in range(20)])
    assert len({(look["color"], look["hatch"]) for look in looks.values()}) == 20


def test_what_cannot_be_drawn() -> None:
    for given in (({}, 10), (ROWS, 0), (ROWS, 10, 0.0)):
        with pytest.raises(ValueError, match="expected rows"):
            label_figure(*given)  # type: ignore[arg-type]


def test_similarity_over_time() -> None:
    figure = similarity_figure([10, 20, 30], [0.1, 0.9, 0.3], [(15, 25)], 10)
    axis = figure.axes[0]
    np.testing.assert_allclose(axis.lines[0].get_xydata(), [[1, 0.1], [2, 0.9], [3, 0.3]])
    assert [text.get_text() for text in axis.texts] == ["1"]
    bounds = axis.patches[0].get_window_extent().transformed(axis.transData.inverted())
    np.testing.assert_allclose((bounds.x0, bounds.x1), (1.5, 2.5))
