"""MS2L: motion prediction, the order of segments and contrast, together or one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from pcm3.augment import SegmentShuffle, TemporalCropResize
from pcm3.checks import check_at_least, check_count, check_positive, check_share, check_transforms
from pcm3.encoders.base import Encoder, check_frames, pool_features
from pcm3.heads import MaskedMotionDecoder, OrderHead
from pcm3.losses import nt_xent
from pcm3.methods.base import Method, Output, Preset
from pcm3.methods.features import stretch_frames
from pcm3.methods.pcm3.presets import SMALL_TRAIN
from pcm3.methods.recordings import LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.skeleton import NTU25, Skeleton, to_stream


@dataclass(frozen=True)
class MS2LSettings(EncoderSettings):
    """Settings of MS2L."""

    segments: int = 3
    """Number of segments whose order is to be found."""
    kept_share: float = 0.7
    """Share of the frames that the motion is predicted from, rounded up; later frames are zero."""
    motion_weight: float = 1.0
    """Weight of motion prediction; 0 leaves it out."""
    jigsaw_weight: float = 1.0
    """Weight of the classification of the order; 0 leaves it out."""
    contrast_weight: float = 1.0
    """Weight of contrastive learning; 0 leaves it out."""
    temperature: float = 0.9
    """Temperature tau of the contrastive loss."""
    embedding: int = 1024
    """Width of the contrastive embedding."""
    head_hidden: int = 2048
    """Width of the hidden layer of both heads."""
    decoder_hidden: int = 600
    """Width of the decoder of the motion."""
    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = {
            "motion_weight": self.motion_weight,
            "jigsaw_weight": self.jigsaw_weight,
            "contrast_weight": self.contrast_weight,
        }
        for name, weight in weights.items():
            check_at_least(name, weight, 0)
        if not any(weights.values()):
            raise ValueError(f"expected a weight above 0 among {', '.join(weights)}, got none")
        check_positive("temperature", self.temperature)
        check_share("kept_share", self.kept_share)
        check_positive("kept_share", self.kept_share)
        if self.segments > self.frames:
            raise ValueError(f"expected segments <= frames={self.frames}, got {self.segments}")
        for name in ("embedding", "head_hidden"):
            check_count(name, getattr(self, name))

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        unused = super().without_effect()
        if not self.motion_weight:
            unused["decoder_hidden"] = "motion_weight is 0"
        if not self.contrast_weight:
            unused |= dict.fromkeys(("temperature", "embedding"), "contrast_weight is 0")
        if not self.contrast_weight and not self.jigsaw_weight:
            unused["head_hidden"] = "contrast_weight and jigsaw_weight are 0"
        return unused


class MS2LViews(NamedTuple):
    """Views of a batch in a training step.

    Attributes:
        whole: Cropped clips ``(N, C, T, V, M)``.
        masked: The same with 0 in the last frames.
        shuffled: The same with its segments in another order.
        order: Index of this order ``(N,)`` in the lexicographic list of all orders.
    """

    whole: Tensor
    masked: Tensor
    shuffled: Tensor
    order: Tensor


class MS2L(Method):
    r"""Predict the motion, tell the order of segments, and contrast the three views.

    .. math::
        L = \lambda_m L_{motion} + \lambda_j L_{jigsaw} + \lambda_c L_{contrast}

    A weight of 0 drops a term and its head. ``motion_weight=0, contrast_weight=0`` is the jigsaw of
    time alone, a context method.

    * Motion: the last frames of a clip are zero, and a decoder predicts the whole clip from the
      frame features. The loss is the mean squared error over all frames.
    * Jigsaw: the segments of a clip are in a random order, which a head tells from the sequence
      feature.
    * Contrast: whole, masked and shuffled view attract the mean of their three embeddings, and
      repel those of all other clips, see :func:`pcm3.losses.nt_xent` with ``exclude_self=False``.
      With several devices, each device compares only its own clips.

    Args:
        encoder: The encoder to train.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; the defaults if None.
        crop: Temporal transform, called with ``lengths``; by default a ``TemporalCropResize``.
        changes: Settings to change, by name, see ``MS2LSettings``.

    Raises:
        ValueError: If skeleton and encoder disagree, a setting is out of range, or clips do not
            fit.

    Source:
        Lin, Song, Yang, Liu: MS2L: Multi-Task Self-Supervised Learning for Skeleton Based Action
        Recognition, ACM MM 2020.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> model = MS2L(GRUEncoder(NTU25, hidden=8), NTU25, embedding=16)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)
        ['motion', 'jigsaw', 'contrast']
    """

    Settings = MS2LSettings
    recipe = TrainSettings(
        epochs=60,
        batch_size=256,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.0,
        drop_epoch=30,
        clip_norm=10.0,
    )
    name = "ms2l"
    settings: MS2LSettings

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: MS2LSettings | None = None,
        *,
        crop: Callable[..., Tensor] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(crop=crop)
        chosen, width = self.settings, encoder.out_features
        self.crop = crop or TemporalCropResize(
            chosen.frames, chosen.crop_scale, chosen.crop_min_frames
        )
        self.shuffle = SegmentShuffle(chosen.segments)
        self.decoder = self.order_head = self.projector = None
        if chosen.motion_weight > 0:
            self.decoder = MaskedMotionDecoder(
                width,
                joints=encoder.joints,
                in_channels=encoder.in_channels,
                persons=encoder.persons,
                hidden=chosen.decoder_hidden,
            )
        if chosen.jigsaw_weight > 0:
            self.order_head = OrderHead(width, chosen.segments, chosen.head_hidden)
        if chosen.contrast_weight > 0:
            self.projector = nn.Sequential(
                nn.Linear(width, chosen.head_hidden),
                nn.BatchNorm1d(chosen.head_hidden),
                nn.ReLU(),
                nn.Linear(chosen.head_hidden, chosen.embedding),
            )

    @torch.no_grad()
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> MS2LViews:
        """Draw a crop of each clip and the order of its segments.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips)
        cropped = self.crop(clips, lengths, generator=generator)
        whole = to_stream(cropped, self.skeleton, self.stream)
        masked = whole.clone()
        masked[:, :, math.ceil(whole.shape[2] * self.settings.kept_share - 1e-9) :] = 0
        shuffled, order = self.shuffle.with_order(whole, generator=generator)
        return MS2LViews(whole, masked, shuffled, order)

    def loss(self, views: MS2LViews) -> Output:
        """Compute the loss of views.

        Raises:
            ValueError: If the views do not fit the encoder, or there are fewer than two clips.
        """
        frames = self._encode(views)
        pooled = {name: pool_features(self.encoder, each) for name, each in frames.items()}
        terms: dict[str, Tensor] = {}
        prediction = None
        if self.decoder is not None:
            prediction = self.decoder(stretch_frames(frames["masked"], views.whole.shape[2]))
            terms["motion"] = F.mse_loss(prediction.float(), views.whole.float())
        if self.order_head is not None:
            scores = self.order_head(pooled["shuffled"])
            terms["jigsaw"] = F.cross_entropy(scores.float(), views.order)
        if self.projector is not None:
            embeddings = [self.projector(each).float() for each in pooled.values()]
            mean = F.normalize(torch.stack(embeddings).mean(dim=0), dim=1)
            losses = [
                nt_xent(F.normalize(each, dim=1), mean, self.settings.temperature, False)
                for each in embeddings
            ]
            terms["contrast"] = torch.stack(losses).mean()
        weighted = [getattr(self.settings, f"{name}_weight") * terms[name] for name in terms]
        total = torch.stack(weighted).sum()
        return Output(total, {n: term.detach() for n, term in terms.items()}, prediction)

    def _encode(self, views: MS2LViews) -> dict[str, Tensor]:
        """Frame features ``(N, T', D)`` of the views that some term needs."""
        contrasts = self.projector is not None
        needed = {"whole": contrasts}
        needed["masked"] = contrasts or self.decoder is not None
        needed["shuffled"] = contrasts or self.order_head is not None
        clips = {name: getattr(views, name) for name in needed if needed[name]}
        frames = self.encoder.encode_views([*clips.values()], [None] * len(clips))
        for each in frames:
            check_frames(self.encoder, each, len(views.whole))
        return dict(zip(clips, frames, strict=True))


_SMALL = MS2LSettings(
    frames=32,
    hidden=64,
    pool="mean",
    crop_min_frames=32,
    embedding=128,
    head_hidden=256,
    decoder_hidden=64,
)
_JIGSAW = replace(_SMALL, segments=4, motion_weight=0.0, contrast_weight=0.0)

MS2L.presets = {
    "small-ms2l": Preset(_SMALL, SMALL_TRAIN, "xsub", LAPTOP, "MS2L", 0.406, 0.0246),
    "small-jigsaw": Preset(
        _JIGSAW, SMALL_TRAIN, "xsub", LAPTOP, "jigsaw of time, a part of MS2L", 0.272, 0.00739
    ),
}
