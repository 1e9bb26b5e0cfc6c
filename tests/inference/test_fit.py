"""Classifiers predict what a slow computation from the same features predicts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.encoders import GRUEncoder, TransformerEncoder
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.recognizer import recognition_scores
from pcm3.evaluation.tasks.finetune import FinetuneSettings, finetune
from pcm3.hub import Pretrained
from pcm3.inference.classifier import Classifier, How
from pcm3.inference.fit import fit_classifier
from pcm3.skeleton import NTU25

Fitted = Callable[..., Classifier]
EPOCHS = FinetuneSettings(epochs=3)


def labelled(store: Store, indices: np.ndarray) -> np.ndarray:
    return indices[store.labels[indices] >= 0]


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def features_of(pretrained: Pretrained, store: Store) -> np.ndarray:
    return extract_features(pretrained, SkeletonDataset(store)).values.double().numpy()


def test_linear_is_logistic_regression(
    fitted: Fitted, store: Store, training: np.ndarray, pretrained: Pretrained
) -> None:
    found = fitted("linear")
    values, rows = features_of(pretrained, store), labelled(store, training)
    scaler = StandardScaler().fit(values[rows])
    regression = LogisticRegression(max_iter=2000)
    regression.fit(scaler.transform(values[rows]), store.labels[rows])
    scores = regression.decision_function(scaler.transform(values))
    expected = softmax(scores / found.temperature)
    np.testing.assert_allclose(found.predict_proba(store), expected, atol=3e-4)
    assert found.predict(store, threshold=0) == [
        store.class_names[label] for label in expected.argmax(axis=1)
    ]
    assert found.class_names == store.class_names


def test_neighbours_vote_by_similarity(
    fitted: Fitted, store: Store, training: np.ndarray, pretrained: Pretrained
) -> None:
    found = fitted("knn")
    values, rows = features_of(pretrained, store), labelled(store, training)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    expected = np.zeros((len(store), 4))
    for query in range(len(store)):
        for row in rows:
            vote = np.exp(values[query] @ values[row] / found.temperature)
            expected[query, store.labels[row]] += vote
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.predict_proba(store), expected, atol=2e-4)


def test_finetuned_weights_are_kept(
    fitted: Fitted, store: Store, training: np.ndarray, pretrained: Pretrained
) -> None:
    before = copy.deepcopy(pretrained.encoder.state_dict())
    found = fitted("finetune")
    part = SkeletonDataset(store, labelled(store, training))
    model = finetune(pretrained, part, EPOCHS).model
    scores = recognition_scores(pretrained, model, SkeletonDataset(store))
    expected = softmax(scores.numpy() / found.temperature)
    np.testing.assert_allclose(found.predict_proba(store), expected, atol=1e-5)
    tuned = found.pretrained.encoder.state_dict()
    assert any(not torch.equal(tuned[name], before[name]) for name in before)
    assert all(torch.equal(pretrained.encoder.state_dict()[name], before[name]) for name in before)


def test_a_head_on_tokens(store: Store, training: np.ndarray) -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(NTU25, persons=1, frames=8, width=8, depth=1, heads=2).eval()
    pretrained = Pretrained(encoder, NTU25, "motion", 8, "center")
    found = fit_classifier(pretrained, store, training, how="finetune", settings=EPOCHS)
    part = SkeletonDataset(store, labelled(store, training))
    model = finetune(pretrained, part, EPOCHS).model
    scores = recognition_scores(pretrained, model, SkeletonDataset(store))
    expected = softmax(scores.numpy() / found.temperature)
    np.testing.assert_allclose(found.predict_proba(store), expected, atol=1e-5)
    clips, lengths, _, _ = SkeletonDataset(store).batch(range(len(store)))
    np.testing.assert_allclose(found.predict_proba(clips, lengths), expected, atol=1e-5)


@pytest.mark.parametrize("how", ["linear", "knn", "finetune"])
def test_clips_are_classified_as_the_store_is(fitted: Fitted, store: Store, how: How) -> None:
    found = fitted(how)
    clips, lengths, _, _ = SkeletonDataset(store).batch(range(len(store)))
    whole = found.predict_proba(store)
    np.testing.assert_allclose(found.predict_proba(clips, lengths), whole, atol=1e-5)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)


def test_long_recordings_count_by_the_mean_of_their_windows(
    fitted: Fitted, store: Store, tmp_path: Path
) -> None:
    """The scores of all windows with a head on tokens, the features of all windows otherwise."""
    frames = np.concatenate([store.sequence(index) for index in range(20)])[:420]
    with StoreWriter(
        tmp_path / "long", NTU25, class_names=(), fps=30, normalization="center"
    ) as writer:
        writer.add(frames)
    long = Store(tmp_path / "long")
    found = fitted("linear")
    windows = SkeletonDataset(long, window=300)
    values = extract_features(found.pretrained, windows).values.mean(dim=0, keepdim=True)
    expected = softmax(found.head(values).numpy() / found.temperature)
    np.testing.assert_allclose(found.predict_proba(long), expected, atol=1e-5)


def test_words_and_integers_are_labels(
    store: Store, training: np.ndarray, pretrained: Pretrained
) -> None:
    for column, names in (("arms", ("high", "low")), ("quality", ("3", "7"))):
        found = fit_classifier(pretrained, store, training, label=column)
        assert (found.class_names, found.label) == (names, column)
        values = np.array([str(value) for value in store.values(column)])
        rows = training[np.isin(values[training], names)]
        assert found.made["recordings"] == len(rows)
        assert found.made["unlabelled"] == len(training) - len(rows) > 0
        scaler = StandardScaler().fit(features_of(pretrained, store)[rows])
        regression = LogisticRegression(max_iter=2000)
        regression.fit(scaler.transform(features_of(pretrained, store)[rows]), values[rows])
        expected = regression.predict(scaler.transform(features_of(pretrained, store)))
        assert found.predict(store, threshold=0) == expected.tolist()


def test_recordings_outside_the_training_part_change_nothing(
    store: Store, training: np.ndarray, pretrained: Pretrained, fitted: Fitted, tmp_path: Path
) -> None:
    with StoreWriter(
        tmp_path / "other", NTU25, class_names=store.class_names, fps=30, normalization="center"
    ) as writer:
        for index in range(len(store)):
            frames, label = store.sequence(index), int(store.labels[index])
            if index not in training:
                frames, label = frames[::-1] * 2, (label + 1) % 4
            writer.add(frames, label, subjects=int(store.columns["subjects"][index]))
    other = fit_classifier(pretrained, Store(tmp_path / "other"), training)
    found = fitted("linear")
    assert torch.equal(other.head.weight, found.head.weight)
    assert (other.temperature, other.threshold) == (found.temperature, found.threshold)


def write(path: Path, labels: list[int], store: Store, **columns: Any) -> Store:
    with StoreWriter(
        path, NTU25, class_names=["a", "b", "c"], fps=30, normalization="center"
    ) as writer:
        for index, label in enumerate(labels):
            of_it = {name: values[index] for name, values in columns.items()}
            writer.add(store.sequence(index), label, **of_it)
    return Store(path)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([-1, -1, -1], {}, "with a label.* none in the 3"),
        ([0, 0, 0], {}, "2 classes.*'a'"),
        ([0, 0, 1, 2, 2], {}, "2 recordings of each class.*'b'"),
        ([0, 0, 1, 1], {"label": "correct"}, "column.*'correct'"),
        ([0, 0, 1, 1], {"how": "forest"}, "how.*'forest'"),
    ],
    ids=["no label", "one class", "one recording", "no column", "no such way"],
)
def test_what_cannot_be_learnt(
    tmp_path: Path,
    store: Store,
    pretrained: Pretrained,
    labels: list[int],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_classifier(pretrained, write(tmp_path / "few", labels, store), **options)


def test_another_encoder_is_refused(store: Store, pretrained: Pretrained) -> None:
    with pytest.raises(ValueError, match="normalization 'isc'"):
        fit_classifier(pretrained._replace(normalization="isc"), store)
    flat = Pretrained(GRUEncoder(25, 2, 1, hidden=4, layers=1), NTU25, "joint", 16)
    with pytest.raises(ValueError, match="C=2"):
        fit_classifier(flat, store)


def test_the_normalization_is_that_of_the_store(
    store: Store, training: np.ndarray, pretrained: Pretrained, fitted: Fitted
) -> None:
    """Even if the encoder does not know its own, so that new recordings are prepared alike."""
    found = fit_classifier(pretrained._replace(normalization=None), store, training)
    assert found.pretrained.normalization == "center"
    assert torch.equal(found.head.weight, fitted("linear").head.weight)
    assert found.made["folds"] == "by subject"


def test_duplicates_are_no_label(store: Store) -> None:
    from pcm3.inference.labels import read_labels

    with pytest.raises(ValueError, match=r"among (?!.*duplicate_of,).*got 'duplicate_of'"):
        read_labels(store, "duplicate_of")


def test_classes_are_counted_out_of_fold(
    tmp_path: Path, store: Store, pretrained: Pretrained
) -> None:
    """The last class is of one subject, so that nothing of it is left when that is left out."""
    labels = [*([0, 1] * 10), 2, 2]
    subjects = [*(number % 5 for number in range(20)), 4, 4]
    some = write(tmp_path / "some", labels, store, subjects=subjects)
    made = fit_classifier(pretrained, some).made
    assert (made["folds"], made["not_by_subject"]) == ("by subject", "")
    counts = made["by_class"]
    assert {name: each["judged"] for name, each in counts.items()} == {"a": 10, "b": 10, "c": 0}
    assert counts["c"]["labelled"] == 2
    right = sum(each["right"] for each in counts.values())
    assert right / 20 == pytest.approx(made["out_of_fold"]["accuracy"])
    values, truth = features_of(pretrained, some), np.array(labels)
    expected = 0
    for subject in range(5):
        inside = np.array(subjects) != subject
        scaler = StandardScaler().fit(values[inside])
        model = LogisticRegression(max_iter=2000).fit(
            scaler.transform(values[inside]), truth[inside]
        )
        held_out = ~inside & (truth < 2)
        expected += int(
            (model.predict(scaler.transform(values[held_out])) == truth[held_out]).sum()
        )
    assert right == expected
    unknown = write(tmp_path / "unknown", labels, store, subjects=[-1, *subjects[1:]])
    made = fit_classifier(pretrained, unknown).made
    assert made["folds"] == "by recording"
    assert made["not_by_subject"]
