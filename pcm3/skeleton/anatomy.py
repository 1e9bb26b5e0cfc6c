"""The anatomical name of each joint, which is the same in layouts that call the joint otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pcm3.skeleton.skeleton import Skeleton
from pcm3.skeleton.tree import JointTree
from pcm3.skeleton.words import JointName, read_names


def _table(groups: dict[str, str]) -> dict[str, str]:
    return {word: name for name, words in groups.items() for word in words.split()}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_JOINTS = _table(
    {
        "collar": "collar clavicle clavicula clav sternoclavicular acromioclavicular scapula",
        "shoulder": "shoulder shldr sho glenohumeral",
        "elbow": "elbow elb",
        "wrist": "wrist wri radiocarpal",
        "hand": "hand palm",
        "hip": "hip hipjoint",
        "knee": "knee kne patella",
        "ankle": "ankle ank talus talocrural",
        "heel": "heel hee calcn calcaneus",
        "foot": "foot feet",
        "toe": "toe hallux ball mtp forefoot",
    }
)
"""Words for joints of arms and legs."""
_BONES = _table(
    {
        "shoulder": "arm upperarm uparm uarm humerus",
        "elbow": "forearm lowarm farm radius ulna",
        "wrist": "carpal",
        "hip": "thigh upleg upperleg femur",
        "knee": "leg shin calf tibia shank lowleg",
    }
)
"""Words for bones, and the joints that they begin at: an upper arm begins at the shoulder."""
_LIMB_QUALIFIERS = _set("up upper low lower fore base")
_MIDDLE = _set("center centre mid middle")
_ABOVE_LEGS = ({"spine", "base"}, {"waist"}, {"sacrum"}, {"root"})
_NECK = _set("upper up lower low")
_TIP = _set("top tip end nub")
_SPINE = _set(
    "spine vertebra lumbar lowback lowerback upback upperback back thorax thoracic torso trunk "
    "body chest sternum navel abdomen belly stomach waist"
)
_NOTHING = _set("joint bone bend")
_IS_CALLED: dict[str, Callable[[frozenset[str]], bool]] = {
    "head": lambda words: words in ({"head"}, {"skull"}, {"skullbase"}),
    "head_tip": lambda words: bool(words & _TIP) and words - _TIP in ({"head"}, {"skull"}),
    "neck": lambda words: words - _NECK in ({"neck"}, {"cervical"}),
    "neck_base": lambda words: (
        words == {"neck", "base"}
        or ("shoulder" in words and words <= _MIDDLE | {"spine", "shoulder"})
    ),
}
"""Whether the words of a joint on the midline are those of a name."""


class _Candidate(NamedTuple):
    """A joint that may bear an anatomical name; the smallest candidate does."""

    rank: int
    words: int
    depth: int
    joint: int


def anatomical_names(skeleton: Skeleton) -> tuple[str, ...]:
    """Name each joint of a skeleton by its anatomy, in the same words for all layouts.

    Names are those of joints, with the side in front: ``left_shoulder``, ``left_elbow``,
    ``left_wrist``, ``left_hand``, ``left_hip``, ``left_knee``, ``left_ankle``, ``left_foot``,
    ``left_toe``, and ``mid_hip``, ``spine``, ``chest``, ``neck_base`` (between the shoulders),
    ``neck`` and ``head``. Joints that are named by bones lie where these begin, as in BVH: with a
    ``left_forearm``, which begins at the elbow, a ``left_hand`` begins at the wrist. If the spine
    has several joints, ``spine`` is the middle one and ``chest`` the highest. A joint without such
    a name keeps its own words, or ``=`` and its own name if another joint has the same words.

    Args:
        skeleton: A skeleton of V joints.

    Returns:
        V different names.
    """
    return _Anatomy(skeleton).names()


class _Anatomy:
    """The joints of a skeleton with their words and sides, and the names found so far."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton, self.tree = skeleton, JointTree(skeleton.parents)
        parsed, _ = read_names(skeleton.joints)
        counts = Counter(word for name in parsed for word in set(name.words))
        everywhere = {word for word, count in counts.items() if 2 * count >= len(skeleton) > 3}
        self.words = [
            tuple(w for w in name.words if len(w) > 1 and w not in _NOTHING | everywhere)
            for name in parsed
        ]
        self.sides = self._sides(parsed)
        self.found: dict[str, int] = {}

    def _sides(self, parsed: Sequence[JointName]) -> list[str]:
        sides: list[str] = [name.side or "" for name in parsed]
        for part, joints in self.skeleton.parts.items():
            side = part.partition("_")[0]
            if side in ("left", "right"):
                for joint in joints:
                    sides[joint] = side
        return sides

    def names(self) -> tuple[str, ...]:
        """Return the name of each joint."""
        for side in ("left", "right"):
            self._name_limbs(side)
        self._name_trunk()
        named = {joint: name for name, joint in self.found.items()}
        rest = [j for j in range(len(self.skeleton)) if j not in named]
        own = {j: "_".join(filter(None, (self.sides[j], *self.words[j]))) for j in rest}
        times = Counter((*own.values(), *self.found, ""))
        for joint, words in own.items():
            unique = words and times[words] == 1
            named[joint] = words if unique else f"={self.skeleton.joints[joint]}"
        return tuple(named[joint] for joint in range(len(self.skeleton)))

    def _best(self, candidates: Sequence[tuple[int, int]]) -> int | None:
        """Return the best of some pairs of rank and joint: few words, near the root."""
        ranked = [
            _Candidate(rank, len(self.words[j]), len(self.tree.upwards(j)), j)
            for rank, j in candidates
        ]
        return min(ranked).joint if ranked else None

    # --- arms and legs

    def _name_limbs(self, side: str) -> None:
        joints: dict[str, list[tuple[int, int]]] = {}
        bones: dict[str, list[tuple[int, int]]] = {}
        for joint, words in enumerate(self.words):
            if self.sides[joint] != side:
                continue
            if set(words) == {"foot", "index"}:  # the big toe of MediaPipe
                joints.setdefault("toe", []).append((0, joint))
                continue
            nouns = [word for word in words if word in _JOINTS or word in _BONES]
            rest = {word for word in words if word not in nouns}
            if len(nouns) == 1 and rest <= _LIMB_QUALIFIERS:
                named = joints if nouns[0] in _JOINTS else bones
                named.setdefault(_limb_joint(nouns[0], rest), []).append((0, joint))
        by_name = {name: self._best(pairs) for name, pairs in joints.items()}
        by_bone = {name: self._best(pairs) for name, pairs in bones.items()}
        if "shoulder" in by_bone and "shoulder" in by_name:
            by_name.setdefault("collar", by_name["shoulder"])
        for name in ("shoulder", "hip"):  # beside a bone, that joint lies nearer to the trunk
            if name in by_bone:
                by_name.pop(name, None)
        for end, above, tip in (("wrist", "elbow", "hand"), ("ankle", "knee", "foot")):
            if tip in by_name and by_name.keys().isdisjoint((end, above)) and above in by_bone:
                by_name[end] = by_name.pop(tip)
        for name, index in (by_bone | by_name).items():
            if index is not None:
                self.found[f"{side}_{name}"] = index

    # --- trunk and head

    def _name_trunk(self) -> None:
        middle = [j for j, side in enumerate(self.sides) if not side]
        for name in ("head", "head_tip", "neck", "neck_base", "mid_hip"):
            ranked = [(self._rank(name, j), j) for j in middle]
            best = self._best([(rank, j) for rank, j in ranked if rank is not None])
            if best is not None:
                self.found[name] = best
                middle.remove(best)
        spine = [j for j in middle if _SPINE.intersection(self.words[j])]
        spine.sort(key=self._from_hips)
        if spine:
            self.found["spine"] = spine[(len(spine) - 1) // 2]
        if len(spine) > 1:
            self.found["chest"] = spine[-1]

    def _rank(self, name: str, joint: int) -> int | None:
        """Return how well the words of a joint on the midline fit a name; None if they do not."""
        words = frozenset(self.words[joint])
        if name == "mid_hip":
            if words & {"hip", "pelvis"} and words <= {"hip", "pelvis", *_MIDDLE}:
                return 0
            starts = self.skeleton.starts
            above_legs = starts is None or starts.pelvis in (None, joint)
            return 1 if above_legs and words in _ABOVE_LEGS else None
        return 0 if _IS_CALLED[name](words) else None

    def _from_hips(self, joint: int) -> tuple[int, int]:
        """Return the distance of a joint from the hips in the tree."""
        starts = self.skeleton.starts
        hips = self.found.get("mid_hip", None if starts is None else starts.pelvis)
        one = self.tree.upwards(joint)
        other = self.tree.upwards(self.tree.order[0] if hips is None else hips)
        return len(set(one) ^ set(other)), joint


def _limb_joint(noun: str, qualifiers: set[str]) -> str:
    if noun == "arm" and qualifiers & {"fore", "low", "lower"}:
        return "elbow"
    if noun == "leg" and qualifiers & {"up", "upper"}:
        return "hip"
    return _JOINTS.get(noun) or _BONES[noun]
