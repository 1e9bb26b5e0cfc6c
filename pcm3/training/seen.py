"""What a run was trained on: its data known again, and tests on them not unnoticed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pcm3.data.dataset import ClipDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.training.run import Run


def describe_seen(store: Store, protocol: str) -> dict[str, Any]:
    """What a run's ``config.json`` says about a store that it is trained on."""
    return {"store": store.path.resolve().name, "protocol": protocol, **identify(store)}


def count_seen(seen: Sequence[dict[str, Any]], store: Store, indices: ArrayLike) -> int:
    """How many of these sequences of a store were trained on.

    A store is known again by its number of sequences and frames, wherever it lies.
    """
    trained = np.zeros(len(store), dtype=bool)
    for each in _of_store(seen, store):
        trained[split(store, each["protocol"])[0]] = True
    return int(trained[np.asarray(indices)].sum())


def own_protocol(run: Run, store: Store) -> tuple[str | None, bool]:
    """The protocol that a run was trained under, and whether it was trained on this store.

    Of a run on several stores it is this one's or else all of theirs, space between; None if
    unknown.
    """
    settings = run.settings()
    known: list[dict[str, Any]] = _of_store(settings.get("seen") or [], store)
    return known[-1]["protocol"] if known else settings.get("protocol"), bool(known)


def _of_store(seen: Sequence[dict[str, Any]], store: Store) -> list[dict[str, Any]]:
    identity = identify(store)
    return [each for each in seen if {name: each[name] for name in identity} == identity]


def identify(store: Store) -> dict[str, int]:
    """What a store is known again by."""
    return {"sequences": len(store), "frames": int(store.lengths.sum())}


def describe_data(dataset: ClipDataset) -> dict[str, Any]:
    """What a data set is known again by: a checksum of all lengths and of a few clips among it."""
    checksum = zlib.crc32(np.ascontiguousarray(dataset.lengths).tobytes())
    for item in np.linspace(0, len(dataset) - 1, min(len(dataset), 16)).astype(int).tolist():
        checksum = zlib.crc32(dataset[item][0].numpy().tobytes(), checksum)
    return {
        "sequences": len(dataset),
        "frames": int(dataset.lengths.sum()),
        "checksum": f"{checksum:08x}",
        "normalization": dataset.normalization,
        "skeleton": {"name": dataset.skeleton.name, "joints": list(dataset.skeleton.joints)},
    }
