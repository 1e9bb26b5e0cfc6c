"""What a depth camera sees of people: another direction, noise, lost and swapped joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcm3.data.synthetic.motion.draws import Draws
from pcm3.data.synthetic.motion.kinematics import Floats, product, rotation

_HEIGHT, _DISTANCE = 1.0, 3.0  # metres


@dataclass(frozen=True)
class Cameras:
    """Where the cameras of N sequences stand.

    Attributes:
        matrix: What turns the scene, (3, 3, N, 1).
        height: Metres above the floor (N, 1).
        shift: Where the first person begins in the frame of the camera, metres (3, N, 1).
    """

    matrix: Floats
    height: Floats
    shift: Floats

    def of(self, rows: NDArray[np.int64]) -> Cameras:
        """Those of some of the sequences."""
        return Cameras(self.matrix[:, :, rows], self.height[rows], self.shift[:, rows])

    def see(self, scene: Floats) -> Floats:
        """Return joints (V, 3, N, T), y up from the floor, as the cameras see them (N, T, V, 3)."""
        x, y, z = np.moveaxis(scene, 1, 0)
        seen = np.empty((*scene.shape[2:], scene.shape[0], 3), np.float32)
        for axis, (row, shift) in enumerate(zip(self.matrix, self.shift, strict=True)):
            along = row[0] * x + row[1] * (y - self.height) + row[2] * z + shift
            seen[..., axis] = np.moveaxis(along, 0, -1)
        return seen


def draw_cameras(draws: Draws, turned_round: NDArray[np.bool_]) -> Cameras:
    """Draw cameras about a metre above the floor, 1.5 to 4.5 m away, in front of the person.

    Their z axis points to the person. Where ``turned_round`` (N,) is true, all is turned round, as
    in files in which people face +z.
    """
    yaw = draws.normal(0.2, 1) + np.where(turned_round, np.pi, 0.0)[:, None]
    pitch, roll = draws.normal(0.06, 1), draws.normal(0.02, 1)
    matrix = product(rotation(pitch, 0 * yaw, roll), rotation(0 * yaw, yaw, 0 * yaw))
    height = _HEIGHT + draws.normal(0.25, 1)
    shift = np.stack([draws.normal(0.3, 1), 0 * height, _DISTANCE + draws.normal(0.6, 1)])
    return Cameras(matrix, height, shift)


def sense(
    draws: Draws,
    seen: Floats,
    lengths: NDArray[np.int64],
    mirror: NDArray[np.int64],
    far: NDArray[np.bool_],
) -> Floats:
    """Return coordinates (N, T, V, 3) as a sensor gives them, 0 where it loses a joint.

    Args:
        draws: Draws for N sequences.
        seen: Coordinates in the frame of the camera.
        lengths: Frames of each sequence (N,).
        mirror: The joint of the other side, for each joint (V,).
        far: Joints of hands and feet (V,), which are measured worse.
    """
    joints = seen.shape[2]
    seen = _swap(draws, seen, mirror)
    spread = np.exp(draws.uniform(np.log(0.001), np.log(0.006), 1, 1, 1))
    distance = np.clip(seen[..., 2:] / _DISTANCE, 0.3, 2.0) ** 2
    worse = np.where(far, np.float32(1.6), np.float32(1.0))[:, None]
    worse = worse * np.exp(draws.normal(0.3, 1, joints, 1)) * spread
    hidden = 1.0 + draws.uniform(0.0, 4.0, 1, 1, 1) * _behind(seen)[..., None]
    noise = draws.noise(lengths, joints, 3)
    slow = np.flatnonzero(draws.happens(0.5))
    noise[slow] = 2.0 * _smooth(_smooth(noise[slow], lengths[slow]), lengths[slow])
    noise *= distance * hidden * worse
    seen = seen + noise
    smooth = draws.choice((0.5, 0.3, 0.2))
    for least in (1, 2):
        rows = np.flatnonzero(smooth >= least)
        seen[rows] = _smooth(seen[rows], lengths[rows])
    return _lose(draws, seen)


def _behind(seen: Floats) -> NDArray[np.bool_]:
    """Whether joints lie behind the middle of the body (N, T, V)."""
    middle = seen.mean(axis=2, keepdims=True)
    near = np.abs(seen[..., 0] - middle[..., 0]) < 0.15
    return np.asarray(near & (seen[..., 2] > middle[..., 2] + 0.08))


def _swap(draws: Draws, seen: Floats, mirror: NDArray[np.int64]) -> Floats:
    """Confuse left and right for a while in a few sequences."""
    begin, lasts = draws.uniform(0, 60, 1), draws.uniform(3, 25, 1)
    time = np.arange(seen.shape[1])
    swaps = draws.happens(0.04)[:, None] & (time >= begin) & (time < begin + lasts)
    seen = seen.copy()
    seen[swaps] = seen[swaps][:, mirror]
    return seen


def _smooth(values: Floats, lengths: NDArray[np.int64]) -> Floats:
    """Average each frame (N, T, ...) of sequences with those before and after."""
    smooth = 0.5 * values
    smooth[:, 1:] += 0.25 * values[:, :-1]
    smooth[:, :-1] += 0.25 * values[:, 1:]
    rows = np.arange(len(values))
    for end in (0 * rows, lengths - 1):  # a frame at an end has but one beside it
        smooth[rows, end] = values[rows, end]
    return smooth


def _lose(draws: Draws, seen: Floats) -> Floats:
    """Lose joints for a while: some sensors give 0, others what they last saw."""
    joints = seen.shape[2]
    time = np.arange(seen.shape[1])[:, None]
    likely = np.where(draws.happens(0.25), draws.uniform(0.0, 0.25), 0.0)[:, None]
    begin, lasts = draws.uniform(-10, 80, 1, joints), draws.uniform(2, 25, 1, joints)
    lost = draws.happens(likely, joints)[:, None] & (time >= begin) & (time < begin + lasts)
    zero = draws.happens(0.35)[:, None, None]
    rows = np.flatnonzero(lost.any(axis=(1, 2)))
    held = np.maximum.accumulate(np.where(lost[rows], 0, time), axis=1)
    seen[rows] = np.take_along_axis(seen[rows], held[..., None], axis=1)
    seen[lost & zero] = 0.0
    return seen
