"""MAMP: masked motion prediction with a transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

from pcm3.augment import MotionAwareMask, Rotate, TemporalCropResize
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
from pcm3.methods.base import Method
from pcm3.skeleton import NTU25, Skeleton, Stream, check_skeleton, to_stream

Target = Literal["motion", "coordinates"]
Transform = Callable[..., Tensor]


@dataclass(frozen=True)
class MAMPViews:
    """What one training step sees of a batch.

    Attributes:
        clips: Augmented clips ``(N, C, T, V, M)``.
        mask: ``(N, T, V, M)``, True where hidden; constant within each patch, and every person
            has the same number of visible patches.
    """

    clips: Tensor
    mask: Tensor


class MAMPOutput(NamedTuple):
    """The result of one step.

    Attributes:
        total: The loss to minimise.
        terms: ``masked_mse``, the same as a detached scalar.
        prediction: ``(N, C, T, V, M)``, in the units of the target; zero for persons left out.
    """

    total: Tensor
    terms: dict[str, Tensor]
    prediction: Tensor


class MAMP(Method):
    r"""Predict the motion of hidden joints from the few that are visible.

    A tenth of the patches of every person goes through the encoder. A shallow decoder sees these
    features and a mask token in the place of every other patch, and predicts

    .. math::
        m_t = x_{t + s} - x_t

    normalised within each patch; the loss is the mean squared error over hidden patches. The MAE
    baseline is ``target="coordinates", motion_temperature=0``.

    Args:
        encoder: The encoder; the trained result.
        skeleton: Joint layout of the clips.
        stream: Derived from the augmented joints.
        decoder_depth: Blocks of the decoder: 3 for NTU RGB+D 60, 5 for NTU RGB+D 120 and PKU-MMD.
        mask_ratio: Share of the patches to hide.
        motion_temperature: tau of the mask: 0.8, for NTU RGB+D 120 0.75; 0 masks uniformly.
        target: Predict ``"motion"``, or ``"coordinates"`` themselves.
        motion_stride: s; the last s frames have motion 0.
        normalize_target: Whether every patch of the target gets mean 0 and variance 1.
        crop: Temporal transform, called with ``lengths``; half to all of the frames by default.
        rotate: Spatial transform; up to 0.3 rad about each axis by default.
            ``pcm3.augment.Compose()`` does nothing.
        skip_absent: Leave persons that are all zero out of the step, as the encoder's
            ``skip_absent`` does; by default as the encoder says. The published code trains on
            them.

    Attributes:
        frames: T that clips are resized to, the encoder's.

    Raises:
        ValueError: If skeleton and encoder disagree, an argument is out of range, or clips do
            not fit.

    Source:
        Mao, Deng, Zhou, Fang, Ouyang, Li: Masked Motion Predictors are Strong 3D Action
        Representation Learners, ICCV 2023.

    Example:
        >>> encoder = TransformerEncoder(NTU25, frames=32, width=16, depth=2, heads=2)
        >>> model = MAMP(encoder, NTU25, decoder_depth=1)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> output.prediction.shape
        torch.Size([4, 3, 32, 25, 2])
    """

    encoder: TransformerEncoder
    _published_preset = "ntu60-xsub-mamp"

    def __init__(
        self,
        encoder: TransformerEncoder,
        skeleton: Skeleton = NTU25,
        *,
        stream: Stream = "joint",
        decoder_depth: int = 3,
        mask_ratio: float = 0.9,
        motion_temperature: float = 0.8,
        target: Target = "motion",
        motion_stride: int = 1,
        normalize_target: bool = True,
        crop: Transform | None = None,
        rotate: Transform | None = None,
        skip_absent: bool | None = None,
    ) -> None:
        super().__init__()
        _check_arguments(encoder, skeleton, target, motion_stride, normalize_target)
        check_transforms(crop=crop, rotate=rotate)
        self.skeleton = skeleton
        self.stream: Stream = stream
        self.frames = encoder.frames
        self.target: Target = target
        self.motion_stride = motion_stride
        self.normalize_target = normalize_target
        self.skip_absent = encoder.skip_absent if skip_absent is None else skip_absent

        self.crop = crop or TemporalCropResize(size=encoder.frames, scale=(0.5, 1.0))
        self.rotate = rotate or Rotate(degrees=math.degrees(0.3))
        self.masking = MotionAwareMask(mask_ratio, motion_temperature, encoder.patch)
        self.masking.visible(encoder.joints * encoder.frames // encoder.patch)  # any at all?

        self.encoder = encoder
        self.decoder = PatchDecoder(encoder, decoder_depth)
        self.masked_mse = MaskedMSE()

    def forward(
        self,
        clips: Tensor,
        lengths: Tensor | None = None,
        generator: Generator | None = None,
    ) -> MAMPOutput:
        """Draw the views of clips ``(N, C, T, V, M)`` and return their loss."""
        return self.loss(self.make_views(clips, lengths, generator))

    @torch.no_grad()
    def make_views(
        self,
        clips: Tensor,
        lengths: Tensor | None = None,
        generator: Generator | None = None,
    ) -> MAMPViews:
        """Draw everything random of a step: crop, rotation and mask.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Valid frames of each clip ``(N,)``; T by default.
            generator: Source of randomness on the clips' device.
        """
        self.encoder.check_clips(clips, finite=True)
        cropped = self.crop(clips, lengths, generator=generator)
        rotated = self.rotate(cropped, generator=generator)
        view = to_stream(rotated, self.skeleton, self.stream)
        return MAMPViews(view, self.masking(view, generator=generator))

    def loss(self, views: MAMPViews) -> MAMPOutput:
        """Loss of given views.

        Args:
            views: What ``make_views`` returned, or views of your own with as many visible patches.

        Raises:
            ValueError: If the views do not fit the encoder or each other. What the mask holds is
                looked at on the CPU only.
        """
        if not isinstance(views, MAMPViews):
            raise ValueError(
                f"expected MAMPViews, as make_views gives them, got {type_name(views)}"
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
        return MAMPOutput(loss, {"masked_mse": loss.detach()}, prediction)

    def _predict(self, patches: Tensor, visible: Tensor) -> Tensor:
        """All patches ``(B, T' V, patch C)`` from the visible ones ``(B, K)``."""
        latent = self.encoder.encode_visible(patches, visible)
        predicted: Tensor = self.decoder(latent, visible, patches.shape[1])
        return predicted

    @torch.no_grad()
    def _target(self, clips: Tensor) -> Tensor:
        target = clips.float()
        if self.target == "motion":
            target = frame_motion(target, self.motion_stride)
        return normalize_patches(target, self.encoder.patch) if self.normalize_target else target


class PatchDecoder(nn.Module):
    """The features of the visible patches to a prediction of all patches.

    Args:
        encoder: Gives the sizes of tokens and patches.
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
            visible: Their indices ``(B, K)``.
            patches: How many there are in all: L = T' V.

        Returns:
            ``(B, L, patch C)``.
        """
        known = self.embed(latent)
        index = visible[..., None].expand_as(known)
        tokens = self.mask_token.to(known.dtype).expand(len(known), patches, -1)
        tokens = tokens.scatter(1, index, known) + self.positions(patches // self.joints)
        predicted: Tensor = self.output(self.norm(self.blocks(tokens)))
        return predicted


def frame_motion(clips: Tensor, stride: int = 1) -> Tensor:
    """``x[t + stride] - x[t]`` of clips ``(N, C, T, V, M)``; 0 in the last ``stride`` frames."""
    motion = torch.zeros_like(clips)
    motion[:, :, :-stride] = clips[:, :, stride:] - clips[:, :, :-stride]
    return motion


def normalize_patches(clips: Tensor, patch: int) -> Tensor:
    """Give every patch of clips ``(N, C, T, V, M)`` mean 0 and variance 1; zeros stay zeros.

    The variance is the unbiased one, plus 1e-6.
    """
    patches = clips.unflatten(2, (-1, patch))
    var, mean = torch.var_mean(patches, dim=(1, 3), keepdim=True)
    normalized: Tensor = (patches - mean) / (var + 1e-6).sqrt()
    return normalized.flatten(2, 3)


def unpatchify(patches: Tensor, patch: int, joints: int, persons: int) -> Tensor:
    """Clips ``(N, C, T, V, M)`` from patches ``(N M, T' V, patch C)``."""
    return rearrange(patches, "(n m) (t v) (p c) -> n c (t p) v m", p=patch, v=joints, m=persons)


def _check_arguments(
    encoder: TransformerEncoder,
    skeleton: Skeleton,
    target: str,
    motion_stride: int,
    normalize_target: bool,
) -> None:
    if not isinstance(encoder, TransformerEncoder):
        raise ValueError(f"expected a TransformerEncoder, got {type(encoder).__name__}")
    check_skeleton(skeleton)
    if encoder.joints != len(skeleton):
        raise ValueError(
            f"expected an encoder for the {len(skeleton)} joints of skeleton {skeleton.name!r}, "
            f"got one for {encoder.joints}"
        )
    if target not in get_args(Target):
        raise ValueError(f"expected target among {get_args(Target)}, got {target!r}")
    if not 1 <= motion_stride < encoder.frames:
        raise ValueError(f"expected motion_stride in [1, {encoder.frames}), got {motion_stride}")
    if normalize_target and encoder.patch * encoder.in_channels == 1:
        raise ValueError("expected patches of 2 or more numbers to normalise, got patch * C = 1")


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
            f"expected {visible} visible patches of every person, got {counts.unique().tolist()}"
        )
