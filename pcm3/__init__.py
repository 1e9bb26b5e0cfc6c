"""Self-supervised learning of human-action representations from 3D skeletons."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pcm3._version import __version__

if TYPE_CHECKING:
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
]

_HOMES = {
    "MAMP": "pcm3.methods.mamp",
    "NTU25": "pcm3.skeleton",
    "PCM3": "pcm3.methods.pcm3",
    "MemoryQueue": "pcm3.queue",
    "Skeleton": "pcm3.skeleton",
    "load_classifier": "pcm3.inference.files",
}


def __getattr__(name: str) -> Any:
    # Imported when it is first asked for: the command answers at once, without torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
