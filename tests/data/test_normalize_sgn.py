"""The recipe "sgn": which bodies stay, where they go, and that all of it is as published."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.data.normalize import normalize
from pcm3.skeleton import NTU25


def narrow(length: int, motion: float, seed: int = 0) -> np.ndarray:
    """A body (T, 25, 3) that is twice as high as broad and moves so much."""
    rng = np.random.default_rng(seed)
    body = np.zeros((length, 25, 3), np.float32)
    body[:, :, 0] = np.linspace(-0.5, 0.5, 25)
    body[:, :, 1] = np.linspace(-1, 1, 25)
    body[:, :, 2] = 3
    return (body + motion * rng.normal(size=(length, 1, 3))).astype(np.float32)


def scene(*bodies: tuple[int, np.ndarray], length: int = 40) -> np.ndarray:
    frames = np.zeros((length, len(bodies), 25, 3), np.float32)
    for slot, (start, body) in enumerate(bodies):
        frames[start : start + len(body), slot] = body
    return frames


def moved(frames: np.ndarray, origin: np.ndarray) -> np.ndarray:
    return (frames - origin) * frames.any((-1, -2), keepdims=True)


def test_sgn_single_person():
    body = narrow(30, 0.1)
    frames = scene((3, body))
    frames[10] = 0
    result = normalize(frames, NTU25, "sgn")
    kept = np.delete(body, 7, axis=0)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[:, 0], kept - body[0, 1])  # nobody's frames are dropped
    assert not result[:, 1].any()
    twins = normalize(frames, NTU25, "sgn", duplicate_single=True)
    np.testing.assert_array_equal(twins[:, 1], result[:, 0])
    assert normalize(frames, NTU25, "sgn", persons=1).shape == (29, 1, 25, 3)
    assert not normalize(frames, NTU25, "sgn", persons=3)[:, 2].any()


def test_sgn_more_motion_comes_first():
    calm, lively = narrow(40, 0.1, 1), narrow(35, 0.5, 2)
    result = normalize(scene((0, calm), (5, lively)), NTU25, "sgn", duplicate_single=True)
    origin = lively[0, 1]  # of the first frame that has person 0, which is not the first frame
    np.testing.assert_array_equal(result[5:, 0], lively - origin)
    assert not result[:5, 0].any()
    np.testing.assert_array_equal(result[:, 1], calm - origin)


def test_sgn_drops_short_bodies():
    long, short = narrow(40, 0.1), narrow(11, 0.9)
    result = normalize(scene((0, long), (0, short)), NTU25, "sgn")
    np.testing.assert_array_equal(result[:, 0], long - long[0, 1])
    assert not result[:, 1].any()
    result = normalize(scene((0, long), (0, narrow(12, 0.9))), NTU25, "sgn")
    assert result[:12].any((-1, -2)).all()
    both = normalize(scene((0, narrow(11, 0.1)), (0, narrow(9, 0.9)), length=11), NTU25, "sgn")
    assert both.any((0, 2, 3)).all()  # all are short


@pytest.mark.parametrize(("broad_frames", "stays"), [(27, True), (28, False)])  # 0.675, 0.7
def test_sgn_drops_broad_bodies(broad_frames, stays):
    person, chair = narrow(40, 0.1), narrow(40, 0.9, 5)
    chair[:broad_frames, :, 0] *= 4
    result = normalize(scene((0, chair), (0, person)), NTU25, "sgn")
    assert result[:, 1].any() == stays
    if not stays:
        np.testing.assert_array_equal(result[:, 0], person - person[0, 1])
    alone = normalize(scene((0, chair * [4, 1, 1])), NTU25, "sgn")
    assert alone[:, 0].any()
    two = normalize(scene((0, chair * [4, 1, 1]), (0, chair * [5, 1, 1])), NTU25, "sgn")
    assert two.any((0, 2, 3)).tolist() == [True, False]  # never the last one


def test_sgn_motion_counts_valid_frames_only():
    steady, jumpy = narrow(40, 0.3, 1), narrow(40, 0.1, 2)
    jumpy[:8, :, 0] *= 4
    jumpy[:8] += 5  # much motion, but only in frames where it is too broad
    result = normalize(scene((0, jumpy), (0, steady)), NTU25, "sgn")
    np.testing.assert_array_equal(result[:, 0], steady - steady[0, 1])


@pytest.mark.parametrize(("aspect", "stays"), [(0.79, True), (0.81, False)])
def test_sgn_knows_a_person_by_the_ratio_of_width_to_height(aspect, stays):
    person, other = narrow(40, 0.1), narrow(40, 0.9, 5)
    other[..., 0] += np.linspace(-1, 1, 25) * aspect - np.linspace(-0.5, 0.5, 25)
    result = normalize(scene((0, other), (0, person)), NTU25, "sgn")
    assert result[:, 1].any() == stays


def test_sgn_slots():
    first, second, third, fourth = (narrow(15, m, i) for i, m in enumerate((0.9, 0.5, 0.3, 0.1)))
    frames = scene((0, first), (10, second), (20, third), (20, fourth))
    result = normalize(frames, NTU25, "sgn")
    origin = first[0, 1]
    np.testing.assert_array_equal(result[:15, 0], first - origin)
    np.testing.assert_array_equal(result[20:35, 0], third - origin)  # no overlap with the first
    np.testing.assert_array_equal(result[10:25, 1], second - origin)
    assert not result[25:, 1].any()  # the fourth overlaps both: discarded
    assert len(result) == 35  # frames without anyone are dropped


def test_sgn_slots_share_one_frame():
    first, second = narrow(15, 0.9), narrow(15, 0.5, 1)
    result = normalize(scene((0, first), (14, second)), NTU25, "sgn", duplicate_single=True)
    np.testing.assert_array_equal(result[:14, 0], first[:14] - first[0, 1])
    np.testing.assert_array_equal(result[14:, 0], second - first[0, 1])  # the later one stays
    assert not result[:, 1].any()  # which is no copy, as there were two bodies
    result = normalize(scene((0, first), (13, second)), NTU25, "sgn")
    np.testing.assert_array_equal(result[13:, 1], second - first[0, 1])


def test_sgn_second_slot_is_taken_from_the_first_frame_on():
    first, second, third = narrow(40, 0.9), narrow(20, 0.5, 1), narrow(15, 0.3, 2)
    result = normalize(scene((0, first), (20, second), (0, third)), NTU25, "sgn")
    assert not result[:20, 1].any()  # the third has nobody beside it there, and goes nowhere
    np.testing.assert_array_equal(result[20:, 1], second - first[0, 1])


def test_sgn_closes_the_gaps_of_a_body():
    always, sometimes = narrow(40, 0.9), narrow(40, 0.5, 1)
    frames = scene((0, always), (0, sometimes))
    frames[10:20, 1] = frames[:3, 1] = 0
    result = normalize(frames, NTU25, "sgn")
    kept = np.delete(sometimes, [*range(3), *range(10, 20)], axis=0)
    np.testing.assert_array_equal(result[3:30, 1], kept - always[0, 1])
    assert not result[:3, 1].any()
    assert not result[30:, 1].any()


def test_sgn_drops_frames_of_discarded_bodies():
    person, short = narrow(30, 0.1), narrow(10, 0.9)
    result = normalize(scene((0, person), (30, short)), NTU25, "sgn")
    np.testing.assert_array_equal(result[:, 0], moved(person, person[0, 1]))


class Body(NamedTuple):
    start: int
    own: list[np.ndarray]
    motion: float


def bodies_of(frames: np.ndarray) -> list[Body]:
    bodies = []
    for b in range(frames.shape[1]):
        seen = [t for t in range(len(frames)) if frames[t, b].any()]
        if seen:
            own = [frames[t, b] for t in seen]
            bodies.append(Body(seen[0], own, variance(own)))
    return bodies


def variance(own: list[np.ndarray]) -> float:
    points = np.concatenate(own).astype(np.float64)
    return float(((points - points.mean(0)) ** 2).mean(0).sum())


def without_noise(bodies: list[Body]) -> list[Body]:
    bodies = [body for body in bodies if len(body.own) > 11] or bodies
    for body in list(bodies):
        if len(bodies) == 1:
            break
        valid = [f for f in body.own if np.ptp(f[:, 0]) <= np.float32(0.8) * np.ptp(f[:, 1])]
        at = next(i for i, other in enumerate(bodies) if other is body)
        if (len(body.own) - len(valid)) / len(body.own) >= 0.69754:
            del bodies[at]
        else:
            bodies[at] = body._replace(motion=min(body.motion, variance(valid)))
    return bodies


def sgn_slowly(frames: np.ndarray, copies: bool) -> np.ndarray:
    """Body by body and frame by frame, as the published program goes about it."""
    frames = np.array([frame for frame in frames if frame.any()])
    bodies = bodies_of(frames)
    bodies = without_noise(bodies) if len(bodies) > 1 else bodies
    actors = np.zeros((len(frames), 2, 25, 3), np.float32)
    spans: list[range] = []
    for body in sorted(bodies, key=lambda body: body.motion, reverse=True):
        times = range(body.start, body.start + len(body.own))
        if not spans:
            slot, spans = 0, [times, range(1)]
        else:
            free = [slot for slot in (0, 1) if len(set(times) & set(spans[slot])) <= 1]
            if not free:
                continue
            slot = free[0]
        for t, own in zip(times, body.own, strict=True):
            actors[t, slot] = own
        span = spans[slot]
        spans[slot] = range(min(span[0], times[0]), max(span[-1], times[-1]) + 1)
    actors = np.array([frame for frame in actors if frame.any()])
    origin = next(frame[0, 1] for frame in actors if frame[0].any()).copy()
    for t, person in np.ndindex(len(actors), 2):
        if actors[t, person].any():
            actors[t, person] -= origin
    if copies and len(bodies) == 1:
        actors[:, 1] = actors[:, 0]
    return actors


bodies_seen = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 12), st.integers(1, 20)), min_size=1, max_size=2),
        st.sampled_from([0.1, 0.3, 0.9]),
        st.sampled_from([1.0, 1.0, 2.5]),
    ),
    min_size=1,
    max_size=4,
)


@given(bodies_seen, st.integers(0, 99), st.booleans())
@settings(max_examples=150, deadline=None)
def test_sgn_is_what_the_recipe_says(bodies, seed, copies):
    frames = np.zeros((64, len(bodies), 25, 3), np.float32)
    for slot, (visits, motion, breadth) in enumerate(bodies):
        body, at = narrow(64, motion, seed + slot), 0
        body[seed % 64 :, :, 0] *= breadth
        for wait, stay in visits:
            at += wait
            frames[at : at + stay, slot] = body[at : at + stay]
            at += stay
    result = normalize(frames, NTU25, "sgn", duplicate_single=copies)
    np.testing.assert_array_equal(result, sgn_slowly(frames, copies))
