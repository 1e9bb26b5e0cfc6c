"""PCM3 and PCM3++: prompted contrast with masked motion modelling."""

from pcm3.methods.pcm3.model import PCM3
from pcm3.methods.pcm3.settings import (
    PCM3_POSITIVES,
    PCM3Settings,
    Positive,
    PromptPosition,
    Result,
)
from pcm3.methods.pcm3.views import Views

__all__ = [
    "PCM3",
    "PCM3_POSITIVES",
    "PCM3Settings",
    "Positive",
    "PromptPosition",
    "Result",
    "Views",
]
