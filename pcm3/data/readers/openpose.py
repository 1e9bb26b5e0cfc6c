"""OpenPose: folders with a JSON file for each frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from pcm3.data.readers.base import Source
from pcm3.data.readers.shared.poses import Person, Poses, pose_source, triples
from pcm3.data.readers.shared.table import with_table
from pcm3.io.json import read_json
from pcm3.io.reading import fail, files_below, kinds_of
from pcm3.skeleton import OPENPOSE18, OPENPOSE25, Skeleton

_NAME = re.compile(r"(.*?)[_.-]?(\d+)_keypoints\.json", re.ASCII | re.DOTALL)
_LAYOUTS = {(25, 2): OPENPOSE25, (18, 2): OPENPOSE18}


class _Frames(NamedTuple):
    """The files of a recording, by number; ``file`` is their folder and the start of their name."""

    file: Path
    numbers: Sequence[int]
    files: Sequence[Path]


class _People(TypedDict):
    pose_keypoints_2d: list[float]


class _Content(TypedDict):
    people: list[_People]


def detect(path: Path) -> bool:
    """Return whether this folder has files named like OpenPose's."""
    return path.is_dir() and any(_NAME.fullmatch(file.name) for file in files_below(path))


@with_table
def read_openpose(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    min_score: float = 0.0,
) -> Source:
    """Read the JSON files of OpenPose's ``--write_json``: one a frame, in pixels.

    A recording is all files ``NAME_000000000012_keypoints.json`` of a folder with the same NAME,
    in the order of their numbers. It is called after folder and NAME, ``anna/wave``, also in
    ``labels.csv``; a NAME may be missing, as where the images of a folder are numbered. 25 joints
    are ``openpose25`` (BODY_25), 18 ``openpose18`` (COCO). A joint that OpenPose did not find is
    not seen. OpenPose gives persons no ids, so they are tracked by position.

    Args:
        path: A folder, searched with its sub-folders.
        skeleton: As in ``read_mediapipe``.
        min_score: As in ``read_mediapipe``.

    Raises:
        SkeletonFormatError: If no file has such a name. Wrong files raise only when they are read;
            the message names the file and the key.
    """
    root = Path(path)
    groups: dict[Path, dict[int, Path]] = {}
    for file in sorted(files_below(root) if root.is_dir() else ()):
        if match := _NAME.fullmatch(file.name):
            group = groups.setdefault(file.parent / match[1], {})
            other = group.setdefault(int(match[2]), file)
            if other != file:
                fail(file, f"has the number of {other.name}")
    if not groups:
        what = "expected a folder with files NAME_000000000000_keypoints.json"
        fail(root, f"{what}, found {kinds_of(root)}")
    units = []
    for file, group in sorted(groups.items()):
        numbers = sorted(group)
        units.append(_Frames(file, numbers, [group[number] for number in numbers]))
    return pose_source(
        *("openpose", root, units, _read, _LAYOUTS), skeleton=skeleton, min_score=min_score
    )


def _read(unit: _Frames) -> Poses:
    persons = []
    for number, file in zip(unit.numbers, unit.files, strict=True):
        for at, each in enumerate(read_json(file, _Content)["people"]):
            place = f"people[{at}].pose_keypoints_2d"
            persons.append(Person(number, *triples(file, place, each["pose_keypoints_2d"])))
    return Poses(persons, unit.numbers)
