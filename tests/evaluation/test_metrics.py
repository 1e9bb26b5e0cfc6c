"""The metrics against counts by hand and by loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.evaluation.metrics import (
    accuracy,
    class_means,
    confusion_matrix,
    per_class_accuracy,
    roc_auc,
)

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20)


@settings(deadline=None, max_examples=60)
@given(pairs=PAIRS)
def test_metrics_equal_slow_loops(pairs: list[tuple[int, int]]) -> None:
    predicted, labels = torch.tensor(pairs).T
    right = [float(guess == label) for guess, label in pairs]
    assert accuracy(predicted, labels) == pytest.approx(sum(right) / len(right))
    for label, (row, share) in enumerate(
        zip(
            confusion_matrix(predicted, labels, 5),
            per_class_accuracy(predicted, labels, 5),
            strict=True,
        )
    ):
        assert row == [pairs.count((guess, label)) for guess in range(5)]
        ours = [hit for hit, (_, truth) in zip(right, pairs, strict=True) if truth == label]
        assert share == (pytest.approx(sum(ours) / len(ours)) if ours else None)


def test_thirds_are_of_double_precision() -> None:
    third = accuracy(torch.tensor([0, 0, 0]), torch.tensor([0, 1, 1]))
    assert third == 1 / 3
    assert class_means(torch.tensor([1.0, 0, 0]), torch.zeros(3, dtype=torch.long), 1) == [1 / 3]


def test_no_class_at_all() -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    assert confusion_matrix(nothing, nothing, 2) == [[0, 0], [0, 0]]
    assert per_class_accuracy(nothing, nothing, 2) == [None, None]


def test_accuracies_by_hand() -> None:
    predicted, labels = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 1, 2, 2, 2])
    assert accuracy(predicted, labels) == pytest.approx(3 / 5)
    assert per_class_accuracy(predicted, labels, 4) == pytest.approx([1, 1, 1 / 3, None])


def test_means_and_confusion_by_hand() -> None:
    predicted, labels = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 1, 2, 2, 2])
    assert confusion_matrix(predicted, labels, 4) == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 0],
    ]
    values = torch.tensor([0.5, 0.25, 0.1, 0.2, 0.6])
    assert class_means(values, labels, 4) == pytest.approx([0.5, 0.25, 0.3, None])


def test_confusion_of_what_is_no_class() -> None:
    good, bad = torch.tensor([0, 1]), torch.tensor([1, 2])
    with pytest.raises(ValueError, match=r"expected predictions in \[0, 2\), got 1 to 2"):
        confusion_matrix(bad, good, 2)
    with pytest.raises(ValueError, match=r"expected labels in \[0, 2\), got -1 to 0"):
        confusion_matrix(good, good - 1, 2)
    with pytest.raises(ValueError, match=r"expected labels in \[0, 2\), got 0 to 2"):
        confusion_matrix(good, 2 * good, 2)
    with pytest.raises(ValueError, match=r"expected labels in \[0, 2\), got 0 to 3"):
        confusion_matrix(good, 3 * good, 2)


@pytest.mark.parametrize(("predicted", "labels"), [(3, 4), (4, 3), (0, 0)])
def test_accuracy_of_nothing(predicted: int, labels: int) -> None:
    with pytest.raises(ValueError, match=rf"got \({predicted},\) and \({labels},\)"):
        accuracy(torch.zeros(predicted), torch.zeros(labels))


SCORED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=20)


@settings(deadline=None, max_examples=60)
@given(scored=SCORED)
def test_the_area_is_the_share_of_ordered_pairs(scored: list[tuple[int, bool]]) -> None:
    scores, positive = [score / 3 for score, _ in scored], [truth for _, truth in scored]
    area = roc_auc(scores, positive)
    pairs = [
        (high > low) + (high == low) / 2
        for high, truth in scored
        for low, other in scored
        if truth and not other
    ]
    assert area == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)
    if area is not None:
        assert roc_auc([-score for score in scores], positive) == pytest.approx(1 - area)
        assert roc_auc([score**3 for score in scores], positive) == pytest.approx(area)


def test_areas_of_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        roc_auc([0.5, 1], [True])
    with pytest.raises(ValueError, match="NaN"):
        roc_auc([0.5, float("nan")], [True, False])
