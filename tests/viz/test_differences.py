"""The picture of a difference has the joints, colours and map of the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pcm3.skeleton import SBU15
from pcm3.viz.differences import difference_figure

HAND, FRAMES = SBU15.joints.index("left_hand"), 10


def example(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    recording = 1 + rng.random((3, FRAMES, 15, 1))
    values = np.zeros((FRAMES, 15, 1))
    values[4:7, HAND] = 0.5
    parts = {name: values[:, list(own), 0].mean(axis=1) for name, own in SBU15.parts.items()}
    return {
        "recording": recording,
        "reference": recording + 0.2,
        "values": values,
        "parts": parts,
        "worst": (4, 7),
        "skeleton": SBU15,
        **changes,
    }


def joints(axis: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    (dots,) = (each for each in axis.collections if each.get_gid() == "joints")
    return np.asarray(dots.get_offsets()), dots.get_facecolor()[:, :3]


def test_recording_reference_and_map() -> None:
    given = example()
    figure = difference_figure(**given, frames=4, titles=("new", "good"), unit="metres")
    *strips, image, scale = figure.axes
    assert len(strips) == 8
    for row, name in enumerate(("recording", "reference")):
        for axis, frame in zip(strips[4 * row :], (0, 3, 6, 9)[:4], strict=False):
            places, colors = joints(axis)
            np.testing.assert_allclose(places, given[name][:2, frame, :, 0].T, rtol=1e-6)
            darkest = colors.sum(axis=1).argmin()
            marked = row == 0 and frame == 6
            assert (len(np.unique(colors, axis=0)) == 2) == marked
            assert not marked or darkest == HAND
    assert [strips[0].get_ylabel(), strips[4].get_ylabel()] == ["new", "good"]
    (drawn,) = image.images
    np.testing.assert_allclose(drawn.get_array(), np.stack(list(given["parts"].values())))
    (box,) = (each for each in image.patches if isinstance(each, Rectangle))
    assert (box.get_x(), box.get_width()) == (3.5, 3)
    assert [text.get_text() for text in image.get_yticklabels()][1] == "left arm"
    assert "metres" in scale.get_ylabel()


def test_joints_without_a_difference_are_grey() -> None:
    values = example()["values"]
    values[:, 2] = np.nan
    figure = difference_figure(**example(values=values), frames=1)
    _, colors = joints(figure.axes[0])
    np.testing.assert_allclose(colors[2], to_rgb("#888888"), atol=0.01)
    difference_figure(**example(values=np.full_like(values, np.nan)))  # nothing is known
    difference_figure(**example(values=np.zeros_like(values)))  # nothing differs


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": np.ones((3, 9, 15, 1))},
        {"values": np.ones((FRAMES, 15))},
        {"parts": {}},
        {"parts": {"arm": np.ones(3)}},
        {"frames": 0},
    ],
)
def test_wrong_shapes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        difference_figure(**example(**changes))


def test_frames_of_a_part_have_their_own_numbers() -> None:
    figure = difference_figure(**example(), frames=4, first=70)
    *strips, image, _ = figure.axes
    assert [axis.get_title() for axis in strips[:4]] == [f"frame {70 + at}" for at in (0, 3, 6, 9)]
    assert image.images[0].get_extent()[:2] == [69.5, 79.5]
    (box,) = (each for each in image.patches if isinstance(each, Rectangle))
    assert (box.get_x(), box.get_width()) == (73.5, 3)
