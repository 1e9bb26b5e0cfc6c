"""Turns of coordinates, so that the second one points up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Up = Literal["x", "-x", "y", "-y", "z", "-z"]
"""The axis that points up."""

_TURNS: dict[Up, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "x": ((1, 0, 2), (-1, 1, 1)),
    "-x": ((1, 0, 2), (1, -1, 1)),
    "y": ((0, 1, 2), (1, 1, 1)),
    "-y": ((0, 1, 2), (1, -1, -1)),
    "z": ((0, 2, 1), (1, 1, -1)),
    "-z": ((0, 2, 1), (1, -1, 1)),
}
"""For each axis that points up, the old axis of each new one, and its sign; turns, no mirrors."""


def turn_up(points: NDArray[Any], up: Up) -> NDArray[Any]:
    """Turn coordinates (..., C) so that an axis points along y.

    Three coordinates are turned by a right angle or half a turn, so that left stays left. Of two
    coordinates, as in images, y changes its sign. Absent points (0) stay absent.

    Args:
        points: Coordinates (..., C) of 2 or 3.
        up: The axis that points up; y or -y of two coordinates.

    Returns:
        Coordinates of the same shape and dtype.

    Raises:
        ValueError: If the axis is unknown, or none of the coordinates.

    Example:
        >>> turn_up(np.array([1.0, 2.0, 3.0]), "z").tolist()
        [1.0, 3.0, -2.0]
    """
    check_up(up, points.shape[-1])
    axes, signs = _TURNS[up]
    channels = points.shape[-1]
    turned = points[..., list(axes[:channels])] * np.array(signs[:channels], points.dtype)
    return np.asarray(turned + 0, points.dtype)  # no -0


CLEARLY = 3.0
"""Times further do bodies extend along another axis than along y where that axis points up."""


def from_legs_to_trunk(
    points: NDArray[Any],
    parts: Mapping[str, Sequence[int]],
    seen: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Find where bodies extend to, on average over frames.

    Args:
        points: Coordinates (T, V, C), 0 where absent.
        parts: Joints of ``trunk``, ``left_leg`` and ``right_leg``.
        seen: Which joints are seen (T, V); by default those that are not at 0.

    Returns:
        The vector (C,) from the mean of the legs to that of the trunk, in frames with both; 0 if
        there are none.
    """
    legs, trunk = [*parts["left_leg"], *parts["right_leg"]], list(parts["trunk"])
    if seen is None:
        seen = np.asarray(points.any(axis=-1))
    both = seen[:, legs].any(axis=1) & seen[:, trunk].any(axis=1)
    points, seen = points[both], seen[both]

    def mean(joints: Sequence[int]) -> NDArray[np.float64]:
        total = points[:, joints].sum(axis=(0, 1), dtype=np.float64)
        return np.asarray(total / max(1, int(seen[:, joints].sum())))

    return mean(trunk) - mean(legs)


def along(body: NDArray[Any], axis: int) -> Up:
    """Name one of the axes, in the direction in which a vector (C,) goes along it."""
    names: tuple[Up, ...] = get_args(Up)  # x, -x, y, ...
    return names[2 * axis + bool(body[axis] < 0)]


def check_up(up: str, channels: int) -> None:
    """Require an axis that coordinates of this number have.

    Raises:
        ValueError: If they have none of this name.
    """
    known = get_args(Up) if channels == 3 else ("y", "-y")
    if up not in known:
        raise ValueError(
            f"expected up among {', '.join(known)} of {channels} coordinates, got {up!r}"
        )
