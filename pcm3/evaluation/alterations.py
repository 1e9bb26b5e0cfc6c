"""Altered recordings: hidden body parts and frames, noise, fewer frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcm3.augment.functional import apply_mask
from pcm3.augment.mask import part_of_joint
from pcm3.checks import check_seed
from pcm3.data.body import BODY
from pcm3.data.dataset import Batch, ClipDataset, SkeletonDataset
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import replacing
from pcm3.io.npz import load_npz
from pcm3.skeleton import Skeleton

Kind = Literal["spatial", "temporal"]
KINDS: tuple[Kind, ...] = ("spatial", "temporal")

Persons = Literal["first", "all"]


@dataclass(frozen=True)
class OcclusionMasks:
    """Masks of N sequences that hide some body parts in a range of frames.

    Spatial masks hide parts in all frames, temporal masks all parts in a block of frames.

    Attributes:
        kind: Spatial or temporal.
        ratio: Range that the hidden shares were drawn from.
        persons: The persons whose joints a spatial mask hides; a temporal mask hides everybody.
        seed: Seed that the masks were drawn with.
        part_names: The skeleton's parts, in its order.
        indices: The store's index of each sequence (N,), int64.
        lengths: Number of frames of each sequence (N,), int64.
        ratios: The drawn shares (N,), float64.
        starts: First hidden frame (N,), int64.
        stops: Frame after the last hidden one (N,), int64.
        parts: Hidden parts (N, parts), bool.
    """

    kind: Kind
    ratio: tuple[float, float]
    persons: Persons
    seed: int
    part_names: tuple[str, ...]
    indices: NDArray[np.int64]
    lengths: NDArray[np.int64]
    ratios: NDArray[np.float64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    parts: NDArray[np.bool_]

    def hidden(
        self, rows: NDArray[np.int64], skeleton: Skeleton, frames: int, persons: int
    ) -> Tensor:
        """Return the masks (N, T, V, M) of some rows, True where hidden.

        Raises:
            ValueError: If the skeleton has other parts.
        """
        if tuple(skeleton.parts) != self.part_names:
            raise ValueError(
                f"expected a skeleton with the parts {', '.join(self.part_names)}, got "
                f"{', '.join(skeleton.parts)}"
            )
        time = np.arange(frames)
        inside = (self.starts[rows, None] <= time) & (time < self.stops[rows, None])
        joints = torch.from_numpy(self.parts[rows])[:, list(part_of_joint(skeleton))]
        everybody = self.kind == "temporal" or self.persons == "all"
        who = torch.arange(persons) < (persons if everybody else 1)
        return torch.from_numpy(inside)[:, :, None, None] & joints[:, None, :, None] & who

    def rows(self, dataset: SkeletonDataset) -> NDArray[np.int64]:
        """Return the row of each item of a data set (len,).

        Raises:
            ValueError: If a sequence has no mask, or one of another length.
        """
        row_of = {index: row for row, index in enumerate(self.indices.tolist())}
        rows = np.array([row_of.get(index, -1) for index in dataset.indices.tolist()], np.int64)
        for row, index, frames in zip(rows, dataset.indices, dataset.lengths, strict=True):
            if row < 0 or self.lengths[row] != frames:
                got = "none" if row < 0 else f"one of {self.lengths[row]} frames"
                raise ValueError(
                    f"expected a mask of sequence {index} with {frames} frames, got {got}"
                )
        return rows

    def share(self, dataset: SkeletonDataset) -> NDArray[np.float64]:
        """Return the hidden share of joints or frames of each item of a data set (len,)."""
        rows = self.rows(dataset)
        if self.kind == "spatial":
            sizes = np.array([len(joints) for joints in dataset.skeleton.parts.values()])
            return np.asarray(self.parts[rows] @ sizes / sizes.sum())
        return np.asarray((self.stops - self.starts)[rows] / self.lengths[rows])


def occlusion_masks(
    dataset: SkeletonDataset,
    kind: Kind,
    ratio: tuple[float, float] = (0.3, 0.7),
    persons: Persons = "first",
    seed: int = 0,
) -> OcclusionMasks:
    """Draw masks that hide a share rho ~ U(ratio) of the joints or frames of every sequence.

    Spatial masks add random body parts until these make up at least rho of the joints. Temporal
    masks hide a block of ``round(rho * n)`` of the n frames, at a uniform start. A sequence's mask
    depends only on the seed, the kind, its index in the store, its length and the skeleton's
    parts. With the same seed, a larger share hides the same parts and more. Another version of
    numpy may draw other numbers: keep masks for comparisons with ``save_masks``.

    Args:
        dataset: The sequences.
        kind: ``"spatial"`` or ``"temporal"``.
        ratio: Range of rho, within [0, 1]; equal ends fix it.
        persons: The persons whose joints a spatial mask hides.
        seed: Seed of the masks, at least 0.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        PCM3 Sec. 4.3 and PCM3++ Sec. 4.4.2 give the kinds and the range. Adding parts until they
        make up the share, and taking blocks of whole sequences, are this library's reading.
    """
    check_ratio(ratio)
    check_seed(seed)
    if kind not in KINDS:
        raise ValueError(f"expected a kind among {', '.join(KINDS)}, got {kind!r}")
    count, sizes = len(dataset), [len(joints) for joints in dataset.skeleton.parts.values()]
    ratios = np.empty(count)
    starts, stops = np.zeros(count, np.int64), dataset.lengths.copy()
    parts = np.ones((count, len(sizes)), bool)
    for row, (index, frames) in enumerate(
        zip(dataset.indices.tolist(), dataset.lengths.tolist(), strict=True)
    ):
        rng = _generator(seed, kind, index)
        ratios[row] = rho = rng.uniform(*ratio)
        if kind == "spatial":
            order = rng.permutation(len(sizes))
            share = np.cumsum([sizes[part] for part in order]) / sum(sizes)
            needed = int((share < rho).sum()) + 1 if rho > 0 else 0
            parts[row, order[needed:]] = False
        else:
            block = round(rho * frames)
            starts[row] = rng.integers(frames - block, endpoint=True)
            stops[row] = starts[row] + block
    return OcclusionMasks(
        kind,
        ratio,
        persons,
        seed,
        tuple(dataset.skeleton.parts),
        dataset.indices.copy(),
        dataset.lengths.copy(),
        ratios,
        starts,
        stops,
        parts,
    )


def save_masks(file: str | Path, masks: OcclusionMasks) -> None:
    """Write masks as ``.npz``, each attribute an array."""
    with replacing(Path(file)) as temporary, temporary.open("wb") as out:
        np.savez_compressed(out, **asdict(masks))


def load_masks(file: str | Path) -> OcclusionMasks:
    """Read what ``save_masks`` wrote.

    Raises:
        SkeletonFormatError: If the file is missing or holds no masks.
    """
    try:
        arrays, _ = load_npz(Path(file), (*_FIELDS, *_COLUMNS), ())
        return OcclusionMasks(
            kind=arrays["kind"].item(),
            ratio=tuple(arrays["ratio"].tolist()),
            persons=arrays["persons"].item(),
            seed=arrays["seed"].item(),
            part_names=tuple(arrays["part_names"].tolist()),
            **{name: arrays[name] for name in _COLUMNS},
        )
    except (TypeError, ValueError) as error:
        raise SkeletonFormatError(f"{file}: cannot be read as masks, {error}") from None


_FIELDS = ("kind", "ratio", "persons", "seed", "part_names")
_COLUMNS = ("indices", "lengths", "ratios", "starts", "stops", "parts")


class AlteredDataset(ClipDataset):
    """A data set whose batches are altered after reading.

    Args:
        dataset: The recordings.
        alter: Function that returns the altered batch; ``batch.indices`` are the items in it.
    """

    def __init__(self, dataset: SkeletonDataset, alter: Callable[[Batch], Batch]) -> None:
        self.dataset, self.alter = dataset, alter
        self.skeleton, self.normalization = dataset.skeleton, dataset.normalization
        self.persons, self.class_names = dataset.persons, dataset.class_names
        self.labels, self.lengths = dataset.labels, dataset.lengths

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read the items with these indices, altered, as one zero-padded batch."""
        return self.alter(self.dataset.batch(indices))

    def describe(self, indices: Sequence[int]) -> str:
        """Name the sequences of the items with these indices, for messages."""
        return self.dataset.describe(indices)


def occluded(dataset: SkeletonDataset, masks: OcclusionMasks) -> AlteredDataset:
    """Set the masked coordinates of a data set to 0, before any crop.

    Args:
        dataset: Sequences that have masks, in any order.
        masks: Masks of these and possibly other sequences of the store.

    Raises:
        ValueError: If a sequence has no mask, or one of another length.
    """
    rows = masks.rows(dataset)

    def hide(batch: Batch) -> Batch:
        frames, persons = batch.clips.shape[2], batch.clips.shape[4]
        hidden = masks.hidden(rows[batch.indices.numpy()], dataset.skeleton, frames, persons)
        return batch._replace(clips=apply_mask(batch.clips, hidden))

    return AlteredDataset(dataset, hide)


def with_noise(dataset: SkeletonDataset, sigma: float, seed: int = 0) -> AlteredDataset:
    """Add Gaussian noise to every coordinate of the joints that are present.

    A joint at exactly 0 stays there: it is absent, or the centre of a centred recording. The
    noise of a sequence depends only on the seed and the sequence's index in the store, and is
    scaled by sigma.

    Args:
        dataset: The recordings.
        sigma: Standard deviation in the unit of the data set, at least 0.
        seed: Seed of the noise, at least 0.

    Raises:
        ValueError: If sigma or seed is out of range.
    """
    if not sigma >= 0:
        raise ValueError(f"expected sigma >= 0, got {sigma}")
    check_seed(seed)
    stored, joints = dataset.store.skeleton.joints, dataset.skeleton.joints
    # noise belongs to a joint, whatever its place; joints of the body form are not the store's
    order = [stored.index(joint) for joint in joints] if dataset.normalization != BODY else ...

    def shake(batch: Batch) -> Batch:
        clips = batch.clips.clone()
        for clip, item, frames in zip(
            clips, batch.indices.tolist(), batch.lengths.tolist(), strict=True
        ):
            rng = _generator(seed, "noise", int(dataset.indices[item]))
            size = (clip.shape[3], frames, clip.shape[2], clip.shape[0])
            noise = torch.from_numpy(rng.standard_normal(size, np.float32)[:, :, order])
            valid = clip[:, :frames]
            present = (valid != 0).any(dim=0)
            valid += sigma * noise.permute(3, 1, 2, 0) * present
        return batch._replace(clips=clips)

    return AlteredDataset(dataset, shake)


def every_nth_frame(dataset: SkeletonDataset, stride: int) -> AlteredDataset:
    """Lower the frame rate of a data set: keep the first and every ``stride``-th frame.

    Raises:
        ValueError: If the stride is below 1.
    """
    if stride < 1:
        raise ValueError(f"expected stride >= 1, got {stride}")

    def thin(batch: Batch) -> Batch:
        lengths = (batch.lengths + stride - 1) // stride
        return batch._replace(clips=batch.clips[:, :, ::stride].contiguous(), lengths=lengths)

    return AlteredDataset(dataset, thin)


def _generator(seed: int, what: str, index: int) -> np.random.Generator:
    """Return random numbers that belong to one sequence of a store."""
    return np.random.default_rng((seed, (*KINDS, "noise").index(what), index))


def check_ratio(ratio: tuple[float, float]) -> None:
    """Require a range of shares within [0, 1].

    Raises:
        ValueError: If the range is another.
    """
    if len(ratio) != 2 or not 0 <= ratio[0] <= ratio[1] <= 1:
        raise ValueError(f"expected a ratio range within [0, 1], low end first, got {ratio}")
