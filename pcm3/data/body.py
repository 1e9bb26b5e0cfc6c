"""The body form: recordings of any layout, unit and axis as those of one upright body."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pcm3.data.axes import Up, turn_up
from pcm3.data.normalize import normalize, someone_first
from pcm3.data.store import Store
from pcm3.data.tally import body_length
from pcm3.skeleton import JointMap, Skeleton, joint_map
from pcm3.skeleton.anatomy import anatomical_names

Form = Literal["body"]
BODY: Form = "body"
"""Name of the form where a normalization is named."""
BODY_UNIT = "body lengths"
"""Unit of its coordinates: trunk and leg together have length 1."""

_LIMBS = (("hip", "knee"), ("knee", "ankle"))
_TRUNK = ("mid_hip", "neck")
_SOME = 20  # sequences that show how the axes of a store lie
_CLEAR = 0.04
_MIRROR = np.array([-1.0, 1.0, 1.0], np.float32)
_SHARE = 0.37
"""Share of the trunk in the length of a body where no leg is seen."""


def form_of(normalization: str | None) -> Form | None:
    """The form that an encoder wants recordings in, by the normalization that it was trained on."""
    return BODY if normalization == BODY else None


class BodyForm:
    """Turns frames of a store into the body form, the input of encoders for all layouts.

    Joints are mapped to the encoder's by ``joint_map``. The second coordinate points up, as
    ``Store.upright`` finds it. Each frame is relative to the centre of the first person, as the
    recipe ``"center"`` of ``normalize`` makes it. Coordinates are divided by the length of the
    bodies: trunk and leg, the median over frames and persons of the sequence. A clip is turned
    about the vertical so that the first person's right shoulder and hip lie in the direction of
    the first axis from the left ones, on average over its frames; it then faces -z. If people
    clearly face the other way in the store as a whole, by ``in_front``, its axes are left-handed,
    and the first one changes its sign. 2D recordings get a third coordinate of 0. The first person
    is the first one who is ever seen in the sequence.

    Args:
        store: The recordings, of any normalization.
        skeleton: Layout of the result, with hips, knees, ankles and a neck.

    Raises:
        ValueError: If the store lacks what a joint of ``skeleton`` is made of.
    """

    def __init__(self, store: Store, skeleton: Skeleton) -> None:
        self.store, self.skeleton = store, skeleton
        try:
            self.map: JointMap = joint_map(store.skeleton, skeleton)
        except ValueError as error:
            raise ValueError(f"{store.path}: {error}") from None
        self._last = -1, np.zeros((0, 0, 0, 3), np.float32)

    def frames(self, index: int, part: slice = slice(None)) -> NDArray[np.float32]:
        """Frames ``(T, M, V, 3)`` of a part of a sequence."""
        if self._last[0] != index:  # kept for the next window of a long recording
            self._last = index, scaled(self._mapped(index), self.skeleton)
        frames = self._last[1][part]
        if self.left_handed:
            frames = frames * _MIRROR
        return turned(frames, self.skeleton)

    @property
    def left_handed(self) -> bool:
        """Whether the axes are left-handed: as it is known of the store, or as bodies show."""
        known = self.store.known_left_handed
        return self.shown_left_handed is True if known is None else known

    @cached_property
    def shown_left_handed(self) -> bool | None:
        """Whether the axes are left-handed, as bodies show; None if it is not clear."""
        some = np.unique(np.linspace(0, len(self.store) - 1, _SOME).astype(int))
        sequences = [scaled(self._mapped(int(index)), self.skeleton) for index in some]
        fronts = [in_front(turned(frames, self.skeleton), self.skeleton) for frames in sequences]
        front = float(np.mean(fronts))
        return front < 0 if abs(front) > _CLEAR else None

    def describe(self) -> list[str]:
        """Say what was changed or taken for granted that may be wrong, for readers of results."""
        notes = []
        if self.store.skeleton != self.skeleton:
            derived = [*self.map.report()["derived"]]
            how = f"{', '.join(derived)} derived from others" if derived else "all exact"
            names = f"{self.store.skeleton.name} to {self.skeleton.name}"
            notes.append(f"joints mapped from {names}: {how}")
        isc, solid = self.store.meta["normalization"] == "isc", self.store.channels == 3
        if isc:
            notes.append(
                "prepared with isc, which turns each recording as its first frame says: features "
                "differ from those of recordings prepared without it"
            )
        elif self.store.up != "y" and solid:
            notes.append(f"bodies stand along {self.store.up}, which was turned to point along y")
        if self.left_handed:
            notes.append(
                "the axes are left-handed, as in a mirror: x has changed its sign; left and right "
                "joints are as the files name them"
            )
        elif solid and self.store.known_left_handed is None and self.shown_left_handed is None:
            notes.append(
                "bodies do not show clearly whether the axes are left-handed, as in a mirror: "
                "they are taken to be right-handed"
            )
        return notes

    def _mapped(self, index: int) -> NDArray[np.float32]:
        """Mapped and upright frames."""
        stored = self.store.stored(index).astype(np.float32)
        seen = np.asarray(stored.any(axis=-1))
        seen[:, 0] = self.store.seen(stored[:, 0])
        return _mapped(self.store.upright(stored), seen, self.map)


def body_form(
    frames: NDArray[np.float32],
    joints: JointMap,
    skeleton: Skeleton,
    up: Up,
    *,
    left_handed: bool = False,
) -> NDArray[np.float32]:
    """Turn the frames of one recording into the body form.

    Args:
        frames: Coordinates (T, M, V, C) of 2 or 3, 0 where a joint is not seen.
        joints: What maps them to ``skeleton``: ``joint_map(layout, skeleton)`` of
            :mod:`pcm3.skeleton`, where ``layout`` is that of ``frames``.
        skeleton: Layout of the result, with hips, knees, ankles and a neck.
        up: The axis of ``frames`` that points up: ``"y"`` of a Kinect, ``"-y"`` of images, ``"z"``
            of much motion capture.
        left_handed: Whether the axes of ``frames`` are left-handed, as those of a mirror image.

    Returns:
        Frames ``(T, M, V', 3)``.

    Raises:
        ValueError: If the frames have another shape or other joints than the map, or the
            coordinates have no such axis.

    Example:
        >>> from pcm3.skeleton import COMMON15, NTU25
        >>> joints = joint_map(NTU25, COMMON15)
        >>> recording = np.random.default_rng(0).normal(size=(60, 2, 25, 3)).astype(np.float32)
        >>> body_form(recording, joints, COMMON15, up="y").shape
        (60, 2, 15, 3)
    """
    if frames.ndim != 4 or frames.shape[3] not in (2, 3):
        raise ValueError(f"expected frames (T, M, V, C of 2 or 3), got {frames.shape}")
    seen = np.asarray(frames.any(axis=-1))
    form = scaled(_mapped(turn_up(frames, up), seen, joints), skeleton)
    return turned(form * _MIRROR if left_handed else form, skeleton)


def _mapped(
    points: NDArray[np.float32], seen: NDArray[np.bool_], joints: JointMap
) -> NDArray[np.float32]:
    """Map upright frames (T, M, V, C), moved away from the origin, where joints look absent."""
    flat = np.zeros((*points.shape[:-1], 3 - points.shape[-1]), np.float32)
    points = np.concatenate([points, flat], axis=-1) + np.float32(np.abs(points).max(initial=1))
    return someone_first(joints.apply(points * seen[..., None]))


def scaled(frames: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.float32]:
    """Centre upright frames (T, M, V, 3), and divide them by the length of the bodies.

    If the centre of the first person is never seen, as in pictures of the upper body, the mean of
    all joints that are seen is the centre of all frames.
    """
    seen = np.asarray(frames.any(axis=-1, keepdims=True))
    if seen[:, 0, skeleton.center].any() or not seen.any():
        centred = normalize(frames, skeleton, "center")
    else:
        centred = (frames - frames[seen[..., 0]].mean(axis=0)) * seen
    return centred / np.float32(trunk_and_leg(frames, skeleton))


def turned(frames: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.float32]:
    """Turn upright frames (T, M, V, 3) about the vertical so that the first person faces -z.

    Where neither both shoulders nor both hips are seen, nothing is turned.
    """
    across = np.zeros(3)
    for left, right in _pairs(skeleton):
        ends = frames[:, 0, [left, right]]
        ends = ends[ends.any(axis=-1).all(axis=-1)]
        across += (ends[:, 1] - ends[:, 0]).sum(axis=0, dtype=np.float64)
    size = np.hypot(across[0], across[2])
    if size == 0:
        return frames
    cosine, sine = across[0] / size, across[2] / size
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]], np.float32)
    return frames @ turn


def in_front(frames: NDArray[np.float32], skeleton: Skeleton) -> float:
    """How far hands and knees are in front, and elbows behind, of a body that faces -z.

    It is negative if the body faces z, as it does in left-handed axes. Hands count from the centre,
    knees and elbows from the middle between the ends of the limb.

    Args:
        frames: Centred and turned coordinates (T, M, V, 3), 0 where a joint is not seen.
        skeleton: Layout with arms and legs.
    """
    total = 0.0
    for joints in _limbs(skeleton):
        arms, legs = (_depths(frames, limb) for limb in joints)
        total += _bend(arms) - _bend(legs) - (float(arms[:, 2].mean()) if len(arms) else 0.0)
    return total / 2


def _depths(frames: NDArray[np.float32], limb: tuple[int, ...]) -> NDArray[np.float32]:
    """Third coordinates (T', 3) of a limb of the first person where all of it is seen."""
    ends = frames[:, 0, list(limb)]
    return ends[ends.any(axis=-1).all(axis=-1)][..., 2]


def _bend(depths: NDArray[np.float32]) -> float:
    """How far the middle of a limb lies in the direction of z, on average."""
    return float((depths @ np.array([-0.5, 1.0, -0.5], np.float32)).mean()) if len(depths) else 0.0


def trunk_and_leg(frames: NDArray[np.float32], skeleton: Skeleton) -> float:
    """Length of the trunk and of a leg, each bone's median over frames and persons.

    Of a body without legs the trunk is taken to be 37 %; without a trunk, its length is that of
    ``body_length``. It is 1 where nobody is.

    Args:
        frames: Coordinates (T, M, V, C), 0 where a joint is not seen.
        skeleton: Layout with hips, knees, ankles and a neck.
    """
    trunk, *legs = (
        np.median(lengths) if len(lengths) else 0.0
        for lengths in (_bone_lengths(frames, bones) for bones in _bones(skeleton))
    )
    length = float(trunk + sum(legs) if min(legs) > 0 else trunk / _SHARE)
    if trunk == 0 and frames.any():
        length = body_length(frames)
    return length or 1.0


def _bone_lengths(
    frames: NDArray[np.float32], bones: tuple[tuple[int, int], ...]
) -> NDArray[np.float32]:
    """Lengths of bones wherever both ends are seen."""
    ends = np.stack([frames[..., list(bone), :] for bone in bones])
    ends = ends[ends.any(axis=-1).all(axis=-1)]
    lengths: NDArray[np.float32] = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)
    return lengths


@lru_cache(maxsize=16)
def _bones(skeleton: Skeleton) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The trunk, the thighs and the shanks, as pairs of joints."""
    places = {name: joint for joint, name in enumerate(anatomical_names(skeleton))}
    legs = [
        tuple((places[f"{side}_{upper}"], places[f"{side}_{lower}"]) for side in ("left", "right"))
        for upper, lower in _LIMBS
    ]
    return ((places[_TRUNK[0]], places[_TRUNK[1]]),), *legs


@lru_cache(maxsize=16)
def _limbs(skeleton: Skeleton) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Arm and leg of the left and of the right side, each as three joints."""
    places = {name: joint for joint, name in enumerate(anatomical_names(skeleton))}
    arm, leg = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    return tuple(
        (tuple(places[f"{s}_{n}"] for n in arm), tuple(places[f"{s}_{n}"] for n in leg))
        for s in ("left", "right")
    )


@lru_cache(maxsize=16)
def _pairs(skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """Left and right shoulder, left and right hip."""
    places = {name: joint for joint, name in enumerate(anatomical_names(skeleton))}
    return tuple((places[f"left_{name}"], places[f"right_{name}"]) for name in ("shoulder", "hip"))
