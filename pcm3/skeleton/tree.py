"""Joint trees: their branches, where limbs begin, and the derived mirror and centre."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pcm3.skeleton.words import JointName, read_names

Parts = dict[str, tuple[int, ...]]
Mirror = tuple[int, ...]

PARTS = ("trunk", "left_arm", "right_arm", "left_leg", "right_leg")
"""The five body parts that PCM3 masks and mixes."""

LIMBS = PARTS[1:]


@dataclass(frozen=True)
class JointTree:
    """A tree of joints, given by the parent of each, -1 at the root."""

    parents: tuple[int, ...]

    @cached_property
    def children(self) -> list[list[int]]:
        """The children of each joint."""
        children: list[list[int]] = [[] for _ in self.parents]
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                children[parent].append(joint)
        return children

    @cached_property
    def order(self) -> list[int]:
        """Joints by depth, then index: every parent before its children."""
        level, order = [self.parents.index(-1)], []
        while level:
            order += level
            level = sorted(child for joint in level for child in self.children[joint])
        return order

    @cached_property
    def branches(self) -> list[list[int]]:
        """Each joint with all joints below it, depth first, larger branches first."""
        branches: list[list[int]] = [[] for _ in self.parents]
        for joint in reversed(self.order):
            ordered = sorted(self.children[joint], key=lambda c: (-len(branches[c]), c))
            branches[joint] = [joint, *(j for child in ordered for j in branches[child])]
        return branches

    @cached_property
    def shapes(self) -> list[int]:
        """A number for each joint, equal for joints whose branches have the same shape."""
        shapes = [0] * len(self.parents)
        known: dict[tuple[int, ...], int] = {}
        for joint in reversed(self.order):
            below = tuple(sorted(shapes[child] for child in self.children[joint]))
            shapes[joint] = known.setdefault(below, len(known))
        return shapes

    def upwards(self, joint: int) -> list[int]:
        """Return the joint and its ancestors, up to the root."""
        chain = [joint]
        while (parent := self.parents[chain[-1]]) >= 0:
            chain.append(parent)
        return chain

    def tops(self, part: Collection[int]) -> list[int]:
        """Return the first joints of the branches of a part, the largest branch first."""
        inside = set(part)
        tops = [j for j in self.order if j in inside and self.parents[j] not in inside]
        return sorted(tops, key=lambda top: -len(inside.intersection(self.branches[top])))


class Starts(NamedTuple):
    """The first joints of arms and legs, left before right, and the joints that they hang from.

    ``chest`` and ``pelvis`` are joints of the trunk, or None if limbs hang from each other.
    """

    shoulders: tuple[int, int]
    hips: tuple[int, int]
    chest: int | None
    pelvis: int | None


def find_starts(
    joints: Sequence[str], tree: JointTree, parts: Mapping[str, Sequence[int]]
) -> Starts | None:
    """Find where limbs begin, each at its largest branch; None if there are no arms or no legs."""
    if not all(parts.get(limb) for limb in LIMBS):
        return None
    parsed, _ = read_names(joints)
    limbs = {joint for limb in LIMBS for joint in parts[limb]}

    def start(limb: str) -> int:
        inside = set(parts[limb])
        sizes = {top: len(inside.intersection(tree.branches[top])) for top in tree.tops(inside)}
        alike = [top for top, size in sizes.items() if size == max(sizes.values())]
        return min(alike, key=lambda top: parsed[top].outwards)

    def junction(limb: tuple[int, int]) -> int | None:
        left, right = (tree.upwards(joint)[1:] for joint in limb)
        joint = next((joint for joint in left if joint in right), None)
        return None if limbs.intersection([joint, *left[:1], *right[:1]]) else joint

    shoulders, hips = ((start(f"left_{limb}"), start(f"right_{limb}")) for limb in ("arm", "leg"))
    return Starts(shoulders, hips, junction(shoulders), junction(hips))


def derive_mirror(
    joints: Sequence[str], parents: Sequence[int], parts: Mapping[str, Sequence[int]]
) -> Mirror:
    """Find the counterpart of each joint on the other side, by name or by place in the part."""
    tree, (_, partners) = JointTree(tuple(parents)), read_names(joints)
    mirror = list(range(len(joints)))
    for joint, other in enumerate(partners):
        if other is not None and partners[other] == joint:
            mirror[joint] = other
    for part in parts:
        other_part = f"right_{part.removeprefix('left_')}"
        if part.startswith("left_") and other_part in parts:
            _pair_by_place(tree, parts[part], parts[other_part], mirror)
    return tuple(mirror)


def _pair_by_place(
    tree: JointTree, left: Collection[int], right: Collection[int], mirror: list[int]
) -> None:
    """Pair joints that names leave unpaired: branches of equal shape, from the first joint on."""
    waiting = [(tree.tops(left), tree.tops(right))]
    while waiting:
        siblings = waiting.pop()
        pairs = [(joint, mirror[joint]) for joint in siblings[0] if mirror[joint] in siblings[1]]
        rest = [[joint for joint in joints if mirror[joint] == joint] for joints in siblings]
        if len(rest[0]) == len(rest[1]) == 1:
            pairs.append((rest[0][0], rest[1][0]))
            rest = [[], []]
        for shape in dict.fromkeys(tree.shapes[joint] for joint in rest[0]):
            alike = [[j for j in joints if tree.shapes[j] == shape] for joints in rest]
            if len(alike[0]) == len(alike[1]):
                pairs += zip(*alike, strict=True)
        for one, other in pairs:
            mirror[one], mirror[other] = other, one
            waiting.append(
                (
                    [child for child in tree.children[one] if child in left],
                    [child for child in tree.children[other] if child in right],
                )
            )


def derive_center(
    joints: Sequence[str], parents: Sequence[int], parts: Mapping[str, Sequence[int]]
) -> int:
    """Find the lowest joint of the spine, see ``Skeleton.from_parents``."""
    tree, (parsed, _) = JointTree(tuple(parents)), read_names(joints)
    starts = find_starts(joints, tree, parts)
    if starts is None:  # in a hand, for example, the joint with the most branches
        most = max(len(children) for children in tree.children)
        chains = [tree.upwards(j) for j in tree.order if len(tree.children[j]) == most]
        return next(joint for joint in chains[0] if all(joint in chain for chain in chains))
    pelvis, chest = starts.pelvis, starts.chest
    if pelvis is None or chest is None:
        return tree.order[0]
    between = _between(tree, pelvis, chest)
    if len(between) > 1 and _is_lower_back(parsed[between[0]]):  # at the hips in many rigs
        del between[0]
    if between:
        return between[0]
    other = {"shoulder", "neck", "chest", "thorax"}
    only_spine = "spine" in parsed[chest].words and other.isdisjoint(parsed[chest].words)
    return chest if only_spine and "spine" not in parsed[pelvis].words else pelvis


def _between(tree: JointTree, pelvis: int, chest: int) -> list[int]:
    """Return the joints of the spine between two of its joints, in upward order."""
    up, down = tree.upwards(pelvis), tree.upwards(chest)
    top = next(joint for joint in up if joint in down)
    if top == chest:
        return up[1 : up.index(chest)]
    # if the legs hang below the first joint of the spine, that joint is left out
    return down[1 : down.index(top)][::-1]


def _is_lower_back(parsed: JointName) -> bool:
    words = set(parsed.words)
    below = words & {"low", "lower"} and words & {"back", "spine", "abdomen", "torso"}
    return bool(words & {"lowback", "lowerback", "lumbar"} or below)
