"""Features of whole data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader

from pcm3._torch import send
from pcm3.augment import Compose, Rotate, TemporalCropResize
from pcm3.checks import type_name
from pcm3.data.body import form_of
from pcm3.data.dataset import (
    LONGEST,
    Batch,
    ClipDataset,
    SkeletonDataset,
    check_joints,
    collate,
)
from pcm3.data.store import Store
from pcm3.data.units import full_name
from pcm3.encoders.base import check_encoder, check_frames, pool_features
from pcm3.encoders.files import Pretrained, load_encoder
from pcm3.methods.features import sequence_features
from pcm3.skeleton import to_stream


class Features(NamedTuple):
    """Features of a data set, in its order.

    Attributes:
        values: ``(N, D)`` float32; on the CPU when extracted.
        labels: ``(N,)`` int64.
    """

    values: Tensor
    labels: Tensor

    def on(self, device: torch.device) -> Features:
        """Copy to a device, or to the CPU instead of MPS, which has no float64 to compare them."""
        if device.type == "mps":
            device = torch.device("cpu")
        return Features(self.values.to(device), self.labels.to(device))


def extract_features(
    pretrained: Pretrained, dataset: ClipDataset, batch_size: int = 256
) -> Features:
    """Compute deterministic features: centre crop of 95 %, evaluation mode, before the projector.

    If the data set has all frames (``max_frames=None``), a sequence of more than 300 frames is
    read in windows of 300 that overlap by half, and its feature is their mean.

    Raises:
        ValueError: If the data set's skeleton, persons, normalization or coordinates are not the
            encoder's, or a feature is not finite; the message names the sequence.
    """
    check_data(pretrained, dataset)
    device = pretrained.device
    if isinstance(dataset, SkeletonDataset) and _is_uncut(dataset):
        windows = dataset.windows(LONGEST)
        values = extract_features(pretrained, windows, batch_size).values.double()
        parents = torch.from_numpy(windows.parents)
        sums = values.new_zeros(len(dataset), values.shape[1]).index_add_(0, parents, values)
        counts = torch.bincount(parents, minlength=len(dataset))
        return Features((sums / counts[:, None]).float(), torch.from_numpy(dataset.labels))

    def features(batch: Batch) -> Tensor:
        return sequence_features(
            pretrained.encoder,
            send(batch.clips, device),
            send(batch.lengths, device),
            pretrained.skeleton,
            pretrained.stream,
            pretrained.frames,
        )

    return _collect(features, pretrained, dataset, batch_size)


@torch.no_grad()
def extract_random_crops(
    pretrained: Pretrained,
    dataset: ClipDataset,
    generator: torch.Generator,
    batch_size: int = 256,
    degrees: float = 0.0,
) -> Features:
    """Compute features of a random crop per sequence: 50 to 100 % of its frames, maybe rotated.

    Args:
        pretrained: The encoder, whose mode is restored afterwards, and its input.
        dataset: The sequences.
        generator: Source of randomness, on the CPU.
        batch_size: Number of sequences at a time.
        degrees: Largest angle by which bodies are rotated about each axis.

    Raises:
        ValueError: As ``extract_features``.

    Source:
        The training transform of the linear evaluation in ISC, CMD and PCM3, and, with 0.3
        radians, in MAMP.
    """
    check_data(pretrained, dataset)
    check_cut(dataset)
    encoder, device = pretrained.encoder, pretrained.device
    was_training = encoder.training
    crop = training_crop(pretrained.frames)
    augment = Compose(crop, Rotate(degrees)) if degrees else crop

    def features(batch: Batch) -> Tensor:
        clips = send(augment(batch.clips, batch.lengths, generator=generator), device)
        frames = encoder(to_stream(clips, pretrained.skeleton, pretrained.stream))
        check_frames(encoder, frames, len(clips))
        return pool_features(encoder, frames)

    encoder.eval()
    try:
        return _collect(features, pretrained, dataset, batch_size)
    finally:
        encoder.train(was_training)


def training_crop(frames: int) -> TemporalCropResize:
    """The crop of the published evaluations: 50 to 100 % of the frames, but no fewer than 64."""
    return TemporalCropResize(frames, scale=(0.5, 1.0), min_frames=64)


def _collect(
    compute: Callable[[Batch], Tensor],
    pretrained: Pretrained,
    dataset: ClipDataset,
    batch_size: int,
) -> Features:
    values, labels = [], [torch.zeros(0, dtype=torch.int64)]
    for batch in DataLoader(dataset, batch_size, collate_fn=collate):
        values.append(compute(batch).float())
        labels.append(batch.labels)
    # fetched and looked at only now, so that the host does not wait for the device at each batch
    features = (
        torch.cat(values).cpu() if values else torch.zeros(0, pretrained.encoder.out_features)
    )
    wrong = (~features.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
    if wrong:
        raise ValueError(
            f"expected finite features, got NaN or infinity for {len(wrong)} of {len(features)} "
            f"sequences: first for {dataset.describe(wrong[:1])}"
        )
    return Features(features, torch.cat(labels))


def _is_uncut(dataset: SkeletonDataset) -> bool:
    """Return whether a data set has all frames of sequences that are too long for one clip."""
    return (
        dataset.max_frames is None
        and dataset.window is None
        and int(dataset.lengths.max(initial=0)) > LONGEST
    )


def check_cut(*datasets: ClipDataset) -> None:
    """Require sequences that are one clip each, as crops of a whole sequence need.

    Raises:
        ValueError: If a sequence is longer than published code accepts and no limit is set.
    """
    for dataset in datasets:
        if isinstance(dataset, SkeletonDataset) and _is_uncut(dataset):
            raise ValueError(
                f"expected sequences of at most {LONGEST} frames, or a limit to cut them at, "
                f"got one of {dataset.lengths.max()} in {dataset.store.path}; "
                f"SkeletonDataset(max_frames={LONGEST}) cuts as the published code does"
            )


def dataset_for(
    pretrained: Pretrained,
    store: Store,
    indices: ArrayLike | None = None,
    max_frames: int | None = None,
) -> SkeletonDataset:
    """Select sequences of a store, with the joints, form and number of persons of the encoder.

    Args:
        pretrained: The encoder.
        store: The data.
        indices: The sequences; all by default.
        max_frames: Frames after which longer sequences are cut off; by default none is.

    Raises:
        ValueError: If the store has other joints, more persons, or another normalization than
            the encoder was trained on; or lacks joints of an encoder for all layouts.
    """
    persons = max(int(store.slots.max()), pretrained.encoder.persons)
    dataset = SkeletonDataset(
        store,
        indices,
        persons=persons,
        max_frames=max_frames,
        skeleton=pretrained.skeleton,
        normalization=form_of(pretrained.normalization),
    )
    check_data(pretrained, dataset)
    return dataset


def check_data(pretrained: Pretrained, dataset: ClipDataset) -> None:
    """Require the joints, persons and normalization that the encoder was trained on.

    Raises:
        ValueError: If ``pretrained`` holds no encoder, or the data set has something else; the
            message gives what the encoder needs and what the store has.
    """
    if not isinstance(pretrained, Pretrained):
        raise ValueError(
            "expected Pretrained(encoder, skeleton, stream, frames), as load_encoder returns it, "
            f"got {type_name(pretrained)}"
        )
    check_encoder(pretrained.encoder)
    check_joints(dataset, pretrained.skeleton)
    if pretrained.encoder.persons != dataset.persons:
        persons = pretrained.encoder.persons
        remedy = f"SkeletonDataset(..., persons={persons}) adds empty ones"
        if dataset.persons > persons:
            remedy = f"pcm3 prepare --persons {persons} keeps the foremost"
        raise ValueError(
            f"expected room for {persons} person{'s' * (persons > 1)}, as the encoder has, got "
            f"{dataset.persons}; {remedy}"
        )
    _check_normalization(pretrained, dataset.normalization)


def load_for(
    path: str | Path, store: Store, allow_normalization: bool = False
) -> tuple[Pretrained, list[str]]:
    """Load an encoder for the recordings of a store.

    Args:
        path: As in ``load_encoder``.
        store: The recordings.
        allow_normalization: Accept another normalization than the encoder was trained on, as
            published detection and transfer do, which use raw recordings.

    Returns:
        The encoder, and notes for readers of the results: one each if the unit and if the
        normalization are others, unless the encoder takes any layout.

    Raises:
        SkeletonFormatError: As ``load_encoder``.
        ValueError: If the normalization is another and that is not allowed.
    """
    pretrained, normalization = load_encoder(path), store.meta["normalization"]
    if form_of(pretrained.normalization) is not None:
        return pretrained, []  # any recipe may have been applied
    if not allow_normalization:
        _check_normalization(pretrained, normalization)
    notes, unit = [], store.meta["unit"]
    if pretrained.unit is not None and full_name(pretrained.unit) != full_name(unit):
        notes.append(
            f"the encoder was trained on recordings in {pretrained.unit}, these are in {unit}: it "
            "gets bodies of another size, so the results may be wrong"
        )
    if pretrained.normalization in (None, normalization):
        return pretrained, notes
    notes.append(
        f"the encoder was trained on recordings of normalization {pretrained.normalization!r}, "
        f"these have {normalization!r}"
    )
    return pretrained._replace(normalization=normalization), notes


def _check_normalization(pretrained: Pretrained, normalization: str) -> None:
    if pretrained.normalization not in (None, normalization):
        raise ValueError(
            f"expected a store prepared with normalization {pretrained.normalization!r}, as the "
            f"encoder's training data were, got {normalization!r}; --allow-normalization accepts it"
        )
