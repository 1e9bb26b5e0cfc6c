from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data import Store, prepare
from pcm3.data.readers import open_source
from pcm3.data.readers.openpose import detect, read_openpose
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, OPENPOSE18, OPENPOSE25


def clip(frames: int, persons: int = 1, joints: int = 25, seed: int = 0) -> NDArray[np.float64]:
    """Persons (T, M, V, 3) beside each other: x, y in pixels with three decimals, and score."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(100, 300, (frames, persons, joints, 3)).round(3)
    points[..., 0] += 1000 * np.arange(persons)[:, None]
    points[..., 2] = rng.uniform(0.2, 1, points.shape[:3]).round(4)
    return points


def content(people: Any) -> dict[str, Any]:
    """What OpenPose 1.7 writes for a frame."""
    empty: dict[str, list[float]] = {
        f"{part}_keypoints_{dim}": []
        for dim in ("2d", "3d")
        for part in ("face", "hand_left", "hand_right")
    }
    keys = [np.asarray(person).ravel().tolist() for person in people]
    more = {"person_id": [-1], **empty, "pose_keypoints_3d": []}
    return {"version": 1.3, "people": [{"pose_keypoints_2d": key, **more} for key in keys]}


def write(folder: Path, name: str, people: Any, first: int = 0, step: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for at, frame in enumerate(people):
        file = folder / f"{name}_{first + at * step:012}_keypoints.json"
        file.write_text(json.dumps(content(frame)))


def test_reads_everything(tmp_path: Path) -> None:
    write(tmp_path, "wave", clip(3))
    write(tmp_path / "anna", "bow", clip(2, seed=1))
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.skeleton, source.unit) == ("openpose", OPENPOSE25, "pixels")
    assert (source.persons, source.fps, source.class_names) == (1, None, ())
    bow, wave = source
    assert (bow.name, wave.name) == ("anna/bow", "wave")
    np.testing.assert_array_equal(wave.frames, clip(3)[..., :2].astype(np.float32))
    np.testing.assert_array_equal(bow.frames, clip(2, seed=1)[..., :2].astype(np.float32))


def test_images_of_a_folder_and_labels(tmp_path: Path) -> None:
    for name, seed in (("anna", 1), ("ben", 2), ("cleo", 3)):
        (tmp_path / name).mkdir()
        for at, people in enumerate(clip(2, joints=18, seed=seed)):
            text = json.dumps(content(people))
            (tmp_path / name / f"{at + 9}_keypoints.json").write_text(text)  # 9 is before 10
    (tmp_path / "labels.csv").write_text("file,label,view\nben,wave,1\nanna,bow,2\n")
    source = open_source(tmp_path)
    anna, ben = source
    assert source.skeleton == OPENPOSE18
    assert source.left_out == 1
    assert [source.class_names[each.label] for each in (anna, ben)] == ["bow", "wave"]
    assert (ben.name, ben.columns) == ("ben", {"view": 1})
    np.testing.assert_array_equal(ben.frames, clip(2, joints=18, seed=2)[..., :2].astype("f4"))


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    frames = clip(4)
    frames[0, 0, 7] = 0  # as OpenPose writes a joint that it did not find
    people: list[Any] = [*frames]
    people[2] = []
    write(tmp_path, "a", people)
    (recording,) = open_source(tmp_path)
    expected = frames[..., :2].copy()
    expected[2] = 0
    np.testing.assert_array_equal(recording.frames, expected.astype(np.float32))
    (recording,) = open_source(tmp_path, min_score=0.5)
    expected[frames[..., 2] < 0.5] = 0
    np.testing.assert_array_equal(recording.frames, expected.astype(np.float32))
    (tmp_path / "a_000000000001_keypoints.json").unlink()
    (recording,) = open_source(tmp_path)
    assert recording.frames.any((1, 2, 3)).tolist() == [True, False, False, True]


def test_numbers_in_steps(tmp_path: Path) -> None:
    write(tmp_path, "a", clip(3), first=4, step=5)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames, clip(3)[..., :2].astype(np.float32))
    assert len(recording.notes) == 1
    assert "steps of 5" in recording.notes[0]


def test_persons_are_tracked_by_position(tmp_path: Path) -> None:
    frames = clip(5, 2)
    people: list[Any] = [frames[0], frames[1, ::-1], frames[2, 1:], frames[3], frames[4, ::-1]]
    write(tmp_path, "a", people)
    source = open_source(tmp_path)
    (recording,) = source
    expected = frames[..., :2].astype(np.float32)
    expected[2, 0] = 0
    np.testing.assert_array_equal(recording.frames, expected[:, ::-1])  # the longest is first
    assert source.persons == 2


def test_prepared_in_body_lengths(tmp_path: Path) -> None:
    write(tmp_path / "raw", "a", clip(3))
    prepare(tmp_path / "raw", tmp_path / "store", workers=1, normalization="none")
    store = Store(tmp_path / "store")
    assert (store.summary()["unit"], store.skeleton) == ("body lengths", OPENPOSE25)
    points = clip(3)[:, 0, :, :2]
    length = np.median(np.ptp(points, axis=1).max(-1))
    np.testing.assert_allclose(store.sequence(0)[:, 0], points / length, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "object"),
        ('{"version": 1.3}', "people"),
        ('{"people": [{}]}', r"people\[0\].*pose_keypoints_2d"),
        (
            '{"people": [{"pose_keypoints_2d": [1, 2]}]}',
            r"people\[0\].pose_keypoints_2d.*2 numbers",
        ),
        ('{"people": [{"pose_keypoints_2d": [1, "2", 3]}]}', r"pose_keypoints_2d\[1\].*number"),
        ('{"people": [{"pose_keypoints_2d": [1, true, 3]}]}', r"pose_keypoints_2d\[1\].*number"),
        ('{"people": [{"pose_keypoints_2d": [1, NaN, 3]}]}', "NaN"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "a", clip(2))
    write(tmp_path, "b", clip(2))
    file = tmp_path / "b_000000000001_keypoints.json"
    file.write_text(text)
    source = open_source(tmp_path)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(source.read(source.units[1]))
    assert str(file) in str(caught.value)
    assert [each.name for each in source.read(source.units[0])] == ["a"]


def test_other_joints(tmp_path: Path) -> None:
    write(tmp_path, "a", clip(2))
    write(tmp_path, "b", clip(2, joints=18))
    with pytest.raises(SkeletonFormatError, match=r"b: expected 25 joints.*as in a, got 18"):
        list(open_source(tmp_path))
    mixed = [clip(1)[0], clip(1, joints=18)[0]]
    write(tmp_path, "a", mixed)
    with pytest.raises(SkeletonFormatError, match=r"a: frame 1: expected 25 joints.*got 18"):
        list(open_source(tmp_path, skeleton=OPENPOSE18))
    write(tmp_path / "more", "c", clip(2, joints=17))
    with pytest.raises(
        SkeletonFormatError, match=r"\(25, 2\) for openpose25, .* got \(17, 2\); --skeleton"
    ):
        read_openpose(tmp_path / "more")
    assert read_openpose(tmp_path / "more", skeleton="coco17").skeleton == COCO17
    with pytest.raises(
        SkeletonFormatError, match="expected 25 joints, as skeleton 'openpose25' has, got 17"
    ):
        read_openpose(tmp_path / "more", skeleton="openpose25")


def test_names(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    with pytest.raises(SkeletonFormatError, match=r"NAME_000000000000_keypoints\.json"):
        read_openpose(tmp_path)
    write(tmp_path, "a", [[], []])
    assert detect(tmp_path)
    with pytest.raises(SkeletonFormatError, match="nobody in any frame"):
        read_openpose(tmp_path)
    write(tmp_path, "a", clip(2))
    (tmp_path / "a_1_keypoints.json").write_text("{}")
    with pytest.raises(SkeletonFormatError, match=r"a_1_keypoints.json: .* a_000000000001_keyp"):
        read_openpose(tmp_path)
