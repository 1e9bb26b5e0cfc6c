"""The linear probes on features whose answer is known, and on a store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import Features, extract_features, extract_random_crops
from pcm3.evaluation.metrics import accuracy, confusion_matrix
from pcm3.evaluation.probes import PROBES, Probe, ProbeRecipe, logistic_probe, sgd_probe
from pcm3.evaluation.recognition import Linear, check_labels, evaluate_linear, summarize
from pcm3.evaluation.tasks.occlusion import evaluate_occlusion, evaluate_robustness
from pcm3.heads import Classifier, ProbeHead
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

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
        return logistic_probe(training, test, 4).argmax(1)
    return sgd_probe(lambda: training, test, 4, RECIPE).argmax(1)


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
    with pytest.raises(ValueError, match="training features, got NaN or infinity in row 31"):
        probe(kind, broken, test.values)
    if kind == "logistic":
        with pytest.raises(ValueError, match="finite features, got NaN or infinity in row 31"):
            probe(kind, training, broken.values)
        assert logistic_probe(training, test.values[:0], 4).shape == (0, 4)


def test_a_loss_that_is_no_number() -> None:
    training = features(2)
    with pytest.raises(ValueError, match=r"loss became .* in epoch \d; lower lr \(now 1e\+38\)"):
        sgd_probe(lambda: training, training.values, 4, replace(RECIPE, lr=1e38))


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    test = SkeletonDataset(generate(tmp_path / "store", sequences=4, classes=2, subjects=2))
    scores = torch.zeros(4, 2)
    scores[3, 0] = torch.nan
    with pytest.raises(ValueError, match="scores below infinity, got NaN or infinity in row 3"):
        summarize(scores, test)
    scores[3, 0] = -torch.inf
    assert summarize(scores, test)["details"]["predicted"][3] == 1


def test_logistic_probe_is_blind_to_scale_and_shift() -> None:
    training, test = features(2), features(2, samples=200)
    scale, shift = 10.0 ** torch.arange(-4, 4), 100 * torch.arange(8.0)
    plain = logistic_probe(training, test.values, 4).argmax(1)
    moved = logistic_probe(
        Features(training.values.double() * scale + shift, training.labels),
        test.values.double() * scale + shift,
        4,
    ).argmax(1)
    assert accuracy(plain, moved) > 0.99


def test_logistic_probe_predicts_the_labels_it_was_given() -> None:
    training = features(12)
    renamed = Features(training.values, training.labels * 3 + 2)
    scores = logistic_probe(renamed, training.values, 14)
    assert torch.equal(scores.argmax(1), renamed.labels)
    seen = torch.isin(torch.arange(14), renamed.labels)
    assert torch.equal(scores.isfinite().all(0), seen)
    assert torch.equal((scores == -torch.inf).all(0), ~seen)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(scores)))


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_probe_gives_logarithms_of_probabilities(classes: int) -> None:
    training = features(3, classes=classes)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(training.values.numpy(), training.labels.numpy())
    far = training.values.clone()
    far[0] *= 60  # some of its probabilities are 0 in float32
    expected = torch.from_numpy(model.predict_log_proba(far.double().numpy())).float()
    scores = logistic_probe(training, far, classes)
    assert expected.min() < -110
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-4)


def test_sgd_probe_draws_features_anew_every_epoch_and_repeats() -> None:
    calls = []

    def draw() -> Features:
        calls.append(1)
        return features(1)

    test = features(1, samples=400).values
    first = sgd_probe(draw, test, 4, RECIPE)
    assert len(calls) == RECIPE.epochs
    torch.manual_seed(77)
    assert torch.equal(first, sgd_probe(draw, test, 4, RECIPE))


def test_sgd_probe_follows_its_schedule() -> None:
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
    scores = sgd_probe(lambda: training, test, 4, recipe)
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
    scores = sgd_probe(lambda: training, test, 4, recipe)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-4)


def test_mamp_probe_needs_statistics() -> None:
    one = Features(torch.zeros(1, 8), torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="expected at least 2 training sequences, got 1"):
        sgd_probe(lambda: one, one.values, 2, PROBES["mamp"])
    with pytest.raises(ValueError, match="batch_size >= 2, got 1"):
        Linear("mamp", probe=Probe(batch_size=1))
    assert Linear("cmd", probe=Probe(batch_size=1)).recipe == replace(PROBES["cmd"], batch_size=1)


# --- on a store -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=48, classes=3, subjects=4, frames=(10, 30))


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=1, hidden=8, layers=1, pool="mean").eval()
    return Pretrained(encoder, NTU25, "joint", 16)


@pytest.fixture(scope="module")
def parts(store: Store) -> tuple[SkeletonDataset, SkeletonDataset]:
    training, test = split(store, "xsub")
    return SkeletonDataset(store, training), SkeletonDataset(store, test)


def test_logistic_evaluation_is_the_probe_on_the_features(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset]
) -> None:
    training, test = (extract_features(pretrained, part) for part in parts)
    metrics = evaluate_linear(pretrained, *parts, Linear(regularization=0.3))
    predicted = logistic_probe(training, test.values, 3, 0.3).argmax(1)
    right = (predicted == test.labels).numpy()
    assert metrics["top1"] == pytest.approx(right.mean())
    assert metrics["per_class"] == pytest.approx(
        [right[parts[1].labels == label].mean() for label in range(3)]
    )
    assert metrics["details"]["predicted"] == predicted.tolist()
    assert metrics["details"]["labels"] == test.labels.tolist()
    assert metrics["details"]["confusion"] == confusion_matrix(predicted, test.labels, 3)


@pytest.mark.parametrize(
    "settings",
    [
        Linear("pcm3", probe=Probe(epochs=8, batch_size=8, lr=1.0, drops=(6,))),
        Linear("mamp", probe=Probe(epochs=8, batch_size=8, lr=0.5)),
    ],
)
def test_sgd_evaluation_repeats_and_beats_chance(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset], settings: Linear
) -> None:
    first = evaluate_linear(pretrained, *parts, settings)
    assert first == evaluate_linear(pretrained, *parts, settings)
    assert first["top1"] > 0.5


class Ramp(SkeletonDataset):
    """Every coordinate is its frame's number, so that a crop can be read off the result."""

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        batch = super().__getitems__(indices)
        frames = torch.arange(batch.clips.shape[2]).float()
        ramp = frames[:, None, None].expand_as(batch.clips)
        return batch._replace(clips=ramp.contiguous())


def test_random_crops_keep_half_to_all_of_the_frames(
    tmp_path: Path, pretrained: Pretrained
) -> None:
    ramp = Ramp(generate(tmp_path / "long", sequences=40, classes=2, frames=(160, 200)))
    seen: list[Tensor] = []
    handle = pretrained.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        drawn = extract_random_crops(pretrained, ramp, generator)
        assert drawn.labels.tolist() == ramp.labels.tolist()
    handle.remove()
    first, second = (clips[:, 0, :, 0, 0] for clips in seen)
    for frames in (first, second):
        step = (frames[:, -1] - frames[:, 0]) / 15  # 16 frames come out
        share = step * 16 / torch.from_numpy(ramp.lengths)
        assert 0.48 < float(share.min()) < 0.6
        assert 0.9 < float(share.max()) <= 1.001
    assert not (first == second).all(dim=1).any()


def test_mamp_probe_also_turns_bodies(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset]
) -> None:
    seen: list[Tensor] = []
    handle = pretrained.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    evaluate_linear(pretrained, *parts, Linear("cmd", probe=Probe(epochs=1)))
    evaluate_linear(pretrained, *parts, Linear("mamp", probe=Probe(epochs=1)))
    handle.remove()
    plain, test, turned, again = seen
    assert torch.equal(test, again)
    torch.testing.assert_close(turned.norm(dim=1), plain.norm(dim=1))  # about the origin
    apart = (turned * plain).sum(dim=(1, 2, 3, 4)) / plain.square().sum(dim=(1, 2, 3, 4))
    assert 0.8 < float(apart.min()) < 0.99  # cosines of up to 0.3 radians thrice


@pytest.mark.parametrize("solver", ["logistic", "pcm3", "mamp"])
def test_sequences_without_a_label_cannot_be_evaluated(
    store: Store, pretrained: Pretrained, solver: str
) -> None:
    good, bad = SkeletonDataset(store), SkeletonDataset(store)
    bad.labels = np.where(np.arange(len(store)) == 5, -1, store.labels)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match="sequence 5 has no label"):
            evaluate_linear(pretrained, *pair, Linear(solver))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"solver": "svm"}, "expected a solver among .*got 'svm'"),
        ({"regularization": 0.0}, "expected regularization > 0, got 0.0"),
        ({"solver": "sgd"}, "expected a solver among .*got 'sgd'"),
        ({"probe": Probe(epochs=3)}, "probe has no effect on solver logistic"),
        ({"probe": Probe(seed=3)}, "probe has no effect on solver logistic"),
        ({"solver": "pcm3", "regularization": 2.0}, "regularization has no effect on solver pcm3"),
        ({"solver": "mamp-pku2", "probe": Probe(drops=(3,))}, "drops have no effect on mamp-pku2"),
        (
            {"solver": "pcm3", "probe": Probe(epochs=5, drops=(3, 5))},
            r"drops in \[0, epochs=5\), got \[5\]",
        ),
        ({"solver": "cmd", "probe": Probe(drops=(80,))}, r"drops in \[0, epochs=80\), got \[80\]"),
    ],
)
def test_settings_out_of_range_or_without_effect(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Linear(**wrong)


def test_a_probe_changes_what_it_names_alone() -> None:
    for solver, published in PROBES.items():
        assert Linear(solver).recipe == published  # type: ignore[arg-type]
        changed = Linear(solver, probe=Probe(batch_size=7, lr=0.5, seed=3)).recipe  # type: ignore[arg-type]
        assert changed == replace(published, batch_size=7, lr=0.5, seed=3)
    assert Linear().recipe is None
    assert Probe(epochs=16).applied_to("cmd").drops == (10, 14)
    assert Probe(epochs=16, drops=(3,)).applied_to("cmd").drops == (3,)
    assert Probe(epochs=5).applied_to("pcm3").drops == (1, 2.5, 4)
    never = Probe(drops=()).applied_to("pcm3")
    assert {never.factor(epoch) for epoch in range(100)} == {1}


def test_what_is_said_of_a_published_protocol(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset]
) -> None:
    settings = Linear("pcm3", probe=Probe(epochs=2, batch_size=9))
    (note,) = evaluate_linear(pretrained, *parts, settings)["details"]["notes"]
    for part in ("2 epochs", "batch 9", "lr 0.1", "0.4 1 1.6"):
        assert part in note
    assert "cosine" in str(PROBES["mamp-pku2"])
    assert "no epoch" in str(replace(PROBES["cmd"], drops=()))
    assert evaluate_linear(pretrained, *parts)["details"]["notes"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs > 0, got 0"),
        ({"lr": 0.0}, "lr > 0, got 0.0"),
        ({"batch_size": 0}, "batch_size > 0, got 0"),
    ],
)
def test_probes_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Probe(**options)


def test_test_classes_that_were_kept_out(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=24, classes=4, subjects=2, frames=(10, 20))
    known, unknown = (SkeletonDataset(store, rows) for rows in split(store, "labels:0-1"))
    with pytest.raises(ValueError, match=r"none of the 2 in .*store has any: evaluate fewshot"):
        check_labels(known, unknown)
    check_labels(known, SkeletonDataset(store))
    check_labels(unknown)
    with pytest.raises(ValueError, match=r"expected labelled sequences, got none of .*store"):
        check_labels(known, SkeletonDataset(store, []))


def test_a_training_part_of_one_class(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=24, classes=4, subjects=2, frames=(10, 20))
    alone = SkeletonDataset(store, np.flatnonzero(store.labels == 2))
    pretrained = Pretrained(GRUEncoder(25, persons=1, hidden=4, layers=1), NTU25, "joint", 8)
    message = (
        rf"2 classes, got 1 \('{store.class_names[2]}'\) in the 6 training sequences of .*store"
    )
    for evaluate in (evaluate_linear, evaluate_occlusion, evaluate_robustness):
        with pytest.raises(ValueError, match=message):
            evaluate(pretrained, alone, SkeletonDataset(store))
