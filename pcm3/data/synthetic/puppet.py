"""A puppet of any human skeleton: rest pose, movable joints, forward kinematics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.synthetic.actions import ROLES
from pcm3.skeleton import PARTS, Skeleton

Floats = NDArray[np.float64]

_ARM = (0.18, 0.28, 0.25, 0.08, 0.05)  # metres by depth in the part, from the shoulder on
_LEG = (0.10, 0.42, 0.40, 0.12, 0.06)
_SPINE, _HEAD = 0.5, 0.13


@dataclass(frozen=True)
class Puppet:
    """A skeleton rooted at the hips, with its rest pose and the roles that move its joints."""

    order: list[int]
    parents: list[int]
    offsets: Floats  # (V, 3) metres from the parent; x to the person's right, y up, -z forward
    roles: dict[int, int]  # joint -> index in ROLES of the rotation of the bone that ends there
    mirror: NDArray[np.int64]


def make_puppet(skeleton: Skeleton) -> Puppet:
    """Make the puppet of a skeleton.

    Raises:
        ValueError: If the skeleton lacks a body part.
    """
    if lacking := [part for part in PARTS if not skeleton.parts.get(part)]:
        raise ValueError(f"skeleton {skeleton.name!r} lacks the parts {', '.join(lacking)}")
    trunk = set(skeleton.parts["trunk"])
    hips = _nearest(skeleton, skeleton.parts["left_leg"][0], trunk)
    shoulders = _nearest(skeleton, skeleton.parts["left_arm"][0], trunk)
    order, parents = _walk(skeleton, hips)
    part_of = {joint: part for part, joints in skeleton.parts.items() for joint in joints}
    spine = [shoulders]
    while spine[-1] != hips:
        spine.append(parents[spine[-1]])
    spine = spine[-2::-1]  # from above the hips to the shoulders; empty if they coincide
    depth: dict[int, int] = {}
    offsets = np.zeros((len(skeleton), 3))
    roles = dict.fromkeys(spine[:1], ROLES.index("trunk"))
    for joint in order[1:]:
        part, parent = part_of[joint], parents[joint]
        depth[joint] = depth.get(parent, -1) + 1 if part_of[parent] == part else 0
        if part == "trunk":
            upright = _SPINE / len(spine) if joint in spine else _HEAD
            sideways = 0.03 * np.sign(joint - skeleton.mirror[joint])
            offsets[joint] = (sideways, upright, 0.0)
            if joint not in spine and parent in (*spine[-1:], hips):
                roles[joint] = ROLES.index("head")
            continue
        side, _, limb = part.partition("_")
        sign = -1.0 if side == "left" else 1.0
        siblings = [j for j in order if parents[j] == parent and part_of[j] == part]
        offsets[joint] = _limb_offset(limb, depth[joint], sign)
        offsets[joint, 2] -= 0.03 * siblings.index(joint)
        if limb == "leg" and depth[joint] == 0 and not spine:  # the legs hang from the shoulders
            offsets[joint] = (
                -sign * 0.08 if part_of[parent] != "trunk" else sign * 0.1,
                -_SPINE,
                0,
            )
        if depth[joint] in (1, 2):
            names = {"arm": ("shoulder", "elbow"), "leg": ("hip", "knee")}[limb]
            roles[joint] = ROLES.index(f"{side}_{names[depth[joint] - 1]}")
    return Puppet(order, parents, offsets, roles, np.array(skeleton.mirror))


def _limb_offset(limb: str, depth: int, sign: float) -> tuple[float, float, float]:
    size = (_ARM if limb == "arm" else _LEG)[min(depth, 4)]
    if depth == 0:
        return sign * size, -0.05, 0.0
    return (0.0, 0.0, -size) if limb == "leg" and depth >= 3 else (0.0, -size, 0.0)


def _walk(skeleton: Skeleton, root: int) -> tuple[list[int], list[int]]:
    """Return the breadth-first order and the parents of the tree with another root."""
    neighbours: dict[int, list[int]] = {joint: [] for joint in range(len(skeleton))}
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            neighbours[joint].append(parent)
            neighbours[parent].append(joint)
    order, parents = [root], [-1] * len(skeleton)
    for joint in order:
        for neighbour in neighbours[joint]:
            if neighbour != parents[joint]:
                parents[neighbour] = joint
                order.append(neighbour)
    return order, parents


def _nearest(skeleton: Skeleton, start: int, goals: set[int]) -> int:
    return next(joint for joint in _walk(skeleton, start)[0] if joint in goals)


def pose(puppet: Puppet, offsets: Floats, angles: Floats) -> Floats:
    """Forward kinematics: (T, roles, axes) to (T, V, 3), the lowest joint on the floor."""
    local = rotations(angles[:, :-1])
    height, forward, turn = np.moveaxis(angles[:, -1], -1, 0)
    joints = np.zeros((len(angles), len(offsets), 3))
    turned = {puppet.order[0]: rotations(about_y(turn))}
    for joint in puppet.order[1:]:
        parent = puppet.parents[joint]
        frame = turned[parent]
        if joint in puppet.roles:
            frame = frame @ local[:, puppet.roles[joint]]
        turned[joint] = frame
        joints[:, joint] = joints[:, parent] + frame @ offsets[joint]
    joints[..., 1] += (np.maximum(height, 0.0) - joints[..., 1].min(-1))[:, None]
    joints[..., 2] -= forward[:, None]
    return joints


def about_y(angle: ArrayLike) -> Floats:
    """Return the angles (..., 3) of rotations (...) about the vertical axis, in radians."""
    angle = np.asarray(angle, dtype=np.float64)
    return np.stack([np.zeros_like(angle), np.zeros_like(angle), angle], axis=-1)


def rotations(angles: Floats) -> Floats:
    """Return rotation matrices (..., 3, 3), z after y after x, of angles (flex, abduct, twist)."""
    cosine, sine = np.moveaxis(np.cos(angles), -1, 0), np.moveaxis(np.sin(angles), -1, 0)
    (cx, cz, cy), (sx, sz, sy) = cosine, sine
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
