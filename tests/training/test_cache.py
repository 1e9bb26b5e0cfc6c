"""Batches that are gathered on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.data.hybrid import HybridDataset
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate
from pcm3.methods.settings import TrainSettings
from pcm3.training.cache import DeviceCache, fits_on

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=300, classes=3, subjects=4, frames=(3, 30))


def halved(store: Store, out: Path) -> Store:
    names, kind = store.class_names, store.meta["normalization"]
    with StoreWriter(
        out, store.skeleton, dtype="float16", class_names=names, normalization=kind
    ) as writer:
        for index in range(len(store)):
            writer.add(store.sequence(index), int(store.labels[index]))
    return Store(out)


@pytest.mark.parametrize("kind", ["whole", "part", "windows", "float16", "hybrid", "motion"])
def test_batches_are_those_of_the_data_set(store: Store, tmp_path: Path, kind: str) -> None:
    if kind in ("float16", "hybrid"):
        half = halved(store, tmp_path / "half")
    part: Any = range(299, 3, -2)
    dataset: ClipDataset = {
        "whole": lambda: SkeletonDataset(store),
        "part": lambda: SkeletonDataset(store, part, persons=3, max_frames=9),
        "windows": lambda: SkeletonDataset(store, window=8),
        "float16": lambda: SkeletonDataset(half),
        "hybrid": lambda: HybridDataset([SkeletonDataset(store, part), SkeletonDataset(half)]),
        "motion": lambda: SkeletonDataset(store, stream="motion"),
    }[kind]()
    rows = [[0, 5, 2], [len(dataset) - 1, 1, 1], [140, 3, 77]]
    for row, found in zip(rows, DeviceCache(dataset, CPU).batches(rows), strict=True):
        expected = dataset.batch(row)
        for name, value in expected._asdict().items():
            assert torch.equal(getattr(found, name), value), name
            assert getattr(found, name).dtype == value.dtype


def test_what_lies_on_the_device(store: Store) -> None:
    dataset = SkeletonDataset(store)
    assert not fits_on(dataset, CPU, TrainSettings())
    assert fits_on(dataset, CPU, TrainSettings(cache="device"))
    assert not fits_on(dataset, CPU, TrainSettings(cache="none"))
