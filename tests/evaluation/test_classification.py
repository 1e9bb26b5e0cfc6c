"""What tasks of recognition share: scores, their fusion against a slow sum, and labels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.synthetic import generate
from pcm3.evaluation.classification import STREAM_WEIGHTS, check_labels, fuse, summarize


@pytest.mark.parametrize("weights", [None, STREAM_WEIGHTS, (1.0, 0.0, 0.0)])
def test_weighted_sum(weights: tuple[float, ...] | None) -> None:
    scores = [torch.randn(5, 4) for _ in range(3)]
    fused = fuse(scores, weights)
    for row in range(5):
        for column in range(4):
            parts = [float(each[row, column]) for each in scores]
            used = weights or (1 / 3, 1 / 3, 1 / 3)
            wanted = sum(w * part for w, part in zip(used, parts, strict=True))
            assert float(fused[row, column]) == pytest.approx(wanted, abs=1e-6)


def test_classes_that_none_has_seen_stay_impossible() -> None:
    scores = torch.tensor([[0.0, -torch.inf]])
    for weights in [(0.6, 0.4), (1.0, 0.0)]:
        assert fuse([scores, scores], weights)[0, 1] == -torch.inf


def test_rounding_decides_no_tie() -> None:
    """Float32 sums of these differ from class to class, or do not, as it happens."""
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(2000, 2, generator=generator) for _ in range(2)]
    scores.append(scores[0] - 1e-7 * torch.rand(2000, 2, generator=generator))
    exact = sum(w * each.double() for w, each in zip(STREAM_WEIGHTS, scores, strict=True))
    fused = fuse(scores, STREAM_WEIGHTS)
    assert torch.equal(fused.argmax(dim=1), exact.argmax(dim=1))
    torch.testing.assert_close(fused, exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("weight", [0.4, 0.0])
def test_fused_scores_that_are_no_numbers(value: float, weight: float) -> None:
    scores = [torch.zeros(5, 3) for _ in range(2)]
    scores[1][2, 1] = value
    with pytest.raises(ValueError, match=r"encoder 1\b.* row 2"):
        fuse(scores, (1.0, weight))


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\b0 encoders"):
        fuse([])
    with pytest.raises(ValueError, match=r"\b1 encoders.*\[0\.5, 0\.5\]"):
        fuse([torch.zeros(2, 3)], (0.5, 0.5))
    for weights in [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0), (float("inf"), 1.0)]:
        with pytest.raises(ValueError, match=re.escape(str(list(weights)))):
            fuse([torch.zeros(2, 3)] * 2, weights)
    with pytest.raises(ValueError, match=r"\(2, 3\), \(2, 4\)"):
        fuse([torch.zeros(2, 3), torch.zeros(2, 4)])
    with pytest.raises(ValueError, match=r"encoder 0\b.*\(3,\)"):
        fuse([torch.zeros(3)] * 2)
    assert fuse([torch.zeros(0, 3)] * 2).shape == (0, 3)


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    test = SkeletonDataset(generate(tmp_path / "store", sequences=4, classes=2, subjects=2))
    scores = torch.zeros(4, 2)
    scores[3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"\brow 3\b"):
        summarize(scores, test)
    scores[3, 0] = -torch.inf
    assert summarize(scores, test)["details"]["predicted"][3] == 1


def test_test_classes_that_were_kept_out(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=24, classes=4, subjects=2, frames=(10, 20))
    known, unknown = (SkeletonDataset(store, rows) for rows in split(store, "labels:0-1"))
    with pytest.raises(ValueError, match=r"\b2\b.*store\b.*fewshot"):
        check_labels(known, unknown)
    check_labels(known, SkeletonDataset(store))
    check_labels(unknown)
    with pytest.raises(ValueError, match=r"none of .*store"):
        check_labels(known, SkeletonDataset(store, []))
