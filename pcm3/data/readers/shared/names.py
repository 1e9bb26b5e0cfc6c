"""NTU RGB+D's actions, the names of its samples and its protocols, for several formats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from pcm3.data.protocols import NTU60_PROTOCOLS, NTU120_PROTOCOLS, Protocol

_ACTIONS = (
    "drink water; eat meal; brush teeth; brush hair; drop; pick up; throw; sit down; stand up; "
    "clap; read; write; tear up paper; put on jacket; take off jacket; put on a shoe; "
    "take off a shoe; put on glasses; take off glasses; put on a hat; take off a hat; cheer up; "
    "wave hand; kick something; reach into pocket; hop; jump up; phone call; play with phone; "
    "type on a keyboard; point to something; take a selfie; check time; rub two hands; "
    "nod head or bow; shake head; wipe face; salute; put palms together; cross hands in front; "
    "sneeze or cough; stagger; fall down; headache; chest pain; back pain; neck pain; "
    "nausea or vomiting; fan self; punch or slap; kick other person; push other person; "
    "pat on back; point finger at other person; hug; give object; touch other person's pocket; "
    "shake hands; walk towards each other; walk apart; "
    "put on headphone; take off headphone; shoot at basket; bounce ball; tennis bat swing; "
    "juggle table tennis ball; hush; flick hair; thumb up; thumb down; make OK sign; "
    "make victory sign; staple book; count money; cut nails; cut paper; snap fingers; "
    "open bottle; sniff; squat down; toss a coin; fold paper; ball up paper; play magic cube; "
    "apply cream on face; apply cream on hand; put on bag; take off bag; put object into bag; "
    "take object out of bag; open a box; move heavy objects; shake fist; throw up cap; hands up; "
    "cross arms; arm circles; arm swings; run on the spot; butt kicks; cross toe touch; "
    "side kick; yawn; stretch oneself; blow nose; hit with object; wield knife; "
    "knock over other person; grab other person's stuff; shoot with gun; step on foot; high-five; "
    "cheers and drink; carry object together; take a photo; follow other person; "
    "whisper in other person's ear; exchange things; support somebody; rock-paper-scissors"
)
NTU_ACTIONS = tuple(_ACTIONS.split("; "))
"""Actions A001 to A120; the first 60 are NTU RGB+D 60."""

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})(?:\.skeleton)?", re.ASCII)


class NtuName(NamedTuple):
    """The numbers in a name like ``S001C002P003R002A013``, counted from 1."""

    setups: int
    views: int
    subjects: int
    replications: int
    action: int

    @classmethod
    def parse(cls, name: str) -> NtuName | None:
        """Parse a name, with or without ``.skeleton``; None if it is not such a name."""
        match = _NAME.fullmatch(name)
        return cls(*map(int, match.groups())) if match else None

    @property
    def columns(self) -> dict[str, int]:
        """All numbers except the action."""
        return dict(zip(self._fields[:-1], self, strict=False))


def ntu_names(names: Iterable[str]) -> list[NtuName] | None:
    """Parse all names; None if any of them is not named like a sample of NTU RGB+D."""
    parsed = [NtuName.parse(name) for name in names]
    known = [name for name in parsed if name is not None]
    return known if len(known) == len(parsed) else None


def at_odds(labels: Sequence[int], names: Sequence[NtuName] | None) -> frozenset[int]:
    """Return the positions of labels that are not the actions in their names, if at least half are.

    If fewer are, the labels are assumed to be those of another data set, and none is wrong.
    """
    pairs = enumerate(zip(labels, names or (), strict=False))
    wrong = frozenset(at for at, (label, name) in pairs if label != name.action - 1)
    return wrong if 2 * len(wrong) <= len(labels) else frozenset()


def ntu_class_names(labels: Sequence[int], names: Sequence[NtuName] | None) -> tuple[str, ...]:
    """Return NTU RGB+D's action names if the labels are the actions in the names, else numbers."""
    count = max(labels, default=-1) + 1
    actions = [name.action - 1 for name in names or ()]
    if actions != labels or count > len(NTU_ACTIONS):
        return tuple(str(label) for label in range(count))
    return NTU_ACTIONS[: 60 if count <= 60 else 120]


def ntu_edition(names: Iterable[NtuName]) -> Literal[60, 120]:
    """Return the edition of NTU RGB+D: 60 if no action is above 60, else 120."""
    return 60 if all(name.action <= 60 for name in names) else 120


def ntu_protocols(edition: Literal[60, 120]) -> dict[str, Protocol]:
    """Return the protocols that the edition is published with, as a dict that can be pickled."""
    return dict(NTU60_PROTOCOLS if edition == 60 else NTU120_PROTOCOLS)
