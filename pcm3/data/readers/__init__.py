"""Readers: one file per format, each gives ``Recordings``."""

from pcm3.data.readers.base import Recording, Recordings
from pcm3.data.readers.packed import read_packed

__all__ = ["Recording", "Recordings", "read_packed"]
