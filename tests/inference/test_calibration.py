"""Folds, temperatures and thresholds are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcm3.evaluation.metrics import expected_calibration_error
from pcm3.inference.calibration import calibrate, count_by_class, known, make_folds


def overconfident(factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are ``factor`` times too large for the labels drawn from them."""
    torch.manual_seed(0)
    logits = torch.randn(4000, 3) * 1.5
    labels = torch.multinomial(logits.softmax(dim=1), 1)[:, 0]
    return logits * factor, labels


def smoothed_loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The log loss if each prediction counts as wrong by a share of one among all and one more."""
    share = 1 / (len(labels) + 2)
    targets = torch.full_like(logits, share / (logits.shape[1] - 1))
    targets[torch.arange(len(labels)), labels] = 1 - share
    return float(torch.nn.functional.cross_entropy(logits, targets))


def test_a_few_predictions_that_are_all_right_do_not_make_certainty() -> None:
    """Ten of ten are right by far: on average they get 11/12."""
    labels = torch.arange(10) % 4
    logits = 100.0 * torch.nn.functional.one_hot(labels, 4)
    found = calibrate(lambda temperature: (logits / temperature).log_softmax(dim=1), labels)
    probabilities = (logits / found.temperature).softmax(dim=1).amax(dim=1)
    assert probabilities.mean() == pytest.approx(11 / 12, abs=1e-3)
    assert found.threshold == pytest.approx(11 / 12, abs=1e-3)
    # classes that a fold lacks have no probability at any temperature
    rows = torch.full((10, 1), -torch.inf)
    found = calibrate(
        lambda temperature: torch.cat([(logits / temperature).log_softmax(dim=1), rows], 1), labels
    )
    assert 0.85 < float((logits / found.temperature).softmax(dim=1).amax(dim=1).mean()) < 0.95


@pytest.mark.parametrize("factor", [0.3, 1.0, 5.0])
def test_the_temperature_undoes_over_and_underconfidence(factor: float) -> None:
    logits, labels = overconfident(factor)
    found = calibrate(lambda temperature: (logits / temperature).log_softmax(dim=1), labels)
    assert found.temperature == pytest.approx(factor, rel=0.1)
    grid = np.geomspace(0.01, 100, 2001)
    losses = [smoothed_loss(logits.double() / each, labels) for each in grid]
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)
    assert found.figures["log_loss"] <= found.figures["log_loss_before"]
    assert found.figures["calibration_error"] < 0.05
    rows = (logits / found.temperature).softmax(dim=1)
    assert found.figures["mean_probability"] == pytest.approx(float(rows.max(dim=1)[0].mean()))


def test_one_of_20_right_labels_is_below_the_threshold() -> None:
    logits, labels = overconfident(2.0)
    found = calibrate(lambda temperature: (logits / temperature).log_softmax(dim=1), labels)
    best = (logits / found.temperature).softmax(dim=1).max(dim=1)
    right = best.values[best.indices == labels]
    assert float((right < found.threshold).double().mean()) == pytest.approx(0.05, abs=2e-3)
    assert found.figures["accuracy"] == pytest.approx(len(right) / len(labels))
    assert torch.equal(found.predicted, logits.argmax(dim=1))


def test_without_a_right_prediction_nothing_is_unknown() -> None:
    rows = torch.tensor([[0.9, 0.1], [0.8, 0.2]]).log()
    assert calibrate(lambda _: rows, torch.tensor([1, 1])).threshold == 0
    with pytest.raises(ValueError, match="none"):
        calibrate(lambda _: rows[:0], torch.zeros(0, dtype=torch.int64))


def test_subjects_are_not_divided() -> None:
    random = np.random.default_rng(0)
    labels, subjects = random.integers(3, size=200), random.integers(8, size=200)
    folds = make_folds(labels, subjects, 5, seed=0)
    assert folds.grouped
    assert not folds.why
    seen = []
    for training, held_out in folds.parts():
        assert set(subjects[training]).isdisjoint(subjects[held_out])
        assert sorted([*training, *held_out]) == list(range(200))
        seen += held_out.tolist()
    assert sorted(seen) == list(range(200))
    assert int(folds.of.max()) == 4


@pytest.mark.parametrize(
    "subjects",
    [None, np.zeros(20, np.int64), np.arange(20) - 1, np.arange(20) // 10],
    ids=["none", "one", "unknown", "one for each class"],
)
def test_folds_by_recording_have_every_class(subjects: np.ndarray | None) -> None:
    labels = np.arange(20) // 10
    folds = make_folds(labels, subjects, 5, seed=1)
    assert not folds.grouped
    assert bool(folds.why) == (subjects is not None)
    for training, held_out in folds.parts():
        assert np.bincount(labels[held_out]).tolist() == [2, 2]
        assert known(labels, training, held_out).all()


def test_known_are_classes_that_train() -> None:
    labels = np.array([0, 0, 1, 2])
    assert known(labels, np.array([0, 2]), np.array([1, 3])).tolist() == [True, False]


def test_calibration_error_is_that_of_its_definition() -> None:
    random = np.random.default_rng(0)
    probabilities, correct = random.random(500), random.random(500) < 0.6
    probabilities[:2] = 0, 1
    expected = 0.0
    for low in range(10):
        inside = (probabilities > low / 10) & (probabilities <= (low + 1) / 10)
        inside |= (probabilities == 0) & (low == 0)
        if inside.any():
            gap = abs(probabilities[inside].mean() - correct[inside].mean())
            expected += inside.mean() * gap
    found = expected_calibration_error(torch.tensor(probabilities), torch.tensor(correct), bins=10)
    assert found == pytest.approx(expected, abs=1e-12)
    for bad in (torch.tensor([1.5]), torch.tensor([torch.nan]), torch.tensor([0.5, 0.5])):
        with pytest.raises(ValueError, match="probabilities"):
            expected_calibration_error(bad, torch.tensor([True]))


def test_what_classes_are_taken_for() -> None:
    random = np.random.default_rng(0)
    names, labels = ("a", "b", "c", "alone"), np.append(random.integers(3, size=60), 3)
    rows = random.permutation(60)[:40]
    predicted = random.integers(3, size=40)
    found = count_by_class(names, labels, rows, predicted)
    assert list(found) == list(names)
    for label, name in enumerate(names):
        pairs = [(labels[row], answer) for row, answer in zip(rows, predicted, strict=True)]
        own = [answer for truth, answer in pairs if truth == label]
        each = found[name]
        assert each["labelled"] == sum(labels == label)
        assert each["judged"] == len(own) == each["right"] + sum(each["taken_for"].values())
        assert each["right"] == own.count(label)
        assert each["taken_for"] == {names[other]: own.count(other) for other in set(own) - {label}}
        assert list(each["taken_for"].values()) == sorted(each["taken_for"].values())[::-1]
    assert found["alone"] == {"labelled": 1, "judged": 0, "right": 0, "taken_for": {}}
