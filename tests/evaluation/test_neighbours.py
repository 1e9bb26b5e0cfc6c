"""Nearest neighbours and rankings against brute force."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from brute_force import brute_force
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from pcm3.evaluation.neighbours import nearest_labels, rank, vote


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
        (torch.zeros(3, 5), LABELS, 1, r"\(6, 4\) and \(3, 5\)"),
        (torch.zeros(3, 3), LABELS, 1, r"\(6, 4\) and \(3, 3\)"),
        (torch.zeros(4), LABELS, 1, r"\(6, 4\) and \(4,\)"),
        (torch.zeros(3, 4, 1), LABELS, 1, r"\(6, 4\) and \(3, 4, 1\)"),
        (GALLERY, LABELS[:5], 1, r"\b6 gallery.*\(5,\)"),
        (GALLERY, torch.zeros(7, dtype=torch.long), 1, r"\b6 gallery.*\(7,\)"),
        (GALLERY, LABELS - 1, 1, "gallery labels.*-1"),
        (GALLERY, LABELS.float(), 1, r"gallery labels.*torch\.float32"),
        (GALLERY.numpy(), LABELS, 1, r"queries.*numpy\.ndarray"),
        (GALLERY, LABELS.tolist(), 1, "gallery_labels.*list"),
        (GALLERY.to("meta"), LABELS, 1, "queries.*cpu.*meta"),
        (GALLERY, LABELS, 2.0, r"k .*\b6\b.*2\.0"),
        (GALLERY, LABELS, 0, r"k .*\b6\b.*\b0"),
        (GALLERY, LABELS, 7, r"k .*\b6\b.*\b7"),
    ],
)
def test_bad_arguments(queries: torch.Tensor, labels: torch.Tensor, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_labels(GALLERY, labels, queries, k)


@pytest.mark.parametrize("size", [(0, 4), (6, 0)])
def test_a_gallery_of_nothing(size: tuple[int, int]) -> None:
    gallery = torch.zeros(size)
    with pytest.raises(ValueError, match=rf"\({size[0]}, {size[1]}"):
        nearest_labels(gallery, torch.zeros(size[0], dtype=torch.long), gallery)


def test_a_gallery_of_more_than_numbers_tell_apart() -> None:
    gallery, labels = torch.zeros(1, 1).expand(10**7, 1), torch.zeros(1).long().expand(10**7)
    with pytest.raises(ValueError, match="4,194,304"):
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
        with pytest.raises(ValueError, match=rf"{name}.*\brow 3\b"):
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
        with pytest.raises(ValueError, match=re.escape(str(tuple(points.shape)))):
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
    with pytest.raises(ValueError, match=r"chunk\b.*\b0$"):
        nearest_labels(GALLERY, LABELS, GALLERY, chunk=0)


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
        with pytest.raises(ValueError, match=rf"\b6 query.*\({len(labels)},\)"):
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
        (LABELS, torch.zeros(6), r"\(6,\) and \(6,\)"),
        (LABELS[:, None], torch.zeros(6, 2), r"\(6, 1\) and \(6, 2\)"),
        (LABELS[:, None][:, :0], torch.zeros(6, 0), r"\(6, 0\)"),
        (LABELS[:, None].float(), torch.zeros(6, 1), r"torch\.float32"),
        (LABELS[:, None], torch.tensor([[0.0]] * 4 + [[torch.nan]] * 2), r"\brow 4\b"),
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
