"""AimCLR: momentum contrast with extreme augmentations, attention drop and mined neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from pcm3.augment import (
    AxisMask,
    Compose,
    Flip,
    GaussianBlur,
    GaussianNoise,
    MainAxisRotate,
    OneOf,
    ReflectCrop,
    Shear,
)
from pcm3.checks import check_share, check_transforms
from pcm3.data.dataset import LONGEST
from pcm3.encoders.base import Encoder, check_frames
from pcm3.heads import attention_drop
from pcm3.losses import distribution_ce, key_and_queue_logits, multi_positive_info_nce
from pcm3.methods.base import Output, Preset
from pcm3.methods.momentum import MomentumContrast
from pcm3.methods.recordings import FULL_SIZE, LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.queue import MemoryQueue
from pcm3.skeleton import NTU25, Skeleton, to_stream


@dataclass(frozen=True)
class AimCLRSettings(EncoderSettings):
    """Settings of AimCLR; the defaults are the published ones, less its encoder."""

    frames: int = 50
    """Frames that each view is resized to."""
    embedding: int = 128
    """Width of the contrastive embedding."""
    queue_size: int = 32768
    """Number of keys in the memory queue."""
    momentum: float = 0.999
    """Momentum of the key encoder."""
    temperature: float = 0.07
    """Temperature tau of all distributions."""
    reflect: float = 1 / 6
    """Share of the frames by which each end is continued by its mirror image before a crop."""
    shear: float = 0.5
    """Amplitude of shear, of every view."""
    rotation: float = 30.0
    """Largest angle about the main axis of rotation, in degrees."""
    noise: float = 0.01
    """Standard deviation of noise, in the unit of the coordinates."""
    normalize_blur: bool = False
    """Whether the blur keeps the size of the body; that of the published code does not."""
    axis_mask: float = 0.5
    """Probability of setting one coordinate to 0."""
    drop: bool = True
    """Whether there is a query with attention drop; the encoder must have maps, as stgcn and
    transformer do."""
    drop_threshold: float = 0.7
    """Attention from which on features are dropped."""
    mining_start: float = 0.5
    """Share of the epochs after which nearest neighbours in the queue are positives too."""
    neighbours: int = 1
    """Number of neighbours of each query."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("axis_mask", self.axis_mask)
        check_share("mining_start", self.mining_start)
        if not 1 <= self.neighbours <= self.queue_size:
            raise ValueError(
                f"expected neighbours in [1, queue_size={self.queue_size}], got {self.neighbours}"
            )

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        unused = super().without_effect()
        if not self.drop:
            unused["drop_threshold"] = "drop is off"
        if self.mining_start == 1:
            unused["neighbours"] = "mining_start is 1, so there is no mining"
        return unused


class AimCLRViews(NamedTuple):
    """Extremely augmented query, query and key ``(N, C, T, V, M)`` of a batch."""

    extreme: Tensor
    query: Tensor
    key: Tensor


class AimCLR(MomentumContrast):
    r"""Momentum contrast in which extreme views follow the distribution of the plain one.

    .. math::
        L = L_{Info}(z, z') + \frac12 \left[ H(p(z), p(z_e)) + H(p(z), p(z_d)) \right]

    with the cross-entropy H, the distribution p of a query over its key and the queue, the query
    :math:`z_e` of an extremely augmented view, and :math:`z_d`, the same after
    :func:`pcm3.heads.attention_drop` on the maps of the encoder. Without ``drop``,
    :math:`z_e` takes both halves. In the second half of training, the nearest neighbours of all
    three queries in the queue are positives of the plain one. Training tells the method when by
    ``progress``; a loop of your own calls it or leaves mining out.

    Args:
        encoder: The query encoder f.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; those of the paper if None.
        crop: Temporal transform of every view, called with ``lengths``; by default a
            ``ReflectCrop``.
        spatial: Transform of every view; by default shear.
        extreme: Transform of the extreme view after both; by default flip, rotation, noise, blur
            and mask of an axis.
        changes: Settings to change, by name, see ``AimCLRSettings``.

    Attributes:
        mining: Boolean scalar, whether neighbours are positives.

    Raises:
        ValueError: If skeleton and encoder disagree, ``drop`` is set for an encoder without maps, a
            setting is out of range, or clips do not fit.

    Source:
        Guo, Liu, Chen, Liu, Wang, Ding: Contrastive Learning from Extremely Augmented Skeleton
        Sequences for Self-supervised Action Recognition, AAAI 2022.

    Example:
        >>> from pcm3.encoders import STGCNEncoder
        >>> model = AimCLR(STGCNEncoder(NTU25, channels=4, layers=(1, 1)), queue_size=32)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)
        ['info_nce', 'ddm/extreme', 'ddm/drop']
    """

    Settings = AimCLRSettings
    name = "aimclr"
    settings: AimCLRSettings
    mining: Tensor

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: AimCLRSettings | None = None,
        *,
        crop: Callable[..., Tensor] | None = None,
        spatial: Callable[..., Tensor] | None = None,
        extreme: Callable[..., Tensor] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(crop=crop, spatial=spatial, extreme=extreme)
        chosen = self.settings
        if chosen.drop and not encoder.has_maps:
            raise ValueError(
                "expected an encoder with maps, such as stgcn or transformer, or drop=False, got "
                f"a {type(encoder).__name__}"
            )
        self.crop = crop or ReflectCrop(chosen.frames, chosen.reflect)
        self.spatial = spatial or Shear(chosen.shear)
        self.extreme = extreme or self._make_extreme()
        self.queue = MemoryQueue(size=chosen.queue_size, dim=chosen.embedding)
        self.register_buffer("mining", torch.tensor(False), persistent=False)

    def _make_extreme(self) -> Compose:
        chosen = self.settings

        def sometimes(transform: Callable[..., Tensor], probability: float = 0.5) -> OneOf:
            return OneOf(Compose(), transform, probabilities=(1 - probability, probability))

        return Compose(
            sometimes(Flip(self.skeleton, negate=False)),
            MainAxisRotate(chosen.rotation),
            sometimes(GaussianNoise(chosen.noise)),
            sometimes(GaussianBlur(normalize=chosen.normalize_blur)),
            sometimes(AxisMask(), chosen.axis_mask),
        )

    @torch.no_grad()
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> AimCLRViews:
        """Draw three crops of each clip, sheared, and augment the first one further.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips)
        plain = self.draw_view(clips, lengths, generator)
        views = [self.extreme(plain, generator=generator)]
        views += [self.draw_view(clips, lengths, generator) for _ in range(2)]
        return AimCLRViews(*(to_stream(each, self.skeleton, self.stream) for each in views))

    def progress(self, epoch: int, epochs: int, step: int) -> None:  # noqa: ARG002
        """Start mining after its share of the epochs."""
        self.mining.fill_(epoch >= self.settings.mining_start * epochs)

    def loss(self, views: AimCLRViews) -> Output:
        """Compute the losses of views; in training mode, also update twins and queue.

        Raises:
            ValueError: If the views do not fit the encoder.
        """
        frames = self.encoder(views.query)
        check_frames(self.encoder, frames, len(views.query))
        queries = [self.embed(frames), *self._extreme_queries(views.extreme)]
        key = self.embed_key(views.key)
        anchors, temperature = self.queue.anchors, self.settings.temperature
        plain, *others = (key_and_queue_logits(q, key, anchors, temperature) for q in queries)
        positives = self._positives([plain, *others])
        terms = {"info_nce": multi_positive_info_nce(plain, positives)}
        for name, logits in zip(("extreme", "drop"), others, strict=False):
            terms[f"ddm/{name}"] = distribution_ce(logits, plain)
        following = torch.stack([term for name, term in terms.items() if name != "info_nce"])
        total = terms["info_nce"] + following.mean()
        self.keep(key)
        return Output(total, {name: term.detach() for name, term in terms.items()})

    def _extreme_queries(self, clips: Tensor) -> list[Tensor]:
        """Queries of the extreme view, as it is and with attention drop."""
        if not self.settings.drop:
            return [self.embed(self.encoder(clips))]
        maps = self.encoder.maps(clips)
        dropped = attention_drop(maps, self.settings.drop_threshold)
        return [self.embed(each.mean(dim=(1, 3))) for each in (maps, dropped)]

    @torch.no_grad()
    def _positives(self, queries: list[Tensor]) -> Tensor:
        """The key of each query and, while mining, the neighbours of all its views."""
        mined = torch.zeros_like(queries[0], dtype=torch.bool)
        for logits in queries:
            nearest = logits[:, 1:].topk(self.settings.neighbours, dim=1).indices
            mined = mined.scatter(1, 1 + nearest, True)
        positives = mined & self.mining
        return torch.cat([torch.ones_like(positives[:, :1]), positives[:, 1:]], dim=1)


_FULL = AimCLRSettings(
    encoder="stgcn",
    hidden=256,
    pool="mean",
    encoder_arguments=("graph=code", "last_channels=256", "dropout=0.5"),
)
_FULL_TRAIN = TrainSettings(epochs=300, lr=0.1, drop_epoch=250)
_SMALL = AimCLRSettings(
    frames=32,
    hidden=64,
    pool="mean",
    queue_size=2048,
    momentum=0.99,
    normalize_blur=True,
    axis_mask=0.25,
    drop=False,
)
_SMALL_TRAIN = TrainSettings(
    epochs=300, batch_size=64, optimizer="adamw", lr=2e-3, drop_epoch=240, knn_every=10
)
"""As long as the preset ``small`` of PCM3."""


def _presets() -> Iterator[tuple[str, Preset]]:
    for place, published in (
        ("ntu60-xsub", "74.3 %, three streams 79.2 %"),
        ("ntu60-xview", "79.7 %, three streams 84.0 %"),
    ):
        yield (
            f"{place}-aimclr",
            Preset(
                _FULL,
                _FULL_TRAIN,
                place.split("-")[1],
                FULL_SIZE[place],
                "AimCLR",
                parameters=1.84,
                forward=1.85,
                published=published,
                max_frames=LONGEST,
            ),
        )
    yield "small-aimclr", Preset(_SMALL, _SMALL_TRAIN, "xsub", LAPTOP, "AimCLR", 0.531, 0.0227)


AimCLR.presets = dict(_presets())
