"""An autoencoder with a weak decoder, and an optional term against the camera's direction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from pcm3.augment import TemporalCropResize
from pcm3.augment.functional import linear_map, rotation_matrix
from pcm3.checks import check_at_least, check_transforms
from pcm3.encoders.base import Encoder, check_frames, pool_features
from pcm3.heads import DecoderMode, StateDecoder, gradient_reversal
from pcm3.methods.base import Method, Output, Preset
from pcm3.methods.pcm3.presets import SMALL_TRAIN
from pcm3.methods.recordings import LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.skeleton import NTU25, Skeleton, to_stream

Axis = Literal["x", "y", "z"]


@dataclass(frozen=True)
class AutoEncoderSettings(EncoderSettings):
    """Settings of the autoencoder."""

    decoder: DecoderMode = "fixed_state"
    """What of the decoder is fixed: its state in all steps, or its weights."""
    reverse: bool = False
    """Whether the clip is restored backwards in time."""
    view_weight: float = 0.0
    """Weight of the view term; 0 leaves it out, and clips are not rotated."""
    view_axis: Axis = "z"
    """Axis that clips are rotated about, the vertical one."""
    crop_scale: tuple[float, float] = (1.0, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("view_weight", self.view_weight, 0)
        if self.frames < 2:
            raise ValueError(f"expected frames >= 2 to restore, got {self.frames}")

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        unused = {} if self.view_weight else {"view_axis": "view_weight is 0"}
        return super().without_effect() | unused


class RotatedClips(NamedTuple):
    """Clips ``(N, C, T, V, M)`` and the angle of each in radians ``(N,)``, 0 if not rotated."""

    clips: Tensor
    angle: Tensor


class AutoEncoder(Method):
    r"""Restore a clip from its sequence feature alone.

    The decoder is weak, see :class:`pcm3.heads.StateDecoder`. The loss is

    .. math::
        L = \frac{1}{|P|} \sum_{t \in P} \lVert \hat x_t - x_t \rVert_1 + \lambda_v L_{view}

    over the predicted frames P: all with ``decoder="fixed_weights"``, all but the first with
    ``"fixed_state"``, where the first is given. With ``view_weight`` above 0, each clip is rotated
    about the vertical axis by an angle, uniform in a whole turn, that a linear map guesses from the
    feature:

    .. math::
        L_{view} = \tfrac12 \left(|\hat s - \sin\alpha| + |\hat c - \cos\alpha|\right)

    The map learns to guess it; the gradient into the encoder is reversed, so that the feature does
    not tell the direction of the camera.

    Args:
        encoder: The encoder to train. The backward state of a bidirectional GRU has seen one frame
            with ``pool="last"``; take ``"mean"``.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; the defaults if None.
        crop: Temporal transform, called with ``lengths``; by default a ``TemporalCropResize``.
        changes: Settings to change, by name, see ``AutoEncoderSettings``.

    Raises:
        ValueError: If skeleton and encoder disagree, a setting is out of range, or clips do not
            fit.

    Source:
        Su, Liu, Shlizerman: Predict & Cluster, CVPR 2020. View term: Paoletti, Cavazza, Beyan, Del
        Bue: Unsupervised Human Action Recognition with Skeletal Graph Laplacian and Self-Supervised
        Viewpoints Invariance, BMVC 2021.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> model = AutoEncoder(GRUEncoder(NTU25, hidden=8), NTU25, view_weight=0.1)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)
        ['l1', 'view']
    """

    Settings = AutoEncoderSettings
    recipe = TrainSettings(
        epochs=96,  # 15,000 steps on NTU RGB+D 60 by subject
        batch_size=256,
        optimizer="adamw",
        lr=1e-4,
        weight_decay=0.0,
        drop_epoch=96,
        clip_norm=25.0,
    )
    name = "autoencoder"
    settings: AutoEncoderSettings

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: AutoEncoderSettings | None = None,
        *,
        crop: Callable[..., Tensor] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(crop=crop)
        chosen = self.settings
        self.crop = crop or TemporalCropResize(
            chosen.frames, chosen.crop_scale, chosen.crop_min_frames
        )
        self.decoder = StateDecoder(
            encoder.out_features,
            joints=encoder.joints,
            in_channels=encoder.in_channels,
            persons=encoder.persons,
            mode=chosen.decoder,
        )
        self.view_head = None
        if chosen.view_weight > 0:
            _check_axis(chosen.view_axis, encoder.in_channels)
            self.view_head = nn.Linear(encoder.out_features, 2)

    @torch.no_grad()
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> RotatedClips:
        """Draw crop and angle of a training step.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips)
        joints = self.crop(clips, lengths, generator=generator)
        angle = torch.zeros(len(joints), device=joints.device)
        if self.view_head is not None:
            turn = torch.rand(len(joints), device=joints.device, generator=generator)
            angle = 2 * math.pi * turn
            none = torch.zeros_like(angle)
            angles = [angle if axis == self.settings.view_axis else none for axis in "xyz"]
            channels = joints.shape[1]
            matrix = rotation_matrix(torch.stack(angles, dim=1))[:, :channels, :channels]
            joints = linear_map(joints, matrix)
        return RotatedClips(to_stream(joints, self.skeleton, self.stream), angle)

    def loss(self, views: RotatedClips) -> Output:
        """Compute the loss of views.

        Raises:
            ValueError: If the views do not fit the encoder.
        """
        clips, angle = views
        frames = self.encoder(clips)
        check_frames(self.encoder, frames, len(clips))
        state = pool_features(self.encoder, frames)
        target = clips.flip(2) if self.settings.reverse else clips
        prediction = self.decoder(state, target[:, :, 0], clips.shape[2])
        error = (prediction.float() - target.float()).abs().sum(dim=(1, 3, 4))  # (N, T)
        given = 1 if self.settings.decoder == "fixed_state" else 0
        terms = {"l1": error[:, given:].mean()}
        total = terms["l1"]
        if self.view_head is not None:
            guess = self.view_head(gradient_reversal(state)).float()
            truth = torch.stack([angle.sin(), angle.cos()], dim=1)
            terms["view"] = (guess - truth).abs().mean()
            total = total + self.settings.view_weight * terms["view"]
        shown = prediction.flip(2) if self.settings.reverse else prediction
        return Output(total, {name: term.detach() for name, term in terms.items()}, shown)


def _check_axis(axis: Axis, channels: int) -> None:
    """Require an axis that clips of C channels can be rotated about."""
    if channels != 3 and (channels, axis) != (2, "z"):
        raise ValueError(
            f"expected clips of 3 channels to rotate about {axis}, or of 2 about z, got {channels}"
        )


AutoEncoder.presets = {
    "small-autoencoder": Preset(
        AutoEncoderSettings(
            frames=32, hidden=64, pool="mean", crop_scale=(0.5, 1.0), crop_min_frames=32
        ),
        replace(SMALL_TRAIN, lr=1e-3, weight_decay=0.0, clip_norm=25.0),
        "xsub",
        LAPTOP,
        "autoencoder, Predict & Cluster's",
        parameters=0.359,
        forward=0.01125,
    )
}
