"""Recordings at another frame rate."""

from __future__ import annotations

import numpy as np
import pytest
import test_bvh
from hypothesis import given
from hypothesis import strategies as st

from pcm3.data import Store, prepare
from pcm3.data.readers import Recording
from pcm3.data.report import describe
from pcm3.data.resample import resample
from pcm3.data.store.intervals import contradiction, find_segments

RATES = st.sampled_from([10.0, 12.5, 24.0, 25.0, 29.97, 30.0, 60.0, 90.0, 120.0])


def clip(length: int, seed: int = 0, absent: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(length, 2, 3, 3)).astype(np.float32)
    frames[rng.random(frames.shape[:3]) < absent] = 0
    return frames


def slow(frames: np.ndarray, rate: float, fps: float) -> np.ndarray:
    """Frame by frame and joint by joint."""
    result = []
    while True:
        place = len(result) * rate / fps
        if abs(place - round(place)) < 1e-6:
            place = round(place)
        if place > len(frames) - 1:
            return np.array(result)
        before = int(place)
        behind = min(before + 1, len(frames) - 1)
        weight = place - before
        frame = np.zeros_like(frames[0])
        for body in range(frames.shape[1]):
            for joint in range(frames.shape[2]):
                one, other = frames[before, body, joint], frames[behind, body, joint]
                if weight == 0:
                    frame[body, joint] = one
                elif one.any() and other.any():
                    frame[body, joint] = (1 - weight) * one + weight * other
        result.append(frame)


@given(length=st.integers(1, 40), rate=RATES, fps=RATES, seed=st.integers(0, 99))
def test_as_frame_by_frame(length, rate, fps, seed):
    frames = clip(length, seed)
    labels = np.random.default_rng(seed).integers(-1, 2, length).repeat(2)[:length]
    segments = find_segments(labels)
    found = resample(Recording(frames, frame_labels=labels, segments=segments, name="x"), rate, fps)
    wanted = slow(frames, rate, fps)
    assert found.frames.dtype == np.float32
    assert found.frames.shape == wanted.shape
    np.testing.assert_allclose(found.frames, wanted, atol=1e-5)
    np.testing.assert_array_equal(found.frames.any(-1), wanted.any(-1))
    nearest = [min(int(i * rate / fps + 0.5 + 1e-9), length - 1) for i in range(len(wanted))]
    assert found.frame_labels.tolist() == labels[nearest].tolist()
    assert contradiction(found.frame_labels, found.segments) is None
    held = [{i for i, at in enumerate(nearest) if start <= at < end} for start, end, _ in segments]
    kept = [(min(frames), max(frames) + 1) for frames in held if frames]
    assert [tuple(row[:2]) for row in found.segments.tolist()] == kept
    assert len(found.notes) == len(segments) - len(kept)
    assert found.fps == fps


def test_the_same_rate_is_a_copy():
    frames = clip(9)
    np.testing.assert_array_equal(resample(Recording(frames), 30, 30).frames, frames)
    every_fourth = resample(Recording(frames), 120, 30).frames
    np.testing.assert_array_equal(every_fourth, frames[::4])
    there_and_back = resample(Recording(resample(Recording(frames), 30, 90).frames), 90, 30)
    np.testing.assert_allclose(there_and_back.frames, frames, atol=1e-6)


def test_a_straight_motion_stays_straight():
    times = np.arange(50) / 50
    frames = np.ones((50, 1, 2, 3), np.float32) + times[:, None, None, None].astype(np.float32)
    found = resample(Recording(frames), 50, 30).frames
    np.testing.assert_allclose(found[:, 0, 0, 0], 1 + np.arange(30) / 30, atol=1e-6)


def test_no_blend_with_nobody():
    frames = np.full((6, 1, 1, 3), 8, np.float32)
    frames[2:4] = 0
    found = resample(Recording(frames), 30, 60).frames[:, 0, 0, 0]
    assert found.tolist() == [8, 8, 8, 0, 0, 0, 0, 0, 8, 8, 8]


def test_a_limit():
    with pytest.raises(ValueError, match=r"x.*100.*0.2"):
        resample(Recording(clip(3), name="x"), 0.2, 30)


@pytest.fixture
def mixed(tmp_path):
    """BVH files of 30, 120 and again, but for rounding, 30 frames a second."""
    body = test_bvh.Body()
    folder = tmp_path / "files"
    folder.mkdir()
    for name, frames, time in (("a", 31, 0.0333333), ("b", 121, 0.00833333), ("c", 31, 0.0334)):
        (folder / f"{name}.bvh").write_text(body.text(body.motion(frames), time))
    return folder


def test_files_of_several_rates_are_refused_or_resampled(mixed, tmp_path):
    message = r"30 \(a.bvh\), 120 \(b.bvh\).* --fps 30"
    with pytest.raises(ValueError, match=message):
        prepare(mixed, tmp_path / "store", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    prepare(mixed, tmp_path / "store", workers=1, fps=30, normalization="none")
    store = Store(tmp_path / "store")
    assert store.lengths.tolist() == [31, 31, 31]
    assert store.meta["fps"] == 30
    (mixed / "a.bvh").unlink()
    (mixed / "c.bvh").unlink()
    prepare(mixed, tmp_path / "fast", workers=1, normalization="none")
    fast = Store(tmp_path / "fast")
    assert fast.meta["fps"] == 120
    np.testing.assert_array_equal(store.sequence(1), fast.sequence(0)[::4])
    assert "resampled 1 from 120 to 30 frames per second" in describe(store)
    assert "resampled" not in describe(fast)


def test_rates_that_files_do_not_say(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    frames = np.random.default_rng(0).normal(size=(60, 17, 3)).astype(np.float32)
    np.save(folder / "a.npy", frames)

    def lengths(**options):
        report = prepare(
            folder,
            tmp_path / "s",
            format="folder",
            skeleton="coco17",
            workers=1,
            overwrite=True,
            **options,
        )
        store = Store(tmp_path / "s")
        assert (report["fps"], store.meta["fps"]) == (report["summary"]["fps"],) * 2
        return store.meta["fps"], store.lengths.tolist(), list(report["notes"])

    assert lengths() == (None, [60], [])
    assert lengths(source_fps=60) == (60, [60], [])
    assert lengths(source_fps=60, fps=30) == (30, [30], [])
    taken = "the frame rate of the recordings is unknown: assumed to be the store's, 30"
    assert lengths(fps=30) == (30, [60], [taken])
    (folder / "labels.csv").write_text("file,label,fps\na.npy,0,60\n")
    assert lengths() == (60, [60], [])
    assert lengths(fps=20) == (20, [20], [])
    with pytest.raises(ValueError, match=r"source_fps.*60"):
        lengths(source_fps=30)


@pytest.mark.parametrize("name", ["fps", "source_fps"])
@pytest.mark.parametrize("value", [0, -5, float("nan"), float("inf"), 1e9])
def test_rates_are_checked_before_any_work(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"expected {name} above 0, at most 100,000, got"):
        prepare(tmp_path / "nowhere", tmp_path / "s", **{name: value})
