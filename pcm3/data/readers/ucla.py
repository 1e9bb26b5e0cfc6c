"""Northwestern-UCLA Multiview Action3D: a folder of JSON files, one recording each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pcm3.data.protocols import Protocol
from pcm3.data.readers.base import NumberedFiles, Recording, Source, one_person
from pcm3.data.readers.shared.table import with_table
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.reading import MOST_BYTES, fail
from pcm3.skeleton import KINECT20

_ACTIONS = {
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
_LABELS = {action: label for label, action in enumerate(_ACTIONS)}
_FILES = NumberedFiles(
    "aAA_sSS_eEE_vVV.json",
    re.compile(r"a(\d+)_s(\d+)_e(\d+)_v(\d+)\.json", re.ASCII),
    tuple(_ACTIONS),
)


detect = _FILES.any_in


@with_table
def read_ucla(path: str | Path) -> Source:
    """Read NW-UCLA in the JSON files of CTR-GCN: key ``skeletons``, (T, 20, 3) in metres.

    Joints are in the order of ``KINECT20``. Names give the action (1 to 6, 8, 9, 11 and 12, here
    labels 0 to 9) and the columns ``subjects``, ``trials`` and ``views``, usually from 1. The data
    set contains 95 recordings twice, under two views. Protocol ``xview``: views 1 and 2 train.

    Args:
        path: A folder; its sub-folders are not searched.

    Raises:
        SkeletonFormatError: If no file has such a name. A file that has an unknown action or does
            not follow the format raises only when it is read.
    """
    return Source(
        format="ucla",
        skeleton=KINECT20,
        class_names=tuple(_ACTIONS.values()),
        units=_FILES.find(Path(path)),
        read=_read_unit,
        protocols={"xview": Protocol("views", (1, 2))},
        fps=30.0,
        about="Northwestern-UCLA Multiview Action3D",
    )


def _read_unit(file: Path) -> Iterator[Recording]:
    action, subject, trial, view = _FILES.checked(file)
    try:
        content = json.loads(regular(file, MOST_BYTES).read_text(encoding="utf-8"))
    except SkeletonFormatError:
        raise
    except Exception as error:  # a broken file may raise anything
        fail(file, f"not a readable JSON file, {error}")
    if not isinstance(content, dict) or "skeletons" not in content:
        got = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        fail(file, "skeletons", f"missing; got {got}")
    columns = {"subjects": subject, "trials": trial, "views": view}
    frames = one_person(file, "skeletons", content["skeletons"])
    values = np.asarray(content["skeletons"], dtype=object)
    if any(type(value) not in (int, float) for value in values.flat):  # true is 1 to NumPy
        fail(file, "skeletons", "expected numbers, got something else among them")
    yield Recording(frames, _LABELS[action], columns, name=file.stem)
