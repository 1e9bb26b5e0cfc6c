"""What a depth camera sees of people: another direction, noise, lost and swapped joints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcm3.data.synthetic.motion.draws import Draws, Floats
from pcm3.data.synthetic.motion.kinematics import rotation

_HEIGHT, _DISTANCE = 1.0, 3.0  # metres


def film(draws: Draws, scene: Floats) -> Floats:
    """Move a scene (N, T, V, 3) with y up from the floor into the coordinates of a camera.

    The camera looks along +z from about a metre above the floor, 1.5 to 4.5 m away, most often at
    the front of the person.
    """
    aside = draws.happens(0.35)
    yaw = np.where(aside, draws.uniform(-np.pi / 2, np.pi / 2), draws.normal(0.35))
    yaw = np.where(draws.happens(0.08), draws.uniform(-np.pi, np.pi), yaw)
    pitch, roll = draws.normal(0.12), draws.normal(0.04)
    matrix = rotation(pitch, 0 * yaw, roll) @ rotation(0 * yaw, yaw, 0 * yaw)
    height = _HEIGHT + draws.normal(0.25)
    place = np.stack([draws.normal(0.3), 0 * yaw, _DISTANCE + draws.normal(0.6)], axis=-1)
    scene = scene - np.stack([0 * yaw, height, 0 * yaw], axis=-1)[:, None, None]
    seen = scene @ np.swapaxes(matrix, -1, -2)[:, None] + place[:, None, None]
    return np.asarray(seen, np.float32)


def sense(
    draws: Draws, seen: Floats, lengths: NDArray[np.int64], mirror: NDArray[np.int64], far: NDArray[np.bool_]
) -> Floats:
    """Return coordinates (N, T, V, 3) as a sensor gives them, 0 where it loses a joint.

    Args:
        draws: Draws for N sequences.
        seen: Coordinates in the frame of the camera.
        lengths: Frames of each sequence (N,).
        mirror: The joint of the other side, for each joint (V,).
        far: Joints of hands and feet (V,), which are measured worse.
    """
    count, frames, joints, _ = seen.shape
    seen = _swap(draws, seen, mirror)
    spread = np.exp(draws.uniform(np.log(0.001), np.log(0.02), 1, 1, 1))
    distance = np.clip(seen[..., 2:] / _DISTANCE, 0.3, 2.0) ** 2
    worse = np.where(far, 1.6, 1.0)[:, None] * np.exp(draws.normal(0.3, 1, joints, 1))
    hidden = 1.0 + draws.uniform(0.0, 4.0, 1, 1, 1) * _behind(seen)[..., None]
    noise = draws.noise(lengths, joints, 3)
    slow = draws.happens(0.5)[:, None, None, None]
    noise = np.where(slow, _smooth(_smooth(noise)) * 2.0, noise)
    seen = seen + noise * spread * distance * worse * hidden
    smooth = draws.choice((0.5, 0.3, 0.2))[:, None, None, None]
    for least in (1, 2):
        seen = np.where(smooth >= least, _smooth(seen, lengths), seen)
    return _lose(draws, seen)


def _behind(seen: Floats) -> NDArray[np.bool_]:
    """Whether joints lie behind the middle of the body (N, T, V)."""
    middle = seen.mean(axis=2, keepdims=True)
    near = np.abs(seen[..., 0] - middle[..., 0]) < 0.15
    return np.asarray(near & (seen[..., 2] > middle[..., 2] + 0.08))


def _swap(draws: Draws, seen: Floats, mirror: NDArray[np.int64]) -> Floats:
    """Confuse left and right for a while in a few sequences."""
    time = np.arange(seen.shape[1])
    begin, lasts = draws.uniform(0, 60, 1), draws.uniform(3, 25, 1)
    swaps = draws.happens(0.04)[:, None] & (time >= begin) & (time < begin + lasts)
    return np.where(swaps[..., None, None], seen[:, :, mirror], seen)


def _smooth(values: Floats, lengths: NDArray[np.int64] | None = None) -> Floats:
    """Average each frame (N, T, ...) with those before and after."""
    before = np.concatenate([values[:, :1], values[:, :-1]], axis=1)
    after = np.concatenate([values[:, 1:], values[:, -1:]], axis=1)
    if lengths is not None:  # the last frame has none after it
        rows = np.arange(len(values))
        after[rows, lengths - 1] = values[rows, lengths - 1]
    return np.asarray(0.25 * before + 0.5 * values + 0.25 * after)


def _lose(draws: Draws, seen: Floats) -> Floats:
    """Lose joints for a while: some sensors give 0, others what they last saw."""
    count, frames, joints, _ = seen.shape
    time = np.arange(frames)[:, None]
    likely = np.where(draws.happens(0.25), draws.uniform(0.0, 0.25), 0.0)[:, None]
    begin = draws.uniform(-10, 80, 1, joints)
    lasts = draws.uniform(2, 25, 1, joints)
    lost = draws.happens(likely, joints)[:, None]
    lost = lost & (time >= begin) & (time < begin + lasts)
    held = np.where(lost, 0, np.broadcast_to(time, lost.shape))
    held = np.maximum.accumulate(held, axis=1)
    kept = np.take_along_axis(seen, held[..., None], axis=1)
    zero = draws.happens(0.35)[:, None, None]
    return np.where((lost & zero)[..., None], np.float32(0.0), np.where(lost[..., None], kept, seen))
