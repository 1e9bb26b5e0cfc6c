"""Counts of what happened to recordings on their way into a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pcm3.data.axes import CLEARLY, along, from_legs_to_trunk
from pcm3.data.readers.base import Recording, Source
from pcm3.data.units import metres_in, three_digits
from pcm3.skeleton import Skeleton

Frames = NDArray[np.float32]

FASTEST = 10.0
"""The fastest plausible speed of a joint in a room, metres per second; sprinters reach 12."""
SMALLEST, LARGEST = 0.1, 10.0
"""Sizes of bodies in metres beyond which the unit is probably another one."""
FARTHEST = 0.5
"""The farthest plausible step of a joint if speeds are unknown, body lengths per frame."""
_RARE = 0.1  # share of the recordings in which bodies extend in the opposite direction
_SEVERAL = 5  # recordings, of people who rarely all lie
_SIZED = 16  # frames by which a body is measured
_WORST = 5  # number of recordings to name


class Dropped(TypedDict):
    """A sequence that is not in the store."""

    name: str
    reason: str


class Presence(TypedDict):
    """How often a person of the store is present."""

    sequences: int
    frames: int
    empty: int


class Spans(TypedDict):
    """A number of frames, and of the sequences that they are in."""

    sequences: int
    frames: int


class Jumps(TypedDict):
    """Steps of bodies that are longer than a person's can be."""

    sequences: int
    steps: int
    worst: list[tuple[str, int]]


class WithoutCenter(TypedDict):
    """Sequences in which the centre joint of the first person is never seen, and some names."""

    sequences: int
    some: list[str]


class Marks(TypedDict):
    """Joints whose coordinates are all -1, and the sequences that they are in."""

    sequences: int
    joints: int


class Counts(TypedDict):
    """The type of ``Tally.report``."""

    sizes: list[float]
    kept: int
    frames_read: int
    already_isc: int
    dropped: list[Dropped]
    bad: list[str]
    bodies: dict[str, int]
    notes: dict[str, int]
    resampled: dict[str, int]
    persons: list[Presence]
    others_there: Spans
    cut: Spans
    jumps: Jumps
    without_center: WithoutCenter
    marks: Marks
    directions: dict[str, int]


class Tally:
    """Counts of recordings; the counts of several shards can be added.

    Attributes:
        report: JSON-able: ``sizes`` (of the bodies of each recording in metres), ``kept``
            sequences, ``frames_read``, ``dropped`` (name and reason of
            each), ``bad`` (messages), ``already_isc`` (recordings that are ``"isc"`` by their
            coordinates), ``bodies``, ``notes`` and ``resampled`` (number of recordings by number
            of bodies, text, and former frame rate), ``persons`` (for each person of the store the
            number of ``sequences`` with the person, of their ``frames``, and of frames that are
            ``empty``, without the person), ``others_there`` (``sequences`` and ``frames`` with
            somebody in the files but nobody in the store), ``cut`` (``sequences`` and ``frames``
            that the recipe cuts off), ``jumps`` (``steps`` and ``sequences``, and name and
            steps of the ``worst``), ``without_center`` (``sequences`` that never show the
            centre joint of the first person, and the names of ``some``), ``marks`` (``joints`` at
            -1 in all coordinates, and their ``sequences``), and ``directions`` (number of
            recordings by the axis along which bodies clearly extend from the legs up).
    """

    def __init__(self) -> None:
        self.report: dict[str, Any] = {
            "sizes": [],
            "kept": 0,
            "frames_read": 0,
            "dropped": [],
            "bad": [],
            "already_isc": 0,
            "bodies": {},
            "notes": {},
            "resampled": {},
            "persons": [],
            "others_there": {"sequences": 0, "frames": 0},
            "cut": {"sequences": 0, "frames": 0},
            "jumps": {"sequences": 0, "steps": 0, "worst": []},
            "without_center": {"sequences": 0, "some": []},
            "marks": {"sequences": 0, "joints": 0},
            "directions": {},
        }

    def add(self, other: dict[str, Any]) -> None:
        """Add the report of another tally."""
        report = self.report
        for key in ("sizes", "kept", "frames_read", "dropped", "bad", "already_isc"):
            report[key] += other[key]
        for key in ("bodies", "notes", "resampled", "directions"):
            report[key] = dict(Counter(report[key]) + Counter(other[key]))
        for person, counts in enumerate(other["persons"]):
            self._count(self._person(person), counts)
        for key in ("others_there", "cut", "marks"):
            self._count(report[key], other[key])
        self._add_jumps(other["jumps"])
        self._add_without_center(**other["without_center"])

    def count_read(self, recording: Recording) -> None:
        """Count a recording as it was read."""
        report = self.report
        bodies = str(int(recording.frames.any(axis=(0, 2, 3)).sum()))
        self._count(report["bodies"], {bodies: 1})
        self._count(report["notes"], Counter(recording.notes))
        report["frames_read"] += len(recording.frames)

    def count_note(self, note: str) -> None:
        """Count a remark on a recording."""
        self._count(self.report["notes"], {note: 1})

    def count_size(self, frames: Frames) -> None:
        """Count the size of the bodies of a recording, by some of its frames."""
        some = frames[frames.any(axis=(1, 2, 3))][:: max(1, len(frames) // _SIZED)]
        self.report["sizes"].append(round(body_length(some), 4))

    def count_jumps(self, name: str, steps: int) -> None:
        """Count the jumps of a recording."""
        if steps:
            self._add_jumps({"sequences": 1, "steps": steps, "worst": [[name, steps]]})

    def count_marks(self, frames: Frames) -> None:
        """Count the joints of a recording (T, B, V, C) that are at -1 in all coordinates."""
        joints = int((frames == -1).all(-1).sum())
        self._count(self.report["marks"], {"sequences": joints > 0, "joints": joints})

    def count_direction(self, frames: Frames, skeleton: Skeleton) -> None:
        """Count the axis along which the first person of a recording extends, if it is clear."""
        if not {"trunk", "left_leg", "right_leg"} <= skeleton.parts.keys():
            return
        body = from_legs_to_trunk(frames[:, 0], skeleton.parts)
        order = np.argsort(-np.abs(body))
        if abs(body[order[0]]) > CLEARLY * abs(body[order[1]]):
            self._count(self.report["directions"], {along(body, int(order[0])): 1})

    def count_without_center(self, name: str) -> None:
        """Count a recording in which the centre joint of the first person is never seen."""
        self._add_without_center(1, [name])

    def count_resampled(self, rate: float) -> None:
        """Count a recording that was resampled from this frame rate."""
        self._count(self.report["resampled"], {f"{rate:g}": 1})

    def count_cut(self, frames: int) -> None:
        """Count the frames that the recipe cut off the end of a recording."""
        self._count(self.report["cut"], {"sequences": frames > 0, "frames": frames})

    def count_kept(self, before: Frames, after: Frames) -> None:
        """Count a recording (T, B, V, C) that is kept as (T', M, V, C)."""
        self.report["kept"] += 1
        seen = np.asarray(after.any(axis=(2, 3)))
        for person in np.flatnonzero(seen.any(0)).tolist():
            empty = int((~seen[:, person]).sum())
            counts = {"sequences": 1, "frames": len(after), "empty": empty}
            self._count(self._person(person), counts)
        bodies = np.asarray(before.any(axis=(2, 3)))
        if len(before) == len(after) and bodies.any(0).sum() > seen.any(0).sum():
            others = int((bodies.any(1) & ~seen.any(1)).sum())
            self._count(self.report["others_there"], {"sequences": others > 0, "frames": others})

    def _person(self, person: int) -> dict[str, int]:
        persons: list[dict[str, int]] = self.report["persons"]
        while len(persons) <= person:
            persons.append({"sequences": 0, "frames": 0, "empty": 0})
        return persons[person]

    def _add_jumps(self, other: dict[str, Any]) -> None:
        jumps = self.report["jumps"]
        self._count(jumps, {key: other[key] for key in ("sequences", "steps")})
        worst = sorted([*jumps["worst"], *other["worst"]], key=lambda jump: (-jump[1], jump[0]))
        jumps["worst"] = worst[:_WORST]

    def _add_without_center(self, sequences: int, some: list[str]) -> None:
        counts = self.report["without_center"]
        counts["sequences"] += sequences
        counts["some"] = [*counts["some"], *some][:_WORST]

    @staticmethod
    def _count(counts: dict[str, int], more: dict[str, int]) -> None:
        for key, number in more.items():
            counts[key] = counts.get(key, 0) + int(number)


def count_jumps(frames: Frames, fps: float | None) -> int:
    """Count the steps between frames in which a body moves farther than a person can.

    A body jumps if more than half of the joints that both frames have move faster than 10 metres
    per second, or farther than half a body length (see ``body_length``).

    Args:
        frames: Coordinates (T, B, V, C), 0 where a body or a joint is not seen.
        fps: Frames per second of coordinates in metres; None measures in body lengths.

    Returns:
        The number of jumps of all bodies.
    """
    seen = np.asarray(frames.any(-1))
    both = seen[1:] & seen[:-1]
    if not both.any():
        return 0
    limit = FARTHEST * body_length(frames) if fps is None else FASTEST / fps
    with np.errstate(over="ignore"):
        moved = (np.linalg.norm(np.diff(frames, axis=0), axis=-1) > limit) & both
    return int((2 * moved.sum(-1) > both.sum(-1)).sum())


def note_on_size(source: Source, sizes: Sequence[float], remedy: str) -> list[str]:
    """Return a note if bodies are larger or smaller than bodies can be.

    Args:
        source: The recordings.
        sizes: Size of the bodies of each recording, in the unit of the recordings.
        remedy: How to say the unit.
    """
    metres = metres_in(source.unit)
    if metres is None or not sizes or can_be_body(float(np.median(sizes)) * metres):
        return []
    size = three_digits(float(np.median(sizes)))
    told = " than the files say" if source.unit_told else ""
    return [
        f"bodies measure {size} {source.unit}, the median of all recordings: probably the "
        f"unit is another one{told}; {remedy}"
    ]


def note_on_marks(marks: Marks) -> list[str]:
    """Return a note if joints are where some tools put those that are not seen."""
    if not marks["joints"]:
        return []
    return [
        f"{marks['joints']:,} joints in {marks['sequences']:,} sequences are at -1 in all "
        "coordinates, where some tools put joints that are not seen; they are taken as they are: "
        "leave their cells empty, or write 0"
    ]


def note_on_directions(directions: Mapping[str, int]) -> list[str]:
    """Return a note if bodies stand in opposite directions, or lie in most recordings.

    Args:
        directions: As of ``Tally.report``.
    """
    if not directions:
        return []
    axis, most = max(directions.items(), key=lambda pair: pair[1])
    opposite = axis[1:] if axis.startswith("-") else f"-{axis}"
    others, clear = directions.get(opposite, 0), sum(directions.values())
    if others >= max(2, _RARE * clear):
        return [
            f"bodies extend from the legs up along {axis} in {most:,} recordings, and along "
            f"{opposite} in {others:,}: if these are of another tool or camera, prepare those of "
            "each on their own"
        ]
    if axis in ("x", "-x") and most > clear / 2 and clear >= _SEVERAL:
        return [
            f"bodies extend along {axis} in {most:,} recordings: unless everybody lies, x and y "
            "are swapped, or the videos are turned"
        ]
    return []


def probable_unit(size: float) -> str | None:
    """The metric unit in which a body of this size can be one, the largest of several."""
    units = ("metres", "centimetres", "millimetres")
    return next((unit for unit in units if can_be_body(size * (metres_in(unit) or 0.0))), None)


def can_be_body(metres: float) -> bool:
    """Return whether a body can be this large, see ``body_length``."""
    return SMALLEST <= metres <= LARGEST


def limit_of_jumps(source: Source) -> str:
    """Return the limit above which a step counts as a jump, in words."""
    speed = source.unit == "metres" and (source.rates or source.fps)
    return f"{FASTEST:g} m/s" if speed else f"{FARTHEST:g} body lengths a frame"


def body_length(frames: Frames) -> float:
    """Return the largest side of a body's bounding box, the median over all bodies and frames.

    Args:
        frames: Coordinates (T, B, V, C), 0 for joints that are not seen; at least one is seen.
    """
    seen = np.asarray(frames.any(-1))
    present = seen.any(-1)
    points, mask = frames[present], seen[present][..., None]
    low = np.where(mask, points, np.inf).min(1)
    high = np.where(mask, points, -np.inf).max(1)
    with np.errstate(over="ignore"):
        return float(np.median((high - low).max(-1)))
