"""Body parts and mirror of a human joint tree, read from its joint names or from its shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Parts = dict[str, tuple[int, ...]]
Mirror = tuple[int, ...]

PARTS = ("trunk", "left_arm", "right_arm", "left_leg", "right_leg")
"""The five body parts that PCM3 masks and mixes."""

ADVICE = (
    "name the joints by side and limb (left_elbow, right_knee), or give parts, mirror and center "
    "yourself: Skeleton(name, joints, parents, parts, mirror, center)"
)


def derive_parts(joints: Sequence[str], parents: Sequence[int]) -> tuple[Parts, Mirror]:
    """The five parts and the mirror: from the names where any has a side, else from the shape.

    Raises:
        ValueError: If a part stays empty, or the shape is no human's.
    """
    if any(_side(joint) for joint in joints):
        parts, mirror = parts_from_names(joints, parents)
    else:
        parts, mirror = parts_from_shape(parents)
    empty = [part for part in PARTS if not parts[part]]
    if empty:
        raise ValueError(f"found no joints for {', '.join(empty)}; {ADVICE}")
    return parts, mirror


def from_root(parents: Sequence[int]) -> list[int]:
    """Joint indices, every parent before its children."""

    def depth(joint: int) -> int:
        return 0 if parents[joint] == -1 else 1 + depth(parents[joint])

    return sorted(range(len(parents)), key=depth)


def _words(name: str) -> list[str]:
    """Lower-case words of a joint name: camel case, digits and separators split it.

    The side of ``lhand`` is split off as well.
    """
    words: list[str] = []
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name):
        sided = _SIDED.fullmatch(word.lower())
        words += sided.groups() if sided else [word.lower()]
    return words


_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_LIMBS: dict[str, tuple[str, ...]] = {
    "trunk": ("eye", "ear", "head", "nose", "mouth", "jaw", "face", "neck"),
    "arm": ("arm", "shoulder", "elbow", "wrist", "hand", "collar", "clavicle"),
    "leg": ("leg", "hip", "knee", "ankle", "foot", "toe", "heel", "thigh", "shin", "calf"),
}

_SIDED = re.compile(
    rf"([lr])((?:up|upper|low|lower|fore)?(?:{'|'.join(sum(_LIMBS.values(), ()))})s?)"
)


def _side(name: str) -> str | None:
    words = _words(name)
    if words and words[0].startswith(("left", "right")):  # "lefthand"
        return "left" if words[0].startswith("left") else "right"
    return next((_SIDES[word] for word in words if word in _SIDES), None)


def _limb(name: str) -> str | None:
    """The limb that a joint name speaks of; the last word counts most (``hand_tip``, ``upleg``)."""
    for word in reversed(_words(name)):
        for limb, keys in _LIMBS.items():
            if any(word.removesuffix("s").endswith(key) or word.endswith(key) for key in keys):
                return limb
    return None


def _unsided(name: str) -> str:
    return "".join(w for w in _words(name) if w not in _SIDES).replace("left", "").replace(
        "right", ""
    ) + "".join(re.findall(r"\d", name))


def parts_from_names(joints: Sequence[str], parents: Sequence[int]) -> tuple[Parts, Mirror]:
    """Parts and mirror from names; a joint whose name says neither inherits from its parent."""
    sides: dict[int, str | None] = {-1: None}
    limbs: dict[int, str | None] = {-1: None}
    for joint in from_root(parents):
        parent, name = parents[joint], joints[joint]
        sides[joint] = _side(name) or (
            sides[parent] if _limb(name) in (None, "arm", "leg") else None
        )
        limbs[joint] = _limb(name) or limbs[parent]

    def part(joint: int) -> str:
        side, limb = sides[joint], limbs[joint]
        return f"{side}_{limb}" if side and limb in ("arm", "leg") else "trunk"

    count = len(parents)
    parts = {name: tuple(j for j in range(count) if part(j) == name) for name in PARTS}
    index = {(sides[j], _unsided(joints[j])): j for j in range(count) if sides[j]}
    opposite = {"left": "right", "right": "left"}
    mirror = [
        index.get((opposite[side], _unsided(joints[j])), j) if (side := sides[j]) else j
        for j in range(count)
    ]
    return parts, tuple(mirror)


def parts_from_shape(parents: Sequence[int]) -> tuple[Parts, Mirror]:
    """Arms and legs as the two largest pairs of equal sibling branches, at different joints.

    Raises:
        ValueError: If there are no such two pairs, or nothing tells arms from legs.
    """
    children: dict[int, list[int]] = {joint: [] for joint in range(-1, len(parents))}
    for joint, parent in enumerate(parents):
        children[parent].append(joint)

    def branch(joint: int) -> list[int]:  # depth first, larger sub-branches first
        ordered = sorted(children[joint], key=lambda c: (-len(branch(c)), c))
        return [joint] + [j for child in ordered for j in branch(child)]

    def shape(joint: int) -> tuple[Any, ...]:
        return tuple(sorted(shape(child) for child in children[joint]))

    def twins(junction: int) -> list[tuple[int, int]]:  # a shape that three share is no pair
        shapes = [shape(child) for child in children[junction]]
        equal = [c for c, s in zip(children[junction], shapes, strict=True) if shapes.count(s) == 2]
        return [
            (a, b)
            for i, a in enumerate(equal)
            for b in equal[i + 1 :]
            if shape(a) == shape(b) and len(branch(a)) > 1
        ]

    pairs = [(junction, a, b) for junction in range(len(parents)) for a, b in twins(junction)]
    pairs.sort(key=lambda pair: -len(branch(pair[1])))
    limbs: list[tuple[int, int, int]] = []
    for pair in pairs:  # neither the eyes beside the shoulders nor fingers within an arm
        within = [joint for top, a, b in limbs for joint in (top, *branch(a), *branch(b))]
        if len(limbs) < 2 and pair[0] not in within:
            limbs.append(pair)

    def extra_branches(pair: tuple[int, int, int]) -> int:
        """Branches at the junction besides the limbs and the way to the other pair."""
        neighbours = len(children[pair[0]]) + (parents[pair[0]] != -1)
        return neighbours - 3

    if len({extra_branches(pair) for pair in limbs}) < 2:
        raise ValueError(
            f"no joint name has a side, and the tree alone does not tell arms and legs; {ADVICE}"
        )
    legs, arms = sorted(limbs, key=extra_branches)
    parts: dict[str, tuple[int, ...]] = {}
    mirror = list(range(len(parents)))
    for limb, (_, a, b) in (("arm", arms), ("leg", legs)):
        parts[f"left_{limb}"], parts[f"right_{limb}"] = (
            tuple(sorted(branch(a))),
            tuple(sorted(branch(b))),
        )
        for left, right in zip(branch(a), branch(b), strict=True):
            mirror[left], mirror[right] = right, left
    taken = {joint for part in parts.values() for joint in part}
    parts["trunk"] = tuple(j for j in range(len(parents)) if j not in taken)
    return {part: parts[part] for part in PARTS}, tuple(mirror)
