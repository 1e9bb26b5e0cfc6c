"""TRC: text files of markers, as OpenSim, Pose2Sim and motion capture systems write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Source
from pcm3.data.readers.shared.markers import check_names, metres, one_person
from pcm3.data.readers.shared.poses import Poses, detect_text, find_recordings, pose_source
from pcm3.data.readers.shared.table import with_table
from pcm3.data.resample import check_rate
from pcm3.io.reading import fail, parse_float, read_lines, shown
from pcm3.skeleton import Skeleton
from pcm3.skeleton.markers import join_markers

_START = "PathFileType"
_KEYS = ("DataRate", "NumFrames", "NumMarkers", "Units")
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


def detect(path: Path) -> bool:
    """Return whether this is a ``.trc`` file of markers, or a folder with one."""
    return detect_text(path, ".trc", lambda text: text.startswith(_START))


@with_table
def read_trc(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    count_rows: bool = False,
) -> Source:
    """Read TRC files of markers, one recording of one person each.

    The header gives the frame rate, the unit (m, cm, mm, in or ft, which become metres), and the
    names of the markers, which are the joints. The cells of a row are separated by tabs: the number
    of the frame, the time, and x, y, z of each marker. Empty cells and NaN say that a marker is not
    seen.

    Args:
        path: A file, or a folder whose ``.trc`` files are read, also those in sub-folders.
        skeleton: Layout of the markers. By default it is the built-in one with their names, or
            ``join_markers`` makes one. A ``skeleton.json`` may leave out joints and parents.
        count_rows: Read all frames of the file, even if the header gives another number.

    Raises:
        SkeletonFormatError: If there is no such file. Wrong files raise only when they are read;
            the message names the file and the line.
    """
    root = Path(path)
    return pose_source(
        *("trc", root, find_recordings(root, ".trc"), partial(_read, count_rows), {}),
        skeleton=skeleton,
        min_score=0.0,
        join=join_markers,
    )


def _read(count_rows: bool, file: Path) -> Poses:
    lines = read_lines(file)
    if len(lines) < 5 or not lines[0].startswith(_START):
        fail(file, "line 1", f"expected a header of five lines that begins with {_START}")
    header = dict(zip(lines[1].split(), lines[2].split(), strict=False))
    if missing := [key for key in _KEYS if key not in header]:
        fail(file, "line 2", f"expected {', '.join(_KEYS)}, missing {', '.join(missing)}")
    names = [cell for cell in map(str.strip, lines[3].split("\t")[2:]) if cell]
    check_names(file, "line 4", names)
    scale = metres(file, "line 3: Units", header["Units"])
    if header["NumMarkers"] != str(len(names)):
        what = f"expected {shown(header['NumMarkers'])} names, as NumMarkers in line 3"
        fail(file, "line 4", f"{what}, got {len(names)}")
    frames, rows = list[int](), list[NDArray[np.float64]]()
    for place, line in _rows(lines):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < 2 + 3 * len(names) or any(cells[2 + 3 * len(names) :]):
            what = f"expected frame, time and x, y, z of {len(names)} markers"
            fail(file, place, f"{what}, got {len(cells)} cells")
        if not _NUMBER.fullmatch(cells[0]) or (frames and int(cells[0]) <= frames[-1]):
            fail(file, place, f"expected a number of a later frame, got {shown(cells[0])}")
        frames.append(int(cells[0]))
        rows.append(_numbers(file, place, cells[2 : 2 + 3 * len(names)]))
    if not rows or (header["NumFrames"] != str(len(rows)) and not count_rows):
        what = f"expected {shown(header['NumFrames'])} frames, as NumFrames in line 3"
        advice = "; --count-rows reads all that are there" * bool(rows)
        fail(file, f"{what}, got {len(rows)}{advice}")
    try:
        fps = check_rate("DataRate", parse_float(header["DataRate"]))
    except ValueError as error:
        fail(file, "line 3", str(error))
    return one_person(_joints(file, np.stack(rows), frames) * scale, frames, names, fps)


def _rows(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each row of numbers with its place; the header has five lines."""
    for number, line in islice(enumerate(lines, 1), 5, None):
        if line.strip():
            yield f"line {number}", line


def _numbers(file: Path, place: str, cells: Sequence[str]) -> NDArray[np.float64]:
    """Return x, y, z of each marker (V, 3), NaN for empty cells."""
    try:
        return np.array([parse_float(cell) if cell else np.nan for cell in cells]).reshape(-1, 3)
    except ValueError as error:
        fail(file, place, str(error))


def _joints(file: Path, points: NDArray[np.float64], frames: Sequence[int]) -> NDArray[np.float64]:
    """Return the markers (T, V, 3), 0 for those without numbers."""
    points[np.isnan(points).all(-1)] = 0
    if not np.isfinite(points).all():
        row, marker, _ = np.argwhere(~np.isfinite(points))[0].tolist()
        what = "expected three finite numbers, or none"
        fail(file, f"frame {frames[row]}, marker {marker + 1}", what)
    return points
