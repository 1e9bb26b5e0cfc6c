"""Body parts of a joint tree, derived from the names of its joints and from its shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NoReturn

from pcm3.skeleton.tree import LIMBS, PARTS, JointTree, Parts
from pcm3.skeleton.words import OPPOSITE, Side, read_names

ADVICE = (
    "name the joints by side and limb (left_elbow, right_knee), or give parts, mirror and center "
    "yourself: in a skeleton.json (--skeleton FILE), or as Skeleton(name, joints, parents, parts, "
    "mirror, center)"
)
_HAND = ("palm", "thumb", "index", "middle", "ring", "little")
_SHOWN = 6  # joints in a message


def derive_parts(joints: Sequence[str], parents: Sequence[int]) -> Parts:
    """Derive the five parts of a body, or palm and fingers of a hand.

    Raises:
        ValueError: If names contradict each other or the tree, or do not determine the parts.
    """
    body = _Body(joints, parents)
    if body.is_hand:
        return body.hand_parts()
    if not any(name.limb for name in body.parsed):
        return _parts_from_shape(body)
    placed = body.place()
    return {part: _joints_of(placed, part) for part in PARTS}


def _joints_of(placed: Sequence[str], part: str) -> tuple[int, ...]:
    return tuple(joint for joint, name in enumerate(placed) if name == part)


class _Body:
    """Joints with their names, the labels derived from these, and their tree."""

    def __init__(self, joints: Sequence[str], parents: Sequence[int]) -> None:
        self.joints = tuple(joints)
        self.tree = JointTree(tuple(parents))
        self.parsed, self.partners = read_names(joints)

    def below(self, labels: Sequence[str | None]) -> list[set[str]]:
        """Return the labels of each joint and of those below it."""
        below = [{label} if label else set() for label in labels]
        for joint in reversed(self.tree.order[1:]):
            below[self.tree.parents[joint]] |= below[joint]
        return below

    def refuse(self, why: str) -> NoReturn:
        raise ValueError(f"{why}; {ADVICE}")

    def some(self, joints: Sequence[int]) -> str:
        """Return the names of some joints, for messages."""
        names = ", ".join(self.joints[joint] for joint in joints[:_SHOWN])
        return names + (f" and {len(joints) - _SHOWN} more" if len(joints) > _SHOWN else "")

    # --- hands

    @property
    def is_hand(self) -> bool:
        """Whether there are at least three fingers, and only body parts next to a hand."""
        fingers = {name.finger for name in self.parsed} - {None}
        body = any(
            name.maybe_trunk or (name.limb in ("leg", "trunk") and name.words != ("root",))
            for name in self.parsed
        )
        return len(fingers) >= 3 and not body

    def hand_parts(self) -> Parts:
        """Return each finger, and the palm, which is the rest; for two hands, by side."""
        sides = self.sides
        both = {"left", "right"} <= set(sides)
        below = self.below([name.finger for name in self.parsed])
        fingers: list[str | None] = [None] * len(sides)
        placed = [""] * len(sides)
        for joint in self.tree.order:
            only = min(below[joint]) if len(below[joint]) == 1 else None
            above = fingers[self.tree.parents[joint]] if joint != self.tree.order[0] else None
            own = self.parsed[joint].finger
            numbered = (
                own is not None and own not in _HAND
            )  # finger1 below the thumb belongs to the thumb
            fingers[joint] = (above if numbered else None) or own or only or above
            side = f"{sides[joint]}_" if both and sides[joint] else ""
            placed[joint] = side + (fingers[joint] or "palm")

        def rank(part: str) -> tuple[str, int, str]:
            side, _, finger = part.rpartition("_")
            return side, _HAND.index(finger) if finger in _HAND else len(_HAND), finger

        return {part: _joints_of(placed, part) for part in sorted(set(placed), key=rank)}

    @cached_property
    def sides(self) -> list[Side | None]:
        """The side of each joint: its own, or that of the joint above it."""
        sides = [name.side for name in self.parsed]
        for joint in self.tree.order[1:]:
            sides[joint] = sides[joint] or sides[self.tree.parents[joint]]
        return sides

    # --- bodies

    def place(self) -> list[str]:
        """Return the part of each joint: by its words, or else by the joints below and above it.

        Raises:
            ValueError: If words and tree contradict each other, or do not determine a joint.
        """
        labels = self._labels()
        below = self.below([label if label in LIMBS else None for label in labels])
        placed = [""] * len(labels)
        for joint in self.tree.order:
            label, parsed = labels[joint], self.parsed[joint]
            parent = self.tree.parents[joint]
            above = placed[parent] if parent >= 0 else "trunk"
            only = min(below[joint]) if len(below[joint]) == 1 else ""
            if label in PARTS:
                placed[joint] = label
            elif label:  # an arm or leg may lack a side only where both sides join
                placed[joint] = only if only.endswith(label) else "trunk"
                if placed[joint] == "trunk" and len(below[joint]) < 2:
                    limb = "an arm" if label == "arm" else "a leg"
                    name = self.joints[joint]
                    self.refuse(f"joint {name} belongs to {limb}, but to neither side")
            elif only:
                placed[joint] = only
            elif above == "trunk" and parsed.finger and parsed.side:
                placed[joint] = f"{parsed.side}_arm"
            else:
                placed[joint] = above
        if empty := [part for part in PARTS if part not in placed]:
            loose = [j for j, name in enumerate(self.parsed) if name.side and not name.limb]
            among = f" among {self.some(loose)}" if loose else ""
            self.refuse(f"found no joints for {', '.join(empty)}{among}")
        self._check_tree(placed, labels)
        self._check_sides(placed)
        self._check_unknown(placed)
        return placed

    def _labels(self) -> list[str | None]:
        """Return the label in each joint's own words: a part, a limb without a side, or None."""
        own: list[Side | None] = [name.side for name in self.parsed]
        if not any(own):
            own = self._sides_by_order()
        labels: list[str | None] = [None] * len(own)
        sides = list(own)
        for joint in self.tree.order:
            parsed, parent = self.parsed[joint], self.tree.parents[joint]
            if parent >= 0 and labels[parent] != "trunk":
                sides[joint] = sides[joint] or sides[parent]
            limb, side = parsed.limb, sides[joint]
            if limb == "trunk" or (limb and side):
                labels[joint] = f"{side}_{limb}" if limb != "trunk" else "trunk"
            elif not parsed.maybe_trunk:
                labels[joint] = limb
        return labels

    def _sides_by_order(self) -> list[Side | None]:
        """Choose sides if no name has one: of two arms or legs, the lower index is left."""
        sides: list[Side | None] = [None] * len(self.joints)
        for limb in ("arm", "leg"):
            joints = [
                joint
                for joint, name in enumerate(self.parsed)
                if name.limb == limb and not name.maybe_trunk
            ]
            tops = sorted(self.tree.tops(joints))
            if len(tops) != 2:
                got = self.some(tops) or "none"
                self.refuse(f"no joint name has a side; expected two {limb}s, got {got}")
            sides[tops[0]], sides[tops[1]] = "left", "right"
        return sides

    def _check_tree(self, placed: Sequence[str], labels: Sequence[str | None]) -> None:
        """Require that a limb hangs from another only as a whole, and from its first joint."""
        parents = self.tree.parents
        for joint in self.tree.order[1:]:
            part, parent = placed[joint], parents[joint]
            above, name = placed[parent], self.joints[joint]
            side = self.parsed[joint].side
            if part in LIMBS and side and not part.startswith(side):
                self.refuse(f"joint {name} is named {side}, but is part of the {_words(part)}")
            if above in ("trunk", part):
                continue
            inside = set(self.tree.branches[joint])
            whole = all(j in inside for j, label in enumerate(labels) if label == part)
            begins = parents[parent] < 0 or placed[parents[parent]] != above
            if part == "trunk" or not (whole and begins):
                what = f"joint {name} belongs to the {_words(part)} by its name"
                self.refuse(f"{what}, but is below {self.joints[parent]} of the {_words(above)}")

    def _check_sides(self, placed: Sequence[str]) -> None:
        for joint, other in enumerate(self.partners):
            side = self.parsed[joint].side
            if other is None or side is None or placed[joint] not in LIMBS:
                continue
            if placed[other] != placed[joint].replace(side, OPPOSITE[side]):
                pair = f"joint {self.joints[joint]} belongs to the {_words(placed[joint])}"
                self.refuse(f"{pair}, but {self.joints[other]} to the {_words(placed[other])}")

    def _check_unknown(self, placed: Sequence[str]) -> None:
        """Refuse joints on the trunk with a side but no known word, as they may be limbs."""
        heads = {"head", "skull", "face", "jaw", "neck"}
        tops = [self.tree.tops(_joints_of(placed, part)) for part in LIMBS]
        sizes = [len(self.tree.branches[own[0]]) for own in tops]
        for joint in self.tree.order:
            parsed, branch = self.parsed[joint], self.tree.branches[joint]
            if placed[joint] != "trunk" or not parsed.side or parsed.limb:
                continue
            above = {word for j in self.tree.upwards(joint) for word in self.parsed[j].words}
            # limbs of single joints are only recognised by words
            if heads.isdisjoint(above) and (
                any(len(own) > 1 for own in tops) or len(branch) > min(sizes)
            ):
                self.refuse(f"the part of {self.some(branch)} cannot be determined")


def _words(part: str) -> str:
    return part.replace("_", " ")


def _parts_from_shape(body: _Body) -> Parts:
    """Take the two largest pairs of equal sibling branches, at different joints, as arms and legs.

    Raises:
        ValueError: If there are no two such pairs, or arms and legs cannot be told apart.
    """
    tree = body.tree

    def twins(junction: int) -> list[tuple[int, int]]:  # three equal branches are not a pair
        children = tree.children[junction]
        shapes = [tree.shapes[child] for child in children]
        equal = [c for c in children if shapes.count(tree.shapes[c]) == 2]
        return [
            (a, b)
            for i, a in enumerate(equal)
            for b in equal[i + 1 :]
            if tree.shapes[a] == tree.shapes[b] and tree.children[a]
        ]

    pairs = [(junction, a, b) for junction in range(len(tree.parents)) for a, b in twins(junction)]
    pairs.sort(key=lambda pair: -len(tree.branches[pair[1]]))
    limbs: list[tuple[int, int, int]] = []
    for pair in pairs:  # skips the eyes beside the shoulders, and fingers within an arm
        within = {j for top, a, b in limbs for j in (top, *tree.branches[a], *tree.branches[b])}
        if len(limbs) < 2 and pair[0] not in within:
            limbs.append(pair)

    def extra_branches(pair: tuple[int, int, int]) -> int:
        """Count branches at the junction besides the limbs and the way to the other pair."""
        return len(tree.children[pair[0]]) + (tree.parents[pair[0]] != -1) - 3

    if len({extra_branches(pair) for pair in limbs}) < 2:
        lacks = "limb" if any(name.side for name in body.parsed) else "side"
        body.refuse(f"no joint name has a {lacks}, and the tree alone does not tell arms from legs")
    legs, arms = sorted(limbs, key=extra_branches)
    parts: Parts = {}
    for limb, (_, *tops) in (("arm", arms), ("leg", legs)):
        for side, top in zip(OPPOSITE, _left_first(body, tops), strict=True):
            parts[f"{side}_{limb}"] = tuple(sorted(tree.branches[top]))
    taken = {joint for part in parts.values() for joint in part}
    parts["trunk"] = tuple(j for j in range(len(tree.parents)) if j not in taken)
    return {part: parts[part] for part in PARTS}


def _left_first(body: _Body, tops: Sequence[int]) -> Sequence[int]:
    """Order two branches, left first, by the sides in their names or else by the lower index."""
    parsed = [
        {body.parsed[joint].side for joint in body.tree.branches[top]} - {None} for top in tops
    ]
    if parsed in ([{"left"}, {"right"}], [set(), set()]):
        return tops
    if parsed != [{"right"}, {"left"}]:
        joints = [joint for top in tops for joint in body.tree.branches[top]]
        body.refuse(f"expected one side in each of two equal branches, {body.some(joints)}")
    return tops[::-1]
