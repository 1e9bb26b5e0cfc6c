"""BVH motion capture: one file or a folder of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers._files import (
    fail,
    file_or_files,
    not_finite,
    parse_float,
    parsing,
    read_lines,
)
from pcm3.data.readers._layout import choose_layout
from pcm3.data.readers.base import Recording, Source
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import Skeleton

__all__ = ["detect", "read_bvh"]

_CHANNELS = frozenset(f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation"))


class _Joint(NamedTuple):
    name: str
    parent: int
    offset: list[float]
    channels: list[str]


class _Header(NamedTuple):
    joints: list[_Joint]
    frames: int
    frame_time: float
    first_row: int

    @property
    def layout(self) -> list[tuple[str, int]]:
        """Names and parents."""
        return [(joint.name, joint.parent) for joint in self.joints]


class _First(NamedTuple):
    """The first file that can be read, whose joints all must have."""

    file: Path
    layout: list[tuple[str, int]]


def detect(path: Path) -> bool:
    """Whether this is a ``.bvh`` file or a folder with some."""
    return next(iter(_files(path)), None) is not None


def read_bvh(
    path: str | Path,
    *,
    unit_scale: float = 0.01,
    skeleton: str | Path | Skeleton | None = None,
) -> Source:
    """Read BVH files of one hierarchy: joint positions by forward kinematics, in metres.

    Rotations are applied in the order of a joint's channels, relative to its parent. Position
    channels replace the offset on their axis. Every ``End Site`` is a joint, ``PARENT_end``.
    There are no labels and no columns; recordings are named after their files.

    Args:
        path: A file, or a folder whose ``.bvh`` files are read, also those in sub-folders.
        unit_scale: Metres per unit of the file; most use centimetres, some inches (0.0254).
        skeleton: What to use in place of parts, mirror and centre by the names: a
            ``skeleton.json``, say, as ``choose_layout`` reads it.

    Raises:
        SkeletonFormatError: If the first hierarchy is no human's; naming file and line, and only
            when it is read, if a file is wrong or has another hierarchy.
        ValueError: If ``unit_scale`` is not positive.
    """
    if not unit_scale > 0:
        raise ValueError(f"expected unit_scale > 0, got {unit_scale}")
    root = Path(path)
    files = sorted(_files(root))
    if not files:
        fail(root, "expected .bvh files, found none")
    first, times, errors = None, set(), []
    for file in files:
        try:
            header = _read_header(file, read_lines(file))
        except SkeletonFormatError as error:
            errors.append(error)
            continue
        first = first or _First(file, header.layout)
        if header.layout == first.layout:
            times.add(header.frame_time)
    if first is None:
        raise errors[0]
    names, parents = zip(*first.layout, strict=True)
    try:
        layout = (
            Skeleton.from_parents(names, parents, name="bvh")
            if skeleton is None
            else choose_layout(skeleton, names, parents)
        )
    except SkeletonFormatError:
        raise
    except ValueError as error:
        fail(first.file, str(error))
    return Source(
        format="bvh",
        skeleton=layout,
        class_names=(),
        units=files,
        read=partial(_read_unit, unit_scale, first),
        fps=round(1 / times.pop(), 3) if len(times) == 1 else None,
        about=f"BVH, {root.resolve().name}",
    )


def _files(path: Path) -> Iterator[Path]:
    return (file for file in file_or_files(path) if file.suffix.lower() == ".bvh")


def _fail(file: Path, row: int, what: str) -> NoReturn:
    fail(file, f"line {row + 1}", what)


def _numbers(file: Path, row: int, words: list[str], count: int) -> list[float]:
    try:
        values = [parse_float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        _fail(file, row, f"expected {count} finite numbers, got {' '.join(words)[:60]!r}")
    return values


def _read_header(file: Path, lines: list[str]) -> _Header:
    """The hierarchy, and what comes before the first row of motion."""
    joints: list[_Joint] = []
    open_joints: list[int] = []  # -1 before the root's own brace
    rows = ((row, line.split()) for row, line in enumerate(lines) if line.strip())
    row = 0
    for row, words in rows:
        key = words[0].upper()
        if key == "MOTION":
            break
        _read_hierarchy_line(file, row, key, words, joints, open_joints)
    else:
        _fail(file, row, "expected MOTION, the file ends")
    if open_joints or not joints:
        _fail(file, row, "expected a complete HIERARCHY with one ROOT before MOTION")
    values: list[float] = []
    for prefix in (["frames:"], ["frame", "time:"]):
        row, words = next(rows, (row, ["the", "end"]))
        if [word.lower() for word in words[: len(prefix)]] != prefix:
            _fail(file, row, f"expected {' '.join(prefix)}, got {' '.join(words)[:60]!r}")
        values += _numbers(file, row, words[len(prefix) :], 1)
    frames, frame_time = values
    if frames < 1 or frames != int(frames) or not frame_time > 1e-9:
        _fail(file, row, f"expected frames and a frame time, got {frames} and {frame_time}")
    return _Header(joints, int(frames), frame_time, row + 1)


def _read_hierarchy_line(
    file: Path,
    row: int,
    key: str,
    words: list[str],
    joints: list[_Joint],
    open_joints: list[int],
) -> None:
    inside = open_joints[-1] if open_joints else -1
    if key == "HIERARCHY" and not joints:
        return
    if key in ("ROOT", "JOINT", "END"):
        if (key == "ROOT") != (not joints) or (key != "ROOT" and inside < 0) or len(words) < 2:
            _fail(file, row, f"{key} is out of place; expected one ROOT, JOINT and End inside it")
        name = f"{joints[inside].name}_end" if key == "END" else " ".join(words[1:])
        joints.append(_Joint(name, inside, [], []))
    elif key == "{" and joints and len(joints) - 1 not in open_joints:
        open_joints.append(len(joints) - 1)
    elif key == "}" and open_joints:
        if not joints[open_joints.pop()].offset:
            _fail(file, row, f"joint {joints[inside].name} has no OFFSET")
    elif key == "OFFSET" and inside >= 0 and not joints[inside].offset:
        joints[inside].offset.extend(_numbers(file, row, words[1:], 3))
    elif key == "CHANNELS" and inside >= 0 and not joints[inside].channels:
        names = words[2:]
        if [str(len(names))] != words[1:2] or not _CHANNELS.issuperset(names):
            _fail(
                file, row, f"expected their number and Xposition ..., got {' '.join(words)[:60]!r}"
            )
        joints[inside].channels.extend(names)
    else:
        _fail(file, row, f"unexpected {' '.join(words)[:60]!r} in HIERARCHY")


def _read_unit(unit_scale: float, first: _First, file: Path) -> Iterator[Recording]:
    lines = read_lines(file)
    header = _read_header(file, lines)
    if header.layout != first.layout:
        fail(file, f"its joints differ from those of {first.file}")
    width = sum(len(joint.channels) for joint in header.joints)
    motion = []
    for row in range(header.first_row, len(lines)):
        if words := lines[row].split():
            motion.append(_numbers(file, row, words, width))
    if len(motion) != header.frames:
        _fail(file, len(lines) - 1, f"expected {header.frames} frames, got {len(motion)}")
    with parsing(file), np.errstate(over="ignore", invalid="ignore"):
        positions = _positions(header.joints, np.array(motion).reshape(len(motion), width))
        frames = (positions * unit_scale).astype(np.float32)[:, None]
    if where := not_finite(frames):
        fail(file, f"coordinates overflow float32 in {where}")
    yield Recording(frames, name=file.stem)


def _positions(joints: list[_Joint], motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """World positions (T, V, 3) of the joints from their channels (T, number of channels)."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 - slow, for one format

    positions = np.zeros((len(motion), len(joints), 3))
    rotations: list[Rotation] = []
    column = 0
    for index, joint in enumerate(joints):
        local = np.tile(np.array(joint.offset), (len(motion), 1))
        turn = Rotation.identity(len(motion))
        for channel in joint.channels:
            values = motion[:, column, None]
            column += 1
            if channel.endswith("position"):
                local[:, "XYZ".index(channel[0])] = values[:, 0]
            else:
                turn = turn * Rotation.from_euler(channel[0].lower(), values, degrees=True)
        if joint.parent < 0:
            positions[:, index] = local
            rotations.append(turn)
        else:
            parent = rotations[joint.parent]
            positions[:, index] = positions[:, joint.parent] + parent.apply(local)
            rotations.append(parent * turn)
    return positions
