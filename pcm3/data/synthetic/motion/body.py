"""Bodies that differ in height, age and proportions, and that are put into a pose."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pcm3.data.synthetic.motion.draws import Draws, Floats
from pcm3.data.synthetic.motion.kinematics import rotation, turned, two_links
from pcm3.data.synthetic.motion.programme import Programme
from pcm3.skeleton import Skeleton

MOST_ELBOW, MOST_KNEE = 2.5, 2.4
"""Largest flexion of elbow and knee, radians."""

_MIDDLE = {  # metres from the joint before, of an adult of 1.75 m; x right, y up, -z forward
    "pelvis": (0.0, 0.0, 0.0),
    "spine1": (0.0, 0.10, 0.0),
    "spine2": (0.0, 0.12, 0.01),
    "spine3": (0.0, 0.12, 0.01),
    "neck_base": (0.0, 0.14, 0.0),
    "neck": (0.0, 0.05, -0.01),
    "head": (0.0, 0.13, -0.02),
    "head_top": (0.0, 0.13, 0.0),
    "nose": (0.0, -0.01, -0.10),
}
_SIDED = {  # of the right side
    "eye_inner": (0.02, 0.03, -0.08),
    "eye": (0.033, 0.03, -0.08),
    "eye_outer": (0.045, 0.03, -0.07),
    "ear": (0.075, 0.01, 0.0),
    "mouth": (0.025, -0.05, -0.085),
    "collar": (0.03, -0.02, -0.02),
    "shoulder": (0.18, -0.04, 0.0),
    "elbow": (0.0, -0.29, 0.0),
    "wrist": (0.0, -0.26, 0.0),
    "hand": (0.0, -0.08, 0.0),
    "hand_tip": (0.0, -0.16, 0.0),
    "thumb": (0.0, -0.08, -0.05),
    "index": (0.0, -0.10, -0.03),
    "pinky": (0.0, -0.09, 0.04),
    "hip": (0.095, -0.05, 0.0),
    "knee": (0.0, -0.44, 0.0),
    "ankle": (0.0, -0.41, 0.0),
    "heel": (0.0, -0.065, 0.05),
    "foot": (0.0, -0.06, -0.11),
    "toe": (0.0, -0.065, -0.17),
    "big_toe": (-0.03, -0.065, -0.17),
    "small_toe": (0.04, -0.065, -0.14),
}
_FLOOR = 0.07  # height of the ankle above the sole
_HEAD = ("head", "head_top", "nose", "eye_inner", "eye", "eye_outer", "ear", "mouth")
_HAND = ("hand", "hand_tip", "thumb", "index", "pinky")
_SOLE = ("heel", "foot", "toe", "big_toe", "small_toe")
_PARENTS = {
    **dict.fromkeys(("spine1", "hip"), "pelvis"),
    **{"spine2": "spine1", "spine3": "spine2", "neck_base": "spine3", "neck": "neck_base"},
    **dict.fromkeys(("collar", "shoulder"), "neck_base"),
    **{"head": "neck", "elbow": "shoulder", "wrist": "elbow", "knee": "hip", "ankle": "knee"},
    **dict.fromkeys(_HEAD[1:], "head"),
    **dict.fromkeys(_HAND, "wrist"),
    **dict.fromkeys(_SOLE, "ankle"),
}


def _joints() -> tuple[list[str], list[int]]:
    names = [*_MIDDLE, *(f"{side}_{name}" for side in ("left", "right") for name in _SIDED)]
    parents = []
    for name in names:
        side, _, own = name.rpartition("_") if name in _MIDDLE else name.partition("_")
        parent = _PARENTS.get(name if name in _MIDDLE else own)
        above = f"{side}_{parent}"
        parents.append(-1 if parent is None else names.index(above if above in names else parent))
    return names, parents


BODY = Skeleton.from_parents(*_joints())
"""All joints of a body; every built-in layout is made of them by ``joint_map``."""
_PLACE = {name: place for place, name in enumerate(BODY.joints)}


@dataclass(frozen=True)
class Bodies:
    """The bodies of N sequences.

    Attributes:
        offsets: By the name of the joint, metres from the joint before it at rest (N, 1, 3).
    """

    offsets: dict[str, Floats]

    def length(self, *joints: str) -> Floats:
        """Sum of the bones that end at these joints, metres (N, 1)."""
        return np.asarray(sum(np.linalg.norm(self.offsets[joint], axis=-1) for joint in joints))


def draw_bodies(draws: Draws) -> Bodies:
    """Draw people: nine in ten are adults of 1.5 to 2 m, the others children."""
    child = draws.happens(0.12, 1, 1)
    height = np.where(child, draws.uniform(0.6, 0.85, 1, 1), 1.0 + draws.normal(0.06, 1, 1))
    growth = np.clip((height - 0.6) / 0.4, 0.0, 1.0)  # children have large heads and short legs
    factors = {name: 1.0 + draws.normal(0.06, 1, 1) for name in ("trunk", "arm", "leg", "wide")}
    factors["leg"] = factors["leg"] * (0.88 + 0.12 * growth)
    factors["head"] = (1.0 + draws.normal(0.08, 1, 1)) * (1.35 - 0.35 * growth)
    offsets: dict[str, Floats] = {}
    for name, rest in _MIDDLE.items():
        factor = factors["head" if name in _HEAD else "trunk"]
        shift = draws.normal((0.004, 0.01, 0.012), 1, 3)
        shift *= name not in ("pelvis", "spine3")
        offsets[name] = (np.float32(rest) * factor + shift) * height
    for name, rest in _SIDED.items():
        part = "arm" if name in ("elbow", "wrist", *_HAND) else "leg"
        factor = factors["head" if name in _HEAD else part]
        own = np.float32(rest) * factor * (1.0 + draws.normal(0.04, 1, 1))
        if name in ("hip", "shoulder", "collar"):
            own = np.float32(rest) * factors["wide"] + draws.normal((0.012, 0.02, 0.01), 1, 3)
        for side, sign in (("left", -1.0), ("right", 1.0)):
            uneven = 1.0 + draws.normal(0.01, 1, 1)
            offsets[f"{side}_{name}"] = own * uneven * height * np.float32((sign, 1.0, 1.0))
    return Bodies({name: offset.astype(np.float32) for name, offset in offsets.items()})


_TOUCHING = [
    place for place, name in enumerate(BODY.joints) if name.partition("_")[2] not in (*_HEAD, *_HAND)
]
"""Joints that the floor holds; the others are worked out only if they are wanted."""


def pose(bodies: Bodies, programme: Programme, wanted: Collection[str] = BODY.joints) -> Floats:
    """Return the joints of bodies that carry out a programme, metres (N, T, V of BODY, 3).

    The person stands on the floor, y = 0, and at rest faces -z.

    Args:
        bodies: N bodies.
        programme: What they do in T frames.
        wanted: Joints that are needed; details of head and hands that are not remain at 0.
    """
    size = programme.size
    joints = np.zeros((*size, len(BODY), 3), np.float32)
    pelvis, frame = _pelvis(bodies, programme)
    joints[:, :, 0] = pelvis
    chest = _trunk(bodies, programme, frame, wanted, joints)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        _arm(bodies, programme, side, sign, chest, wanted, joints)
        _leg(bodies, programme, side, sign, frame, joints)
    return _place(programme, joints)


def _pelvis(bodies: Bodies, programme: Programme) -> tuple[Floats, Floats]:
    """Position and frame of the pelvis, low enough for the feet that stand to reach the floor."""
    leg = bodies.length("right_knee", "right_ankle")
    frame = rotation(-programme["pitch"], programme["yaw"], programme["roll"])
    stand = 0.985 * leg - bodies.offsets["right_hip"][..., 1] + _FLOOR
    x, z = programme["shift"] * leg, -programme["ahead"] * leg
    height = stand - programme["crouch"] * leg
    for side, sign in (("left", -1.0), ("right", 1.0)):
        ankle = _ankle(bodies, programme, side, sign)
        hip = turned(frame, bodies.offsets[f"{side}_hip"])
        across = (ankle[..., 0] - x - hip[..., 0]) ** 2 + (ankle[..., 2] - z - hip[..., 2]) ** 2
        own = 0.995 * bodies.length(f"{side}_knee", f"{side}_ankle")
        reach = np.sqrt(np.maximum(own**2 - across, (0.3 * own) ** 2)) - hip[..., 1]
        height = np.minimum(height, ankle[..., 1] + reach + 3.0 * (ankle[..., 1] - _FLOOR))
    return np.stack(np.broadcast_arrays(x, height, z), axis=-1).astype(np.float32), frame


def _ankle(bodies: Bodies, programme: Programme, side: str, sign: float) -> Floats:
    leg = bodies.length(f"{side}_knee", f"{side}_ankle")
    hip = np.abs(bodies.offsets[f"{side}_hip"][..., 0])
    out, lift, ahead = (programme[f"{side}_foot_{name}"] for name in ("out", "lift", "ahead"))
    parts = (sign * (hip + out * leg), _FLOOR + lift * leg, -ahead * leg)
    return np.stack(np.broadcast_arrays(*parts), axis=-1).astype(np.float32)


def _trunk(
    bodies: Bodies, programme: Programme, frame: Floats, wanted: Collection[str], joints: Floats
) -> Floats:
    """Place spine and head; return the frame of the chest."""
    bend = (-programme["bow"], programme["twist"], programme["lean"])
    half = rotation(*(0.5 * angle for angle in bend))
    waist = frame @ half
    chest = waist @ half
    frames = {"spine1": frame, "spine2": waist, "spine3": waist, "neck_base": chest, "neck": chest}
    for name, at in frames.items():
        place = _PLACE[name]
        step = turned(at, bodies.offsets[name])
        joints[:, :, place] = joints[:, :, BODY.parents[place]] + step
    skull = chest @ rotation(-programme["nod"], programme["turn"], programme["tilt"])
    sided = [f"{side}_{name}" for side in ("left", "right") for name in _HEAD[3:]]
    _attach(bodies, skull, _HEAD[:1], joints)
    _attach(bodies, skull, [name for name in (*_HEAD[1:3], *sided) if name in wanted], joints)
    return chest


def _attach(bodies: Bodies, frame: Floats, names: Sequence[str], joints: Floats) -> None:
    """Place joints of one parent that do not move in a frame (N, T, 3, 3)."""
    if names:
        offsets = np.stack([bodies.offsets[name] for name in names], axis=-1)
        base = joints[:, :, BODY.parents[_PLACE[names[0]]], None]
        joints[:, :, [_PLACE[name] for name in names]] = base + np.swapaxes(frame @ offsets, 2, 3)


def _arm(
    bodies: Bodies,
    programme: Programme,
    side: str,
    sign: float,
    chest: Floats,
    wanted: Collection[str],
    joints: Floats,
) -> None:
    base = joints[:, :, _PLACE["neck_base"]]
    shrug = programme[f"{side}_shrug"][..., None] * np.float32((0.0, 1.0, 0.0))
    _attach(bodies, chest, [f"{side}_collar"], joints)
    shoulder = base + turned(chest, bodies.offsets[f"{side}_shoulder"] + shrug)
    upper, lower = bodies.length(f"{side}_elbow"), bodies.length(f"{side}_wrist")
    out, up, ahead = (programme[f"{side}_hand_{name}"] for name in ("out", "up", "ahead"))
    target = np.stack([sign * out, up, -ahead], axis=-1) * (upper + lower)[..., None]
    front = np.clip(ahead, 0.0, 1.0)
    pole = np.stack([sign * 0.5 + 0 * front, -0.3 - 0.9 * front, 0.7 * (1.0 - front)], axis=-1)
    swivel = sign * programme[f"{side}_swivel"]
    pole = turned(rotation(0 * swivel, 0 * swivel, swivel), pole.astype(np.float32))
    elbow, wrist = two_links(target.astype(np.float32), upper, lower, pole, MOST_ELBOW)
    joints[:, :, _PLACE[f"{side}_shoulder"]] = shoulder
    joints[:, :, _PLACE[f"{side}_elbow"]] = shoulder + turned(chest, elbow)
    joints[:, :, _PLACE[f"{side}_wrist"]] = shoulder + turned(chest, wrist)
    parts = [name for part in _HAND if (name := f"{side}_{part}") in wanted]
    if not parts:
        return
    forearm = _along(wrist - elbow, pole)
    wrist_turn = (programme[f"{side}_wrist_bend"], sign * programme[f"{side}_roll"])
    hand = chest @ forearm @ rotation(wrist_turn[0], wrist_turn[1], 0 * wrist_turn[0])
    _attach(bodies, hand, parts, joints)


def _along(bone: Floats, pole: Floats) -> Floats:
    """Return a frame (..., 3, 3) whose -y axis lies along a bone and whose z axis is near a pole."""
    down = -bone / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-6)
    across = np.cross(down, pole)
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
    return np.stack([across, down, np.cross(across, down)], axis=-1).astype(np.float32)


def _leg(
    bodies: Bodies, programme: Programme, side: str, sign: float, frame: Floats, joints: Floats
) -> None:
    hip = joints[:, :, 0] + turned(frame, bodies.offsets[f"{side}_hip"])
    target = _ankle(bodies, programme, side, sign) - hip
    upper, lower = bodies.length(f"{side}_knee"), bodies.length(f"{side}_ankle")
    spread = sign * programme[f"{side}_knee_out"]
    pole = np.stack([np.sin(spread), 0 * spread + 0.2, -np.cos(spread)], axis=-1)
    pole = turned(frame, pole.astype(np.float32))
    knee, ankle = two_links(target, upper, lower, pole, MOST_KNEE)
    joints[:, :, _PLACE[f"{side}_hip"]] = hip
    joints[:, :, _PLACE[f"{side}_knee"]] = hip + knee
    joints[:, :, _PLACE[f"{side}_ankle"]] = hip + ankle
    point = programme[f"{side}_point"]
    sole = rotation(-point, -0.7 * spread, 0 * point)
    _attach(bodies, sole, [f"{side}_{name}" for name in _SOLE], joints)


def _place(programme: Programme, joints: Floats) -> Floats:
    """Tilt bodies that lie, put them on the floor, lift those that jump, and turn and move them."""
    tilt = rotation(programme["fall"], 0 * programme["fall"], programme["fall_aside"])
    placed = joints @ np.swapaxes(tilt, -1, -2)
    lowest = placed[:, :, _TOUCHING, 1].min(axis=-1)
    lying = np.clip((np.abs(programme["fall"]) + np.abs(programme["fall_aside"])) / 0.3, 0.0, 1.0)
    ground = np.where(lowest < 0, lowest, lying * lowest)
    placed[..., 1] += (programme["jump"] - ground)[..., None]
    heading = rotation(0 * programme["heading"], programme["heading"], 0 * programme["heading"])
    placed = placed @ np.swapaxes(heading, -1, -2)
    placed[..., 0] += programme["east"][..., None]
    placed[..., 2] += programme["south"][..., None]
    return np.asarray(placed, np.float32)
