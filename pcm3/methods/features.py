"""From raw clips to the features that downstream tasks use."""

from __future__ import annotations

import torch
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
        encoder: The encoder; left in the mode it was in.
        clips: Joint coordinates ``(N, C, T, V, M)``.
        lengths: Valid frames of each clip ``(N,)``; T by default.
        skeleton: Joint layout of the clips.
        stream: Derived from the resized clips.
        frames: Frames that every clip is resized to.
        crop: Central share of the frames that is used, 0.95 in the papers' protocols.

    Raises:
        ValueError: If the clips do not fit the skeleton or the encoder, or are not finite, the
            lengths are no tensor ``(N,)`` of integers in [1, T], or what the encoder returns is of
            another shape than it says.
    """
    encoder.check_clips(clips, finite=True)
    resized = center_crop_resize(clips, lengths, frames, crop)
    was_training = encoder.training
    encoder.eval()
    try:
        features: Tensor = encoder(to_stream(resized, skeleton, stream))
        check_frames(encoder, features, len(clips))
        return pool_features(encoder, features)
    finally:
        encoder.train(was_training)
