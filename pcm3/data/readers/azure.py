"""Azure Kinect: JSON files of its body tracking, one recording each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict

import numpy as np

from pcm3.data.readers.base import Source
from pcm3.data.readers.shared.poses import (
    Person,
    Poses,
    detect_text,
    find_recordings,
    pose_source,
)
from pcm3.data.readers.shared.table import with_table
from pcm3.io.json import read_json
from pcm3.io.reading import fail
from pcm3.skeleton import Skeleton


class _Body(TypedDict):
    body_id: int
    joint_positions: list[tuple[float, float, float]]


class _Frame(TypedDict):
    frame_id: int
    bodies: list[_Body]


class _Content(TypedDict):
    joint_names: list[str]
    frames: list[_Frame]


_WORDS = re.compile(r'"(bone_list|body_id|joint_positions)"')
_MILLIMETRES = 1000.0


def detect(path: Path) -> bool:
    """Return whether this is a file of such bodies, or a folder with one."""
    return detect_text(path, ".json", lambda text: _WORDS.search(text) is not None)


@with_table
def read_azure(path: str | Path, *, skeleton: str | Path | Skeleton | None = None) -> Source:
    """Read what the offline processor of Azure Kinect writes, one JSON file a recording.

    A file is an object with ``joint_names`` and ``frames``, each with ``frame_id`` and ``bodies``,
    each with ``body_id`` and ``joint_positions`` (V, 3) in millimetres, which become metres.
    Bodies are tracked by their ids. Orientations and confidences are not kept.

    Args:
        path: A file, or a folder whose ``.json`` files are read, also those in sub-folders.
        skeleton: As in ``read_mediapipe``.

    Raises:
        SkeletonFormatError: If there is no such file. Wrong files raise only when they are read;
            the message names the file and the key.
    """
    root = Path(path)
    return pose_source(
        *("azure", root, find_recordings(root, ".json"), _read, {}),
        skeleton=skeleton,
        min_score=0.0,
    )


def _read(file: Path) -> Poses:
    content = read_json(file, _Content)
    joints = [name.lower() for name in content["joint_names"]]  # as in AZURE32
    numbers = [frame["frame_id"] for frame in content["frames"]]
    if not numbers or len(set(numbers)) < len(numbers):
        fail(file, "frames", "expected frames, each frame_id once")
    persons = []
    for frame in content["frames"]:
        for at, body in enumerate(frame["bodies"]):
            points = np.array(body["joint_positions"], dtype=np.float64).reshape(-1, 3)
            if len(points) != len(joints):
                what = f"expected {len(joints)} joints, as joint_names has, got {len(points)}"
                fail(file, f"frame_id {frame['frame_id']}: bodies[{at}].joint_positions", what)
            points = points / _MILLIMETRES
            persons.append(Person(frame["frame_id"], points, None, body["body_id"]))
    return Poses(persons, numbers, joints)
