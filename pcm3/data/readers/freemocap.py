"""FreeMoCap: ``.npy`` files of the body that it finds with MediaPipe."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pcm3.data.readers.base import Source
from pcm3.data.readers.shared.markers import one_person
from pcm3.data.readers.shared.poses import Poses, pose_source
from pcm3.data.readers.shared.table import with_table
from pcm3.io.reading import check_room, fail, file_or_files, kinds_of, open_npy
from pcm3.skeleton import BLAZEPOSE33, Skeleton

_BODY, _ALL = "body_3d_xyz", "skeleton_3d"
_NAME = re.compile(rf"mediapipe_({_BODY}|{_ALL}|skel_3d_body_hands_face)\.npy", re.IGNORECASE)
_OLD = re.compile(r"mediapipeskel_3d_body_hands_face\.npy", re.IGNORECASE)
_JOINTS = len(BLAZEPOSE33)
_SIZES = (33, 75, 543, 553)
"""Numbers of points: the body, with both hands, and with the face in two versions."""
_MILLIMETRES = 1000.0


def detect(path: Path) -> bool:
    """Return whether this is a file with such a name, or a folder with one."""
    return any(is_freemocap(file) for file in file_or_files(path))


def is_freemocap(file: Path) -> bool:
    """Return whether a file is called as FreeMoCap calls those of the body."""
    return _NAME.fullmatch(file.name) is not None or _OLD.fullmatch(file.name) is not None


@with_table
def read_freemocap(path: str | Path, *, skeleton: str | Path | Skeleton | None = None) -> Source:
    """Read the bodies that FreeMoCap writes into ``output_data``, one recording each.

    A file is ``mediapipe_body_3d_xyz.npy`` with (T, 33, 3), or ``mediapipe_skeleton_3d.npy``, in
    older versions ``mediaPipeSkel_3d_body_hands_face.npy``, with (T, V, 3) of body, hands and
    face, of which the 33 points of the body are read. If a folder has both, the first one is read.
    Millimetres become metres; NaN says that a point is not seen. FreeMoCap's z points up, see
    ``--up``.

    Args:
        path: A file, or a folder that is searched with its sub-folders.
        skeleton: As in ``read_mediapipe``.

    Raises:
        SkeletonFormatError: If there is no such file. Wrong files raise only when they are read;
            the message names the file and the shape.
    """
    root = Path(path)
    found = [file for file in file_or_files(root) if root.is_file() or is_freemocap(file)]
    bodies = {file.parent for file in found if _BODY in file.name}
    files = sorted(file for file in found if _BODY in file.name or file.parent not in bodies)
    if not files:
        what = f"expected files mediapipe_{_BODY}.npy or mediapipe_{_ALL}.npy"
        fail(root, f"{what}, found {kinds_of(root)}")
    return pose_source(
        *("freemocap", root, files, _read, {(_JOINTS, 3): BLAZEPOSE33}),
        skeleton=skeleton,
        min_score=0.0,
    )


def _read(file: Path) -> Poses:
    array = open_npy(file)
    sizes = array.ndim == 3 and len(array) > 0 and array.shape[1] in _SIZES and array.shape[2] == 3
    if not sizes or array.dtype.kind != "f":
        expected = f"expected numbers (T, V of {', '.join(map(str, _SIZES))}, 3)"
        fail(file, f"{expected}, got {array.dtype} {array.shape}")
    check_room(file, 8 * len(array) * _JOINTS * 3, f"{array.dtype} {array.shape}")
    points = np.array(array[:, :_JOINTS], dtype=np.float64)
    missing = np.isnan(points)
    points[missing.all(-1)] = 0
    if not np.isfinite(points).all():
        frame, joint, _ = np.argwhere(~np.isfinite(points))[0].tolist()
        fail(file, f"frame {frame}, joint {joint}", "expected finite numbers, or NaN three times")
    return one_person(points / _MILLIMETRES, range(len(points)))
