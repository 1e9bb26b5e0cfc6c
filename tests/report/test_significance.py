"""Tests of a difference, against their formulas written out and against simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pcm3.report.significance import compare_samples, holm


def by_seed(*values: float, first: int = 0) -> dict[object, float]:
    return dict(enumerate(values, first))


def test_equal_seeds_are_compared_in_pairs() -> None:
    sample, base = (0.84, 0.80, 0.83, 0.9), (0.80, 0.78, 0.80, 0.85)
    found = compare_samples(by_seed(*sample), by_seed(*base))
    differences = [a - b for a, b in zip(sample, base, strict=True)]
    mean = sum(differences) / 4
    variance = sum((value - mean) ** 2 for value in differences) / 3
    t = mean / math.sqrt(variance / 4)
    assert found is not None
    assert found[:2] == ("paired t-test", 4)
    assert found.p == pytest.approx(2 * stats.t.sf(t, df=3))
    # the order of the seeds is that of their names, not of their place
    shuffled = {seed: sample[seed] for seed in (2, 0, 3, 1)}
    assert compare_samples(shuffled, by_seed(*base)) == pytest.approx(found)


def test_other_seeds_are_compared_by_welch() -> None:
    sample, base = (0.84, 0.80, 0.83, 0.9), (0.70, 0.78, 0.75)
    found = compare_samples(by_seed(*sample, first=3), by_seed(*base))
    assert found is not None
    assert found[:2] == ("Welch's t-test", 3)
    errors = [np.var(values, ddof=1) / len(values) for values in (sample, base)]
    t = (np.mean(sample) - np.mean(base)) / math.sqrt(sum(errors))
    df = sum(errors) ** 2 / (errors[0] ** 2 / 3 + errors[1] ** 2 / 2)
    assert found.p == pytest.approx(2 * stats.t.sf(t, df))


def test_two_seeds_are_no_test() -> None:
    assert compare_samples(by_seed(0.9, 0.9), by_seed(0.1, 0.1)) is None
    assert compare_samples(by_seed(0.9, 0.91), by_seed(0.1, 0.12, 0.11)) is None


def test_values_that_do_not_vary() -> None:
    same = by_seed(0.1, 0.2, 0.3)
    found = compare_samples(same, same)
    assert found is not None
    assert found.p == 1
    assert compare_samples(by_seed(0.2, 0.3, 0.4), same) is None  # the same difference each time
    assert compare_samples(by_seed(0.5, 0.5, 0.5, first=1), by_seed(0.4, 0.4, 0.4)) is None


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError):
        compare_samples(by_seed(0.1, math.nan, 0.3), by_seed(0.1, 0.2, 0.3))


def test_holm_rejects_as_the_closed_test_does() -> None:
    """A hypothesis falls if Bonferroni's test rejects every set of hypotheses that it is in."""
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.uniform(0, 0.3, 4)
        slow = []
        for number in range(4):
            sets = [
                chosen
                for size in range(1, 5)
                for chosen in itertools.combinations(range(4), size)
                if number in chosen
            ]
            slow.append(max(min(1, len(s) * min(values[list(s)])) for s in sets))
        assert holm(values) == pytest.approx(slow)
    assert holm([]) == []
    with pytest.raises(ValueError):
        holm([1.2])
