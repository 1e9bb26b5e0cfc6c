"""Nearest neighbours against brute force, and as an evaluation of an encoder."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from old_stores import edit_meta
from sklearn.metrics import average_precision_score

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.alterations import with_noise
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.neighbours import nearest_labels, rank, vote
from pcm3.evaluation.tasks.knn import KnnSettings, evaluate_knn
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25


def brute_force(gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int) -> list[int]:
    """One query at a time: k best cosines, most votes, then the larger summed similarity."""
    predicted = []
    for query in queries.astype(np.float64):
        cosines = [
            row @ query / (np.linalg.norm(row) * np.linalg.norm(query))
            for row in gallery.astype(np.float64)
        ]
        votes: dict[int, list[float]] = {}
        for at in sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]:
            votes.setdefault(int(labels[at]), []).append(cosines[at])
        predicted.append(max(votes, key=lambda label: (len(votes[label]), sum(votes[label]))))
    return predicted


@settings(deadline=None, max_examples=60)
@given(
    gallery=st.integers(1, 12),
    queries=st.integers(1, 9),
    classes=st.integers(1, 4),
    chunk=st.integers(1, 10),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_equals_brute_force(
    gallery: int, queries: int, classes: int, chunk: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, gallery))
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(gallery, 5)).astype(np.float32) * rng.uniform(0.1, 9, (gallery, 1))
    asked = rng.normal(size=(queries, 5)).astype(np.float32)
    labels = rng.integers(0, classes, gallery)
    expected = brute_force(points, labels, asked, k)
    found = nearest_labels(
        torch.from_numpy(points), torch.from_numpy(labels), torch.from_numpy(asked), k, chunk
    )
    assert found.tolist() == expected


def test_more_votes_beat_more_similarity_and_similarity_breaks_ties() -> None:
    angles = torch.tensor([0.0, 1.0, 1.1, 1.5])
    gallery = torch.stack([angles.cos(), angles.sin()], dim=1)
    query = torch.tensor([[1.0, 0.0]])
    labels = torch.tensor([1, 0, 0, 0])
    assert nearest_labels(gallery, labels, query, k=1).tolist() == [1]
    assert nearest_labels(gallery, labels, query, k=2).tolist() == [1]
    assert nearest_labels(gallery, labels, query, k=3).tolist() == [0]
    # Two votes far away, with less similarity in sum than the one beside the query.
    around = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    assert nearest_labels(around, torch.tensor([1, 0, 0]), query, k=3).tolist() == [0]
    opposed = torch.tensor([[-1.0, 0.0]])
    assert nearest_labels(-gallery, labels, opposed, k=2).tolist() == [1]


GALLERY, LABELS = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("queries", "labels", "k", "message"),
    [
        (torch.zeros(3, 5), LABELS, 1, r"queries \(Q, D\), got \(6, 4\) and \(3, 5\)"),
        (torch.zeros(3, 3), LABELS, 1, r"queries \(Q, D\), got \(6, 4\) and \(3, 3\)"),
        (torch.zeros(4), LABELS, 1, r"got \(6, 4\) and \(4,\)"),
        (torch.zeros(3, 4, 1), LABELS, 1, r"got \(6, 4\) and \(3, 4, 1\)"),
        (GALLERY, LABELS[:5], 1, r"expected 6 gallery labels, got \(5,\)"),
        (GALLERY, torch.zeros(7, dtype=torch.long), 1, r"expected 6 gallery labels, got \(7,\)"),
        (GALLERY, LABELS - 1, 1, "gallery labels >= 0, got -1"),
        (GALLERY, LABELS.float(), 1, r"integer gallery labels, got torch\.float32"),
        (GALLERY.numpy(), LABELS, 1, r"queries: expected a torch tensor, got numpy\.ndarray"),
        (GALLERY, LABELS.tolist(), 1, "gallery_labels: expected a torch tensor, got list"),
        (GALLERY.to("meta"), LABELS, 1, "queries on the device of the gallery, cpu, got meta"),
        (GALLERY, LABELS, 2.0, r"k in \[1, 6\], got 2\.0"),
        (GALLERY, LABELS, 0, r"k in \[1, 6\], got 0"),
        (GALLERY, LABELS, 7, r"k in \[1, 6\], got 7"),
    ],
)
def test_bad_arguments(queries: torch.Tensor, labels: torch.Tensor, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_labels(GALLERY, labels, queries, k)


@pytest.mark.parametrize("size", [(0, 4), (6, 0)])
def test_a_gallery_of_nothing(size: tuple[int, int]) -> None:
    gallery = torch.zeros(size)
    with pytest.raises(ValueError, match=rf"G from 1 to .* and D >= 1, got \({size[0]}, {size[1]}"):
        nearest_labels(gallery, torch.zeros(size[0], dtype=torch.long), gallery)


def test_a_gallery_of_more_than_numbers_tell_apart() -> None:
    gallery, labels = torch.zeros(1, 1).expand(10**7, 1), torch.zeros(1).long().expand(10**7)
    with pytest.raises(ValueError, match=r"G from 1 to 4,194,304 and"):
        nearest_labels(gallery, labels, torch.ones(1, 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["gallery", "queries"])
def test_features_that_are_no_numbers(name: str, value: float) -> None:
    features = {"gallery": GALLERY, "queries": GALLERY}
    features[name] = GALLERY.clone()
    features[name][3, 1] = features[name][5, 0] = value
    for look in (
        lambda: nearest_labels(features["gallery"], LABELS, features["queries"]),
        lambda: rank(features["gallery"], LABELS, features["queries"], LABELS),
    ):
        with pytest.raises(ValueError, match=f"finite {name}, got NaN or infinity in row 3"):
            look()


def test_no_queries() -> None:
    assert nearest_labels(GALLERY, LABELS, GALLERY[:0], k=2).tolist() == []
    found = rank(GALLERY, LABELS, GALLERY[:0], LABELS[:0], k=2)
    assert [tuple(each.shape) for each in found] == [(0, 2), (0, 2), (0,)]
    some = rank(GALLERY, LABELS, GALLERY, LABELS, k=2)
    assert [each.dtype for each in found] == [each.dtype for each in some]
    assert vote(LABELS[:0, None], torch.zeros(0, 1)).shape == (0,)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_features_of_any_length(scale: float) -> None:
    """Their squares are no float32, or 0."""
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(30, 4, generator=generator)
    labels, queries = torch.arange(30), torch.randn(9, 4, generator=generator)
    expected = nearest_labels(gallery, labels, queries)
    assert torch.equal(nearest_labels(gallery * scale, labels, queries / scale), expected)
    assert len(expected.unique()) > 3


@pytest.mark.parametrize("chunk", [1, 3, 512])
def test_of_equal_features_the_earlier_is_nearer(chunk: int) -> None:
    torch.manual_seed(0)
    base = torch.randn(40, 33)
    order = torch.randperm(40 * 5)
    gallery = torch.cat([base * scale for scale in (1, 3, 0.1, 7, 1 / 3)])[order]
    owner = torch.arange(40).repeat(5)[order]
    found = rank(gallery, owner, base * 0.7, torch.arange(40), k=5, chunk=chunk)
    for query, row in enumerate(found.neighbours.tolist()):
        assert row == (owner == query).nonzero().flatten().tolist()
    assert bool((found.average_precision == 1).all())
    assert bool((found.similarity == 1).all())
    assert nearest_labels(gallery, order, base, k=5, chunk=chunk).tolist() == [
        int(order[owner == query].min()) for query in range(40)
    ]


@pytest.mark.parametrize("gallery", [GALLERY[:, :1].T, GALLERY[..., None]], ids=["row", "cubes"])
def test_a_gallery_of_another_shape(gallery: torch.Tensor) -> None:
    for points in (gallery, gallery[0]):
        with pytest.raises(ValueError, match=r"expected gallery \(G, D\) and queries \(Q, D\)"):
            nearest_labels(points, LABELS, GALLERY)


def test_rankings_have_no_gradient() -> None:
    gallery = GALLERY.clone().requires_grad_()
    ranking = rank(gallery, LABELS, gallery, LABELS, k=2)
    assert not ranking.similarity.requires_grad
    assert ranking.neighbours[:, 0].tolist() == list(range(6))


def test_one_neighbour_is_the_default() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2]])
    labels, query = torch.tensor([1, 0, 0]), torch.tensor([[1.0, 0.0]])
    assert nearest_labels(gallery, labels, query).tolist() == [1]
    assert rank(gallery, labels, query, labels[:1]).neighbours.tolist() == [[0]]


def test_chunk_must_be_positive() -> None:
    with pytest.raises(ValueError, match="chunk > 0, got 0"):
        nearest_labels(GALLERY, LABELS, GALLERY, chunk=0)


# --- the whole order ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    gallery=st.integers(1, 14),
    queries=st.integers(1, 7),
    chunk=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_ranking_equals_a_slow_one_with_many_ties(
    gallery: int, queries: int, chunk: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, gallery))
    rng = np.random.default_rng(seed)
    points = np.eye(4)[rng.integers(0, 4, gallery)] * rng.integers(1, 4, (gallery, 1))
    asked = rng.integers(1, 9, (queries, 4)).astype(float)
    labels, wanted = rng.integers(0, 3, gallery), rng.integers(0, 3, queries)
    found = rank(*map(torch.from_numpy, (points, labels, asked, wanted)), k=k, chunk=chunk)
    cosines = asked / np.linalg.norm(asked, axis=1, keepdims=True) @ np.sign(points).T
    assert found.neighbours.shape == found.similarity.shape == (queries, k)
    for query, row in enumerate(cosines):
        best = np.sort(row)[::-1][:k]
        np.testing.assert_allclose(found.similarity[query], best, atol=1e-6)
        np.testing.assert_allclose(row[found.neighbours[query]], best, atol=1e-6)
        assert len(set(found.neighbours[query].tolist())) == k
        relevant = labels == wanted[query]
        precision = average_precision_score(relevant, row.round(9)) if relevant.any() else 0
        assert float(found.average_precision[query]) == pytest.approx(precision)


def test_average_precision_by_hand() -> None:
    """Relevant ones come first, third and fourth; the last two are equally similar."""
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [1.0, 1.0]])
    labels = torch.tensor([1, 0, 1, 1])
    one = rank(gallery, labels, torch.tensor([[2.0, 0.0]]), torch.tensor([1]), k=4)
    assert one.neighbours[0, :2].tolist() == [0, 1]
    assert float(one.average_precision) == pytest.approx((1 / 1 + 3 / 4 + 3 / 4) / 3)
    absent = rank(gallery, labels, torch.tensor([[2.0, 0.0]]), torch.tensor([7]))
    assert float(absent.average_precision) == 0


def test_ranking_needs_a_label_for_each_query() -> None:
    for labels in (LABELS[:5], LABELS.repeat(2)):
        with pytest.raises(ValueError, match=rf"expected 6 query labels, got \({len(labels)},\)"):
            rank(GALLERY, LABELS, GALLERY, labels)


@pytest.mark.parametrize("k", [2, 5, 20])
def test_rounding_decides_no_vote(k: int) -> None:
    """Similarities as close to each other as float32 has them."""
    rng = np.random.default_rng(0)
    cosines = (0.9 + rng.integers(0, 9, (500, k)) * 2.0**-24).astype(np.float32)
    labels = rng.integers(0, 3, (500, k))
    expected, ties = [], 0
    for its_labels, its_cosines in zip(labels.tolist(), cosines.tolist(), strict=True):
        counts = {label: its_labels.count(label) for label in its_labels}
        sums = dict.fromkeys(counts, Fraction())
        for label, cosine in zip(its_labels, its_cosines, strict=True):
            sums[label] += Fraction(cosine)
        best = max(counts, key=lambda label: (counts[label], sums[label], -label))
        ties += sum(count == counts[best] for count in counts.values()) > 1
        expected.append(best)
    assert vote(torch.from_numpy(labels), torch.from_numpy(cosines)).tolist() == expected
    assert ties > 50


def test_a_label_of_any_size_votes() -> None:
    labels = torch.tensor([[2**40, 7, 2**40], [7, 2**40, 3]])
    assert vote(labels, torch.ones(2, 3)).tolist() == [2**40, 3]


@pytest.mark.parametrize(
    ("labels", "similarity", "message"),
    [
        (LABELS, torch.zeros(6), r"\(Q, k\) of one shape, .*got \(6,\) and \(6,\)"),
        (LABELS[:, None], torch.zeros(6, 2), r"got \(6, 1\) and \(6, 2\)"),
        (LABELS[:, None][:, :0], torch.zeros(6, 0), r"k >= 1, got \(6, 0\)"),
        (LABELS[:, None].float(), torch.zeros(6, 1), r"integer labels, got torch\.float32"),
        (LABELS[:, None], torch.tensor([[0.0]] * 4 + [[torch.nan]] * 2), "NaN .* in row 4"),
    ],
)
def test_votes_that_do_not_count(
    labels: torch.Tensor, similarity: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        vote(labels, similarity)


def test_votes() -> None:
    labels = torch.tensor([[2, 0, 0], [2, 0, 1], [1, 1, 0]])
    cosines = torch.tensor([[1.0, -1.0, -1.0], [0.1, 0.3, 0.2], [0.1, 0.1, 0.9]])
    assert vote(labels, cosines).tolist() == [0, 0, 1]
    # One query, whose five votes far away outnumber four beside it.
    labels = torch.tensor([[1] * 4 + [0] * 5])
    assert vote(labels, torch.tensor([[1.0] * 4 + [-1.0] * 5])).tolist() == [0]


# --- on a store -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=36, classes=3, subjects=4, frames=(10, 30))


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=1, hidden=8, layers=1, pool="mean").eval()
    return Pretrained(encoder, NTU25, "joint", 16)


def test_features_are_in_the_data_sets_order(store: Store, pretrained: Pretrained) -> None:
    order = [7, 3, 30, 12]
    some = extract_features(pretrained, SkeletonDataset(store, order), batch_size=3)
    every = extract_features(pretrained, SkeletonDataset(store))
    assert some.labels.tolist() == store.labels[order].tolist()
    torch.testing.assert_close(some.values, every.values[order], rtol=1e-4, atol=1e-6)


def test_features_of_nothing(store: Store, pretrained: Pretrained) -> None:
    found = extract_features(pretrained, SkeletonDataset(store, []))
    assert (found.values.shape, found.labels.shape) == ((0, 16), (0,))
    assert (found.values.dtype, found.labels.dtype) == (torch.float32, torch.int64)


def test_an_encoder_that_gives_no_numbers(store: Store, pretrained: Pretrained) -> None:
    class Broken(GRUEncoder):
        def pool(self, frames: torch.Tensor) -> torch.Tensor:
            features = super().pool(frames).clone()
            features[1, 3] = torch.nan
            return features

    broken = Broken(25, persons=1, hidden=8, layers=1).eval()
    data = SkeletonDataset(store, [5, 9, 2])
    for dataset in (data, with_noise(data, 0.1)):
        with pytest.raises(
            ValueError, match=r"in 1 of a batch of 3: first for sequences 9 of .*st"
        ):
            extract_features(pretrained._replace(encoder=broken), dataset)


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
        ({"k": 0}, "expected k >= 1, got 0"),
        ({"recall_at": (5, 0)}, "expected recall_at >= 1, got 0"),
        ({"examples": -1}, "expected examples >= 0, got -1"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KnnSettings(**wrong)


def test_more_votes_than_sequences(store: Store, pretrained: Pretrained) -> None:
    few = SkeletonDataset(store, [0, 1, 2])
    with pytest.raises(ValueError, match=r"expected k in \[1, 3\], got 4"):
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
            r"joint 0 is 'right_thumb', not 'spine_base'",
        ),
        ({"persons": 2}, "expected a store of 1 persons, got 2"),
    ):
        out = tmp_path / str(len(message))
        other = SkeletonDataset(generate(out, sequences=4, classes=2, subjects=2, **options))
        with pytest.raises(ValueError, match=message):
            evaluate_knn(pretrained, other, other)


def test_a_stream_is_not_derived_twice(tmp_path: Path, pretrained: Pretrained) -> None:
    store = generate(tmp_path / "store", sequences=4, classes=2, subjects=2)
    with pytest.raises(ValueError, match="expected a data set of stream 'joint', got 'bone'"):
        extract_features(pretrained, SkeletonDataset(store, stream="bone"))


# --- what pictures are made of --------------------------------------------------------------------


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
