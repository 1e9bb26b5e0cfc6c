"""Order of the sequences in a run, and the seeds of its random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.methods.settings import TrainSettings


@dataclass(frozen=True)
class Position:
    """Progress of a run.

    Attributes:
        step: Number of batches that each process has seen.
        epoch: Number of complete epochs.
        done: Number of sequences of the current epoch that all processes have seen.
        skipped: Number of those sequences whose steps were skipped.
        sums: Loss terms of the current epoch, summed over sequences.
    """

    step: int = 0
    epoch: int = 0
    done: int = 0
    skipped: int = 0
    sums: dict[str, Any] = field(default_factory=dict)


def used_sequences(sequences: int, config: TrainSettings, processes: int) -> int:
    """Number of sequences in an epoch of whole optimiser steps.

    Raises:
        ValueError: If there are too few sequences for one step.
    """
    update = config.batch_size * processes * config.accumulate
    if sequences < update and config.epochs:
        raise ValueError(
            f"expected at least {update} training sequences (batch_size x devices x accumulate), "
            f"got {sequences}; lower batch_size (--train.batch-size)"
        )
    return sequences // update * update


def remaining_batches(
    at: Position, sequences: int, config: TrainSettings, processes: int
) -> NDArray[np.int64]:
    """Remaining batches of an epoch as indices ``(steps, processes, batch_size)``.

    Their order depends only on the seed and the epoch.

    Args:
        at: Epoch, and how many of its sequences are done.
        sequences: Number of sequences of the data set.
        config: Settings of training.
        processes: Number of processes that train together.
    """
    order = np.random.default_rng((config.seed, at.epoch)).permutation(sequences)
    left = order[at.done : used_sequences(sequences, config, processes)]
    steps = len(left) // (config.batch_size * processes * config.accumulate)
    shape = (steps * config.accumulate, processes, config.batch_size)
    return left[: math.prod(shape)].reshape(shape)


def seed_of(*parts: int) -> int:
    """Combine several numbers into one seed, so that a resumed run draws the same numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
