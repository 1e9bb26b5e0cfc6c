"""The synthetic actions: which joint turns about which axis, how far and how often."""

from __future__ import annotations

from typing import Literal, NamedTuple

Axis = Literal["flex", "abduct", "twist"]

ROLES = (
    "trunk", "head",
    "left_shoulder", "left_elbow", "right_shoulder", "right_elbow",
    "left_hip", "left_knee", "right_hip", "right_knee",
    "body",
)  # fmt: skip
"""Parts that move. The "angles" of the body are height and forward step in metres, and turn."""

AXES: tuple[Axis, ...] = ("flex", "abduct", "twist")
"""Forward about x, away from the body about z, inward about y; radians."""


class Term(NamedTuple):
    """One moving angle: ``offset + amplitude * sin(2 pi (cycles * time + phase))``, time 0 to 1.

    A role without a side (``"shoulder"``) stands for both sides, mirrored.
    """

    role: str
    axis: Axis
    offset: float
    amplitude: float = 0.0
    cycles: float = 0.0
    phase: float = 0.0

    @property
    def moved(self) -> list[tuple[int, float]]:
        """The roles that move, by index, each with its sign: the left side mirrors the right."""
        sides = ("left", "right")
        names = [self.role] if self.role in ROLES else [f"{side}_{self.role}" for side in sides]
        mirrored = self.axis != "flex"
        return [
            (ROLES.index(name), -1.0 if mirrored and name.startswith("left") else 1.0)
            for name in names
        ]


_WALK = (
    Term("right_hip", "flex", 0.0, 0.5, 3),
    Term("left_hip", "flex", 0.0, 0.5, 3, 0.5),
    Term("right_knee", "flex", -0.4, 0.4, 3, 0.25),
    Term("left_knee", "flex", -0.4, 0.4, 3, 0.75),
    Term("right_shoulder", "flex", 0.0, 0.4, 3, 0.5),
    Term("left_shoulder", "flex", 0.0, 0.4, 3),
    Term("body", "abduct", 0.8),
)

ACTIONS: dict[str, tuple[Term, ...]] = {
    "wave": (
        Term("right_shoulder", "abduct", 2.3),
        Term("right_elbow", "abduct", 0.2, 0.6, 4),
    ),
    "raise both arms": (Term("shoulder", "flex", 1.3, 1.2, 1, -0.25),),
    "punch": (
        Term("right_shoulder", "flex", 1.0, 0.5, 3),
        Term("right_elbow", "flex", 1.1, 1.0, 3, 0.5),
        Term("trunk", "twist", 0.0, 0.3, 3),
    ),
    "kick right": (
        Term("right_hip", "flex", 0.5, 0.8, 2),
        Term("right_knee", "flex", -0.5, 0.5, 2, 0.1),
    ),
    "kick left": (
        Term("left_hip", "flex", 0.5, 0.8, 2),
        Term("left_knee", "flex", -0.5, 0.5, 2, 0.1),
    ),
    "squat": (
        Term("hip", "flex", 0.8, 0.7, 2, -0.25),
        Term("knee", "flex", -1.1, 0.9, 2, 0.25),
        Term("trunk", "flex", -0.4, 0.2, 2, 0.25),
    ),
    "walk": _WALK,
    "jumping jack": (
        Term("body", "flex", 0.05, 0.2, 4),
        Term("shoulder", "abduct", 1.2, 1.0, 4),
        Term("hip", "abduct", 0.2, 0.2, 4),
    ),
    "clap": (
        Term("shoulder", "flex", 1.1),
        Term("shoulder", "abduct", -0.1, 0.4, 4),
        Term("elbow", "flex", 0.7),
    ),
    "bow": (Term("trunk", "flex", -0.6, 0.5, 1, 0.25), Term("head", "flex", -0.2)),
    "throw": (
        Term("right_shoulder", "flex", 1.6, 1.2, 1),
        Term("right_elbow", "flex", 0.9, 0.8, 1, 0.4),
        Term("trunk", "twist", 0.0, 0.4, 1),
    ),
    "drink": (
        Term("right_shoulder", "flex", 0.8, 0.2, 1),
        Term("right_elbow", "flex", 1.8, 0.3, 1),
        Term("head", "flex", 0.15, 0.15, 1),
    ),
    "check watch": (
        Term("left_shoulder", "flex", 0.9, 0.1, 1),
        Term("left_elbow", "flex", 1.3, 0.2, 1),
        Term("head", "flex", -0.3),
    ),
    "cross arms": (
        Term("shoulder", "flex", 0.7),
        Term("shoulder", "abduct", -0.4, 0.15, 1),
        Term("elbow", "flex", 1.6),
    ),
    "twist": (Term("trunk", "twist", 0.0, 0.7, 2), Term("shoulder", "abduct", 0.8)),
    "pick up": (
        Term("trunk", "flex", -0.8, 0.3, 1, 0.25),
        Term("hip", "flex", 0.5, 0.3, 1, -0.25),
        Term("knee", "flex", -0.6, 0.4, 1, 0.25),
        Term("right_shoulder", "flex", 1.0, 0.5, 1),
    ),
}
"""The motion of one person, by class name."""

_SHAKE = (
    Term("right_shoulder", "flex", 0.9, 0.2, 4),
    Term("right_elbow", "flex", 0.5, 0.2, 4, 0.5),
)

INTERACTIONS: dict[str, tuple[tuple[Term, ...], tuple[Term, ...]]] = {
    "shake hands": (_SHAKE, _SHAKE),
    "punch the other": (ACTIONS["punch"], (Term("trunk", "flex", 0.25, 0.2, 3),)),
    "approach": (_WALK, ()),
    "bow to each other": (ACTIONS["bow"], ACTIONS["bow"]),
    "kick the other": (ACTIONS["kick right"], (Term("trunk", "flex", 0.2, 0.2, 2),)),
    "hand over": (
        (Term("shoulder", "flex", 1.0, 0.2, 1), Term("elbow", "flex", 0.5, 0.4, 1, 0.5)),
        (Term("shoulder", "flex", 0.8, 0.4, 1, 0.5), Term("elbow", "flex", 0.6, 0.4, 1)),
    ),
}
"""The motions of two persons who face each other, by class name."""
