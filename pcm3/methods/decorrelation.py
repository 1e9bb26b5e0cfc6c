"""Contrast without negatives: PSTL and SkeletonBT by Barlow Twins, or the same views by VICReg."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from pcm3.augment import (
    Compose,
    DegreeJointDrop,
    Flip,
    MainAxisRotate,
    MotionFrameDrop,
    OneOf,
    ReflectCrop,
    Shear,
)
from pcm3.checks import check_different, check_not_empty, check_transforms, type_name
from pcm3.data.dataset import LONGEST
from pcm3.encoders.base import Encoder, check_frames, pool_features
from pcm3.heads import ExpanderHead
from pcm3.losses import BarlowTwins, VICReg
from pcm3.methods.base import Method, Output, Preset
from pcm3.methods.recordings import FULL_SIZE, LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.skeleton import NTU25, Skeleton, to_stream

Partner = Literal["plain", "temporal", "spatial"]


@dataclass(frozen=True)
class DecorrelationSettings(EncoderSettings):
    """Settings of Decorrelation; the defaults are those of PSTL for 50 frames, less its encoder."""

    frames: int = 50
    """Frames that each view is resized to."""
    partners: tuple[Partner, ...] = ("temporal", "spatial")
    """Views that the anchor is paired with: without frames, without joints, or whole (plain)."""
    loss: Literal["barlow", "vicreg"] = "barlow"
    """Loss of a pair: Barlow Twins or VICReg."""
    off_diagonal: float = 2e-4
    """Weight lambda of the correlations between dimensions in Barlow Twins."""
    expander: int = 6144
    """Width of the embedding head."""
    expander_depth: int = 3
    """Layers of the embedding head."""
    reflect: float = 1 / 6
    """Share of the frames by which each end is continued by its mirror image before a crop."""
    shear: float = 1.0
    """Amplitude of shear."""
    rotation: float = 30.0
    """Largest angle about the main axis of rotation, in degrees."""
    fastest: float = 0.2
    """Share of the frames, those of the largest motion, that the temporal view lacks."""
    others: float = 0.2
    """Share of the frames that the temporal view also lacks, at random."""
    joint_ratio: float = 0.32
    """Share of the joints that the spatial view lacks."""
    same_on_batch: bool = True
    """Whether everything random is drawn once per batch (published code) or for each sample."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_empty("partners", self.partners)
        check_different("partners", self.partners)

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        unused = super().without_effect()
        if "temporal" not in self.partners:
            unused |= dict.fromkeys(("fastest", "others"), "temporal is not among the partners")
        if "spatial" not in self.partners:
            unused["joint_ratio"] = "spatial is not among the partners"
        if self.loss != "barlow":
            unused["off_diagonal"] = f"the loss is {self.loss}"
        return unused


@dataclass(frozen=True)
class DecorrelationViews:
    """Views of a batch in a training step.

    Attributes:
        anchor: The view that is paired ``(N, C, T, V, M)``.
        partners: Its partners by kind; ``temporal`` has fewer frames.
        joints: Indices of the joints that the encoder gets of ``spatial`` ``(N, V')``; None without
            that view.
    """

    anchor: Tensor
    partners: Mapping[str, Tensor] = field(default_factory=dict)
    joints: Tensor | None = None


class Decorrelation(Method):
    r"""Contrast without negatives, queue or second encoder, which small batches suffice for.

    .. math::
        L = \sum_v L_{BT}(h(f(s)), h(f(s_v)))

    over the partners v of the anchor s: a view without its fastest and some other frames, and one
    without some joints (PSTL). ``partners=("plain",)`` is SkeletonBT, with two whole views.
    ``loss="vicreg"`` replaces Barlow Twins.

    Statistics are those of a batch, so batches that accumulate are compared one by one.

    Args:
        encoder: The encoder f. The graph encoder and the transformer leave joints out; for others
            they are zero.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; those of PSTL if None.
        crop: Temporal transform of every view, called with ``lengths``; by default a
            ``ReflectCrop``.
        spatial: Spatial transform of every view; by default shear, ``MainAxisRotate`` and, for half
            of the views, ``Flip``.
        changes: Settings to change, by name, see ``DecorrelationSettings``.

    Raises:
        ValueError: If skeleton and encoder disagree, a setting is out of range, or clips do not
            fit.

    Source:
        Zhou, Duan, Rao, Su, Wang: Self-supervised Action Representation Learning from Partial
        Spatio-Temporal Skeleton Sequences, AAAI 2023. VICReg for skeletons: UmURL (Sun et al., ACM
        MM 2023).

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> model = Decorrelation(GRUEncoder(NTU25, hidden=8), NTU25, expander=16)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)
        ['barlow/temporal', 'barlow/spatial']
    """

    Settings = DecorrelationSettings
    name = "decorrelation"
    settings: DecorrelationSettings

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: DecorrelationSettings | None = None,
        *,
        crop: Callable[..., Tensor] | None = None,
        spatial: Callable[..., Tensor] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(crop=crop, spatial=spatial)
        chosen, together = self.settings, self.settings.same_on_batch
        self.crop = crop or ReflectCrop(chosen.frames, chosen.reflect, together)
        flip = OneOf(Compose(), Flip(skeleton, negate=False), same_on_batch=together)
        turn = MainAxisRotate(chosen.rotation, same_on_batch=together)
        self.spatial = spatial or Compose(Shear(chosen.shear, together), turn, flip)
        self.frame_drop = MotionFrameDrop(chosen.fastest, chosen.others, together)
        self.joint_drop: DegreeJointDrop | None = None
        if "spatial" in chosen.partners:
            self.joint_drop = DegreeJointDrop(skeleton, chosen.joint_ratio, together)
        self.head = ExpanderHead(encoder.out_features, chosen.expander, chosen.expander_depth)
        of_pair = BarlowTwins(chosen.off_diagonal) if chosen.loss == "barlow" else VICReg()
        self.of_pair: BarlowTwins | VICReg = of_pair

    @torch.no_grad()
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> DecorrelationViews:
        """Draw an anchor and its partners, each with a crop and transform of its own.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips)

        def view() -> Tensor:
            drawn = self.draw_view(clips, lengths, generator)
            return to_stream(drawn, self.skeleton, self.stream)

        anchor = view()
        partners: dict[str, Tensor] = {name: view() for name in self.settings.partners}
        if "temporal" in partners:
            partners["temporal"] = self.frame_drop(partners["temporal"], generator=generator)
        joints = None
        if self.joint_drop is not None:
            hidden = self.joint_drop(partners["spatial"], generator=generator)[:, 0, :, 0]
            left = len(self.skeleton) - self.joint_drop.dropped
            joints = hidden.byte().argsort(dim=1, stable=True)[:, :left]
        return DecorrelationViews(anchor, partners, joints)

    def loss(self, views: DecorrelationViews) -> Output:
        """Compute the loss of views.

        Raises:
            ValueError: If the views do not fit the encoder or the settings, or there are fewer than
                two clips.
        """
        if not isinstance(views, DecorrelationViews) or set(views.partners) != {
            *self.settings.partners
        }:
            got = [*views.partners] if isinstance(views, DecorrelationViews) else type_name(views)
            raise ValueError(
                f"expected DecorrelationViews with partners {self.settings.partners}, got {got}"
            )
        anchor = self._embed(self.encoder(views.anchor))
        terms = {}
        for name in self.settings.partners:
            view = views.partners[name]
            if name == "spatial" and views.joints is not None:
                frames = self.encoder.encode_joints(view, views.joints)
            else:
                frames = self.encoder(view)
            terms[f"{self.settings.loss}/{name}"] = self.of_pair(anchor, self._embed(frames))
        total = torch.stack([*terms.values()]).sum()
        return Output(total, {name: term.detach() for name, term in terms.items()})

    def _embed(self, frames: Tensor) -> Tensor:
        check_frames(self.encoder, frames, len(frames))
        embedding: Tensor = self.head(pool_features(self.encoder, frames))
        return embedding


_PSTL = DecorrelationSettings(
    encoder="stgcn",
    hidden=256,
    pool="mean",
    encoder_arguments=("graph=code", "last_channels=256", "dropout=0.5"),
)
_PSTL_TRAIN = TrainSettings(
    epochs=150,
    optimizer="adam",
    lr=5e-3,
    weight_decay=1e-5,
    schedule="cosine",
    warmup_epochs=10,
)
_SMALL = DecorrelationSettings(
    frames=32,
    hidden=64,
    pool="mean",
    off_diagonal=5e-3,
    expander=512,
    shear=0.5,
    same_on_batch=False,
)
_SMALL_TRAIN = TrainSettings(
    epochs=300,
    batch_size=64,
    optimizer="adam",
    lr=1e-3,
    weight_decay=0.0,
    drop_epoch=240,
    knn_every=10,
)
"""As long as the preset ``small`` of PCM3."""


def _presets() -> Iterator[tuple[str, Preset]]:
    for place, published in (("ntu60-xsub", "77.3 %"), ("ntu60-xview", "81.8 %")):
        yield (
            f"{place}-pstl",
            Preset(
                _PSTL,
                _PSTL_TRAIN,
                place.split("-")[1],
                FULL_SIZE[place],
                "PSTL",
                parameters=77.92,
                forward=1.702,
                published=published,
                max_frames=LONGEST,
            ),
        )
    small = Preset(_SMALL, _SMALL_TRAIN, "xsub", LAPTOP, "PSTL", 0.824, 0.0216)
    yield "small-pstl", small
    twins = replace(_SMALL, partners=("plain",))
    yield "small-skeletonbt", small._replace(model=twins, text="SkeletonBT", forward=0.0161)
    vicreg = small._replace(model=replace(_SMALL, loss="vicreg"), text="VICReg", forward=0.0221)
    yield "small-vicreg", vicreg


Decorrelation.presets = dict(_presets())
