"""Settings of MAMP, and those that it shares with other methods that hide tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pcm3.encoders import TransformerEncoder
from pcm3.methods.settings import MethodSettings
from pcm3.skeleton import Skeleton

Target = Literal["motion", "coordinates"]
Normalized = Literal["patch", "time", False]


@dataclass(frozen=True)
class MaskedTransformerSettings(MethodSettings):
    """Settings of methods that hide tokens from a transformer, with the values of MAMP's paper."""

    frames: int = 120
    """Frames that each clip is resized to."""
    patch: int = 4
    """Number of frames of one joint in a token."""
    width: int = 256
    """Width of the tokens."""
    depth: int = 8
    """Number of blocks of the encoder."""
    heads: int = 8
    """Number of attention heads."""
    decoder_depth: int = 3
    """Number of blocks of the decoder."""
    mask_ratio: float = 0.9
    """Share of the tokens to hide."""
    motion_temperature: float = 0.8
    """Temperature tau of the motion-aware mask; 0 hides uniformly."""
    skip_absent: bool = False
    """Leave out persons who are all zero; the published code trains on them."""
    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""
    rotation: float = 0.3
    """Largest rotation about each axis, in radians."""

    @classmethod
    def of_encoder(cls) -> list[str]:
        """Names of the settings that only a new encoder needs."""
        return ["frames", "patch", "width", "depth", "heads"]

    def build_encoder(
        self, skeleton: Skeleton, persons: int, in_channels: int = 3
    ) -> TransformerEncoder:
        """Build the encoder alone."""
        sizes = {name: getattr(self, name) for name in [*self.of_encoder(), "skip_absent"]}
        return TransformerEncoder(skeleton, in_channels, persons, **sizes)


@dataclass(frozen=True)
class MAMPSettings(MaskedTransformerSettings):
    """Settings of MAMP; the defaults are those of its paper for NTU RGB+D 60."""

    target: Target = "motion"
    """Target of the prediction; coordinates with motion_temperature 0 is the MAE baseline."""
    motion_stride: int = 1
    """Frames s between the two positions whose difference is the motion, 0 in the last s frames."""
    normalize_target: Normalized = "patch"
    """What of the target gets mean 0 and variance 1: each patch (MAMP), each coordinate over time
    (NAT), or nothing."""

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        unused = {} if self.target == "motion" else {"motion_stride": f"target is {self.target}"}
        return super().without_effect() | unused
