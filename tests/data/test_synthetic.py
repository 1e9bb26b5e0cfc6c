from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pcm3.data import generate, split
from pcm3.data.synthetic.actions import ACTIONS, AXES, INTERACTIONS, ROLES, Term
from pcm3.data.synthetic.puppet import make_puppet, pose, rotations
from pcm3.data.synthetic.synthetic import synthetic_sequences
from pcm3.skeleton import COCO17, KINECT20, NTU25, SBU15, SKELETONS, Skeleton

CLEAN = {"noise": 0.0, "missing": 0.0}


def test_same_seed_same_recordings():
    first, again, other = (list(synthetic_sequences(sequences=6, seed=seed)) for seed in (3, 3, 4))
    for a, b in zip(first, again, strict=True):
        assert a.frames.tobytes() == b.frames.tobytes()
        assert a.columns == b.columns
    assert any(a.frames.tobytes() != b.frames.tobytes() for a, b in zip(first, other, strict=True))


def test_columns_are_spread_evenly():
    recordings = list(synthetic_sequences(sequences=96, classes=12, subjects=8, views=3))
    assert np.bincount([r.label for r in recordings]).tolist() == [8] * 12
    assert np.bincount([r.columns["subjects"] for r in recordings])[1:].tolist() == [12] * 8
    assert np.bincount([r.columns["views"] for r in recordings])[1:].tolist() == [32] * 3
    folds = {r.columns["subjects"]: r.columns["fold"] for r in recordings}
    assert set(folds.values()) == {1, 2, 3, 4, 5}
    assert all(40 <= len(r.frames) <= 120 for r in recordings)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_bones_are_as_long_as_their_subject_has_them(skeleton):
    lengths: dict[int, np.ndarray] = {}
    bones = [(j, p) for j, p in enumerate(skeleton.parents) if p >= 0]
    joints, parents = np.array(bones).T
    for recording in synthetic_sequences(sequences=16, subjects=4, skeleton=skeleton, **CLEAN):
        frames = recording.frames[:, 0]
        found = np.linalg.norm(frames[:, joints] - frames[:, parents], axis=-1)
        expected = lengths.setdefault(recording.columns["subjects"], found[0])
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)
    assert len(lengths) == 4
    assert np.std([bones.sum() for bones in lengths.values()]) > 0.05
    assert min(bones.min() for bones in lengths.values()) > 0.01


@pytest.mark.parametrize("skeleton", [NTU25, KINECT20, SBU15], ids=lambda s: s.name)
def test_stands_upright_facing_the_camera(skeleton):
    puppet = make_puppet(skeleton)
    angles = np.zeros((1, len(ROLES), len(AXES)))
    joints = pose(puppet, puppet.offsets, angles)[0]
    named = {
        name.replace("_", ""): point for name, point in zip(skeleton.joints, joints, strict=True)
    }
    head = named["head"]
    feet = [point for name, point in named.items() if "foot" in name]
    assert all(1.3 < head[1] - foot[1] < 2.0 for foot in feet)
    assert abs(joints[:, 1].min()) < 1e-12
    mirrored = joints[list(skeleton.mirror)] * (-1, 1, 1)
    np.testing.assert_allclose(mirrored, joints, atol=1e-12)
    for name, x in zip(skeleton.joints, joints[:, 0], strict=True):
        if "right" in name:
            assert x > 0  # the x axis points to the right of who faces the camera


def test_kicks_mirror_each_other():
    """A left kick is the mirror image of a right kick, joint by joint."""
    puppet = make_puppet(NTU25)
    rng = np.random.default_rng(0)
    angles = np.zeros((5, len(ROLES), len(AXES)))
    swapped = angles.copy()
    for side, other in (("right", "left"), ("left", "right")):
        for joint in ("shoulder", "elbow", "hip", "knee"):
            turn = rng.normal(size=(5, 3))
            angles[:, ROLES.index(f"{side}_{joint}")] = turn
            swapped[:, ROLES.index(f"{other}_{joint}")] = turn * (1, -1, -1)
    one, two = (pose(puppet, puppet.offsets, each) for each in (angles, swapped))
    np.testing.assert_allclose(one[:, list(NTU25.mirror)] * (-1, 1, 1), two, atol=1e-12)


@pytest.mark.parametrize("axis", AXES)
def test_two_sided_terms_are_symmetric(axis):
    puppet = make_puppet(NTU25)
    angles = np.zeros((1, len(ROLES), len(AXES)))
    for role, sign in Term("shoulder", axis, 0.0).moved:
        angles[:, role, AXES.index(axis)] = sign * 0.7
    joints = pose(puppet, puppet.offsets, angles)
    np.testing.assert_allclose(joints[:, list(NTU25.mirror)] * (-1, 1, 1), joints, atol=1e-12)
    assert np.abs(joints - pose(puppet, puppet.offsets, angles * 0)).max() > 0.1 or axis == "twist"


def test_fingers_are_apart():
    names = [f"{side}_finger{i}" for side in ("left", "right") for i in (1, 2)]
    hands = [KINECT20.joints.index(f"hand_{side}") for side in ("left", "right")]
    skeleton = Skeleton.from_parents(
        (*KINECT20.joints, *names), (*KINECT20.parents, *np.repeat(hands, 2))
    )
    puppet = make_puppet(skeleton)
    joints = pose(puppet, puppet.offsets, np.zeros((1, len(ROLES), len(AXES))))[0]
    apart = np.linalg.norm(joints[:, None] - joints, axis=-1) + np.eye(len(joints))
    assert apart.min() > 0.02


def test_rotations_are_rotations():
    matrices = rotations(np.random.default_rng(0).normal(size=(4, 3)))
    np.testing.assert_allclose(
        matrices @ matrices.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    forward = rotations(np.array([np.pi / 2, 0, 0])) @ (0, -1, 0)  # a hanging arm, flexed
    np.testing.assert_allclose(forward, (0, 0, -1), atol=1e-12)
    aside = rotations(np.array([0, np.pi / 2, 0])) @ (0, -1, 0)  # the right arm, abducted
    np.testing.assert_allclose(aside, (1, 0, 0), atol=1e-12)


def test_actions_move_what_they_should():
    recordings = synthetic_sequences(sequences=48, classes=12, **CLEAN)
    moved: dict[str, list[np.ndarray]] = {}
    for recording in recordings:
        frames = recording.frames[:, 0] - recording.frames[:, :1, NTU25.center]
        moved.setdefault(recordings.class_names[recording.label], []).append(frames.std(0).sum(-1))
    travel = {name: np.mean(stds, axis=0) for name, stds in moved.items()}
    right_hand, left_hand, left_foot, right_foot = (
        NTU25.joints.index(name) for name in ("right_hand", "left_hand", "left_foot", "right_foot")
    )
    assert travel["wave"][right_hand] > 2 * travel["wave"][left_hand]
    assert travel["kick right"][right_foot] > 2 * travel["kick right"][left_foot]
    assert travel["kick left"][left_foot] > 2 * travel["kick left"][right_foot]
    assert travel["raise both arms"][left_hand] > 3 * travel["raise both arms"][left_foot]


def test_interactions_have_two_persons():
    recordings = synthetic_sequences(sequences=24, classes=12, persons=2, **CLEAN)
    assert recordings.class_names[8:] == tuple(INTERACTIONS)[:4]
    for recording in recordings:
        assert recording.frames.shape[1] == 2
        both = recording.frames[:, 1].any(-1).all()
        assert both == (recording.label >= 8)
        assert recording.frames[:, 0].any(-1).all()
        if not both:
            assert not recording.frames[:, 1].any()


def test_sensor():
    lost = [(r.frames == 0).all(-1).mean() for r in synthetic_sequences(missing=0.1, sequences=100)]
    assert 0.05 < np.mean(lost) < 0.15
    noisy, clean = (
        list(synthetic_sequences(sequences=5, noise=noise, missing=0)) for noise in (0.02, 0.0)
    )
    difference = np.concatenate(
        [(a.frames - b.frames).ravel() for a, b in zip(noisy, clean, strict=True)]
    )
    assert difference.std() == pytest.approx(0.02, rel=0.05)


def test_store(tmp_path):
    store = generate(tmp_path / "s", sequences=12, skeleton=COCO17, dtype="float16", seed=1)
    assert store.skeleton == COCO17
    assert store.meta["normalization"] == "center"
    assert store.bodies.dtype == np.float16
    assert set(store.columns) == {"subjects", "views", "fold", "duplicate_of"}


def test_neither_trivial_nor_hopeless(tmp_path):
    """A linear model on raw coordinates gets some of it, so an encoder has something to add."""
    begin = time.perf_counter()
    store = generate(tmp_path / "s")
    assert time.perf_counter() - begin < 10
    features = np.stack(
        [
            sequence[np.linspace(0, len(sequence) - 1, 16).round().astype(int)].ravel()
            for sequence in map(store.sequence, range(len(store)))
        ]
    )
    for protocol, low, high in (("xsub", 0.45, 0.75), ("xview", 0.25, 0.65)):
        train, test = split(store, protocol)
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=3000))
        model.fit(features[train], store.labels[train])
        assert low < model.score(features[test], store.labels[test]) < high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequences": 0}, r"sequences >= 1.*0"),
        ({"subjects": 0}, r"subjects >= 1.*0"),
        ({"classes": len(ACTIONS) + 1}, f"expected at most {len(ACTIONS)} classes"),
        ({"classes": 40, "persons": 2}, f"at most {len(ACTIONS) + len(INTERACTIONS)} classes"),
        ({"persons": 3}, "expected 1 or 2 persons, got 3"),
        ({"frames": (9, 3)}, r"frames \(shortest, longest\).*\(9, 3\)"),
        ({"missing": 1.0}, r"missing in \[0, 1\).*1.0"),
        ({"noise": -1.0}, "noise >= 0"),
        (
            {"skeleton": Skeleton("hand", ("a", "b"), (-1, 0), {"trunk": (0, 1)}, (0, 1), 0)},
            r"'hand'.*left_arm, right_arm",
        ),
    ],
)
def test_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic_sequences(**arguments)
