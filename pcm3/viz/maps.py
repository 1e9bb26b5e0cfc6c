"""Maps of features: two coordinates for each sequence, by PCA and by t-SNE."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pcm3.checks import check_rows_finite, check_seed

_DECIMALS = 4
_FEWEST = 4  # fewer features have no neighbourhoods for t-SNE


def embedding_map(
    features: ArrayLike, labels: ArrayLike, limit: int = 1000, seed: int = 0
) -> dict[str, Any] | None:
    """Lay features out in the plane, by PCA and by t-SNE.

    Features are L2-normalised, so that distances order them as the cosine does.

    Args:
        features: ``(N, D)``.
        labels: Class of each feature (N,).
        limit: Largest number of features to lay out, at least 4; of more, this many are drawn at
            random.
        seed: Seed of that draw and of t-SNE.

    Returns:
        ``rows`` (indices of the features, sorted), their ``labels``, and ``pca`` and ``tsne``, each
        a list of ``[x, y]``. None if N < 4 or D < 2.

    Raises:
        ValueError: If the shapes do not fit, a feature is not finite (the message names its row),
            or the seed is out of range.

    Source:
        van der Maaten and Hinton, JMLR 2008, as in scikit-learn, with perplexity 30 or N / 3,
        whichever is less, and initialised by PCA.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 - scikit-learn is slow
    from sklearn.manifold import TSNE  # noqa: PLC0415

    values, labels = np.asarray(features, np.float64), np.asarray(labels)
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(
            f"expected features (N, D) and labels (N,), got {values.shape} and {labels.shape}"
        )
    check_rows_finite("features", torch.from_numpy(values))
    check_seed(seed)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(values))[: max(limit, _FEWEST)])
    if len(rows) < _FEWEST or values.shape[1] < 2:
        return None
    norms = np.linalg.norm(values[rows], axis=1, keepdims=True)
    chosen = values[rows] / np.maximum(norms, 1e-12)
    pca, tsne = np.zeros((len(rows), 2)), np.zeros((len(rows), 2))
    if np.ptp(chosen, axis=0).max() > 1e-9:  # otherwise all features are equal
        pca = PCA(2, svd_solver="full").fit_transform(chosen)
        model = TSNE(2, init=pca / pca[:, 0].std() * 1e-4, random_state=seed, n_jobs=1)
        tsne = model.set_params(perplexity=min(30, (len(rows) - 1) / 3)).fit_transform(chosen)
    return {
        "rows": rows.tolist(),
        "labels": labels[rows].tolist(),
        "pca": _rounded(pca),
        "tsne": _rounded(tsne),
    }


def _rounded(points: NDArray[Any]) -> list[list[float]]:
    rounded: list[list[float]] = points.astype(np.float64).round(_DECIMALS).tolist()
    return rounded
