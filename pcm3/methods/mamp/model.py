"""MAMP: masked motion prediction with a transformer."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from pcm3.encoders.transformer import TransformerEncoder
from pcm3.losses import MaskedMSE
from pcm3.methods.base import Output
from pcm3.methods.mamp.masked import MAMPViews, MaskedTransformer, Transform
from pcm3.methods.mamp.presets import PRESETS, PUBLISHED
from pcm3.methods.mamp.settings import MAMPSettings
from pcm3.skeleton import NTU25, Skeleton


class MAMP(MaskedTransformer):
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
    recipe = PUBLISHED
    presets = PRESETS
    name = "mamp"
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
        super().__init__(encoder, skeleton, settings, crop, rotate, changes)
        chosen = self.settings
        _check_sizes(encoder, chosen)
        self.target = chosen.target
        self.motion_stride = chosen.motion_stride
        self.normalize_target = chosen.normalize_target
        self.masked_mse = MaskedMSE()

    def loss(self, views: MAMPViews) -> Output:
        """Compute the loss of views.

        Args:
            views: Views of ``make_views``, or custom ones with equally many visible patches.

        Raises:
            ValueError: If the views do not fit the encoder or each other. The values of the mask
                are checked on the CPU only.
        """
        tokens, mask = self.predict(views)
        encoder = self.encoder
        prediction = unpatchify(tokens, encoder.patch, encoder.joints, encoder.persons)
        loss: Tensor = self.masked_mse(prediction, self._target(views.clips), mask)
        return Output(loss, {"masked_mse": loss.detach()}, prediction)

    @torch.no_grad()
    def _target(self, clips: Tensor) -> Tensor:
        target = clips.float()
        if self.target == "motion":
            target = frame_motion(target, self.motion_stride)
        if self.normalize_target == "patch":
            return normalize_patches(target, self.encoder.patch)
        return normalize_times(target) if self.normalize_target == "time" else target


def frame_motion(clips: Tensor, stride: int = 1) -> Tensor:
    """Compute ``x[t + stride] - x[t]`` of clips ``(N, C, T, V, M)``, 0 in the last frames.

    Raises:
        ValueError: If the clips have another shape, or ``stride`` is below 1.
    """
    if clips.ndim != 5 or stride < 1:
        got = f"{tuple(clips.shape)} and {stride}"
        raise ValueError(f"expected clips (N, C, T, V, M) and stride >= 1, got {got}")
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
    """Assemble clips from patches, the inverse of ``patchify``.

    Args:
        patches: ``(N M, T' V, patch C)``.
        patch: Number of frames of a patch.
        joints: Number of joints V.
        persons: Number of persons M.

    Returns:
        Clips ``(N, C, T, V, M)`` of T = T' patch frames.
    """
    return rearrange(patches, "(n m) (t v) (p c) -> n c (t p) v m", p=patch, v=joints, m=persons)


def _check_sizes(encoder: TransformerEncoder, settings: MAMPSettings) -> None:
    stride = settings.motion_stride
    if not 1 <= stride < encoder.frames:
        raise ValueError(f"expected motion_stride in [1, {encoder.frames}), got {stride}")
    if settings.normalize_target == "patch" and encoder.patch * encoder.in_channels == 1:
        raise ValueError("expected patches of at least 2 numbers to normalise, got patch * C = 1")
    if settings.normalize_target == "time" and encoder.frames == 1:
        raise ValueError("expected clips of at least 2 frames to normalise, got 1 frame")
