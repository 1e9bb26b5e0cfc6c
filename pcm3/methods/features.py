"""Sequence features of raw clips for downstream tasks, and frame features at another rate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pcm3.augment.functional import center_crop_resize
from pcm3.encoders.base import Encoder, check_frames, pool_features
from pcm3.skeleton import Skeleton, Stream, to_stream


@torch.no_grad()
def sequence_features(
    encoder: Encoder,
    clips: Tensor,
    lengths: Tensor | None,
    skeleton: Skeleton,
    stream: Stream = "joint",
    frames: int = 64,
    crop: float = 0.95,
) -> Tensor:
    """Features ``(N, D)`` of a frozen encoder in evaluation mode.

    Args:
        encoder: The encoder, whose mode is restored afterwards.
        clips: Joint coordinates ``(N, C, T, V, M)``.
        lengths: Number of valid frames of each clip ``(N,)``; T by default.
        skeleton: Joint layout of the clips.
        stream: Input stream, derived from the resized clips.
        frames: Number of frames that every clip is resized to.
        crop: Share of the frames that the centre crop keeps; 0.95 in the papers.

    Raises:
        ValueError: If the clips do not fit the skeleton or the encoder or are not finite, the
            lengths are not a tensor ``(N,)`` of integers in [1, T], or the encoder returns another
            shape than it declares.
    """
    encoder.check_clips(clips)
    resized = center_crop_resize(clips, lengths, frames, crop)
    was_training = encoder.training
    encoder.eval()
    try:
        features: Tensor = encoder(to_stream(resized, skeleton, stream))
        check_frames(encoder, features, len(clips))
        return pool_features(encoder, features)
    finally:
        encoder.train(was_training)


def stretch_frames(features: Tensor, frames: int) -> Tensor:
    """Interpolate frame features ``(N, T', D)`` linearly to ``(N, T, D)``."""
    if features.shape[1] == frames:
        return features
    # Resizing the unit matrix gives the weights; unlike that of interpolate, the gradient of the
    # matrix product is deterministic on GPUs.
    unit = torch.eye(features.shape[1], dtype=features.dtype, device=features.device)[None]
    weights = F.interpolate(unit, frames, mode="linear", align_corners=False)[0]
    stretched: Tensor = weights.T @ features
    return stretched
