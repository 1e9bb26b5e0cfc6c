"""Recipes that bring raw coordinates into the shape the methods expect."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pcm3.skeleton import Skeleton

__all__ = ["Normalization", "normalize"]

Normalization = Literal["none", "center"]


def normalize(
    frames: NDArray[np.float32], skeleton: Skeleton, recipe: Normalization
) -> NDArray[np.float32]:
    """Normalise one sequence.

    ``"none"`` changes nothing. ``"center"`` subtracts, frame by frame, the centre joint of
    person 0 from all persons; what is absent (all-zero persons and joints) stays zero. Where
    that centre joint is itself absent, the one of the nearest earlier frame is used, or of the
    first frame that has it.

    Args:
        frames: (T, M, V, C); 0 where nobody is.
        skeleton: Names the centre joint.
        recipe: ``"none"`` or ``"center"``.

    Returns:
        (T, M, V, C) float32.

    Raises:
        ValueError: If the recipe is unknown.
    """
    if recipe == "none":
        return frames
    if recipe == "center":
        return _center(frames, skeleton.center)
    raise ValueError(f"expected a normalization among {get_args(Normalization)}, got {recipe!r}")


def _center(frames: NDArray[np.float32], joint: int) -> NDArray[np.float32]:
    centers = frames[:, 0, joint]
    seen = centers.any(-1)
    if not seen.any():
        return frames
    latest = np.maximum.accumulate(np.where(seen, np.arange(len(frames)), int(np.argmax(seen))))
    present = frames.any(-1, keepdims=True)
    return (frames - centers[latest, None, None]) * present
