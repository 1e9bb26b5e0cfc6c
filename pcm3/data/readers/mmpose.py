"""MMPose: predictions of its inferencer and demos, such as those of RTMPose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypedDict

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
from pcm3.io.json import check_kind, read_json
from pcm3.io.reading import fail
from pcm3.skeleton import COCO17, HALPE26, Skeleton


class _Keypoints(TypedDict):
    keypoints: list[list[float]]


class _Instance(_Keypoints, total=False):
    keypoint_scores: list[float]
    track_id: int


class _Frame(TypedDict):
    frame_id: int
    instances: list[_Instance]


class _Meta(TypedDict, total=False):
    keypoint_id2name: dict[str, str]


_WORDS = re.compile(r'"(instance_info|meta_info|instances)"')


def detect(path: Path) -> bool:
    """Return whether this is a file of such predictions, or a folder with one."""
    return detect_text(path, ".json", lambda text: _WORDS.search(text) is not None)


@with_table
def read_mmpose(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    min_score: float = 0.0,
) -> Source:
    """Read the predictions that MMPose saves of a video, one JSON file a recording.

    A file is a list of frames with ``frame_id`` and ``instances``, or an object with this list as
    ``instance_info``. An instance is a person with ``keypoints`` (V, 2) in pixels or (V, 3),
    ``keypoint_scores`` and maybe ``track_id``; without it persons are tracked by position. Joints
    are those that ``meta_info`` names, or else 17 of 2D are ``coco17`` and 26 ``halpe26``.

    Args:
        path: A file, or a folder whose ``.json`` files are read, also those in sub-folders.
        skeleton: As in ``read_mediapipe``.
        min_score: As in ``read_mediapipe``.

    Raises:
        SkeletonFormatError: If there is no such file. Wrong files raise only when they are read;
            the message names the file and the key.
    """
    root = Path(path)
    return pose_source(
        *(
            "mmpose",
            root,
            find_recordings(root, ".json"),
            _read,
            {(17, 2): COCO17, (26, 2): HALPE26},
        ),
        skeleton=skeleton,
        min_score=min_score,
        by_name=False,
    )


def _read(file: Path) -> Poses:
    content = read_json(file, Any)
    joints = None
    if isinstance(content, dict):
        joints = _joints(file, content.get("meta_info"))
        content = content.get("instance_info")
    try:
        check_kind(content, list[_Frame], "instance_info")
    except ValueError as error:
        fail(file, str(error))
    if not content:
        fail(file, "expected frames, got none")
    persons = []
    for frame in content:
        for at, each in enumerate(frame["instances"]):
            place = f"frame_id {frame['frame_id']}: instances[{at}]"
            persons.append(_person(file, place, frame["frame_id"], each))
    numbers = [frame["frame_id"] for frame in content]
    if len(set(numbers)) < len(numbers):
        fail(file, "frame_id", "expected each frame once")
    if persons and joints is not None and len(joints) != len(persons[0].points):
        what = f"expected {len(joints)} joints, as meta_info names"
        fail(file, f"{what}, got {len(persons[0].points)}")
    return Poses(persons, numbers, joints)


def _person(file: Path, place: str, frame: int, instance: _Instance) -> Person:
    points, scores = instance["keypoints"], instance.get("keypoint_scores")
    widths = {len(point) for point in points}
    if widths not in ({2}, {3}):
        fail(file, place, f"expected keypoints (V, 2) or (V, 3), got rows of {sorted(widths)}")
    if scores is not None and len(scores) != len(points):
        fail(file, place, f"expected {len(points)} keypoint_scores, got {len(scores)}")
    return Person(
        frame,
        np.array(points, dtype=np.float64),
        None if scores is None else np.array(scores, dtype=np.float64),
        instance.get("track_id"),
    )


def _joints(file: Path, meta: Any) -> list[str] | None:
    """Return the names of the joints in ``meta_info``; None if it does not give them."""
    try:
        check_kind(meta, _Meta | None, "meta_info")
    except ValueError as error:
        fail(file, str(error))
    names = None if meta is None else meta.get("keypoint_id2name")
    if names is None:
        return None
    if set(names) != {str(at) for at in range(len(names))}:
        fail(file, "meta_info.keypoint_id2name", "expected the joints 0, 1, 2, ...")
    return [names[str(at)] for at in range(len(names))]
