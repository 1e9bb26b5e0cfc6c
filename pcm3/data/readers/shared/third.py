"""The third number of a joint: a coordinate, or what pose estimators put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.io.reading import fail

__all__ = ["Coordinates", "Third", "find_third"]

Coordinates = Literal[2, 3] | None
"""How many numbers of a joint are coordinates; None has it found out."""

_IMAGE = 2  # coordinates beyond are neither shares of an image nor of half of it
_LIKELY = 0.5  # what most scores are above


class Third(NamedTuple):
    """What the third numbers of all recordings are.

    Attributes:
        coordinates: Numbers of each joint that are coordinates.
        why: Recording that says so; None where the user does.
    """

    coordinates: int
    why: str | None

    @property
    def notes(self) -> list[str]:
        """What people should know of it."""
        flat = self.coordinates == 2 and self.why is not None
        return ["the third coordinate is 0 in all recordings: read as 2D"] if flat else []

    def take(self, frames: NDArray[np.float32], file: Path, place: str) -> NDArray[np.float32]:
        """The coordinates of one recording (T, B, V, 3).

        Raises:
            SkeletonFormatError: If its third numbers look like scores, or are another thing than
                those of the recording before.
        """
        if self.why is not None and frames.any():
            flat = not frames[..., 2].any()
            if flat != (self.coordinates == 2):
                what = "is 0 throughout" if flat else "is not 0 throughout"
                fail(file, place, f"the third coordinate {what}, unlike in {self.why}; {_REMEDY}")
            if _looks_like_score(frames):
                fail(file, place, f"looks like x, y, score, or is z from 0 to 1: {_REMEDY}")
        return np.ascontiguousarray(frames[..., : self.coordinates])


_REMEDY = "--coordinates 2 takes x and y alone, --coordinates 3 takes the third as z"


def find_third(
    recordings: Iterable[tuple[str, Callable[[], NDArray[np.float32]]]], asked: Coordinates
) -> Third:
    """What the third numbers are: what was asked for, or what the first recording with a body says.

    Args:
        recordings: Names, and what reads their frames (T, B, V, 3).
        asked: How many numbers of a joint are coordinates.
    """
    if asked is not None:
        return Third(asked, None)
    name = ""
    for name, read in recordings:
        frames = read()
        if frames.any():
            return Third(3 if frames[..., 2].any() else 2, name)
    return Third(3, name)


def _looks_like_score(frames: NDArray[np.float32]) -> bool:
    """Whether the third values may be what pose estimators add to x and y.

    They are from 0 to 1. So may heights be: it is told by x and y that are pixels, or shares of an
    image, or by values that are mostly high.
    """
    seen = frames[frames.any(-1)]
    third = seen[:, 2]
    if third.min() < 0 or not 0 < third.max() <= 1:
        return False
    if not np.ptp(seen[:, :2], axis=0).any():  # a single point is no body
        return False
    low, high = float(seen[:, :2].min()), float(seen[:, :2].max())
    pixels, shares = max(-low, high) > _IMAGE, low >= 0 and high <= 1
    return pixels or shares or float(np.median(third)) >= _LIKELY
