"""Annotations of untrimmed recordings: a class for each frame, and intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcm3.data.dataset import SkeletonDataset
from pcm3.evaluation.tasks.detection.proposals import Proposal


def true_intervals(dataset: SkeletonDataset) -> list[Proposal]:
    """Return the annotated intervals; ``video`` is a recording's place in the data set.

    Raises:
        ValueError: If the recordings are trimmed.
    """
    check_annotation(dataset)
    rows = dataset.store.segments
    assert rows is not None
    return [
        Proposal(video, label, start, end)
        for video, index in enumerate(dataset.indices)
        for _, start, end, label in rows[rows[:, 0] == index].tolist()
    ]


def frame_labels(dataset: SkeletonDataset, item: int) -> NDArray[np.int64]:
    """Return the class of every frame of a recording (T,), -1 for background; T is not cut off.

    Raises:
        ValueError: If the recordings are trimmed.
    """
    check_annotation(dataset)
    store, index = dataset.store, int(dataset.indices[item])
    assert store.frame_labels is not None
    start = int(store.starts[index])
    labels: NDArray[np.int64] = store.frame_labels[start : start + int(store.lengths[index])]
    return labels


def check_annotation(*datasets: SkeletonDataset) -> None:
    """Require a class of every frame, and the same classes everywhere.

    Raises:
        ValueError: If a store has no frame labels, or the classes differ.
    """
    for dataset in datasets:
        if dataset.store.frame_labels is None:
            raise ValueError(
                f"expected untrimmed recordings with a class for every frame, but those of "
                f"{dataset.store.path} are trimmed"
            )
    names = {dataset.class_names for dataset in datasets}
    if len(names) > 1:
        raise ValueError(
            "expected the same classes in the training and the test part, got "
            + " and ".join(str(list(classes)) for classes in names)
        )
