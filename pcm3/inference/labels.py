"""The labels of recordings, from the classes of a store or from any of its columns."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.store import Store

BACKGROUND = "background"
"""Name of the class of frames without an action."""


class Labels(NamedTuple):
    """A label for some of the sequences of a store, or of the frames of untrimmed ones.

    Attributes:
        names: Name of each class.
        codes: Class of each sequence (N,), or of each frame (sum of T,); -1 if there is none.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]


def read_labels(store: Store, column: str | None = None) -> Labels:
    """The labels of all sequences of a store.

    Args:
        store: The store.
        column: A column of integers or words, whose values are the classes; -1 and empty words
            stand for no label. By default the classes of the store.

    Raises:
        ValueError: If the store has no such column, or recordings are untrimmed and no column is
            given.
    """
    if column is None:
        if store.frame_labels is not None:
            raise ValueError(
                f"{store.path}: recordings are untrimmed, without a label of their own"
            )
        return Labels(store.class_names, store.labels)
    columns = [name for name in store.columns if name != "duplicate_of"]  # no label of anything
    if column not in columns:
        near = get_close_matches(column, columns, n=1)
        raise ValueError(
            f"expected a column with labels among {', '.join(columns) or 'none'}, got {column!r}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    codes = store.columns[column]
    if column in store.words:
        return Labels(store.words[column], codes)
    values = np.unique(codes[codes >= 0])
    places = np.searchsorted(values, codes)
    names = tuple(str(value) for value in values.tolist())
    return Labels(names, np.where(codes < 0, -1, places))


def is_labelled(store: Store, column: str | None = None) -> NDArray[np.bool_]:
    """Which sequences of a store have a label (N,).

    Args:
        store: The store. A sequence of untrimmed recordings has a label if any of its frames has.
        column: As in ``read_labels``. Without such a column no sequence has a label.
    """
    if column is None and store.frame_labels is not None:
        some: NDArray[np.bool_] = np.logical_or.reduceat(store.frame_labels >= 0, store.starts)
        return some
    if column is not None and column not in store.columns:
        return np.zeros(len(store), bool)
    return read_labels(store, column).codes >= 0


def read_frame_labels(store: Store) -> Labels:
    """The labels of all frames of untrimmed recordings; the background is the last class.

    Raises:
        ValueError: If the recordings are trimmed, or a class is called background.
    """
    if store.frame_labels is None:
        raise ValueError(f"{store.path}: recordings have no label for every frame")
    if BACKGROUND in store.class_names:
        raise ValueError(
            f"{store.path}: expected no class {BACKGROUND!r}, which frames without a class have"
        )
    codes = np.where(store.frame_labels < 0, len(store.class_names), store.frame_labels)
    return Labels((*store.class_names, BACKGROUND), codes)
