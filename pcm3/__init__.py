"""Self-supervised learning of human-action representations from 3D skeletons."""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3._version import __version__

if TYPE_CHECKING:
    from pcm3.encoders.files import load_pretrained
    from pcm3.inference.files import load_classifier
    from pcm3.methods.mamp import MAMP
    from pcm3.methods.pcm3 import PCM3
    from pcm3.queue import MemoryQueue
    from pcm3.skeleton import NTU25, Skeleton

__all__ = [
    "MAMP",
    "NTU25",
    "PCM3",
    "MemoryQueue",
    "Skeleton",
    "__version__",
    "load_classifier",
    "load_pretrained",
]

if not TYPE_CHECKING:  # imported when first asked for: the command answers at once, without torch
    __getattr__ = names_of(
        __name__,
        {
            "MAMP": "pcm3.methods.mamp",
            "NTU25": "pcm3.skeleton",
            "PCM3": "pcm3.methods.pcm3",
            "MemoryQueue": "pcm3.queue",
            "Skeleton": "pcm3.skeleton",
            "load_classifier": "pcm3.inference.files",
            "load_pretrained": "pcm3.encoders.files",
        },
    )


def __dir__() -> list[str]:
    return __all__
