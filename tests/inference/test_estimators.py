"""Estimators of scikit-learn, and live recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.normalize import fill_center, normalize
from pcm3.data.store import Store
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import extract_features
from pcm3.hub import Pretrained, save_encoder
from pcm3.inference.classifier import Classifier
from pcm3.inference.estimators import ActionClassifier, PretrainedEncoder
from pcm3.inference.fit import fit_classifier
from pcm3.inference.streaming import StreamingClassifier
from pcm3.skeleton import NTU25

Fitted = Callable[..., Classifier]


@pytest.fixture(scope="module")
def raw() -> list[np.ndarray]:
    """The recordings of the store as the camera gave them (T, V, C)."""
    source = synthetic_sequences(sequences=96, classes=4, subjects=4, frames=(10, 40))
    return [recording.frames[:, 0] for recording in source]


@pytest.fixture
def run(tmp_path: Path, pretrained: Pretrained) -> Path:
    save_encoder(tmp_path / "run" / "encoder.safetensors", pretrained)
    return tmp_path / "run"


def test_features_are_those_of_the_store(
    run: Path, raw: list[np.ndarray], store: Store, pretrained: Pretrained
) -> None:
    expected = extract_features(pretrained, SkeletonDataset(store)).values.numpy()
    found = PretrainedEncoder(run).fit(raw).transform(raw)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    as_several = [frames[:, None] for frames in raw[:3]]
    found = PretrainedEncoder(run).fit_transform(as_several)
    np.testing.assert_allclose(found, expected[:3], atol=1e-6)


def test_pipelines_and_searches(run: Path, raw: list[np.ndarray], store: Store) -> None:
    rows = np.flatnonzero(store.labels >= 0)[:48]
    recordings = [raw[row] for row in rows]
    words = np.array(store.class_names)[store.labels[rows]]
    pipeline = make_pipeline(PretrainedEncoder(run), LogisticRegression(max_iter=500))
    scores = cross_val_score(pipeline, recordings, words, cv=2)
    assert scores.mean() > 0.4
    search = GridSearchCV(ActionClassifier(run), {"how": ["linear", "knn"]}, cv=2)
    search.fit(recordings, words)
    assert set(search.predict(recordings)) <= set(words)
    assert clone(search.best_estimator_).get_params() == search.best_estimator_.get_params()


@pytest.mark.parametrize("kind", ["words", "numbers"])
def test_the_classifier_is_the_one_of_the_store(
    run: Path, raw: list[np.ndarray], store: Store, pretrained: Pretrained, kind: str
) -> None:
    rows = np.flatnonzero(store.labels >= 0)
    labels = store.labels[rows] * 10 - 10
    if kind == "words":
        labels = np.array(["b", "c", "a", "d"])[store.labels[rows]]
    estimator = ActionClassifier(run, seed=1)
    estimator.fit([raw[row] for row in rows], labels, groups=store.columns["subjects"][rows])
    expected = fit_classifier(pretrained, store, rows, seed=1)
    probabilities = expected.predict_proba(store)
    order = [2, 0, 1, 3] if kind == "words" else [0, 1, 2, 3]
    found = estimator.predict_proba(raw)
    np.testing.assert_allclose(found, probabilities[:, order], atol=1e-4)
    assert estimator.classes_.tolist() == np.unique(labels).tolist()
    assert estimator.predict(raw).tolist() == estimator.classes_[found.argmax(axis=1)].tolist()
    assert estimator.predict(raw).dtype == labels.dtype
    assert estimator.classifier_.temperature == pytest.approx(expected.temperature, rel=1e-3)


def test_wrong_recordings_are_named(run: Path, raw: list[np.ndarray]) -> None:
    encoder = PretrainedEncoder(run).fit(raw)
    for bad, message in (
        (np.zeros((4, 7, 3)), r"recording 1.*V=25.*\(4, 7, 3\)"),
        (np.zeros((0, 25, 3)), r"recording 1.*\(0, 25, 3\)"),
        (np.full((4, 25, 3), np.nan), "recording 1.*finite"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder.transform([raw[0], bad])
    with pytest.raises(ValueError, match="2 labels, got 1"):
        ActionClassifier(run).fit(raw[:2], [0])
    with pytest.raises(NotFittedError):
        ActionClassifier(run).predict(raw[:2])


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 64, 25, 2), (1, 3, 2, 0)), ((2, 64, 25, 1), (1, 3, 2, 0))]
)
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_clips_of_the_library_are_no_recordings(
    shape: tuple[int, ...], axes: tuple[int, ...], kind: str
) -> None:
    """The axes of (C, T, V, M) fit those of (T, M, V, C) when M = 2: then 64 persons came."""
    clip = torch.randn(shape)
    encoder = PretrainedEncoder("pretrained", skeleton="ntu25").fit([])
    wrong = clip if kind == "tensor" else clip.numpy()
    with pytest.raises(ValueError, match="recording 0") as caught:
        encoder.transform([wrong])
    advice = f"pass recording.{'permute' if kind == 'tensor' else 'transpose'}{axes}"
    assert "(C, T, V, M)" in str(caught.value)
    assert advice in str(caught.value)
    assert encoder.transform([clip.permute(axes)]).shape == (1, 128)


def test_an_encoder_of_any_layout_takes_2_or_3_coordinates_of_each_recording() -> None:
    encoder = PretrainedEncoder("pretrained", skeleton="coco17").fit([])
    flat, deep = np.ones((4, 17, 2)), np.ones((4, 17, 3))
    assert encoder.transform([flat]).shape == encoder.transform([deep]).shape
    for wrong in ([np.ones((4, 17, 1))], [np.ones((4, 17, 4))], [flat, deep]):
        with pytest.raises(ValueError, match=f"recording {len(wrong) - 1}: expected"):
            encoder.transform(wrong)


def test_a_live_recording_has_the_label_of_its_latest_frames(
    raw: list[np.ndarray], fitted: Fitted
) -> None:
    classifier = fitted()
    stream, frames = StreamingClassifier(classifier, smoothing=1), np.concatenate(raw[:4])
    for number, frame in enumerate(frames):
        found = stream.push(frame)
        if number % 9 == 0:
            part = frames[max(0, number + 1 - classifier.window) : number + 1, None]
            centred = normalize(fill_center(part, NTU25), NTU25, "center")
            clip = torch.from_numpy(centred).permute(3, 0, 2, 1)[None]
            expected = classifier.predict_proba(clip)[0]
            np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
            assert found.label == classifier.name(expected)
            assert found.probability == pytest.approx(expected.max())
    stream.reset()
    again = StreamingClassifier(classifier).push(frames[3:4])
    np.testing.assert_array_equal(stream.push(frames[3]).probabilities, again.probabilities)


@pytest.mark.parametrize("smoothing", [None, 5])
def test_labels_are_those_of_the_mean_of_the_latest_probabilities(
    raw: list[np.ndarray], fitted: Fitted, smoothing: int | None
) -> None:
    classifier = fitted()
    single = StreamingClassifier(classifier, smoothing=1)
    stream = StreamingClassifier(classifier, smoothing)
    frames = np.concatenate(raw[:4])
    each = np.stack([single.push(frame).probabilities for frame in frames])
    wanted = smoothing or max(1, classifier.window // 8)
    assert wanted > 1
    found = [stream.push(frame) for frame in frames]
    for number, now in enumerate(found):
        mean = each[max(0, number + 1 - wanted) : number + 1].mean(axis=0)
        np.testing.assert_allclose(now.probabilities, mean, atol=1e-6)
        assert now.probability == pytest.approx(mean.max())
        assert now.label == classifier.name(mean)
    stream.reset()
    np.testing.assert_allclose(stream.push(frames[0]).probabilities, each[0], atol=1e-6)


def test_nobody_counts_for_nothing(raw: list[np.ndarray], fitted: Fitted) -> None:
    stream = StreamingClassifier(fitted(), smoothing=9)
    frames = np.zeros((3, 25, 3))
    assert [stream.push(frame).label for frame in frames] == ["unknown"] * 3
    found = stream.push(raw[1][0]).probabilities
    alone = StreamingClassifier(fitted(), smoothing=1)
    for frame in frames:
        alone.push(frame)
    np.testing.assert_array_equal(found, alone.push(raw[1][0]).probabilities)


def test_frames_that_do_not_fit(fitted: Fitted) -> None:
    stream = StreamingClassifier(fitted())
    for frame in (np.zeros((20, 3)), np.zeros((2, 25, 3)), np.zeros(3), np.zeros((25, 2))):
        with pytest.raises(ValueError, match="V=25, C=3"):
            stream.push(frame)
    with pytest.raises(ValueError, match="any-layout"):
        StreamingClassifier(fitted(), skeleton="coco17")
    with pytest.raises(ValueError, match="NaN"):
        stream.push(np.full((25, 3), np.nan))
    with pytest.raises(ValueError, match=r"Classifier.*str"):
        StreamingClassifier("classifier.safetensors")
    assert stream.push(np.zeros((25, 3))).label == "unknown"
    assert stream.push(np.ones((25, 3))).probability > 0
    turned = replace(fitted(), pretrained=fitted().pretrained._replace(normalization="isc"))
    with pytest.raises(ValueError, match="isc"):
        StreamingClassifier(turned)
    for smoothing in (0, 1.5):
        with pytest.raises(ValueError, match="smoothing"):
            StreamingClassifier(fitted(), smoothing)


def test_several_persons_at_once(store: Store) -> None:
    encoder = GRUEncoder(25, persons=2, hidden=8, layers=1, pool="mean").eval()
    classifier = fit_classifier(Pretrained(encoder, NTU25, "joint", 16, "center"), store)
    frame = np.random.default_rng(0).normal(size=(2, 25, 3))
    both = StreamingClassifier(classifier).push(frame).probabilities
    one = StreamingClassifier(classifier).push(frame[0]).probabilities
    assert not np.allclose(both, one)
    padded = np.stack([frame[0], np.zeros((25, 3))])
    np.testing.assert_array_equal(one, StreamingClassifier(classifier).push(padded).probabilities)


def test_errors_name_no_temporary_folder(run: Path, raw: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="2 classes") as caught:
        ActionClassifier(run).fit(raw[:4], ["a"] * 4)
    assert str(caught.value).startswith("expected labels")


def test_recordings_of_nobody_are_named(run: Path, raw: list[np.ndarray]) -> None:
    transformer = PretrainedEncoder(run).fit(raw)
    with pytest.raises(ValueError, match="recording 1: expected a body"):
        transformer.transform([raw[0], 0 * raw[1]])
    with pytest.raises(ValueError, match="one or more recordings"):
        transformer.transform([])


def test_scores_in_the_place_of_z_are_told(recwarn: pytest.WarningsRecorder) -> None:
    rng = np.random.default_rng(0)
    points = [rng.uniform(size=(20, 17, 2)).cumsum(axis=0) / 20 for _ in range(2)]
    scored = [np.concatenate([each, np.full((20, 17, 1), 0.9)], axis=-1) for each in points]
    encoder = PretrainedEncoder("pretrained", skeleton="coco17").fit([])
    encoder.transform(points)
    encoder.transform([each - 1 for each in scored])  # z may be negative
    assert not recwarn.list
    with pytest.warns(UserWarning, match="recording 0 looks like x, y and a score") as told:
        encoder.transform(scored)
    assert len(told) == 1
