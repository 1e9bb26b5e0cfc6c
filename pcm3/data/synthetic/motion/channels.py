"""What moves: the channels of a programme of movement, with their limits."""

from __future__ import annotations

from typing import NamedTuple


class Channel(NamedTuple):
    """One number that changes in time.

    Attributes:
        group: Channels of a group move at the same times.
        low: Smallest value.
        high: Largest value.
        swing: Largest amplitude when it oscillates.
    """

    group: str
    low: float
    high: float
    swing: float


_TRUNK = {
    "shift": Channel("hips", -0.25, 0.25, 0.08),
    "ahead": Channel("hips", -0.35, 0.25, 0.08),
    "crouch": Channel("hips", 0.0, 0.62, 0.25),
    "pitch": Channel("hips", -0.3, 0.8, 0.15),
    "yaw": Channel("hips", -0.6, 0.6, 0.3),
    "roll": Channel("hips", -0.25, 0.25, 0.12),
    "bow": Channel("trunk", -0.4, 1.3, 0.4),
    "lean": Channel("trunk", -0.5, 0.5, 0.25),
    "twist": Channel("trunk", -0.8, 0.8, 0.5),
    "nod": Channel("head", -0.6, 0.8, 0.35),
    "tilt": Channel("head", -0.5, 0.5, 0.25),
    "turn": Channel("head", -1.1, 1.1, 0.5),
}
_LIMB = {
    "hand_out": Channel("arm", -0.8, 1.0, 0.3),
    "hand_up": Channel("arm", -1.0, 1.0, 0.3),
    "hand_ahead": Channel("arm", -0.6, 1.0, 0.3),
    "swivel": Channel("arm", -0.9, 0.9, 0.3),
    "shrug": Channel("arm", -0.03, 0.08, 0.02),
    "wrist_bend": Channel("arm", -0.9, 0.9, 0.5),
    "roll": Channel("arm", -1.2, 1.2, 0.6),
    "foot_out": Channel("leg", -0.3, 0.75, 0.12),
    "foot_lift": Channel("leg", 0.0, 1.1, 0.15),
    "foot_ahead": Channel("leg", -0.6, 0.9, 0.12),
    "knee_out": Channel("leg", -0.3, 0.8, 0.15),
    "point": Channel("leg", -0.8, 0.4, 0.3),
}
CHANNELS: dict[str, Channel] = _TRUNK | {
    f"{side}_{name}": channel._replace(group=f"{side}_{channel.group}")
    for side in ("left", "right")
    for name, channel in _LIMB.items()
}
"""All channels by name.

Hips: ``shift`` to the right, ``ahead`` and ``crouch`` (down) in leg lengths; ``pitch`` forward,
``yaw`` to the left, ``roll``. Trunk: ``bow`` forward, ``lean``, ``twist``. Head: ``nod``, ``tilt``,
``turn``. Hands: place seen from the shoulder, in the frame of the chest and in arm lengths, ``out``
away from the body; ``swivel`` of the elbow about the line from shoulder to hand; ``shrug`` in
metres. Feet: place seen from below the hip, in leg lengths; ``knee_out``; ``point`` lifts the toes.
Angles are in radians.
"""
GROUPS = tuple(dict.fromkeys(channel.group for channel in CHANNELS.values()))
"""Parts of the body that have their own timing."""

HANDS: dict[str, tuple[float, tuple[float, float, float], tuple[float, float, float]]] = {
    "hang": (1.0, (0.10, -0.985, 0.04), (0.06, 0.02, 0.08)),
    "forward": (1.6, (-0.10, 0.05, 0.80), (0.25, 0.25, 0.15)),
    "forward low": (0.8, (-0.15, -0.45, 0.70), (0.25, 0.20, 0.15)),
    "up": (1.2, (0.10, 0.85, 0.15), (0.20, 0.12, 0.20)),
    "aside": (1.2, (0.85, 0.05, 0.10), (0.12, 0.30, 0.20)),
    "behind": (0.3, (0.10, -0.75, -0.40), (0.15, 0.15, 0.10)),
    "bent": (1.2, (0.00, -0.25, 0.45), (0.20, 0.20, 0.12)),
    "across": (0.7, (-0.60, -0.05, 0.55), (0.12, 0.25, 0.15)),
    "mouth": (0.7, (-0.28, 0.25, 0.24), (0.03, 0.04, 0.03)),
    "ear": (0.6, (-0.16, 0.36, 0.04), (0.04, 0.05, 0.04)),
    "eyes": (0.4, (-0.28, 0.42, 0.26), (0.05, 0.04, 0.04)),
    "back of the head": (0.4, (-0.25, 0.35, -0.14), (0.06, 0.06, 0.03)),
    "chest": (0.6, (-0.30, -0.22, 0.25), (0.10, 0.10, 0.04)),
    "belly": (0.6, (-0.30, -0.62, 0.28), (0.10, 0.08, 0.04)),
    "other shoulder": (0.4, (-0.60, -0.02, 0.16), (0.05, 0.06, 0.04)),
    "other elbow": (0.5, (-0.48, -0.42, 0.34), (0.06, 0.06, 0.05)),
    "hip": (0.7, (0.04, -0.74, 0.08), (0.05, 0.05, 0.06)),
    "small of the back": (0.2, (-0.22, -0.66, -0.26), (0.08, 0.06, 0.04)),
    "hands together": (0.9, (-0.31, -0.30, 0.50), (0.0, 0.25, 0.20)),
    "anywhere": (2.0, (0.10, 0.00, 0.35), (0.55, 0.60, 0.40)),
}
"""Goals of the hands by name: weight, centre (out, up, ahead) and spread, in arm lengths."""

POSTURES: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "bow": (1.0, {"bow": (0.4, 0.25), "pitch": (0.3, 0.2), "ahead": (-0.08, 0.04)}),
    "crouch": (
        1.2,
        {"crouch": (0.3, 0.14), "bow": (0.3, 0.2), "pitch": (0.2, 0.1), "ahead": (-0.12, 0.06)},
    ),
    "bend to the floor": (
        1.0,
        {"crouch": (0.3, 0.16), "bow": (0.85, 0.2), "pitch": (0.55, 0.15), "ahead": (-0.2, 0.05)},
    ),
    "lean": (0.8, {"lean": (0.0, 0.25), "shift": (0.0, 0.1), "roll": (0.0, 0.1)}),
    "twist": (1.0, {"twist": (0.0, 0.4), "yaw": (0.0, 0.25)}),
    "stretch": (0.4, {"bow": (-0.2, 0.1), "nod": (-0.25, 0.15)}),
    "sway": (0.8, {"shift": (0.0, 0.08), "ahead": (0.0, 0.06), "yaw": (0.0, 0.1)}),
}
"""Postures of hips and trunk by name: weight, and mean and spread of the channels that change."""

FEET: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "step forward": (1.0, {"foot_ahead": (0.4, 0.12)}),
    "step back": (0.6, {"foot_ahead": (-0.35, 0.1)}),
    "step aside": (0.8, {"foot_out": (0.35, 0.12), "knee_out": (0.2, 0.15)}),
    "lift the knee": (1.0, {"foot_lift": (0.4, 0.12), "foot_ahead": (0.15, 0.12)}),
    "kick": (
        1.2,
        {"foot_lift": (0.5, 0.25), "foot_ahead": (0.75, 0.12), "point": (-0.2, 0.3)},
    ),
    "kick aside": (
        0.6,
        {"foot_lift": (0.45, 0.2), "foot_out": (0.65, 0.15), "foot_ahead": (0.1, 0.15)},
    ),
    "lift the heel": (0.5, {"foot_lift": (0.4, 0.12), "foot_ahead": (-0.35, 0.1)}),
}
"""Moves of a foot by name: weight, and mean and spread of the channels that change."""
