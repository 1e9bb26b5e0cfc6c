"""What a run was trained on: its data known again, and tests on them not unnoticed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pcm3.data.dataset import ClipDataset
from pcm3.data.splits import part_protocols, split
from pcm3.data.store import Store
from pcm3.runs.folder import Run


def describe_seen(store: Store, protocol: str) -> dict[str, Any]:
    """What a run's ``config.json`` says about a store that it is trained on."""
    return {"store": store.path.resolve().name, "protocol": protocol, **identify(store)}


def count_seen(run: Run, store: Store, indices: ArrayLike) -> int | None:
    """How many of these sequences of a store a run was trained on; None if that is not known.

    A store is known again by its number of sequences and frames, wherever it lies. It is not known
    where the store was prepared anew and no longer has the protocol.
    """
    seen = run.settings().get("seen")
    if seen is None:
        return None
    trained = np.zeros(len(store), dtype=bool)
    try:
        for each in _of_store(seen, store):
            trained[split(store, each["protocol"])[0]] = True
    except ValueError:
        return None
    return int(trained[np.asarray(indices)].sum())


def own_protocol(run: Run, store: Store) -> tuple[list[str], bool]:
    """The protocols that a run was trained under, and whether it was trained on this store.

    One of a run that was trained on this store or on a single other one, several of a run on
    several others, none if unknown.
    """
    settings = run.settings()
    if known := _of_store(settings.get("seen") or [], store):
        return [str(known[-1]["protocol"])], True
    protocol = settings.get("protocol")
    return [] if protocol is None else part_protocols(protocol), False


def _of_store(seen: Sequence[dict[str, Any]], store: Store) -> list[dict[str, Any]]:
    identity = identify(store)
    return [each for each in seen if {name: each[name] for name in identity} == identity]


def identify(store: Store) -> dict[str, int]:
    """What a store is known again by."""
    return {"sequences": len(store), "frames": int(store.lengths.sum())}


def describe_data(dataset: ClipDataset) -> dict[str, Any]:
    """What a data set is known again by: a checksum of all lengths and clips among it.

    Where the stores have no checksums of their own, it covers a few of the clips.
    """
    checksum = zlib.crc32(np.ascontiguousarray(dataset.lengths).tobytes())
    known = dataset.checksums
    if known is not None:
        checksum = zlib.crc32(known.tobytes(), checksum)
    else:
        for item in np.linspace(0, len(dataset) - 1, min(len(dataset), 16)).astype(int).tolist():
            checksum = zlib.crc32(dataset[item][0].numpy().tobytes(), checksum)
    return {
        "sequences": len(dataset),
        "frames": int(dataset.lengths.sum()),
        "checksum": f"{checksum:08x}",
        "normalization": dataset.normalization,
        "skeleton": {"name": dataset.skeleton.name, "joints": list(dataset.skeleton.joints)},
    }
