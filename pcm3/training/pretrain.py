"""One pretraining run: a store and a configuration in, a run folder out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split, validation_split
from pcm3.data.store import Store
from pcm3.evaluation.recognition import check_labels, evaluate_knn
from pcm3.hub import Pretrained
from pcm3.methods.pcm3 import PCM3
from pcm3.training.config import Config
from pcm3.training.run import Run
from pcm3.training.trainer import fit


def pretrain(
    config: Config, store: Store, out: str | Path, *, quiet: bool = False
) -> list[dict[str, Any]]:
    """Pretrain on the training part of a store, or continue a run that was stopped.

    Args:
        config: All settings.
        store: The data; only the protocol's training part is seen.
        out: The run folder.
        quiet: Show no progress.

    Returns:
        One record of metrics for each epoch.

    Raises:
        ValueError: If the folder holds a run with other settings or another store's data.
    """
    train, _ = split(store, config.protocol)
    torch.manual_seed(config.train.seed)
    model = config.model.build(store.skeleton, store.persons, store.frames.shape[-1])
    run = Run(out)
    _claim(run, config, store)
    monitor = _knn_monitor(store, train, config, quiet) if config.train.knn_every else None
    return fit(
        model, SkeletonDataset(store, train), config.train, out, monitor=monitor, quiet=quiet
    )


def _claim(run: Run, config: Config, store: Store) -> None:
    """Write the settings of a new run; refuse to continue one that has others.

    A folder in which nothing was trained yet, because the first attempt failed, is a new run.
    """
    settings = json.loads(config.to_json())
    settings["data"] = {"sequences": len(store), "skeleton": store.skeleton.to_dict()}
    text = json.dumps(settings, indent=2) + "\n"
    trained = run.checkpoint.exists() or run.encoder.exists()
    if not (trained and run.config.exists()):
        run.write_text(run.config, text)
        return
    differences = _differences(json.loads(run.config.read_text()), json.loads(text))
    if differences:
        raise ValueError(
            f"{run.path} holds a run with other settings ({'; '.join(differences)}): "
            "give the same, or another --out"
        )


def _differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted(set(there) | set(here)):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} is {old} there and {new} here")
    return found


def _knn_monitor(
    store: Store, train: NDArray[np.int64], config: Config, quiet: bool
) -> Callable[[PCM3], dict[str, float]] | None:
    """Nearest neighbours of a held-out part of the training data, where it can be held out.

    Pretraining itself needs neither labels nor several subjects.
    """
    try:
        parts = validation_split(store, train, config.protocol)
        gallery, queries = (SkeletonDataset(store, part) for part in parts)
        check_labels(gallery, queries)
    except ValueError as reason:
        if not quiet:
            print(f"no nearest-neighbour checks during training: {reason}", file=sys.stderr)
        return None

    def monitor(model: PCM3) -> dict[str, float]:
        view = Pretrained(model.encoder, model.skeleton, model.stream, model.frames)
        return {"knn": evaluate_knn(view, gallery, queries)["top1"]}

    return monitor
