"""MSR-Action3D: a folder of text files, one recording each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pcm3.data.protocols import Protocol
from pcm3.data.readers.base import NumberedFiles, Recording, Source, one_person
from pcm3.data.readers.shared.table import with_table
from pcm3.io.files import regular
from pcm3.io.reading import MOST_BYTES, fail, parse_float
from pcm3.skeleton import KINECT20

_ACTIONS = (
    "high arm wave; horizontal arm wave; hammer; hand catch; forward punch; high throw; draw x; "
    "draw tick; draw circle; hand clap; two hand wave; side-boxing; bend; forward kick; "
    "side kick; jogging; tennis swing; tennis serve; golf swing; pick up and throw"
)
_CLASS_NAMES = tuple(_ACTIONS.split("; "))
_FILES = NumberedFiles(
    "aAA_sSS_eEE_skeleton3D.txt",
    re.compile(r"a(\d+)_s(\d+)_e(\d+)_skeleton3D\.txt", re.ASCII),
    range(1, len(_CLASS_NAMES) + 1),
)

_ORDER = (
    "shoulder_left shoulder_right shoulder_center spine hip_left hip_right hip_center elbow_left "
    "elbow_right wrist_left wrist_right hand_left hand_right knee_left knee_right ankle_left "
    "ankle_right foot_left foot_right head"
)
MSR20 = KINECT20.reordered(_ORDER.split())
"""``KINECT20`` in the order of MSR-Action3D. The data set does not name its joints. The tree
follows the bones that its authors draw; the order of the sides is this library's choice."""


detect = _FILES.any_in


@with_table
def read_msr(path: str | Path) -> Source:
    """Read MSR-Action3D: 20 lines per frame of x, y, z in metres and confidence.

    The confidence is not kept. Names give the action (1 to 20, here labels 0 to 19) and the
    columns ``subjects`` and ``trials``, from 1. Protocol ``xsub``: odd subjects train.

    Args:
        path: A folder; its sub-folders are not searched.

    Raises:
        SkeletonFormatError: If no file has such a name. A file that has an unknown action or does
            not follow the format raises only when it is read; the message names the line.
    """
    return Source(
        format="msr",
        skeleton=MSR20,
        class_names=_CLASS_NAMES,
        units=_FILES.find(Path(path)),
        read=_read_unit,
        protocols={"xsub": Protocol("subjects", (1, 3, 5, 7, 9))},
        fps=15.0,
        about="MSR-Action3D",
    )


def _read_unit(file: Path) -> Iterator[Recording]:
    action, subject, trial = _FILES.checked(file)
    rows = []
    try:
        lines = regular(file, MOST_BYTES).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fail(file, f"not a readable text file, {error}")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            x, y, z, _ = (parse_float(word) for word in line.split())
        except ValueError:
            fail(file, f"line {number}", f"expected x, y, z and confidence, got {line[:60]!r}")
        rows.append((x, y, z))
    if not rows or len(rows) % 20:
        fail(file, f"expected a multiple of 20 lines, got {len(rows)}")
    frames = one_person(file, "coordinates", np.array(rows).reshape(-1, 20, 3))
    yield Recording(frames, action - 1, {"subjects": subject, "trials": trial}, name=file.stem)
