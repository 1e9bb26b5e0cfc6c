"""MAMP, its baseline MAE and NAT: masked motion prediction with a transformer."""

from pcm3.methods.mamp.masked import MAMPViews
from pcm3.methods.mamp.model import (
    MAMP,
    frame_motion,
    normalize_patches,
    normalize_times,
    unpatchify,
)
from pcm3.methods.mamp.settings import MAMPSettings

__all__ = [
    "MAMP",
    "MAMPSettings",
    "MAMPViews",
    "frame_motion",
    "normalize_patches",
    "normalize_times",
    "unpatchify",
]
