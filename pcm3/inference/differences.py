"""How a recording differs from another one, joint by joint, after dynamic time warping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.normalize import normalize
from pcm3.skeleton import Skeleton
from pcm3.skeleton.anatomy import anatomical_names

Values = NDArray[np.float64]

_MOST_PAIRS = 9_000_000  # of frames


class Peak(NamedTuple):
    """How much a joint differs, and where most.

    Attributes:
        joint: Name of the joint.
        difference: Its largest difference, in the unit of the recording.
        frame: The frame that it is in, from 0.
        mean: Its mean difference over all frames and persons, in the same unit.
    """

    joint: str
    difference: float
    frame: int
    mean: float


@dataclass(frozen=True)
class Difference:
    """How a recording differs from a reference.

    Attributes:
        skeleton: The layout of the joint axis.
        values: Distance of each joint to the same joint of the reference (T, M, V), in the unit of
            the recording; NaN where one of the two is missing.
        matched: The frame of the reference that belongs to each frame (T,).
        recording: The joints that were compared (T, M, V, C), relative to the middle of the first
            person's hips; 0 for missing ones.
        reference: Those of the reference (S, M, V, C), scaled and turned to the recording.
        unit: Unit of the recording.
    """

    skeleton: Skeleton
    values: Values
    matched: NDArray[np.int64]
    recording: Values
    reference: Values
    unit: str

    @property
    def joints(self) -> Values:
        """Mean difference of each joint (V,)."""
        return _mean(self.values, (0, 1))

    @property
    def frames(self) -> Values:
        """Mean difference in each frame (T,)."""
        return _mean(self.values, (1, 2))

    @property
    def parts(self) -> dict[str, Values]:
        """Mean difference of each body part in each frame (T,)."""
        parts = self.skeleton.parts.items()
        return {name: _mean(self.values[:, :, list(own)], (1, 2)) for name, own in parts}

    @property
    def by_part(self) -> dict[str, float]:
        """Mean difference of each body part, NaN if it is never seen; the largest first."""
        parts = self.skeleton.parts.items()
        means = {name: float(_mean(self.values[:, :, list(own)])) for name, own in parts}
        return dict(sorted(means.items(), key=lambda item: (np.isnan(item[1]), -item[1])))

    @property
    def part(self) -> str:
        """The body part that differs most."""
        return next(iter(self.by_part))

    def peaks(self, most: int = 3) -> list[Peak]:
        """The joints with the highest mean difference, the highest first, and their peaks."""
        largest = np.nan_to_num(self.values, nan=-1.0).max(axis=1)
        means, names = self.joints, self.skeleton.joints
        order = np.argsort(-np.nan_to_num(means, nan=-1.0), kind="stable")
        frames = largest.argmax(axis=0)
        return [
            Peak(names[at], float(largest[frames[at], at]), int(frames[at]), float(means[at]))
            for at in order[:most].tolist()
            if np.isfinite(means[at])
        ]

    @property
    def worst(self) -> tuple[int, int]:
        """The stretch that differs most: its first frame, and the frame after its last.

        It is the one with the largest sum of what the differences of its frames exceed their mean
        by; if several have it, the longest one that begins first. If no frame exceeds the mean, it
        is the whole recording.
        """
        excess = self.frames - _mean(self.frames)
        sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(excess))])
        gains = sums - np.minimum.accumulate(sums)
        end = int(gains.argmax())
        if gains[end] <= 1e-9 * np.abs(sums).max(initial=1e-300):
            return 0, len(self.values)
        return int(sums[:end].argmin()), end


def compare(
    recording: NDArray[Any], reference: NDArray[Any], skeleton: Skeleton, unit: str = "metres"
) -> Difference:
    """Compare two recordings of one action.

    Where bodies stand, which way they face, how large they are and how fast they move does not
    count. Every frame is taken relative to the middle of the first person's hips, so that legs that
    stand still do not differ if the trunk leans. Without hips, the centre joint takes their place.
    The reference is scaled to the bones of the recording, and turned about the second axis, the
    vertical one, until the mean lines from left to right joints are parallel; 2D recordings, and
    skeletons without left and right, are not turned. Frames are matched by dynamic time warping of
    the mean distance of all joints.

    Args:
        recording: Coordinates (T, M, V, C); 0 for missing joints.
        reference: Coordinates (S, M', V, C) of the same skeleton.
        skeleton: The layout of the joint axis.
        unit: Unit of the coordinates of the recording.

    Raises:
        ValueError: If the shapes do not fit, the recordings have no bone in common, or have more
            than 9 million pairs of frames.

    Source:
        Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition",
        IEEE Transactions on Acoustics, Speech, and Signal Processing, 1978.
    """
    for frames in (recording, reference):
        fits = frames.ndim == 4 and frames.shape[2:] == (len(skeleton), recording.shape[-1])
        if not fits or 0 in frames.shape:
            raise ValueError(
                f"expected recordings (T, M, V={len(skeleton)}, C) of skeleton {skeleton.name!r}, "
                f"got {recording.shape} and {reference.shape}"
            )
    if len(recording) * len(reference) > _MOST_PAIRS:
        raise ValueError(
            f"expected recordings of at most {_MOST_PAIRS:,} pairs of frames, got "
            f"{len(recording):,} and {len(reference):,} frames"
        )
    persons = max(recording.shape[1], reference.shape[1])
    ours, theirs = (_Poses.of(frames, skeleton, persons) for frames in (recording, reference))
    theirs = theirs.moved(ours, skeleton)
    path = warping_path(_cost(ours, theirs))
    values = _distances(ours, theirs, path)
    firsts = np.flatnonzero(np.diff(path[:, 0], prepend=-1))
    counts = np.diff(np.append(firsts, len(path)))
    known = np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), firsts)
    seen = np.add.reduceat(known.astype(np.int64), firsts)
    means = np.where(seen > 0, sums / np.maximum(seen, 1), np.nan)
    matched = path[firsts + (counts - 1) // 2, 1]
    return Difference(skeleton, means, matched, ours.filled(), theirs.filled(), unit)


def warping_path(cost: Values) -> NDArray[np.int64]:
    """Find the path of dynamic time warping.

    Args:
        cost: What it costs to match each frame with each frame of the other recording (T, S).

    Returns:
        The pairs of frames (P, 2) from (0, 0) to (T - 1, S - 1), in which either frame or both
        advance by one, with the lowest sum of costs.

    Raises:
        ValueError: If ``cost`` is no matrix of finite values.

    Example:
        >>> warping_path(np.array([[0.0, 1, 2], [1, 0, 0]])).tolist()
        [[0, 0], [1, 1], [1, 2]]
    """
    if cost.ndim != 2 or 0 in cost.shape or not np.isfinite(cost).all():
        raise ValueError(f"expected a cost (T, S) of finite values, got {cost.shape}")
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for row, costs in enumerate(cost, start=1):
        # from above, and then any number of steps to the right
        above = np.minimum(total[row - 1, 1:], total[row - 1, :-1])
        right = np.cumsum(costs)
        total[row, 1:] = right + np.minimum.accumulate(above - (right - costs))
    at, other = cost.shape
    path = []
    while at and other:
        path.append((at - 1, other - 1))
        steps = ((at - 1, other - 1), (at - 1, other), (at, other - 1))
        at, other = min(steps, key=total.__getitem__)
    return np.array(path[::-1], dtype=np.int64)


@dataclass(frozen=True)
class _Poses:
    """Joints (T, M, V, C) relative to the hips, and which of them are there (T, M, V)."""

    joints: Values
    there: NDArray[np.bool_]

    @classmethod
    def of(cls, frames: NDArray[Any], skeleton: Skeleton, persons: int) -> _Poses:
        there: NDArray[np.bool_] = (frames != 0).any(axis=-1)
        there[..., skeleton.center] |= there.any(axis=-1)  # where recordings are centred
        joints = normalize(frames.astype(np.float32), skeleton, "center").astype(np.float64)
        joints = _from_hips(joints, there, skeleton)
        missing = ((0, 0), (0, persons - frames.shape[1]), (0, 0))
        return cls(np.pad(joints, (*missing, (0, 0))), np.pad(there, missing))

    def filled(self) -> Values:
        return np.where(self.there[..., None], self.joints, 0.0)

    def vectors(self, pairs: NDArray[np.int64]) -> Values:
        """From the first to the second joint of each pair, in the first person (T, P, C)."""
        first, second = pairs.T
        there = self.there[:, 0, first] & self.there[:, 0, second]
        lines = self.joints[:, 0, second] - self.joints[:, 0, first]
        return np.where(there[..., None], lines, np.nan)

    def moved(self, other: _Poses, skeleton: Skeleton) -> _Poses:
        """Scale and turn these poses to those of another recording."""
        bones = np.array(skeleton.bones)
        lengths = [_mean(np.linalg.norm(each.vectors(bones), axis=-1), 0) for each in (self, other)]
        shared = np.isfinite(lengths).all(axis=0)
        ours, theirs = (float(each[shared].sum()) for each in lengths)
        if not min(ours, theirs) > 0:
            raise ValueError("expected recordings that have a bone of the first person in common")
        joints = self.joints * (theirs / ours)
        pairs = np.array(skeleton.mirror_pairs).reshape(-1, 2)
        if joints.shape[-1] == 3 and len(pairs):
            across = [_mean(each.vectors(pairs), (0, 1)) for each in (self, other)]
            if all(np.isfinite(line).all() and line[[0, 2]].any() for line in across):
                here, there = (np.arctan2(line[0], line[2]) for line in across)
                cosine, sine = np.cos(there - here), np.sin(there - here)
                turned = joints.copy()
                turned[..., 0] = cosine * joints[..., 0] + sine * joints[..., 2]
                turned[..., 2] = cosine * joints[..., 2] - sine * joints[..., 0]
                joints = turned
        return _Poses(joints, self.there)


def _from_hips(joints: Values, there: NDArray[np.bool_], skeleton: Skeleton) -> Values:
    """Centre on the middle of the first person's hips, as of the nearest earlier frame with it."""
    places = {name: joint for joint, name in enumerate(anatomical_names(skeleton))}
    hips = [places[name] for name in ("left_hip", "right_hip") if name in places]
    seen = np.asarray(there[:, 0, hips].all(axis=1))
    if len(hips) < 2 or not seen.any():
        return joints
    latest = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), int(seen.argmax())))
    middles = joints[latest, 0][:, hips].mean(axis=1)
    return np.asarray(joints - middles[:, None, None])


def _cost(ours: _Poses, theirs: _Poses) -> Values:
    """Mean distance of the joints that are in both, of every pair of frames (T, S)."""
    sums = np.zeros((len(ours.joints), len(theirs.joints)))
    counts = np.zeros_like(sums)
    for person, joint in np.ndindex(*ours.there.shape[1:]):
        lines = ours.joints[:, None, person, joint] - theirs.joints[None, :, person, joint]
        both = ours.there[:, None, person, joint] & theirs.there[None, :, person, joint]
        sums += np.where(both, np.sqrt((lines**2).sum(axis=-1)), 0)
        counts += both
    known = counts > 0
    means = sums / np.maximum(counts, 1)
    return np.where(known, means, means[known].mean() if known.any() else 0.0)


def _distances(ours: _Poses, theirs: _Poses, path: NDArray[np.int64]) -> Values:
    """Distance of each joint in each pair of a path (P, M, V); NaN for missing joints."""
    at, other = path.T
    both = ours.there[at] & theirs.there[other]
    lengths = np.linalg.norm(ours.joints[at] - theirs.joints[other], axis=-1)
    return np.where(both, lengths, np.nan)


def _mean(values: Values, axis: int | tuple[int, ...] | None = None) -> Values:
    """The mean of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    counts = known.sum(axis=axis)
    sums = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
