"""COCO key point results, as many estimators write them; AlphaPose adds ids of persons."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TypedDict

from pcm3.data.readers.base import Source
from pcm3.data.readers.shared.poses import (
    Person,
    Poses,
    detect_text,
    find_recordings,
    pose_source,
    triples,
)
from pcm3.data.readers.shared.table import with_table
from pcm3.io.json import read_json
from pcm3.io.reading import fail, shown
from pcm3.skeleton import COCO17, HALPE26, OPENPOSE18, Skeleton

_LAYOUTS = {(17, 2): COCO17, (18, 2): OPENPOSE18, (26, 2): HALPE26}
_NUMBERED = re.compile(r"(.*?)(\d{1,18})", re.ASCII | re.DOTALL)


class _Required(TypedDict):
    image_id: int | str
    keypoints: list[float]


class _Result(_Required, total=False):
    idx: float | list[float] | None


def detect(path: Path) -> bool:
    """Return whether this is a file of such results, or a folder with one."""
    return detect_text(
        path, ".json", lambda text: '"image_id"' in text and text.lstrip()[:1] == "["
    )


@with_table
def read_coco(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    min_score: float = 0.0,
) -> Source:
    """Read COCO key point results or AlphaPose's JSON, one file a recording, in pixels.

    A file is a list of persons, each with ``image_id`` and ``keypoints`` (x, y, score of each
    joint). Frames are the numbers that image ids are, or end with (``12.jpg``, ``anna_0012.png``);
    in those from the first to the last that the list lacks, nobody is seen. AlphaPose's ``idx``
    tells persons apart, unless two persons of a frame share it; otherwise persons are tracked by
    position. 17 joints are ``coco17``, 18 ``openpose18``, 26 ``halpe26``.

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
        *("coco", root, find_recordings(root, ".json"), _read, _LAYOUTS),
        skeleton=skeleton,
        min_score=min_score,
    )


def _read(file: Path) -> Poses:
    persons: list[Person] = []
    names: dict[str, int | str] = {}
    for at, each in enumerate(read_json(file, list[_Result])):
        name, number = _numbered(file, at, each["image_id"])
        names.setdefault(name, each["image_id"])
        if len(names) > 1:
            one, other = map(shown, names.values())
            fail(file, f"[{at}].image_id", f"expected images of one recording, got {one}, {other}")
        track = each.get("idx")
        if isinstance(track, list):
            track = track[0] if len(track) == 1 else None
        points, scores = triples(file, f"[{at}].keypoints", each["keypoints"])
        persons.append(Person(number, points, scores, track))
    if not persons:
        fail(file, "expected persons, got an empty list")
    return Poses(persons, sorted({person.frame for person in persons}))


def _numbered(file: Path, at: int, image: int | str) -> tuple[str, int]:
    """Return what precedes the number of an image, and the number."""
    if isinstance(image, int):
        return "", image
    stem = PurePosixPath(image).with_suffix("").as_posix() if image else ""
    match = _NUMBERED.fullmatch(stem)
    if match is None:
        fail(
            file, f"[{at}].image_id", f"expected a name that ends with a number, got {shown(image)}"
        )
    return match[1], int(match[2])
