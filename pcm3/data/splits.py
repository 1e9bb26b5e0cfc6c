"""Protocols: which sequences train and which test."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.protocols import Protocol
from pcm3.data.store import Store

__all__ = ["split", "validation_split"]

Indices = NDArray[np.int64]

_GENERIC = (
    "xsub (odd subjects train), xview (the highest view tests), fold:K (fold K tests), "
    "subjects:1,3 or labels:0-19 or any column (these train, the rest tests), "
    "all (everything in both)"
)


def split(store: Store, protocol: str, *, drop_duplicates: bool = True) -> tuple[Indices, Indices]:
    """The training and the test part of a store.

    Args:
        store: The data.
        protocol: A protocol that the data set is published with (``Store.protocols``), or else
            ``"xsub"``: odd subjects train, even ones test. ``"xview"``: the highest view tests.
            ``"fold:K"``: fold K tests. ``"subjects:1,3,5"``, ``"views:1,2"`` or any other
            column: sequences with these values train, the rest tests; ``"labels:0-19"`` keeps
            the other classes for few-shot evaluation. ``"all"``: everything in both.
        drop_duplicates: Leave out of the test part what is bit-identical to a training sequence
            (``"all"`` keeps everything).

    Returns:
        Sorted indices of the training and the test sequences, int64.

    Raises:
        ValueError: If the protocol is unknown, the store lacks its column, ``"xsub"`` or
            ``"xview"`` would have to place a sequence without subject or view, or a part is empty.

    Example:
        >>> train, test = split(Store("utd"), "subjects:1,3,5,7")            # doctest: +SKIP
    """
    if protocol == "all":
        return np.arange(len(store)), np.arange(len(store))
    column, train, test = _resolve(store, protocol)
    values = _columns(store)[column]
    training = np.isin(values, train)
    testing = ~training if test is None else np.isin(values, test)
    hint = "; to pretrain on everything, --protocol all"
    return _parts(store, training, testing, protocol, hint, drop_duplicates=drop_duplicates)


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
    for ``"xview"``, a fold for ``"fold:K"``, but known classes for ``"labels:..."``. Where that
    column has one value left or is of labels, subjects are held out, or else videos.

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
        ValueError: If the fraction is out of range, nothing can be held out, or nothing is left
            to train or validate.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a fraction in (0, 1), got {fraction}")
    chosen = np.zeros(len(store), dtype=bool)
    chosen[np.asarray(train_indices)] = True
    first = "subjects" if protocol == "all" else _resolve(store, protocol).column
    if first == "labels":  # neighbours of unseen classes say nothing
        first = "subjects"
    for column in (first, "subjects", "videos"):
        values = store.columns.get(column, np.zeros(len(store), np.int64))
        groups = np.unique(values[chosen])
        if len(groups) > 1:
            break
    else:
        tried = " or ".join(dict.fromkeys((first, "subjects", "videos")))
        raise ValueError(
            f"{store.path}: nothing of the training part can be held out by {tried}, for all of it "
            "has the same, or none is known"
        )
    held_out = groups[-max(1, round(fraction * len(groups))) :]
    test = chosen & np.isin(values, held_out)
    what = f"validation within the training part of {protocol}"
    return _parts(store, chosen & ~test, test, what, drop_duplicates=drop_duplicates)


def _resolve(store: Store, protocol: str) -> Protocol:
    """The column and the values that a protocol means in this store."""
    if protocol in store.protocols:
        return store.protocols[protocol]
    if store.protocols and protocol in ("xsub", "xview"):
        raise ValueError(
            f"{store.path} is published with {' and '.join(store.protocols)}, not with "
            f"{protocol!r}; name the values that train, views:2,3 say"
        )
    name, colon, text = protocol.partition(":")
    if not colon and name not in ("xsub", "xview"):
        own = "".join(f"{own}, " for own in store.protocols)
        raise ValueError(f"unknown protocol {protocol!r}; there are {own}{_GENERIC}")
    column = {"xsub": "subjects", "xview": "views"}.get(protocol, name)
    columns = _columns(store)
    if column not in columns:
        raise ValueError(
            f"protocol {protocol!r} needs the column {column}; {store.path} has "
            f"{', '.join(columns)}; protocol 'all' needs none"
        )
    there = np.unique(columns[column]).tolist()
    unknown = int((columns[column] < 0).sum())
    if protocol in ("xsub", "xview") and unknown == len(store):
        others = [name for name in columns if name not in (column, "duplicate_of")]
        raise ValueError(
            f"protocol {protocol!r}: {store.path} knows none of the {column} (-1); name values of "
            f"another column that train, {others[-1]}:1 say"
        )
    if protocol in ("xsub", "xview") and unknown:
        raise ValueError(
            f"protocol {protocol!r}: in {store.path} {unknown} of {len(store)} sequences have none "
            f"of the {column} (-1); name those that train, and the rest tests: {column}:1,3 say"
        )
    if protocol == "xsub":
        return Protocol(column, tuple(value for value in there if value % 2))
    if protocol == "xview" and len(there) < 2:
        raise ValueError(
            f"protocol 'xview' needs several views; {store.path} has only view {there[0]}"
        )
    if protocol == "xview":
        return Protocol(column, tuple(there[:-1]))
    chosen = _numbers(text, protocol)
    if absent := sorted(set(chosen) - set(there)):
        raise ValueError(
            f"protocol {protocol!r}: {store.path} has no {column} {absent}, "
            f"but {', '.join(map(str, there))}"
        )
    rest = tuple(value for value in there if value not in chosen)
    return Protocol(column, rest, chosen) if name == "fold" else Protocol(column, chosen)


def _columns(store: Store) -> dict[str, NDArray[np.int64]]:
    return {"labels": store.labels, **store.columns}


def _numbers(text: str, protocol: str) -> tuple[int, ...]:
    """``1,3,5-8`` as numbers."""
    numbers: list[int] = []
    for part in text.split(","):
        bounds = re.fullmatch(r"(-?\d+)(?:-(\d+))?", part.strip())
        if bounds is None:
            raise ValueError(
                f"expected integers or ranges after the colon in {protocol!r}; the codes of words "
                "are in what pcm3 show says"
            )
        first, last = int(bounds[1]), int(bounds[2] or bounds[1])
        if last < first:
            raise ValueError(f"expected ranges that rise, got {part.strip()} in {protocol!r}")
        numbers += range(first, last + 1)
    return tuple(numbers)


def _parts(
    store: Store,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    protocol: str,
    hint: str = "",
    *,
    drop_duplicates: bool,
) -> tuple[Indices, Indices]:
    if drop_duplicates:
        duplicate_of = store.columns["duplicate_of"]
        first = np.where(duplicate_of >= 0, duplicate_of, np.arange(len(store)))
        test = test & ~np.isin(first, first[train])
    for part, mask in (("training", train), ("test", test)):
        if not mask.any():
            what = f"nothing of {store.path} is left for the {part} part"
            raise ValueError(f"{protocol}: {what}{hint}")
    return np.flatnonzero(train), np.flatnonzero(test)
