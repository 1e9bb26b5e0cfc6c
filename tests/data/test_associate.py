"""Bodies in slots by continuity."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcm3.data import Store, prepare
from pcm3.data.associate import associate
from pcm3.data.report import describe

LENGTH, JOINTS = 12, 4


def crowd(persons: int, seed: int, gone: float = 0.2, near: float = 3.0) -> np.ndarray:
    """Persons (T, M, V, 3) who walk about, with gaps; at least one joint of who is there."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(1, persons, 1, 3)) * near
    steps = rng.normal(size=(LENGTH, persons, 1, 3)).cumsum(0) * 0.1
    bodies = rng.normal(size=(LENGTH, persons, JOINTS, 3)) * 0.1
    frames = (places + steps + bodies).astype(np.float32)
    frames[..., 1:, :][rng.random((LENGTH, persons, JOINTS - 1)) < 0.2] = 0
    frames[rng.random((LENGTH, persons)) < gone] = 0
    return frames


def shuffled(frames: np.ndarray, seed: int) -> np.ndarray:
    """The bodies of each frame in other slots, one slot more."""
    rng = np.random.default_rng(seed)
    padded = np.pad(frames, ((0, 0), (0, 1), (0, 0), (0, 0)))
    return np.stack([frame[rng.permutation(len(frame))] for frame in padded])


def slow(frames: np.ndarray) -> np.ndarray:
    """One pair after the other, with lists."""
    slots: list[list[tuple[int, np.ndarray]]] = []
    for time, frame in enumerate(frames):
        bodies = sorted([body for body in frame if body.any()], key=lambda body: body.tolist())
        free = list(range(len(slots)))
        while bodies and free:
            pairs = itertools.product(range(len(bodies)), free)
            at, slot = min(pairs, key=lambda pair: apart(bodies[pair[0]], slots[pair[1]][-1][1]))
            slots[slot].append((time, bodies.pop(at)))
            free.remove(slot)
        slots += [[(time, body)] for body in bodies]
    slots.sort(key=len, reverse=True)
    result = np.zeros((len(frames), len(slots), *frames.shape[2:]), np.float32)
    for slot, seen in enumerate(slots):
        for time, body in seen:
            result[time, slot] = body
    return result


def apart(one: np.ndarray, other: np.ndarray) -> float:
    both = [a - b for a, b in zip(one, other, strict=True) if a.any() and b.any()]
    if both:
        return float(np.mean([np.sqrt((step.astype(float) ** 2).sum()) for step in both]))
    means = [np.mean([joint for joint in each if joint.any()], axis=0) for each in (one, other)]
    return float(np.linalg.norm(means[0] - means[1]))


@given(st.integers(0, 4), st.integers(0, 999), st.sampled_from([0.0, 0.3, 0.8]))
def test_as_one_pair_after_the_other(persons, seed, gone):
    frames = shuffled(crowd(persons, seed, gone, near=0.3), seed)
    np.testing.assert_array_equal(associate(frames), slow(frames))


@given(st.integers(1, 4), st.integers(0, 999))
def test_slots_do_not_matter(persons, seed):
    frames = crowd(persons, seed, near=0.3)
    found = associate(frames)
    for more in range(3):
        np.testing.assert_array_equal(associate(shuffled(frames, more)), found)
    np.testing.assert_array_equal(associate(found), found)
    assert found.shape[1] == frames.any((2, 3)).sum(1).max()  # as few as are needed
    for before, after in zip(frames, found, strict=True):
        bodies = [sorted(body.tolist() for body in each if body.any()) for each in (before, after)]
        assert bodies[0] == bodies[1]  # nobody is lost


@given(st.integers(1, 4), st.integers(0, 999))
def test_persons_who_stay_apart_are_told_apart(persons, seed):
    """Also where they are away for some frames, if they are all there once."""
    frames = crowd(persons, seed, near=0)
    frames += (frames != 0) * 9 * np.arange(persons, dtype=np.float32)[:, None, None]
    frames[0] = crowd(persons, seed, gone=0, near=0)[0]
    frames[0] += 9 * np.arange(persons, dtype=np.float32)[:, None, None]
    found = associate(shuffled(frames, seed))
    order = [np.flatnonzero((found[0] == person).all((1, 2)))[0] for person in frames[0]]
    np.testing.assert_array_equal(found[:, order], frames)


@pytest.fixture
def prepared(tmp_path):
    """Prepare one recording (T, M, V, C) of 25 joints."""

    def prepare_it(frames, **options):
        (tmp_path / "files").mkdir(exist_ok=True)
        np.save(tmp_path / "files" / "a.npy", frames.astype(np.float32))
        report = prepare(
            tmp_path / "files", tmp_path / "store", format="folder", skeleton="ntu25", workers=1,
            normalization="none", overwrite=True, **options,
        )  # fmt: skip
        return Store(tmp_path / "store"), report

    return prepare_it


def walk(length: int) -> np.ndarray:
    body = np.random.default_rng(0).normal(size=(25, 3)) * 0.4
    return body + np.arange(length)[:, None, None] * [0.03, 0, 0]


def test_one_person_under_three_ids(prepared):
    frames = np.zeros((90, 3, 25, 3))
    for part in range(3):
        rows = slice(30 * part, 30 * part + 30)
        frames[rows, part] = walk(90)[rows]
    store, report = prepared(frames, persons=1)
    assert report["persons"] == [{"sequences": 1, "frames": 90, "empty": 60}]
    assert report["others_there"] == {"sequences": 1, "frames": 60}
    said = describe(store)
    assert "person 1, kept in 1 sequence, is missing in 60 of 90 frames" in said
    assert "60 frames of 1 sequence have nobody" in said
    store, report = prepared(frames, persons=1, associate=True)
    assert report["persons"] == [{"sequences": 1, "frames": 90, "empty": 0}]
    np.testing.assert_allclose(store.sequence(0)[:, 0], walk(90), atol=1e-6)
    assert "missing" not in describe(store)


def test_persons_who_swap_slots(prepared):
    frames = np.stack([walk(40), walk(40) + np.array([0, 0, 4])], axis=1)
    frames[1::2] = frames[1::2, ::-1]
    store, report = prepared(frames, source_fps=30)
    jumps = {"sequences": 1, "steps": 78, "worst": [["a.npy", 78]], "limit": "10 m/s"}
    assert report["jumps"] == jumps
    assert "bodies jump (more than 10 m/s) 78 times in 1 sequence, most in a.npy (78); --assoc" in (
        describe(store)
    )
    store, report = prepared(frames, associate=True)
    assert report["jumps"]["steps"] == 0
    assert np.abs(np.diff(store.sequence(0), axis=0)).max() < 0.04
    assert "jump" not in describe(store)
