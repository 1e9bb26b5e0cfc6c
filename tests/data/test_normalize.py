from __future__ import annotations

import numpy as np
import pytest

from pcm3.data.normalize import normalize
from pcm3.skeleton import SBU15

CENTER = SBU15.center


@pytest.fixture
def frames():
    return np.random.default_rng(0).normal(2.0, 1.0, (6, 2, 15, 3)).astype(np.float32)


def test_none(frames):
    assert normalize(frames, SBU15, "none") is frames


def test_center_frame_by_frame(frames):
    before = frames.copy()
    centered = normalize(frames, SBU15, "center")
    assert centered.dtype == np.float32
    for t, person, joint in np.ndindex(6, 2, 15):
        expected = before[t, person, joint] - before[t, 0, CENTER]
        np.testing.assert_array_equal(centered[t, person, joint], expected)
    np.testing.assert_array_equal(frames, before)


def test_center_ignores_where_one_stands(frames):
    moved = frames + np.linspace(0, 3, 6, dtype=np.float32)[:, None, None, None]
    np.testing.assert_allclose(
        normalize(moved, SBU15, "center"), normalize(frames, SBU15, "center"), atol=1e-5
    )


def test_absent_stays_zero(frames):
    frames[2:4, 1] = 0
    frames[5, 0, 7] = 0
    centered = normalize(frames, SBU15, "center")
    absent = ~frames.any(-1)
    assert not centered[absent].any()
    absent[:, 0, CENTER] = True
    assert centered.any(-1)[~absent].all()


def test_lost_center_is_taken_from_before(frames):
    lost = frames.copy()
    lost[[0, 3, 4], 0, CENTER] = 0
    centered = normalize(lost, SBU15, "center")
    for t, source in ((0, 1), (3, 2), (4, 2), (5, 5)):
        expected = frames[t, 1] - frames[source, 0, CENTER]
        np.testing.assert_array_equal(centered[t, 1], expected)


def test_no_center_at_all(frames):
    frames[:, 0] = 0
    np.testing.assert_array_equal(normalize(frames, SBU15, "center"), frames)


def test_unknown_recipe(frames):
    with pytest.raises(ValueError, match=r"expected a normalization among .*got 'x'"):
        normalize(frames, SBU15, "x")
