"""Checks of the features during training, on a held-out part of the training data."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from pcm3.data.dataset import LONGEST, SkeletonDataset
from pcm3.data.splits import validation_split
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.classification import check_labels
from pcm3.evaluation.features import extract_features, extract_random_crops
from pcm3.evaluation.metrics import accuracy
from pcm3.evaluation.neighbours import nearest_labels
from pcm3.evaluation.probes import fit_ridge
from pcm3.evaluation.representation import alignment, effective_rank, normalized_std, uniformity
from pcm3.methods import Method
from pcm3.terminal import tell


def feature_monitor(
    store: Store,
    training: NDArray[np.int64],
    protocol: str,
    select: Callable[[NDArray[np.int64], int | None], SkeletonDataset],
    max_frames: int | None,
    quiet: bool = False,
) -> Callable[[Method], dict[str, float]] | None:
    """Return a function that measures the features of a method in training.

    It holds out a part of the training data, on which the method trains too, but without labels.
    The measures are ``knn`` and ``linear``, the accuracies of the nearest neighbour and of ridge
    regression among the other training data, ``feature_rank``, ``feature_std``, and of two random
    crops of each clip ``alignment`` and ``uniformity``, see :mod:`pcm3.evaluation.representation`.

    Args:
        store: The data.
        training: Indices of the training part.
        protocol: Protocol of the training part.
        select: Function that takes indices and the frame after which sequences are cut off, and
            returns these sequences as the method sees them.
        max_frames: The frame after which sequences are cut off; None for nowhere.
        quiet: Do not say on standard error why measures are left out.

    Returns:
        The function; without ``knn`` and ``linear`` if there are too few labels, and None if no
        part can be held out. Pretraining needs neither labels nor several subjects.
    """
    labelled: tuple[SkeletonDataset, SkeletonDataset] | None = None
    held_out = np.zeros(0, dtype=np.int64)
    try:
        rest, held_out = validation_split(store, training, protocol)
        known, queried = (part[store.labels[part] >= 0] for part in (rest, held_out))
        gallery, queries = select(known, max_frames), select(queried, max_frames)
        if len(gallery) == 0 or len(queries) == 0:
            raise ValueError(f"{store.path} has too few labels")
        check_labels(gallery, queries)
        labelled = gallery, queries
    except ValueError as reason:
        if not quiet:
            tell(f"no nearest-neighbour checks during training: {reason}", file=sys.stderr)
    if len(held_out) < 2:
        return None
    clips = select(held_out, LONGEST if max_frames is None else max_frames)

    def monitor(model: Method) -> dict[str, float]:
        view = Pretrained(model.trained_encoder, model.skeleton, model.stream, model.frames)
        return (_measure_accuracy(view, *labelled) if labelled else {}) | _measure_spread(
            view, clips
        )

    return monitor


def _measure_accuracy(
    view: Pretrained, gallery: SkeletonDataset, queries: SkeletonDataset
) -> dict[str, float]:
    known, queried = (extract_features(view, part) for part in (gallery, queries))
    ridge = fit_ridge(known, len(queries.class_names))
    linear = accuracy(ridge(queried.values).argmax(dim=1), queried.labels)
    known, queried = known.on(view.device), queried.on(view.device)
    nearest = nearest_labels(known.values, known.labels, queried.values)
    return {"knn": accuracy(nearest, queried.labels), "linear": linear}


def _measure_spread(view: Pretrained, clips: SkeletonDataset) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)  # the same crops each time
    first, second = (extract_random_crops(view, clips, generator).values for _ in range(2))
    return {
        "feature_rank": effective_rank(first),
        "feature_std": normalized_std(first),
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
    }
