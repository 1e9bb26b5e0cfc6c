"""Labels read from joint names: side, limb or trunk, and finger."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Side = Literal["left", "right"]
Limb = Literal["arm", "leg", "trunk"]

OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left"}


def _ranked(words: str) -> dict[str, int]:
    return {word: rank for rank, word in enumerate(words.split())}


_SWAP = {"left": "right", "l": "r", "lt": "rt", "lft": "rgt", "lf": "rf", "lh": "rh", "lu": "ru"}
"""Ways to write left and right; ``LUArm`` is a left upper arm."""
_SIDES = {mark: side for pair in _SWAP.items() for mark, side in zip(pair, OPPOSITE, strict=True)}
_SWAP |= {right: left for left, right in _SWAP.items()}

_ARM = _ranked(
    "collar clavicle clavicula clav sternoclavicular acromioclavicular scapula blade acromial "
    "acromion shoulder shldr sho glenohumeral arm upperarm uparm uarm humerus upa elbow elb "
    "forearm lowarm farm frm radius ulna radioulnar radiocarpal wrist wri wra wrb carpal hand palm "
    "metacarpal fist knuckle finger forefinger thumb pinky pinkie fin"
)
"""Words for arms, from the body outwards."""
_LEG = _ranked(
    "hipjoint hip buttock thigh thi upleg upperleg femur leg knee kne patella shin calf tibia tib "
    "fibula shank lowleg ankle ank malleolus talus talocrural subtalar foot feet heel hee calcn "
    "calcaneus midtarsal tarsal tarsus metatarsal forefoot mtp ball toe hallux"
)
"""Words for legs, from the body outwards."""
_TRUNK = _ranked(
    "root spine vertebra vertebrae cervical lumbar lumbosacral sacroiliac sacrum sacral lowback "
    "lowerback upback upperback back bak thorax thoracic torso trunk body chest sternum strn "
    "breastbone rib ribcage breast bust pectoral navel tummy stomach belly ab abdomen waist "
    "pelvis asi asis psi psis crotch groin neck head fhd bhd skull skullbase cranium face "
    "forehead brow eyebrow eye eyeball eyelid ear nose cheek mouth lip jaw chin tooth teeth "
    "tongue hair beard tail wing skirt"
)
_TRUNK_WITHOUT_SIDE = _ranked("hip hipjoint buttock shoulder shldr collar clavicle clav blade")
"""Words that belong to a limb with a side, to the trunk without: a left hip, but hips."""
_FINGERS = {"pinky": "little", "pinkie": "little", "forefinger": "index", "mid": "middle"}
_FINGERS |= {finger: finger for finger in ("thumb", "index", "middle", "ring", "little")}
_FILLERS = _ranked(
    "up upper low lower fore mid middle center centre base end tip top nub joint bone in roll "
    "twist index ring little big small upright"
)
_WORDS = frozenset((*_ARM, *_LEG, *_TRUNK, *_FILLERS, "left", "right"))
_LONGEST = 40  # letters of the longest token that is split
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBERED = re.compile(r"finger[\W_]*(\d)", re.IGNORECASE)
_FINGER_JOINT = re.compile(r"([timrp])(?:mcp|pip|dip|tip)", re.IGNORECASE)
_INITIALS = {"t": "thumb", "i": "index", "m": "middle", "r": "ring", "p": "little"}


class _Mark(NamedTuple):
    """The side in a name, and where it is written."""

    start: int
    end: int
    certain: bool
    """Whether it is longer than two letters, with which words may start or end by chance."""


class JointName(NamedTuple):
    """The labels that a joint's name gives.

    Attributes:
        side: The side, if any.
        limb: Arm or leg, also without a side, or trunk; None if no word is known.
        maybe_trunk: Whether the joint is part of the trunk if it has no side, like hips.
        outwards: Rank of the limb's word from the body outwards; large without such a word.
        finger: ``"thumb"``, ... ``"little"``, or ``"finger2"`` if fingers are numbered.
        words: The known words.
    """

    side: Side | None
    limb: Limb | None
    maybe_trunk: bool
    outwards: int
    finger: str | None
    words: tuple[str, ...]


def normal_name(name: str) -> str:
    """Return a joint name without case and separators: ``"hipcenter"`` for ``"Hip_Center"``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_names(names: Sequence[str]) -> tuple[list[JointName], list[int | None]]:
    """Label each name, and find the index of the name that differs from it only by the side.

    A side is a word (``LeftHand``, ``hand_r``, ``Bip01 L Hand``), or one or two letters at either
    end of a word (``lhand``, ``LUArm``) if the same name exists with the other side.
    """
    split = [_split(name) for name in names]
    index = {name: at for at, name in enumerate(names)}
    sides: list[Side | None] = []
    partners: list[int | None] = []
    for name, (_, marks) in zip(names, split, strict=True):
        sure = [mark for mark in marks if mark.certain]
        ways = [sure] if sure else [[mark] for mark in marks]
        others = [(way, index.get(_swapped(name, way))) for way in ways]
        side: Side | None = None
        partner: int | None = None
        for way, other in others:
            own = {_SIDES[name[mark.start : mark.end].lower()] for mark in way}
            if len(own) == 1 and (sure or other is not None):
                (side,), partner = own, other
                break
        sides.append(side)
        partners.append(partner)
    _pair_the_rest(names, split, sides, partners)
    parsed = [
        _read(name, words, side) for name, (words, _), side in zip(names, split, sides, strict=True)
    ]
    return parsed, partners


def _pair_the_rest(
    names: Sequence[str],
    split: Sequence[tuple[tuple[str, ...], list[_Mark]]],
    sides: Sequence[Side | None],
    partners: list[int | None],
) -> None:
    """Pair names that are written in different ways, ``LeftHand`` and ``right_hand``."""

    def key(at: int) -> tuple[object, ...]:
        return (*split[at][0], *re.findall(r"\d+", names[at]))

    alone = [at for at in range(len(names)) if sides[at] and partners[at] is None]
    count = Counter((sides[at], key(at)) for at in alone)
    single = {(sides[at], key(at)): at for at in alone if count[sides[at], key(at)] == 1}
    for (side, name), at in single.items():
        if side is not None:
            partners[at] = single.get((OPPOSITE[side], name))


def _swapped(name: str, marks: Sequence[_Mark]) -> str:
    for mark in reversed(marks):
        old = name[mark.start : mark.end]
        new = _SWAP[old.lower()]
        if old.isupper():
            new = new.upper()
        elif old[0].isupper():
            new = new.title()
        name = name[: mark.start] + new + name[mark.end :]
    return name


def _split(name: str) -> tuple[tuple[str, ...], list[_Mark]]:
    """Split a name into its words, in lower case and without its side, and its side, if any."""
    words: list[str] = []
    marks: list[_Mark] = []
    for match in _TOKEN.finditer(name):
        token, at = match.group().lower(), match.start()
        numbered = name[match.end() : match.end() + 1].isdigit()
        if token in _SIDES:  # a word of its own, but L5 is a vertebra
            marks.append(_Mark(at, match.end(), len(token) > 2 or not numbered))
            continue
        for piece in _pieces(token):
            if piece in _SIDES:
                marks.append(_Mark(at, at + len(piece), len(piece) > 2))
            else:
                words.append(piece)
            at += len(piece)
    return tuple(words), marks


@lru_cache(maxsize=4096)
def _pieces(token: str) -> tuple[str, ...]:
    """Split a token into known words, with one side at either end, or return it whole."""
    if len(token) > _LONGEST:
        return (token,)
    if whole := _known(token):
        return whole
    for mark in _SIDES:
        if token.startswith(mark) and (rest := _known(token[len(mark) :])):
            return (mark, *rest)
        if token.endswith(mark) and (rest := _known(token[: -len(mark)])):
            return (*rest, mark)
    return (token,)


def _known(token: str) -> tuple[str, ...]:
    """Split a token into known words, preferring long ones; empty if that fails."""
    if _singular(token) in _WORDS:
        return (token,)
    for end in range(len(token) - 2, 1, -1):
        if _singular(token[:end]) in _WORDS and (rest := _known(token[end:])):
            return (token[:end], *rest)
    return ()


def _singular(word: str) -> str:
    return word.removesuffix("s") if word not in _WORDS else word


def _read(name: str, pieces: Sequence[str], side: Side | None) -> JointName:
    words = tuple(_singular(piece) for piece in pieces)
    trunk = any(word in _TRUNK for word in words)
    limb: Limb | None = None
    maybe_trunk, outwards = False, len(_WORDS)
    for word in reversed(words):
        if word in _ARM or (word in _LEG and not (trunk and word == "ball")):  # of an eye
            limb, maybe_trunk = "arm" if word in _ARM else "leg", word in _TRUNK_WITHOUT_SIDE
            outwards = (_ARM if limb == "arm" else _LEG)[word]
            break
    if (limb is None or maybe_trunk) and trunk and not (side and (limb or "pelvis" in words)):
        limb = "trunk"
    return JointName(side, limb, maybe_trunk, outwards, _finger(name, words), words)


def _finger(name: str, words: Sequence[str]) -> str | None:
    named = [_FINGERS[word] for word in words if word in _FINGERS]
    if named:
        return named[0]
    if match := _NUMBERED.search(name):
        return f"finger{match.group(1)}"
    tokens = [match.group() for match in _TOKEN.finditer(name)]
    joints = [match for token in tokens if (match := _FINGER_JOINT.fullmatch(token))]
    return _INITIALS[joints[0].group(1).lower()] if joints else None
