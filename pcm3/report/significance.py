"""Tests whether a figure differs from that of a baseline: by seeds, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Level of significance."""
FEWEST = 3
"""Fewest runs of either side for a test."""


class Comparison(NamedTuple):
    """A test of the difference between the means of two samples.

    Attributes:
        test: ``"paired t-test"`` or ``"Welch's t-test"``.
        runs: Number of pairs, or of the runs in the smaller sample.
        p: Two-sided p-value.
    """

    test: str
    runs: int
    p: float


def compare_samples(
    sample: Mapping[Hashable, float], baseline: Mapping[Hashable, float]
) -> Comparison | None:
    """Test whether the mean of a sample differs from that of a baseline.

    A paired t-test compares the values of equal seeds if both samples have the same seeds. Other
    samples are compared by Welch's t-test, which does not assume equal variances.

    Args:
        sample: Values by seed.
        baseline: Values by seed.

    Returns:
        The two-sided test; None if a sample has fewer than three values, or if the values do not
        vary and differ, for which neither test is defined.

    Raises:
        ValueError: If a value is not finite.
    """
    for values in (sample, baseline):
        if not all(math.isfinite(value) for value in values.values()):
            raise ValueError(f"expected finite values, got {[*values.values()]}")
    fewest = min(len(sample), len(baseline))
    if fewest < FEWEST:
        return None
    paired = sample.keys() == baseline.keys()
    first, second = (
        np.array([values[seed] for seed in (sample if paired else values)])
        for values in (sample, baseline)
    )
    spreads = [(first - second).std()] if paired else [first.std(), second.std()]
    scale = max(np.abs(first).max(), np.abs(second).max())
    if max(spreads) <= 1e-12 * scale:  # nothing varies but by rounding
        equal = abs(first.mean() - second.mean()) <= 1e-12 * scale
        return Comparison(_NAMES[paired], fewest, 1.0) if equal else None
    test = stats.ttest_rel if paired else partial(stats.ttest_ind, equal_var=False)
    return Comparison(_NAMES[paired], fewest, float(test(first, second).pvalue))


_NAMES = {True: "paired t-test", False: "Welch's t-test"}


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by the step-down method of Holm (1979).

    With them, the chance that any of the differences below a level is due to chance alone is at
    most that level.

    Args:
        p_values: The p-values of several tests, in [0, 1].

    Returns:
        The corrected p-values, in the same order.

    Raises:
        ValueError: If a value is not in [0, 1].

    Example:
        >>> holm([0.04, 0.01, 0.03])
        [0.06, 0.03, 0.06]
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"expected p-values in [0, 1], got {[*p_values]}")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
