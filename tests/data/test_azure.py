from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data.readers import open_source
from pcm3.data.readers.azure import detect, read_azure
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import AZURE32

BONES = [[AZURE32.joints[a].upper(), AZURE32.joints[b].upper()] for a, b in AZURE32.bones]


def clip(frames: int, persons: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Joints (T, M, 32, 3) in millimetres."""
    rng = np.random.default_rng(seed)
    return rng.normal(scale=400, size=(frames, persons, 32, 3)).round(2)


def content(people: Any, ids: Any = (1, 2)) -> dict[str, Any]:
    """What the offline processor writes."""
    frames = [
        {
            "bodies": [
                {
                    "body_id": ids[person],
                    "joint_orientations": [[1.0, 0.0, 0.0, 0.0]] * 32,
                    "joint_positions": points.tolist(),
                }
                for person, points in enumerate(bodies)
            ],
            "frame_id": at,
            "num_bodies": len(bodies),
            "timestamp_usec": 33_333 * at,
        }
        for at, bodies in enumerate(people)
    ]
    names = [name.upper() for name in AZURE32.joints]
    about = {"k4abt_sdk_version": "1.1.1", "source_file": "a.mkv"}
    return {"bone_list": BONES, "frames": frames, "joint_names": names, **about}


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=4))


def test_reads_everything(tmp_path: Path) -> None:
    points = clip(4, 2)
    write(tmp_path / "a.json", content([points[0], points[1], [], points[3]]))
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.unit, source.persons) == ("azure", "metres", 2)
    assert source.skeleton == AZURE32
    (recording,) = source
    points[2] = 0
    np.testing.assert_array_equal(recording.frames, (points / 1000).astype(np.float32))


def test_bodies_by_their_ids(tmp_path: Path) -> None:
    points = clip(3, 2)
    swapped = content(points[:, ::-1], ids=(2, 1))
    swapped["frames"][0] = content(points[:1])["frames"][0]
    write(tmp_path / "a.json", swapped)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames, (points / 1000).astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": []}, "frames: expected frames"),
        ({"frames": [{"frame_id": 1, "bodies": []}] * 2}, "each frame_id once"),
        ({"frames": [{"frame_id": 1, "bodies": [{}]}]}, r"frames\[0\].bodies\[0\].*body_id"),
        (
            {"frames": [{"frame_id": 4, "bodies": [{"body_id": 1, "joint_positions": []}]}]},
            r"frame_id 4: bodies\[0\].joint_positions: expected 32 joints.*got 0",
        ),
        (
            {"frames": [{"frame_id": 4, "bodies": [{"body_id": 1, "joint_positions": [[1, 2]]}]}]},
            r"joint_positions\[0\]",
        ),
        ({"joint_names": ["A"] * 32}, "expected the joints of a.json"),
        ({"joint_names": None}, "joint_names"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path / "a.json", content(clip(2)))
    write(tmp_path / "b.json", content(clip(2)) | change)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_azure(tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "b.json"))


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    write(tmp_path / "a.json", content(clip(1)))
    assert detect(tmp_path)
    assert detect(tmp_path / "a.json")
