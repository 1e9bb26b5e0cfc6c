"""Protocols: which sequences train and which test."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.store import Store

__all__ = ["split", "validation_split"]

Indices = NDArray[np.int64]

_PROTOCOLS = (
    "xsub (odd subjects train), xview (the highest view tests), fold:K (fold K tests), "
    "subjects:1,3 or views:1,2 or any column (these train, the rest tests), "
    "all (everything in both)"
)


def split(store: Store, protocol: str, *, drop_duplicates: bool = True) -> tuple[Indices, Indices]:
    """The training and the test part of a store.

    Args:
        store: The data.
        protocol: ``"xsub"``: odd subjects train, even ones test. ``"xview"``: the highest view
            tests. ``"fold:K"``: fold K tests. ``"subjects:1,3,5"``, ``"views:1,2"`` or any other
            column: sequences with these values train, the rest tests. ``"all"``: everything in
            both.
        drop_duplicates: Leave out of the test part what is bit-identical to a training sequence
            (``"all"`` keeps everything).

    Returns:
        Sorted indices of the training and the test sequences, int64.

    Raises:
        ValueError: If the protocol is unknown, the store lacks its column, or a part is empty.

    Example:
        >>> train, test = split(Store("utd"), "subjects:1,3,5,7")            # doctest: +SKIP
    """
    if protocol == "all":
        return np.arange(len(store)), np.arange(len(store))
    train = _training_mask(store, protocol)
    return _parts(store, train, ~train, protocol, drop_duplicates=drop_duplicates)


def validation_split(
    store: Store,
    train_indices: ArrayLike,
    protocol: str = "xsub",
    *,
    fraction: float = 0.25,
    drop_duplicates: bool = True,
) -> tuple[Indices, Indices]:
    """Split a training part again, to choose settings without looking at test data.

    Holds out the last ``fraction`` (at least one) of the values of the protocol's own column, so
    that validation asks what the test will ask: unseen subjects for ``"xsub"``, an unseen view
    for ``"xview"``, a fold for ``"fold:K"``. Subjects where that column has one value left.

    Args:
        store: The data.
        train_indices: The training part, as ``split`` gives it.
        protocol: The protocol that made it.
        fraction: Share of the values to hold out, in (0, 1).
        drop_duplicates: Leave out of the validation part what is bit-identical to a sequence
            that still trains.

    Returns:
        Sorted indices of what trains and what validates, int64.

    Raises:
        ValueError: If the fraction is out of range, or nothing is left to train or validate.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a fraction in (0, 1), got {fraction}")
    chosen = np.zeros(len(store), dtype=bool)
    chosen[np.asarray(train_indices)] = True
    column = "subjects" if protocol == "all" else _column_of(protocol)
    if len(np.unique(_column(store, column, protocol)[chosen])) < 2:
        column = "subjects"
    values = _column(store, column, protocol)
    groups = np.unique(values[chosen])
    held_out = groups[-max(1, round(fraction * len(groups))) :]
    test = chosen & np.isin(values, held_out)
    what = f"validation part of {protocol}"
    return _parts(store, chosen & ~test, test, what, drop_duplicates=drop_duplicates)


def _column_of(protocol: str) -> str:
    name = protocol.partition(":")[0]
    return {"xsub": "subjects", "xview": "views"}.get(name, name)


def _column(store: Store, name: str, protocol: str) -> Indices:
    if name not in store.columns:
        raise ValueError(
            f"protocol {protocol!r} needs the column {name}; {store.path} has "
            f"{', '.join(store.columns)}"
        )
    return store.columns[name]


def _training_mask(store: Store, protocol: str) -> NDArray[np.bool_]:
    name, colon, text = protocol.partition(":")
    if not colon and protocol not in ("xsub", "xview"):
        raise ValueError(f"unknown protocol {protocol!r}; there are {_PROTOCOLS}")
    values = _column(store, _column_of(protocol), protocol)
    if protocol == "xsub":
        return np.equal(values % 2, 1)
    if protocol == "xview":
        return np.not_equal(values, int(values.max()))
    try:
        chosen = [int(value) for value in text.split(",")]
    except ValueError:
        raise ValueError(f"expected integers after the colon in {protocol!r}") from None
    if unknown := sorted(set(chosen) - set(values.tolist())):
        there = ", ".join(map(str, np.unique(values)))
        raise ValueError(
            f"protocol {protocol!r}: {store.path} has no {name} {unknown}, but {there}"
        )
    selected = np.isin(values, chosen)
    return ~selected if name == "fold" else selected


def _parts(
    store: Store,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    protocol: str,
    *,
    drop_duplicates: bool,
) -> tuple[Indices, Indices]:
    if drop_duplicates:
        duplicate_of = store.columns["duplicate_of"]
        first = np.where(duplicate_of >= 0, duplicate_of, np.arange(len(store)))
        test = test & ~np.isin(first, first[train])
    for part, mask in (("training", train), ("test", test)):
        if not mask.any():
            raise ValueError(f"{protocol}: the {part} part of {store.path} is empty")
    return np.flatnonzero(train), np.flatnonzero(test)
