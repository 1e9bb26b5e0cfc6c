"""PKU-MMD: untrimmed Kinect v2 videos as text, with the actions in them."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from pcm3.data.protocols import PKU1_PROTOCOLS, PKU2_PROTOCOLS, published_split
from pcm3.data.readers.base import Recording, Source
from pcm3.data.readers.shared.table import with_table
from pcm3.data.store.intervals import paint
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.reading import MOST_BYTES, check_room, fail, files_below, read_lines
from pcm3.skeleton import NTU25

_ACTIONS = (
    "bow; brush hair; brush teeth; check time; cheer up; clap; cross hands in front; drink water; "
    "drop; eat meal; fall down; give object; wave hand; shake hands; hop; hug; jump up; "
    "kick other person; kick something; phone call; pat on back; pick up; play with phone; "
    "point finger at other person; point to something; punch or slap; push other person; "
    "put on a hat; put something inside pocket; read; rub two hands; salute; sit down; stand up; "
    "take off a hat; take off glasses; take off jacket; take out something from pocket; "
    "take a selfie; tear up paper; throw; back pain; chest pain; headache; neck pain; "
    "type on a keyboard; fan self; put on jacket; put on glasses; wipe face; write"
)
PKU_ACTIONS = tuple(_ACTIONS.split("; "))
"""Actions 1 to 51."""

_NAME = re.compile(
    r"(?:(?P<one>\d{4})|A(?P<script>\d{2})N(?P<subject>\d{2}))-(?P<view>[LMR])", re.ASCII
)
_VIEWS = {"L": 1, "M": 2, "R": 3}
_SPLIT = re.compile(r"cross.?(subject|view).*\.txt", re.IGNORECASE)
_FRAME_VALUES, _LABEL_VALUES = 150, (3, 4)

Kind = Literal["skeletons", "labels"]


class _Video(NamedTuple):
    """A unit, which is one video with its columns and its two files; one file may be missing."""

    skeletons: Path | None
    labels: Path | None
    columns: Mapping[str, int]

    @property
    def file(self) -> Path:
        """The file that ``labels.csv`` names."""
        return self.skeletons or self.labels or Path()


class _Action(NamedTuple):
    """A line of a label file."""

    line: int
    start: int
    end: int
    label: int
    cut: bool


def detect(path: Path) -> bool:
    """Return whether this folder holds PKU-MMD's skeleton files, at any depth."""
    kinds: dict[Path, Kind | None] = {}  # the kind of each folder, that of its first file
    for file in files_below(path):
        if kinds.get(file.parent) is None and file.suffix == ".txt":
            kinds[file.parent] = kind = _kind(file)
            if kind == "skeletons":
                return True
    return False


@with_table
def read_pku(
    path: str | Path, *, untrimmed: bool = False, phase: Literal[1, 2] | None = None
) -> Source:
    """Read PKU-MMD: action instances, or whole videos with a class for every frame.

    Files are found by name and content, in any folders: skeletons ``0002-L.txt`` (Phase I) or
    ``A01N01-L.txt`` (Phase II) with 150 numbers per line; labels of the same names with lines of
    ``class,start,end,confidence`` (the confidence may be missing, a comma may follow, and blanks
    may replace commas); and optionally ``cross-subject*.txt`` and ``cross-view*.txt``, whose lines
    2 and 4 name the training and the validation videos.

    An instance consists of the rows ``start:end`` of a label line, counted from 0, with an
    exclusive end; its label is the class - 1. All frames are (T, 2, 25, 3), because the files have
    two slots. An end after the last frame is moved to it. Columns: ``videos`` (number of the video
    in the order of names), ``views`` (1 for L, 2 for M, 3 for R), ``subjects`` (N) in Phase II,
    and, with split files, ``xsub`` and ``xview``, 1 for training and 0 for validation. The
    protocols ``xsub`` and ``xview`` use these columns, or else the published subjects (Phase II)
    and cameras.

    Args:
        path: Folder that holds all these files.
        untrimmed: Whole videos with a class for every frame, instead of action instances.
            ``frame_labels`` holds -1 for background and, where instances overlap, the class of
            the one listed last; ``segments`` holds the instances.
        phase: The phase to read, needed only if the folder holds both.

    Raises:
        SkeletonFormatError: If the files do not fit together; the message names file and line. A
            video without a file or with a wrong file raises only when it is read.
    """
    root = Path(path)
    if phase not in (None, 1, 2):
        raise ValueError(f"expected phase 1 or 2, got {phase!r}")
    files = sorted(file for file in files_below(root) if file.suffix == ".txt")
    skeletons, labels = _find_files(root, files, phase)
    names = sorted(skeletons.keys() | labels.keys())
    splits = _read_splits(files, names)
    units = []
    for index, name in enumerate(names):
        columns = {"videos": index, "views": _VIEWS[name[-1]]}
        if name.startswith("A"):
            columns["subjects"] = int(name[4:6])
        columns.update({column: parts[name] for column, parts in splits.items()})
        units.append(_Video(skeletons.get(name), labels.get(name), columns))
    if not untrimmed and not any(map(_may_have_actions, units)):
        fail(root, "no label file has an action; untrimmed=True gives whole videos")
    published = dict(PKU2_PROTOCOLS if names[0].startswith("A") else PKU1_PROTOCOLS)
    return Source(
        format="pku",
        skeleton=NTU25,
        class_names=PKU_ACTIONS,
        units=units,
        read=partial(_read_unit, untrimmed=untrimmed),
        persons=2,
        keep_order=True,
        untrimmed=untrimmed,
        protocols=published | {column: published_split(column) for column in splits},
        fps=30.0,
        about=f"PKU-MMD, Phase {'II' if names[0].startswith('A') else 'I'}",
        licence="academic research only; see the data set's terms",
    )


def _kind(file: Path) -> Kind | None:
    """Return whether a file holds skeletons or labels, by its name and first non-blank line."""
    if _NAME.fullmatch(file.stem) is None:
        return None
    try:
        with regular(file).open(encoding="ascii", errors="replace") as lines:
            first = next((line for line in lines if line.strip()), "")
    except OSError:
        return None
    if len(first.split()) == _FRAME_VALUES:
        return "skeletons"
    return "labels" if len(_label_values(first)) in _LABEL_VALUES else None


def _label_values(line: str) -> list[str]:
    """Split a line of a label file into its values."""
    line = line.strip().removesuffix(",")
    return [value.strip() for value in line.split(",")] if "," in line else line.split()


def _find_files(
    root: Path, texts: Iterable[Path], phase: int | None
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Find skeleton and label files by the name of the video."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in texts:
        match = _NAME.fullmatch(file.stem)
        if match and phase in (None, 1 if match["one"] else 2):
            folders[file.parent].append(file)
    by_kind: dict[Kind, dict[str, Path]] = {"skeletons": {}, "labels": {}}
    for folder, files in folders.items():
        kind = next((kind for file in files if (kind := _kind(file))), None)
        if kind is None:
            continue
        for file in files:
            if file.stem in by_kind[kind]:
                also = by_kind[kind][file.stem].parent
                fail(folder, f"{kind} of {file.stem} are also in {also}")
            by_kind[kind][file.stem] = file
    skeletons, labels = by_kind["skeletons"], by_kind["labels"]
    if not skeletons or not labels:
        neither = next(
            (file for files in folders.values() for file in files if not _kind(file)), ""
        )
        fail(
            root,
            "expected skeleton files (150 numbers per line) and label files (class,start,"
            f"end,confidence) called 0002-L.txt or A01N01-L.txt{f', phase {phase}' * bool(phase)}; "
            f"found {len(skeletons)} and {len(labels)}{f'; {neither} is neither' * bool(neither)}",
        )
    if len({name.startswith("A") for name in (*skeletons, *labels)}) > 1:
        fail(root, "holds both phases; give phase=1 or phase=2")
    if skeletons.keys().isdisjoint(labels):
        fail(root, "no skeleton file has the name of a label file")
    return skeletons, labels


def _read_splits(texts: Iterable[Path], names: list[str]) -> dict[str, dict[str, int]]:
    """Read ``xsub`` and ``xview`` if there is a split file of these videos."""
    splits: dict[str, dict[str, int]] = {}
    for file in texts:
        match = _SPLIT.fullmatch(file.name)
        if match is None:
            continue
        parts = _read_split(file)
        if parts.keys().isdisjoint(names):  # the file is of the other phase
            continue
        column = {"subject": "xsub", "view": "xview"}[match[1].lower()]
        if column in splits:
            fail(file, f"a second file that gives {column} for these videos")
        if missing := [name for name in names if name not in parts]:
            some = ", ".join(missing[:5]) + ", ..." * (len(missing) > 5)
            fail(file, f"some videos are in neither part, training or validation: {some}")
        splits[column] = parts
    return splits


def _read_split(file: Path) -> dict[str, int]:
    lines = read_lines(file)
    if len(lines) < 4:
        what = "expected the training videos in line 2 and the validation videos in line 4"
        fail(file, f"{what}, got {len(lines)} lines")
    parts: dict[str, int] = {}
    for number, part in ((2, 1), (4, 0)):
        for entry in filter(None, (entry.strip() for entry in lines[number - 1].split(","))):
            name = entry.removesuffix(".txt")
            if _NAME.fullmatch(name) is None:
                _fail(file, number, f"expected names like 0002-L or A01N01-L, got {entry!r}")
            if parts.setdefault(name, part) != part:
                _fail(file, number, f"{name} is also in line 2")
    return parts


def _may_have_actions(video: _Video) -> bool:
    if video.skeletons is None or video.labels is None:
        return False
    try:
        return any(map(str.strip, read_lines(video.labels)))
    except SkeletonFormatError:
        return True  # reading the video will raise the error


def _read_unit(video: _Video, untrimmed: bool) -> Iterator[Recording | SkeletonFormatError]:
    if video.skeletons is None or video.labels is None:
        given = video.skeletons or video.labels or Path()
        fail(given, f"found no {'skeletons' if video.labels else 'labels'} of this video")
    frames = _read_frames(video.skeletons)
    name = video.skeletons.stem
    if untrimmed:
        rows = list(_read_labels(video.labels, len(frames)))
        for error in rows:
            if isinstance(error, SkeletonFormatError):
                raise error
        yield _whole(frames, [row for row in rows if isinstance(row, _Action)], video, name)
        return
    rows = list(_read_labels(video.labels, len(frames)))
    together = sum(row.end - row.start for row in rows if isinstance(row, _Action))
    size = together * frames[0].nbytes
    check_room(video.skeletons, size, f"{together:,} frames of {video.labels.name}")
    for row in rows:
        if isinstance(row, SkeletonFormatError):
            yield row
        else:
            place, notes = f"{name} label line {row.line}", [_CUT] * row.cut
            instance = frames[row.start : row.end]
            yield Recording(instance, row.label, video.columns, name=place, notes=notes)


def _whole(
    frames: NDArray[np.float32], actions: list[_Action], video: _Video, name: str
) -> Recording:
    rows = [(action.start, action.end, action.label) for action in actions]
    segments = np.array(rows, dtype=np.int64).reshape(-1, 3)
    frame_labels, notes = paint(len(frames), segments), [_CUT for action in actions if action.cut]
    return Recording(frames, -1, video.columns, frame_labels, segments, name=name, notes=notes)


_CUT = "actions that end after the last frame, cut there"


def _read_frames(file: Path) -> NDArray[np.float32]:
    """Read the frames (T, 2, 25, 3) of a video."""
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", UserWarning)  # an empty file raises below
            rows = np.loadtxt(regular(file, MOST_BYTES), dtype=np.float32, comments=None, ndmin=2)
    except SkeletonFormatError:
        raise
    except OSError as error:
        fail(file, f"cannot be read, {error}")
    except Exception:  # a broken file may raise anything
        _explain(file)
    if rows.size == 0:
        fail(file, "the file is empty")
    if rows.shape[1] != _FRAME_VALUES or not np.isfinite(rows).all():
        _explain(file)
    return rows.reshape(-1, 2, len(NTU25), 3)


def _explain(file: Path) -> NoReturn:
    """Raise an error that names the first line that is not a frame."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            values = line.split()
            if values and len(values) != _FRAME_VALUES:
                _fail(file, number, f"expected {_FRAME_VALUES} values, got {len(values)}")
            for value in values:
                if not _is_number(value):
                    _fail(file, number, f"expected a finite number, got {value[:40]!r}")
    fail(file, "not a text file of numbers")


def _is_number(value: str) -> bool:
    try:
        return "_" not in value and abs(float(value)) <= float(np.finfo(np.float32).max)
    except ValueError:
        return False


def _read_labels(file: Path, length: int) -> Iterator[_Action | SkeletonFormatError]:
    """Yield the actions of a video of this length, with an error in place of each bad line."""
    for number, line in enumerate(read_lines(file), 1):
        if line.strip():
            try:
                yield _parse_action(file, number, line, length)
            except SkeletonFormatError as error:
                yield error


def _parse_action(file: Path, number: int, line: str, length: int) -> _Action:
    values = _label_values(line)
    whole = len(values) in _LABEL_VALUES and all(map(_is_number, values))
    if not whole or not all(re.fullmatch(r"[0-9]{1,9}", value) for value in values[:3]):
        what = f"expected class,start,end,confidence, integers, got {line[:60]!r}"
        _fail(file, number, what)
    action, start, end = map(int, values[:3])
    if not 1 <= action <= len(PKU_ACTIONS):
        _fail(file, number, f"expected a class from 1 to {len(PKU_ACTIONS)}, got {action}")
    if end <= start:
        _fail(file, number, f"expected an end after the start, got {start} to {end}")
    if start >= length:
        _fail(file, number, f"frames {start} to {end} lie outside the {length} of the video")
    return _Action(number, start, min(end, length), action - 1, end > length)


def _fail(file: Path, line: int, what: str) -> NoReturn:
    fail(file, f"line {line}", what)
