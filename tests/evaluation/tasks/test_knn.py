"""Retrieval on a store against brute force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brute_force import brute_force
from old_stores import edit_meta

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.tasks.knn import KnnSettings, evaluate_knn
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=36, classes=3, subjects=4, frames=(10, 30))


@pytest.mark.parametrize("k", [1, 5])
def test_evaluation_equals_brute_force_on_the_features(
    store: Store, pretrained: Pretrained, k: int
) -> None:
    training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
    gallery, queries = (extract_features(pretrained, part) for part in (training, test))
    predicted = np.array(
        brute_force(gallery.values.numpy(), gallery.labels.numpy(), queries.values.numpy(), k)
    )
    right = predicted == test.labels
    metrics = evaluate_knn(pretrained, training, test, KnnSettings(k=k))
    assert metrics["vote"] == pytest.approx(right.mean())
    assert metrics["details"]["per_class"]["vote"] == pytest.approx(
        [right[test.labels == label].mean() for label in range(3)]
    )


def test_evaluation_tells_what_was_taken_for_what(store: Store, pretrained: Pretrained) -> None:
    training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
    metrics = evaluate_knn(pretrained, training, test)
    details = metrics["details"]
    assert details["labels"] == test.labels.tolist()
    counts = np.zeros((3, 3), int)
    for label, predicted in zip(details["labels"], details["predicted"], strict=True):
        counts[label, predicted] += 1
    assert details["confusion"] == counts.tolist()
    assert counts.trace() / len(test) == pytest.approx(metrics["top1"])


@pytest.mark.parametrize("k", [1, 4])
def test_retrieval_equals_a_slow_one(store: Store, pretrained: Pretrained, k: int) -> None:
    training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
    chosen = KnnSettings(k=k, recall_at=(2, 500), examples=3, seed=1)
    metrics = evaluate_knn(pretrained, training, test, chosen)
    assert metrics == evaluate_knn(pretrained, training, test, chosen)
    once = evaluate_knn(pretrained, training, test, KnnSettings(k=1))
    assert (metrics["top1"], metrics["per_class"]) == (once["top1"], once["per_class"])
    assert once["vote"] == once["top1"]

    gallery, queries = (extract_features(pretrained, part) for part in (training, test))
    points = gallery.values.double() / gallery.values.double().norm(dim=1, keepdim=True)
    precision, hits = [], []
    for query, label in zip(queries.values.double(), test.labels, strict=True):
        order = (-(points @ query)).argsort().numpy()
        right = training.labels[order] == label
        found = [right[: at + 1].mean() for at in range(len(right)) if right[at]]
        precision.append(np.mean(found))
        hits.append(bool(right[:2].any()))
    assert metrics["map"] == pytest.approx(np.mean(precision))
    assert metrics["recall_at_2"] == pytest.approx(np.mean(hits))
    assert metrics["recall_at_500"] == 1
    by_class = metrics["details"]["per_class"]
    for label in range(3):
        ours = test.labels == label
        assert by_class["map"][label] == pytest.approx(np.mean(np.array(precision)[ours]))
        assert by_class["recall_at_2"][label] == pytest.approx(np.mean(np.array(hits)[ours]))


def test_examples_name_sequences_of_the_store(store: Store, pretrained: Pretrained) -> None:
    training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
    draws = []
    for seed in (0, 1):
        settings_ = KnnSettings(examples=4, seed=seed)
        examples = evaluate_knn(pretrained, training, test, settings_)["details"]["examples"]
        assert len({example["query"] for example in examples}) == 4
        for example in examples:
            assert example["query"] in test.indices
            assert len(example["neighbours"]) == 5
            assert np.isin(example["neighbours"], training.indices).all()
            assert example["similarity"] == sorted(example["similarity"], reverse=True)
            labels = store.labels[example["neighbours"]]
            assert example["hits"] == (labels == store.labels[example["query"]]).tolist()
        draws.append([example["query"] for example in examples])
    assert draws[0] != draws[1]
    json.dumps(examples)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k": 0}, r"\bk\b.*\b0$"),
        ({"recall_at": (5, 0)}, r"recall_at\b.*\b0$"),
        ({"examples": -1}, r"examples\b.*-1$"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KnnSettings(**wrong)


def test_more_votes_than_sequences(store: Store, pretrained: Pretrained) -> None:
    few = SkeletonDataset(store, [0, 1, 2])
    with pytest.raises(ValueError, match=r"\bk\b.*\b3\b.*\b4\b"):
        evaluate_knn(pretrained, few, few, KnnSettings(k=4))
    assert evaluate_knn(pretrained, few, few, KnnSettings(k=3))["recall_at_10"] == 1


def test_every_sequence_finds_itself(store: Store, pretrained: Pretrained) -> None:
    data = SkeletonDataset(store)
    assert evaluate_knn(pretrained, data, data)["top1"] == 1


def test_a_class_without_test_sequences_has_no_accuracy(
    store: Store, pretrained: Pretrained
) -> None:
    test = SkeletonDataset(store, np.flatnonzero(store.labels != 1))
    metrics = evaluate_knn(pretrained, SkeletonDataset(store), test)
    assert metrics["per_class"] == [1, None, 1]


def test_another_skeleton_or_number_of_persons(tmp_path: Path, pretrained: Pretrained) -> None:
    for options, message in (
        (
            {"skeleton": NTU25.reordered(NTU25.joints[::-1])},
            r"\b0\b.*right_thumb\b.*spine_base",
        ),
        ({"persons": 2}, r"\b1 person\b.*\b2\b"),
    ):
        out = tmp_path / str(len(message))
        other = SkeletonDataset(generate(out, sequences=4, classes=2, subjects=2, **options))
        with pytest.raises(ValueError, match=message):
            evaluate_knn(pretrained, other, other)


def test_a_stream_is_not_derived_twice(tmp_path: Path, pretrained: Pretrained) -> None:
    store = generate(tmp_path / "store", sequences=4, classes=2, subjects=2)
    with pytest.raises(ValueError, match=r"'joint'.*'bone'"):
        extract_features(pretrained, SkeletonDataset(store, stream="bone"))


def test_examples_hold_frames_of_the_sequences_that_they_name(
    tmp_path: Path, pretrained: Pretrained
) -> None:
    store = generate(tmp_path / "two", sequences=24, classes=3, subjects=4, frames=(10, 30))
    training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
    details = evaluate_knn(pretrained, training, test, KnnSettings(examples=2))["details"]
    assert details["bones"] == [[j, p] for j, p in enumerate(NTU25.parents) if p >= 0]
    assert details["center"] == NTU25.center
    for example in details["examples"]:
        indices = [example["query"], *example["neighbours"]]
        assert example["names"] == [store.names[index] for index in indices]
        assert example["labels"] == store.labels[indices].tolist()
        for index, frames in zip(indices, example["frames"], strict=True):
            clips, lengths, *_ = SkeletonDataset(store).batch([index])
            times = [round(at * (int(lengths) - 1) / 4) for at in range(5)]
            expected = clips[0, :, times, :, 0].permute(1, 2, 0)[:, None]
            np.testing.assert_allclose(frames, expected, atol=0.00051)


def test_examples_leave_out_who_is_not_there(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=2, hidden=8, layers=1, pool="mean").eval()
    store = generate(tmp_path / "one", sequences=6, classes=2, subjects=2)
    data = SkeletonDataset(store, persons=2)
    one = Pretrained(encoder, NTU25, "joint", 16)
    details = evaluate_knn(one, data, data, KnnSettings(examples=1))["details"]
    assert np.shape(details["examples"][0]["frames"]) == (6, 5, 1, 25, 3)


def test_a_store_without_names_has_numbers(tmp_path: Path, pretrained: Pretrained) -> None:
    store = generate(tmp_path / "old", sequences=6, classes=2, subjects=2)
    (store.path / "names.npy").unlink()
    edit_meta(store.path)
    data = SkeletonDataset(Store(store.path))
    (example,) = evaluate_knn(pretrained, data, data, KnnSettings(examples=1))["details"][
        "examples"
    ]
    assert example["names"][0] == f"sequence {example['query']}"


def test_the_map_is_of_the_test_features(store: Store, pretrained: Pretrained) -> None:
    training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
    layout = evaluate_knn(pretrained, training, test)["details"]["map"]
    assert layout["rows"] == list(range(len(test)))
    assert layout["labels"] == test.labels.tolist()
    features = extract_features(pretrained, test).values.double().numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(features - features.mean(axis=0))
    expected = np.abs((features - features.mean(axis=0)) @ axes[:2].T)
    np.testing.assert_allclose(np.abs(layout["pca"]), expected, atol=1e-4)


def test_too_few_for_a_map(store: Store, pretrained: Pretrained) -> None:
    few = SkeletonDataset(store, [0, 1, 2])
    assert "map" not in evaluate_knn(pretrained, few, few, KnnSettings(k=1))["details"]
