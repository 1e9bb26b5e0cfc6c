"""What every reader returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pcm3.data.normalize import Normalization
from pcm3.data.protocols import Protocol
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import Skeleton

__all__ = ["Recording", "Source"]


@dataclass(frozen=True)
class Recording:
    """One sequence as a file holds it.

    Args:
        frames: (T, B, V, C) float32, one slot for each of the B bodies, in the order in which
            the file names them; 0 where a body or joint is not seen.
        label: Class index, -1 where there is none.
        columns: Further integers that describe it: subjects, views, ... The same names in all
            recordings of a source.
        frame_labels: Class per frame (T,), -1 is background; untrimmed recordings only.
        segments: (S, 3) start, end (exclusive), class; untrimmed recordings only.
        name: What the files call it, for reports.
    """

    frames: NDArray[np.float32]
    label: int = -1
    columns: Mapping[str, int] = field(default_factory=dict)
    frame_labels: NDArray[np.int64] | None = None
    segments: NDArray[np.int64] | None = None
    name: str = ""


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
        fps: Frames per second, where known.
        unit: Unit of the coordinates.
        about: Where the recordings come from.
        licence: Under which terms.
        left_out: How many files were there but are not among the units, by a list or a table.
        left_out_why: Which list or table.
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
    unit: str = "metres"
    about: str = ""
    licence: str = ""
    left_out: int = 0
    left_out_why: str = ""

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
