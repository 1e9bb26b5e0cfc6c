"""Sequences of markers: one person, whose joints are markers with names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.shared.poses import Person, Poses
from pcm3.data.units import metres_in
from pcm3.io.reading import fail, shown


def one_person(
    points: NDArray[np.floating[Any]],
    frames: Sequence[int],
    names: Sequence[str] | None = None,
    fps: float | None = None,
    notes: Sequence[str] = (),
) -> Poses:
    """Return markers (T, V, 3) as a person, who is absent where no marker is seen (0)."""
    persons = [
        Person(number, frame, None, 0)
        for number, frame in zip(frames, points, strict=True)
        if frame.any()
    ]
    return Poses(persons, frames, names, fps, notes)


def metres(file: Path, place: str, unit: str) -> float:
    """Return the metres in a unit of length.

    Raises:
        SkeletonFormatError: If the unit is unknown.
    """
    size = metres_in(unit)
    if size is None:
        fail(file, place, f"expected a unit among m, cm, mm, in, ft, got {shown(unit)}")
    return size


def check_names(file: Path, place: str, names: Sequence[str]) -> None:
    """Require markers with names of their own.

    Raises:
        SkeletonFormatError: If there are none, or two of a name.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not names:
        got = "none" if twice is None else f"{shown(twice)} twice"
        fail(file, place, f"expected markers, each with a name of its own, got {got}")
