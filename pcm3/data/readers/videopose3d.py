"""VideoPose3D: ``.npz`` files of Human3.6M, HumanEva and videos of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.columns import find_mixture, read_value
from pcm3.data.protocols import Protocol
from pcm3.data.readers.base import Recording, Source, not_finite, or_error
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.errors import SkeletonFormatError
from pcm3.io.npz import load_objects, npz_keys
from pcm3.io.reading import check_room, fail, is_file, shown
from pcm3.skeleton import COCO17, HUMAN36M17, HUMAN36M32, Skeleton

_KEYS = {"positions_3d": 3, "positions_2d": 2}
_LAYOUTS = {32: HUMAN36M32, 17: HUMAN36M17}
_NAMED = {("h36m", 17): HUMAN36M17, ("coco", 17): COCO17}
_HUMAN36M: Mapping[str, int | str] = {
    "S1": 1,
    "S5": 5,
    "S6": 6,
    "S7": 7,
    "S8": 8,
    "S9": 9,
    "S11": 11,
}
_FPS = 50.0
_XSUB = Protocol("subjects", (1, 5, 6, 7, 8), (9, 11))
_TRIAL = re.compile(r"(.+) [0-9]+(?: chunk[0-9]+)?", re.ASCII | re.DOTALL)
_CUSTOM = "custom"
"""The action of all videos of one's own."""


class _Take(NamedTuple):
    """A recording: what it is called in the file, and its coordinates (T, V, C)."""

    subject: str
    action: str
    view: int
    points: Any

    @property
    def name(self) -> str:
        view = f" view {self.view}" if self.view else ""
        return f"{self.subject} {self.action}{view}"


class _Contents(NamedTuple):
    """What a file holds.

    Attributes:
        takes: The recordings.
        shape: Number of joints and coordinates of the first good one, which all must have.
        layout: Name of the layout in the metadata.
        actions: Names of the classes; none for videos of one's own.
        subjects: Value of each subject in the column.
    """

    takes: Sequence[_Take]
    shape: tuple[int, int]
    layout: str
    actions: Sequence[str]
    subjects: Mapping[str, int | str]


def detect(path: Path) -> bool:
    """Return whether this is an ``.npz`` with such positions."""
    return is_file(path) and path.suffix == ".npz" and not _KEYS.keys().isdisjoint(npz_keys(path))


def read_videopose3d(path: str | Path, *, skeleton: str | Path | Skeleton | None = None) -> Source:
    """Read a file of VideoPose3D, such as ``data_3d_h36m.npz`` or ``data_2d_custom_NAME.npz``.

    The file holds ``positions_3d``, a dict of subjects with a dict of actions with coordinates
    (T, V, 3) in metres, or ``positions_2d``, where an action has a list of (T, V, 2) in pixels, one
    for each camera, and ``metadata``. The dicts are read without running code. 32 joints of 3D are
    ``human36m32`` and 17 ``human36m17``; in 2D the metadata say whether they are ``human36m17`` or
    ``coco17``. The label is the action, without the number of the trial; videos of one's own have
    none. Columns are ``subjects``, as they are called or numbers for Human3.6M, and in 2D
    ``views`` from 1. Human3.6M has 50 frames per second and the protocol ``xsub``: subjects 9 and
    11 test.

    Args:
        path: The file.
        skeleton: As in ``read_mediapipe``.

    Raises:
        SkeletonFormatError: If the file is wrong; the message names key, subject and action. A
            single bad recording raises only when it is read.
        ValueError: If the skeleton has another number of joints.
    """
    file = Path(path)
    contents = _load(file)
    known = contents.subjects is _HUMAN36M
    return Source(
        format="videopose3d",
        skeleton=_layout(file, contents, skeleton),
        class_names=tuple(contents.actions),
        units=[file],
        read=_read_unit,
        protocols={"xsub": _XSUB} if known else {},
        fps=_FPS if known else None,
        unit="metres" if contents.shape[1] == 3 else "pixels",
        about=f"VideoPose3D {file.name}",
    )


def _label(action: str) -> str:
    match = _TRIAL.fullmatch(action)
    return match[1] if match else action


def _load(file: Path) -> _Contents:
    """Load all recordings, one of which at least is good."""
    key = next((key for key in _KEYS if key in npz_keys(file)), "positions_3d")
    people, meta = load_objects(file, [key], ["metadata"])
    if not isinstance(meta, Mapping | None):
        fail(file, "metadata", f"expected a dict, got {type(meta).__name__}")
    takes: list[_Take] = []
    for subject, actions in _items(file, key, people):
        for action, content in _items(file, f"{key}, {subject:.60}", actions):
            if key == "positions_3d":
                takes.append(_Take(subject, action, 0, content))
                continue
            if not isinstance(content, list | tuple):
                place = f"{key}, {subject:.60}, {action:.60}"
                fail(file, place, f"expected a list of cameras, got {type(content).__name__}")
            takes += [_Take(subject, action, view, each) for view, each in enumerate(content, 1)]
    good = [take for take in takes if _shape(take.points) is not None]
    if not good or len({take.name for take in takes}) < len(takes):
        fail(file, key, "expected recordings (T, V, C), each with a name of its own")
    size = sum(4 * take.points.size for take in good)  # recordings may share an array
    check_room(file, size, f"coordinates of {len(good):,} recordings")
    shape = good[0].points.shape[1:]
    if shape[1] != _KEYS[key]:
        fail(file, key, f"expected {_KEYS[key]} coordinates, got {shape[1]}")
    layout = str((meta or {}).get("layout_name", ""))
    actions = sorted({_label(take.action) for take in takes})
    subjects = _subjects(file, key, [take.subject for take in takes])
    return _Contents(takes, shape, layout, actions if actions != [_CUSTOM] else [], subjects)


def _subjects(file: Path, place: str, names: Sequence[str]) -> Mapping[str, int | str]:
    """Return the value of each subject in the column."""
    if _HUMAN36M.keys() >= set(names):
        return _HUMAN36M
    try:
        subjects = {name: read_value(name) for name in names}
    except ValueError as error:
        fail(file, place, str(error))
    if mixture := find_mixture(list(subjects.values())):
        number, word = (list(subjects)[at] for at in mixture)
        what = "expected names of subjects that are all numbers or all words"
        fail(file, place, f"{what}, got {shown(number)} and {shown(word)}")
    return subjects


def _items(file: Path, place: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        fail(file, place, f"expected a dict by names, got {shown(value)}")
    return list(value.items())


def _shape(points: Any) -> tuple[int, int] | None:
    """Return the number of joints and coordinates; None if it is no array (T, V, C)."""
    if not isinstance(points, np.ndarray) or points.ndim != 3 or points.dtype.kind not in "fiu":
        return None
    if 0 in points.shape or points.shape[2] not in (2, 3):
        return None
    return points.shape[1], points.shape[2]


def _layout(file: Path, contents: _Contents, given: str | Path | Skeleton | None) -> Skeleton:
    joints, channels = contents.shape
    flat = _NAMED.get((contents.layout, joints))
    known = flat if channels == 2 else _LAYOUTS.get(joints)
    if given is not None and known is not None:
        return choose_layout(given, known.joints, known.parents)
    if given is not None:
        layout = choose_layout(given)
        if len(layout) != joints:
            what = f"expected {len(layout)} joints, as skeleton {layout.name!r} has"
            fail(file, f"{what}, got {joints}")
        return layout
    if known is None:
        of = f" of layout {shown(contents.layout)}" * bool(contents.layout)
        fail(file, f"unknown order of {joints} joints{of}; --skeleton gives the layout")
    return known


def _read_unit(file: Path) -> Iterator[Recording | SkeletonFormatError]:
    contents = _load(file)
    for take in contents.takes:
        yield or_error(_recording, file, contents, take)


def _recording(file: Path, contents: _Contents, take: _Take) -> Recording:
    place, (joints, channels) = f"{take.name:.60}", contents.shape
    if _shape(take.points) != contents.shape:
        got = getattr(take.points, "shape", type(take.points).__name__)
        fail(file, place, f"expected (T, {joints}, {channels}), got {got}")
    with np.errstate(over="ignore", invalid="ignore"):
        frames: NDArray[np.float32] = np.ascontiguousarray(take.points[:, None], dtype=np.float32)
    if where := not_finite(frames):
        fail(file, place, f"NaN or infinity in {where}")
    actions, label = contents.actions, _label(take.action)
    return Recording(
        frames,
        actions.index(label) if actions else -1,
        {"subjects": contents.subjects[take.subject]} | ({"views": take.view} if take.view else {}),
        name=take.name,
    )
