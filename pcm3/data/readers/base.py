"""The contract of readers, what they return, and helpers that several use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.normalize import Normalization
from pcm3.data.protocols import Protocol
from pcm3.errors import SkeletonFormatError
from pcm3.io.reading import Range, fail, files_below, kinds_of
from pcm3.skeleton import Skeleton


@dataclass(frozen=True)
class Recording:
    """One sequence as a file holds it.

    Args:
        frames: Coordinates (T, B, V, C) float32, one slot for each of the B bodies, in the order
            of the file; 0 for a body or joint that is not seen.
        label: Class index, -1 for none.
        columns: Further integers or words that describe the recording: subjects, views, ... The
            names are the same in all recordings of a source; missing values are -1 or ``""``.
        frame_labels: Class per frame (T,), -1 for background; for untrimmed recordings only.
        segments: Start, end (exclusive) and class (S, 3); for untrimmed recordings only.
        name: Name of the recording, for reports.
        fps: Frames per second, if the recording itself gives it.
        notes: Remarks on how the recording was read; reports count equal ones.
    """

    frames: NDArray[np.float32]
    label: int = -1
    columns: Mapping[str, int | str] = field(default_factory=dict)
    frame_labels: NDArray[np.int64] | None = None
    segments: NDArray[np.int64] | None = None
    name: str = ""
    fps: float | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """A data set as its files hold it: a description, and units that are read one by one.

    Units are independent and may be read in any process and any order, because ``read`` and every
    unit can be pickled.

    Args:
        format: Name of the format, such as ``"ntu"``.
        skeleton: The layout of the joint axis.
        class_names: Names of the classes; labels index them.
        units: Arguments of ``read``: files, or ranges of sequences in a file. They are sorted, so
            that the same files give the same store.
        read: Function that yields the recordings of a unit. In place of a bad sequence it yields a
            ``SkeletonFormatError`` that names file and place, and continues. It raises if the
            whole unit is unreadable.
        persons: Number of persons M of the future store; recordings may hold more or fewer bodies.
        bodies: Content of a slot of the recordings, if the reader has a choice: the body with one
            id (``"tracked"``) or at one ``"place"`` of each frame's list.
        keep_order: Whether published data keep the persons of these recordings in their order,
            see ``normalize``.
        normalization: The recipe that was already applied to the coordinates, according to the
            format or the file.
        untrimmed: Whether recordings have ``frame_labels``.
        protocols: The divisions that the data set is published with, by name.
        fps: Frames per second of all recordings, if known.
        rates: If recordings have their own frame rates, in ``Recording.fps``: the different rates,
            each with a file that has it.
        unit: Unit of the coordinates.
        unit_told: Whether the files give the unit.
        about: Origin of the recordings.
        licence: The licence of the recordings.
        left_out: Number of files that a list or a table excludes from the units.
        left_out_why: The list or table that excludes them.
        notes: Remarks on how the files were read.
        label_notes: Remarks on labels and columns, which prediction does without.
    """

    format: str
    skeleton: Skeleton
    class_names: tuple[str, ...]
    units: Sequence[Any]
    read: Callable[[Any], Iterator[Recording | SkeletonFormatError]]
    persons: int = 1
    bodies: Literal["place", "tracked"] | None = None
    keep_order: bool = False
    normalization: Normalization = "none"
    untrimmed: bool = False
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    fps: float | None = None
    rates: Mapping[float, str] = field(default_factory=dict)
    unit: str = "metres"
    unit_told: bool = False
    about: str = ""
    licence: str = ""
    left_out: int = 0
    left_out_why: str = ""
    notes: Sequence[str] = ()
    label_notes: Sequence[str] = ()

    def __iter__(self) -> Iterator[Recording]:
        """All recordings, unit by unit.

        Raises:
            SkeletonFormatError: At the first bad sequence.
        """
        for unit in self.units:
            for recording in self.read(unit):
                if isinstance(recording, SkeletonFormatError):
                    raise recording
                yield recording


class Reader(NamedTuple):
    """The two functions of the module of a format.

    Attributes:
        detect: ``detect(path)``, which returns whether a path looks like files of the format. It
            accepts any path, reads little and raises nothing.
        read: ``read_NAME(path, *, ...)``, which returns a ``Source``. Its keyword arguments are
            the options of the format for ``open_source`` and ``pcm3 prepare``. The command takes
            types and defaults from the signature, and the help of an option from the first
            sentence on it in the docstring.
    """

    detect: Callable[[Path], bool]
    read: Callable[..., Source]

    @classmethod
    def of(cls, name: str, module: ModuleType) -> Reader:
        """Return the reader in the module of the format ``name``."""
        return cls(module.detect, getattr(module, f"read_{name}"))

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """The options by name."""
        _, *options = inspect.signature(self.read).parameters.values()
        return {option.name: option for option in options}


def file_of(unit: Any) -> Path | None:
    """Return the file that a unit is; None if it is a part of a file, or several files."""
    unit = getattr(unit, "unit", unit)  # of a row of a table
    return unit if isinstance(unit, Path) else None


def kind_of(units: Sequence[Any]) -> str:
    """Say what units are: ``"file"``, ``"part of a file"``, or ``"recording"`` of several files."""
    if any(isinstance(unit, Range) for unit in units):
        return "part of a file"
    return "recording" if any(map(_has_several, units)) else "file"


def _has_several(unit: Any) -> bool:
    unit = getattr(unit, "unit", unit)
    return unit is not None and not isinstance(unit, Path)


MOST_CLASSES = 10_000
"""Labels from this number on are considered codes, not class indices."""


def or_error(read: Callable[..., Recording], *args: Any) -> Recording | SkeletonFormatError:
    """Return what ``read(*args)`` returns, or the format error that it raises."""
    try:
        return read(*args)
    except SkeletonFormatError as error:
        return error


class NumberedFiles(NamedTuple):
    """Files directly in a folder with numbers of the recording in their names.

    Attributes:
        pattern: The pattern of the names in messages, such as ``aAA_sSS.json``.
        name: The pattern as a regular expression with a group for every number, the action first.
        actions: Numbers of the actions.
    """

    pattern: str
    name: re.Pattern[str]
    actions: Sequence[int]

    def numbers(self, file: Path) -> list[int]:
        """Return the numbers in the name of a file; empty if the name does not match."""
        match = self.name.fullmatch(file.name)
        return [int(number) for number in match.groups()] if match else []

    def any_in(self, folder: Path) -> bool:
        """Return whether the folder holds such a file."""
        return any(self.numbers(file) for file in files_below(folder, recursive=False))

    def find(self, folder: Path) -> list[Path]:
        """Find all such files of a folder, sorted by their numbers.

        Raises:
            SkeletonFormatError: If there is no such file.
        """
        if not folder.is_dir():
            fail(folder, "no such folder")
        numbered = [(self.numbers(f), f) for f in files_below(folder, recursive=False)]
        files = [file for numbers, file in sorted(numbered) if numbers]
        if not files:
            fail(folder, f"expected files named {self.pattern}, found {kinds_of(folder)}")
        return files

    def checked(self, file: Path) -> list[int]:
        """Return the numbers in the name of such a file.

        Raises:
            SkeletonFormatError: If the action is unknown.
        """
        numbers = self.numbers(file)
        if numbers[0] not in self.actions:
            known = ", ".join(map(str, self.actions))
            fail(file, f"expected an action among {known}, got {numbers[0]}")
        return numbers


def not_finite(frames: NDArray[np.floating]) -> str | None:
    """Return the place of the first NaN or infinity in (T, M, V, C); None if there is none."""
    finite = np.isfinite(frames)
    if finite.all():
        return None
    frame, person, joint, _ = np.argwhere(~finite)[0].tolist()
    return f"frame {frame}, person {person}, joint {joint}"


def unpadded(frames: NDArray[Any]) -> NDArray[Any]:
    """Remove zero padding from the end; at least one frame is kept."""
    used = np.flatnonzero(frames.any(axis=tuple(range(1, frames.ndim))))
    return frames[: int(used[-1]) + 1 if len(used) else 1]


def one_person(file: Path, key: str, values: ArrayLike) -> NDArray[np.float32]:
    """Convert coordinates (T, 20, 3) of one person to (T, 1, 20, 3) float32.

    Raises:
        SkeletonFormatError: If the values have another shape or are not finite.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            array = np.asarray(values, dtype=np.float32)
    except Exception as error:  # lists of anything may raise anything
        fail(file, key, f"expected numbers, {error}")
    if array.ndim != 3 or array.shape[1:] != (20, 3) or len(array) == 0:
        fail(file, key, f"expected (T, 20, 3), got {array.shape}")
    frames = np.ascontiguousarray(array[:, None])
    if where := not_finite(frames):
        fail(file, key, f"NaN or infinity in {where}")
    return frames
