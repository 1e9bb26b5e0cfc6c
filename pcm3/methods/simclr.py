"""SimCLR: two views of a clip attract each other, and those of all other clips repel them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pcm3.augment import JointJitter, OneOf, Shear, TemporalCropResize
from pcm3.checks import check_transforms
from pcm3.encoders.base import Encoder, check_frames, pool_features
from pcm3.heads import Projector
from pcm3.losses import nt_xent
from pcm3.methods.base import Method, Output, Preset
from pcm3.methods.recordings import LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.skeleton import NTU25, Skeleton, to_stream


@dataclass(frozen=True)
class SimCLRSettings(EncoderSettings):
    """Settings of SimCLR."""

    embedding: int = 128
    """Width of the contrastive embedding."""
    temperature: float = 0.1
    """Temperature tau of the loss."""
    crop_scale: tuple[float, float] = (0.1, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""
    shear: float = 1.0
    """Amplitude of shear."""
    jitter: float = 1.0
    """Amplitude of joint jitter."""


class TwoViews(NamedTuple):
    """Two views ``(N, C, T, V, M)`` of the clips of a batch."""

    first: Tensor
    second: Tensor


class SimCLR(Method):
    r"""Contrastive learning without a queue and without a second encoder.

    Both views of a clip go through the same encoder and projector. The loss is NT-Xent, see
    :func:`pcm3.losses.nt_xent`: the other clips of the batch are the negatives, so batches should
    be large. With several devices, each device compares only its own clips.

    Args:
        encoder: The encoder to train.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; the defaults if None.
        crop: Temporal transform of both views, called with ``lengths``; by default a
            ``TemporalCropResize``.
        spatial: Spatial transform of both views; by default either jitter or shear, at random.
        changes: Settings to change, by name, see ``SimCLRSettings``.

    Raises:
        ValueError: If skeleton and encoder disagree, a setting is out of range, or clips do not
            fit.

    Source:
        Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual
        Representations, ICML 2020; the views are those of PCM3's query and key.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> model = SimCLR(GRUEncoder(NTU25, hidden=8), NTU25, embedding=16)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)
        ['nt_xent']
    """

    Settings = SimCLRSettings
    name = "simclr"
    settings: SimCLRSettings

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: SimCLRSettings | None = None,
        *,
        crop: Callable[..., Tensor] | None = None,
        spatial: Callable[..., Tensor] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(crop=crop, spatial=spatial)
        chosen = self.settings
        self.crop = crop or TemporalCropResize(
            chosen.frames, chosen.crop_scale, chosen.crop_min_frames
        )
        self.spatial = spatial or OneOf(JointJitter(amplitude=chosen.jitter), Shear(chosen.shear))
        self.projector = Projector(encoder.out_features, chosen.embedding)

    @torch.no_grad()
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> TwoViews:
        """Draw two crops of each clip, with a spatial transform each.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips)

        views = (self.draw_view(clips, lengths, generator) for _ in range(2))
        return TwoViews(*(to_stream(each, self.skeleton, self.stream) for each in views))

    def loss(self, views: TwoViews) -> Output:
        """Compute the loss of views.

        Raises:
            ValueError: If the views do not fit the encoder, or there are fewer than two clips.
        """
        first, second = self._embed(views.first), self._embed(views.second)
        loss = nt_xent(first, second, self.settings.temperature)
        return Output(loss, {"nt_xent": loss.detach()})

    def _embed(self, clips: Tensor) -> Tensor:
        frames = self.encoder(clips)
        check_frames(self.encoder, frames, len(clips))
        features = pool_features(self.encoder, frames)
        return F.normalize(self.projector(features).float(), dim=1)


SimCLR.presets = {
    "small-simclr": Preset(
        SimCLRSettings(
            frames=32,
            hidden=64,
            pool="mean",
            crop_scale=(0.5, 1.0),
            crop_min_frames=32,
            shear=0.5,
            jitter=0.5,
        ),
        TrainSettings(
            epochs=200, batch_size=64, optimizer="adamw", lr=2e-3, drop_epoch=160, knn_every=10
        ),
        "xsub",
        LAPTOP,
        "SimCLR",
        parameters=0.265,
        forward=0.0148,
    )
}
