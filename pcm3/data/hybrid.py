"""Several data sets as one, for hybrid training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcm3.checks import type_name
from pcm3.data.dataset import Batch, ClipDataset, SkeletonDataset, check_items


def _image_unit(dataset: SkeletonDataset) -> str:
    """Return the unit of image coordinates; all units of length in space count as one."""
    return dataset.unit if dataset.unit in ("pixels", "body lengths") else "of length"


class HybridDataset(ClipDataset):
    """Several data sets as one, for training on all of their recordings.

    Items of the first data set come first. Classes are kept apart even if their names are equal:
    labels are counted through the data sets, and each class name is prefixed with its store's.

    Args:
        datasets: Data sets of the same skeleton, normalization, stream, number of persons and
            number of coordinates.

    Attributes:
        labels: Class of each item (len,), int64.
        lengths: Frames of each item (len,), int64.
        skeleton: The layout of the joint axis.
        channels: Number of coordinates C.
        normalization: The recipe that all stores were prepared with.
        class_names: Names of the classes.

    Raises:
        ValueError: If the list is empty, or two data sets do not fit together or share recordings.

    Example:
        >>> both = HybridDataset([SkeletonDataset(ntu), SkeletonDataset(pku)])  # doctest: +SKIP
    """

    def __init__(self, datasets: Sequence[SkeletonDataset]) -> None:
        if not isinstance(datasets, Sequence):
            raise ValueError(f"expected a list of SkeletonDataset, got {type_name(datasets)}")
        if not datasets:
            raise ValueError("expected at least one data set, got none")
        for dataset in datasets:
            if not isinstance(dataset, SkeletonDataset):
                raise ValueError(
                    f"expected a list of SkeletonDataset, got {type_name(dataset)} in it"
                )
        first = datasets[0]
        for other in datasets[1:]:
            if other.skeleton.joints != first.skeleton.joints:
                raise ValueError(
                    f"expected data sets of the same joints in the same order, got those of "
                    f"{first.store.path} and {other.store.path}; skeleton= gives them one order"
                )
            for what, expected, got in (
                ("normalization", first.normalization, other.normalization),
                ("stream", first.stream, other.stream),
                ("persons", first.persons, other.persons),
                ("coordinates", first.channels, other.channels),
                ("unit", _image_unit(first), _image_unit(other)),
            ):
                if expected != got:
                    raise ValueError(
                        f"expected stores of the same {what}, got {expected} in {first.store.path} "
                        f"and {got} in {other.store.path}"
                    )
        for one, other in combinations(datasets, 2):
            if one.store.path.resolve() == other.store.path.resolve():
                shared = np.intersect1d(one.indices, other.indices)
                if len(shared):
                    raise ValueError(
                        f"expected data sets of different recordings, but sequence {shared[0]} of "
                        f"{one.store.path} is in two of them"
                    )
        self.datasets = list(datasets)
        self.skeleton, self.normalization = first.skeleton, first.normalization
        self.stream = first.stream
        self.unit = first.unit if len({data.unit for data in datasets}) == 1 else None
        self.persons, self.channels = first.persons, first.channels
        self.class_names = tuple(
            f"{data.store.path.name}/{name}" for data in datasets for name in data.class_names
        )
        offsets = np.cumsum([0, *(len(data.class_names) for data in datasets)])
        self.labels = np.concatenate(
            [
                np.where(data.labels < 0, -1, data.labels + offset)
                for data, offset in zip(datasets, offsets, strict=False)
            ]
        )
        self.lengths = np.concatenate([data.lengths for data in datasets])
        self._ends = np.cumsum([len(data) for data in datasets])

    def __repr__(self) -> str:
        return f"HybridDataset({self.datasets!r})"

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read the items with these indices as one zero-padded batch."""
        items = check_items(indices, len(self))
        items = np.where(items < 0, items + len(self), items)
        lengths = torch.from_numpy(self.lengths[items])
        owners = np.searchsorted(self._ends, items, side="right")
        clips: Tensor | None = None
        for number, data in enumerate(self.datasets):
            rows = np.flatnonzero(owners == number)
            if len(rows) == 0:
                continue
            part = data.batch((items[rows] - (self._ends[number] - len(data))).tolist()).clips
            if len(rows) == len(items):
                clips = part
                break
            if clips is None:
                size = (part.shape[1], int(lengths.max()), *part.shape[3:])
                clips = part.new_zeros(len(items), *size)
            clips[torch.from_numpy(rows), :, : part.shape[2]] = part
        assert clips is not None
        labels = torch.from_numpy(self.labels[items])
        return Batch(clips, lengths, labels, torch.from_numpy(items))

    @property
    def checksums(self) -> NDArray[np.int64] | None:
        """Checksum of the recording of each item and its first frame (len, 2); None if unknown."""
        checksums = [data.checksums for data in self.datasets]
        known = [sums for sums in checksums if sums is not None]
        return np.concatenate(known) if len(known) == len(checksums) else None

    def describe(self, indices: Sequence[int]) -> str:
        """Name the stores and sequences of the items with these indices, for messages."""
        items = np.asarray(indices, dtype=np.int64)
        owners = np.searchsorted(self._ends, items, side="right")
        return " and ".join(
            data.describe((items[owners == number] - (self._ends[number] - len(data))).tolist())
            for number, data in enumerate(self.datasets)
            if (owners == number).any()
        )
