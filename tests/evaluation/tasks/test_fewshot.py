"""Few-shot episodes: how they are drawn, and accuracies against a slow re-computation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize
from sklearn.svm import SVC

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.protocols import NTU120_PROTOCOLS
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate
from pcm3.evaluation.evaluate import evaluate_runs
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.tasks import fewshot
from pcm3.evaluation.tasks.fewshot import (
    FewShotSettings,
    draw_episodes,
    evaluate_fewshot,
    published_protocol,
)
from pcm3.hub import Pretrained, save_encoder
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import NTU25
from pcm3.training.pretrain import pretrain


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=72, classes=6, frames=(10, 20))


@pytest.fixture(scope="module")
def data(store: Store) -> SkeletonDataset:
    return SkeletonDataset(store)


# --- episodes -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    ways=st.integers(2, 5),
    shots=st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True),
    queries=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_episodes_are_disjoint_and_of_distinct_classes(
    ways: int, shots: list[int], queries: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat([3, 1, 8, 2, 5, 9], 10))
    chosen = FewShotSettings(ways, tuple(shots), queries, episodes=8, seed=seed)
    episodes = list(draw_episodes(labels, [1, 2, 3, 5, 8], chosen))
    assert len(episodes) == 8
    for support, query in episodes:
        assert support.shape == (ways, max(shots))
        assert query.shape == (ways, queries)
        rows = np.concatenate([support, query], axis=1)
        assert len(np.unique(rows)) == rows.size
        classes = labels[rows]
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == ways
        assert 9 not in classes
    again = draw_episodes(labels, [1, 2, 3, 5, 8], chosen)
    for first, second in zip(episodes, again, strict=True):
        np.testing.assert_array_equal(np.hstack(first), np.hstack(second))


def test_classes_and_sequences_are_drawn_evenly() -> None:
    labels = np.repeat(np.arange(6), 12)
    count = np.zeros(72)
    episodes = list(
        draw_episodes(labels, list(range(6)), FewShotSettings(3, (2,), 4, episodes=1500))
    )
    for support, query in episodes:
        count[support] += 1
        count[query] += 1
    assert abs(count / 1500 - 3 / 6 * 6 / 12).max() < 0.05
    other = next(draw_episodes(labels, list(range(6)), FewShotSettings(3, (2,), 4, seed=1)))
    assert not np.array_equal(np.hstack(other), np.hstack(episodes[0]))


# --- accuracies -----------------------------------------------------------------------------------


def test_accuracies_equal_a_slow_computation(pretrained: Pretrained, data: SkeletonDataset) -> None:
    chosen = FewShotSettings(
        ways=4, shots=(2, 5), queries=6, episodes=12, classes=(5, 0, 1, 2, 4), seed=3
    )
    result = evaluate_fewshot(pretrained, data, data, chosen)
    assert result == evaluate_fewshot(pretrained, data, data, chosen)
    assert result["details"]["classes"] == [0, 1, 2, 4, 5]
    features = normalize(extract_features(pretrained, data).values.double().numpy())
    models = {
        "svm": SVC(kernel="linear", C=1, break_ties=True),
        "centroid": NearestCentroid(),
        "logistic": LogisticRegression(C=1),
    }
    for shots in (2, 5):
        for name, model in models.items():
            shares = []
            for support, query in draw_episodes(data.labels, [0, 1, 2, 4, 5], chosen):
                examples = support[:, :shots].ravel()
                model.fit(features[examples], data.labels[examples])
                right = model.predict(features[query.ravel()]) == data.labels[query.ravel()]
                shares.append(right.mean())
            key = f"{name}_{shots}shot"
            assert result["details"]["episodes"][key] == pytest.approx(shares)
            assert result[key] == pytest.approx(np.mean(shares))
            half = 1.96 * np.sqrt(np.mean((shares - np.mean(shares)) ** 2) / 12)
            assert result[f"{key}_ci95"] == pytest.approx(half)
            assert 0 < half < 0.2
    assert result["svm_5shot"] > 0.5
    json.dumps(result)


def known(monkeypatch: pytest.MonkeyPatch, data: SkeletonDataset, separation: float) -> None:
    """Features along an axis for each class, of any length."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(len(data), 8, generator=generator)
    values[torch.arange(len(data)), torch.from_numpy(data.labels)] += separation
    values *= 10 ** torch.empty(len(data), 1).uniform_(-3, 3, generator=generator)
    made = Features(values, torch.from_numpy(data.labels))
    monkeypatch.setattr(fewshot, "extract_features", lambda *_: made)


def test_separable_classes_and_noise(
    monkeypatch: pytest.MonkeyPatch, pretrained: Pretrained, data: SkeletonDataset
) -> None:
    chosen = FewShotSettings(ways=5, shots=(1, 5), queries=7, episodes=60)
    known(monkeypatch, data, 40)
    result = evaluate_fewshot(pretrained, data, data, chosen)
    names = [f"{each}_{shots}shot" for each in chosen.classifiers for shots in (1, 5)]
    assert result.keys() == {*names, *(f"{name}_ci95" for name in names), "details"}
    assert all(result[name] == 1 and result[f"{name}_ci95"] == 0 for name in names)
    known(monkeypatch, data, 0)
    result = evaluate_fewshot(pretrained, data, data, chosen)
    assert all(abs(result[name] - 0.2) < 0.05 for name in names)


def test_one_shot_svm_is_the_nearest_example(
    monkeypatch: pytest.MonkeyPatch, pretrained: Pretrained, data: SkeletonDataset
) -> None:
    known(monkeypatch, data, 2)
    chosen = FewShotSettings(
        ways=2, shots=(1,), queries=11, episodes=40, classifiers=("svm", "centroid")
    )
    result = evaluate_fewshot(pretrained, data, data, chosen)
    assert result["svm_1shot"] == result["centroid_1shot"]


# --- classes --------------------------------------------------------------------------------------


def test_classes_with_too_few_sequences_are_left_out(pretrained: Pretrained, store: Store) -> None:
    kept = np.flatnonzero((store.labels != 2) | (np.arange(len(store)) < 40))
    few = SkeletonDataset(store, kept)
    chosen = FewShotSettings(ways=3, shots=(2,), queries=10, episodes=2)
    details = evaluate_fewshot(pretrained, few, few, chosen)["details"]
    assert details["classes"] == [0, 1, 3, 4, 5]
    assert details["left_out"] == [2]
    (note,) = details["notes"]
    assert note.startswith("1 of 6 classes have fewer than 12 sequences (2 shots and 10 queries)")
    assert note.endswith(f": {few.class_names[2]}")
    count = int((few.labels == 2).sum())
    asked = FewShotSettings(ways=3, shots=(2,), queries=10, classes=(0, 2, 5, 77))
    message = (
        rf"12 sequences \(2 shots and 10 queries\) of every given class, got {count} of class 2"
    )
    with pytest.raises(ValueError, match=f"{message}, 0 of class 77"):
        evaluate_fewshot(pretrained, few, few, asked)


def test_too_few_classes(pretrained: Pretrained, data: SkeletonDataset) -> None:
    with pytest.raises(
        ValueError,
        match=r"at least 5 classes with 20 sequences \(5 shots and 15 queries\), got 0 of 6; try "
        "--queries 7$",
    ):
        evaluate_fewshot(pretrained, data, data)
    evaluate_fewshot(pretrained, data, data, FewShotSettings(queries=7, episodes=1))
    with pytest.raises(
        ValueError, match=r"expected at least 8 classes .*, got 6 of 6; try --ways 6$"
    ):
        evaluate_fewshot(pretrained, data, data, FewShotSettings(ways=8, shots=(1,), queries=2))
    with pytest.raises(ValueError, match=r"got 0 of 6; the largest class has 12$"):
        evaluate_fewshot(pretrained, data, data, FewShotSettings(shots=(12,)))
    with pytest.raises(ValueError, match=r"at least 5 classes with 7 sequences .*, got 2"):
        evaluate_fewshot(
            pretrained, data, data, FewShotSettings(shots=(2,), queries=5, classes=(1, 2))
        )


def test_sequences_without_a_label(pretrained: Pretrained, store: Store) -> None:
    bad = SkeletonDataset(store)
    bad.labels = np.where(np.arange(len(store)) == 5, -1, store.labels)
    with pytest.raises(ValueError, match="sequence 5 has no label"):
        evaluate_fewshot(pretrained, bad, bad)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ways": 1}, "expected ways >= 2, got 1"),
        ({"shots": (5, 0)}, "expected shots >= 1, got 0"),
        ({"queries": 0}, "expected queries >= 1, got 0"),
        ({"episodes": 0}, "expected episodes >= 1, got 0"),
        ({"classifiers": ("svm", "tree")}, "among svm, centroid, logistic, got .*tree"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FewShotSettings(**wrong)


CLASSES = (5, 60, 61, 62, 66, 115)  # those of the survey are 60, 61, 66 and 115
EPISODES = FewShotSettings(ways=3, shots=(1,), queries=2, episodes=3)


@pytest.fixture(scope="module")
def ntu120(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Six classes of NTU RGB+D 120, five sequences each in either half; one class has three."""
    rng = np.random.default_rng(0)
    out = tmp_path_factory.mktemp("data") / "ntu120"
    names, protocols = [f"a{number}" for number in range(120)], dict(NTU120_PROTOCOLS)
    about: dict[str, Any] = {"class_names": names, "protocols": protocols}
    with StoreWriter(out, NTU25, normalization="center", **about) as writer:
        for label in CLASSES:
            for setup in (1, 2):
                for number in range(3 if label == 66 else 5):
                    frames = rng.normal(size=(9, 1, 25, 3)).astype(np.float32)
                    columns = {"setups": setup, "subjects": 1 + 2 * number}
                    writer.add(frames, label, name=f"{label}-{setup}-{number}", **columns)
    return Store(out)


def test_classes_on_ntu_120_are_the_published_ones(pretrained: Pretrained, ntu120: Store) -> None:
    test = SkeletonDataset(ntu120, split(ntu120, "xset")[1])

    def drawn(**changes: Any) -> tuple[list[int], list[str]]:
        details = evaluate_fewshot(pretrained, test, test, replace(EPISODES, **changes))["details"]
        return details["classes"], details["notes"]

    assert drawn() == ([60, 61, 66, 115], ["4 of the 23 classes ntu120-unseen"])
    assert drawn(queries=3)[0] == [60, 61, 115]  # the third has too few
    assert drawn(classes="all") == ([*CLASSES], [])
    assert drawn(classes=(5, 60, 62)) == ([5, 60, 62], [])
    with pytest.raises(ValueError, match="of every given class, got 0 of class 69"):
        drawn(classes="ntu120-unseen")


def test_default_classes_elsewhere_are_all(pretrained: Pretrained, data: SkeletonDataset) -> None:
    details = evaluate_fewshot(pretrained, data, data, EPISODES)["details"]
    assert (details["classes"], details["notes"]) == ([*range(6)], [])
    for wrong in ((), "ntu60"):
        with pytest.raises(ValueError, match="classes"):
            FewShotSettings(classes=wrong)  # type: ignore[arg-type]


def test_default_protocol(
    pretrained: Pretrained, store: Store, ntu120: Store, tmp_path: Path
) -> None:
    """xset on NTU RGB+D 120, for encoders that were trained elsewhere."""

    def protocol(path: Path, data: Store) -> str:
        return evaluate_runs("fewshot", [path], data, settings=EPISODES).protocol

    model = PCM3Settings(hidden=4, layers=1, frames=8, decoder_hidden=4, queue_size=8)
    train = TrainSettings(epochs=0, batch_size=2, accelerator="cpu")
    for name, data, trained_by in (("xsub", store, "xsub"), ("own", ntu120, "setups:1")):
        pretrain(RunSettings(model, train, trained_by), data, tmp_path / name, quiet=True)
    save_encoder(tmp_path / "alone.safetensors", pretrained)
    assert protocol(tmp_path / "xsub", ntu120) == "xset"
    assert protocol(tmp_path / "alone.safetensors", ntu120) == "xset"
    assert protocol(tmp_path / "own", ntu120) == "setups:1"
    assert protocol(tmp_path / "xsub", store) == "xsub"
    asked = evaluate_runs("fewshot", [tmp_path / "xsub"], ntu120, "setups:1", EPISODES)
    assert asked.protocol == "setups:1"
    assert published_protocol(store) is None
    with pytest.raises(ValueError, match="does not record the protocol"):
        protocol(tmp_path / "alone.safetensors", store)


def test_classes_that_pretraining_has_seen_are_noted(
    pretrained: Pretrained, store: Store, tmp_path: Path
) -> None:
    model = PCM3Settings(hidden=4, layers=1, frames=8, decoder_hidden=4, queue_size=8)
    train = TrainSettings(epochs=1, batch_size=2, accelerator="cpu")
    pretrain(RunSettings(model, train, "xsub"), store, tmp_path / "run", quiet=True)
    save_encoder(tmp_path / "alone.safetensors", pretrained)
    result = evaluate_runs("fewshot", [tmp_path / "run"], store, settings=EPISODES)
    classes = result.details["classes"]
    trained = set(store.labels[split(store, "xsub")[0]].tolist())
    count = len(trained.intersection(classes))
    assert count > 0
    assert any(
        f"seen sequences of {count} of the {len(classes)} classes" in x for x in result.notes
    )
    alone = evaluate_runs("fewshot", [tmp_path / "alone.safetensors"], store, "xsub", EPISODES)
    assert not any("seen sequences of" in note for note in alone.notes)


@pytest.mark.parametrize(
    ("classes", "ways"), [([0, 1, 2], 3), ([0, 1, 9], 3), ([0, 1], 3)]
)  # of 2 only two sequences, none of 9, two classes
def test_episodes_need_enough_sequences(classes: list[int], ways: int) -> None:
    labels = np.repeat([0, 1, 2], [9, 9, 2])
    settings = FewShotSettings(ways=ways, shots=(1,), queries=4, episodes=2)
    with pytest.raises(ValueError, match=f"at least {ways} classes"):
        next(draw_episodes(labels, classes, settings))
    assert len(list(draw_episodes(labels, [0, 1], replace(settings, ways=2)))) == 2
