"""A data set of unscripted motion that is generated while a model trains."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pcm3.checks import check_count, check_seed
from pcm3.data.body import BODY as BODY_FORM
from pcm3.data.body import BODY_UNIT, Form, scaled, turned
from pcm3.data.dataset import Batch, ClipDataset, check_items, name_some
from pcm3.data.normalize import Normalization, normalize
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic.motion.body import BODY, draw_bodies, pose
from pcm3.data.synthetic.motion.draws import Draws
from pcm3.data.synthetic.motion.kinematics import Floats
from pcm3.data.synthetic.motion.programme import draw_programmes
from pcm3.data.synthetic.motion.sensor import draw_cameras, sense
from pcm3.skeleton import COMMON15, Skeleton, joint_map

_VERSION = 2
"""Changes whenever a seed gives other sequences than before."""
_FPS = 30.0
_CHUNK = 128
_ENDS = ("wrist", "hand", "thumb", "index", "pinky", "ankle", "heel", "foot", "toe")


class SyntheticMotion(ClipDataset):
    """Sequences of people who move without a script, new ones in each epoch.

    Bodies, movements, cameras and sensors are all drawn at random. A sequence depends on the seed
    and on its number alone: item I of epoch E, counted from 0, is sequence
    ``E * sequences + I``. So no sequence comes twice in a run, and a run that continues gets those
    that it would have got. The items that are read by their index are those of the first epoch.

    Args:
        sequences: Number of sequences in an epoch.
        skeleton: The layout of the joint axis: a skeleton, the name of a built-in one, or a
            ``skeleton.json``. A body has all joints of the built-in layouts but ``human36m32``.
        persons: 1, or 2: then a second person faces the first in one of five sequences.
        frames: Range of the lengths, both included, at 30 frames per second.
        seed: Seed of all sequences.
        normalization: A recipe of ``normalize``, or ``"body"`` for the body form, see
            :mod:`pcm3.data.body`.
        pairs: Whether a batch has each movement twice, for methods with ``pairs``: N sequences, and
            the same movements by other people, seen by other cameras and sensors.

    Raises:
        ValueError: If an argument is out of range, or the layout has joints that a body lacks.

    Example:
        >>> data = SyntheticMotion(128, persons=1)
        >>> data.batch([0, 5]).clips.shape[0]
        2
    """

    class_names = ()
    channels = 3

    def __init__(
        self,
        sequences: int,
        skeleton: str | Path | Skeleton = COMMON15,
        persons: int = 1,
        frames: tuple[int, int] = (20, 120),
        seed: int = 0,
        normalization: Normalization | Form = "center",
        pairs: bool = False,
    ) -> None:
        check_count("sequences", sequences)
        check_seed(seed)
        if persons not in (1, 2):
            raise ValueError(f"expected 1 or 2 persons, got {persons}")
        if not 1 <= frames[0] <= frames[1]:
            raise ValueError(f"expected frames (shortest, longest), both at least 1, got {frames}")
        if normalization == "sgn":
            raise ValueError("expected normalization none, center or isc, got 'sgn'")
        self.skeleton = choose_layout(skeleton)
        self.persons, self.frames, self.seed = persons, frames, seed
        self.normalization: Normalization | Form = normalization
        self.pairs = pairs
        self.unit = BODY_UNIT if normalization == BODY_FORM else "metres"
        self.labels = np.full(sequences, -1, np.int64)
        draws = np.random.default_rng((seed, _VERSION))
        self.lengths = draws.integers(frames[0], frames[1], sequences, endpoint=True)
        weights = joint_map(BODY, self.skeleton).weights.astype(np.float32)
        self._used = np.flatnonzero(weights.any(axis=0))
        self._weights = weights[:, self._used]
        self._wanted = [BODY.joints[joint] for joint in self._used]
        self._ends = np.array([any(end in name for end in _ENDS) for name in self.skeleton.joints])

    def __repr__(self) -> str:
        return (
            f"SyntheticMotion({len(self)}, {self.skeleton.name}, persons={self.persons}, "
            f"frames={self.frames}, seed={self.seed}, normalization={self.normalization!r}"
            f"{', pairs=True' if self.pairs else ''})"
        )

    def in_epoch(self, indices: Sequence[int], epoch: int) -> list[int]:
        """Return the numbers of the sequences that are these items in an epoch."""
        return [index + epoch * len(self) for index in indices]

    def batch(self, indices: Sequence[int]) -> Batch:
        """Generate the sequences with these numbers (N,) as one zero-padded batch of N, or 2N."""
        looks = [self._look(indices, look) for look in range(2 if self.pairs else 1)]
        return Batch(*(torch.cat(parts) for parts in zip(*looks, strict=True)))

    def _look(self, indices: Sequence[int], look: int) -> Batch:
        numbers = check_items(indices, np.iinfo(np.int64).max)
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        lengths = self.lengths[numbers % len(self)]
        frames = self._generate(numbers.tolist(), lengths, look)
        clips = np.zeros(frames.shape, np.float32)
        for row, sequence, length in zip(clips, frames, lengths.tolist(), strict=True):
            row[:length] = self._normalized(sequence[:length])
        return Batch(
            torch.from_numpy(clips).permute(0, 4, 1, 3, 2).contiguous(),
            torch.from_numpy(lengths),
            torch.full((len(numbers),), -1),
            torch.from_numpy(numbers),
        )

    def _normalized(self, frames: Floats) -> Floats:
        if self.normalization != BODY_FORM:
            return normalize(frames, self.skeleton, self.normalization)
        return turned(scaled(frames, self.skeleton), self.skeleton)

    def _generate(self, numbers: Sequence[int], lengths: NDArray[np.int64], look: int) -> Floats:
        """Return sequences (N, T, M, V, 3) as a sensor gives them."""
        frames = np.zeros(
            (len(numbers), lengths.max(), self.persons, len(self.skeleton), 3), np.float32
        )
        action, view = (Draws(self.seed, numbers, 0, *stream) for stream in ((0,), (1, look)))
        pace = np.exp(action.uniform(np.log(0.7), np.log(1.5), 1))
        time = pace / np.float32(_FPS) * np.arange(lengths.max(), dtype=np.float32)
        cameras = draw_cameras(view, action.happens(0.35))
        scene = self._move(action, view, time)
        frames[:, :, 0] = self._sense(view, cameras.see(scene), lengths)
        if self.persons == 2 and len(rows := np.flatnonzero(_accompanied(self.seed, numbers))):
            others = [numbers[row] for row in rows.tolist()]
            action, view = (Draws(self.seed, others, 1, *stream) for stream in ((0,), (1, look)))
            longest = lengths[rows].max()
            scene = self._move(action, view, time[rows, :longest])
            scene[:, ::2] *= -1.0  # in front of the first, turned round
            scene[:, 0] += action.normal(0.15, 1)
            scene[:, 2] -= action.uniform(0.5, 1.6, 1)
            seen = self._sense(view, cameras.of(rows).see(scene), lengths[rows])
            frames[rows, :longest, 1] = seen
        return frames

    def _move(self, action: Draws, view: Draws, time: Floats) -> Floats:
        """Joints (V, 3, N, T) of people who move, y up from the floor."""
        joints = pose(draw_bodies(view), draw_programmes(action, time), self._wanted)
        return np.tensordot(self._weights, joints[self._used], axes=1)

    def _sense(self, view: Draws, seen: Floats, lengths: NDArray[np.int64]) -> Floats:
        return sense(view, seen, lengths, np.array(self.skeleton.mirror), self._ends)

    @property
    def checksums(self) -> NDArray[np.int64]:
        """Numbers that stand for the seed and for each sequence (len, 2); nothing is generated."""
        seeds = np.full(len(self), zlib.crc32(f"{_VERSION} {self.seed}".encode()))
        return np.stack([seeds, np.arange(len(self))], axis=1)

    @property
    def names(self) -> list[str]:
        """The name that ``save`` gives each sequence (len,)."""
        return [f"motion {number}" for number in range(len(self))]

    def describe(self, indices: Sequence[int]) -> str:
        """Name the sequences with these numbers, for messages."""
        return f"sequences {name_some(indices)} of synthetic motion of seed {self.seed}"

    def save(self, out: str | Path, *, overwrite: bool = False) -> Store:
        """Write the sequences of the first epoch to a store, to look at or to train on.

        Raises:
            ValueError: If ``out`` exists and is not to be overwritten.
        """
        with StoreWriter(
            out,
            self.skeleton,
            class_names=self.class_names,
            fps=_FPS,
            source=repr(self),
            licence="CC0-1.0",
            normalization=self.normalization,
            overwrite=overwrite,
        ) as writer:
            names = self.names
            for begin in range(0, len(self), _CHUNK):
                numbers = list(range(begin, min(begin + _CHUNK, len(self))))
                batch = self._look(numbers, 0)
                frames = batch.clips.permute(0, 2, 4, 3, 1).numpy()
                for number, clip, length in zip(numbers, frames, batch.lengths, strict=True):
                    writer.add(clip[: int(length)], -1, name=names[number])
        return Store(out)


_ACCOMPANIED = 0.2
"""Share of the sequences with a second person, if there is room for one."""


def _accompanied(seed: int, numbers: Sequence[int]) -> NDArray[np.bool_]:
    return Draws(seed, numbers, 1).happens(_ACCOMPANIED)
