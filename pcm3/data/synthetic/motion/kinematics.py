"""Rotations and two-link limbs of many bodies at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def rotation(pitch: Floats, yaw: Floats, roll: Floats) -> Floats:
    """Return matrices (..., 3, 3) that turn about x, then y, then z, by angles (...) in radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (pitch, yaw, roll))
    matrix = np.empty((*cx.shape, 3, 3), np.float32)
    matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 0, 2] = (
        cz * cy,
        cz * sy * sx - sz * cx,
        cz * sy * cx + sz * sx,
    )
    matrix[..., 1, 0], matrix[..., 1, 1], matrix[..., 1, 2] = (
        sz * cy,
        sz * sy * sx + cz * cx,
        sz * sy * cx - cz * sx,
    )
    matrix[..., 2, 0], matrix[..., 2, 1], matrix[..., 2, 2] = -sy, cy * sx, cy * cx
    return matrix


def turned(matrix: Floats, vector: Floats) -> Floats:
    """Return vectors (..., 3) turned by matrices (..., 3, 3)."""
    product: Floats = (matrix @ vector[..., None])[..., 0]
    return product


def unit(vector: Floats) -> Floats:
    """Return vectors (..., 3) of length 1."""
    length = np.sqrt(np.einsum("...c,...c->...", vector, vector))[..., None]
    return np.asarray(vector / np.maximum(length, 1e-6))


def two_links(
    target: Floats, upper: Floats, lower: Floats, pole: Floats, most: float
) -> tuple[Floats, Floats]:
    """Bend a limb of two bones so that its end is at a target, or as near as it can be.

    Args:
        target: Where the end shall be, from the beginning of the limb (..., 3).
        upper: Length of the first bone (...).
        lower: Length of the second bone (...).
        pole: Direction in which the joint between the bones points (..., 3).
        most: Largest angle in radians by which that joint bends; 0 is a straight limb.

    Returns:
        The joint and the end (..., 3), from the beginning of the limb.
    """
    far = 0.999 * (upper + lower)
    near = np.sqrt(upper**2 + lower**2 + 2 * upper * lower * np.float32(np.cos(most)))
    length = np.sqrt(np.einsum("...c,...c->...", target, target))
    along = target / np.maximum(length, 1e-6)[..., None]
    length = np.clip(length, near, far)
    side = unit(pole - along * np.einsum("...c,...c->...", pole, along)[..., None])
    part = (upper**2 - lower**2 + length**2) / (2 * length)
    height = np.sqrt(np.maximum(upper**2 - part**2, 0.0))
    joint = along * part[..., None] + side * height[..., None]
    return joint, along * length[..., None]
