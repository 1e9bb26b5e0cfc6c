"""C3D: files of markers, as motion capture systems write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pcm3.data.readers.base import Source
from pcm3.data.readers.shared.markers import check_names, metres, one_person
from pcm3.data.readers.shared.poses import Poses, find_recordings, pose_source
from pcm3.data.readers.shared.table import with_table
from pcm3.data.resample import check_rate
from pcm3.io.c3d import Points, is_c3d, load_points
from pcm3.io.reading import fail, file_or_files
from pcm3.skeleton import Skeleton
from pcm3.skeleton.markers import join_markers


def detect(path: Path) -> bool:
    """Return whether this is a ``.c3d`` file, or a folder with one."""
    return any(file.suffix.lower() == ".c3d" and is_c3d(file) for file in file_or_files(path))


@with_table
def read_c3d(path: str | Path, *, skeleton: str | Path | Skeleton | None = None) -> Source:
    """Read C3D files of markers, one recording of one person each.

    The files give the frame rate, the unit (m, cm, mm, in or ft, which become metres), and the
    names of the markers, which are the joints; a name of the person before them, ``Anna:LASI``, is
    left out. Points without a name and those that the files list as angles, forces, moments,
    powers, reactions or scalars are left out, and a note says so. A marker with a negative residual
    is not seen. Analog channels are not read.

    Args:
        path: A file, or a folder whose ``.c3d`` files are read, also those in sub-folders.
        skeleton: As in ``read_trc``.

    Raises:
        SkeletonFormatError: If there is no such file. Wrong files raise only when they are read;
            the message names the file and the place.
    """
    root = Path(path)
    return pose_source(
        *("c3d", root, find_recordings(root, ".c3d"), _read, {}),
        skeleton=skeleton,
        min_score=0.0,
        join=join_markers,
    )


def _read(file: Path) -> Poses:
    points = load_points(file)
    kept, notes = _markers(points)
    names = [points.names[at].rpartition(":")[2] for at in kept]
    check_names(file, "POINT:LABELS", names)
    scale = metres(file, "POINT:UNITS", points.unit)
    values = points.values[:, kept] * scale
    values[np.isnan(values).any(-1)] = 0
    if not np.isfinite(values).all():
        fail(file, "data", "expected finite numbers")
    try:
        fps = check_rate("a frame rate", points.fps)
    except ValueError as error:
        fail(file, "header", str(error))
    return one_person(values, range(len(values)), names, fps, notes)


def _markers(points: Points) -> tuple[list[int], list[str]]:
    """Return which points are markers with names, and notes on the others."""
    others = {name for names in points.kinds.values() for name in names if name}
    named = [at for at, name in enumerate(points.names) if name and not name.startswith("*")]
    kept = [at for at in named if points.names[at] not in others]
    unnamed = points.values.shape[1] - len(named)
    notes = [f"{unnamed} points without a name, left out"] * (unnamed > 0)
    if left := len(named) - len(kept):
        what = ", ".join(kind.lower() for kind, names in points.kinds.items() if any(names))
        notes.append(f"{left} points that are {what}, left out")
    return kept, notes
