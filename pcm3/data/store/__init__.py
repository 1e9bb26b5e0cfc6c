"""The store: one folder of recordings that training and evaluation read."""

from pcm3.data.store.meta import StoreDtype
from pcm3.data.store.store import Store
from pcm3.data.store.writer import StoreWriter

__all__ = ["Store", "StoreDtype", "StoreWriter"]
