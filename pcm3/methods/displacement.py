"""Displacement: classify how far and in which direction each joint has moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor, nn

from pcm3.augment import RandomMask, Shear, TemporalCropResize
from pcm3.augment.functional import apply_mask
from pcm3.checks import (
    check_at_least,
    check_clips,
    check_count,
    check_increasing,
    check_not_empty,
    check_positive,
    check_share,
    check_transforms,
    shape_or_type,
)
from pcm3.encoders.base import Encoder, check_frames
from pcm3.encoders.transformer import TransformerEncoder, present_persons
from pcm3.methods.base import Method, Output, Preset
from pcm3.methods.features import stretch_frames
from pcm3.methods.pcm3.presets import SMALL_TRAIN
from pcm3.methods.recordings import LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.skeleton import NTU25, Skeleton, to_stream

ABSENT = 15
"""Class of the magnitude of absent persons."""
MAGNITUDES = 16
"""Number of classes of the magnitude: 0, then 14 steps, then ``ABSENT``."""


@dataclass(frozen=True)
class DisplacementSettings(EncoderSettings):
    """Settings of Displacement."""

    intervals: tuple[int, ...] = (1, 5, 10)
    """Numbers of frames between the two positions of a joint."""
    step: float = 0.01
    """Width of a class of the magnitude, in the unit of the coordinates."""
    global_weight: float = 0.05
    """Weight of the centre joint; 0 leaves it out, as for recordings centred in every frame."""
    absent: Literal["ignore", "class"] = "ignore"
    """Whether persons who are all zero are left out or a class of their own (published code)."""
    mask_ratio: float = 0.0
    """Share of the joints to hide from the encoder, anew in each frame; 0 hides none."""
    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""
    shear: float = 0.3
    """Amplitude of shear."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_empty("intervals", self.intervals)
        for interval in self.intervals:
            check_count("intervals", interval)
        check_increasing("intervals", self.intervals)
        check_positive("step", self.step)
        check_at_least("global_weight", self.global_weight, 0)
        check_share("mask_ratio", self.mask_ratio)


class DisplacementClasses(NamedTuple):
    """Classes of the displacement of each joint, integers ``(N, T, V, M)``."""

    direction: Tensor
    magnitude: Tensor


class DisplacementViews(NamedTuple):
    """Views of a batch in a training step.

    Attributes:
        clips: Input of the encoder ``(N, C, T, V, M)``.
        direction: Classes of the direction ``(N, T, R, V, M)`` for R intervals.
        magnitude: Classes of the magnitude ``(N, T, R, V, M)``.
    """

    clips: Tensor
    direction: Tensor
    magnitude: Tensor


class Displacement(Method):
    r"""Classify the displacement of each joint over several intervals of time.

    The displacement over the interval r is

    .. math::
        d_{tv} = x_{\max(t - r, 0), v} - x_{tv}

    Its direction is one of 27 classes, its magnitude one of 16, see :func:`displacement_classes`.
    The loss is the cross-entropy of both, averaged over the joints but the centre, plus
    ``global_weight`` times that of the centre joint.

    The paper trains a transformer of its own; here any encoder learns its task. The classes of a
    ``TransformerEncoder`` are predicted from its tokens, those of others from frame features. The
    paper's data have the path of the body in one joint, to which the others are relative. The
    recipes ``center`` and ``isc`` remove that path.

    Args:
        encoder: The encoder to train.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; the defaults if None.
        crop: Temporal transform, called with ``lengths``; by default a ``TemporalCropResize``.
        spatial: Spatial transform; by default ``Shear``.
        masking: Transform that returns the mask of the encoder's input; by default a ``RandomMask``
            if ``mask_ratio`` is above 0.
        changes: Settings to change, by name, see ``DisplacementSettings``.

    Raises:
        ValueError: If skeleton and encoder disagree, a setting is out of range, or clips do not
            fit.

    Source:
        Kim, Chang, Kim, Choi: Global-local Motion Transformer for Unsupervised Skeleton-based
        Action Learning, ECCV 2022.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> model = Displacement(GRUEncoder(NTU25, hidden=8), NTU25, intervals=(1, 2))
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)
        ['direction', 'magnitude', 'global']
    """

    Settings = DisplacementSettings
    recipe = TrainSettings(epochs=120, optimizer="adamw", lr=5e-5, weight_decay=0.1, drop_epoch=120)
    name = "displacement"
    settings: DisplacementSettings

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: DisplacementSettings | None = None,
        *,
        crop: Callable[..., Tensor] | None = None,
        spatial: Callable[..., Tensor] | None = None,
        masking: Callable[..., Tensor] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(crop=crop, spatial=spatial, masking=masking)
        chosen = self.settings
        self.crop = crop or TemporalCropResize(
            chosen.frames, chosen.crop_scale, chosen.crop_min_frames
        )
        self.spatial = spatial or Shear(chosen.shear)
        if masking is None and chosen.mask_ratio > 0:
            masking = RandomMask(chosen.mask_ratio, persons=range(encoder.persons))
        self.masking = masking
        self.head = DisplacementHead(
            encoder.out_features,
            joints=encoder.joints,
            in_channels=encoder.in_channels,
            persons=encoder.persons,
            intervals=len(chosen.intervals),
            patch=encoder.patch if isinstance(encoder, TransformerEncoder) else None,
        )

    @torch.no_grad()
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> DisplacementViews:
        """Draw crop, transform and mask of a training step, and find the classes.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips)
        joints = self.draw_view(clips, lengths, generator)
        step = self.settings.step
        found = [displacement_classes(joints, each, step) for each in self.settings.intervals]
        direction, magnitude = (torch.stack(each, dim=2) for each in zip(*found, strict=True))
        view = to_stream(joints, self.skeleton, self.stream)
        if self.masking is not None:
            view = apply_mask(view, self.masking(view, generator=generator))
        return DisplacementViews(view, direction, magnitude)

    def loss(self, views: DisplacementViews) -> Output:
        """Compute the loss of views.

        Raises:
            ValueError: If the views do not fit the encoder.
        """
        direction, magnitude = self.head(self._encode(views.clips), views.clips.shape[2])
        joint = torch.arange(self.encoder.joints, device=views.clips.device)
        local = (joint != self.skeleton.center)[:, None].expand_as(views.magnitude)
        if self.settings.absent == "ignore":
            present = views.magnitude != ABSENT
            local, path = local & present, ~local & present
        else:
            path = ~local
        terms = {
            "direction": class_loss(direction, views.direction, local),
            "magnitude": class_loss(magnitude, views.magnitude, local),
        }
        total = terms["direction"] + terms["magnitude"]
        if self.settings.global_weight > 0:
            terms["global"] = class_loss(direction, views.direction, path) + class_loss(
                magnitude, views.magnitude, path
            )
            total = total + self.settings.global_weight * terms["global"]
        return Output(total, {name: term.detach() for name, term in terms.items()})

    def _encode(self, clips: Tensor) -> Tensor:
        """Tokens ``(N, M, T', V, D)``, or frame features ``(N, T, D)``."""
        if isinstance(self.encoder, TransformerEncoder):
            return self.encoder.tokens(clips)
        frames = self.encoder(clips)
        check_frames(self.encoder, frames, len(clips))
        return stretch_frames(frames, clips.shape[2])


class DisplacementHead(nn.Module):
    """Linear maps to the classes of direction and magnitude of each joint in each frame.

    Args:
        in_features: Width D of frame features or tokens.
        joints: V of the clips.
        in_channels: C of the clips.
        persons: M of the clips.
        intervals: Number of intervals R.
        patch: Number of frames of a token; None for frame features, whose maps predict all joints.

    Shapes:
        Frame features ``(N, T, D)``, or tokens ``(N, M, T / patch, V, D)``, to scores
        ``(N, T, R, V, M, 3^C)`` of the direction and ``(N, T, R, V, M, 16)`` of the magnitude.

    Raises:
        ValueError: If a size is not a whole number >= 1, or features have another shape.
    """

    def __init__(
        self,
        in_features: int,
        joints: int = 25,
        in_channels: int = 3,
        persons: int = 2,
        intervals: int = 3,
        patch: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {"in_features": in_features, "joints": joints, "in_channels": in_channels}
        sizes |= {
            "persons": persons,
            "intervals": intervals,
            "patch": 1 if patch is None else patch,
        }
        for name, size in sizes.items():
            check_count(name, size)
        self.in_features, self.joints, self.persons = in_features, joints, persons
        self.intervals, self.patch = intervals, patch
        outputs = intervals * (joints * persons if patch is None else patch)
        self.direction = nn.Linear(in_features, outputs * 3**in_channels)
        self.magnitude = nn.Linear(in_features, outputs * MAGNITUDES)

    def forward(self, features: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Scores of direction and magnitude in T frames."""
        shape: tuple[int, ...] = (frames, self.in_features)
        if self.patch is not None:
            steps = frames // self.patch
            shape = (self.persons, steps, self.joints, self.in_features)
        if not isinstance(features, Tensor) or tuple(features.shape[1:]) != shape:
            layout = "(N, T, D)" if self.patch is None else "(N, M, T / patch, V, D)"
            raise ValueError(
                f"expected features {layout} = (N, {', '.join(map(str, shape))}), got "
                f"{shape_or_type(features)}"
            )
        sizes = {"r": self.intervals}
        if self.patch is None:
            layout = "n t (r v m k) -> n t r v m k"
            sizes |= {"v": self.joints, "m": self.persons}
        else:
            layout = "n m t v (p r k) -> n (t p) r v m k"
            sizes |= {"p": self.patch}
        direction, magnitude = (
            rearrange(layer(features), layout, **sizes)
            for layer in (self.direction, self.magnitude)
        )
        return direction, magnitude


def displacement_classes(clips: Tensor, interval: int, step: float = 0.01) -> DisplacementClasses:
    r"""Classify the displacement :math:`d_t = x_{\max(t - r, 0)} - x_t` of each joint.

    The direction is :math:`\sum_c 3^c s_c` over the coordinates, with s = 0 for a negative one, 1
    for 0 and 2 for a positive one. The magnitude is 0 for no displacement, else
    :math:`1 + \lfloor |d| / step \rfloor`, at most 14; it is 15 for persons who are all zero.

    Args:
        clips: ``(N, C, T, V, M)``.
        interval: Number of frames r.
        step: Width of a class of the magnitude, in the unit of the coordinates.

    Raises:
        ValueError: If the clips have another shape, or a number is out of range.

    Example:
        >>> clips = torch.zeros(1, 3, 2, 1, 1)
        >>> clips[0, 0, 1] = 0.025  # the second frame is farther along x
        >>> direction, magnitude = displacement_classes(clips, interval=1)
        >>> direction.flatten().tolist(), magnitude.flatten().tolist()
        ([13, 12], [0, 3])
    """
    check_clips(clips)
    check_count("interval", interval)
    check_positive("step", step)
    wide = clips.to(torch.promote_types(clips.dtype, torch.float32))
    frame = torch.arange(clips.shape[2], device=clips.device)
    moved = wide.index_select(2, (frame - interval).clamp(min=0)) - wide
    weights = 3 ** torch.arange(clips.shape[1], device=clips.device)
    direction = ((moved.sign().long() + 1) * weights.view(-1, 1, 1, 1)).sum(dim=1)
    distance = torch.linalg.vector_norm(moved, dim=1)
    bins = (1 + (distance / step).floor()).clamp(max=ABSENT - 1).long()
    magnitude = torch.where(distance == 0, 0, bins)
    absent = ~present_persons(clips)
    return DisplacementClasses(direction, magnitude.masked_fill(absent[:, None, None], ABSENT))


def class_loss(scores: Tensor, classes: Tensor, counted: Tensor) -> Tensor:
    """Mean cross-entropy of the entries that count.

    Args:
        scores: ``(..., K)``.
        classes: Integers in [0, K) ``(...)``.
        counted: Boolean ``(...)``, True in at least one place.

    Raises:
        ValueError: If the shapes do not fit.
    """
    shapes = [tuple(each.shape) for each in (scores[..., 0], classes, counted)]
    if len(set(shapes)) > 1:
        raise ValueError(f"expected scores (..., K), classes and counted (...), got {shapes}")
    losses = F.cross_entropy(scores.flatten(0, -2).float(), classes.flatten(), reduction="none")
    weights = counted.flatten()
    return (losses * weights).sum() / weights.sum()


Displacement.presets = {
    "small-displacement": Preset(
        DisplacementSettings(
            frames=32,
            hidden=64,
            pool="mean",
            intervals=(1, 2, 4),
            global_weight=0.0,
            crop_min_frames=32,
        ),
        SMALL_TRAIN,
        "xsub",
        LAPTOP,
        "displacement, GL-Transformer's task",
        parameters=1.064,
        forward=0.0338,
    )
}
