"""The third number of a joint: a coordinate, or the score of a pose estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.units import metres_in
from pcm3.io.reading import fail

Coordinates = Literal[2, 3] | None
"""Number of coordinates among the numbers of a joint; None finds it out."""

_IMAGE = 2  # larger coordinates are pixels, not fractions of an image or of half an image
_LIKELY = 0.5  # most scores are above this


class Third(NamedTuple):
    """The meaning of the third numbers of all recordings.

    Attributes:
        coordinates: Number of coordinates of each joint.
        why: The recording that this follows from; None if the user set it.
        measured: Whether the coordinates have a known unit of length, so that none is a score.
    """

    coordinates: int
    why: str | None
    measured: bool = False

    @property
    def notes(self) -> list[str]:
        """Remarks for the report."""
        flat = self.coordinates == 2 and self.why is not None
        return ["the third coordinate is 0 in all recordings: read as 2D"] if flat else []

    def take(self, frames: NDArray[np.float32], file: Path, place: str) -> NDArray[np.float32]:
        """Return the coordinates of one recording (T, B, V, 3).

        Raises:
            SkeletonFormatError: If its third numbers look like scores, or differ in kind from
                those of the recording ``why``.
        """
        if self.why is not None and frames.any():
            flat = not frames[..., 2].any()
            if flat != (self.coordinates == 2):
                what = "is 0 throughout" if flat else "is not 0 throughout"
                fail(file, place, f"the third coordinate {what}, unlike in {self.why}; {_REMEDY}")
            if not self.measured and looks_like_score(frames):
                fail(file, place, f"looks like x, y, score, or is z from 0 to 1: {_REMEDY}")
        return np.ascontiguousarray(frames[..., : self.coordinates])


_REMEDY = "--coordinates 2 reads x and y only, --coordinates 3 reads the third as z"


def find_third(
    recordings: Iterable[tuple[str, Callable[[], NDArray[np.float32]]]],
    given: Coordinates,
    unit: str | None = None,
) -> Third:
    """Find out what the third numbers are, as given or else by the first recording with a body.

    Args:
        recordings: Names, and functions that read frames (T, B, V, 3).
        given: Number of coordinates of a joint; None finds it out.
        unit: Unit of the coordinates, if the files or the user name it.
    """
    measured = unit is not None and metres_in(unit) is not None
    if given is not None:
        return Third(given, None)
    name = ""
    for name, read in recordings:
        frames = read()
        if frames.any():
            return Third(3 if frames[..., 2].any() else 2, name, measured)
    return Third(3, name, measured)


def looks_like_score(frames: NDArray[np.float32]) -> bool:
    """Return whether the third values may be scores that pose estimators add to x and y.

    Scores are from 0 to 1, as heights may be. With scores, x and y are pixels or fractions of an
    image, or the values are mostly high.
    """
    seen = frames[frames.any(-1)]
    third = seen[:, 2]
    if third.min() < 0 or not 0 < third.max() <= 1:
        return False
    if not np.ptp(seen[:, :2], axis=0).any():  # a single point, not a body
        return False
    low, high = float(seen[:, :2].min()), float(seen[:, :2].max())
    pixels, shares = max(-low, high) > _IMAGE, low >= 0 and high <= 1
    return pixels or shares or float(np.median(third)) >= _LIKELY
