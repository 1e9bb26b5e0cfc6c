"""MAMP and its baseline MAE: masked motion prediction with a transformer."""

from pcm3.methods.mamp.model import (
    MAMP,
    MAMPViews,
    frame_motion,
    normalize_patches,
    unpatchify,
)
from pcm3.methods.mamp.settings import MAMPSettings

__all__ = [
    "MAMP",
    "MAMPSettings",
    "MAMPViews",
    "frame_motion",
    "normalize_patches",
    "unpatchify",
]
