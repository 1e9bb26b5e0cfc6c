from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pcm3.data.normalize import fill_center, is_isc, normalize, pad_null_frames
from pcm3.skeleton import KINECT20, NTU25, SBU15, UIPRMD22, Skeleton

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


def body(places: Any, size: float = 1.0) -> Any:
    """A clip (T, 1, V, 2) of a body of this size whose joints lie around a place in each frame."""
    joints = np.random.default_rng(1).uniform(-size / 2, size / 2, (1, 15, 2))
    return (np.asarray(places)[:, None, None] + joints[None]).astype(np.float32)


def test_a_center_that_is_never_seen_is_the_mean_of_the_joints() -> None:
    clip = body([(5, 7), (6, 9), (4, 3)])
    clip[:, 0, [CENTER, 3]] = 0
    clip[1] = 0  # nobody
    filled = fill_center(clip, SBU15)
    others = [joint for joint in range(15) if joint not in (CENTER, 3)]
    for frame in (0, 2):
        mean = np.mean([clip[frame, 0, joint] for joint in others], axis=0)
        np.testing.assert_allclose(filled[frame, 0, CENTER], mean, rtol=1e-6)
    np.testing.assert_array_equal(np.delete(filled, CENTER, 2), np.delete(clip, CENTER, 2))
    assert not filled[1].any()


def test_where_a_body_is_does_not_matter_without_its_center() -> None:
    clip = body([(5, 7), (6, 9)])
    clip[:, 0, CENTER] = 0
    moved = np.where(clip == 0, 0, clip + 100).astype(np.float32)
    one, other = (normalize(fill_center(each, SBU15), SBU15, "center") for each in (clip, moved))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("place", [(0, 0), (0, 0.9)])  # around the joint, and all below it
def test_centred_recordings_have_a_center(place: Any) -> None:
    clip = body([place] * 3)
    clip[:, 0, CENTER] = 0
    assert fill_center(clip, SBU15) is clip


def test_a_center_that_is_seen_once_is_left_alone() -> None:
    clip = body([(5, 7), (6, 9)])
    clip[1, 0, CENTER] = 0
    assert fill_center(clip, SBU15) is clip


def test_unknown_recipe(frames):
    with pytest.raises(ValueError, match=r"expected a normalization among .*got 'x'"):
        normalize(frames, SBU15, "x")


def test_persons_pads_and_chooses(frames):
    padded = normalize(frames, SBU15, "none", persons=4)
    np.testing.assert_array_equal(padded[:, :2], frames)
    assert padded.shape == (6, 4, 15, 3)
    assert not padded[:, 2:].any()
    bodies = np.concatenate([frames * s for s in (0.1, 1.0, 0.01)], axis=1)
    kept = normalize(bodies, SBU15, "none", persons=2)
    np.testing.assert_array_equal(kept, frames)
    centered = normalize(bodies, SBU15, "center", persons=2)
    np.testing.assert_array_equal(centered, normalize(frames, SBU15, "center"))
    with pytest.raises(ValueError, match="expected at least 1 person, got 0"):
        normalize(frames, SBU15, "none", persons=0)


@pytest.mark.parametrize("recipe", ["none", "center", "isc", "sgn"])
def test_nobody(recipe):
    for shape in ((3, 0, 15, 3), (0, 2, 15, 3), (0, 0, 15, 3)):
        result = normalize(np.zeros(shape, np.float32), SBU15, recipe, persons=2)
        assert result.shape == (shape[0], 2, 15, 3)
        assert not result.any()
    zeros = normalize(np.zeros((4, 3, 15, 3), np.float32), SBU15, recipe, persons=2)
    assert zeros.shape == (0 if recipe == "sgn" else 4, 2, 15, 3)
    assert not zeros.any()


def test_wrong_shapes(frames):
    with pytest.raises(ValueError, match=r"frames \(T, B, V=25, C\).*'ntu25'"):
        normalize(frames, NTU25, "isc")
    with pytest.raises(ValueError, match=r"'isc' rotates 3D.*C=2"):
        normalize(frames[..., :2], SBU15, "isc")


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("given", "size", "expected"),
    [
        ([0, 0, 1, 2, 3], 10, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]),
        ([0, 0, 1, 2, 3, 0, 0, 0, 0, 0], 10, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]),
        ([0, 1, 0, 2], 4, [1, 2, 1, 2]),
        ([1, 0, 2], 8, [1, 0, 2, 1, 0, 2, 1, 0]),
        ([1, 0, 2, 0, 0], 5, [1, 0, 2, 1, 0]),
        ([1, 2, 3], 3, [1, 2, 3]),
        ([1, 2, 3], 2, [1, 2]),
        ([0, 0], 3, [0, 0, 0]),
        ([0, 0, 5], 2, [0, 0]),
    ],
)
def test_pad_null_frames(given, size, expected):
    assert pad_null_frames(numbers(*given), size).ravel().tolist() == expected


def people(length: int = 20, bodies: int = 2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    still = rng.normal(0, 0.5, (1, bodies, 25, 3)) + np.array([0, 0, 3])
    return (still + rng.normal(0, 0.05, (length, bodies, 25, 3)).cumsum(0)).astype(np.float32)


def spread(person: np.ndarray) -> float:
    seen = [frame for frame in person.astype(np.float64) if frame.any()]
    values = [[[frame[v][c] for frame in seen for v in range(25)]] for c in range(3)]
    return sum(float(np.std(value)) for value in values) if seen else 0.0


def turn(vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The minimal rotation by another way: two reflections."""
    unit = vector / np.linalg.norm(vector)
    half = unit + axis
    half /= np.linalg.norm(half)
    eye = np.eye(3)
    return (2 * np.outer(half, half) - eye) @ (2 * np.outer(unit, unit) - eye)


def isc_slowly(frames: np.ndarray, keep_order: bool = False) -> np.ndarray:
    """Joint by joint, padded to 300 frames and cut again, as the recipe is told."""
    bodies = [frames[:300, b] for b in range(min(4, frames.shape[1]))]
    bodies = bodies if keep_order else sorted(bodies, key=spread)[::-1][:2]
    clip = np.zeros((300, 2, 25, 3))
    for person, body in enumerate(bodies):
        clip[: len(body), person] = body
        if not clip[:, person].any():
            continue
        if not clip[0, person].any():
            kept = [frame.copy() for frame in clip[:, person] if frame.any()]
            clip[:, person] = 0
            clip[: len(kept), person] = kept
        for t in range(300):
            if not clip[t:, person].any():
                for later in range(t, 300):
                    clip[later, person] = clip[later - t, person]
                break
    for t in range(300):
        center = clip[t, 0, 1].copy()
        for person, joint in np.ndindex(2, 25):
            if clip[t, person, joint].sum() != 0:
                clip[t, person, joint] -= center
    for start, end, axis in ((0, 1, [0, 0, 1]), (4, 8, [1, 0, 0])):
        rotation = turn(clip[0, 0, end] - clip[0, 0, start], np.array(axis, float))
        for t, person, joint in np.ndindex(300, 2, 25):
            clip[t, person, joint] = rotation @ clip[t, person, joint]
    return clip[: len(frames)]


@pytest.mark.parametrize("case", ["plain", "late", "gap", "single", "many", "joints", "long"])
def test_isc_is_what_the_recipe_says(case):
    frames = people(310 if case == "long" else 12, {"single": 1, "many": 5}.get(case, 2))
    if case == "late":
        frames[:3, 0] = frames[5, 0] = frames[:4, 1] = 0
    elif case == "gap":
        frames[5:8, 0] = frames[9:, 1] = 0
    elif case == "joints":
        frames[2, 0, 1] = frames[3, 1, 4] = frames[6, 0, 7] = 0
    elif case == "many":
        frames[:, 4] *= 9  # the fifth is not looked at
    before = frames.copy()
    result = normalize(frames, NTU25, "isc", persons=2)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_allclose(result, isc_slowly(frames), atol=2e-6)


@pytest.mark.parametrize("case", ["second moves more", "second late", "first late"])
def test_isc_in_the_order_of_the_file(case):
    frames = people(12)
    frames[:, 1] *= 3
    if case != "second moves more":
        frames[:4, int(case == "second late")] = 0
    result = normalize(frames, NTU25, "isc", keep_order=True)
    np.testing.assert_allclose(result, isc_slowly(frames, keep_order=True), atol=5e-6)
    assert np.abs(result - normalize(frames, NTU25, "isc")).max() > 0.1
    one = normalize(frames, NTU25, "isc", persons=1, keep_order=True)  # spread still chooses
    np.testing.assert_array_equal(one, normalize(frames, NTU25, "isc", persons=1))


def test_isc_without_a_first_person():
    frames = people(12)
    frames[:, 0] = 0
    np.testing.assert_array_equal(normalize(frames, NTU25, "isc", keep_order=True), frames)
    assert normalize(frames, NTU25, "isc")[0, 0].any()


def test_is_isc():
    rng = np.random.default_rng(0)
    for seed in range(20):
        raw = people(seed=seed)
        raw[3, 0] = 0
        turned = normalize(raw, NTU25, "isc")
        assert is_isc(turned, NTU25)
        assert not is_isc(raw, NTU25)
        assert not is_isc(normalize(raw, NTU25, "center"), NTU25)
        moved = turned.copy()
        moved[5, 0] += rng.normal(size=3)
        assert not is_isc(moved, NTU25)
    assert not is_isc(turned[..., :2], NTU25)
    assert not is_isc(turned[:0], NTU25)
    assert not is_isc(np.zeros_like(turned), NTU25)


def test_spread_arms_with_y_up_are_not_isc():
    pose = np.zeros((2, 1, 25, 3), np.float32)
    pose[:, 0, 0] = [0, -0.3, 0]  # below the centre joint
    pose[:, 0, 4], pose[:, 0, 8] = [-0.2, 0.4, 0], [0.2, 0.4, 0]
    assert not is_isc(pose, NTU25)
    assert is_isc(normalize(pose, NTU25, "isc"), NTU25)
    assert np.abs(normalize(pose, NTU25, "isc") - pose).max() > 0.1


def test_isc_needs_limbs():
    parts = {"wrist": (0,), "thumb": (1,), "finger": (2,)}
    hand = Skeleton("hand", ("wrist", "thumb", "index"), (-1, 0, 0), parts, (0, 1, 2), 0)
    frames = np.zeros((4, 1, 3, 3), np.float32)
    frames[:, :, 1:] = 1
    with pytest.raises(ValueError, match="left_arm"):
        normalize(frames, hand, "isc")
    assert not is_isc(frames, hand)


def test_isc_facts():
    result = normalize(people(), NTU25, "isc")
    shoulders = result[0, 0, 8] - result[0, 0, 4]
    assert shoulders[0] > 0
    np.testing.assert_allclose(shoulders[1:], 0, atol=1e-6)
    assert not result[:, 0, 1].any()
    np.testing.assert_allclose(  # rigid: distances stay
        np.linalg.norm(result[:, 0, 3] - result[:, 1, 9], axis=-1),
        min_distances(people(), result),
        atol=1e-5,
    )


def min_distances(frames: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Distance of joint 3 of the person that came first to joint 9 of the other."""
    order = (0, 1) if spread(frames[:, 0]) >= spread(frames[:, 1]) else (1, 0)
    return np.linalg.norm(frames[:, order[0], 3] - frames[:, order[1], 9], axis=-1)


def test_isc_without_a_direction():
    frames = np.zeros((3, 1, 25, 3), np.float32)
    frames[:, 0, 3] = [0.0, 1.0, 0.5]
    np.testing.assert_array_equal(normalize(frames, NTU25, "isc"), frames)
    frames[:, 0, 0] = [0, 0, 1]  # pelvis to spine mid is exactly -z
    np.testing.assert_array_equal(normalize(frames, NTU25, "isc"), frames)


@pytest.mark.parametrize("skeleton", [SBU15, KINECT20, UIPRMD22], ids=lambda s: s.name)
def test_isc_of_other_skeletons(skeleton):
    shape = (5, 1, len(skeleton), 3)
    frames = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    result = normalize(frames, skeleton, "isc")
    arms = {"sbu15": (3, 6), "kinect20": (4, 8), "uiprmd22": (6, 10)}[skeleton.name]
    shoulders = result[0, 0, arms[1]] - result[0, 0, arms[0]]
    assert shoulders[0] > 0
    np.testing.assert_allclose(shoulders[1:], 0, atol=1e-6)
    centered = (frames - frames[:, :, skeleton.center, None])[0, 0].astype(float)
    pelvis = centered[[9, 12]].mean(0) if skeleton is SBU15 else centered[0]
    first = centered @ turn(-pelvis, np.array([0.0, 0, 1])).T
    both = first @ turn(first[arms[1]] - first[arms[0]], np.array([1.0, 0, 0])).T
    np.testing.assert_allclose(result[0, 0], both, atol=1e-5)
