"""Pictures of embeddings: maps of features, and similarities of queries to a queue."""

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
from pcm3.viz.maps import embedding_map
from pcm3.viz.results import PANEL, embedding_figure

_BINS = np.linspace(-1, 1, 81).tolist()


def features_figure(
    features: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    class_names: Sequence[str] = (),
    limit: int = 1000,
    seed: int = 0,
) -> Figure:
    """Plot features as points in the plane, by PCA and by t-SNE, coloured by class.

    This draws ``pcm3.viz.maps.embedding_map`` with ``embedding_figure``, as reports do.

    Args:
        features: ``(N, D)``, N at least 4, D at least 2.
        labels: Class of each feature ``(N,)``.
        class_names: Names of all classes, for the legend.
        limit: Largest number of points to show; of more, this many are drawn at random.
        seed: Seed of that draw and of t-SNE.

    Returns:
        A figure with two axes, titled PCA and t-SNE.

    Raises:
        ValueError: If the shapes do not fit, or there are too few features.
    """
    values = torch.as_tensor(features).detach().cpu().float().numpy()
    layout = embedding_map(values, torch.as_tensor(labels).cpu().numpy(), limit, seed)
    if layout is None:
        raise ValueError(f"expected features (N >= 4, D >= 2), got {values.shape}")
    maps = {"PCA": layout["pca"], "t-SNE": layout["tsne"]}
    return embedding_figure(maps, layout["labels"], class_names)


def queue_figure(query: Tensor, key: Tensor, anchors: Tensor) -> Figure:
    """Plot the similarities of queries to their own keys and to the anchors of the queue.

    Learning moves the similarities to keys to the right, away from those to anchors. If the two
    coincide, nothing has been learnt yet; if all are 1, the embeddings have collapsed.

    Args:
        query: Embeddings ``(N, D)``.
        key: Embeddings of another view of each ``(N, D)``.
        anchors: ``MemoryQueue.anchors`` ``(K, D)``.

    Returns:
        A figure with one axes: the distributions of N and of N * K cosine similarities. Its title
        gives the accuracy of the pretext task: the share of queries that are closer to their own
        key than to every anchor.

    Raises:
        ValueError: If the shapes do not fit.

    Source:
        MoCo (He et al., CVPR 2020), which logs this accuracy.
    """
    shapes = [tuple(part.shape) for part in (query, key, anchors)]
    if query.ndim != 2 or shapes[1] != shapes[0] or anchors.ndim != 2:
        raise ValueError(f"expected query (N, D), key (N, D) and anchors (K, D), got {shapes}")
    if anchors.shape[1] != query.shape[1] or not query.numel() or not anchors.numel():
        raise ValueError(f"expected embeddings of one width, and at least one, got {shapes}")
    query, key, anchors = (
        F.normalize(part.detach().cpu().float(), dim=1) for part in (query, key, anchors)
    )
    positive, negative = (query * key).sum(dim=1), query @ anchors.T
    nearest = (positive > negative.max(dim=1).values).float().mean()
    figure = Figure(figsize=(PANEL, 2.4), layout="constrained")
    axis = figure.add_subplot()
    for name, similarities, color, fill in (
        ("anchors of the queue", negative, PALETTE[0], "#CCCCCC"),
        ("own key", positive, PALETTE[1], "none"),
    ):
        values = similarities.flatten().clamp(-1, 1).numpy()
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
