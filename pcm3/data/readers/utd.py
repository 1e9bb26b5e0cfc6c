"""UTD-MHAD: a folder of MATLAB files, one recording each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pcm3.data.protocols import Protocol
from pcm3.data.readers.base import NumberedFiles, Recording, Source, one_person
from pcm3.data.readers.shared.table import with_table
from pcm3.errors import SkeletonFormatError
from pcm3.io.mat import load_mat_array
from pcm3.io.reading import check_proportion, fail
from pcm3.skeleton import KINECT20

_ACTIONS = (
    "swipe left; swipe right; wave; clap; throw; arm cross; basketball shoot; draw x; "
    "draw circle clockwise; draw circle counter-clockwise; draw triangle; bowling; boxing; "
    "baseball swing; tennis swing; arm curl; tennis serve; push; knock; catch; pickup and throw; "
    "jog; walk; sit to stand; stand to sit; lunge; squat"
)
_CLASS_NAMES = tuple(_ACTIONS.split("; "))
_FILES = NumberedFiles(
    "aA_sS_tT_skeleton.mat",
    re.compile(r"a(\d+)_s(\d+)_t(\d+)_skeleton\.mat", re.ASCII),
    range(1, len(_CLASS_NAMES) + 1),
)

_ORDER = (
    "head shoulder_center spine hip_center shoulder_left elbow_left wrist_left hand_left "
    "shoulder_right elbow_right wrist_right hand_right hip_left knee_left ankle_left foot_left "
    "hip_right knee_right ankle_right foot_right"
)
UTD20 = KINECT20.reordered(_ORDER.split())
"""``KINECT20`` in the order of UTD-MHAD, which begins with the head."""


detect = _FILES.any_in


@with_table
def read_utd(path: str | Path) -> Source:
    """Read UTD-MHAD: MATLAB 5 files with the variable ``d_skel`` (20, 3, T) in metres.

    Names give the action (1 to 27, here labels 0 to 26) and the columns ``subjects`` and
    ``trials``, from 1. Protocol ``xsub``: odd subjects train.

    Args:
        path: A folder; its sub-folders are not searched.

    Raises:
        SkeletonFormatError: If no file has such a name. A file that has an unknown action or does
            not follow the format raises only when it is read.
    """
    return Source(
        format="utd",
        skeleton=UTD20,
        class_names=_CLASS_NAMES,
        units=_FILES.find(Path(path)),
        read=_read_unit,
        protocols={"xsub": Protocol("subjects", (1, 3, 5, 7))},
        fps=30.0,
        about="UTD-MHAD",
    )


def _read_unit(file: Path) -> Iterator[Recording]:
    action, subject, trial = _FILES.checked(file)
    try:
        values = load_mat_array(file, "d_skel")
    except SkeletonFormatError:
        raise
    except ValueError as error:
        fail(file, f"not a readable MATLAB 5 file, {error}")
    if values is None:
        fail(file, "d_skel", "missing")
    if values.ndim == 2:  # MATLAB drops a last axis of length 1
        values = values[..., None]
    if values.ndim != 3 or values.shape[:2] != (20, 3):
        fail(file, "d_skel", f"expected numbers (20, 3, T), got {values.dtype} {values.shape}")
    check_proportion(file, (values.shape[2], 1, 20, 3))
    frames = one_person(file, "d_skel", np.transpose(values, (2, 0, 1)))
    yield Recording(frames, action - 1, {"subjects": subject, "trials": trial}, name=file.stem)
