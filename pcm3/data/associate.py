"""The assignment of bodies to slots by their positions, whatever slots or ids the files give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]


def associate(frames: Frames) -> Frames:
    """Give every person one slot, frame by frame.

    Each slot keeps the last position of its person. The bodies of a frame go to the nearest
    slots, the closest pair first. The distance is the mean over the joints that both have, or, if
    they share none, the distance between the means of their joints. Bodies that are left over
    get new slots, so that there are as many slots as bodies ever seen together. The slot with the
    most frames comes first.

    The result does not depend on the slots of the bodies in ``frames``, because coordinates break
    ties.

    Args:
        frames: Coordinates (T, B, V, C), all 0 for a body or a joint that is not seen.

    Returns:
        Coordinates (T, B', V, C) with B' <= B: the same bodies in every frame, in other slots.
    """
    present = np.asarray(frames.any((2, 3)))
    last: list[Frames] = []  # the last body of every slot
    taken = np.full(present.shape, -1)  # the slot of each body
    for frame in np.flatnonzero(present.any(1)).tolist():
        bodies = _in_order(frames[frame], np.flatnonzero(present[frame]))
        unassigned = _assign(last, frames[frame], bodies, taken[frame])
        for body in unassigned:
            taken[frame, body] = len(last)
            last.append(frames[frame, body])
    result = np.zeros((len(frames), len(last), *frames.shape[2:]), dtype=frames.dtype)
    times, seen = np.nonzero(taken >= 0)
    result[times, taken[times, seen]] = frames[times, seen]
    lengths = result.any((2, 3)).sum(0)
    return result[:, np.argsort(-lengths, kind="stable")]


def _in_order(frame: Frames, bodies: NDArray[np.int64]) -> list[int]:
    """Sort bodies by their coordinates."""
    return sorted(bodies.tolist(), key=lambda body: frame[body].ravel().tolist())


def _assign(
    last: list[Frames], frame: Frames, bodies: list[int], taken: NDArray[np.int64]
) -> list[int]:
    """Put bodies into the slots nearest to them; return the bodies that got none."""
    if not last:
        return bodies
    distances = _distances(frame[bodies].astype(np.float64), np.stack(last).astype(np.float64))
    unassigned = dict.fromkeys(bodies)
    slots: set[int] = set()
    for place in np.argsort(distances, axis=None, kind="stable").tolist():
        at, slot = divmod(place, len(last))
        if bodies[at] in unassigned and slot not in slots:
            del unassigned[bodies[at]]
            slots.add(slot)
            taken[bodies[at]] = slot
            last[slot] = frame[bodies[at]]
    return list(unassigned)


def _distances(bodies: NDArray[np.float64], slots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the distances (B, S) of B bodies (B, V, C) from S slots (S, V, C)."""
    seen_bodies, seen_slots = np.asarray(bodies.any(-1)), np.asarray(slots.any(-1))
    both = seen_bodies[:, None] & seen_slots
    apart = np.linalg.norm(bodies[:, None] - slots, axis=-1)
    shared = both.sum(-1)
    means = [
        points.sum(1) / seen.sum(1)[:, None]
        for points, seen in ((bodies, seen_bodies), (slots, seen_slots))
    ]
    of_means = np.linalg.norm(means[0][:, None] - means[1], axis=-1)
    of_joints = (apart * both).sum(-1) / np.maximum(shared, 1)
    return np.asarray(np.where(shared > 0, of_joints, of_means))
