"""Chosen frames of chosen sequences of a store as the items of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.body import form_of
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained


class Clips(SkeletonDataset):
    """Sequences of a store, or clips of them, with labels of one's own.

    Args:
        pretrained: The encoder, whose joint order and number of persons the clips have.
        store: The data.
        indices: Sequence of each item (N,).
        labels: Class of each item (N,), by default -1.
        class_names: Names of the classes.
        offsets: First frame of each item (N,), by default 0.
        lengths: Frames of each item (N,), by default all from the first one.
        max_frames: Frames after which sequences are cut off; by default nowhere.

    Raises:
        ValueError: If the store does not have or give the joints of the encoder.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        store: Store,
        indices: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        class_names: Sequence[str] = (),
        offsets: NDArray[np.int64] | None = None,
        lengths: NDArray[np.int64] | None = None,
        max_frames: int | None = None,
    ) -> None:
        persons = max(int(store.slots.max()), pretrained.encoder.persons)
        super().__init__(
            store,
            indices,
            persons=persons,
            max_frames=max_frames,
            skeleton=pretrained.skeleton,
            normalization=form_of(pretrained.normalization),
        )
        self.pretrained = pretrained
        self.class_names = tuple(class_names)
        none = np.full(len(self.indices), -1)
        self.labels = np.asarray(none if labels is None else labels, dtype=np.int64)
        if offsets is not None:
            self.offsets = offsets
            self.lengths = self.lengths - offsets
        if lengths is not None:
            self.lengths = lengths


def same_layout(one: Store, other: Store) -> bool:
    """Whether two stores have the same joints, in any order, and as many coordinates."""
    joints = [frozenset(store.skeleton.joints) for store in (one, other)]
    return joints[0] == joints[1] and one.channels == other.channels


def window_starts(
    length: int, window: int, step: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows around every ``step``-th frame of a recording, moved inside it near its ends.

    Args:
        length: Frames of the recording.
        window: Frames of a window; a shorter recording is one window.
        step: Frames from the middle of one window to that of the next.

    Returns:
        The middles, and the first frames of the windows (W,).

    Example:
        >>> middles, starts = window_starts(10, 4, 3)
        >>> middles.tolist()
        [0, 3, 6, 9]
        >>> starts.tolist()
        [0, 1, 4, 6]
    """
    middles = np.arange(0, length, step)
    return middles, np.clip(middles - window // 2, 0, max(length - window, 0))
