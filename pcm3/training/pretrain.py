"""One pretraining run: a store and a configuration in, a run folder out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcm3.data.dataset import HybridDataset, SkeletonDataset
from pcm3.data.splits import split, validation_split
from pcm3.data.store import Store
from pcm3.evaluation.recognition import check_labels, evaluate_knn
from pcm3.hub import Pretrained
from pcm3.methods.pcm3 import PCM3
from pcm3.training.config import Config
from pcm3.training.trainer import fit


def pretrain(
    config: Config, stores: Store | Sequence[Store], out: str | Path, *, quiet: bool = False
) -> list[dict[str, Any]]:
    """Pretrain on the training part of one or more stores, or continue a run that was stopped.

    Args:
        config: All settings.
        stores: The data; only the protocol's training part of each is seen. The nearest-neighbour
            checks during training are made on the first.
        out: The run folder.
        quiet: Show no progress.

    Returns:
        One record of metrics for each epoch.

    Raises:
        ValueError: If the folder holds a run with other settings or other data, or the stores do
            not fit together.
    """
    stores = [stores] if isinstance(stores, Store) else list(stores)
    paths = [str(store.path) for store in stores]
    if len({store.path.resolve() for store in stores}) < len(stores):
        raise ValueError(f"expected different stores, got {', '.join(paths)}")
    train = [split(store, config.protocol)[0] for store in stores]
    persons = max(store.persons for store in stores)
    data = HybridDataset(
        [
            SkeletonDataset(store, part, persons=persons, skeleton=stores[0].skeleton)
            for store, part in zip(stores, train, strict=True)
        ]
    )
    first = stores[0]
    torch.manual_seed(config.train.seed)
    model = config.model.build(first.skeleton, persons, first.channels)
    monitor = _knn_monitor(first, train[0], persons, config, quiet)
    settings = json.loads(config.to_json())
    return fit(model, data, config.train, out, settings=settings, monitor=monitor, quiet=quiet)


def _knn_monitor(
    store: Store, train: NDArray[np.int64], persons: int, config: Config, quiet: bool
) -> Callable[[PCM3], dict[str, float]] | None:
    """Nearest neighbours of a held-out part of the training data, where it can be held out.

    Pretraining itself needs neither labels nor several subjects.
    """
    if not config.train.knn_every:
        return None
    try:
        parts = validation_split(store, train, config.protocol)
        gallery, queries = (SkeletonDataset(store, part, persons=persons) for part in parts)
        check_labels(gallery, queries)
    except ValueError as reason:
        if not quiet:
            print(f"no nearest-neighbour checks during training: {reason}", file=sys.stderr)
        return None

    def monitor(model: PCM3) -> dict[str, float]:
        view = Pretrained(model.encoder, model.skeleton, model.stream, model.frames)
        return {"knn": evaluate_knn(view, gallery, queries)["top1"]}

    return monitor
