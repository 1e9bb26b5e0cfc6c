"""MediaPipe Pose: JSON files of landmarks, one recording each."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Source
from pcm3.data.readers.shared.poses import (
    Person,
    Poses,
    detect_text,
    find_recordings,
    pose_source,
)
from pcm3.data.readers.shared.table import with_table
from pcm3.data.resample import check_rate
from pcm3.io.json import check_kind, read_json
from pcm3.io.reading import fail, shown
from pcm3.skeleton import BLAZEPOSE33, Skeleton

ImageSize = tuple[int, int] | None
"""Width and height of the images in pixels."""

_WORLD = ("pose_world_landmarks", "worldLandmarks")
_IMAGE = ("pose_landmarks", "landmarks")
_NUMBERS = ("frame", "frame_id", "frame_index", "frame_number")
_WORDS = re.compile(rf'"({"|".join((*_WORLD, *_IMAGE))})"')


def detect(path: Path) -> bool:
    """Return whether this is a file of such landmarks, or a folder with one."""
    return detect_text(path, ".json", lambda text: _WORDS.search(text) is not None)


@with_table
def read_mediapipe(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    min_score: float = 0.0,
    image_size: ImageSize = None,
) -> Source:
    """Read JSON files of MediaPipe's 33 pose landmarks, one recording each.

    A file is a list of frames, or an object with this list as ``frames`` and maybe ``fps``. A
    frame is an object with ``pose_world_landmarks`` (in metres, from the hips) or
    ``pose_landmarks`` (in shares of the image), which the web tasks call ``worldLandmarks`` and
    ``landmarks``: the landmarks of one person, a list of them for each person, an object
    ``{"landmark": [...]}``, or null or an empty list if nobody is seen. A landmark is an object
    with ``x``, ``y``, ``z`` and maybe ``visibility``, or a list of these. Frames are in the order
    of the list, or by their ``frame``, ``frame_id``, ``frame_index`` or ``frame_number``. Persons
    are tracked by position.

    Args:
        path: A file, or a folder whose ``.json`` files are read, also those in sub-folders.
        skeleton: Layout of the joints, in place of the one by their number.
        min_score: Joints with a lower score (visibility, confidence) are taken as not seen.
        image_size: Width and height of the images, to read 2D coordinates in pixels from shares of
            an image. Image landmarks are read then, otherwise world landmarks.

    Raises:
        SkeletonFormatError: If there is no such file. Wrong files raise only when they are read;
            the message names the file and the frame.
        ValueError: If the size of the images is not positive.
    """
    root = Path(path)
    check_image_size(image_size)
    return pose_source(
        "mediapipe",
        root,
        find_recordings(root, ".json"),
        partial(_read, image_size),
        {(33, 3): BLAZEPOSE33, (33, 2): BLAZEPOSE33},
        skeleton=skeleton,
        min_score=min_score,
    )


def check_image_size(image_size: ImageSize) -> None:
    """Require a width and a height above 0, or None.

    Raises:
        ValueError: If one is not.
    """
    if image_size is not None and min(image_size) < 1:
        raise ValueError(f"expected image_size above 0, got {image_size}")


def in_pixels(points: NDArray[np.float64], image_size: ImageSize) -> NDArray[np.float64]:
    """Return x and y in pixels for points in shares of the image; all as it is without a size."""
    return points if image_size is None else points[..., :2] * image_size


def _read(image_size: ImageSize, file: Path) -> Poses:
    content, fps = read_json(file, Any), None
    if isinstance(content, dict):
        if content.get("fps") is not None:
            try:
                check_kind(content["fps"], float, "fps")
                fps = check_rate("fps", content["fps"])
            except ValueError as error:
                fail(file, str(error))
        content = content.get("frames", content)
    if not isinstance(content, list) or not content:
        got = shown(list(content) if isinstance(content, dict) else content)
        fail(file, f"expected a list of frames, or an object with frames, got {got}")
    persons: list[Person] = []
    numbers: dict[int, int] = {}
    for at, frame in enumerate(content):
        place = f"frame {at} of the list"
        if not isinstance(frame, dict):
            fail(file, place, f"expected an object, got {shown(frame)}")
        number = next((frame[key] for key in _NUMBERS if key in frame), at)
        if type(number) is not int or numbers.setdefault(number, at) != at:
            fail(file, place, f"expected a number of its own, got {shown(number)}")
        for landmarks in _people(file, place, frame, image_size is None):
            values = _numbers(file, place, landmarks)
            points = in_pixels(values[:, :3], image_size)
            scores = values[:, 3] if values.shape[1] > 3 else None
            persons.append(Person(number, points, scores))
    return Poses(persons, list(numbers), fps=fps)


def _people(file: Path, place: str, frame: dict[str, Any], world: bool) -> list[list[Any]]:
    """Return the landmarks of each person of a frame."""
    keys = _WORLD if world else _IMAGE
    key = next((key for key in keys if key in frame), None)
    if key is None:
        others = [key for key in (*_WORLD, *_IMAGE) if key in frame]
        advice = "; --image-size WIDTH HEIGHT reads image landmarks" * bool(world and others)
        got = ", ".join(others) or shown(list(frame))
        fail(file, place, f"expected {' or '.join(keys)}, got {got}{advice}")
    found = _unwrapped(frame[key])
    if not found and found in (None, []):
        return []
    if not isinstance(found, list):
        fail(file, place, f"{key}: expected a list of landmarks, got {shown(found)}")
    first = found[0]
    one = "x" in first if isinstance(first, dict) else _is_point(first)
    people = [found] if one else [_unwrapped(person) for person in found]
    for person in people:
        if not isinstance(person, list) or not person:
            fail(file, place, f"{key}: expected lists of landmarks, got {shown(person)}")
    return people


def _unwrapped(landmarks: Any) -> Any:
    """Return the list in an object ``{"landmark": [...]}``, which is empty without landmarks."""
    if isinstance(landmarks, dict) and (not landmarks or "landmark" in landmarks):
        return landmarks.get("landmark")
    return landmarks


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and type(value[0]) in (int, float)


def _numbers(file: Path, place: str, landmarks: list[Any]) -> NDArray[np.float64]:
    """Return x, y, z and, where all have it, visibility of landmarks (V, 3 or 4)."""
    rows = []
    for joint, mark in enumerate(landmarks):
        row = mark
        if isinstance(mark, dict) and mark.keys() >= {"x", "y", "z"}:
            row = [mark[key] for key in ("x", "y", "z", "visibility") if key in mark]
        if not isinstance(row, list) or len(row) < 3:
            fail(file, place, f"landmark {joint}: expected x, y, z, got {shown(mark)}")
        rows.append(row[:4])
    width = min(map(len, rows))
    rows = [row[:width] for row in rows]
    if {type(value) for row in rows for value in row} != {float}:  # mostly so, and checked faster
        try:
            check_kind(rows, list[list[float]], "landmarks")
        except ValueError as error:
            fail(file, place, str(error))
    values = np.array(rows, dtype=np.float64)
    if not np.isfinite(values).all():
        fail(file, place, "expected finite numbers")
    return values
