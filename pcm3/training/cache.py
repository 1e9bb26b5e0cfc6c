"""A data set that lies whole on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pcm3._torch import send
from pcm3.data.dataset import Batch, ClipDataset, SkeletonDataset
from pcm3.data.hybrid import HybridDataset
from pcm3.methods.settings import TrainSettings

_SHARE = 0.25
"""Largest share of the free memory that is taken without being asked for."""
_CHUNK = 256


class DeviceCache:
    """All clips of a data set on a device, which gathers batches without the host.

    Args:
        dataset: The data set; it is read once.
        device: Device to keep the clips on.
    """

    def __init__(self, dataset: ClipDataset, device: torch.device) -> None:
        self._dataset = dataset
        lengths = torch.from_numpy(np.asarray(dataset.lengths, dtype=np.int64))
        ends = lengths.cumsum(0)
        self._starts, self._lengths = ends - lengths, lengths
        first = dataset.batch([0]).clips
        channels, _, joints, persons = first.shape[1:]
        size = (int(ends[-1]) + 1, channels, joints, persons)  # the last frame is padding
        self._frames = torch.zeros(size, dtype=_stored_type(dataset), device=device)
        for begin in range(0, len(dataset), _CHUNK):
            rows = list(range(begin, min(begin + _CHUNK, len(dataset))))
            batch = dataset.batch(rows)
            inside = torch.arange(batch.clips.shape[2]) < batch.lengths[:, None]
            frames = batch.clips.movedim(2, 1)[inside].to(self._frames.dtype)
            start = int(self._starts[begin])
            self._frames[start : start + len(frames)].copy_(frames)

    def batches(self, rows: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """Gather batches, zero padded as those of the data set."""
        for row in rows:
            items = torch.tensor(row)
            lengths, device = self._lengths[items], self._frames.device
            place = torch.arange(int(lengths.max()))
            index = self._starts[items][:, None] + place
            index[place >= lengths[:, None]] = len(self._frames) - 1
            frames: Tensor = self._frames[send(index, device)]
            clips = frames.movedim(2, 1).float().contiguous()
            labels = torch.from_numpy(np.asarray(self._dataset.labels)[row])
            yield Batch(clips, send(lengths, device), labels, items)


def fits_on(dataset: ClipDataset, device: torch.device, config: TrainSettings) -> bool:
    """Return whether a run keeps its data set on the device.

    Raises:
        ValueError: If it shall, and the data set has other items in each epoch.
    """
    if config.cache == "device" and type(dataset).in_epoch is not ClipDataset.in_epoch:
        raise ValueError(
            "expected cache auto or none for a data set that has other items in each epoch, got "
            "device"
        )
    if config.cache != "auto":
        return config.cache == "device"
    if device.type != "cuda" or not isinstance(dataset, (SkeletonDataset, HybridDataset)):
        return False  # another data set may give other clips each time
    first = dataset.batch([0]).clips
    size = int(dataset.lengths.sum()) * first[0, :, 0].numel() * _stored_type(dataset).itemsize
    return size <= _SHARE * torch.cuda.mem_get_info(device)[0]


def _stored_type(dataset: ClipDataset) -> torch.dtype:
    """float16 if the clips come from stores in float16, which lose nothing, else float32."""
    parts = dataset.datasets if isinstance(dataset, HybridDataset) else [dataset]
    half = all(
        isinstance(part, SkeletonDataset)
        and part.stream == "joint"
        and part.store.meta["dtype"] == "float16"
        for part in parts
    )
    return torch.float16 if half else torch.float32
