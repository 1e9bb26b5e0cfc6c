"""What every reader returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pcm3.skeleton import Skeleton

__all__ = ["Recording", "Recordings"]


@dataclass(frozen=True)
class Recording:
    """One sequence as a file holds it.

    Args:
        frames: (T, M, V, C) float32; 0 where nobody is.
        label: Class index, -1 where there is none.
        columns: Further integers that describe it: subjects, views, ...
        frame_labels: Class per frame (T,), -1 is background; untrimmed recordings only.
        segments: (S, 3) start, end (exclusive), class; untrimmed recordings only.
    """

    frames: NDArray[np.float32]
    label: int = -1
    columns: Mapping[str, int] = field(default_factory=dict)
    frame_labels: NDArray[np.int64] | None = None
    segments: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Recordings:
    """A data set as its files hold it: a description, and sequences that are read when asked for.

    Iterate once; ``len`` is the number of sequences to come.
    """

    skeleton: Skeleton
    class_names: tuple[str, ...]
    count: int
    sequences: Iterator[Recording]
    fps: float | None = None
    unit: str = "metres"
    source: str = ""
    licence: str = ""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Recording]:
        return self.sequences
