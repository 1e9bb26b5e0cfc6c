"""The linear probes on features whose answer is known."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pcm3.evaluation.features import Features
from pcm3.evaluation.metrics import accuracy
from pcm3.evaluation.probes import (
    PROBES,
    ProbeRecipe,
    ProbeSettings,
    fit_logistic,
    fit_ridge,
    logistic_head,
    train_classifier,
)
from pcm3.evaluation.tasks.linear import LinearSettings
from pcm3.heads import Classifier, ProbeHead

RECIPE = ProbeRecipe(epochs=8, batch_size=32, lr=0.1, drops=(6,))


def features(separation: float, samples: int = 240, classes: int = 4) -> Features:
    """Classes along axes of their own, moved and stretched so that scale matters."""
    generator = torch.Generator().manual_seed(int(separation) + samples)
    labels = torch.arange(samples) % classes
    values = torch.randn(samples, 8, generator=generator)
    values[torch.arange(samples), labels] += separation
    return Features(values, labels)


def probe(kind: str, training: Features, test: Tensor) -> Tensor:
    if kind == "logistic":
        return fit_logistic(training, 4)(test).argmax(1)
    return train_classifier(lambda: training, test.shape[1], 4, RECIPE)(test).argmax(1)


@pytest.mark.parametrize("kind", ["logistic", "sgd"])
def test_separable_features_are_read_without_error(kind: str) -> None:
    test = features(12, samples=100)
    predicted = probe(kind, features(12), test.values)
    assert predicted.dtype == torch.long
    assert accuracy(predicted, test.labels) == 1


@pytest.mark.parametrize("kind", ["logistic", "sgd"])
def test_noise_is_read_at_chance(kind: str) -> None:
    test = features(0, samples=800)
    top1 = accuracy(probe(kind, features(0), test.values), test.labels)
    assert abs(top1 - 0.25) < 0.08


@pytest.mark.parametrize("kind", ["logistic", "sgd"])
def test_features_that_are_no_numbers(kind: str) -> None:
    training, test = features(2), features(2, samples=40)
    broken = Features(training.values.clone(), training.labels)
    broken.values[31, 4] = torch.nan
    with pytest.raises(ValueError, match=r"\btraining\b.*\brow 31\b"):
        probe(kind, broken, test.values)
    if kind == "logistic":
        with pytest.raises(ValueError, match=r"\brow 31\b"):
            probe(kind, training, broken.values)
        assert fit_logistic(training, 4)(test.values[:0]).shape == (0, 4)


def test_a_loss_that_is_no_number() -> None:
    training = features(2)
    with pytest.raises(ValueError, match=r"epoch \d.*\b1e\+38\b"):
        train_classifier(lambda: training, training.values.shape[1], 4, replace(RECIPE, lr=1e38))(
            training.values
        )


def test_logistic_regression_is_blind_to_scale_and_shift() -> None:
    training, test = features(2), features(2, samples=200)
    scale, shift = 10.0 ** torch.arange(-4, 4), 100 * torch.arange(8.0)
    plain = fit_logistic(training, 4)(test.values).argmax(1)
    stretched = Features(training.values.double() * scale + shift, training.labels)
    moved = fit_logistic(stretched, 4)(test.values.double() * scale + shift).argmax(1)
    assert accuracy(plain, moved) > 0.99


def test_one_label_of_each_of_many_classes_is_no_reason_to_warn() -> None:
    values = torch.eye(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = fit_logistic(Features(values, torch.arange(20)), 20)(values)
    assert scores.argmax(dim=1).tolist() == list(range(20))


def test_logistic_regression_predicts_the_labels_it_was_given() -> None:
    training = features(12)
    renamed = Features(training.values, training.labels * 3 + 2)
    scores = fit_logistic(renamed, 14)(training.values)
    assert torch.equal(scores.argmax(1), renamed.labels)
    seen = torch.isin(torch.arange(14), renamed.labels)
    assert torch.equal(scores.isfinite().all(0), seen)
    assert torch.equal((scores == -torch.inf).all(0), ~seen)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(scores)))


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_gives_logarithms_of_probabilities(classes: int) -> None:
    training = features(3, classes=classes)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(training.values.numpy(), training.labels.numpy())
    far = training.values.clone()
    far[0] *= 60  # some of its probabilities are 0 in float32
    expected = torch.from_numpy(model.predict_log_proba(far.double().numpy())).float()
    scores = fit_logistic(training, classes)(far)
    assert expected.min() < -110
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-4)


def test_sgd_draws_features_anew_every_epoch_and_repeats() -> None:
    calls = []

    def draw() -> Features:
        calls.append(1)
        return features(1)

    test = features(1, samples=400).values
    first = train_classifier(draw, test.shape[1], 4, RECIPE)(test)
    assert len(calls) == RECIPE.epochs
    torch.manual_seed(77)
    assert torch.equal(first, train_classifier(draw, test.shape[1], 4, RECIPE)(test))


def test_sgd_follows_its_schedule() -> None:
    """One full batch an epoch, so that every step can be written down."""
    training = features(1)
    test = torch.randn(5000, 8, generator=torch.Generator().manual_seed(1))
    recipe = ProbeRecipe(epochs=4, batch_size=1000, lr=1.0, drops=(1, 3), seed=4)
    torch.manual_seed(recipe.seed)
    classifier = Classifier(8, 4)
    weights = [classifier.weight, classifier.bias]
    speed = [torch.zeros(4, 8), torch.zeros(4)]
    for rate in (1.0, 0.1, 0.1, 0.01):
        scores = training.values @ weights[0].T + weights[1]
        loss = -scores.log_softmax(1)[torch.arange(240), training.labels].mean()
        for at, gradient in enumerate(torch.autograd.grad(loss, weights)):
            speed[at] = 0.9 * speed[at] + gradient
            weights[at].data -= rate * speed[at]
    expected = classifier(test).argmax(1)
    scores = train_classifier(lambda: training, test.shape[1], 4, recipe)(test)
    assert accuracy(scores.argmax(1), expected) > 0.999


def test_mamp_probe_follows_its_schedule() -> None:
    """Two batches an epoch and one sequence left over, all written down."""
    training = features(1)
    training = Features(training.values[:81], training.labels[:81])
    test = torch.randn(5000, 8, generator=torch.Generator().manual_seed(1))
    recipe = replace(PROBES["mamp"], epochs=3, batch_size=40, lr=0.7, seed=4)
    order = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    linear = ProbeHead(8, 4)[1]
    assert float(linear.weight.detach().abs().max()) < 0.05
    weights = [linear.weight.detach().clone(), linear.bias.detach().clone()]
    speed = [torch.zeros(4, 8), torch.zeros(4)]
    mean, var = torch.zeros(8), torch.ones(8)
    for epoch in range(3):
        rows = torch.randperm(81, generator=order)
        for step in range(2):
            batch = training.values[rows[40 * step : 40 * step + 40]]
            labels = training.labels[rows[40 * step : 40 * step + 40]]
            mean = 0.9 * mean + 0.1 * batch.mean(0)
            var = 0.9 * var + 0.1 * batch.var(0)
            normal = (batch - batch.mean(0)) / (batch.var(0, unbiased=False) + 1e-6).sqrt()
            for each in weights:
                each.requires_grad_()
            scores = normal @ weights[0].T + weights[1]
            loss = -scores.log_softmax(1)[torch.arange(40), labels].mean()
            gradients = torch.autograd.grad(loss, weights)
            rate = 0.7 * (1 + math.cos(math.pi * (epoch + step / 3) / 3)) / 2
            for at, gradient in enumerate(gradients):
                speed[at] = 0.9 * speed[at] + gradient
                weights[at] = weights[at].detach() - rate * speed[at]
    expected = (test - mean) / (var + 1e-6).sqrt() @ weights[0].T + weights[1]
    scores = train_classifier(lambda: training, test.shape[1], 4, recipe)(test)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-4)


def test_mamp_probe_needs_statistics() -> None:
    one = Features(torch.zeros(1, 8), torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\b2\b.*\b1$"):
        train_classifier(lambda: one, one.values.shape[1], 2, PROBES["mamp"])(one.values)
    with pytest.raises(ValueError, match=r"batch_size\b.*\b2\b.*\b1\b"):
        LinearSettings("mamp", probe=ProbeSettings(batch_size=1))
    assert LinearSettings("cmd", probe=ProbeSettings(batch_size=1)).recipe == replace(
        PROBES["cmd"], batch_size=1
    )


def test_a_probe_changes_what_it_names_alone() -> None:
    for solver, published in PROBES.items():
        assert LinearSettings(solver).recipe == published  # type: ignore[arg-type]
        changed = LinearSettings(solver, probe=ProbeSettings(batch_size=7, lr=0.5, seed=3)).recipe  # type: ignore[arg-type]
        assert changed == replace(published, batch_size=7, lr=0.5, seed=3)
    assert LinearSettings().recipe is None
    assert ProbeSettings(epochs=16).applied_to("cmd").drops == (10, 14)
    assert ProbeSettings(epochs=16, drops=(3,)).applied_to("cmd").drops == (3,)
    assert ProbeSettings(epochs=5).applied_to("pcm3").drops == (1, 2.5, 4)
    never = ProbeSettings(drops=()).applied_to("pcm3")
    assert {never.factor(epoch) for epoch in range(100)} == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"epochs\b.*\b0$"),
        ({"lr": 0.0}, r"lr\b.*\b0\.0$"),
        ({"batch_size": 0}, r"batch_size\b.*\b0$"),
    ],
)
def test_probes_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeSettings(**options)


@pytest.mark.parametrize("classes", [2, 5])
def test_one_linear_map_gives_the_probabilities_of_logistic_regression(classes: int) -> None:
    training, test = features(1, classes=classes), features(1, samples=50, classes=classes)
    scale = torch.logspace(-3, 3, 8)
    training, queries = Features(training.values * scale + 5, training.labels), test.values * scale
    head = logistic_head(training, classes, 0.5)
    expected = fit_logistic(training, classes, 0.5)(queries + 5)
    torch.testing.assert_close(head(queries + 5).log_softmax(dim=1), expected, atol=2e-3, rtol=1e-3)
    assert not head.weight.requires_grad
    with pytest.raises(ValueError, match=rf"{classes + 1} classes.*\[{classes}\]"):
        logistic_head(training, classes + 1)


def test_ridge_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(30, 5, generator=generator) * torch.tensor([1.0, 9, 1, 0.01, 0]) + 3
    labels = torch.arange(30) % 3
    new = torch.randn(8, 5, generator=generator) + 3
    scaler = StandardScaler().fit(values.double().numpy())
    slow = Ridge(alpha=2.0).fit(scaler.transform(values.double()), np.eye(4)[labels.numpy()])
    expected = slow.predict(scaler.transform(new.double()))
    scores = fit_ridge(Features(values, labels), 4, regularization=2.0)(new)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError):
        fit_ridge(Features(values * torch.nan, labels), 4)


@pytest.mark.parametrize("fit", [fit_logistic, fit_ridge, logistic_head])
def test_training_labels_are_those_of_known_classes(fit: Callable[..., Any]) -> None:
    values, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    fit(Features(values, labels), 3)
    for wrong in (-1, 3):  # -1 is no label
        with pytest.raises(ValueError, match=rf"labels in \[0, 3\), got {wrong} in row 5"):
            fit(Features(values, torch.tensor([0, 1, 2, 0, 1, wrong])), 3)
    for other in (Features(values, labels[:5]), Features(values[None], labels)):
        with pytest.raises(ValueError, match=r"features \(N, D\)"):
            fit(other, 3)
    for kind in ((values, labels), Features(values.numpy(), labels.numpy())):
        with pytest.raises(ValueError, match="expected"):
            fit(kind, 3)
