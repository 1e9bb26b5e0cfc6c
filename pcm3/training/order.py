"""Which sequences each step of a run sees, and where its randomness comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.methods.settings import TrainSettings


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        step: Batches of each process so far.
        epoch: Epochs that are complete.
        done: Sequences of the present epoch, of all processes.
        skipped: Those of them whose steps were left out.
        sums: Of this epoch's loss terms, over sequences.
    """

    step: int = 0
    epoch: int = 0
    done: int = 0
    skipped: int = 0
    sums: dict[str, Any] = field(default_factory=dict)


def used_sequences(sequences: int, config: TrainSettings, processes: int) -> int:
    """Sequences of an epoch: whole optimiser steps."""
    update = config.batch_size * processes * config.accumulate
    if sequences < update and config.epochs:
        raise ValueError(
            f"expected at least {update} training sequences (batch_size x devices x accumulate), "
            f"got {sequences}; lower batch_size (--train.batch-size), or, if it is a part of "
            "the store that trains, take all of it (--protocol all)"
        )
    return sequences // update * update


def remaining_batches(
    at: Position, sequences: int, config: TrainSettings, processes: int
) -> NDArray[np.int64]:
    """The batches of an epoch that are still to do ``(steps, processes, batch_size)``.

    Their order is set by seed and epoch alone.
    """
    order = np.random.default_rng((config.seed, at.epoch)).permutation(sequences)
    left = order[at.done : used_sequences(sequences, config, processes)]
    steps = len(left) // (config.batch_size * processes * config.accumulate)
    shape = (steps * config.accumulate, processes, config.batch_size)
    return left[: math.prod(shape)].reshape(shape)


def seed_of(*parts: int) -> int:
    """One seed from several numbers; equal parts give equal randomness after a resume."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
