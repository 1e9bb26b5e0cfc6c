"""Random numbers for many sequences at once, which depend on each sequence alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.synthetic.motion.kinematics import Floats

_BLOCK = 2048


class Draws:
    """Draws for N sequences; each sequence has its own generator, seeded by its number.

    What a sequence gets does not depend on the other sequences of the batch.

    Args:
        seed: Seed of all sequences.
        numbers: Numbers of the sequences (N,), at least 0.
        stream: Further numbers, which give other draws.
    """

    def __init__(self, seed: int, numbers: Sequence[int], *stream: int) -> None:
        self._sources = [np.random.default_rng((seed, number, *stream)) for number in numbers]
        self._left = np.stack([source.random(_BLOCK, np.float32) for source in self._sources])

    def __len__(self) -> int:
        return len(self._sources)

    def uniform(self, low: ArrayLike, high: ArrayLike, *shape: int) -> Floats:
        """Draw numbers (N, *shape) that are uniform in [low, high)."""
        count = int(np.prod(shape))
        taken, self._left = self._left[:, :count], self._left[:, count:]
        assert taken.shape[1] == count, "expected draws of at most _BLOCK numbers"
        low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        return np.asarray(low + (high - low) * taken.reshape(len(self), *shape))

    def happens(self, probability: ArrayLike, *shape: int) -> NDArray[np.bool_]:
        """Draw what happens with a probability, (N, *shape)."""
        return np.asarray(self.uniform(0.0, 1.0, *shape) < np.asarray(probability, np.float32))

    def normal(self, spread: ArrayLike, *shape: int) -> Floats:
        """Draw normal numbers (N, *shape), cut off at 2.5 standard deviations."""
        first, second = self.uniform(1e-7, 1.0, *shape), self.uniform(0.0, 2 * np.pi, *shape)
        values = np.sqrt(-2.0 * np.log(first)) * np.cos(second)
        return np.asarray(np.clip(values, -2.5, 2.5) * np.asarray(spread, np.float32))

    def choice(self, weights: Sequence[float], *shape: int) -> NDArray[np.int64]:
        """Draw one of several kinds by their weights, (N, *shape)."""
        ends = np.cumsum(np.asarray(weights, np.float32) / np.sum(weights))
        kinds = np.searchsorted(ends, self.uniform(0.0, 1.0, *shape), side="right")
        return np.minimum(kinds, len(ends) - 1)

    def noise(self, lengths: ArrayLike, *shape: int) -> Floats:
        """Draw normal numbers (N, longest, *shape), 0 after the length of each sequence."""
        lengths = np.asarray(lengths)
        values = np.zeros((len(self), int(lengths.max()), *shape), np.float32)
        for row, source, length in zip(values, self._sources, lengths.tolist(), strict=True):
            row[:length] = source.standard_normal((length, *shape), np.float32)
        return values
