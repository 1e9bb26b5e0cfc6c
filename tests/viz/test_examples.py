"""Pictures of single sequences: what was retrieved, what was predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from pcm3.skeleton import SBU15
from pcm3.viz import motion_figure, retrieval_figure
from pcm3.viz.figures import PALETTE

BONES, CENTER = [list(bone) for bone in SBU15.bones], SBU15.center


def body(frames: int = 3, persons: int = 1) -> NDArray[Any]:
    return 1 + np.random.default_rng(frames).random((frames, persons, 15, 3))


def bones(axis: Axes, line: int = 0) -> NDArray[Any]:
    """Segments (bones, 2, 2) of the layer."""
    points = np.asarray(axis.lines[line].get_xydata()).reshape(-1, 3, 2)
    assert np.isnan(points[:, 2]).all()  # the gap
    segments: NDArray[Any] = points[:, :2]
    return segments


def example(**changes: Any) -> dict[str, Any]:
    return {
        "names": ["file 7", "file 1", "file 2"],
        "labels": [1, 1, 0],
        "similarity": [0.987, 0.5],
        "hits": [True, False],
        "frames": [body(3).tolist(), body(4).tolist(), body(3, persons=2).tolist()],
        **changes,
    }


def test_the_query_is_above_its_neighbours_with_hits_and_misses() -> None:
    figure = retrieval_figure(example(), BONES, CENTER, ["wave", "kick $1"])
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == [r"query: kick \$1  (file 7)", r"✓ hit 0.99  kick \$1", "✗ miss 0.50  wave"]
    colors = [to_hex(axis.lines[0].get_color()).upper() for axis in figure.axes]
    assert colors == [PALETTE[0], PALETTE[1], PALETTE[2]]
    assert [len(bones(axis)) for axis in figure.axes] == [3 * 14, 4 * 14, 3 * 2 * 14]


def test_a_query_without_a_name_has_its_class_alone() -> None:
    figure = retrieval_figure(example(names=["", "", ""]), BONES, CENTER, ["wave", "kick"])
    assert figure.axes[0].get_title(loc="left") == "query: kick"


def test_frames_stand_side_by_side_and_keep_their_shape() -> None:
    frames = body(3)
    one = example(frames=[frames.tolist()], names=["a"], labels=[0], similarity=[], hits=[])
    axis = retrieval_figure(one, BONES, CENTER, ["wave"]).axes[0]
    drawn = bones(axis).reshape(3, 14, 2, 2)
    pairs = [[joint, parent] for joint, parent in enumerate(SBU15.parents) if parent >= 0]
    expected = frames[:, 0, :, :2][:, pairs]
    shifts = drawn - expected
    np.testing.assert_allclose(shifts[..., 1], 0, atol=1e-12)
    np.testing.assert_allclose(np.ptp(shifts[..., 0], axis=(1, 2)), 0, atol=1e-12)
    assert (drawn[0, ..., 0].max() < drawn[1, ..., 0].min()).all()
    assert axis.get_aspect() == 1
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    assert left < drawn[..., 0].min() < drawn[..., 0].max() < right
    assert low < drawn[..., 1].min() < drawn[..., 1].max() < high


def test_missing_joints_are_not_drawn_but_a_centre_at_zero_is() -> None:
    frames = body(2)
    frames[0, 0, SBU15.joints.index("left_elbow")] = 0  # with the bones to shoulder and hand
    frames[:, 0, CENTER] = 0
    one = example(frames=[frames.tolist()], names=["a"], labels=[0], similarity=[], hits=[])
    axis = retrieval_figure(one, BONES, CENTER, ["wave"]).axes[0]
    assert len(bones(axis)) == 12 + 14


@pytest.mark.parametrize("frames", [np.zeros((2, 1, 15, 3)), np.full((2, 1, 15, 3), np.nan)])
def test_nobody(frames: NDArray[Any]) -> None:
    one = example(frames=[frames.tolist()], names=["a"], labels=[0], similarity=[], hits=[])
    axis = retrieval_figure(one, BONES, CENTER, ["wave"]).axes[0]
    assert np.isnan(axis.lines[0].get_xydata()).all()


def test_the_predicted_motion_lies_over_the_true_one() -> None:
    true = body(9)[:, 0]
    one = {
        "sequence": 12,
        "mpjpe_mm": 20.04,
        "zero_velocity_mm": 31.5,
        "observed": body(6)[:, 0].tolist(),
        "true": true.tolist(),
        "predicted": (true + np.array([0, 0.25, 0])).tolist(),
    }
    axis = motion_figure(one, BONES, CENTER, frames=5).axes[0]
    title = axis.get_title(loc="left")
    assert title == "sequence 12: 20.0 mm off, zero velocity 31.5 mm"
    assert [t.get_text() for t in axis.get_xticklabels()] == [
        *("-1", "0", "+1", "+3", "+5", "+7", "+9"),
    ]
    behind, before = bones(axis, 0), bones(axis, 1)
    assert len(behind) == 7 * 14
    assert len(before) == 5 * 14  # of what was seen there is no prediction
    gap = before - behind[2 * 14 :]
    np.testing.assert_allclose(gap, np.broadcast_to([0, 0.25], gap.shape), atol=1e-12)
    assert to_hex(axis.lines[1].get_color()).upper() == PALETTE[2]
    assert axis.lines[1].get_zorder() >= axis.lines[0].get_zorder()
