"""Data: readers, the store, protocols and the torch data set."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    # processes that read files start without torch, which they do not need
    if name in __all__:
        homes = {"HybridDataset": "hybrid", "SyntheticMotion": "synthetic.motion"}
        return getattr(import_module(f"pcm3.data.{homes.get(name, 'dataset')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
