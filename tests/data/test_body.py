"""The body form: recordings of any layout, unit and axis look alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from pcm3.data import prepare
from pcm3.data.axes import Up, turn_up
from pcm3.data.body import BODY, body_form, trunk_and_leg
from pcm3.data.dataset import SkeletonDataset, describe_form
from pcm3.data.normalize import normalize
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import synthetic_sequences
from pcm3.skeleton import COMMON15, KINECT20, NTU25, Skeleton, find_skeleton, joint_map

SEQUENCES = [
    recording.frames
    for recording in synthetic_sequences(
        sequences=6, persons=2, classes=22, frames=(12, 20), missing=0.02, seed=3
    )
]


def write(
    path: Path, sequences: list[Any], skeleton: Skeleton = NTU25, recipe: Any = "none"
) -> Store:
    with StoreWriter(path, skeleton, class_names=(), normalization=recipe) as writer:
        for frames in sequences:
            writer.add(normalize(np.asarray(frames, np.float32), skeleton, recipe))
    return Store(path)


def body(store: Store, **options: Any) -> SkeletonDataset:
    return SkeletonDataset(store, skeleton=COMMON15, normalization=BODY, **options)


def frames_of(dataset: SkeletonDataset, item: int) -> Any:
    batch = dataset.batch([item])
    return batch.clips[0, :, : int(batch.lengths[0])].permute(1, 3, 2, 0).numpy()


def expected(frames: Any) -> Any:
    """The body form of raw upright frames of NTU25, step by step."""
    mapped = joint_map(NTU25, COMMON15).apply(np.asarray(frames, np.float32))
    names = COMMON15.joints
    total = 0.0
    for first, second in (("mid_hip", "neck"), ("hip", "knee"), ("knee", "ankle")):
        sides = [""] if first == "mid_hip" else ["left_", "right_"]
        lengths = []
        for side in sides:
            a, b = (mapped[:, :, names.index(side + name)] for name in (first, second))
            seen = a.any(-1) & b.any(-1)
            lengths += np.linalg.norm(a - b, axis=-1)[seen].tolist()
        total += float(np.median(lengths))
    return face(normalize(mapped, COMMON15, "center") / total)


def face(frames: Any) -> Any:
    """Turn frames so that the mean vector from left to right shoulder and hip has no z."""
    names, across = COMMON15.joints, np.zeros(3)
    for name in ("shoulder", "hip"):
        left, right = (frames[:, 0, names.index(f"{side}_{name}")] for side in ("left", "right"))
        seen = left.any(-1) & right.any(-1)
        across += (right - left)[seen].sum(0)
    angle = np.arctan2(across[2], across[0])
    x, y, z = np.moveaxis(frames, -1, 0)
    x, z = np.cos(angle) * x + np.sin(angle) * z, np.cos(angle) * z - np.sin(angle) * x
    return np.stack([x, y, z], axis=-1)


@pytest.mark.parametrize("recipe", ["none", "center"])
def test_is_the_mapped_centred_and_scaled_recording(tmp_path: Path, recipe: str) -> None:
    dataset = body(write(tmp_path / "store", SEQUENCES, recipe=recipe))
    assert (dataset.channels, dataset.unit, dataset.normalization) == (3, "body lengths", "body")
    for item, frames in enumerate(SEQUENCES):
        found, wanted = frames_of(dataset, item), expected(frames)
        if recipe == "center":  # where a centre is lost, that of another frame stands in for it
            centres = np.asarray(frames)[:, 0, [NTU25.center, NTU25.joints.index("spine_base")]]
            kept = centres.any(-1).all(-1)
            found, wanted = found[kept], wanted[kept]
            assert kept.any()
        np.testing.assert_allclose(found, wanted, atol=2e-5)
        assert np.array_equal(found.any(-1), wanted.any(-1))


def test_units_axes_and_places_do_not_matter(tmp_path: Path) -> None:
    plain = body(write(tmp_path / "plain", SEQUENCES))
    half_a_turn = np.float32([1, -1, -1])
    moved = [
        np.where(frames.any(-1, keepdims=True), 1000 * frames * half_a_turn + 500, 0)
        for frames in SEQUENCES
    ]
    other = body(write(tmp_path / "other", moved))
    for item in range(len(SEQUENCES)):
        np.testing.assert_allclose(frames_of(other, item), frames_of(plain, item), atol=1e-3)


@pytest.mark.parametrize("down", [False, True])
def test_bodies_that_stand_along_z(tmp_path: Path, down: bool) -> None:
    """They are turned, not mirrored, and it is said."""
    plain = body(write(tmp_path / "plain", SEQUENCES))
    signs = np.float32([1, 1, -1] if down else [1, -1, 1])
    store = write(tmp_path / "other", [frames[..., [0, 2, 1]] * signs for frames in SEQUENCES])
    assert store.up == ("-z" if down else "z")
    other = body(store)
    for item in range(len(SEQUENCES)):
        np.testing.assert_allclose(frames_of(other, item), frames_of(plain, item), atol=1e-4)
    assert other.body is not None
    assert any("stand along" in note for note in other.body.describe())


PICTURE = (
    *("head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist"),
    *("right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
LIMBS = find_skeleton(PICTURE, [-1, 0, 0, 1, 2, 3, 4, 1, 2, 7, 8, 9, 10])
"""A body whose trunk is its head alone, which is also its centre."""


@pytest.mark.parametrize("recipe", ["none", "center"])
@pytest.mark.parametrize("up", get_args(Up))
def test_which_axis_points_up(tmp_path: Path, up: Up, recipe: str) -> None:
    """Also where the origin is the only joint of the trunk."""
    turn = turn_up(np.eye(3), up)
    for skeleton in (NTU25, LIMBS):
        mapping = joint_map(NTU25, skeleton)
        mapped = [mapping.apply(frames) for frames in SEQUENCES]
        plain = body(write(tmp_path / f"{skeleton.name} y", mapped, skeleton, recipe))
        others = [frames @ turn.T.astype(np.float32) for frames in mapped]
        store = write(tmp_path / skeleton.name, others, skeleton, recipe)
        assert store.up == up
        other = body(store)
        for item in range(len(SEQUENCES)):
            np.testing.assert_allclose(frames_of(other, item), frames_of(plain, item), atol=1e-4)
        said = any(f"stand along {up}" in note for note in describe_form(other))
        assert said == (up != "y")


@pytest.mark.parametrize("recipe", ["none", "center"])
def test_an_empty_first_place_is_skipped(tmp_path: Path, recipe: str) -> None:
    single = [frames[:, :1] for frames in SEQUENCES]
    empty = [np.concatenate([0 * frames, frames], axis=1) for frames in single]
    plain = body(write(tmp_path / "plain", single), persons=2)
    other = body(write(tmp_path / "other", empty, recipe=recipe))
    for item in range(len(single)):
        np.testing.assert_allclose(frames_of(other, item), frames_of(plain, item), atol=1e-4)
    np.savez(
        tmp_path / "packed.npz",
        joints=np.concatenate(empty),
        lengths=[len(frames) for frames in empty],
        joint_names=NTU25.joints,
        parents=NTU25.parents,
    )
    report = prepare(tmp_path / "packed.npz", tmp_path / "prepared", workers=1)
    for item, frames in enumerate(single):
        found = Store(tmp_path / "prepared").stored(item)
        np.testing.assert_allclose(found, normalize(frames, NTU25, "center"), atol=1e-6)
    assert len(single) in report["notes"].values()


def test_what_is_taken_for_granted_is_said(tmp_path: Path) -> None:
    """Arms and legs that hang straight do not show where somebody faces."""
    straight = joint_map(NTU25, COMMON15).apply(SEQUENCES[0][:, :1])
    straight[..., 2] = 0.01 * np.random.default_rng(0).normal(size=straight.shape[:-1])
    unclear = body(write(tmp_path / "unclear", [straight], COMMON15))
    assert unclear.body is not None
    assert unclear.body.shown_left_handed is None
    assert "right-handed" in " ".join(describe_form(unclear))
    known = body(Store(tmp_path / "unclear", left_handed=False))
    assert describe_form(known) == []
    complete = [each.frames for each in synthetic_sequences(sequences=4, missing=0.0, seed=5)]
    isc = body(write(tmp_path / "isc", complete, recipe="isc"))
    assert "isc" in " ".join(describe_form(isc))


@pytest.mark.parametrize("channels", [2, 3])
def test_what_is_up_of_people_whose_legs_are_never_seen(tmp_path: Path, channels: int) -> None:
    """They are metres away from the camera, along the third axis."""
    legs = [*NTU25.parts["left_leg"], *NTU25.parts["right_leg"]]
    away = np.float32([0, 0, 4])
    seated = []
    for frames in SEQUENCES:
        moved = np.where(frames.any(-1, keepdims=True), frames * np.float32([1, -1, 1]) + away, 0)
        moved[:, :, legs] = 0
        seated.append(moved[..., :channels])
    assert write(tmp_path / "store", seated).up == ("-y" if channels == 2 else "y")


def test_a_turned_recording_has_the_same_distances(tmp_path: Path) -> None:
    """``isc`` turns bodies and lays the vertical along z, which frame 0 alone decides."""
    complete = [
        recording.frames for recording in synthetic_sequences(sequences=4, missing=0.0, seed=5)
    ]
    plain, turned = (
        body(write(tmp_path / recipe, complete, recipe=recipe)) for recipe in ("none", "isc")
    )
    for item in range(len(complete)):
        one, two = (frames_of(each, item)[:, :1] for each in (plain, turned))
        for joint in range(15):
            distances = [np.linalg.norm(each - each[:, :, [joint]], axis=-1) for each in (one, two)]
            np.testing.assert_allclose(*distances, atol=1e-4)
        assert two[0, 0, COMMON15.joints.index("head"), 1] > 0.3  # upright


def test_windows_are_parts_of_the_whole(tmp_path: Path) -> None:
    store = write(tmp_path / "store", SEQUENCES)
    whole, windows = body(store), body(store).windows(5)
    assert len(windows) > len(whole)
    for item, (parent, offset) in enumerate(zip(windows.parents, windows.offsets, strict=True)):
        part = frames_of(whole, int(parent))[offset : offset + 5]
        np.testing.assert_allclose(frames_of(windows, item), face(part), atol=1e-5)


def test_left_handed_axes_are_turned_round(tmp_path: Path) -> None:
    plain = body(write(tmp_path / "plain", SEQUENCES))
    mirrored = body(
        write(tmp_path / "other", [frames * np.float32([1, 1, -1]) for frames in SEQUENCES])
    )
    for item in range(len(SEQUENCES)):
        np.testing.assert_allclose(frames_of(mirrored, item), frames_of(plain, item), atol=1e-4)
    assert len(describe_form(mirrored)) == len(describe_form(plain)) + 1


def test_the_camera_does_not_matter(tmp_path: Path) -> None:
    angle = 2.0
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    plain = body(write(tmp_path / "plain", SEQUENCES))
    other = body(write(tmp_path / "other", [frames @ turn.T for frames in SEQUENCES]))
    for item in range(len(SEQUENCES)):
        np.testing.assert_allclose(frames_of(other, item), frames_of(plain, item), atol=1e-4)


def test_2d_recordings_get_a_flat_third_coordinate(tmp_path: Path) -> None:
    mapped = joint_map(NTU25, COMMON15)
    flat = [mapped.apply(frames)[..., :2] * np.float32([100, -100]) for frames in SEQUENCES]
    dataset = body(write(tmp_path / "store", flat, COMMON15))
    found = frames_of(dataset, 0)
    assert found.shape[-1] == 3
    assert not found[..., 2].any()
    assert found[0, 0, COMMON15.joints.index("head"), 1] > 0  # y pointed down
    assert describe_form(dataset) == []  # nothing was mapped


def test_the_upper_body_alone_has_a_centre(tmp_path: Path) -> None:
    frames = np.where(SEQUENCES[0].any(-1, keepdims=True), SEQUENCES[0] + 5.0, 0.0)
    legs = [joint for part in ("left_leg", "right_leg") for joint in NTU25.parts[part]]
    frames[:, :, [NTU25.joints.index("spine_base"), *legs]] = 0
    found = frames_of(body(write(tmp_path / "store", [frames])), 0)
    seen = found[:, 0].any(-1)
    assert 4 < seen.sum(-1).mean() < 9
    assert np.abs(found[:, 0][seen].mean(0)).max() < 0.3
    assert np.abs(found).max() < 2


def test_the_joints_are_described(tmp_path: Path) -> None:
    [note] = describe_form(body(write(tmp_path / "store", SEQUENCES)))
    for word in ("ntu25", "common15"):
        assert word in note


def test_a_layout_without_the_joints_is_refused(tmp_path: Path) -> None:
    hand = find_skeleton([f"finger{k}" for k in range(5)], [-1, 0, 1, 2, 3])
    frames = np.random.default_rng(0).random((4, 1, 5, 3), np.float32)
    store = write(tmp_path / "hand", [frames], hand)
    with pytest.raises(ValueError, match="finger0"):
        body(store)


@pytest.mark.parametrize(
    ("hidden", "length"),
    [((), 1.5), (("left_knee", "right_knee"), 0.5 / 0.37), (("neck", "mid_hip"), 1.6), (None, 1.0)],
)
def test_length_of_a_body(hidden: tuple[str, ...] | None, length: float) -> None:
    frames = np.zeros((3, 1, 15, 3), np.float32)
    at = {name: joint for joint, name in enumerate(COMMON15.joints)}
    for name, height in (("mid_hip", 2.0), ("neck", 2.5), ("head", 2.6)):
        frames[..., at[name], 1] = height
    for side in ("left", "right"):
        for name, height in (("hip", 2.0), ("knee", 1.5), ("ankle", 1.0)):
            frames[..., at[f"{side}_{name}"], 1] = height
    if hidden is None:
        frames[:] = 0
    else:
        frames[..., [at[name] for name in hidden], :] = 0
    assert trunk_and_leg(frames, COMMON15) == pytest.approx(length, rel=1e-5)


def test_layouts_of_one_body_look_alike(tmp_path: Path) -> None:
    """The same person in two layouts, where the common joints are exact or nearly so."""
    kinect = [joint_map(NTU25, KINECT20).apply(frames) for frames in SEQUENCES]
    one = body(write(tmp_path / "ntu", SEQUENCES))
    two = body(write(tmp_path / "kinect", kinect, KINECT20))
    for item in range(len(SEQUENCES)):
        both = [frames_of(each, item) for each in (one, two)]
        seen = np.logical_and(*(each.any(-1) for each in both))
        assert np.abs(both[0] - both[1])[seen].mean() < 0.1


@pytest.mark.parametrize("shape", [(5, 25, 3), (5, 1, 24, 3), (5, 1, 25, 4), (3, 5, 25, 1)])
def test_one_recording_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        body_form(np.ones(shape, np.float32), joint_map(NTU25, COMMON15), COMMON15, "y")
