"""Recipes that bring raw coordinates into the shape the methods expect."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pcm3.skeleton import PARTS, Skeleton
from pcm3.skeleton.anatomy import anatomical_names

Normalization = Literal["none", "center", "isc", "sgn"]

_ISC_BODIES = 4
ISC_FRAMES = 300
_SGN_MIN_FRAMES, _SGN_MAX_ASPECT, _SGN_MAX_NOISE = 12, 0.8, 0.69754

Frames = NDArray[np.float32]
Mask = NDArray[np.bool_]


def normalize(
    frames: Frames,
    skeleton: Skeleton,
    recipe: Normalization,
    persons: int | None = None,
    *,
    keep_order: bool = False,
    duplicate_single: bool = False,
) -> Frames:
    """Normalise one sequence.

    ``"none"`` changes nothing. ``"center"`` subtracts the centre joint of person 0 from all
    persons, frame by frame. Absent (all-zero) persons and joints stay zero. If the centre joint
    is itself absent, that of the nearest earlier frame is used, or of the first frame that has it.
    If no frame has it, nothing is subtracted; ``fill_center`` gives raw coordinates one before.

    ``"isc"`` is the recipe of PCM3, CMD and ISC. Among the first four bodies, those with the
    highest spread become persons 0, 1, ..., each filled by ``pad_null_frames``. The centre joint is
    subtracted as above, except that nothing is subtracted if it is absent, and that joints whose
    coordinates sum to 0 stay 0. Then everything is rotated so that, in frame 0 of person 0, the
    vector from pelvis to centre joint points to +z (to the joint that the arms hang from, if the
    centre joint is the pelvis), and again so that the vector from left to right shoulder points to
    +x, which may undo the first rotation. As in the authors' code, sequences are
    cut after 300 frames; they are not padded to 300, because the authors' training never reads the
    padding. The authors take bodies by their place in each frame's list, not by tracked persons:
    ``read_ntu(bodies="place")``. Applying the recipe twice rotates bodies again.

    ``"sgn"`` is the recipe of MAMP and CTR-GCN. Frames without anyone are dropped. A body's
    frames become one run without gaps that begins where the body is first seen. Bodies are
    dropped if they are short (at most 11 frames, unless all are) or if they are broader than a
    person in most frames. The others are sorted by their motion, the largest first. The first one
    becomes person 0. Each further body is put into person 0 if it shares at most one frame with
    the span of that slot, else into person 1 by the same rule, else it is dropped. A slot's span
    covers all bodies in it, and the span of person 1 begins with frame 0. A later body overwrites
    an earlier one. Then everything is moved, not rotated, so that the centre joint of person 0 is
    at the origin in the first frame of person 0.

    Args:
        frames: Coordinates (T, B, V, C) of any number of bodies; 0 where nobody is.
        skeleton: The layout of the joint axis; ``"isc"`` needs its centre, pelvis and shoulders.
        recipe: ``"none"``, ``"center"``, ``"isc"`` or ``"sgn"``.
        persons: Number of persons M of the result, zero-padded; by default B, or 2 for ``"sgn"``.
            Of more bodies, ``"none"`` and ``"center"`` keep those with the highest spread, in
            their order. Spread is the standard deviation over frames and joints, summed over
            coordinates.
        keep_order: For ``"isc"``: keep the bodies in their order, as in the published PKU-MMD
            data, instead of sorting them by spread. Spread still selects bodies if there are more
            than ``persons``.
        duplicate_single: For ``"sgn"``: if only one body is left, person 1 is a copy of it, as in
            the published NTU-120 data, instead of zeros, as in NTU-60.

    Returns:
        Coordinates (T', M, V, C) float32. T' is T, but at most 300 for ``"isc"``, and without
        dropped frames for ``"sgn"``.

    Raises:
        ValueError: If the recipe is unknown, the shapes do not fit, or ``"isc"`` gets 2D
            coordinates or a skeleton without arms and legs.
    """
    if recipe not in get_args(Normalization):
        expected = get_args(Normalization)
        raise ValueError(f"expected a normalization among {expected}, got {recipe!r}")
    if frames.ndim != 4 or frames.shape[2] != len(skeleton):
        raise ValueError(
            f"expected frames (T, B, V={len(skeleton)}, C) of skeleton {skeleton.name!r}, "
            f"got {frames.shape}"
        )
    if recipe == "isc" and frames.shape[3] != 3:
        raise ValueError(f"'isc' rotates 3D coordinates, got C={frames.shape[3]}")
    if recipe == "isc":
        _landmarks(skeleton)  # raises if there are none
    if persons is None:
        persons = 2 if recipe == "sgn" else frames.shape[1]
    elif persons < 1:
        raise ValueError(f"expected at least 1 person, got {persons}")
    if 0 in frames.shape[:2]:
        return np.zeros((len(frames), persons, *frames.shape[2:]), dtype=np.float32)
    if recipe == "isc":
        return _isc(frames, skeleton, persons, keep_order)
    if recipe == "sgn":
        return _slots(_sgn(frames, skeleton.center, duplicate_single), persons)
    if frames.shape[1] > persons:
        frames = frames[:, np.sort(_by_spread(frames)[:persons])]
    frames = _slots(frames.astype(np.float32, copy=False), persons)
    return _center(frames, skeleton.center) if recipe == "center" else frames


def _slots(frames: Frames, persons: int) -> Frames:
    """Keep the first ``persons`` slots, or add empty ones."""
    missing = persons - frames.shape[1]
    if missing > 0:
        return np.pad(frames, ((0, 0), (0, missing), (0, 0), (0, 0)))
    return frames[:, :persons] if missing else frames


def _seen(frames: Frames) -> Mask:
    """Return which frames (..., V, C) hold anything, as (...)."""
    return np.asarray(frames.any((-1, -2)))


def _by_spread(frames: Frames) -> NDArray[np.int64]:
    """Order bodies by the spread over their non-empty frames, the highest first."""
    scores = []
    for body in range(frames.shape[1]):
        points = frames[:, body].astype(np.float64)
        points = points[_seen(frames[:, body])]
        scores.append(points.std((0, 1)).sum() if len(points) else 0.0)
    return np.argsort(-np.array(scores), kind="stable")


def _center(frames: Frames, joint: int) -> Frames:
    centers = frames[:, 0, joint]
    seen = centers.any(-1)
    if not seen.any():
        return frames
    latest = np.maximum.accumulate(np.where(seen, np.arange(len(frames)), int(np.argmax(seen))))
    present = frames.any(-1, keepdims=True)
    return (frames - centers[latest, None, None]) * present


def someone_first(frames: Frames) -> Frames:
    """Move slots (T, M, V, C) in which nobody is ever seen from the front to the end."""
    first = int(np.asarray(frames.any(axis=(0, 2, 3))).argmax()) if frames.size else 0
    return np.roll(frames, -first, axis=1) if first else frames


def fill_center(frames: Frames, skeleton: Skeleton) -> Frames:
    """Put the centre joint of person 0 at the mean of the person's joints, if no frame has it.

    Recordings that are centred already, whose centre joint is 0 for that reason, do not change: in
    most frames, the origin is in or near the box around the person's joints, not farther than half
    of its longest side.

    Args:
        frames: Coordinates (T, M, V, C), 0 where nobody is.
        skeleton: The layout of the joint axis.

    Returns:
        ``frames``, or a copy with a centre joint.
    """
    joint = skeleton.center
    present = _seen(frames[:, 0])
    person = frames[present, 0]
    if not len(person) or person[:, joint].any():
        return frames
    there = person.any(-1, keepdims=True)
    low = np.where(there, person, np.inf).min(1)
    high = np.where(there, person, -np.inf).max(1)
    near = (high - low).max(-1, keepdims=True) / 2
    if ((low <= near) & (high >= -near)).all(-1).mean() > 0.5:
        return frames
    filled = frames.copy()
    filled[present, 0, joint] = person.sum(1) / there.sum(1)
    return filled


def pad_null_frames(person: Frames, size: int) -> Frames:
    """Fill one person's empty frames at the end by repeating the frames before them, in a cycle.

    If the first frame is empty, all empty frames are removed first; otherwise gaps in the middle
    stay. A person who is never seen stays zero.

    Args:
        person: Coordinates (T, V, C), which are cut after ``size`` frames.
        size: Number of frames of the result.

    Returns:
        Coordinates (size, V, C).

    Example:
        >>> frames = np.array([0, 0, 1, 2, 3], dtype=np.float32).reshape(5, 1, 1)
        >>> pad_null_frames(frames, 10).ravel().astype(int).tolist()
        [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]
    """
    person = person[:size]
    seen = _seen(person)
    if not seen.any():
        return np.zeros((size, *person.shape[1:]), dtype=person.dtype)
    until = len(seen) - int(np.argmax(seen[::-1]))
    person = person[:until] if seen[0] else person[seen]
    return person[np.arange(size) % len(person)]


def is_isc(frames: Frames, skeleton: Skeleton) -> bool:
    """Return whether a sequence looks as if ``"isc"`` had already normalised it.

    The centre joint of person 0 must be at the origin in every frame. In frame 0, the vector from
    left to right shoulder must point along +x, to 1e-5, and the vector from pelvis to centre joint
    to +z or with a lean along x. Motion capture with y up that begins with spread arms meets all
    but the last condition.

    Args:
        frames: Coordinates (T, B, V, C).
        skeleton: The layout of the joint axis.
    """
    if 0 in frames.shape[:2] or frames.shape[3] != 3 or frames[:, 0, skeleton.center].any():
        return False
    if skeleton.starts is None:
        return False
    first = frames[0, 0].astype(np.float64)
    pelvis, top, left, right = _landmarks(skeleton)
    width, *off = first[right] - first[left]
    spine = first[top] - first[list(pelvis)].mean(0)
    size = np.linalg.norm(spine)
    turned = spine[2] > 0.99 * size or abs(spine[0]) > 0.01 * size
    return bool(width > 0 and np.abs(off).max() <= 1e-5 * width and turned)


def _isc(frames: Frames, skeleton: Skeleton, persons: int, keep_order: bool) -> Frames:
    size = min(len(frames), ISC_FRAMES)
    order = _by_spread(frames[:, :_ISC_BODIES])[:persons]
    order = np.sort(order) if keep_order else order
    bodies = np.stack([pad_null_frames(frames[:, body], size) for body in order], axis=1)
    clip = _slots(bodies, persons).astype(np.float64)
    absent = clip.sum(-1, keepdims=True) == 0
    clip = np.where(absent, 0.0, clip - clip[:, :1, skeleton.center, None])
    pelvis, top, left, right = _landmarks(skeleton)
    clip = _turn(clip, pelvis, (top,), (0.0, 0.0, 1.0))
    clip = _turn(clip, (left,), (right,), (1.0, 0.0, 0.0))
    return clip.astype(np.float32)


@lru_cache(maxsize=16)
def _landmarks(skeleton: Skeleton) -> tuple[tuple[int, ...], int, int, int]:
    """Find pelvis (or the joints whose mean it is), top of the spine, left and right shoulder."""
    starts = skeleton.starts
    if starts is None:
        raise ValueError(
            f"'isc' needs shoulders and hips: expected the parts {', '.join(PARTS[1:])} of "
            f"skeleton {skeleton.name!r}, got {', '.join(skeleton.parts)}; 'center' needs none"
        )
    center = skeleton.center
    if starts.pelvis not in (None, center):
        return (starts.pelvis,), center, *starts.shoulders
    if starts.chest is not None and anatomical_names(skeleton)[center] == "mid_hip":
        return (center,), starts.chest, *starts.shoulders
    return starts.hips, center, *starts.shoulders


def _turn(
    clip: NDArray[np.float64],
    start: tuple[int, ...],
    end: tuple[int, ...],
    axis: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Rotate so that, in frame 0 of person 0, ``start`` to ``end`` points along ``axis``."""
    first = clip[0, 0]
    vector = first[list(end)].mean(0) - first[list(start)].mean(0)
    skipped = clip.sum((-1, -2), keepdims=True) == 0
    return np.where(skipped, clip, clip @ _minimal_rotation(vector, np.array(axis)).T)


def _minimal_rotation(
    vector: NDArray[np.float64], axis: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the rotation that turns ``vector`` to the unit vector ``axis`` in their common plane.

    It is the identity if vector, cross product or angle is below 1e-6, and thus also for opposite
    directions.
    """
    cross = np.cross(vector, axis)
    sine = float(np.linalg.norm(cross))
    angle = np.arctan2(sine, vector @ axis)
    if min(np.abs(vector).sum(), np.abs(cross).sum(), angle) < 1e-6:
        return np.eye(3)
    x, y, z = cross / sine
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew)


class _Body(NamedTuple):
    """A body of ``"sgn"``: its frames (n, V, C) as one run, their start, and its motion."""

    frames: Frames
    start: int
    motion: float


def _sgn(frames: Frames, center: int, duplicate_single: bool) -> Frames:
    """Apply the recipe ``"sgn"``, which returns (T', 2, V, C)."""
    present = _seen(frames)
    frames, present = frames[present.any(1)], present[present.any(1)]
    bodies = []
    for body in np.flatnonzero(present.any(0)).tolist():
        run = frames[present[:, body], body]
        bodies.append(_Body(run, int(np.argmax(present[:, body])), _motion(run)))
    if len(bodies) > 1:
        bodies = _without_noise(bodies)
    actors = np.zeros((len(frames), 2, *frames.shape[2:]), dtype=np.float32)
    _cast(actors, sorted(bodies, key=lambda body: -body.motion))
    seen = _seen(actors)
    actors, seen = actors[seen.any(1)], seen[seen.any(1)]
    if len(actors):
        origin = actors[int(np.argmax(seen[:, 0])), 0, center]
        actors = (actors - origin) * seen[..., None, None]
    if duplicate_single and len(bodies) == 1:
        actors[:, 1] = actors[:, 0]
    return actors


def _motion(body: Frames) -> float:
    """Compute the variance over frames and joints of a body (T, V, C), summed over coordinates."""
    return float(body.astype(np.float64).var((0, 1)).sum())


def _without_noise(bodies: list[_Body]) -> list[_Body]:
    """Keep the bodies that are persons, and measure their motion on plausible frames alone."""
    bodies = [body for body in bodies if len(body.frames) >= _SGN_MIN_FRAMES] or bodies
    kept: list[_Body] = []
    for at, body in enumerate(bodies):
        if not kept and at == len(bodies) - 1:
            return [body]
        width, height = np.moveaxis(np.ptp(body.frames, axis=1)[:, :2], 1, 0)
        valid = width <= _SGN_MAX_ASPECT * height
        if (~valid).mean() < _SGN_MAX_NOISE:
            motion = min(body.motion, _motion(body.frames[valid]))
            kept.append(body._replace(motion=motion))
    return kept


def _cast(actors: Frames, bodies: list[_Body]) -> None:
    """Put bodies into two slots (T, 2, V, C), the one with the most motion first."""
    spans = [*[(body.start, body.start) for body in bodies[:1]], (0, 0)]  # last frame included
    for body in bodies:
        start, end = body.start, body.start + len(body.frames) - 1
        for slot, (first, last) in enumerate(spans):
            if min(last, end) - max(first, start) <= 0:
                actors[start : end + 1, slot] = body.frames
                spans[slot] = min(first, start), max(last, end)
                break
