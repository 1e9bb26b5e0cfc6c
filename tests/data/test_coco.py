from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_openpose import clip

from pcm3.data.readers import open_source
from pcm3.data.readers.coco import detect, read_coco
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, HALPE26, OPENPOSE18


def alphapose(people: Any, name: str = "{}.jpg", ids: Any = None) -> list[dict[str, Any]]:
    """What AlphaPose writes; persons without coordinates are not found."""
    results = []
    for at, frame in enumerate(people):
        for person, points in enumerate(frame):
            if np.any(points):
                result = {
                    "image_id": name.format(at),
                    "category_id": 1,
                    "keypoints": points.ravel().tolist(),
                    "score": 2.75,
                    "box": [1.5, 2.5, 30.0, 40.0],
                }
                results.append(result | ({} if ids is None else {"idx": ids[person]}))
    return results


def coco(people: Any, first: int = 0) -> list[dict[str, Any]]:
    """COCO results, whose images have numbers."""
    return [
        {
            "image_id": first + at,
            "category_id": 1,
            "keypoints": points.ravel().tolist(),
            "score": 0.75,
        }
        for at, frame in enumerate(people)
        for points in frame
    ]


def write(file: Path, results: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results))


def test_reads_everything(tmp_path: Path) -> None:
    write(tmp_path / "a.json", coco(clip(3, joints=17), first=139))
    write(tmp_path / "ben" / "alphapose-results.json", alphapose(clip(2, joints=17, seed=1)))
    (tmp_path / "labels.csv").write_text("file,label\nben/alphapose-results.json,wave\na.json,\n")
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.skeleton, source.unit) == ("coco", COCO17, "pixels")
    first, second = source
    assert (first.name, second.name) == ("a.json", "ben/alphapose-results.json")
    assert (first.label, second.label) == (-1, 0)
    np.testing.assert_array_equal(first.frames, clip(3, joints=17)[..., :2].astype(np.float32))
    points = clip(2, joints=17, seed=1)[..., :2]
    np.testing.assert_array_equal(second.frames, points.astype(np.float32))
    (alone,) = open_source(tmp_path / "a.json")
    assert alone.name == "a.json"


def test_persons_by_their_ids(tmp_path: Path) -> None:
    frames = clip(4, 2, 17)
    frames[1, 0] = frames[2] = 0
    frames[3] = frames[3, ::-1]  # the persons change places, and keep their ids
    write(tmp_path / "a.json", alphapose(frames, ids=[7, 3]))
    source = open_source(tmp_path)
    (recording,) = source
    order = [7, 3] if frames[0, 0].any() else [3, 7]
    assert order == [7, 3]
    np.testing.assert_array_equal(recording.frames, frames[..., :2].astype(np.float32))
    assert source.persons == 2


@pytest.mark.parametrize("ids", [None, [0.0, 0.0], [[0.0], [0.0]], [[1, 2], [3]]])
def test_persons_by_position(tmp_path: Path, ids: Any) -> None:
    """AlphaPose without tracking gives everybody the id 0."""
    frames = clip(4, 2, 17)
    write(tmp_path / "a.json", alphapose([frames[0], *frames[1:, ::-1]], ids=ids))
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames, frames[..., :2].astype(np.float32))
    assert any("tracked by position" in note for note in recording.notes)


def test_image_names(tmp_path: Path) -> None:
    frames = clip(12, joints=17)
    frames[4] = 0
    write(tmp_path / "a.json", alphapose(frames, "cam/anna 2_{}.png"))
    (recording,) = open_source(tmp_path)  # 10 after 9
    np.testing.assert_array_equal(recording.frames, frames[..., :2].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "b3.jpg"}, r"\[1\].image_id: expected images of one recording.*0.jpg.*b3"),
        ({"image_id": "last.jpg"}, r"\[1\].image_id: .*number.*last.jpg"),
        ({"image_id": ""}, r"\[1\].image_id: .*number"),
        ({"image_id": 1.5}, r"\[1\].image_id"),
        ({"image_id": 2**40}, r"at most .* bytes .* frames 0 to 1099511627777"),
        ({"keypoints": [1.0] * 50}, r"\[1\].keypoints: .*50 numbers"),
        ({"keypoints": [1.0] * 54}, r"frame 1: expected 17 joints .*, got 18"),
        ({"keypoints": [1.0] * 50 + ["1"]}, r"\[1\].keypoints\[50\]"),
        ({"keypoints": [1e300] * 51}, r"too large for 32 bits in frame 1, person 0, joint 0"),
        ({"idx": "a"}, r"\[1\].idx"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path / "a.json", coco(clip(2, joints=17)))
    results = (coco if change.get("image_id") == 2**40 else alphapose)(clip(3, joints=17))
    results[1] |= change
    write(tmp_path / "b.json", results)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(open_source(tmp_path, "coco"))
    assert str(caught.value).startswith(str(tmp_path / "b.json"))


def test_layouts(tmp_path: Path) -> None:
    write(tmp_path / "a.json", coco(clip(2, joints=18)))
    assert open_source(tmp_path).skeleton == OPENPOSE18
    write(tmp_path / "a.json", coco(clip(2, joints=26)))
    assert open_source(tmp_path).skeleton == HALPE26
    write(tmp_path / "a.json", coco(clip(2, joints=136)))
    with pytest.raises(SkeletonFormatError, match=r"for coco17, .*got \(136, 2\); --skeleton"):
        open_source(tmp_path)


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    with pytest.raises(SkeletonFormatError, match=r"expected \.json files"):
        read_coco(tmp_path)
    write(tmp_path / "a.json", {"images": [{"image_id": 1}]})  # annotations are no results
    assert not detect(tmp_path)
    write(tmp_path / "a.json", [])
    with pytest.raises(SkeletonFormatError, match="empty list"):
        read_coco(tmp_path)
    write(tmp_path / "a.json", coco(clip(1, joints=17)))
    assert detect(tmp_path)
    assert detect(tmp_path / "a.json")
