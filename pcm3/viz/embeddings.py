"""What contrastive learning makes of sequences: maps of features, queries against a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike
from torch import Tensor

from pcm3.viz.figures import PALETTE
from pcm3.viz.results import PANEL, embedding_figure

__all__ = ["features_figure", "queue_figure"]

_BINS = np.linspace(-1, 1, 81).tolist()


def features_figure(
    features: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    class_names: Sequence[str] = (),
    limit: int = 1000,
    seed: int = 0,
) -> Figure:
    """Features as points in the plane, by PCA and by t-SNE: do classes lie apart?

    ``pcm3.viz.maps.embedding_map`` drawn by ``embedding_figure``, as reports do.

    Args:
        features: ``(N, D)``, N at least 4, D at least 2.
        labels: Class of each ``(N,)``.
        class_names: Of all classes, for the legend.
        limit: Most points that are shown; of more, as many are drawn at random.
        seed: Of that draw, and of t-SNE.

    Returns:
        A figure with two axes, titled PCA and t-SNE.

    Raises:
        ValueError: If shapes do not fit, or there are too few features.
    """
    from pcm3.viz.maps import embedding_map  # noqa: PLC0415 - scikit-learn is slow

    values = torch.as_tensor(features).detach().cpu().float().numpy()
    found = embedding_map(values, torch.as_tensor(labels).cpu().numpy(), limit, seed)
    if found is None:
        raise ValueError(f"expected features (N >= 4, D >= 2), got {values.shape}")
    maps = {"PCA": found["pca"], "t-SNE": found["tsne"]}
    return embedding_figure(maps, found["labels"], class_names)


def queue_figure(query: Tensor, key: Tensor, anchors: Tensor) -> Figure:
    """How similar queries are to their own keys, and to the queue's anchors.

    Learning moves the first to the right, away from the second. Positives on top of the negatives
    mean that nothing is learnt yet; all at 1, that the embeddings have collapsed.

    Args:
        query: Embeddings ``(N, D)``.
        key: Of another view of each ``(N, D)``.
        anchors: ``MemoryQueue.anchors`` ``(K, D)``.

    Returns:
        A figure with one axes: the distribution of the N and of the N * K cosine similarities.
        Its title says how many queries are closer to their own key than to every anchor: the
        accuracy of the pretext task.

    Raises:
        ValueError: If shapes do not fit.

    Source:
        MoCo (He et al., CVPR 2020), which logs that accuracy.
    """
    shapes = [tuple(each.shape) for each in (query, key, anchors)]
    if query.ndim != 2 or shapes[1] != shapes[0] or anchors.ndim != 2:
        raise ValueError(f"expected query (N, D), key (N, D) and anchors (K, D), got {shapes}")
    if anchors.shape[1] != query.shape[1] or not query.numel() or not anchors.numel():
        raise ValueError(f"expected embeddings of one width, and at least one, got {shapes}")
    query, key, anchors = (
        F.normalize(each.detach().cpu().float(), dim=1) for each in (query, key, anchors)
    )
    positive, negative = (query * key).sum(dim=1), query @ anchors.T
    nearest = (positive > negative.max(dim=1).values).float().mean()
    figure = Figure(figsize=(PANEL, 2.4), layout="constrained")
    axis = figure.add_subplot()
    for name, found, color, fill in (
        ("anchors of the queue", negative, PALETTE[0], "#CCCCCC"),
        ("own key", positive, PALETTE[1], "none"),
    ):
        values = found.flatten().clamp(-1, 1).numpy()
        share = np.full(len(values), 1 / len(values))
        label = f"{name}, mean {values.mean().round(2) + 0:.2f}"  # never -0.00
        style: dict[str, Any] = {"edgecolor": color, "facecolor": fill, "label": label}
        axis.hist(values, _BINS, weights=share, histtype="stepfilled", linewidth=1.4, **style)
    axis.set(xlim=(-1, 1), xticks=(-1, -0.5, 0, 0.5, 1))
    axis.set_xlabel("cosine similarity to the query", fontsize=8)
    axis.set_ylabel("share", fontsize=8)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.tick_params(labelsize=7.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(f"own key nearest: {nearest:.0%} of {len(query)}", fontsize=9, loc="left")
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    return figure
