"""Division of stores into training and test part by protocols."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.protocols import Protocol
from pcm3.data.store import Store

Indices = NDArray[np.int64]

_BY_NUMBER = "xsub (odd subjects train), xview (the highest view tests), "
_GENERIC = (
    "fold:K (fold K tests), subjects:1,3, quality:good, labels:0-19 or any other column (these "
    "values train, the rest test), all (every sequence trains and tests)"
)


def split(store: Store, protocol: str, *, drop_duplicates: bool = True) -> tuple[Indices, Indices]:
    """Split a store into a training and a test part.

    Args:
        store: The data.
        protocol: A protocol that the data set is published with (``Store.protocols``), or one of
            these. ``"xsub"``: odd subjects train, even ones test. ``"xview"``: the highest view
            tests. ``"fold:K"``: fold K tests. ``"subjects:1,3,5-7"``, ``"quality:good"`` or any
            other column: sequences with these values train, the rest test; ``"labels:0-19"`` and
            ``"labels:wave,bow"`` keep the other classes for few-shot evaluation. ``"all"``: every
            sequence trains and tests. Columns of words need words; a word with a comma needs
            double quotes. If subjects are words, the second, fourth, ... in alphabetical order
            train; if views are words, all but the last train. ``note_on_words`` lists them.
        drop_duplicates: Leave out test sequences that are bit-identical to a training sequence
            (``"all"`` keeps every sequence).

    Returns:
        Sorted indices of the training and the test sequences, int64.

    Raises:
        ValueError: If the protocol is unknown, the store lacks its column, a part is empty, or a
            sequence has no subject under ``"xsub"`` or no view under ``"xview"``.

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


def select(store: Store, which: str) -> Indices:
    """Select the sequences that have some values of a column.

    Args:
        store: The data.
        which: A column and its values, as ``split`` takes them: ``"correct:1"``,
            ``"subjects:1,3,5-7"``, ``"quality:good"``, ``"labels:wave,bow"``.

    Returns:
        Sorted indices of the sequences, int64; at least one.

    Raises:
        ValueError: If the store lacks the column or a value.

    Example:
        >>> good = select(Store("exercises"), "correct:1")                   # doctest: +SKIP
    """
    column, colon, text = which.partition(":")
    columns = _columns(store)
    if not colon:
        raise ValueError(
            f"expected a column and its values, such as correct:1, got {which!r}; "
            f"{store.path} has the columns {', '.join(columns)}"
        )
    if column not in columns:
        near = get_close_matches(column, columns, n=1)
        question = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"{which!r}: no column {column!r}; {store.path} has {', '.join(columns)}{question}"
        )
    chosen = _values(store, column, text, repr(which))
    return np.flatnonzero(np.isin(columns[column], chosen))


def validation_split(
    store: Store,
    train_indices: ArrayLike,
    protocol: str = "xsub",
    *,
    fraction: float = 0.25,
    drop_duplicates: bool = True,
) -> tuple[Indices, Indices]:
    """Split a training part again, to choose settings without looking at test data.

    The last ``fraction`` (at least one) of the values of the protocol's column are held out, so
    that validation resembles the test: unseen subjects for ``"xsub"``, an unseen view for
    ``"xview"``, a fold for ``"fold:K"``. For ``"labels:..."``, and if the column has only one
    value left, subjects are held out, or else videos.

    Args:
        store: The data.
        train_indices: The training part that ``split`` returns.
        protocol: The protocol of the training part.
        fraction: Share of the values to hold out, in (0, 1).
        drop_duplicates: Leave out validation sequences that are bit-identical to a sequence that
            still trains.

    Returns:
        Sorted indices of the training and the validation sequences, int64.

    Raises:
        ValueError: If the fraction is out of range, nothing can be held out, or one of the parts
            is empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a fraction in (0, 1), got {fraction}")
    chosen = np.zeros(len(store), dtype=bool)
    chosen[np.asarray(train_indices)] = True
    first = "subjects" if protocol == "all" else _resolve(store, protocol).column
    if first == "labels":  # validation uses the same classes as training
        first = "subjects"
    for column in (first, "subjects", "videos"):
        values = store.columns.get(column, np.zeros(len(store), np.int64))
        groups = np.unique(values[chosen])
        if len(groups) > 1:
            break
    else:
        tried = " or ".join(dict.fromkeys((first, "subjects", "videos")))
        raise ValueError(
            f"{store.path}: nothing can be held out by {tried}, because the training sequences do "
            "not differ in them; the column subjects of labels.csv says who moves"
        )
    held_out = groups[-max(1, round(fraction * len(groups))) :]
    test = chosen & np.isin(values, held_out)
    what = f"validation within the training part of {protocol}"
    return _parts(store, chosen & ~test, test, what, drop_duplicates=drop_duplicates)


def _resolve(store: Store, protocol: str) -> Protocol:
    """Find the column and the values that a protocol stands for in this store."""
    if protocol in store.protocols:
        return store.protocols[protocol]
    if store.protocols and protocol in ("xsub", "xview"):
        raise ValueError(
            f"{store.path} is published with {' and '.join(store.protocols)}, not with "
            f"{protocol!r}; give a column and the values that train, such as "
            f"{_example(store, _COLUMN_OF[protocol])}"
        )
    name, colon, text = protocol.partition(":")
    if not colon and name not in ("xsub", "xview"):
        known = "".join(f"{name}, " for name in store.protocols) or _BY_NUMBER
        raise ValueError(f"unknown protocol {protocol!r}; expected {known}{_GENERIC}")
    column = _COLUMN_OF.get(protocol, name)
    columns = _columns(store)
    if column not in columns:
        near = get_close_matches(column, columns, n=1)
        meant = f"; did you mean {near[0]}?" if near else "; protocol 'all' needs none"
        raise ValueError(
            f"protocol {protocol!r} needs the column {column}; {store.path} has "
            f"{', '.join(columns)}{meant}"
        )
    present = np.unique(columns[column]).tolist()
    words = store.words.get(column, ())
    unknown, example = int((columns[column] < 0).sum()), words[0] if words else "1,3"
    if protocol in ("xsub", "xview") and unknown == len(store):
        others = [name for name in columns if name != column]
        raise ValueError(
            f"protocol {protocol!r}: the {column} of {store.path} are unknown (-1); give values of "
            f"another column that train, such as {others[-1]}:1"
        )
    if protocol in ("xsub", "xview") and unknown:
        raise ValueError(
            f"protocol {protocol!r}: the {column} of {unknown} of {len(store)} sequences in "
            f"{store.path} are unknown (-1); give the values that train, such as "
            f"{column}:{example}, and the rest test"
        )
    if protocol == "xsub":
        return Protocol(column, tuple(value for value in present if value % 2))
    if protocol == "xview" and len(present) < 2:
        only = words[present[0]] if words else present[0]
        raise ValueError(f"protocol 'xview' needs several views; {store.path} has only view {only}")
    if protocol == "xview":
        return Protocol(column, tuple(present[:-1]))
    chosen = _values(store, column, text, f"protocol {protocol!r}")
    rest = tuple(value for value in present if value not in chosen)
    return Protocol(column, rest, chosen) if name == "fold" else Protocol(column, chosen)


_COLUMN_OF = {"xsub": "subjects", "xview": "views"}


def _example(store: Store, column: str) -> str:
    """Return a protocol that the store has the column for, this one or else another."""
    columns = _columns(store)
    known = {name: np.unique(values[values >= 0]).tolist() for name, values in columns.items()}
    several = [name for name, values in known.items() if len(values) > 1]
    chosen = column if column in several else [*several, *columns][-1]
    value = (known[chosen] or [1])[0]
    words = store.class_names if chosen == "labels" else store.words.get(chosen, ())
    return f"{chosen}:{words[value] if words else value}"


def part_sizes(store: Store) -> dict[str, tuple[int, int] | None]:
    """Count the training and the test sequences of a store under each protocol with a name.

    Returns:
        The two numbers for each published protocol, None where a part is empty; for a store
        without published protocols those of ``"xsub"`` and ``"xview"``, where its columns allow
        them.
    """
    sizes: dict[str, tuple[int, int] | None] = {}
    for protocol in store.protocols or _COLUMN_OF:
        try:
            train, test = split(store, protocol)
        except ValueError:
            if protocol in store.protocols:
                sizes[protocol] = None
        else:
            sizes[protocol] = len(train), len(test)
    return sizes


def note_on_words(store: Store, protocol: str) -> list[str]:
    """Note which words train and test under ``"xsub"`` or ``"xview"``, if the column has words."""
    column = _COLUMN_OF.get(protocol, "")
    if column not in store.words or protocol in store.protocols:
        return []
    train = set(_resolve(store, protocol).train)
    parts: tuple[list[str], list[str]] = ([], [])
    for code in np.unique(store.columns[column]).tolist():
        parts[code not in train].append(store.words[column][code])
    trains, tests = (", ".join(part) or "nobody" for part in parts)
    return [
        f"{protocol}: the {column} are words; by alphabetical order {trains} train and {tests} test"
    ]


def describe_training(store: Store, protocol: str) -> str:
    """Say how many sequences of a store train and test under a protocol, and by which values."""
    training, test = split(store, protocol)
    if protocol == "all":
        return f"trains on all {len(store):,} sequences"
    column, values, _ = _resolve(store, protocol)
    words = store.class_names if column == "labels" else store.words.get(column, ())
    names = [words[value] if words else str(value) for value in values]
    more = len(names) - _SHOWN
    names[_SHOWN:] = [f"and {more} more"] if more > 0 else []
    count = f"{len(training):,} sequences of {len(store):,}"
    rest = f"; {len(test):,} test"
    return f"trains on {protocol}: {count} ({column} {', '.join(names)}){rest}"


def note_on_copies(store: Store, protocol: str) -> list[str]:
    """Note how many test sequences ``split`` leaves out as copies of training sequences, if any."""
    (_, test), (_, whole) = split(store, protocol), split(store, protocol, drop_duplicates=False)
    if len(test) == len(whole):
        return []
    left_out = len(whole) - len(test)
    note = f"{protocol}: {left_out} of {len(whole)} test sequences are bit-identical to training "
    note += "sequences: left out"
    tested, classes = (np.unique(store.labels[part]) for part in (test, whole))
    if len(tested) < len(classes):
        note += f", and with them {len(classes) - len(tested)} of {len(classes)} classes"
    return [note]


def join_protocols(protocols: Sequence[str]) -> str:
    """Join several protocols into one text, which ``part_protocols`` splits again."""
    return " ".join(shlex.quote(text) if _BLANKS.search(text) else text for text in protocols)


def part_protocols(text: str) -> list[str]:
    """Split a text into protocols at blanks; a protocol that contains blanks is in quotes.

    Raises:
        ValueError: If a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError:
        raise ValueError(f"expected protocols with closed quotes, got {text!r}") from None


_BLANKS = re.compile(r"[\s'\"\\]")


def _columns(store: Store) -> dict[str, NDArray[np.int64]]:
    own = {name: values for name, values in store.columns.items() if name != "duplicate_of"}
    return {"labels": store.labels, **own}


def _values(store: Store, column: str, text: str, what: str) -> tuple[int, ...]:
    """Return the column's values that ``1,3,5-8`` or ``anna,ben`` stand for."""
    try:
        names = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{what}: cannot be read, {error}") from None
    words = store.class_names if column == "labels" else store.words.get(column, ())
    present = set(np.unique(_columns(store)[column]).tolist())
    chosen: list[int] = []
    for name in (name.strip() for name in names or [""]):
        numbers = None if column in store.words else _numbers(name, what)
        if numbers is None and name not in words:
            raise ValueError(_why_not(words, name, what, column))
        values = [words.index(name)] if numbers is None else numbers
        if not present.issuperset(values):  # stops at the first missing one of a huge range
            some = ", ".join(map(str, sorted(present)))
            raise ValueError(f"{what}: {store.path} has no {column} {name}, but {some}")
        chosen += values
    return tuple(chosen)


def _why_not(words: Sequence[str], name: str, what: str, column: str) -> str:
    if not words:
        return f"{what}: expected integers or ranges after the colon, got {name!r}"
    near = get_close_matches(name, words, n=1)
    question = f"; did you mean {near[0]}?" if near else ""
    some = [*words[:_SHOWN], *(["..."] if len(words) > _SHOWN else [])]
    return f"{what}: expected {column} among {', '.join(some)}, got {name!r}{question}"


_SHOWN = 12


def _numbers(text: str, what: str) -> range | None:
    """Parse ``3`` or ``5-8`` as numbers; None if the text is neither."""
    bounds = re.fullmatch(r"(-?[0-9]{1,18})(?:-([0-9]{1,18}))?", text)
    if bounds is None:
        return None
    first, last = int(bounds[1]), int(bounds[2] or bounds[1])
    if last < first:
        raise ValueError(f"{what}: expected ascending ranges, got {text}")
    return range(first, last + 1)


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
