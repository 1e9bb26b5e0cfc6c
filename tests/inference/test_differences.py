"""Differences of recordings after alignment, against slow searches and known displacements."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pcm3.data.synthetic import synthetic_sequences
from pcm3.inference.differences import Difference, compare, warping_path
from pcm3.skeleton import NTU25, Skeleton

COSTS = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4)
)
HAND = NTU25.joints.index("left_hand")
LEFT_ARM = list(NTU25.parts["left_arm"])


@pytest.fixture(scope="module")
def body() -> NDArray[Any]:
    """Frames (40, 1, 25, 3) of one person."""
    (recording,) = synthetic_sequences(sequences=1, frames=(40, 40), noise=0, missing=0)
    return recording.frames


@settings(deadline=None)
@given(cost=COSTS)
def test_the_path_is_the_cheapest(cost: NDArray[np.float64]) -> None:
    @cache
    def least(at: int, other: int) -> float:
        before = [(at - 1, other - 1), (at - 1, other), (at, other - 1)]
        rest = [least(*step) for step in before if min(step) >= 0]
        return float(cost[at, other]) + (min(rest) if rest else 0)

    path = warping_path(cost)
    assert path[0].tolist() == [0, 0]
    assert (path[-1] == np.array(cost.shape) - 1).all()
    steps = {tuple(step) for step in np.diff(path, axis=0).tolist()}
    assert steps <= {(0, 1), (1, 0), (1, 1)}
    assert cost[tuple(path.T)].sum() == least(cost.shape[0] - 1, cost.shape[1] - 1)


@pytest.mark.parametrize(("repeats", "tolerance"), [([2], 1e-5), ([1, 3, 1, 2], 0.03)])
def test_place_size_direction_and_speed_do_not_count(
    body: NDArray[Any], repeats: list[int], tolerance: float
) -> None:
    """With an uneven speed the mean direction is only nearly the same."""
    frames = np.repeat(np.arange(40), repeats * (40 // len(repeats)))
    angle = 2.3
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    path = np.random.default_rng(0).normal(size=(len(frames), 1, 1, 3))
    other = 1.3 * body[frames] @ turn.T + path
    for first, second in ((body, other), (other, body)):
        found = compare(first, second, NTU25)
        assert found.values.shape == (len(first), 1, 25)
        np.testing.assert_allclose(found.values, 0, atol=tolerance)
        matched = found.reference[found.matched]
        np.testing.assert_allclose(found.recording, matched, atol=tolerance)


def test_a_displaced_hand_is_found(body: NDArray[Any]) -> None:
    other = body.copy()
    other[12:20, 0, HAND] += [0.0, 0.0, 0.25]
    hips = [NTU25.joints.index(f"{side}_hip") for side in ("left", "right")]
    moved = other - other[:, :, hips].mean(axis=2, keepdims=True)
    found = compare(other, body, NTU25)
    expected = np.zeros((40, 1, 25))
    expected[12:20, 0, HAND] = 0.25
    # the hand changes the size and the direction of the body a little
    np.testing.assert_allclose(found.values, expected, atol=0.03)
    np.testing.assert_allclose(found.recording, moved, atol=1e-6)
    assert found.part == "left_arm"
    assert found.worst == (12, 20)
    assert found.by_part["left_arm"] == pytest.approx(found.values[:, :, LEFT_ARM].mean())
    assert list(found.by_part.values()) == sorted(found.by_part.values(), reverse=True)
    np.testing.assert_allclose(
        found.parts["left_arm"], found.values[:, :, LEFT_ARM].mean(axis=(1, 2))
    )
    np.testing.assert_allclose(found.joints, found.values.mean(axis=(0, 1)))
    np.testing.assert_allclose(found.frames, found.values.mean(axis=(1, 2)))


def test_the_difference_of_a_frame_is_the_mean_over_its_matches(body: NDArray[Any]) -> None:
    """One frame of the recording matches two, from which the hand is at other distances."""
    other = body[[0, 0]].copy()
    other[1, 0, HAND] += [0, 0.2, 0]
    found = compare(body[:1], other, NTU25)
    assert found.values.shape == (1, 1, 25)
    assert found.values[0, 0, HAND] == pytest.approx(0.1, abs=0.02)
    assert found.matched.tolist() == [0]


def test_missing_joints_and_persons_do_not_count(body: NDArray[Any]) -> None:
    gaps = body.copy()
    gaps[5:9, 0, HAND] = 0
    found = compare(gaps, body, NTU25)
    expected = np.zeros((40, 1, 25), bool)
    expected[5:9, 0, HAND] = True
    assert (np.isnan(found.values) == expected).all()
    np.testing.assert_allclose(np.nan_to_num(found.values), 0, atol=0.01)
    assert np.isfinite(found.frames).all()
    gaps[:, 0, LEFT_ARM] = 0
    found = compare(gaps, body, NTU25)
    assert np.isnan(found.by_part["left_arm"])
    assert list(found.by_part)[-1] == "left_arm"
    two = np.concatenate([body, body + 1], axis=1)
    found = compare(two, body, NTU25)
    assert np.isnan(found.values[:, 1]).all()
    np.testing.assert_allclose(found.values[:, 0], 0, atol=1e-5)
    second = two.copy()
    second[:, 1] += [0.3, 0, 0]  # how far two persons are from each other does count
    np.testing.assert_allclose(compare(second, two, NTU25).values[:, 1], 0.3, atol=1e-5)


def test_flat_recordings_are_not_turned(body: NDArray[Any]) -> None:
    flat = body[..., :2]
    np.testing.assert_allclose(compare(flat, 2 * flat, NTU25).values, 0, atol=1e-5)
    assert compare(flat * [-1, 1], flat, NTU25).values.mean() > 0.1


def test_a_chain_without_sides_is_compared() -> None:
    joints = (0, 1, 2)
    chain = Skeleton("chain", ("a", "b", "c"), (-1, 0, 1), {"all": joints}, joints, 1)
    frames = np.random.default_rng(0).normal(size=(9, 1, 3, 3)).cumsum(axis=2)
    np.testing.assert_allclose(compare(frames, frames, chain).values, 0, atol=1e-6)


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 5) | st.none(), min_size=1, max_size=12))
def test_the_worst_stretch_exceeds_the_mean_most(rows: list[int | None]) -> None:
    values = np.array([np.nan if each is None else each for each in rows], np.float64)
    none = np.zeros((len(rows), 1, 25, 3))
    matched = np.zeros(len(rows), np.int64)
    joints = np.full((len(rows), 1, 25), np.nan)
    joints[:, 0, 3] = values
    start, end = Difference(NTU25, joints, matched, none, none, "metres").worst
    known = values[np.isfinite(values)]
    if len(set(known.tolist())) < 2:
        assert (start, end) == (0, len(rows))
        return
    excess = np.nan_to_num(values - known.mean())
    best = max(excess[a:b].sum() for a in range(len(rows)) for b in range(a + 1, len(rows) + 1))
    assert 0 <= start < end <= len(rows)
    assert excess[start:end].sum() == pytest.approx(best)


def test_what_cannot_be_compared_is_refused(body: NDArray[Any]) -> None:
    for wrong in (body[:, :, :20], body[..., :2], body[:0], body[0]):
        with pytest.raises(ValueError, match="expected recordings"):
            compare(body, wrong, NTU25)
    with pytest.raises(ValueError, match="bone"):
        compare(body, np.zeros_like(body), NTU25)
    with pytest.raises(ValueError, match="pairs of frames"):
        compare(np.ones((3001, 1, 25, 3)), np.ones((3001, 1, 25, 3)), NTU25)
    for cost in (np.zeros(3), np.zeros((0, 2)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="cost"):
            warping_path(cost)


def tilted(body: NDArray[Any], axis: int, degrees: float) -> NDArray[Any]:
    """The body that stands still and turns everything above its hips about an axis, and back."""
    still = np.repeat(body[:1].astype(np.float64), 30, axis=0)
    legs = [*NTU25.parts["left_leg"], *NTU25.parts["right_leg"]]
    upper = [joint for joint in range(25) if joint not in legs]
    hips = [NTU25.joints.index(f"{side}_hip") for side in ("left", "right")]
    pivot = still[0, 0, hips].mean(axis=0)
    first, second = (other for other in range(3) if other != axis)
    for frame in range(30):
        angle = np.radians(degrees) * np.sin(np.pi * frame / 29)
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        still[frame, 0, upper] = (still[frame, 0, upper] - pivot) @ turn.T + pivot
    return still


@pytest.mark.parametrize("axis", [0, 2])  # a bow, and a lean to the side
def test_legs_that_stand_still_do_not_differ(body: NDArray[Any], axis: int) -> None:
    still = np.repeat(body[:1], 30, axis=0)
    for frames in (tilted(body, axis, 40), tilted(body, axis, 40) + 5.0):
        centred = frames - frames[:, :, [NTU25.center]]  # as stores have them
        found = compare(centred, still, NTU25)
        assert found.part in ("trunk", "left_arm", "right_arm")
        arms_and_trunk = [found.by_part[name] for name in ("trunk", "left_arm", "right_arm")]
        legs = [found.by_part[name] for name in ("left_leg", "right_leg")]
        assert max(legs) < 0.2 * min(arms_and_trunk)
        middle = (found.worst[0] + found.worst[1]) / 2
        assert middle == pytest.approx(15, abs=3)


def test_hips_that_are_not_seen_are_where_they_were(body: NDArray[Any]) -> None:
    hips = [NTU25.joints.index(f"{side}_hip") for side in ("left", "right")]
    gaps = body.copy() - body[:, :, [NTU25.center]]
    gaps[10:13, 0, hips[0]] = 0
    found = compare(gaps, body, NTU25)
    middles = gaps[[*range(10), *[9] * 3, *range(13, 40)], 0][:, hips].mean(axis=1)
    expected = np.where(gaps.any(axis=-1, keepdims=True), gaps - middles[:, None, None], 0)
    center = NTU25.center
    expected[:, 0, center] = -middles  # it is at the origin, where stores are centred
    np.testing.assert_allclose(found.recording, expected, atol=1e-6)
    gaps[:, 0, hips] = 0  # without hips the centre joint takes their place
    found = compare(gaps, body, NTU25)
    np.testing.assert_allclose(found.recording[:, 0, center], 0, atol=1e-6)


def test_peaks_are_the_joints_that_differ_most(body: NDArray[Any]) -> None:
    other = body.copy()
    wrist = NTU25.joints.index("left_wrist")
    other[12:20, 0, HAND] += [0.0, 0.0, 0.25]
    other[15, 0, HAND] += [0.0, 0.0, 0.15]
    other[4:9, 0, wrist] += [0.0, 0.0, 0.2]
    found = compare(other, body, NTU25, "metres")
    first, second = found.peaks(2)
    assert (first.joint, first.frame, second.joint) == ("left_hand", 15, "left_wrist")
    assert first.difference == found.values[15, 0, HAND] == pytest.approx(0.4, abs=0.05)
    assert 4 <= second.frame < 9
    means = found.joints
    assert [peak.joint for peak in found.peaks(25)] == [
        NTU25.joints[at] for at in np.argsort(-means, kind="stable")
    ]
    other[:, 0, LEFT_ARM] = 0
    assert len(compare(other, body, NTU25).peaks(25)) == 25 - len(LEFT_ARM)
