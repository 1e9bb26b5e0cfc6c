"""Data: readers, the store, protocols and the torch data set."""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.data.prepare import prepare
from pcm3.data.splits import split, validation_split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate

if TYPE_CHECKING:
    from pcm3.data.dataset import Batch, SkeletonDataset, collate
    from pcm3.data.hybrid import HybridDataset
    from pcm3.data.synthetic.motion import SyntheticMotion

__all__ = [
    "Batch",
    "HybridDataset",
    "SkeletonDataset",
    "Store",
    "StoreWriter",
    "SyntheticMotion",
    "collate",
    "generate",
    "prepare",
    "split",
    "validation_split",
]

if not TYPE_CHECKING:  # processes that read files start without torch, which they do not need
    __getattr__ = names_of(
        __name__,
        {
            "Batch": "pcm3.data.dataset",
            "HybridDataset": "pcm3.data.hybrid",
            "SkeletonDataset": "pcm3.data.dataset",
            "SyntheticMotion": "pcm3.data.synthetic.motion",
            "collate": "pcm3.data.dataset",
        },
    )
