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
from pcm3.io.reading import fail, files_below
from pcm3.skeleton import Skeleton

__all__ = ["Reader", "Recording", "Source"]


@dataclass(frozen=True)
class Recording:
    """One sequence as a file holds it.

    Args:
        frames: (T, B, V, C) float32, one slot for each of the B bodies, in the order in which
            the file names them; 0 where a body or joint is not seen.
        label: Class index, -1 where there is none.
        columns: Further integers or words that describe it: subjects, views, ... The same names
            in all recordings of a source; -1 or ``""`` where there is none.
        frame_labels: Class per frame (T,), -1 is background; untrimmed recordings only.
        segments: (S, 3) start, end (exclusive), class; untrimmed recordings only.
        name: What the files call it, for reports.
        fps: Frames per second, where this recording says so itself.
        notes: What people should know of how it was read; equal ones are counted in reports.
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

    Units are independent and may be read in any process and any order: ``read`` and every unit
    can be pickled.

    Args:
        format: Name of the format, ``"ntu"`` say.
        skeleton: The layout of the joint axis.
        class_names: Names of the classes; labels index them.
        units: What ``read`` takes: a file, or a file and a range of its sequences. Sorted, so
            that the same files give the same store.
        read: Gives the recordings of a unit, one at a time. In place of a sequence that is bad
            it gives its ``SkeletonFormatError``, which names file and place, and goes on; what
            makes the whole unit unreadable is raised.
        persons: M of the store to be; recordings may hold more or fewer bodies.
        bodies: Where the reader has a choice, what a slot of its recordings holds: the body with
            one id (``"tracked"``) or in one ``"place"`` of each frame's list.
        keep_order: Whether published data keep the persons of these recordings in their order,
            see ``normalize``.
        normalization: The recipe that the files' coordinates went through already, where the
            format or the file says so.
        untrimmed: Whether recordings have ``frame_labels``.
        protocols: The divisions that the data set is published with, by name.
        fps: Frames per second of all recordings, where known.
        rates: Where recordings say their frames per second themselves, in ``Recording.fps``: the
            different ones, and a file that has each.
        unit: Unit of the coordinates.
        about: Where the recordings come from.
        licence: Under which terms.
        left_out: How many files were there but are not among the units, by a list or a table.
        left_out_why: Which list or table.
        notes: What people should know of how the files were read.
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
    about: str = ""
    licence: str = ""
    left_out: int = 0
    left_out_why: str = ""
    notes: Sequence[str] = ()

    def __iter__(self) -> Iterator[Recording]:
        """All recordings, unit by unit.

        Raises:
            SkeletonFormatError: At the first sequence that is bad.
        """
        for unit in self.units:
            for recording in self.read(unit):
                if isinstance(recording, SkeletonFormatError):
                    raise recording
                yield recording


class Reader(NamedTuple):
    """The two functions that the module of a format has.

    Attributes:
        detect: ``detect(path)``, whether a path looks like files of the format. It takes any
            path, reads little and raises nothing.
        read: ``read_NAME(path, *, ...)``, which returns a ``Source``. Its keyword arguments are
            the options of the format, for ``open_source`` and ``pcm3 prepare`` alike: the command
            takes their types and defaults from the signature, and as help the first sentence that
            the docstring has on each.
    """

    detect: Callable[[Path], bool]
    read: Callable[..., Source]

    @classmethod
    def of(cls, name: str, module: ModuleType) -> Reader:
        """The reader in the module of the format ``name``."""
        return cls(module.detect, getattr(module, f"read_{name}"))

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """The options by name."""
        _, *options = inspect.signature(self.read).parameters.values()
        return {option.name: option for option in options}


MOST_CLASSES = 10_000
"""Labels from here on are taken for codes."""


def or_error(read: Callable[..., Recording], *args: Any) -> Recording | SkeletonFormatError:
    """The recording that ``read(*args)`` gives, or the error that it raises."""
    try:
        return read(*args)
    except SkeletonFormatError as error:
        return error


class NumberedFiles(NamedTuple):
    """The files of a folder, not of those below it, whose names are numbers of a recording.

    Attributes:
        pattern: Such names for errors, ``aAA_sSS.json`` say.
        name: The same as an expression, a group for every number, the action first.
        actions: Numbers of the actions.
    """

    pattern: str
    name: re.Pattern[str]
    actions: Sequence[int]

    def numbers(self, file: Path) -> list[int]:
        """The numbers in the name of a file; none where it is another name."""
        match = self.name.fullmatch(file.name)
        return [int(number) for number in match.groups()] if match else []

    def any_in(self, folder: Path) -> bool:
        """Whether there are any."""
        return any(self.numbers(file) for file in files_below(folder, recursive=False))

    def find(self, folder: Path) -> list[Path]:
        """All of them, by their numbers.

        Raises:
            SkeletonFormatError: If there are none.
        """
        if not folder.is_dir():
            fail(folder, "no such folder")
        numbered = [(self.numbers(f), f) for f in files_below(folder, recursive=False)]
        found = sorted((numbers, file) for numbers, file in numbered if numbers)
        if not found:
            fail(folder, f"expected files named {self.pattern}, found none")
        return [file for _, file in found]

    def checked(self, file: Path) -> list[int]:
        """The numbers in the name of one of them.

        Raises:
            SkeletonFormatError: If the action is unknown.
        """
        numbers = self.numbers(file)
        if numbers[0] not in self.actions:
            known = ", ".join(map(str, self.actions))
            fail(file, f"expected an action among {known}, got {numbers[0]}")
        return numbers


def not_finite(frames: NDArray[np.floating]) -> str | None:
    """Where the first NaN or infinity of (T, M, V, C) is, None where there is none."""
    finite = np.isfinite(frames)
    if finite.all():
        return None
    frame, person, joint, _ = np.argwhere(~finite)[0].tolist()
    return f"frame {frame}, person {person}, joint {joint}"


def unpadded(frames: NDArray[Any]) -> NDArray[Any]:
    """Without the zeros after the last frame; one frame is kept."""
    used = np.flatnonzero(frames.any(axis=tuple(range(1, frames.ndim))))
    return frames[: int(used[-1]) + 1 if len(used) else 1]


def one_person(file: Path, key: str, values: ArrayLike) -> NDArray[np.float32]:
    """Coordinates (T, 20, 3) of one person as (T, 1, 20, 3) float32.

    Raises:
        SkeletonFormatError: If they are of another shape or not finite.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            array = np.asarray(values, dtype=np.float32)
    except Exception as error:  # of lists of anything
        fail(file, key, f"expected numbers, {error}")
    if array.ndim != 3 or array.shape[1:] != (20, 3) or len(array) == 0:
        fail(file, key, f"expected (T, 20, 3), got {array.shape}")
    frames = np.ascontiguousarray(array[:, None])
    if where := not_finite(frames):
        fail(file, key, f"NaN or infinity in {where}")
    return frames
