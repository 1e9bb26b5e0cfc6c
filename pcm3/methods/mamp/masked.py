"""What methods share that hide tokens from a transformer: views, decoder and check of the mask."""

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
from pcm3.methods.base import Method
from pcm3.methods.mamp.settings import MaskedTransformerSettings
from pcm3.skeleton import Skeleton, to_stream

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


class MaskedTransformer(Method):
    """A method that hides most patches from a transformer and predicts something of them.

    A subclass defines ``loss``, with the patches that ``predict`` returns.

    Args:
        encoder: The encoder to train.
        skeleton: Joint layout of the clips.
        settings: Settings of the method.
        crop: Temporal transform, called with ``lengths``; by default a ``TemporalCropResize``.
        rotate: Spatial transform; by default ``Rotate``.
        changes: Settings to change, by name.
        out_features: Width of the prediction of a patch; by default that of its coordinates.

    Attributes:
        frames: Number of frames T that clips are resized to, that of the encoder.
        skip_absent: Whether absent persons are left out; true if set in the settings or the
            encoder.

    Raises:
        ValueError: If skeleton and encoder disagree, or an argument is out of range.
    """

    Settings = MaskedTransformerSettings
    encoder_type = TransformerEncoder
    encoder: TransformerEncoder
    settings: MaskedTransformerSettings
    masking: Any  # a transform with ``visible``

    def __init__(
        self,
        encoder: TransformerEncoder,
        skeleton: Skeleton,
        settings: MaskedTransformerSettings | None,
        crop: Transform | None,
        rotate: Transform | None,
        changes: dict[str, Any],
        out_features: int | None = None,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        chosen = self.settings
        check_transforms(crop=crop, rotate=rotate)
        self.frames = encoder.frames
        self.skip_absent = encoder.skip_absent or chosen.skip_absent
        self.crop = crop or TemporalCropResize(
            encoder.frames, chosen.crop_scale, chosen.crop_min_frames
        )
        turn = Rotate(math.degrees(chosen.rotation)) if chosen.rotation else Compose()
        self.rotate = rotate or turn
        self.masking = self._make_masking()
        self._visible(encoder.joints * encoder.frames // encoder.patch)  # raises if none is
        self.decoder = PatchDecoder(encoder, chosen.decoder_depth, out_features)

    def _make_masking(self) -> Transform:
        chosen = self.settings
        return MotionAwareMask(chosen.mask_ratio, chosen.motion_temperature, self.encoder.patch)

    def _visible(self, patches: int) -> int:
        """The number of a person's patches that the mask leaves visible."""
        count: int = self.masking.visible(patches)
        return count

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
        self.encoder.check_clips(clips)
        cropped = self.crop(clips, lengths, generator=generator)
        rotated = self.rotate(cropped, generator=generator)
        view = to_stream(rotated, self.skeleton, self.stream)
        return MAMPViews(view, self.masking(view, generator=generator))

    def predict(self, views: MAMPViews) -> tuple[Tensor, Tensor]:
        """Predict all patches from the visible ones.

        Args:
            views: Views of ``make_views``, or custom ones with equally many visible patches.

        Returns:
            Predictions ``(N M, T' V, out_features)``, 0 for persons who are left out, and the mask
            ``(N, T, V, M)`` of what is hidden of the others.

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
        count = self._visible(patches.shape[1])
        _check_mask(views.mask, clips, encoder.patch, count)
        visible = (
            patch_rows(views.mask, encoder.patch).byte().argsort(dim=1, stable=True)[:, :count]
        )
        if not self.skip_absent:
            return self._decode(patches, visible), views.mask
        present = present_persons(clips)
        rows = present.flatten().nonzero()[:, 0]
        tokens = self._decode(patches.index_select(0, rows), visible.index_select(0, rows))
        everybody = tokens.new_zeros(len(patches), *tokens.shape[1:])
        return everybody.index_copy(0, rows, tokens), views.mask & present[:, None, None]

    def _decode(self, patches: Tensor, visible: Tensor) -> Tensor:
        """Predict all patches ``(B, T' V, patch C)`` from the visible ones ``(B, K)``."""
        latent = self.encoder.encode_visible(patches, visible)
        predicted: Tensor = self.decoder(latent, visible, patches.shape[1])
        return predicted

    @property
    def static(self) -> bool:
        """Whether all batches of one shape need the same operations."""
        return super().static and not self.skip_absent


class PatchDecoder(nn.Module):
    """Decoder that predicts all patches from the features of the visible ones.

    Args:
        encoder: Encoder whose sizes of tokens and patches the decoder has.
        depth: Number of blocks.
        out_features: Width of the prediction of a patch; by default that of its coordinates.

    Raises:
        ValueError: If the depth is below 1.
    """

    def __init__(
        self, encoder: TransformerEncoder, depth: int, out_features: int | None = None
    ) -> None:
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
        self.output = nn.Linear(width, out_features or encoder.patch * encoder.in_channels)
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
            Predicted patches ``(B, L, out_features)``.
        """
        known = self.embed(latent)
        index = visible[..., None].expand_as(known)
        tokens = self.mask_token.to(known.dtype).expand(len(known), patches, -1)
        tokens = tokens.scatter(1, index, known) + self.positions(patches // self.joints)
        predicted: Tensor = self.output(self.norm(self.blocks(tokens)))
        return predicted


def patch_rows(mask: Tensor, patch: int) -> Tensor:
    """The mask ``(N M, T' V)`` of patches from one of frames ``(N, T, V, M)``."""
    return rearrange(mask[:, ::patch], "n t v m -> (n m) (t v)")


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
