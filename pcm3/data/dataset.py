"""A torch data set over a store, and its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from pcm3.checks import check_count, check_tensor, shorten, type_name
from pcm3.data.body import BODY_UNIT, BodyForm, Form, form_of
from pcm3.data.store import Store
from pcm3.skeleton import Skeleton, Stream, check_skeleton, to_stream

LONGEST = 300
"""Frames after which the published code cuts recordings, and the length of windows."""


class Batch(NamedTuple):
    """Clips of different lengths, zero-padded at the end.

    Attributes:
        clips: Coordinates (N, C, T, V, M) float32; T is the length of the longest clip.
        lengths: Number of valid frames of each clip (N,), int64.
        labels: Class of each clip (N,), int64; -1 for no label.
        indices: Position of each clip in the data set (N,), int64; -1 if unknown.
    """

    clips: Tensor
    lengths: Tensor
    labels: Tensor
    indices: Tensor


class ClipDataset(Dataset[tuple[Tensor, int]]):
    """Clips that are read batch by batch."""

    skeleton: Skeleton
    stream: Stream = "joint"
    pairs: bool = False
    normalization: str
    unit: str | None = None
    persons: int
    channels: int
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One clip (C, T, V, M) float32 and its label."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an item in [0, {len(self)}), got {index}")
        batch = self.batch([index])
        return batch.clips[0], int(batch.labels[0])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Several items at once; PyTorch's data loaders call this if it exists."""
        return self.batch(indices)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read the items with these indices as one zero-padded batch.

        Raises:
            NotImplementedError: If a data set does not define it.
        """
        raise NotImplementedError

    def in_epoch(self, indices: Sequence[int], epoch: int) -> list[int]:  # noqa: ARG002
        """Indices by which a run reads these items in an epoch, counted from 0.

        They are the same in each epoch, unless the data set has other items each time.
        """
        return list(indices)

    @property
    def checksums(self) -> NDArray[np.int64] | None:
        """Checksum of the recording of each item and its first frame (len, 2); None if unknown."""
        return None

    def describe(self, indices: Sequence[int]) -> str:
        """Name the recordings of the items with these indices, for messages."""
        return f"items {name_some(indices)} of the data set"


class SkeletonDataset(ClipDataset):
    """Sequences of a store as clips, whole and unaugmented.

    Args:
        store: The data.
        indices: The sequences to use, in this order; all by default.
        stream: ``"joint"``, ``"bone"`` or ``"motion"``, for networks of your own. The methods and
            evaluations of this package derive streams themselves and accept only ``"joint"``.
        persons: Number of persons M of the clips, by default the store's. A smaller number keeps
            the first persons, a larger one adds empty ones.
        max_frames: Frames after which longer sequences are cut off; the published code cuts at
            300. By default none is cut.
        window: Cut sequences into windows of this many frames, which overlap by half; the last
            window ends with the sequence. Items are then windows, for training on long recordings.
        skeleton: Order of the joints, by default the store's. Data sets with the same joints
            often order them differently.
        normalization: ``"body"`` gives the body form of ``skeleton``, see ``BodyForm``, whatever
            the joints, unit and normalization of the store; by default coordinates stay as stored.

    Attributes:
        indices: The store's index of each item (len,), int64.
        labels: Class of each item (len,), int64.
        offsets: First frame of each item in its sequence (len,), int64.
        parents: Position, among the given sequences, of each item's sequence (len,), int64.
        lengths: Frames of each item after cutting (len,), int64.
        skeleton: The layout of the joint axis.
        normalization: The recipe that the store was prepared with, or ``"body"``.
        channels: Number of coordinates C.
        unit: Unit of the coordinates.
        body: What brings frames to the body form; None if they stay as stored.
        class_names: Names of the classes.

    Raises:
        ValueError: If an index is outside the store, persons, max_frames or window is below 1,
            the skeleton has other joints than the store, or, for the body form, needs joints
            that the store lacks.

    Example:
        >>> data = SkeletonDataset(store, train)                             # doctest: +SKIP
        >>> loader = DataLoader(data, 64, shuffle=True, collate_fn=collate)  # doctest: +SKIP
    """

    def __init__(
        self,
        store: Store,
        indices: ArrayLike | None = None,
        stream: Stream = "joint",
        persons: int | None = None,
        max_frames: int | None = None,
        skeleton: Skeleton | None = None,
        window: int | None = None,
        normalization: Form | None = None,
    ) -> None:
        if not isinstance(store, Store):
            raise ValueError(f"expected a Store, as Store(path) opens it, got {type_name(store)}")
        self.store = store
        self.stream: Stream = stream
        self.persons = store.persons if persons is None else persons
        self.max_frames, self.window = max_frames, window
        given = np.asarray(np.arange(len(store)) if indices is None else indices)
        self.indices = given.astype(np.int64)
        check_count("persons", self.persons)
        for name, value in (("max_frames", max_frames), ("window", window)):
            if value is not None:
                check_count(name, value)
        if given.dtype == bool:
            raise ValueError("expected indices, got a mask; np.flatnonzero(mask) are its indices")
        outside = (self.indices < 0) | (self.indices >= len(store)) | (self.indices != given)
        if self.indices.ndim != 1 or outside.any():
            raise ValueError(f"expected a list of indices in [0, {len(store)}), got {given}")
        self.skeleton = skeleton or store.skeleton
        check_skeleton(self.skeleton)
        self.body = None if normalization is None else BodyForm(store, self.skeleton)
        self.normalization = normalization or store.meta["normalization"]
        self.channels, self.unit = store.channels, str(store.meta["unit"])
        if self.body is not None:
            self.channels, self.unit = 3, BODY_UNIT
        else:
            self._order = _joint_order(store.skeleton, self.skeleton)
        self.class_names = store.class_names
        self.offsets = np.zeros(len(self.indices), np.int64)
        self.parents = np.arange(len(self.indices))
        lengths = np.minimum(store.lengths[self.indices], max_frames or np.iinfo(np.int64).max)
        if window is not None:
            offsets = [_window_offsets(length, window) for length in lengths]
            self.parents = np.repeat(self.parents, [len(starts) for starts in offsets])
            self.indices, lengths = self.indices[self.parents], lengths[self.parents]
            self.offsets = np.concatenate([self.offsets[:0], *offsets])
            lengths = np.minimum(lengths - self.offsets, window)
        self.labels: NDArray[np.int64] = store.labels[self.indices]
        self.lengths: NDArray[np.int64] = lengths

    def __repr__(self) -> str:
        return (
            f"SkeletonDataset({len(self)} of {self.store!r}, stream={self.stream!r}, "
            f"persons={self.persons}, max_frames={self.max_frames}, window={self.window})"
        )

    def windows(self, size: int) -> SkeletonDataset:
        """Return the same sequences in windows of this many frames; see the argument ``window``."""
        return self._changed(window=size)

    def uncut(self) -> SkeletonDataset:
        """Return the same sequences with all their frames."""
        return self._changed(max_frames=None)

    def whole(self) -> SkeletonDataset:
        """Return all sequences of the store, in the same form."""
        return self._changed(indices=None)

    def _changed(self, **changes: Any) -> SkeletonDataset:
        own = {
            "indices": self.indices,
            "stream": self.stream,
            "persons": self.persons,
            "max_frames": self.max_frames,
            "skeleton": self.skeleton,
            "window": self.window,
            "normalization": form_of(self.normalization),
        }
        return SkeletonDataset(self.store, **own | changes)

    def upright(self, points: NDArray[Any]) -> NDArray[Any]:
        """Turn coordinates (..., C) of the data set so that the second one points up."""
        return points if self.body is not None else self.store.upright(points)

    @property
    def left_out(self) -> dict[str, int]:
        """Number of frames that ``max_frames`` leaves out, and of sequences that lose frames."""
        if self.max_frames is None:
            return {"sequences": 0, "frames": 0}
        after = self.store.lengths[np.unique(self.indices)] - self.max_frames
        return {"sequences": int((after > 0).sum()), "frames": int(after[after > 0].sum())}

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read the items with these indices as one zero-padded batch."""
        self.store.check_unchanged()  # reading from a file that shrank would end the process
        items = check_items(indices, len(self))
        lengths = self.lengths[items]
        size = (self.persons, len(self.skeleton), self.channels)
        frames = np.zeros((len(items), int(lengths.max()), *size), np.float32)
        for row, (item, length) in enumerate(zip(items.tolist(), lengths.tolist(), strict=True)):
            read = self._read(int(self.indices[item]), int(self.offsets[item]), length)
            frames[row, :length, : read.shape[1]] = read
        clips = torch.from_numpy(frames).permute(0, 4, 1, 3, 2).contiguous()
        if self.stream != "joint":
            clips = to_stream(clips, self.skeleton, self.stream)
        if self.stream == "motion":  # no motion from the last frame into the padding
            for clip, length in zip(clips, lengths.tolist(), strict=True):
                clip[:, length - 1 :] = 0
        return Batch(
            clips,
            torch.from_numpy(lengths),
            torch.from_numpy(self.labels[items]),
            torch.from_numpy(items),
        )

    def _read(self, index: int, start: int, length: int) -> NDArray[Any]:
        """Frames (T, M', V, C) of a sequence."""
        part = slice(start, start + length)
        if self.body is not None:
            return self.body.frames(index, part)[:, : self.persons]
        stored = self.store.stored(index)[part, : self.persons]
        return stored if self._order is None else stored[:, :, self._order]

    @property
    def checksums(self) -> NDArray[np.int64] | None:
        """Checksum of the recording of each item and its first frame (len, 2); None if unknown."""
        known = self.store.checksums
        if known is None:
            return None
        return np.stack([known[self.indices].astype(np.int64), self.offsets], axis=1)

    def describe(self, indices: Sequence[int]) -> str:
        """Name the sequences of the items with these indices, for messages."""
        sequences = self.indices[list(indices)].tolist()
        return f"sequences {name_some(sequences)} of {self.store.path}"


def name_some(numbers: Sequence[int]) -> str:
    """List numbers, of more than eight only the first and how many there are."""
    more = len(numbers) - _NAMED
    names = [str(number) for number in numbers[:_NAMED]]
    return ", ".join(names) + (f" and {more} more ({len(numbers)} in all)" if more > 0 else "")


_NAMED = 8


def describe_left_out(left_out: Mapping[str, int], limit: int | None) -> list[str]:
    """Return a note on the frames that a limit leaves out, if any."""
    frames, sequences = left_out["frames"], left_out["sequences"]
    if not frames:
        return []
    return [
        f"left out {frames:,} frames of {sequences:,} sequences: those after the first {limit} "
        "(max_frames)"
    ]


def describe_form(dataset: SkeletonDataset) -> list[str]:
    """Return notes on joints and axes that the body form changed, if any."""
    return [] if dataset.body is None else dataset.body.describe()


def describe_windows(dataset: SkeletonDataset, what: str) -> list[str]:
    """Return a note on the sequences that are read in windows, if any."""
    long = np.unique(dataset.indices[dataset.store.lengths[dataset.indices] > LONGEST])
    if not len(long) or dataset.max_frames is not None:
        return []
    fps = dataset.store.meta["fps"]
    seconds = f" ({LONGEST / fps:.3g} s)" if fps else ""
    are = "sequence is" if len(long) == 1 else "sequences are"
    return [f"{len(long):,} {are} longer than {LONGEST} frames{seconds}: {what}"]


def check_items(items: ArrayLike, count: int) -> NDArray[np.int64]:
    """Require indices of one or more items; negative ones count from the end.

    Raises:
        ValueError: If there is none, or one is no integer in [-count, count).
    """
    indices = np.asarray(items)
    good = indices.ndim == 1 and indices.size and np.issubdtype(indices.dtype, np.integer)
    if not good or ((indices < -count) | (indices >= count)).any():
        raise ValueError(f"expected a list of one or more items in [0, {count}), got {items!r:.80}")
    return indices.astype(np.int64)


def _window_offsets(frames: int, window: int) -> NDArray[np.int64]:
    last = max(0, int(frames) - window)
    return np.unique(np.append(np.arange(0, last, max(1, window // 2)), last))


def _joint_order(stored: Skeleton, wanted: Skeleton) -> list[int] | None:
    """Return the stored position of each requested joint; None if the order is the same."""
    if stored.joints == wanted.joints:
        return None
    missing = [joint for joint in wanted.joints if joint not in stored.joints]
    extra = [joint for joint in stored.joints if joint not in wanted.joints]
    if missing or extra:
        pairs = (("without", missing), ("with", extra))
        raise ValueError(
            f"expected a store of skeleton {wanted.name!r} ({len(wanted)} joints), got "
            f"{stored.name!r} ({len(stored)} joints), "
            + " and ".join(f"{how} {_some(joints)}" for how, joints in pairs if joints)
            + "; pcm3 prepare ... --to common15 gives recordings of both layouts the same joints; "
            "--run pretrained, and pretrain with --any-layout, take any layout"
        )
    return [stored.joints.index(joint) for joint in wanted.joints]


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


_SHOWN = 5


def check_joints(dataset: ClipDataset, skeleton: Skeleton) -> None:
    """Require joint coordinates in the order of a skeleton.

    Raises:
        ValueError: If ``dataset`` is not a data set of clips, or has other joints, another order
            or another stream.
    """
    _check_dataset(dataset)
    expected, got = skeleton.joints, dataset.skeleton.joints
    if expected != got:
        pairs = zip(expected, got, strict=False)
        first = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(got)))
        named = [
            repr(joints[first]) if first < len(joints) else "none" for joints in (expected, got)
        ]
        raise ValueError(
            f"expected the joints of skeleton {skeleton.name!r} ({len(expected)} joints) in its "
            f"order, got those of {dataset.skeleton.name!r} ({len(got)} joints): joint {first} "
            f"is {named[1]}, not {named[0]}; SkeletonDataset(skeleton=) reorders joints"
        )
    if dataset.stream != "joint":
        raise ValueError(
            f"expected a data set of stream 'joint', got {dataset.stream!r}; other streams are "
            "derived from the joints"
        )


def _check_dataset(dataset: ClipDataset) -> None:
    if not isinstance(dataset, ClipDataset):
        hint = ""
        if isinstance(dataset, DataLoader):
            hint = "; pass its data set, because batches are made here"
        elif isinstance(dataset, Store):
            hint = "; SkeletonDataset(store) makes one"
        elif isinstance(dataset, Subset):
            hint = "; SkeletonDataset(store, indices) takes a part of a store"
        raise ValueError(
            "expected a SkeletonDataset or another ClipDataset, which knows the skeleton and the "
            f"lengths of its clips, got {type_name(dataset)}{hint}"
        )
    for name in ("skeleton", "normalization", "labels", "lengths"):
        if not hasattr(dataset, name):
            raise ValueError(
                f"expected a ClipDataset, which has {name!r}, got {type_name(dataset)} without it"
            )
    if len(dataset) == 0:
        return
    batch = dataset.batch([0])
    if not isinstance(batch, Batch):
        raise ValueError(
            f"expected {type_name(dataset)}.batch to return a Batch, got {type_name(batch)}"
        )
    for name, value in batch._asdict().items():
        check_tensor(f"{name} of {type_name(dataset)}.batch", value)


def collate(samples: Batch | Sequence[tuple[Tensor, int]]) -> Batch:
    """Pad samples to a batch, for any ``DataLoader``; a batch is returned as it is.

    Args:
        samples: A ``Batch``, or pairs of a clip (C, T, V, M) and its label.

    Raises:
        ValueError: If there is no sample, a sample is not such a pair, or the clips differ in
            more than their number of frames.
    """
    if isinstance(samples, Batch):
        return samples
    for sample in samples:
        if not isinstance(sample, (tuple, list)) or len(sample) != 2:
            raise ValueError(
                f"expected pairs of a clip (C, T, V, M) and its label, got {type_name(sample)}"
                + (f" of {len(sample)}" if isinstance(sample, (tuple, list)) else "")
            )
        check_tensor("clip", sample[0])
    shapes = {(clip.shape[0], *clip.shape[2:]) for clip, _ in samples}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise ValueError(
            f"expected clips (C, T, V, M) that differ in T only, got {len(samples)} with "
            f"(C, V, M) of {sorted(shapes)}"
        )
    lengths = torch.tensor([clip.shape[1] for clip, _ in samples])
    channels, joints, persons = shapes.pop()
    clips = torch.zeros(len(samples), channels, int(lengths.max()), joints, persons)
    for row, (clip, _) in zip(clips, samples, strict=True):
        row[:, : clip.shape[1]] = clip
    labels = torch.tensor([_whole(label) for _, label in samples])
    return Batch(clips, lengths, labels, torch.full_like(lengths, -1))


def _whole(label: object) -> int:
    number = label.item() if isinstance(label, (Tensor, np.generic, np.ndarray)) else label
    if not isinstance(number, int):
        raise ValueError(f"expected labels that are whole numbers, got {shorten(label)}")
    return number
