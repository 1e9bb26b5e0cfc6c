"""Rotations and two-link limbs of many bodies at once.

Coordinates come first, so that each is one block in memory: vectors are (3, ...), matrices
(3, 3, ...).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def rotation(pitch: Floats, yaw: Floats, roll: Floats) -> Floats:
    """Return matrices (3, 3, ...) that turn about x, then y, then z, by angles (...) in radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (pitch, yaw, roll))
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return np.array(rows, np.float32)


def product(first: Floats, second: Floats) -> Floats:
    """Return the products (3, 3, ...) of matrices: the second turns before the first."""
    return np.stack([turned(first, second[:, column]) for column in range(3)], axis=1)


def turned(matrix: Floats, vector: Floats) -> Floats:
    """Return vectors (3, ...) turned by matrices (3, 3, ...)."""
    x, y, z = vector
    return np.asarray(matrix[:, 0] * x + matrix[:, 1] * y + matrix[:, 2] * z)


def dot(first: Floats, second: Floats) -> Floats:
    """Return the scalar products (...) of vectors (3, ...)."""
    product: Floats = first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
    return product


def unit(vector: Floats) -> Floats:
    """Return vectors (3, ...) of length 1."""
    return np.asarray(vector / np.maximum(np.sqrt(dot(vector, vector)), np.float32(1e-6)))


def frame_along(bone: Floats, pole: Floats) -> Floats:
    """Return frames (3, 3, ...) whose -y axis lies along a bone and whose z axis is near a pole."""
    up = -unit(bone)
    (x, y, z), (px, py, pz) = up, pole
    across = unit(np.array((y * pz - z * py, z * px - x * pz, x * py - y * px), np.float32))
    ax, ay, az = across
    back = np.array((ay * z - az * y, az * x - ax * z, ax * y - ay * x), np.float32)
    return np.stack([across, up, back], axis=1)


def two_links(
    target: Floats, upper: Floats, lower: Floats, pole: Floats, most: float
) -> tuple[Floats, Floats]:
    """Bend a limb of two bones so that its end is at a target, or as near as it can be.

    Args:
        target: Where the end shall be, from the beginning of the limb (3, ...).
        upper: Length of the first bone (...).
        lower: Length of the second bone (...).
        pole: Direction in which the joint between the bones points (3, ...).
        most: Largest angle in radians by which that joint bends; 0 is a straight limb.

    Returns:
        The joint and the end (3, ...), from the beginning of the limb.
    """
    far = np.float32(0.999) * (upper + lower)
    near = np.sqrt(upper**2 + lower**2 + 2 * upper * lower * np.float32(np.cos(most)))
    along = unit(target)
    length = np.clip(np.sqrt(dot(target, target)), near, far)
    side = unit(pole - along * dot(pole, along))
    part = (upper**2 - lower**2 + length**2) / (2 * length)
    height = np.sqrt(np.maximum(upper**2 - part**2, np.float32(0.0)))
    return along * part + side * height, along * length
