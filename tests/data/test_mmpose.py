from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_openpose import clip

from pcm3.data.readers import open_source
from pcm3.data.readers.mmpose import detect, read_mmpose
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, HUMAN36M17


def frames_of(people: Any, first: int = 0, **more: list[int]) -> list[dict[str, Any]]:
    """What the inferencer saves of a video; persons (T, M, V, C + 1), the last is the score."""
    return [
        {
            "frame_id": first + at,
            "instances": [
                {
                    "keypoints": points[:, :-1].tolist(),
                    "keypoint_scores": points[:, -1].tolist(),
                    "bbox": [[1.5, 2.5, 30.5, 40.5]],
                    "bbox_score": 0.9,
                    **{key: values[person] for key, values in more.items()},
                }
                for person, points in enumerate(frame)
            ],
        }
        for at, frame in enumerate(people)
    ]


def with_meta(people: Any, joints: Any = COCO17.joints) -> dict[str, Any]:
    """What the demos save."""
    meta = {
        "dataset_name": "coco",
        "num_keypoints": len(joints),
        "keypoint_id2name": {str(at): name for at, name in enumerate(joints)},
        "keypoint_colors": {"__ndarray__": [[0, 0, 0]] * 500, "dtype": "uint8"},
    }
    return {"meta_info": meta, "instance_info": frames_of(people, first=1)}


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def test_reads_everything(tmp_path: Path) -> None:
    write(tmp_path / "a.json", frames_of(clip(3, joints=17)))
    write(tmp_path / "b.json", frames_of([*clip(2, joints=17, seed=1), []]))
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.skeleton, source.unit) == ("mmpose", COCO17, "pixels")
    first, second = source
    assert first.name == "a.json"
    np.testing.assert_array_equal(first.frames, clip(3, joints=17)[..., :2].astype(np.float32))
    np.testing.assert_array_equal(
        second.frames[:2], clip(2, joints=17, seed=1)[..., :2].astype(np.float32)
    )
    assert len(second.frames) == 3
    assert not second.frames[2].any()


def test_joints_by_name(tmp_path: Path) -> None:
    points = np.concatenate([clip(3, joints=17), clip(3, joints=17, seed=1)[..., :1]], axis=-1)
    write(tmp_path / "a.json", with_meta(points, HUMAN36M17.joints))
    backwards = HUMAN36M17.joints[::-1]
    write(tmp_path / "b.json", with_meta(points[:, :, ::-1], backwards))
    source = open_source(tmp_path)
    assert (source.skeleton, source.unit) == (HUMAN36M17, "metres")
    for recording in source:
        np.testing.assert_array_equal(recording.frames, points[..., :3].astype(np.float32))
    write(tmp_path / "b.json", with_meta(points, [*backwards[1:], "tail"]))
    with pytest.raises(
        SkeletonFormatError, match=r"b.json: .*of a.json.*without right_wrist, with tail"
    ):
        list(open_source(tmp_path))
    write(tmp_path / "b.json", frames_of(points))
    with pytest.raises(SkeletonFormatError, match=r"b.json: .*all with names or all without"):
        list(open_source(tmp_path))
    write(tmp_path / "a.json", with_meta(points, [*backwards[1:], "tail"]))
    with pytest.raises(SkeletonFormatError, match=r"a.json: .*tail; --skeleton gives the layout"):
        list(open_source(tmp_path))


def test_three_coordinates_without_names(tmp_path: Path) -> None:
    """17 joints may be COCO's or Human3.6M's then."""
    points = np.concatenate([clip(3, joints=17), clip(3, joints=17)[..., :1]], axis=-1)
    write(tmp_path / "a.json", frames_of(points))
    with pytest.raises(SkeletonFormatError, match=r"got \(17, 3\)"):
        open_source(tmp_path)
    assert open_source(tmp_path, skeleton="human36m17").skeleton == HUMAN36M17


def test_persons_by_their_ids(tmp_path: Path) -> None:
    frames = clip(4, 2, 17)
    swapped = frames_of(frames[:2], track_id=[4, 2])
    swapped += frames_of(frames[2:, ::-1], 2, track_id=[2, 4])
    write(tmp_path / "a.json", swapped)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames, frames[..., :2].astype(np.float32))
    (recording,) = open_source(tmp_path, min_score=0.6)
    points = np.where(frames[..., 2:] < 0.6, 0, frames[..., :2])
    np.testing.assert_array_equal(recording.frames, points.astype(np.float32))


def changed(key: str, value: Any) -> list[dict[str, Any]]:
    content = frames_of(clip(2, joints=17))
    content[1]["instances"][0][key] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("keypoints", [[1.0, 2.0], [3.0]]), r"frame_id 1: instances\[0\].*\[1, 2\]"),
        (changed("keypoints", []), r"frame_id 1: instances\[0\].*keypoints"),
        (changed("keypoint_scores", [0.5]), r"instances\[0\].*17 keypoint_scores, got 1"),
        (changed("keypoints", [[1.0, None]]), r"instances\[0\].keypoints\[0\]\[1\].*number"),
        ([{"frame_id": 0}], r"instance_info\[0\].*instances"),
        ({"meta_info": {}}, "instance_info"),
        ([], "expected frames"),
        ([{"frame_id": 3, "instances": []}] * 2, "each frame once"),
        ({"meta_info": {"keypoint_id2name": {"1": "nose"}}, "instance_info": []}, "0, 1, 2"),
        ({"meta_info": {"keypoint_id2name": [1]}, "instance_info": []}, "keypoint_id2name"),
        ({"meta_info": 3, "instance_info": []}, "meta_info"),
        (with_meta(clip(2, joints=17), COCO17.joints[1:]), "expected 16 joints"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, content: Any, message: str) -> None:
    write(tmp_path / "a.json", frames_of(clip(2, joints=17)))
    write(tmp_path / "b.json", content)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_mmpose(tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "b.json"))


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    write(tmp_path / "skeleton.json", with_meta(clip(1, joints=17)))  # is no recording
    assert not detect(tmp_path)
    write(tmp_path / "a.json", with_meta(clip(1, joints=17)))
    assert detect(tmp_path)
    write(tmp_path / "a.json", frames_of(clip(1, joints=17)))
    assert detect(tmp_path / "a.json")
