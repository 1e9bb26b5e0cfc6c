"""One pretraining run: a store and a configuration in, a run folder out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split, validation_split
from pcm3.data.store import Store
from pcm3.evaluation.recognition import evaluate_knn
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
    monitor = None
    if config.train.knn_every:
        gallery, queries = validation_split(store, train, config.protocol)
        monitor = _knn_monitor(SkeletonDataset(store, gallery), SkeletonDataset(store, queries))
    return fit(
        model, SkeletonDataset(store, train), config.train, out, monitor=monitor, quiet=quiet
    )


def _claim(run: Run, config: Config, store: Store) -> None:
    """Write the settings of a new run; refuse to continue one that has others."""
    settings = json.loads(config.to_json())
    settings["data"] = {"sequences": len(store), "skeleton": store.skeleton.to_dict()}
    text = json.dumps(settings, indent=2) + "\n"
    if not run.config.exists():
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
    gallery: SkeletonDataset, queries: SkeletonDataset
) -> Callable[[PCM3], dict[str, float]]:
    def monitor(model: PCM3) -> dict[str, float]:
        view = Pretrained(model.encoder, model.skeleton, model.stream, model.frames)
        return {"knn": evaluate_knn(view, gallery, queries)["top1"]}

    return monitor
