"""The tree of markers: which are joined, by their names and their distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.skeleton.words import OPPOSITE, JointName, Side, read_names

_MOST_FRAMES = 50
_CHANGE = 3.0


def join_markers(names: Sequence[str], points: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """Join markers to a tree: one after the other to the nearest of those that are joined.

    Names say where a marker may hang: one of the trunk on the trunk; one of an arm or a leg on its
    limb, further inwards, or if nothing is there, on the trunk; others on all that are not on the
    other side. Markers without a side are of the trunk. If there is no such marker, any will do.
    The root is the marker of the trunk that is nearest to those of the legs.

    Args:
        names: Names of V markers.
        points: Coordinates (T, V, 3), 0 where a marker is not seen.

    Returns:
        The parent of each marker, -1 for the root.
    """
    parsed, mirror = _labels(names)
    distances = _distances(points)
    distances = (distances + distances[mirror][:, mirror]) / 2  # so that both sides are alike
    far = 1 + 2 * distances.max()  # after all that may hang there
    innermost: dict[tuple[str | None, str | None], int] = {}
    for name in parsed:
        key = name.limb, name.side
        innermost[key] = min(name.outwards, innermost.get(key, name.outwards))
    starts = [name.outwards == innermost[name.limb, name.side] for name in parsed]
    apart = np.array(
        [
            [
                far * (not _may_hang(child, on, start))
                for child, start in zip(parsed, starts, strict=True)
            ]
            for on in parsed
        ]
    )
    root = _root(parsed, distances)
    steps = distances + apart  # from the parent to the child
    parents, nearest = np.full(len(names), root), steps[root].copy()
    parents[root] = -1
    left = np.ones(len(names), dtype=bool)
    left[root] = False
    while left.any():
        new = int(np.argmin(np.where(left, nearest, np.inf)))
        left[new] = False
        closer = left & (steps[new] < nearest)
        parents[closer], nearest[closer] = new, steps[new][closer]
    return tuple(parents.tolist())


def join_body(names: Sequence[str], points: NDArray[np.floating[Any]]) -> tuple[int, ...] | None:
    """Join the joints of a body as ``join_markers`` does, if each name says where it belongs.

    Returns:
        The parent of each joint, -1 for the root; None if a name has no known word, such as
        ``left_sholder`` or ``p1``.
    """
    if any(name.limb is None for name in read_names(names)[0]):
        return None
    return join_markers(names, points)


def _labels(names: Sequence[str]) -> tuple[list[JointName], list[int]]:
    """Return the labels and the counterpart of each marker; itself without a side.

    Markers such as ``LMT5`` have a side too, as there is an ``RMT5``.
    """
    parsed, partners = read_names(names)
    mirror = [at if partner is None else partner for at, partner in enumerate(partners)]
    places = {name: at for at, name in enumerate(names)}
    for at, name in enumerate(names):
        other = places.get(_SWAP.get(name[:1], "") + name[1:], at)
        if parsed[at].side is None and parsed[other].side is None and other != at:
            side: Side = "left" if name[0] in "lL" else "right"
            parsed[at], mirror[at] = parsed[at]._replace(side=side, limb=None), other
            opposite = parsed[other]._replace(side=OPPOSITE[side], limb=None)
            parsed[other], mirror[other] = opposite, at
        elif parsed[at].side is None:
            parsed[at] = parsed[at]._replace(limb="trunk")
    return parsed, mirror


_SWAP = {"l": "r", "r": "l", "L": "R", "R": "L"}


def _distances(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the distance (V, V) of markers, larger where it changes, as between two segments.

    It is the mean over some frames and ``_CHANGE`` times the standard deviation. Markers that are
    never seen together are farthest apart.
    """
    frames = points[np.linspace(0, len(points) - 1, min(len(points), _MOST_FRAMES)).astype(int)]
    markers = points.shape[1]
    total, square, count = np.zeros((3, markers, markers))
    for frame in frames.astype(np.float64):
        seen = frame.any(-1)
        both = seen[:, None] & seen
        distance = np.where(both, np.linalg.norm(frame[:, None] - frame, axis=-1), 0)
        total, square, count = total + distance, square + distance**2, count + both
    mean = total / np.maximum(count, 1)
    variance = np.maximum(square / np.maximum(count, 1) - mean**2, 0)
    apart = mean + _CHANGE * np.sqrt(variance)
    return np.where(count > 0, apart, 1 + apart.max())


def _may_hang(child: JointName, on: JointName, starts_limb: bool) -> bool:
    if "trunk" in (child.limb, on.limb):
        return on.limb == "trunk" and (starts_limb or child.limb in ("trunk", None))
    if child.side != on.side:
        return False
    return None in (child.limb, on.limb) or (
        child.limb == on.limb and on.outwards <= child.outwards
    )


def _root(parsed: Sequence[JointName], distances: NDArray[np.float64]) -> int:
    legs = [at for at, name in enumerate(parsed) if name.limb == "leg"]
    trunk = [at for at, name in enumerate(parsed) if name.limb == "trunk"]
    far = distances[:, legs or slice(None)].sum(1)
    return min(trunk or range(len(parsed)), key=lambda at: (far[at], at))
