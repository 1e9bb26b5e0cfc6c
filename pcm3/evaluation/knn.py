"""Retrieval: the label of the nearest training sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
    check_positive("chunk", chunk)
    gallery = F.normalize(gallery.float(), dim=1)
    classes = int(gallery_labels.max()) + 1
    predicted = []
    for part in F.normalize(queries.float(), dim=1).split(chunk):
        similarity, index = (part @ gallery.T).topk(k, dim=1)
        # One vote each, and a share of a vote that only ever breaks ties.
        votes = 1 + (similarity + 1) / (4 * k)
        ballot = torch.zeros(len(part), classes, device=part.device)
        predicted.append(ballot.scatter_add_(1, gallery_labels[index], votes).argmax(dim=1))
    return torch.cat(predicted)
