"""Sequences of the persons that pose estimators find frame by frame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.associate import associate
from pcm3.data.readers.base import Recording, Source, not_finite
from pcm3.data.readers.shared.intervals import INTERVALS
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.readers.shared.table import TABLE, named_files
from pcm3.data.resample import group_rates
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.reading import fail, file_or_files, format_error, kinds_of, most_bytes
from pcm3.skeleton import SKELETONS, Skeleton, find_skeleton
from pcm3.skeleton.words import normal_name

IGNORED = frozenset(("skeleton.json", TABLE, INTERVALS))
"""Files beside the recordings that are not recordings."""


EACH_LAYOUT = "prepare the files of each layout on their own, into a store each"
"""What to do with files of several layouts."""


class Person(NamedTuple):
    """A person in a frame.

    Attributes:
        frame: Number of the frame.
        points: Coordinates (V, C), 0 for a joint that is not seen.
        scores: Scores of the joints (V,), or None.
        track: What identifies the person in all frames, or None.
    """

    frame: int
    points: NDArray[np.float64]
    scores: NDArray[np.float64] | None = None
    track: float | str | None = None


class Poses(NamedTuple):
    """What an estimator found in a recording.

    Attributes:
        persons: The persons of all frames, in the order of the file.
        frames: Numbers of the frames, also of those without persons.
        joints: Names of the joints, if the file has them.
        fps: Frames per second, if the file gives them.
        notes: Remarks on how the file was read.
        unit: Unit of the coordinates, if the file gives it.
    """

    persons: Sequence[Person]
    frames: Sequence[int]
    joints: Sequence[str] | None = None
    fps: float | None = None
    notes: Sequence[str] = ()
    unit: str | None = None


Join = Callable[[Sequence[str], NDArray[np.float64]], tuple[int, ...] | None]
"""Makes a tree of joints, by their names and coordinates (T, V, C): the parent of each."""


class _First(NamedTuple):
    """The first file with a person; all files must have its joints, coordinates and unit."""

    file: Path
    shape: tuple[int, int]
    joints: tuple[str, ...] | None
    unit: str | None


class _Content(NamedTuple):
    """What a reader knows of the files before it reads them one by one."""

    root: Path
    read: Callable[[Any], Poses]
    first: _First
    min_score: float


def detect_text(path: Path, suffix: str, is_format: Callable[[str], bool]) -> bool:
    """Return whether one of the first files of a path begins with text of a format."""
    files = (file for file in file_or_files(path) if _is_recording(file, suffix))
    return any(is_format(_beginning(file)) for file in islice(files, _TRIED))


_TRIED = 8
_BEGINNING = 4096


def _is_recording(file: Path, suffix: str) -> bool:
    return file.suffix.lower() == suffix and file.name.lower() not in IGNORED


def _beginning(file: Path) -> str:
    try:
        with regular(file).open("rb") as stream:
            return stream.read(_BEGINNING).decode("utf-8-sig", "replace")
    except (OSError, SkeletonFormatError):
        return ""


def find_recordings(root: Path, suffix: str) -> list[Path]:
    """Find the files of a suffix, in a folder or given themselves, sorted.

    Raises:
        SkeletonFormatError: If there is none.
    """
    files = sorted(file for file in file_or_files(root) if _is_recording(file, suffix))
    if not files:
        fail(root, f"expected {suffix} files, found {kinds_of(root)}")
    return files


def pose_source(
    format: str,
    root: Path,
    units: Sequence[Any],
    read: Callable[[Any], Poses],
    layouts: Mapping[tuple[int, int], Skeleton],
    *,
    skeleton: str | Path | Skeleton | None,
    min_score: float,
    unit: str | None = None,
    by_name: bool = True,
    join: Join | None = None,
) -> Source:
    """Make a source of what a pose estimator found in each unit.

    Args:
        format: Name of the format.
        root: The file or folder that is read.
        units: Files, or tuples with ``file`` and ``files``, each a recording.
        read: Reads a unit; it can be pickled.
        layouts: Skeletons by number of joints and coordinates, for files without names of joints.
        skeleton: A layout to use instead, see ``choose_layout``.
        min_score: Joints with a lower score are taken as not seen.
        unit: Unit of the coordinates, by default that of the files, or else pixels for 2D, metres
            for 3D.
        by_name: Whether ``layouts`` name the joints, so that ``skeleton`` is matched by name.
            Otherwise it is matched by order, unless the files name their joints.
        join: Joins joints that no built-in skeleton has to a tree, by their names and coordinates.

    Raises:
        SkeletonFormatError: If no file can be read, or none has a person in it. Other files that
            are wrong raise only when they are read.
        ValueError: If the joints are those of no known skeleton.
    """
    named = set(named_files(root, [_file(unit) for unit in units]))
    persons, first, tree = 1, None, None
    rates, errors = list[tuple[float, str]](), list[SkeletonFormatError]()
    for each in units:
        if _file(each) not in named:
            continue
        try:
            poses = read(each)
            shape = _shape(_file(each), poses)
        except SkeletonFormatError as error:
            errors.append(error.with_traceback(None))
            continue
        if shape is not None and first is None:
            names = None if poses.joints is None else tuple(poses.joints)
            first = _First(_file(each), shape, names, poses.unit)
            tree = join(names, _points(poses)) if join and names else None
        at_once = Counter(person.frame for person in poses.persons)
        persons = max(persons, *at_once.values(), 1)
        if poses.fps is not None:
            rates.append((poses.fps, _name(root, _file(each))))
    if first is None:
        raise errors[0] if errors else format_error(root, "nobody in any frame of any file")
    different = group_rates(rates)
    layout = _layout(first, layouts, skeleton, by_name, tree)
    joined = tree is not None and skeleton is None and layout.name not in SKELETONS
    return Source(
        format=format,
        skeleton=layout,
        class_names=(),
        units=units,
        read=partial(_read_unit, _Content(root, read, first, min_score)),
        persons=persons,
        fps=next(iter(different)) if len(different) == 1 else None,
        rates=different if len(different) > 1 else {},
        unit=unit or first.unit or ("pixels" if first.shape[1] == 2 else "metres"),
        unit_told=unit is None and first.unit is not None,
        about=f"{format}, {root.resolve().name}",
        notes=[_JOINED] * joined,
    )


_JOINED = (
    "joints are connected as a tree, by names and distances; --skeleton gives parents, parts and "
    "centre instead"
)


def _points(poses: Poses) -> NDArray[np.float64]:
    """Return the coordinates (persons, V, C) of all persons of all frames."""
    return np.stack([person.points for person in poses.persons])


def _file(unit: Any) -> Path:
    file: Path = unit if isinstance(unit, Path) else unit.file
    return file


def _name(root: Path, file: Path) -> str:
    inside = "" if file == root else file.relative_to(root).as_posix()
    return inside or file.resolve().name


def _shape(file: Path, poses: Poses) -> tuple[int, int] | None:
    """Return the shape (V, C) of all persons; None if there are none."""
    shapes = {person.points.shape: person for person in poses.persons}
    if len(shapes) > 1:
        (one, first), (other, second), *_ = shapes.items()
        what = f"expected {one[0]} joints of {one[1]} coordinates, as in frame {first.frame}"
        fail(file, f"frame {second.frame}", f"{what}, got {other[0]} of {other[1]}")
    joints, coordinates = next(iter(shapes), (0, 0))
    return (joints, coordinates) if shapes else None


def _layout(
    first: _First,
    layouts: Mapping[tuple[int, int], Skeleton],
    given: str | Path | Skeleton | None,
    by_name: bool,
    tree: Sequence[int] | None,
) -> Skeleton:
    known, joints = layouts.get(first.shape), first.joints
    if given is not None:
        if joints is None and by_name and known is not None:
            return choose_layout(given, known.joints, known.parents)
        with suppress(ValueError):  # of joints with the names of a built-in layout
            tree = tree and find_skeleton(joints or ()).parents
        try:
            layout = choose_layout(given, joints, tree)
        except SkeletonFormatError:  # of the file of the layout
            raise
        except ValueError as error:
            fail(first.file, str(error))
        if len(layout) != first.shape[0]:
            what = f"expected {len(layout)} joints, as skeleton {layout.name!r} has"
            fail(first.file, f"{what}, got {first.shape[0]}")
        return layout
    if joints is not None:
        try:
            return _known_or_joined(joints, tree)
        except ValueError as error:
            fail(first.file, f"{error}; --skeleton gives the layout")
    if known is None:
        names = ", ".join(f"{shape} for {layout.name}" for shape, layout in layouts.items())
        what = f"expected joints and coordinates {names}, got {first.shape}"
        fail(first.file, f"{what}; --skeleton gives the layout")
    return known


def _known_or_joined(joints: Sequence[str], tree: Sequence[int] | None) -> Skeleton:
    try:
        return find_skeleton(joints)
    except ValueError:
        if tree is None:
            raise
    return Skeleton.from_parents(joints, tree, name="connected")


def _read_unit(content: _Content, unit: Any) -> Iterator[Recording]:
    file, first = _file(unit), content.first
    poses = content.read(unit)
    shape = _shape(file, poses)
    if shape not in (None, first.shape):
        found, expected = (f"{n} joints of {c} coordinates" for n, c in (shape or (), first.shape))
        what = f"expected {expected}, as in {first.file.name}, got {found}"
        fail(file, f"{what}{_differing(poses.joints, first)}; {EACH_LAYOUT}")
    if shape is not None and poses.unit != first.unit:
        what = f"expected {first.unit or 'no unit'}, as in {first.file.name}"
        fail(file, f"{what}, got {poses.unit or 'no unit'} in the names of the columns")
    start, step = min(poses.frames), math.gcd(*(n - poses.frames[0] for n in poses.frames)) or 1
    slots, tracked = _slots(poses.persons)
    length, bodies = (max(poses.frames) - start) // step + 1, max(slots, default=0) + 1
    size, most = 4 * length * bodies * math.prod(first.shape), _most_bytes(file, unit)
    if size > most:
        what = f"expected at most {most:,} bytes of such a file, got {size:,}"
        numbers = f"frames {start} to {max(poses.frames) + 1}"
        fail(file, f"{what} for {bodies:,} persons in {numbers}")
    frames = np.zeros((length, bodies, *first.shape), np.float32)
    order = _order(file, poses.joints, first) if poses.persons else None
    with np.errstate(over="ignore"):
        for person, slot in zip(poses.persons, slots, strict=True):
            points = _seen(person, content.min_score)
            at = (person.frame - start) // step
            frames[at, slot] = points if order is None else points[order]
    if where := not_finite(frames):
        fail(file, f"too large for 32 bits in {where}")
    notes = list(poses.notes)
    if step > 1:
        notes.append(f"frames are numbered in steps of {step}: a step is one frame")
    if bodies > 1 and not tracked:
        frames = associate(frames)
        notes.append("persons without ids, tracked by position")
    yield Recording(frames, name=_name(content.root, file), fps=poses.fps, notes=notes)


def _seen(person: Person, min_score: float) -> NDArray[np.float64]:
    """Return the points of a person, 0 for joints with a lower score."""
    if person.scores is None:
        return person.points
    return np.asarray(np.where((person.scores >= min_score)[:, None], person.points, 0))


def _order(file: Path, joints: Sequence[str] | None, first: _First) -> list[int] | None:
    """Return the places of the first file's joints among those of a file, by name."""
    if joints is None or first.joints is None:
        if joints is not None or first.joints is not None:
            fail(file, f"expected joints as in {first.file.name}, all with names or all without")
        return None
    places = {normal_name(joint): at for at, joint in enumerate(joints)}
    wanted = [normal_name(joint) for joint in first.joints]
    if places.keys() != set(wanted):
        what = f"expected the joints of {first.file.name}, got others{_differing(joints, first)}"
        fail(file, f"{what}; {EACH_LAYOUT}")
    return [places[name] for name in wanted]


def _differing(joints: Sequence[str] | None, first: _First) -> str:
    """Say which joints of the first file are missing, and which are more; empty without names."""
    ours, theirs = (
        {normal_name(name): name for name in names or ()} for names in (joints, first.joints)
    )
    if not ours or not theirs:
        return ""
    without = [name for key, name in theirs.items() if key not in ours]
    more = [name for key, name in ours.items() if key not in theirs]
    said = [
        f", {word} {', '.join(some):.200}"
        for word, some in (("without", without), ("with", more))
        if some
    ]
    return "".join(said)


def _slots(persons: Sequence[Person]) -> tuple[list[int], bool]:
    """Return the slot of each person, and whether it follows from ids.

    Ids that two persons of a frame share are none; slots are then places in the frame's list.
    """
    tracks = [(person.frame, person.track) for person in persons]
    if all(track is not None for _, track in tracks) and len(set(tracks)) == len(tracks):
        known: dict[float | str | None, int] = {}
        return [known.setdefault(track, len(known)) for _, track in tracks], True
    count: Counter[int] = Counter()
    slots = []
    for person in persons:
        slots.append(count[person.frame])
        count[person.frame] += 1
    return slots, False


def _most_bytes(file: Path, unit: Any) -> int:
    try:
        return most_bytes(*([unit] if isinstance(unit, Path) else unit.files))
    except OSError as error:
        fail(file, f"cannot be read, {error}")


def triples(file: Path, place: str, values: Sequence[float]) -> tuple[Any, Any]:
    """Split x, y, score, x, y, score, ... into points (V, 2) and scores (V,).

    Raises:
        SkeletonFormatError: If their number is no multiple of 3.
    """
    if not values or len(values) % 3:
        fail(file, place, f"expected x, y and score of each joint, got {len(values)} numbers")
    array = np.array(values, dtype=np.float64).reshape(-1, 3)
    return array[:, :2], array[:, 2]
