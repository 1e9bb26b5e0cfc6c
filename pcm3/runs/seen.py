"""The recordings that a run was trained on, and the test recordings among them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.dataset import ClipDataset
from pcm3.data.splits import part_protocols, split
from pcm3.data.store import Store
from pcm3.runs.folder import Run


def describe_seen(store: Store, protocol: str) -> dict[str, Any]:
    """Describe a training store for the ``config.json`` of a run."""
    return {**name_data(store), "protocol": protocol, **identify(store)}


def name_data(store: Store) -> dict[str, str]:
    """Return the name of a store and, where the store knows them, its source and licence."""
    known = {key: str(store.meta.get(key) or "") for key in ("source", "licence")}
    names = {key: value for key, value in known.items() if value}
    return {"store": store.path.resolve().name, **names}


def find_seen(run: Run, store: Store) -> NDArray[np.bool_] | None:
    """Return whether a run was trained on each sequence of a store (N,); None if unknown.

    A store is recognised by its number of sequences and frames, even after it has moved. It is
    unknown what was seen of a store that was prepared again and no longer has the protocol.
    """
    seen = run.settings().get("seen")
    if seen is None:
        return None
    trained = np.zeros(len(store), dtype=bool)
    try:
        for entry in _of_store(seen, store):
            trained[split(store, entry["protocol"])[0]] = True
    except ValueError:
        return None
    return trained


def count_seen(run: Run, store: Store, indices: ArrayLike) -> int | None:
    """Count the given sequences of a store that a run was trained on; None if unknown."""
    trained = find_seen(run, store)
    return None if trained is None else int(trained[np.asarray(indices)].sum())


def own_protocol(run: Run, store: Store) -> tuple[list[str], bool]:
    """Find the protocols that a run was trained under, and whether it was trained on this store.

    The list has one protocol if the run was trained on this store or on a single other one, several
    if it was trained on several others, and is empty if the protocol is unknown.
    """
    settings = run.settings()
    if known := _of_store(settings.get("seen") or [], store):
        return [str(known[-1]["protocol"])], True
    protocol = settings.get("protocol")
    return [] if protocol is None else part_protocols(protocol), False


def _of_store(seen: Sequence[dict[str, Any]], store: Store) -> list[dict[str, Any]]:
    identity = identify(store)
    return [entry for entry in seen if {name: entry[name] for name in identity} == identity]


def identify(store: Store) -> dict[str, int]:
    """Return the numbers by which a store is recognised."""
    return {"sequences": len(store), "frames": int(store.lengths.sum())}


def describe_data(dataset: ClipDataset) -> dict[str, Any]:
    """Describe a data set so that it is recognised, with a checksum of all lengths and clips.

    If the stores have no checksums of their own, it covers only some of the clips.
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
