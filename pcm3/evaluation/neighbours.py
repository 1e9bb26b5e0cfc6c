"""Retrieval: the training sequences nearest to a test sequence, and the label they vote for.

Cosines are float64 (float32 on MPS, which has no float64) and rounded to multiples of 2^-40, about
1e-12. Features whose cosines differ only by rounding are then equally similar, for any chunk size
and number of threads. Cosines are counted in these units, as integers, whose sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pcm3.checks import check_integers, check_positive, check_rows_finite, check_tensor

_UNITS = 2**40  # units in a cosine of 1
_MOST = 2**63 // (2 * _UNITS)  # rows of a gallery: a cosine and a row number fit into int64


@torch.no_grad()
def nearest_labels(
    gallery: Tensor, gallery_labels: Tensor, queries: Tensor, k: int = 1, chunk: int = 512
) -> Tensor:
    """Predict the majority label of the k nearest gallery features by cosine similarity.

    The result is exact. Queries are processed in chunks, so that memory is ``chunk`` x G. Of
    equally similar features, the earlier in the gallery counts as nearer. If several labels have
    the most votes, the one with the largest summed similarity wins, and then the smallest.

    Args:
        gallery: Features ``(G, D)``, which need not be normalised. The similarity of a row of
            zeros is 0.
        gallery_labels: Labels ``(G,)`` >= 0.
        queries: Features ``(Q, D)``; Q may be 0.
        k: Number of neighbours that vote, at most G.
        chunk: Number of queries at a time.

    Returns:
        Labels ``(Q,)``.

    Raises:
        ValueError: If shapes, dtypes or devices do not fit, k is out of range, or a feature is not
            finite; the message names its row.
    """
    _check(gallery, gallery_labels, queries, k)
    predicted = [gallery_labels[:0]]
    for _, units in _similarities(gallery, queries, chunk):
        nearest, index = _nearest(units, k)
        predicted.append(_vote(gallery_labels[index], nearest))
    return torch.cat(predicted)


class Ranking(NamedTuple):
    """A gallery in the order of its similarity to each query.

    Attributes:
        neighbours: Rows of the gallery, nearest first (Q, k), int64; of equally similar rows, the
            earlier first.
        similarity: Cosine similarity of the neighbours (Q, k), float64.
        average_precision: Average precision of the whole order (Q,), float64; 0 if the gallery has
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
    """Order a gallery by cosine similarity to each query; equal labels are relevant.

    The result is exact; memory is ``chunk`` x G. Average precision is the mean, over the relevant
    items, of the share of relevant items among all that are at least as similar. The order of
    equally similar items does therefore not matter (scikit-learn's ``average_precision_score``).

    Args:
        gallery: Features ``(G, D)``, which need not be normalised.
        gallery_labels: Labels ``(G,)`` >= 0.
        queries: Features ``(Q, D)``; Q may be 0.
        query_labels: Labels ``(Q,)``.
        k: Number of neighbours to return, at most G.
        chunk: Number of queries at a time.

    Raises:
        ValueError: As ``nearest_labels``.
    """
    _check(gallery, gallery_labels, queries, k)
    check_tensor("query_labels", query_labels)
    if query_labels.shape != queries.shape[:1]:
        raise ValueError(f"expected {len(queries)} query labels, got {tuple(query_labels.shape)}")
    check_integers("query labels", query_labels)
    none = torch.zeros(0, k, dtype=torch.int64, device=gallery.device)
    similar, neighbours, precision = [none], [none], []
    known, wanted = gallery_labels.cpu().numpy(), query_labels.cpu().numpy()
    for first, units in _similarities(gallery, queries, chunk):
        nearest, index = _nearest(units, k)
        similar.append(nearest)
        neighbours.append(index)
        for query, row in enumerate(units.cpu().numpy(), start=first):
            precision.append(_average_precision(row, known == wanted[query]))
    return Ranking(
        torch.cat(neighbours),
        _widened(torch.cat(similar)) / _UNITS,
        torch.tensor(precision, dtype=torch.float64),
    )


def vote(labels: Tensor, similarity: Tensor) -> Tensor:
    """Return the label that most of k neighbours have.

    If several labels have the most votes, the one with the largest summed similarity wins, and
    then the smallest.

    Args:
        labels: Labels of the neighbours ``(Q, k)``, integers.
        similarity: Cosines ``(Q, k)``, rounded as ``rank`` does.

    Returns:
        Labels ``(Q,)``.

    Raises:
        ValueError: If shapes or dtypes do not fit, k is 0, or a similarity is not finite; the
            message names its row.
    """
    check_tensor("labels", labels)
    check_tensor("similarity", similarity)
    check_integers("labels", labels)
    if labels.ndim != 2 or labels.shape != similarity.shape or labels.shape[1] == 0:
        raise ValueError(
            f"expected labels and similarity (Q, k) of one shape, with k >= 1, got "
            f"{tuple(labels.shape)} and {tuple(similarity.shape)}"
        )
    check_rows_finite("similarities", similarity)
    return _vote(labels, _in_units(_widened(similarity)))


def _vote(labels: Tensor, units: Tensor) -> Tensor:
    """Let neighbours vote; counts and sums are integers, so that rounding decides nothing."""
    if len(labels) == 0:
        return labels[:, 0]
    classes, column = labels.unique(return_inverse=True)
    sums = units.new_zeros(len(labels), len(classes)).scatter_add_(1, column, units)
    counts = torch.zeros_like(sums).scatter_add_(1, column, torch.ones_like(units))
    most = counts == counts.amax(dim=1, keepdim=True)
    least = torch.iinfo(sums.dtype).min
    winners: Tensor = classes[sums.masked_fill(~most, least).argmax(dim=1)]
    return winners


def _nearest(units: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return similarity and row of the k nearest ``(chunk, k)``; of equals, the earlier first."""
    rows = units.shape[1]
    from_the_end = torch.arange(rows - 1, -1, -1, device=units.device)
    keys = (units * rows + from_the_end).topk(k, dim=1).values
    return keys.div(rows, rounding_mode="floor"), rows - 1 - keys.remainder(rows)


def _average_precision(similarity: NDArray[np.int64], relevant: NDArray[np.bool_]) -> float:
    hits = np.sort(similarity[relevant])
    if len(hits) == 0:
        return 0.0
    retrieved = len(similarity) - np.searchsorted(np.sort(similarity), hits)
    found = len(hits) - np.searchsorted(hits, hits)
    return float((found / retrieved).mean())


def _similarities(gallery: Tensor, queries: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of the first of a few queries, and their cosines (chunk, G) in units."""
    check_positive("chunk", chunk)
    gallery = _normalized(gallery)
    for first in range(0, len(queries), chunk):
        yield first, _in_units(_normalized(queries[first : first + chunk]) @ gallery.T)


def _normalized(features: Tensor) -> Tensor:
    wide = _widened(features)
    largest = wide.abs().amax(dim=1, keepdim=True)  # its square may overflow
    return F.normalize(wide / torch.where(largest > 0, largest, 1), dim=1)


def _widened(values: Tensor) -> Tensor:
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def _in_units(cosines: Tensor) -> Tensor:
    return (cosines * _UNITS).round().long()


def _check(gallery: Tensor, gallery_labels: Tensor, queries: Tensor, k: int) -> None:
    given = {"gallery": gallery, "gallery_labels": gallery_labels, "queries": queries}
    for name, tensor in given.items():
        check_tensor(name, tensor)
        if tensor.device != gallery.device:
            raise ValueError(
                f"expected {name} on the device of the gallery, {gallery.device}, got "
                f"{tensor.device}"
            )
    if gallery.ndim != 2 or queries.ndim != 2 or gallery.shape[1:] != queries.shape[1:]:
        raise ValueError(
            f"expected gallery (G, D) and queries (Q, D), got {tuple(gallery.shape)} and "
            f"{tuple(queries.shape)}"
        )
    if 0 in gallery.shape or len(gallery) > _MOST:
        raise ValueError(
            f"expected gallery (G, D) with G from 1 to {_MOST:,} and D >= 1, got "
            f"{tuple(gallery.shape)}"
        )
    for name in ("gallery", "queries"):
        check_rows_finite(name, given[name])
    if gallery_labels.shape != gallery.shape[:1]:
        raise ValueError(
            f"expected {len(gallery)} gallery labels, got {tuple(gallery_labels.shape)}"
        )
    check_integers("gallery labels", gallery_labels)
    if gallery_labels.min() < 0:
        raise ValueError(f"expected gallery labels >= 0, got {int(gallery_labels.min())}")
    if not isinstance(k, int) or not 1 <= k <= len(gallery):
        raise ValueError(
            f"expected k in [1, {len(gallery)}], the number of training sequences, got {k}; --k "
            "sets it"
        )
