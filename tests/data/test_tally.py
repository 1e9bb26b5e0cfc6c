"""What happened to recordings, counted."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcm3.data import Store, StoreWriter, prepare
from pcm3.data.readers import Recording
from pcm3.data.report import describe
from pcm3.data.tally import Tally, count_jumps
from pcm3.skeleton import SBU15

OPTIONS = {"format": "folder", "skeleton": "coco17", "workers": 1}


def clip(seed: int, absent: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(9, 2, 5, 3)).astype(np.float32)
    frames[rng.random(frames.shape[:3]) < absent] = 0
    frames[rng.random(frames.shape[:2]) < 0.2] = 0
    return frames


def standing(number, up):
    """Somebody in pixels (T, V, 2) who stands along an axis, in the layout of SBU15."""
    heights = {"head": 3, "neck": 2.5, "torso": 2, "shoulder": 2.4, "elbow": 2, "hand": 1.6}
    heights |= {"hip": 1.5, "knee": 0.8, "foot": 0.1}
    rows = [heights[name.split("_")[-1]] for name in SBU15.joints]
    rng = np.random.default_rng(number)
    body = np.stack([rng.uniform(-0.2, 0.2, 15), rows], axis=-1)
    turned = {"y": body, "-y": -body, "x": body[:, ::-1]}[up]
    return (300 + 50 * turned + rng.normal(size=(20, 15, 2))).astype(np.float32)


@pytest.mark.parametrize(
    ("ups", "noted"),
    [
        (["-y"] * 12, None),
        (["y"] * 12, None),
        (["-y"] * 6 + ["y"] * 6, "along y in 6|along -y in 6"),
        (["-y"] * 18 + ["y"] * 2, "along -y in 18 recordings, and along y in 2"),
        (["-y"] * 19 + ["y"], None),
        (["-y"] * 8 + ["x"] * 4, None),  # some lie
        (["x"] * 8, "along x in 8 recordings: unless"),
    ],
)
def test_bodies_that_stand_in_several_directions_are_told(tmp_path, ups, noted):
    (tmp_path / "in").mkdir()
    for number, up in enumerate(ups):
        np.save(tmp_path / "in" / f"{number}.npy", standing(number, up))
    report = prepare(tmp_path / "in", tmp_path / "store", **(OPTIONS | {"skeleton": "sbu15"}))
    found = [text for text in report["warnings"] if "bodies extend" in text]
    assert len(found) == (noted is not None)
    assert noted is None or re.search(noted, found[0])


def test_joints_at_minus_one_are_told(tmp_path):
    (tmp_path / "in").mkdir()
    lost = {1: [3, 4], 2: [3]}
    for number in range(4):
        frames = standing(number, "-y")
        frames[:5, lost.get(number, [])] = -1
        frames[5, 0, 0] = -1  # in one coordinate alone
        np.save(tmp_path / "in" / f"{number}.npy", frames)
    report = prepare(tmp_path / "in", tmp_path / "store", **(OPTIONS | {"skeleton": "sbu15"}))
    (found,) = [text for text in report["warnings"] if "at -1" in text]
    assert found.startswith("15 joints in 2 sequences ")


def test_recordings_without_a_centre_joint_are_told(tmp_path):
    (tmp_path / "in").mkdir()
    rng, nose = np.random.default_rng(0), 0
    expected = {}
    for number in range(12):
        frames = rng.uniform(200, 400, (20, 17, 2)).astype(np.float32)
        if number < 9:
            frames[:, nose] = 0
            expected[f"{number}.npy"] = frames[:, 1:] - frames[:, 1:].mean(1, keepdims=True)
        elif number == 9:
            frames[:] = 0
        np.save(tmp_path / "in" / f"{number}.npy", frames)
    report = prepare(tmp_path / "in", tmp_path / "store", keep_pixels=True, **OPTIONS)
    assert report["without_center"]["sequences"] == 9
    assert set(report["without_center"]["some"]) < set(expected)
    store = Store(tmp_path / "store")
    for name, frames in expected.items():
        stored = store.sequence(store.names.index(name))[:, 0, 1:]
        np.testing.assert_allclose(stored, frames, atol=1e-3)
    said = describe(store)
    assert "9 sequences never show the centre joint" in said
    assert "and 4 more" in said
    assert "no body in any frame: 9.npy" in said


@given(st.integers(0, 999), st.sampled_from([None, 3.0, 5.0, 8.0]))
def test_jumps_one_by_one(seed, fps):
    frames = clip(seed)
    sizes = []
    for body in frames.reshape(-1, 5, 3):
        seen = [joint for joint in body if joint.any()]
        if seen:
            sizes.append(max(np.ptp(seen, axis=0)))
    limit = 0.5 * np.median(sizes) if fps is None else 10 / fps
    slow = 0
    for before, after in itertools.pairwise(frames):
        for one, other in zip(before, after, strict=True):
            pairs = zip(one, other, strict=True)
            steps = [np.linalg.norm(a - b) for a, b in pairs if a.any() and b.any()]
            slow += 2 * sum(step > limit for step in steps) > len(steps)
    assert count_jumps(frames, fps) == slow


def test_running_is_no_jump_and_neither_is_a_lost_joint():
    body = np.random.default_rng(0).normal(size=(25, 3)).astype(np.float32) * 0.4
    frames = np.stack([body + np.float32([0.3 * frame, 0, 0]) for frame in range(20)])[
        :, None
    ]  # 9 m/s
    assert count_jumps(frames, 30) == count_jumps(frames, None) == 0
    frames[5, 0, :12] += 4  # fewer than half of its joints
    frames[7, 0] = 0
    assert count_jumps(frames, 30) == count_jumps(frames, None) == 0
    frames[10, 0] += 4
    assert count_jumps(frames, 30) == count_jumps(frames, None) == 2
    assert count_jumps(1000 * frames, None) == 2  # whatever the unit
    assert count_jumps(frames[:1], 30) == count_jumps(frames[:0], None) == 0


@given(st.lists(st.integers(0, 99), max_size=8), st.integers(0, 8))
def test_parts_add_up(seeds, cut):
    """As if all had been counted in one go."""

    def tally(part):
        counts = Tally()
        for seed in part:
            frames = clip(seed)
            counts.count_read(Recording(frames, notes=[f"note {seed % 3}"]))
            counts.count_jumps(str(seed), seed % 4)
            counts.count_resampled(25 + seed % 2)
            counts.count_kept(frames, frames[:, : 1 + seed % 2])
        return json.loads(json.dumps(counts.report))

    total = Tally()
    for part in (seeds[:cut], seeds[cut:]):
        total.add(tally(part))
    whole = tally(seeds)
    assert total.report == whole
    seen = [clip(seed)[:, : 1 + seed % 2].any((2, 3)) for seed in seeds]
    for person, counts in enumerate(whole["persons"]):
        those = [each[:, person] for each in seen if each.shape[1] > person]
        those = [each for each in those if each.any()]
        empty = int(sum((~each).sum() for each in those))
        assert counts == {"sequences": len(those), "frames": 9 * len(those), "empty": empty}


def test_others_are_bodies_that_were_not_kept():
    """Not one whose only joint was the origin."""
    before = np.ones((4, 2, 5, 3), np.float32)
    before[:2, 0] = before[2:, 1] = 0
    after = before[:, :1].copy()
    tally = Tally()
    tally.count_kept(before, after)
    assert tally.report["others_there"] == {"sequences": 1, "frames": 2}
    tally.count_kept(before[:, :1] + 1, after)
    tally.count_kept(before, after[2:])  # of other frames
    assert tally.report["others_there"] == {"sequences": 1, "frames": 2}


def test_worst_first():
    tally = Tally()
    for name, steps in zip("abcdefg", (1, 9, 0, 3, 3, 7, 2), strict=True):
        tally.count_jumps(name, steps)
    jumps = tally.report["jumps"]
    assert jumps["worst"] == [["b", 9], ["f", 7], ["d", 3], ["e", 3], ["g", 2]]
    assert (jumps["sequences"], jumps["steps"]) == (6, 25)


def test_pixels_go_by_body_lengths(tmp_path):
    (tmp_path / "files").mkdir()
    frames = np.random.default_rng(0).uniform(100, 300, size=(1, 17, 2)).repeat(8, axis=0)
    frames[4] += 700
    np.save(tmp_path / "files" / "a.npy", frames)
    report = prepare(tmp_path / "files", tmp_path / "s", **OPTIONS, fps=30)
    assert (report["jumps"]["steps"], report["jumps"]["limit"]) == (2, "0.5 body lengths a frame")


@pytest.mark.parametrize("scale", [1e-8, 1e-7, 1.0, 1000.0, 60000.0])
def test_float16_says_what_it_rounds_and_loses_nobody(tmp_path, scale):
    frames = (np.random.default_rng(0).uniform(-1, 1, size=(9, 1, 15, 3)) * scale).astype(
        np.float32
    )
    frames[3, 0, 4] = 0
    with StoreWriter(tmp_path / "s", SBU15, class_names=[], dtype="float16") as writer:
        writer.add(frames)
    stored = Store(tmp_path / "s").sequence(0)
    np.testing.assert_array_equal(stored == 0, frames == 0)
    np.testing.assert_array_equal(np.sign(stored), np.sign(frames))
    difference = np.abs(stored.astype(np.float32) - frames).max()
    assert writer.rounding == pytest.approx(difference, rel=1e-6)
    assert difference <= max(scale / 2000, 6e-8)


def test_rounding_is_reported(tmp_path):
    (tmp_path / "files").mkdir()
    np.save(tmp_path / "files" / "a.npy", np.full((3, 17, 2), 1000.3))
    options = OPTIONS | {"normalization": "none", "keep_pixels": True}
    report = prepare(tmp_path / "files", tmp_path / "s", dtype="float16", **options)
    assert report["rounding"] == pytest.approx(0.2, abs=0.01)
    assert "float16 rounds coordinates, by 0.2 pixels at most" in describe(Store(tmp_path / "s"))
    report = prepare(tmp_path / "files", tmp_path / "s32", **options)
    assert report["rounding"] == 0
