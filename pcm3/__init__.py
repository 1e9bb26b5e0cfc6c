"""Self-supervised learning of human-action representations from 3D skeletons."""

from pcm3._version import __version__
from pcm3.methods.pcm3 import PCM3
from pcm3.queue import MemoryQueue
from pcm3.skeleton import NTU25, Skeleton

__all__ = ["NTU25", "PCM3", "MemoryQueue", "Skeleton", "__version__"]
