"""The recordings that a run was trained on, and the test recordings among them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.data.hybrid import HybridDataset
from pcm3.data.splits import part_protocols, split
from pcm3.data.store import Store
from pcm3.data.synthetic.motion import SyntheticMotion
from pcm3.encoders.files import encoder_file, is_shipped
from pcm3.io.npz import load_npz
from pcm3.io.reading import fail
from pcm3.methods import Method
from pcm3.runs.folder import Run, find_run

Keys: TypeAlias = NDArray[np.uint64]
_NONE: Keys = np.zeros(0, np.uint64)
_FORM = ("normalization", "dtype", "fps", "unit", "bodies")
"""What two stores need in common so that equal recordings have equal coordinates."""


class Record(NamedTuple):
    """Sequences as keys, so that they are recognised in any store. All keys are sorted.

    Attributes:
        trained: The training sequences: CRC-32 of the coordinates, and number of frames.
        others: The other sequences of the training stores, in the same way.
        names: Hashes of the names of the training sequences.
    """

    trained: Keys = _NONE
    others: Keys = _NONE
    names: Keys = _NONE


class Past(NamedTuple):
    """What weights have seen.

    Attributes:
        stores: The stores, as ``describe_seen`` describes them; None if there may be others.
        record: The sequences, as far as they are known.
    """

    stores: list[dict[str, Any]] | None
    record: Record


NOTHING = Past([], Record())
"""What new weights have seen."""


class Found(NamedTuple):
    """What is known of each sequence of a store.

    Attributes:
        seen: Whether the weights have seen it (N,).
        unknown: Whether they may have seen it (N,).
    """

    seen: NDArray[np.bool_]
    unknown: NDArray[np.bool_]

    def count_in(self, indices: ArrayLike) -> int | None:
        """Count the sequences, of those given, that were seen; None if none was for sure."""
        chosen = np.asarray(indices)
        count = int(self.seen[chosen].sum())
        return None if count == 0 and self.unknown[chosen].any() else count


def describe_seen(store: Store, protocol: str | None) -> dict[str, Any]:
    """Describe a training store for the ``config.json`` of a run.

    Args:
        store: The store.
        protocol: The protocol that selected the training sequences; None if none did.
    """
    known = {"recorded": store.checksums is not None, "form": _form(store)}
    return {**name_data(store), "protocol": protocol, **identify(store), **known}


def name_data(store: Store) -> dict[str, str]:
    """Return the name of a store and, where the store knows them, its source and licence."""
    known = {key: str(store.meta.get(key) or "") for key in ("source", "licence")}
    names = {key: value for key, value in known.items() if value}
    return {"store": store.path.resolve().name, **names}


def find_past(path: str | Path) -> Past:
    """Find out what an encoder has seen.

    Args:
        path: A run folder, the file of an encoder, or ``"pretrained"``, which has seen nothing. Of
            a file outside its run folder, nothing is known.

    Raises:
        SkeletonFormatError: If there is no encoder, or a file of the run is damaged.
    """
    run = _run_of(path)
    if run is None:
        return NOTHING if is_shipped(path) else Past(None, Record())
    settings, record = run.settings(), _read_record(run)
    stores = settings.get("seen")
    if settings["train"].get("epochs") == 0 and "start" not in settings:
        stores = []
    if record is None and stores is not None:
        stores = [{**entry, "recorded": False} for entry in stores]
    return Past(stores, record or Record())


def past_of_model(model: Method) -> Past:
    """Return what a model has seen: what it was trained on, or else its encoder, if from a file."""
    if model.past is not None:
        return cast(Past, model.past)
    origin = getattr(model.encoder, "origin", None)
    if origin is None:
        return NOTHING
    return find_past(origin) if Path(origin).is_file() else Past(None, Record())


def past_of(dataset: ClipDataset) -> Past:
    """Return what training on a data set shows to new weights.

    Of synthetic motion only names are recorded, because it is generated during training. Of a
    data set of another class than those of this package, nothing is known.
    """
    if isinstance(dataset, SyntheticMotion):
        return Past([], Record(names=_hashes(dataset.names)))
    past = NOTHING
    for part in dataset.datasets if isinstance(dataset, HybridDataset) else [dataset]:
        if not isinstance(part, SkeletonDataset):
            return Past(None, Record())
        past = join_pasts(past, _past_of_store(part.store, np.unique(part.indices)))
    return past


def join_pasts(before: Past, after: Past) -> Past:
    """Return what weights have seen after both."""
    stores = None
    if before.stores is not None and after.stores is not None:
        stores = before.stores + [entry for entry in after.stores if entry not in before.stores]
    pairs = zip(before.record, after.record, strict=True)
    trained, others, names = (np.union1d(*pair) for pair in pairs)
    return Past(stores, Record(trained, np.setdiff1d(others, trained), names))


def find_seen(past: Past, store: Store) -> Found:
    """Find the sequences of a store that weights have seen.

    A sequence is recognised by its coordinates, if both stores have checksums. One that is not
    recognised may be a training sequence that was prepared in another way. If the numbers of
    sequences and frames say that the store is the training store, the protocol of the training
    tells. Otherwise it is unknown if the sequence has the name of a training sequence, or if the
    coordinates of the two stores cannot be equal, unless both their names and sources differ.
    """
    seen, doubtful, unknown = np.zeros((3, len(store)), dtype=bool)
    every = new = np.ones(len(store), dtype=bool)
    recorded = store.checksums is not None
    if recorded:
        keys = _keys(store)
        seen = np.isin(keys, past.record.trained)
        new = ~seen & ~np.isin(keys, past.record.others)
        if new.any() and len(past.record.names):
            doubtful = new & np.isin(_hashes(store.names), past.record.names)
    identity, is_known = identify(store), False
    for entry in past.stores or []:
        in_record = recorded and entry.get("recorded", False)
        rest = new if in_record else every  # what the record does not decide
        same = {name: entry[name] for name in identity} == identity
        if same and entry["protocol"] is not None:
            try:
                training = split(store, entry["protocol"])[0]
                seen[training] |= rest[training]
                is_known = True
            except ValueError:  # prepared again, and no longer has the protocol
                unknown |= rest
        elif not (in_record and entry.get("form") == _form(store)) and not _differs(entry, store):
            doubtful |= rest
    if not is_known:
        unknown |= doubtful
    if past.stores is None:
        unknown |= every
    return Found(seen, unknown & ~seen)


def own_protocol(run: Run, store: Store) -> tuple[list[str], bool]:
    """Find the protocols that a run was trained under, and whether it was trained on this store.

    The list has one protocol if the run was trained on this store or on a single other one, several
    if it was trained on several others, and is empty if the protocol is unknown.
    """
    settings = run.settings()
    known = _of_store(settings.get("seen") or [], store)
    if known and known[-1]["protocol"] is not None:
        return [str(known[-1]["protocol"])], True
    protocol = settings.get("protocol")
    return [] if protocol is None else part_protocols(protocol), False


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


def _run_of(path: str | Path) -> Run | None:
    """Find the run of an encoder; None if its settings are not beside it."""
    run, _ = find_run(path)
    if run is None:
        file = encoder_file(path).resolve()
        run = Run(file.parent)
        if file.name != run.encoder.name:
            return None
    return run if run.config.is_file() else None


def _read_record(run: Run) -> Record | None:
    """Read the record of a run; None in a run of an earlier version."""
    if not run.seen.is_file():
        return None
    arrays, _ = load_npz(run.seen, Record._fields, ())
    record = Record(*(np.array(arrays[name]) for name in Record._fields))
    if any(keys.dtype != np.uint64 or keys.ndim != 1 for keys in record):
        fail(run.seen, "expected keys (K,) uint64")
    return record


def _past_of_store(store: Store, indices: NDArray[np.int64]) -> Past:
    stores = [describe_seen(store, None)]
    if store.checksums is None:
        return Past(stores, Record())
    keys = _keys(store)
    trained = np.unique(keys[indices])
    names = _hashes(name for index in indices.tolist() if (name := store.names[index]))
    return Past(stores, Record(trained, np.setdiff1d(keys, trained), np.unique(names)))


def _keys(store: Store) -> Keys:
    assert store.checksums is not None
    return store.checksums.astype(np.uint64) << np.uint64(32) | store.lengths.astype(np.uint64)


def _hashes(names: Iterable[str]) -> Keys:
    whole = [blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(whole), np.uint64)


def _form(store: Store) -> dict[str, Any]:
    """What equal coordinates have in common."""
    form = {name: store.meta.get(name) for name in _FORM}
    return form | {"skeleton": store.skeleton.name}


def _of_store(seen: Sequence[dict[str, Any]], store: Store) -> list[dict[str, Any]]:
    identity = identify(store)
    return [entry for entry in seen if {name: entry[name] for name in identity} == identity]


def _differs(entry: dict[str, Any], store: Store) -> bool:
    """Whether a training store is another one than a store, by their names and sources."""
    here = name_data(store)
    known = "source" in entry and "source" in here
    return known and entry["source"] != here["source"] and entry["store"] != here["store"]
