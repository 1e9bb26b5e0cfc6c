from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data.readers import open_source
from pcm3.data.readers.mediapipe import detect, read_mediapipe
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import BLAZEPOSE33


def clip(frames: int, persons: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Landmarks (T, M, 33, 4) in metres, and visibility."""
    rng = np.random.default_rng(seed)
    points = rng.normal(scale=0.4, size=(frames, persons, 33, 4))
    points[..., 0] += 5 * np.arange(persons)[:, None]
    points[..., 3] = rng.uniform(0.1, 1, points.shape[:3])
    return points


def marks(points: NDArray[np.float64]) -> list[dict[str, float]]:
    keys = ("x", "y", "z", "visibility")
    return [dict(zip(keys, row, strict=True)) for row in points.tolist()]


def solution(points: NDArray[np.float64]) -> list[dict[str, Any]]:
    """One person a frame, or None, with both kinds of landmarks."""
    return [
        {
            "frame": at,
            "pose_landmarks": marks(people[0] / 10 + 0.5) if people.any() else None,
            "pose_world_landmarks": marks(people[0]) if people.any() else None,
        }
        for at, people in enumerate(points)
    ]


def task(points: Any) -> dict[str, Any]:
    """Lists of persons, as the web task returns them."""
    frames = [
        {
            "landmarks": [marks(person) for person in people],
            "worldLandmarks": [marks(person) for person in people],
        }
        for people in points
    ]
    return {"fps": 25, "frames": frames}


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content).replace("Infinity", "1e999"))


def test_reads_everything(tmp_path: Path) -> None:
    points = clip(4)
    points[2] = 0
    write(tmp_path / "a.json", solution(points))
    write(tmp_path / "more" / "b.json", solution(clip(2, seed=1)))
    (tmp_path / "labels.csv").write_text("file,label,fps\na.json,wave,30\nmore/b.json,bow,30\n")
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.skeleton, source.unit) == ("mediapipe", BLAZEPOSE33, "metres")
    first, second = source
    assert [source.class_names[each.label] for each in source] == ["wave", "bow"]
    np.testing.assert_array_equal(first.frames, points[..., :3].astype(np.float32))
    np.testing.assert_array_equal(second.frames, clip(2, seed=1)[..., :3].astype(np.float32))
    (hidden, _) = open_source(tmp_path, min_score=0.5)
    seen = np.where(points[..., 3:] < 0.5, 0, points[..., :3])
    np.testing.assert_array_equal(hidden.frames, seen.astype(np.float32))


def test_several_persons_of_the_task(tmp_path: Path) -> None:
    points = clip(3, 2)
    write(tmp_path / "a.json", task([points[0], points[1, ::-1], [], points[2, ::-1]]))
    source = open_source(tmp_path)
    (recording,) = source
    assert (source.persons, source.fps, recording.fps) == (2, 25.0, 25.0)
    expected = np.insert(points[..., :3], 2, 0, axis=0).astype(np.float32)
    np.testing.assert_array_equal(recording.frames, expected)
    write(tmp_path / "b.json", task(clip(3)) | {"fps": 50})
    assert open_source(tmp_path).rates == {25.0: "a.json", 50.0: "b.json"}


@pytest.mark.parametrize("kind", ["landmark", "lists", "numbered", "no visibility"])
def test_other_ways_to_write_the_same(tmp_path: Path, kind: str) -> None:
    points = clip(3)
    content = solution(points)
    for at, frame in enumerate(content):
        own = frame["pose_world_landmarks"]
        if kind == "landmark":  # MessageToDict, which leaves out what is empty
            frame["pose_world_landmarks"] = {"landmark": own} if own else {}
        elif kind == "lists":
            frame["pose_world_landmarks"] = points[at, 0].tolist()
        elif kind == "numbered":
            frame["frame_id"] = frame.pop("frame") + 17
        else:
            for mark in own:
                del mark["visibility"]
    content = content[::-1] if kind == "numbered" else content
    write(tmp_path / "a.json", content)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames, points[..., :3].astype(np.float32))


def test_image_landmarks(tmp_path: Path) -> None:
    points = clip(3)
    write(tmp_path / "a.json", solution(points))
    source = open_source(tmp_path, image_size=(1280, 720))
    (recording,) = source
    assert source.unit == "pixels"
    pixels = (points[..., :2] / 10 + 0.5) * [1280, 720]
    np.testing.assert_array_equal(recording.frames, pixels.astype(np.float32))
    content = solution(points)
    for frame in content:
        del frame["pose_world_landmarks"]
    write(tmp_path / "a.json", content)
    with pytest.raises(SkeletonFormatError, match=r"frame 0 .*pose_world_landmarks.*--image-size"):
        open_source(tmp_path)
    with pytest.raises(ValueError, match=r"image_size above 0, got \(0, 720\)"):
        open_source(tmp_path, image_size=(0, 720))


def changed(**change: Any) -> list[dict[str, Any]]:
    content = solution(clip(2))
    content[1] |= change
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "list of frames"),
        ({"frames": None}, "list of frames"),
        (solution(clip(1))[0], "list of frames.*got .*'pose_landmarks'"),  # a file for each frame
        ({"fps": "25", "frames": [{}]}, "fps"),
        ({"fps": 0, "frames": [{}]}, "fps above 0"),
        ([*solution(clip(1)), [1]], "frame 1 of the list: expected an object"),
        (changed(frame=0), "frame 1 of the list: expected a number of its own, got 0"),
        (changed(frame="1"), "frame 1 of the list: expected a number of its own, got '1'"),
        (changed(pose_world_landmarks=3), r"frame 1.*pose_world_landmarks: expected a list"),
        (changed(pose_world_landmarks={"0": 3}), r"frame 1.*pose_world_landmarks: expected a list"),
        (changed(pose_world_landmarks=[3]), r"frame 1.*lists of landmarks, got 3"),
        (changed(pose_world_landmarks=[[]]), r"frame 1.*lists of landmarks, got \[\]"),
        (
            changed(pose_world_landmarks=[{"x": 1, "y": 2, "visibility": 1}]),
            "landmark 0: .*x, y, z",
        ),
        (changed(pose_world_landmarks=[[1, 2, "3"]]), r"frame 1.*landmarks\[0\]\[2\].*number"),
        (changed(pose_world_landmarks=[[1.0, 2.0, float("1e999")]] * 33), "frame 1.*finite"),
        (changed(pose_world_landmarks=[[1, 2, True]]), r"frame 1.*landmarks\[0\]\[2\].*number"),
        (changed(pose_world_landmarks=[[1, 2, 3]] * 32), "frame 1: expected 33 joints.*got 32"),
        ([{"frame": 0}], "frame 0 .*expected pose_world_landmarks"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, content: Any, message: str) -> None:
    write(tmp_path / "a.json", solution(clip(2)))
    write(tmp_path / "b.json", content)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_mediapipe(tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "b.json"))


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    with pytest.raises(SkeletonFormatError, match=r"expected \.json files"):
        read_mediapipe(tmp_path)
    write(tmp_path / "a.json", task(clip(1)))
    assert detect(tmp_path)
    assert detect(tmp_path / "a.json")
    write(tmp_path / "b.json", [{"frame_id": 0, "instances": []}])
    with pytest.raises(SkeletonFormatError, match="several formats, mediapipe, mmpose; give the"):
        open_source(tmp_path)
