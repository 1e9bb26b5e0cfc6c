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
from pcm3.methods import Method
from pcm3.training.config import Config
from pcm3.training.run import Run
from pcm3.training.trainer import fit


def pretrain(
    config: Config,
    stores: Store | Sequence[Store],
    out: str | Path,
    *,
    start: str | Path | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Pretrain on the training part of one or more stores, or continue a run that was stopped.

    Args:
        config: All settings.
        stores: The data; only the protocol's training part of each is seen. The nearest-neighbour
            checks during training are made on the first.
        out: The run folder.
        start: A run folder whose last checkpoint gives the weights to start from; the optimiser
            starts afresh.
        quiet: Show no progress.

    Returns:
        One record of metrics for each epoch.

    Raises:
        ValueError: If the folder holds a run with other settings or other data, the stores do
            not fit together, or the weights to start from are of another model.
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
    if start is not None:
        _load(model, Run(start))
        settings["start"] = Path(start).resolve().name
    return fit(model, data, config.train, out, settings=settings, monitor=monitor, quiet=quiet)


def _load(model: Method, run: Run) -> None:
    state = run.load_checkpoint()
    if state is None:
        raise ValueError(f"expected a run folder with a checkpoint to start from, got {run.path}")
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{run.path} is of another model: {what:.300}") from None


def _knn_monitor(
    store: Store, train: NDArray[np.int64], persons: int, config: Config, quiet: bool
) -> Callable[[Method], dict[str, float]] | None:
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

    def monitor(model: Method) -> dict[str, float]:
        view = Pretrained(model.trained_encoder, model.skeleton, model.stream, model.frames)
        return {"knn": evaluate_knn(view, gallery, queries)["top1"]}

    return monitor
