"""Unscripted motion: bodies, programmes, cameras and sensors, and the data set of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.normalize import normalize
from pcm3.data.synthetic.motion import SyntheticMotion
from pcm3.data.synthetic.motion.body import BODY, MOST_ELBOW, MOST_KNEE, draw_bodies, pose
from pcm3.data.synthetic.motion.channels import CHANNELS
from pcm3.data.synthetic.motion.draws import Draws
from pcm3.data.synthetic.motion.kinematics import (
    frame_along,
    product,
    rotation,
    turned,
    two_links,
)
from pcm3.data.synthetic.motion.programme import Programme, draw_programmes, min_jerk
from pcm3.data.synthetic.motion.sensor import draw_cameras, sense
from pcm3.data.synthetic.puppet import rotations
from pcm3.skeleton import COMMON15, NTU25, SKELETONS, Skeleton, joint_map

PEOPLE = 192
TIME = np.full((PEOPLE, 1), 1 / 30, np.float32) * np.arange(100, dtype=np.float32)
TAIL = Skeleton.from_parents((*COMMON15.joints, "tail"), (*COMMON15.parents, 0))
J = {name: place for place, name in enumerate(BODY.joints)}


@pytest.fixture(scope="module")
def scene() -> dict[str, Any]:
    draws = Draws(7, range(PEOPLE))
    bodies = draw_bodies(draws)
    programme = draw_programmes(draws, TIME)
    return {"bodies": bodies, "programme": programme, "joints": pose(bodies, programme)}


def at_rest(count: int = 4) -> Programme:
    names = (*CHANNELS, "jump", "heading", "fall", "fall_aside", "east", "south")
    values = {name: np.zeros((count, 1), np.float32) for name in names}
    for side in ("left", "right"):
        values[f"{side}_hand_up"] -= 0.98
    return Programme(values)


def bend(joints: np.ndarray, *limb: str) -> np.ndarray:
    """Angle by which the middle one of three joints is bent; 0 is straight."""
    first, middle, last = (joints[J[name]].astype(np.float64) for name in limb)
    one, other = middle - first, last - middle
    cosine = (one * other).sum(0) / np.linalg.norm(one, axis=0) / np.linalg.norm(other, axis=0)
    return np.arccos(np.clip(cosine, -1, 1))


# --- bodies


def test_bones_keep_their_length(scene: dict[str, Any]) -> None:
    moves = {J["left_shoulder"], J["right_shoulder"]}  # people shrug
    for joint, parent in enumerate(BODY.parents):
        if parent < 0 or joint in moves:
            continue
        lengths = np.linalg.norm(scene["joints"][joint] - scene["joints"][parent], axis=0)
        np.testing.assert_allclose(lengths, lengths[:, :1] + 0 * lengths, atol=2e-5)
        expected = np.linalg.norm(scene["bodies"].offsets[BODY.joints[joint]], axis=0)
        np.testing.assert_allclose(lengths[:, :1], expected, atol=2e-5)
    assert np.std(lengths) > 0


def test_people_differ_in_height_and_build() -> None:
    bodies = draw_bodies(Draws(0, range(400)))
    heights = np.ptp(pose(bodies, at_rest(400))[:, 1, :, 0], axis=0)
    assert 0.8 < heights.min() < 1.2  # children
    assert 1.85 < heights.max() < 2.3
    assert 1.6 < np.median(heights) < 1.85
    assert np.std(bodies.leg[:, 0] / heights) > 0.01
    left, right = bodies.length("left_elbow"), bodies.length("right_elbow")
    assert (left != right).all()
    np.testing.assert_allclose(left / right, 1, atol=0.06)


def test_who_rests_stands_upright_and_faces_the_camera() -> None:
    joints = pose(draw_bodies(Draws(0, range(4))), at_rest())[..., 0]
    assert (joints[J["nose"], 2] < joints[J["head"], 2]).all()
    assert (joints[J["left_toe"], 2] < joints[J["left_heel"], 2]).all()
    assert (np.abs(joints[J["left_ankle"], 1] - 0.07) < 0.02).all()
    for name, place in J.items():
        if name.startswith("right_") and "big_toe" not in name:
            assert (joints[place, 0] > joints[J[name.replace("right", "left")], 0]).all()
    order = ["left_ankle", "left_knee", "left_hip", "spine1", "spine3", "neck", "head", "head_top"]
    assert (np.diff([joints[J[name], 1] for name in order], axis=0) > 0).all()
    assert (joints[J["left_wrist"], 1] < joints[J["left_elbow"], 1]).all()


@pytest.mark.parametrize("axis", ["out", "up", "ahead"])
def test_hands_go_where_they_are_told(axis: str) -> None:
    programme = at_rest()
    for side in ("left", "right"):
        programme[f"{side}_hand_up"][:] = 0
        programme[f"{side}_hand_{axis}"][:] = 0.8
    joints = pose(draw_bodies(Draws(0, range(4))), programme)[..., 0]
    for side, sign in (("left", -1), ("right", 1)):
        way = joints[J[f"{side}_wrist"]] - joints[J[f"{side}_shoulder"]]
        way /= np.linalg.norm(way, axis=0)
        wanted = {"out": (sign, 0, 0), "up": (0, 1, 0), "ahead": (0, 0, -1)}[axis]
        assert (wanted @ way > 0.99).all()


def test_joints_stay_within_human_limits(scene: dict[str, Any]) -> None:
    joints, programme = scene["joints"], scene["programme"]
    for side in ("left", "right"):
        elbow = bend(joints, *(f"{side}_{name}" for name in ("shoulder", "elbow", "wrist")))
        knee = bend(joints, *(f"{side}_{name}" for name in ("hip", "knee", "ankle")))
        assert elbow.max() < MOST_ELBOW + 0.01
        assert knee.max() < MOST_KNEE + 0.01
        assert elbow.max() > 2
        assert knee.max() > 1.5
    for name, channel in CHANNELS.items():
        values = programme[name]
        assert values.min() >= np.float32(channel.low), name
        assert values.max() <= np.float32(channel.high), name


def test_knees_bend_forward(scene: dict[str, Any]) -> None:
    joints, programme = scene["joints"], scene["programme"]
    upright = (programme["fall"] == 0) & (programme["fall_aside"] == 0)
    heading = programme["heading"] + programme["yaw"]
    ahead = np.stack([-np.sin(heading), 0 * heading, -np.cos(heading)])
    for side in ("left", "right"):
        hip, knee, ankle = (joints[J[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
        bent = upright & (bend(joints, f"{side}_hip", f"{side}_knee", f"{side}_ankle") > 0.5)
        middle = knee - (hip + ankle) / 2
        forward = (middle * ahead).sum(0)[bent]
        up = middle[1][bent]
        assert (np.maximum(forward, up) > 0).mean() > 0.99
    assert bent.any()


def test_nobody_sinks_into_the_floor_or_floats(scene: dict[str, Any]) -> None:
    joints, programme = scene["joints"], scene["programme"]
    body = [place for name, place in J.items() if not name.endswith(("index", "pinky", "thumb"))]
    hands = ("hand", "hand_tip")
    held = [place for place in body if not BODY.joints[place].endswith(hands)]
    assert joints[held, 1].min() > -1e-4
    stands = (programme["jump"] == 0) & (programme["fall"] == 0)
    feet = [place for name, place in J.items() if name.endswith(("heel", "toe", "foot"))]
    lowest = joints[feet, 1].min(axis=0)
    assert np.quantile(lowest[stands], 0.95) < 0.05
    assert joints[held, 1].min(axis=0)[programme["jump"] > 0.1].min() > 0.09
    lies = np.abs(programme["fall"]) > 1.4
    assert joints[J["pelvis"], 1][lies].max() < 0.6


def test_unwanted_details_change_nothing_else(scene: dict[str, Any]) -> None:
    few = pose(scene["bodies"], scene["programme"], ["left_wrist", "pelvis"])
    for name in ("left_wrist", "right_ankle", "head", "right_toe"):
        np.testing.assert_array_equal(few[J[name]], scene["joints"][J[name]])
    assert (few[J["left_thumb"]] != scene["joints"][J["left_thumb"]]).any()


# --- programmes


def test_min_jerk_begins_and_ends_at_rest() -> None:
    time = np.linspace(-0.5, 1.5, 2001)
    place = min_jerk(time)
    assert place[0] == 0
    assert place[-1] == 1
    speed = np.gradient(place, time)
    assert speed.min() > -1e-9
    np.testing.assert_allclose(speed.max(), 1.875, atol=1e-3)  # Flash and Hogan, 1985
    force = np.gradient(speed, time)
    assert np.abs(force[np.abs(time) < 0.002]).max() < 0.3
    assert np.abs(force).max() == pytest.approx(5.77, abs=0.05)


def test_people_move_in_many_ways(scene: dict[str, Any]) -> None:
    programme = scene["programme"]
    moving = {name: np.ptp(programme[name], axis=1) > 0.05 for name in CHANNELS}
    for name in CHANNELS:
        if "shrug" not in name:
            assert moving[name].mean() > 0.03, name
    hands = np.stack([moving["left_hand_up"], moving["right_hand_up"]])
    assert 0.3 < hands.all(0).mean() < 0.95
    assert (hands.sum(0) == 1).mean() > 0.05
    assert 0.03 < (programme["jump"] > 0.05).any(1).mean() < 0.4
    assert 0.02 < (np.abs(programme["fall"]) > 1).any(1).mean() < 0.2
    assert (np.hypot(programme["east"], programme["south"]).max(1) > 0.5).mean() > 0.05
    assert np.abs(np.diff(scene["joints"], axis=3)).max() < 0.62  # nobody jumps from place to place


def test_walking_feet_stay_where_they_stand() -> None:
    draws = Draws(1, range(600))
    time = np.full((600, 1), 1 / 60, np.float32) * np.arange(120, dtype=np.float32)
    programme = draw_programmes(draws, time)
    joints = pose(draw_bodies(draws), programme)
    path = np.hypot(*(np.diff(programme[axis], axis=1) for axis in ("east", "south"))).sum(1)
    walks = (
        (path > 1) & (np.ptp(programme["heading"], axis=1) == 0) & (programme["jump"].max(1) == 0)
    )
    assert walks.sum() > 10
    speeds = []
    for side in ("left", "right"):
        ankle = joints[J[f"{side}_ankle"]]
        step = np.linalg.norm(np.diff(ankle[::2], axis=2), axis=0) * 60
        stands = (ankle[1, :, :-1] < 0.0701) & (ankle[1, :, 1:] < 0.0701)
        speeds.append(step[stands & walks[:, None]])
    hips = np.linalg.norm(np.diff(joints[J["pelvis"], ::2], axis=2), axis=0)[walks] * 60
    assert np.median(np.concatenate(speeds)) < 0.5 * np.median(hips)


# --- kinematics


def test_rotations_are_those_of_the_puppets() -> None:
    pitch, yaw, roll = np.random.default_rng(0).uniform(-3, 3, (3, 50))
    matrix = rotation(pitch, yaw, roll)
    wanted = rotations(np.stack([pitch, roll, yaw], axis=-1))
    np.testing.assert_allclose(np.moveaxis(matrix, -1, 0), wanted, atol=1e-6)
    vector = np.random.default_rng(1).normal(size=(3, 50))
    np.testing.assert_allclose(
        turned(matrix, vector), np.einsum("nij,jn->in", wanted, vector), atol=1e-5
    )
    both = product(matrix, matrix[..., ::-1])
    np.testing.assert_allclose(np.moveaxis(both, -1, 0), wanted @ wanted[::-1], atol=1e-5)


def test_a_frame_lies_along_its_bone() -> None:
    bone, pole = np.random.default_rng(2).normal(size=(2, 3, 50))
    frame = np.moveaxis(frame_along(bone, pole), -1, 0).astype(np.float64)
    np.testing.assert_allclose(frame @ np.swapaxes(frame, 1, 2), np.eye(3) + 0 * frame, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(frame), 1, atol=1e-5)
    np.testing.assert_allclose(-frame[..., 1].T, bone / np.linalg.norm(bone, axis=0), atol=1e-5)
    assert (np.einsum("ni,in->n", frame[..., 2], pole) > 0).all()


def test_two_links_reach_their_target() -> None:
    rng = np.random.default_rng(3)
    target, pole = rng.normal(0, 0.3, (3, 500)), rng.normal(size=(3, 500))
    upper, lower = np.full(500, 0.3), np.full(500, 0.25)
    joint, end = two_links(target, upper, lower, pole, 2.5)
    np.testing.assert_allclose(np.linalg.norm(joint, axis=0), 0.3, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(end - joint, axis=0), 0.25, atol=1e-5)
    distance = np.linalg.norm(target, axis=0)
    nearest = np.sqrt(0.3**2 + 0.25**2 + 2 * 0.3 * 0.25 * np.cos(2.5))
    within = (distance < 0.5494) & (distance > nearest)
    assert within.any()
    assert not within.all()
    np.testing.assert_allclose(end[:, within], target[:, within], atol=1e-5)
    np.testing.assert_allclose(np.cross(end.T, target.T), 0, atol=1e-5)
    assert ((joint * pole).sum(0) >= (end * pole).sum(0) * (joint * end).sum(0)
            / (end * end).sum(0) - 1e-6).all()  # fmt: skip


# --- sensors


def test_cameras_keep_distances_and_the_handedness() -> None:
    scene = np.random.default_rng(0).normal(size=(5, 3, 60, 2)).astype(np.float32)
    turned_round = np.arange(60) % 2 == 0
    seen = draw_cameras(Draws(0, range(60)), turned_round).see(scene)
    steps = np.diff(np.moveaxis(scene, (0, 1), (2, 3)), axis=2)
    found = np.diff(seen, axis=2)
    np.testing.assert_allclose(
        np.linalg.det(found[:, :, :3].astype(float)), np.linalg.det(steps[:, :, :3]), rtol=1e-3
    )
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=-1), np.linalg.norm(steps, axis=-1), atol=1e-4
    )
    same = (found[..., 2] * steps[..., 2]).sum((1, 2)) > 0  # which way z points
    assert (same != turned_round).all()


def test_a_sensor_errs_more_with_distance() -> None:
    draws = Draws(0, range(256))
    seen = np.zeros((256, 30, 4, 3), np.float32)
    seen[..., 2] = np.where(np.arange(256) % 2, 4.5, 1.5)[:, None, None]
    lengths = np.full(256, 30)
    given = sense(draws, seen, lengths, np.arange(4), np.zeros(4, bool))
    error = np.abs(given - seen)
    present = given.any(-1, keepdims=True) & np.ones_like(given, bool)
    near, far = (
        np.median(error[(np.arange(256) % 2 == which)][present[np.arange(256) % 2 == which]])
        for which in (0, 1)
    )
    assert 4 < far / near < 16
    assert 0.0002 < near < 0.003
    assert 0.001 < 1 - given.any(-1).mean() < 0.05  # lost joints
    assert np.isfinite(given).all()


def test_a_sensor_confuses_sides_in_some_sequences() -> None:
    draws = Draws(0, range(400))
    seen = np.zeros((400, 60, 2, 3), np.float32)
    seen[:, :, 1, 0], seen[..., 2] = 5.0, 1.0
    given = sense(draws, seen, np.full(400, 60), np.array([1, 0]), np.zeros(2, bool))
    swapped = (given[:, :, 0, 0] > 2.5).any(1)
    assert 0.005 < swapped.mean() < 0.1


# --- the data set


def test_sequences_depend_on_seed_and_number_alone() -> None:
    data = SyntheticMotion(40, seed=3)
    whole = data.batch(range(40))
    for number in range(40):
        again = SyntheticMotion(40, seed=3).batch([number])
        length = int(again.lengths[0])
        assert whole.lengths[number] == length
        clip = whole.clips[number]
        torch.testing.assert_close(clip[:, :length], again.clips[0], atol=1e-5, rtol=0)
        assert not clip[:, length:].any()
    batch = data.batch([5, 17, 33])
    assert torch.equal(data.batch([5, 17, 33]).clips, batch.clips)
    assert not torch.equal(SyntheticMotion(40, seed=4).batch([5, 17, 33]).clips, batch.clips)


def test_pairs_show_the_same_movement() -> None:
    """Angles of elbows and knees are those of the movement; camera and body do not matter."""
    data = SyntheticMotion(60, frames=(40, 40), normalization="none", pairs=True)
    batch = data.batch(range(60))
    assert batch.indices.tolist() == [*range(60), *range(60)]
    ones, others = batch.clips.chunk(2)
    alone = SyntheticMotion(60, frames=(40, 40), normalization="none")
    assert torch.equal(ones, alone.batch(range(60)).clips)

    def bends(clips: torch.Tensor) -> np.ndarray:
        joints = clips[..., 0].movedim(3, 0).numpy()
        angles = []
        for names in ("shoulder elbow wrist", "hip knee ankle"):
            for side in ("left", "right"):
                limb = [COMMON15.joints.index(f"{side}_{name}") for name in names.split()]
                one, other = joints[limb[1]] - joints[limb[0]], joints[limb[2]] - joints[limb[1]]
                cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1)
                angles.append(cosine / np.linalg.norm(other, axis=1))
        return np.nan_to_num(np.array(angles)).std(2)  # how much each joint moves (4, N)

    first, other = bends(ones), bends(others)
    assert not torch.equal(ones, others)
    same = np.abs(first - other).mean()
    assert same < 0.5 * np.abs(first - np.roll(other, 1, axis=1)).mean()


def test_no_sequence_comes_twice() -> None:
    data = SyntheticMotion(30, frames=(20, 20))
    epochs = [data.batch(data.in_epoch(range(30), epoch)).clips for epoch in range(3)]
    clips = torch.cat(epochs).flatten(1)
    assert torch.equal(epochs[0], data.batch(range(30)).clips)
    assert len(torch.unique(clips, dim=0)) == 90
    assert torch.cdist(clips, clips).fill_diagonal_(1).min() > 0.1


# joints of human36m32 lie on one another, and some are recorded nowhere
LAYOUTS = [skeleton for name, skeleton in SKELETONS.items() if name != "human36m32"]


def test_a_layout_that_a_body_lacks_joints_of() -> None:
    with pytest.raises(ValueError, match="toe_end"):
        SyntheticMotion(8, "human36m32")


@pytest.mark.parametrize("skeleton", LAYOUTS, ids=lambda s: s.name)
def test_every_layout_is_made_of_one_body(skeleton: Any) -> None:
    data = SyntheticMotion(8, skeleton, normalization="none")
    batch = data.batch(range(8))
    assert batch.clips.shape[3] == len(skeleton)
    there = batch.clips.abs().sum(1)[:, 0, :, 0] > 0
    assert there.float().mean() > 0.9
    joints = pose(draw_bodies(Draws(0, range(8))), at_rest(8))[..., 0]
    mapped = joint_map(BODY, skeleton).weights @ joints.reshape(len(BODY), -1)
    assert len(np.unique(mapped.round(4), axis=0)) == len(skeleton)  # no two in one place


def test_lengths_and_labels() -> None:
    data = SyntheticMotion(500, frames=(12, 34))
    assert data.lengths.min() == 12
    assert data.lengths.max() == 34
    batch = data.batch([-1, 499, 500 + 499])
    assert batch.lengths.tolist() == [data.lengths[499]] * 3
    assert torch.equal(batch.clips[0], batch.clips[1])
    assert not torch.equal(batch.clips[1], batch.clips[2])
    assert batch.labels.tolist() == [-1] * 3
    assert (data.labels == -1).all()


def test_normalized_like_a_store() -> None:
    raw = SyntheticMotion(6, normalization="none").batch(range(6))
    for recipe in ("center", "isc"):
        batch = SyntheticMotion(6, normalization=recipe).batch(range(6))
        for number in range(6):
            length = int(raw.lengths[number])
            frames = raw.clips[number, :, :length].permute(1, 3, 2, 0).numpy()
            wanted = normalize(frames, COMMON15, recipe)
            found = batch.clips[number, :, :length].permute(1, 3, 2, 0).numpy()
            np.testing.assert_array_equal(found, wanted)


def test_a_second_person_faces_the_first() -> None:
    alone = (
        SyntheticMotion(200, NTU25, frames=(60, 60), normalization="none").batch(range(200)).clips
    )
    data = SyntheticMotion(200, NTU25, 2, (60, 60), normalization="none")
    clips = data.batch(range(200)).clips
    assert torch.equal(clips[..., 0], alone[..., 0])
    there = clips[..., 1].flatten(1).any(1)
    assert 0.1 < there.float().mean() < 0.35

    def right(person: int) -> torch.Tensor:
        joints = clips[there, :, 0, :, person]
        one, other = (NTU25.joints.index(f"{side}_shoulder") for side in ("left", "right"))
        return torch.nn.functional.normalize(joints[:, :, other] - joints[:, :, one], dim=1)

    opposite = (right(0) * right(1)).sum(1)
    assert (opposite < 0).float().mean() > 0.8
    heads = clips[there][:, :, 0, NTU25.joints.index("head")]
    gap = torch.linalg.vector_norm(heads[..., 0] - heads[..., 1], dim=1)
    assert 0.4 < gap.quantile(0.1) < gap.quantile(0.9) < 2.5  # at arm's length
    # each of the two is as right-handed as the other: turned round, not mirrored
    names = ("spine_base", "spine_shoulder", "left_shoulder", "right_shoulder", "left_foot")
    base, neck, left, other, foot = (
        clips[there][:, :, 0, NTU25.joints.index(name)] for name in names
    )
    ahead = torch.linalg.cross(neck - base, other - left, dim=1)
    ankle = clips[there][:, :, 0, NTU25.joints.index("left_ankle")]
    forward = (ahead * (foot - ankle)).sum(1) > 0
    assert (forward.float().mean(0) > 0.85).all()
    moves = clips[there].diff(dim=2).abs().sum((1, 2, 3))
    assert torch.corrcoef(moves.T)[0, 1].abs() < 0.5  # each moves on its own


def test_a_store_of_motion_is_read_as_generated(tmp_path: Path) -> None:
    data = SyntheticMotion(140, seed=2)  # more than are written at once
    store = data.save(tmp_path / "store")
    read = SkeletonDataset(store)
    assert read.lengths.tolist() == data.lengths.tolist()
    assert read.skeleton == data.skeleton
    assert store.meta["normalization"] == "center"
    assert store.meta["fps"] == 30
    one, other = data.batch([3, 139]), read.batch([3, 139])
    torch.testing.assert_close(one.clips, other.clips, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequences": 0}, "sequences"),
        ({"persons": 3}, "1 or 2 persons"),
        ({"frames": (30, 20)}, "frames"),
        ({"frames": (0, 20)}, "frames"),
        ({"seed": -1}, "seed"),
        ({"normalization": "sgn"}, "sgn"),
        ({"skeleton": TAIL}, "lacks"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticMotion(**({"sequences": 4} | arguments))
