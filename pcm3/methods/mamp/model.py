"""MAMP: masked motion prediction with a transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

from pcm3.augment import Compose, MotionAwareMask, Rotate, TemporalCropResize
from pcm3.checks import check_transforms, readable, type_name
from pcm3.encoders.transformer import (
    Block,
    SeparableEmbedding,
    TransformerEncoder,
    init_linear,
    patchify,
    present_persons,
)
from pcm3.losses import MaskedMSE
from pcm3.methods.base import Method, Output
from pcm3.methods.mamp.presets import PRESETS, PUBLISHED
from pcm3.methods.mamp.settings import MAMPSettings
from pcm3.skeleton import NTU25, Skeleton, to_stream

Transform = Callable[..., Tensor]


@dataclass(frozen=True)
class MAMPViews:
    """Views of a batch in a training step.

    Attributes:
        clips: Augmented clips ``(N, C, T, V, M)``.
        mask: Boolean ``(N, T, V, M)``, True where hidden. It is constant within each patch and
            leaves every person the same number of visible patches.
    """

    clips: Tensor
    mask: Tensor


class MAMP(Method):
    r"""Predict the motion of hidden joints from the few that are visible.

    The encoder sees a tenth of the patches of every person. A shallow decoder takes their features,
    and a mask token for every hidden patch, and predicts

    .. math::
        m_t = x_{t + s} - x_t

    normalised within each patch. The loss is the mean squared error over hidden patches. The MAE
    baseline is ``target="coordinates", motion_temperature=0``. With ``normalize_target="time"`` it
    is NAT, whose target is normalised over time instead.

    Args:
        encoder: The encoder to train.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; those of the paper for NTU RGB+D 60 if None.
        crop: Temporal transform, called with ``lengths``; by default a ``TemporalCropResize``.
        rotate: Spatial transform; by default ``Rotate``. ``pcm3.augment.Compose()`` does nothing.
        changes: Settings to change, by name, see :class:`~pcm3.methods.mamp.settings.MAMPSettings`.

    Attributes:
        frames: Number of frames T that clips are resized to, that of the encoder.
        skip_absent: Whether absent persons are left out; true if set in the settings or the
            encoder.

    Raises:
        ValueError: If skeleton and encoder disagree, an argument is out of range, or clips do
            not fit.

    Source:
        Mao, Deng, Zhou, Fang, Ouyang, Li: Masked Motion Predictors are Strong 3D Action
        Representation Learners, ICCV 2023. NAT: Normalization Among Timestamps, from a summary
        alone.

    Example:
        >>> encoder = TransformerEncoder(NTU25, frames=32, width=16, depth=2, heads=2)
        >>> model = MAMP(encoder, NTU25, decoder_depth=1)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> output.prediction.shape
        torch.Size([4, 3, 32, 25, 2])
    """

    Settings = MAMPSettings
    encoder_type = TransformerEncoder
    recipe = PUBLISHED
    presets = PRESETS
    name = "mamp"
    encoder: TransformerEncoder
    settings: MAMPSettings

    def __init__(
        self,
        encoder: TransformerEncoder,
        skeleton: Skeleton = NTU25,
        settings: MAMPSettings | None = None,
        *,
        crop: Transform | None = None,
        rotate: Transform | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        chosen = self.settings
        _check_sizes(encoder, chosen)
        check_transforms(crop=crop, rotate=rotate)
        self.frames = encoder.frames
        self.target = chosen.target
        self.motion_stride = chosen.motion_stride
        self.normalize_target = chosen.normalize_target
        self.skip_absent = encoder.skip_absent or chosen.skip_absent
        self.crop = crop or TemporalCropResize(
            encoder.frames, chosen.crop_scale, chosen.crop_min_frames
        )
        turn = Rotate(math.degrees(chosen.rotation)) if chosen.rotation else Compose()
        self.rotate = rotate or turn
        self.masking = MotionAwareMask(chosen.mask_ratio, chosen.motion_temperature, encoder.patch)
        self.masking.visible(
            encoder.joints * encoder.frames // encoder.patch
        )  # raises if no patch is visible
        self.decoder = PatchDecoder(encoder, chosen.decoder_depth)
        self.masked_mse = MaskedMSE()

    @torch.no_grad()
    def make_views(
        self,
        clips: Tensor,
        lengths: Tensor | None = None,
        generator: Generator | None = None,
    ) -> MAMPViews:
        """Draw crop, rotation and mask of a training step.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips, finite=True)
        cropped = self.crop(clips, lengths, generator=generator)
        rotated = self.rotate(cropped, generator=generator)
        view = to_stream(rotated, self.skeleton, self.stream)
        return MAMPViews(view, self.masking(view, generator=generator))

    def loss(self, views: MAMPViews) -> Output:
        """Compute the loss of views.

        Args:
            views: Views of ``make_views``, or custom ones with equally many visible patches.

        Raises:
            ValueError: If the views do not fit the encoder or each other. The values of the mask
                are checked on the CPU only.
        """
        if not isinstance(views, MAMPViews):
            raise ValueError(
                f"expected MAMPViews, as make_views returns them, got {type_name(views)}"
            )
        encoder, clips = self.encoder, views.clips
        encoder.check_clips(clips)
        patches = patchify(clips, encoder.patch)
        count = self.masking.visible(patches.shape[1])
        _check_mask(views.mask, clips, encoder.patch, count)
        hidden = rearrange(views.mask[:, :: encoder.patch], "n t v m -> (n m) (t v)")
        visible = hidden.byte().argsort(dim=1, stable=True)[:, :count]
        mask = views.mask
        if self.skip_absent:
            present = present_persons(clips)
            mask = mask & present[:, None, None]
            rows = present.flatten().nonzero()[:, 0]
            tokens = self._predict(patches.index_select(0, rows), visible.index_select(0, rows))
            everybody = tokens.new_zeros(len(patches), *tokens.shape[1:])
            tokens = everybody.index_copy(0, rows, tokens)
        else:
            tokens = self._predict(patches, visible)
        prediction = unpatchify(tokens, encoder.patch, encoder.joints, encoder.persons)
        loss: Tensor = self.masked_mse(prediction, self._target(clips), mask)
        return Output(loss, {"masked_mse": loss.detach()}, prediction)

    @property
    def static(self) -> bool:
        """Whether all batches of one shape need the same operations."""
        return super().static and not self.skip_absent

    def _predict(self, patches: Tensor, visible: Tensor) -> Tensor:
        """Predict all patches ``(B, T' V, patch C)`` from the visible ones ``(B, K)``."""
        latent = self.encoder.encode_visible(patches, visible)
        predicted: Tensor = self.decoder(latent, visible, patches.shape[1])
        return predicted

    @torch.no_grad()
    def _target(self, clips: Tensor) -> Tensor:
        target = clips.float()
        if self.target == "motion":
            target = frame_motion(target, self.motion_stride)
        if self.normalize_target == "patch":
            return normalize_patches(target, self.encoder.patch)
        return normalize_times(target) if self.normalize_target == "time" else target


class PatchDecoder(nn.Module):
    """Decoder that predicts all patches from the features of the visible ones.

    Args:
        encoder: Encoder whose sizes of tokens and patches the decoder has.
        depth: Number of blocks.

    Raises:
        ValueError: If the depth is below 1.
    """

    def __init__(self, encoder: TransformerEncoder, depth: int) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"expected decoder_depth >= 1, got {depth}")
        width = encoder.out_features
        self.joints = encoder.joints
        self.embed = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = SeparableEmbedding(encoder.frames // encoder.patch, encoder.joints, width)
        self.blocks = nn.Sequential(
            *(Block(width, encoder.heads, encoder.mlp_ratio) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, encoder.patch * encoder.in_channels)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for layer in (self.embed, self.output):
            init_linear(layer)

    def forward(self, latent: Tensor, visible: Tensor, patches: int) -> Tensor:
        """Predict the patches of B persons.

        Args:
            latent: Features of the visible patches ``(B, K, D)``.
            visible: Indices of the visible patches ``(B, K)``.
            patches: Total number of patches L = T' V of a person.

        Returns:
            Predicted patches ``(B, L, patch C)``.
        """
        known = self.embed(latent)
        index = visible[..., None].expand_as(known)
        tokens = self.mask_token.to(known.dtype).expand(len(known), patches, -1)
        tokens = tokens.scatter(1, index, known) + self.positions(patches // self.joints)
        predicted: Tensor = self.output(self.norm(self.blocks(tokens)))
        return predicted


def frame_motion(clips: Tensor, stride: int = 1) -> Tensor:
    """Compute ``x[t + stride] - x[t]`` of clips ``(N, C, T, V, M)``, 0 in the last frames."""
    motion = torch.zeros_like(clips)
    motion[:, :, :-stride] = clips[:, :, stride:] - clips[:, :, :-stride]
    return motion


def normalize_patches(clips: Tensor, patch: int) -> Tensor:
    """Normalise every patch of clips ``(N, C, T, V, M)`` to mean 0 and variance 1.

    The unbiased variance plus 1e-6 is used, so patches of zeros stay zero.
    """
    patches = clips.unflatten(2, (-1, patch))
    var, mean = torch.var_mean(patches, dim=(1, 3), keepdim=True)
    normalized: Tensor = (patches - mean) / (var + 1e-6).sqrt()
    return normalized.flatten(2, 3)


def normalize_times(clips: Tensor) -> Tensor:
    """Normalise every coordinate of clips ``(N, C, T, V, M)`` to mean 0 and variance 1 over time.

    The unbiased variance plus 1e-6 is used, so joints that stand still become zero.
    """
    var, mean = torch.var_mean(clips, dim=2, keepdim=True)
    normalized: Tensor = (clips - mean) / (var + 1e-6).sqrt()
    return normalized


def unpatchify(patches: Tensor, patch: int, joints: int, persons: int) -> Tensor:
    """Assemble clips ``(N, C, T, V, M)`` from patches ``(N M, T' V, patch C)``."""
    return rearrange(patches, "(n m) (t v) (p c) -> n c (t p) v m", p=patch, v=joints, m=persons)


def _check_sizes(encoder: TransformerEncoder, settings: MAMPSettings) -> None:
    stride = settings.motion_stride
    if not 1 <= stride < encoder.frames:
        raise ValueError(f"expected motion_stride in [1, {encoder.frames}), got {stride}")
    if settings.normalize_target == "patch" and encoder.patch * encoder.in_channels == 1:
        raise ValueError("expected patches of at least 2 numbers to normalise, got patch * C = 1")
    if settings.normalize_target == "time" and encoder.frames == 1:
        raise ValueError("expected clips of at least 2 frames to normalise, got 1 frame")


def _check_mask(mask: Tensor, clips: Tensor, patch: int, visible: int) -> None:
    shape = (len(clips), *clips.shape[2:])
    if mask.dtype != torch.bool or tuple(mask.shape) != shape:
        raise ValueError(
            f"expected a boolean mask (N, T, V, M) = {shape}, got {mask.dtype} {tuple(mask.shape)}"
        )
    if not readable(mask):
        return
    patches = mask.unflatten(1, (-1, patch))
    if not torch.equal(patches, patches[:, :, :1].expand_as(patches)):
        raise ValueError(f"expected a mask that is constant within patches of {patch} frames")
    counts = (~patches[:, :, 0]).sum(dim=(1, 2))
    if bool((counts != visible).any()):
        raise ValueError(
            f"expected {visible} visible patches per person, got {counts.unique().tolist()}"
        )
