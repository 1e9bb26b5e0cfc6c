"""A data set of unscripted motion that is generated while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pcm3.checks import check_at_least, check_seed
from pcm3.data.dataset import Batch, ClipDataset, check_items
from pcm3.data.normalize import Normalization, normalize
from pcm3.data.synthetic.motion.body import BODY, draw_bodies, pose
from pcm3.data.synthetic.motion.draws import Draws, Floats
from pcm3.data.synthetic.motion.programme import draw_programmes
from pcm3.data.synthetic.motion.sensor import film, sense
from pcm3.skeleton import COMMON15, Skeleton
from pcm3.skeleton.mapping import joint_map

_VERSION = 1
"""Changes whenever the generator gives other sequences for a seed."""
_FPS = 30.0


class SyntheticMotion(ClipDataset):
    """Unscripted motion of people, generated anew in each epoch.

    A sequence depends on the seed and on its number alone. In epoch E, counted from 0, item I is
    sequence ``E * sequences + I``, so that no sequence comes twice.

    Args:
        sequences: Number of sequences in an epoch.
        skeleton: The layout of the joint axis.
        frames: Range of the lengths, both included, at 30 frames per second.
        seed: Seed of all sequences.
        normalization: The recipe, as in ``prepare``.

    Raises:
        ValueError: If an argument is out of range, or the layout has joints that a body lacks.
    """

    class_names = ()
    persons = 1

    def __init__(
        self,
        sequences: int,
        skeleton: Skeleton = COMMON15,
        frames: tuple[int, int] = (20, 120),
        seed: int = 0,
        normalization: Normalization = "center",
    ) -> None:
        check_at_least("sequences", sequences, 1)
        check_seed(seed)
        self.skeleton, self.frames, self.seed = skeleton, frames, seed
        self.normalization: Normalization = normalization
        self.labels = np.full(sequences, -1, np.int64)
        draws = np.random.default_rng((seed, _VERSION))
        self.lengths = draws.integers(frames[0], frames[1], sequences, endpoint=True)
        weights = joint_map(BODY, skeleton).weights.astype(np.float32)
        used = np.flatnonzero(weights.any(axis=0))
        self._wanted = frozenset(BODY.joints[joint] for joint in used)
        self._used, self._weights = used, weights[:, used]
        self._mirror = np.array(skeleton.mirror)
        ends = ("wrist", "hand", "ankle", "foot", "toe", "thumb", "heel")
        self._far = np.array([any(end in joint for end in ends) for joint in skeleton.joints])

    def __repr__(self) -> str:
        return (
            f"SyntheticMotion({len(self)}, {self.skeleton.name}, frames={self.frames}, "
            f"seed={self.seed}, normalization={self.normalization!r})"
        )

    def in_epoch(self, indices: Sequence[int], epoch: int) -> list[int]:
        """Numbers of the sequences that are the items with these indices in an epoch."""
        return [index + epoch * len(self) for index in indices]

    def batch(self, indices: Sequence[int]) -> Batch:
        """Generate sequences by their numbers, as one zero-padded batch."""
        items = check_items(indices, np.iinfo(np.int64).max)
        lengths = self.lengths[items % len(self)]
        draws = Draws(self.seed, items.tolist())
        rate = np.exp(draws.uniform(np.log(0.7), np.log(1.5), 1)) / _FPS
        time = rate * np.arange(lengths.max(), dtype=np.float32)
        bodies = draw_bodies(draws)
        joints = pose(bodies, draw_programmes(draws, time), self._wanted)
        seen = film(draws, np.tensordot(self._weights, joints[self._used], axes=1))
        frames = sense(draws, seen, lengths, self._mirror, self._far)
        clips = np.zeros((len(items), *frames.shape[1:3], 3, 1), np.float32)
        for row, sequence, length in zip(clips, frames, lengths.tolist(), strict=True):
            normal = normalize(sequence[:length, None], self.skeleton, self.normalization)
            row[:length, ..., 0] = normal[:, 0]
        return Batch(
            torch.from_numpy(clips).permute(0, 3, 1, 2, 4).contiguous(),
            torch.from_numpy(lengths),
            torch.full((len(items),), -1),
            torch.from_numpy(items),
        )

    @property
    def checksums(self) -> NDArray[np.int64]:
        """Numbers that identify each sequence, without generating it (len, 2)."""
        return np.stack(
            [np.full(len(self), self.seed + (_VERSION << 48)), np.arange(len(self))], axis=1
        )

    def describe(self, indices: Sequence[int]) -> str:
        """Name the sequences with these numbers, for messages."""
        return f"sequences {', '.join(map(str, indices))} of synthetic motion, seed {self.seed}"
