"""Retrieval: the training sequences nearest to a test sequence, and the label they vote for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pcm3._checks import check_positive


@torch.no_grad()
def nearest_labels(
    gallery: Tensor, gallery_labels: Tensor, queries: Tensor, k: int = 1, chunk: int = 2048
) -> Tensor:
    """Majority label of the k nearest gallery features by cosine similarity.

    Exact; works through the queries in chunks, so memory is ``chunk`` x G. Of labels with as
    many votes the one with the larger summed similarity wins.

    Args:
        gallery: ``(G, D)``; need not be normalised.
        gallery_labels: ``(G,)`` labels >= 0.
        queries: ``(Q, D)``.
        k: Neighbours that vote, at most G.
        chunk: Queries worked on at a time.

    Returns:
        Labels ``(Q,)``.

    Raises:
        ValueError: If shapes do not fit or k is out of range.
    """
    _check(gallery, gallery_labels, queries, k)
    predicted = []
    for _, similarity in _similarities(gallery, queries, chunk):
        nearest, index = similarity.topk(k, dim=1)
        predicted.append(vote(gallery_labels[index], nearest))
    return torch.cat(predicted)


class Ranking(NamedTuple):
    """How a gallery looks from each query.

    Attributes:
        neighbours: Rows of the gallery, nearest first (Q, k), int64.
        similarity: Their cosine similarity (Q, k).
        average_precision: Of the whole gallery's order (Q,), float64; 0 where the gallery has
            nothing of the query's class.
    """

    neighbours: Tensor
    similarity: Tensor
    average_precision: Tensor


@torch.no_grad()
def rank(
    gallery: Tensor,
    gallery_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    k: int = 1,
    chunk: int = 512,
) -> Ranking:
    """Order a gallery by cosine similarity to each query; what has its label is relevant.

    Exact; memory is ``chunk`` x G. Average precision is the mean, over the R relevant items, of
    the share of relevant ones among all that are at least as similar, so that the order of equally
    similar items does not matter (scikit-learn's ``average_precision_score``).

    Args:
        gallery: ``(G, D)``; need not be normalised.
        gallery_labels: ``(G,)`` labels >= 0.
        queries: ``(Q, D)``.
        query_labels: ``(Q,)``.
        k: Neighbours to return, at most G.
        chunk: Queries worked on at a time.

    Raises:
        ValueError: If shapes do not fit or k is out of range.
    """
    _check(gallery, gallery_labels, queries, k)
    if query_labels.shape != queries.shape[:1]:
        raise ValueError(f"expected {len(queries)} query labels, got {tuple(query_labels.shape)}")
    similar, neighbours, precision = [], [], []
    known, asked = gallery_labels.cpu().numpy(), query_labels.cpu().numpy()
    for first, similarity in _similarities(gallery, queries, chunk):
        nearest, index = similarity.topk(k, dim=1)
        similar.append(nearest)
        neighbours.append(index)
        for at, row in enumerate(similarity.cpu().numpy(), start=first):
            precision.append(_average_precision(row, known == asked[at]))
    return Ranking(
        torch.cat(neighbours), torch.cat(similar), torch.tensor(precision, dtype=torch.float64)
    )


def vote(labels: Tensor, similarity: Tensor) -> Tensor:
    """The label that most of k neighbours have, of several the one with more similarity in sum.

    Args:
        labels: ``(Q, k)``, at least 0.
        similarity: Cosines ``(Q, k)``.

    Returns:
        Labels ``(Q,)``.
    """
    # One vote each, and a quarter of a vote among all that only ever breaks ties.
    votes = 1 + similarity / (4 * labels.shape[1])
    ballot = votes.new_zeros(len(labels), int(labels.max()) + 1)
    return ballot.scatter_add_(1, labels, votes).argmax(dim=1)


def _average_precision(similarity: NDArray[np.float32], relevant: NDArray[np.bool_]) -> float:
    ours = np.sort(similarity[relevant])
    if len(ours) == 0:
        return 0.0
    among = len(similarity) - np.searchsorted(np.sort(similarity), ours)
    found = len(ours) - np.searchsorted(ours, ours)
    return float((found / among).mean())


def _similarities(gallery: Tensor, queries: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """Cosines (chunk, G) of a few queries at a time, with the number of the first."""
    check_positive("chunk", chunk)
    gallery = F.normalize(gallery.float(), dim=1)
    for first in range(0, len(queries), chunk):
        yield first, F.normalize(queries[first : first + chunk].float(), dim=1) @ gallery.T


def _check(gallery: Tensor, gallery_labels: Tensor, queries: Tensor, k: int) -> None:
    if gallery.ndim != 2 or queries.ndim != 2 or gallery.shape[1] != queries.shape[1]:
        raise ValueError(
            f"expected gallery (G, D) and queries (Q, D), got {tuple(gallery.shape)} and "
            f"{tuple(queries.shape)}"
        )
    if gallery_labels.shape != gallery.shape[:1]:
        raise ValueError(
            f"expected {len(gallery)} gallery labels, got {tuple(gallery_labels.shape)}"
        )
    if len(gallery_labels) and gallery_labels.min() < 0:
        raise ValueError(f"expected gallery labels >= 0, got {int(gallery_labels.min())}")
    if not 1 <= k <= len(gallery):
        raise ValueError(f"expected k in [1, {len(gallery)}], got {k}")
