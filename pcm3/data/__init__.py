"""Data: readers, the store, protocols and the torch data set."""

from pcm3.data.dataset import Batch, SkeletonDataset, collate
from pcm3.data.prepare import prepare
from pcm3.data.splits import split, validation_split
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.data.writer import StoreWriter

__all__ = [
    "Batch",
    "SkeletonDataset",
    "Store",
    "StoreWriter",
    "collate",
    "generate",
    "prepare",
    "split",
    "validation_split",
]
