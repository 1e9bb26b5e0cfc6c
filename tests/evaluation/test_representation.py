"""Measures of features, against their definitions computed pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pcm3.evaluation.representation import alignment, effective_rank, normalized_std, uniformity

FEATURES = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
    [3.0, 1, 1, 0.1]
)
OTHERS = FEATURES + 0.3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(1))


def unit(features: Tensor) -> list[list[float]]:
    return [[x / math.hypot(*row) for x in row] for row in features.tolist()]


def test_effective_rank_is_the_entropy_of_the_spectrum() -> None:
    spectrum = np.sqrt(np.linalg.eigvalsh(FEATURES.double().T @ FEATURES.double()))
    shares = [value / sum(spectrum) for value in spectrum]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(FEATURES) == pytest.approx(expected)
    assert effective_rank(1000 * FEATURES) == pytest.approx(expected)


def test_effective_rank_of_collapsed_features() -> None:
    assert effective_rank(torch.ones(6, 3) * torch.arange(1.0, 7)[:, None]) == pytest.approx(1)
    assert effective_rank(torch.zeros(6, 3)) == 0
    assert effective_rank(torch.eye(8)[:, :5]) == pytest.approx(5)


def test_alignment_and_uniformity_pair_by_pair() -> None:
    first, second = unit(FEATURES), unit(OTHERS)
    distances = [math.dist(a, b) ** 2 for a, b in zip(first, second, strict=True)]
    assert alignment(FEATURES, OTHERS) == pytest.approx(sum(distances) / 7, rel=1e-5)
    assert alignment(FEATURES, 5 * FEATURES) == pytest.approx(0, abs=1e-10)
    pairs = [math.exp(-2 * math.dist(first[i], first[j]) ** 2) for i in range(7) for j in range(i)]
    assert uniformity(FEATURES) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-5)
    assert uniformity(torch.ones(4, 3)) == 0


def test_standard_deviation_of_directions() -> None:
    rows = np.array(unit(FEATURES))
    expected = np.mean([np.std(rows[:, column], ddof=1) for column in range(4)])
    assert normalized_std(FEATURES) == pytest.approx(expected, rel=1e-5)
    even = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert normalized_std(even) == pytest.approx(1 / 4, rel=0.02)
    assert normalized_std(torch.ones(4, 3) * torch.arange(1.0, 5)[:, None]) == pytest.approx(0)


@pytest.mark.parametrize(
    "measure", [effective_rank, normalized_std, uniformity, lambda x: alignment(x, x)]
)
@pytest.mark.parametrize(
    "wrong", [torch.ones(3), torch.ones(1, 3), torch.tensor([[1.0], [math.nan]])]
)
def test_wrong_features_are_refused(measure: Callable[[Tensor], float], wrong: Tensor) -> None:
    with pytest.raises(ValueError):
        measure(wrong)


def test_views_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError):
        alignment(FEATURES, OTHERS[:5])
