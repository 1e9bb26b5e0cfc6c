"""Bodies that differ in height, age and proportions, and that are put into a pose."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pcm3.data.synthetic.motion.draws import Draws
from pcm3.data.synthetic.motion.kinematics import (
    Floats,
    dot,
    frame_along,
    product,
    rotation,
    turned,
    two_links,
)
from pcm3.data.synthetic.motion.programme import Programme, min_jerk
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
    "hip": (0.095, -0.07, 0.0),
    "knee": (0.0, -0.44, 0.0),
    "ankle": (0.0, -0.41, 0.0),
    "heel": (0.0, -0.065, 0.05),
    "foot": (0.0, -0.06, -0.11),
    "toe": (0.0, -0.065, -0.17),
    "big_toe": (-0.03, -0.065, -0.17),
    "small_toe": (0.04, -0.065, -0.14),
}
_MISPLACED = {
    "pelvis": (0.0, 0.0, 0.0),
    "neck_base": (0.0, 0.03, 0.01),
    "head": (0.005, 0.04, 0.02),
    "side": (0.012, 0.035, 0.01),
}
"""Spread of the places that sensors give for the same joint, metres; ``side``: hip and shoulder."""
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


BODY = Skeleton.from_parents(*_joints(), name="synthetic")
"""All joints of a body; ``joint_map`` makes each built-in layout but ``human36m32`` of them."""
_PLACE = {name: place for place, name in enumerate(BODY.joints)}
_SIDES = (("left", -1.0), ("right", 1.0))
_DETAILS = {
    *_HEAD[1:3],
    *(f"{side}_{name}" for side, _ in _SIDES for name in (*_HEAD[3:], *_HAND)),
}
_TOUCHING = [place for name, place in _PLACE.items() if name not in _DETAILS]
"""Joints that the floor holds; the others are worked out only if they are wanted."""


@dataclass(frozen=True)
class Bodies:
    """The bodies of N sequences.

    Attributes:
        offsets: By the name of the joint, metres from the joint before it at rest (3, N, 1).
    """

    offsets: dict[str, Floats]

    def length(self, joint: str) -> Floats:
        """Length of the bone that ends at a joint, metres (N, 1)."""
        return np.asarray(np.sqrt(dot(self.offsets[joint], self.offsets[joint])))

    @cached_property
    def leg(self) -> Floats:
        """Length of the right leg to the ankle, metres (N, 1)."""
        return self.length("right_knee") + self.length("right_ankle")


def draw_bodies(draws: Draws) -> Bodies:
    """Draw people: nine in ten are adults of 1.5 to 2 m, the others children."""
    child = draws.happens(0.12, 1)
    height = np.where(child, draws.uniform(0.6, 0.85, 1), 1.0 + draws.normal(0.06, 1))
    growth = np.clip((height - 0.6) / 0.4, 0.0, 1.0)  # children have large heads and short legs
    factors = {name: 1.0 + draws.normal(0.06, 1) for name in ("arm", "leg")}
    factors["trunk"], factors["wide"] = (1.0 + draws.normal(0.1, 1) for _ in range(2))
    factors["leg"] = factors["leg"] * (0.88 + 0.12 * growth)
    factors["head"] = (1.0 + draws.normal(0.08, 1)) * (1.35 - 0.35 * growth)
    offsets: dict[str, Floats] = {}
    for name, rest in _MIDDLE.items():
        factor = factors["head" if name in _HEAD else "trunk"]
        shift = draws.normal(_MISPLACED.get(name, (0.004, 0.01, 0.012)), 3)
        offsets[name] = _vector((np.array(rest, np.float32) * factor + shift) * height)
    for name, rest in _SIDED.items():
        part = "arm" if name in ("elbow", "wrist", *_HAND) else "leg"
        factor = factors["head" if name in _HEAD else part]
        own = np.array(rest, np.float32) * factor * (1.0 + draws.normal(0.04, 1))
        if name in ("hip", "shoulder", "collar"):
            own = np.array(rest, np.float32) * factors["wide"] + draws.normal(_MISPLACED["side"], 3)
        for side, sign in _SIDES:
            uneven = 1.0 + draws.normal(0.01, 1)
            sided = own * uneven * height * np.array((sign, 1.0, 1.0), np.float32)
            offsets[f"{side}_{name}"] = _vector(sided)
    return Bodies(offsets)


def _vector(points: Floats) -> Floats:
    """Bring vectors (N, 3) into the form (3, N, 1)."""
    return np.ascontiguousarray(points.T[..., None], np.float32)


def pose(bodies: Bodies, programme: Programme, wanted: Collection[str] = BODY.joints) -> Floats:
    """Return the joints of bodies that carry out a programme, metres (V of BODY, 3, N, T).

    The person stands on the floor, y = 0, and at rest faces -z.

    Args:
        bodies: N bodies.
        programme: What they do in T frames.
        wanted: Joints that are needed. Details of head and hands that are not wanted are not
            worked out, and mean nothing.
    """
    return _Pose(bodies, programme, frozenset(wanted)).placed()


class _Pose:
    """Joints as they are worked out, first in a frame that goes along with the person."""

    def __init__(self, bodies: Bodies, programme: Programme, wanted: frozenset[str]) -> None:
        self._bodies, self._programme, self._wanted = bodies, programme, wanted
        self.joints = np.zeros((len(BODY), 3, *programme.size), np.float32)
        ankles = {side: self._ankle(side, sign) for side, sign in _SIDES}
        pelvis = self._pelvis(ankles)
        chest = self._trunk(pelvis)
        for side, sign in _SIDES:
            self._arm(side, sign, chest)
            self._leg(side, sign, pelvis, ankles[side])

    def _at(self, name: str) -> Floats:
        """A joint (3, N, T), which may be written to."""
        return np.asarray(self.joints[_PLACE[name]])

    def _attach(self, frame: Floats, *names: str) -> None:
        """Place joints that do not move in a frame (3, 3, N, T)."""
        for name in names:
            parent = self.joints[BODY.parents[_PLACE[name]]]
            self._at(name)[:] = parent + turned(frame, self._bodies.offsets[name])

    def _ankle(self, side: str, sign: float) -> Floats:
        leg = self._bodies.leg
        hip = np.abs(self._bodies.offsets[f"{side}_hip"][0])
        out, lift, ahead = (self._programme[f"{side}_foot_{n}"] for n in ("out", "lift", "ahead"))
        return np.stack([sign * (hip + out * leg), _FLOOR + lift * leg, -ahead * leg])

    def _pelvis(self, ankles: Mapping[str, Floats]) -> Floats:
        """Place the pelvis so low that feet reach the floor; return its frame."""
        programme, bodies = self._programme, self._bodies
        leg = bodies.leg
        frame = rotation(-programme["pitch"], programme["yaw"], programme["roll"])
        stand = 0.985 * leg - bodies.offsets["right_hip"][1] + _FLOOR
        x, z = programme["shift"] * leg, -programme["ahead"] * leg
        height = stand - programme["crouch"] * leg
        for side, ankle in ankles.items():
            hip = turned(frame, bodies.offsets[f"{side}_hip"])
            across = (ankle[0] - x - hip[0]) ** 2 + (ankle[2] - z - hip[2]) ** 2
            own = 0.995 * (bodies.length(f"{side}_knee") + bodies.length(f"{side}_ankle"))
            reach = np.sqrt(np.maximum(own**2 - across, (0.3 * own) ** 2)) - hip[1]
            height = np.minimum(height, reach + 4.0 * ankle[1] - 3.0 * _FLOOR)  # not if lifted
        self._at("pelvis")[:] = np.stack([x, height, z])
        return frame

    def _trunk(self, pelvis: Floats) -> Floats:
        """Place spine and head; return the frame of the chest."""
        programme = self._programme
        bend = (-programme["bow"], programme["twist"], programme["lean"])
        half = rotation(*(0.5 * angle for angle in bend))
        waist = product(pelvis, half)
        chest = product(waist, half)
        self._attach(pelvis, "spine1")
        self._attach(waist, "spine2", "spine3")
        self._attach(chest, "neck_base", "neck")
        turn = rotation(-programme["nod"], programme["turn"], programme["tilt"])
        skull = product(chest, turn)
        details = (*_HEAD[1:3], *(f"{side}_{name}" for side, _ in _SIDES for name in _HEAD[3:]))
        self._attach(skull, "head", *(name for name in details if name in self._wanted))
        return chest

    def _arm(self, side: str, sign: float, chest: Floats) -> None:
        programme, bodies = self._programme, self._bodies
        self._attach(chest, f"{side}_collar", f"{side}_shoulder")
        shoulder = self._at(f"{side}_shoulder")
        shoulder += chest[:, 1] * programme[f"{side}_shrug"]
        upper, lower = bodies.length(f"{side}_elbow"), bodies.length(f"{side}_wrist")
        out, up, ahead = (programme[f"{side}_hand_{name}"] for name in ("out", "up", "ahead"))
        close = np.maximum(0.45 - np.sqrt(out**2 + up**2 + ahead**2), 0.0)
        ahead = ahead + 1.2 * close  # a hand passes in front of the shoulder, not through it
        target = np.stack([sign * out, up, -ahead]) * (upper + lower)
        pole = _elbow_direction(sign, up, ahead, programme[f"{side}_swivel"])
        elbow, wrist = two_links(target, upper, lower, pole, MOST_ELBOW)
        self._at(f"{side}_elbow")[:] = shoulder + turned(chest, elbow)
        self._at(f"{side}_wrist")[:] = shoulder + turned(chest, wrist)
        parts = [name for part in _HAND if (name := f"{side}_{part}") in self._wanted]
        if parts:
            bend, roll = programme[f"{side}_wrist_bend"], sign * programme[f"{side}_roll"]
            forearm = product(chest, frame_along(wrist - elbow, pole))
            self._attach(product(forearm, rotation(bend, roll, 0 * bend)), *parts)

    def _leg(self, side: str, sign: float, pelvis: Floats, ankle: Floats) -> None:
        programme, bodies = self._programme, self._bodies
        self._attach(pelvis, f"{side}_hip")
        hip = self._at(f"{side}_hip")
        spread = sign * programme[f"{side}_knee_out"]
        rise = 0.2 + programme[f"{side}_foot_lift"]  # the knee of a leg that kicks points up
        pole = turned(pelvis, np.stack([np.sin(spread), rise, -np.cos(spread)]))
        upper, lower = bodies.length(f"{side}_knee"), bodies.length(f"{side}_ankle")
        knee, end = two_links(ankle - hip, upper, lower, pole, MOST_KNEE)
        self._at(f"{side}_knee")[:] = hip + knee
        self._at(f"{side}_ankle")[:] = hip + end
        point = programme[f"{side}_point"]
        sole = rotation(-point, -0.7 * spread, 0 * point)
        self._attach(sole, *(f"{side}_{name}" for name in _SOLE))

    def placed(self) -> Floats:
        """Tilt those who lie, put them on the floor, lift those who jump, and turn and move all."""
        programme, joints = self._programme, self.joints
        fall, aside = programme["fall"], programme["fall_aside"]
        rows = np.flatnonzero((fall != 0).any(axis=1) | (aside != 0).any(axis=1))
        tilt = rotation(fall[rows], 0 * fall[rows], aside[rows])
        upright = np.moveaxis(joints[:, :, rows], 1, 0)
        joints[:, :, rows] = np.moveaxis(turned(tilt[:, :, None], upright), 0, 1)
        lowest = joints[_TOUCHING, 1].min(axis=0)
        lying = np.clip((np.abs(fall) + np.abs(aside)) / 0.3, 0.0, 1.0)
        joints[:, 1] += programme["jump"] - np.where(lowest < 0, lowest, lying * lowest)
        cosine, sine = np.cos(programme["heading"]), np.sin(programme["heading"])
        x, z = joints[:, 0], joints[:, 2]
        east = cosine * x + sine * z + programme["east"]
        joints[:, 2] = cosine * z - sine * x + programme["south"]
        joints[:, 0] = east
        return joints


def _elbow_direction(sign: float, up: Floats, ahead: Floats, swivel: Floats) -> Floats:
    """Return where an elbow points (3, ...) for a hand that is so far up and ahead, in arm lengths.

    Backwards from a hand that hangs, aside from one that is raised, and down from one in front. It
    never points along the line from the shoulder to a place where hands go: there an elbow would
    jump.
    """
    low = min_jerk((-0.1 - up) / 0.5)
    front = np.clip(ahead, 0.0, 1.0)
    out = 0.5 * low + (0.9 - 0.3 * front) * (1.0 - low)
    height = -0.3 * low - (0.3 + 0.5 * front) * (1.0 - low)
    back = 0.7 * low - 0.35 * (1.0 - low)
    cosine, sine = np.cos(swivel), np.sin(swivel)
    return np.stack([sign * (cosine * out - sine * height), sine * out + cosine * height, back])
