"""Latent prediction: a transformer predicts what its slow twin finds in the hidden patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pcm3.augment import TubeMask
from pcm3.checks import check_count, check_share
from pcm3.ema import MomentumTwin
from pcm3.encoders.transformer import TransformerEncoder
from pcm3.methods.base import Output, Preset
from pcm3.methods.mamp.masked import MAMPViews, MaskedTransformer, Transform, patch_rows
from pcm3.methods.mamp.settings import MaskedTransformerSettings
from pcm3.methods.recordings import LAPTOP
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import NTU25, Skeleton


@dataclass(frozen=True)
class LatentSettings(MaskedTransformerSettings):
    """Settings of latent prediction; the defaults are those of Skeleton2vec."""

    decoder_depth: int = 4
    """Number of blocks of the decoder."""
    masking: Literal["tube", "motion"] = "tube"
    """Whether to hide joints uniformly for several patches, or patches, moving ones more often."""
    tube: int = 5
    """Patches of time that share their hidden joints, with tube masking."""
    top_blocks: int = 8
    """Number of the teacher's last blocks whose outputs are averaged to the target."""
    momentum: float = 0.9998
    """Momentum of the teacher in the first step."""
    last_momentum: float = 0.99999
    """Momentum of the teacher from step momentum_steps on, linear in between."""
    momentum_steps: int = 20_000
    """Optimiser steps over which the momentum changes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("momentum", self.momentum)
        check_share("last_momentum", self.last_momentum)
        for name in ("tube", "top_blocks", "momentum_steps"):
            check_count(name, getattr(self, name))
        if self.top_blocks > self.depth:
            raise ValueError(f"expected top_blocks <= depth={self.depth}, got {self.top_blocks}")

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        other = {"tube": "motion_temperature", "motion": "tube"}[self.masking]
        return super().without_effect() | {other: f"masking is {self.masking}"}


class LatentPrediction(MaskedTransformer):
    r"""Predict the features of hidden patches that a slow twin of the encoder finds.

    The encoder sees the visible patches. A decoder predicts from their features, for each hidden
    patch, the target

    .. math::
        y = \mathrm{LN}\left(\frac{1}{K} \sum_{k} \mathrm{LN}(b_k)\right)

    of the outputs b of the last K blocks of the teacher, which sees all patches. LN is layer
    normalisation without weights. The teacher is a :class:`pcm3.ema.MomentumTwin` of the encoder,
    in evaluation mode, and moves once before each optimiser step. The loss is the mean squared
    error over hidden patches.

    ``target_std`` is logged beside the loss: the standard deviation of the targets over the hidden
    patches of a batch, averaged over channels. Below 0.05 the targets have collapsed.

    Args:
        encoder: The encoder to train.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; those of Skeleton2vec if None.
        crop: Temporal transform, called with ``lengths``; by default a ``TemporalCropResize``.
        rotate: Spatial transform; by default ``Rotate``. ``pcm3.augment.Compose()`` does nothing.
        changes: Settings to change, by name, see ``LatentSettings``.

    Raises:
        ValueError: If skeleton and encoder disagree, an argument is out of range, or clips do
            not fit.

    Source:
        Xu, Huang, Wang, Hu: Skeleton2vec: A Self-supervised Learning Framework with Contextualized
        Target Representations for Skeleton Sequence, arXiv 2401.00921.

    Example:
        >>> encoder = TransformerEncoder(NTU25, frames=32, width=16, depth=2, heads=2)
        >>> model = LatentPrediction(encoder, NTU25, decoder_depth=1, top_blocks=2)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)
        ['latent_mse', 'target_std']
    """

    Settings = LatentSettings
    recipe = TrainSettings(
        epochs=400,
        batch_size=48,
        optimizer="adamw",
        lr=5e-4,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        decay_vectors=False,
        schedule="cosine",
        min_lr=1e-5,
        warmup_epochs=20,
        clip_norm=3.0,
    )
    name = "latent"
    settings: LatentSettings
    momentum: Tensor

    def __init__(
        self,
        encoder: TransformerEncoder,
        skeleton: Skeleton = NTU25,
        settings: LatentSettings | None = None,
        *,
        crop: Transform | None = None,
        rotate: Transform | None = None,
        **changes: Any,
    ) -> None:
        width = getattr(encoder, "out_features", None)
        super().__init__(encoder, skeleton, settings, crop, rotate, changes, width)
        chosen = self.settings
        if chosen.top_blocks > len(encoder.blocks):
            raise ValueError(
                f"expected top_blocks <= {len(encoder.blocks)}, the blocks of the encoder, got "
                f"{chosen.top_blocks}"
            )
        self.teacher = MomentumTwin(encoder, chosen.momentum)
        # a tensor, which captured steps read anew
        self.register_buffer("momentum", torch.tensor(chosen.momentum), persistent=False)
        self._batch = 0  # of the optimiser's step
        self.teacher.eval()

    def train(self, mode: bool = True) -> LatentPrediction:
        """Set training mode, in which the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def progress(self, epoch: int, epochs: int, step: int) -> None:  # noqa: ARG002
        """Set the momentum of the teacher."""
        chosen = self.settings
        done = min(step / chosen.momentum_steps, 1.0)
        change = chosen.last_momentum - chosen.momentum
        self.momentum.fill_(chosen.momentum + done * change)

    def accumulate(self, batches: int) -> None:
        """Set the number of batches that make one step of optimiser and teacher."""
        super().accumulate(batches)
        self._batch = 0

    def loss(self, views: MAMPViews) -> Output:
        """Compute the loss of views; in training mode, also move the teacher.

        Args:
            views: Views of ``make_views``, or custom ones with equally many visible patches.

        Raises:
            ValueError: If the views do not fit the encoder or each other. The values of the mask
                are checked on the CPU only.
        """
        predicted, mask = self.predict(views)
        target = self._target(views.clips)
        hidden = patch_rows(mask, self.encoder.patch)[..., None]
        count = hidden.sum()
        errors = (predicted.float() - target).square().mean(dim=-1, keepdim=True)
        loss = (errors * hidden).sum() / count
        mean = (target * hidden).sum(dim=(0, 1)) / count
        variance = ((target - mean).square() * hidden).sum(dim=(0, 1)) / count
        return Output(loss, {"latent_mse": loss.detach(), "target_std": variance.sqrt().mean()})

    @torch.no_grad()
    def _target(self, clips: Tensor) -> Tensor:
        """Targets ``(N M, T' V, D)`` of all patches."""
        if self.training:
            if self._batch == 0:  # once for each optimiser step
                self.teacher.update(self.encoder, self.momentum)
            self._batch = (self._batch + 1) % self._batches_a_step
        teacher = self.teacher.module
        assert isinstance(teacher, TransformerEncoder)
        outputs = teacher.block_outputs(clips)[-self.settings.top_blocks :]
        width = (teacher.out_features,)
        normed = [F.layer_norm(each.float(), width) for each in outputs]
        target = F.layer_norm(torch.stack(normed).mean(dim=0), width)
        return target.flatten(0, 1).flatten(1, 2)

    def _make_masking(self) -> Transform:
        if self.settings.masking == "motion":
            return super()._make_masking()
        return TubeMask(self.settings.mask_ratio, self.settings.tube, self.encoder.patch)

    def _visible(self, patches: int) -> int:
        if not isinstance(self.masking, TubeMask):
            return super()._visible(patches)
        joints = self.encoder.joints
        return self.masking.visible(joints) * (patches // joints)


LatentPrediction.presets = {
    "small-latent": Preset(
        LatentSettings(
            frames=32,
            width=64,
            depth=3,
            heads=4,
            decoder_depth=1,
            mask_ratio=0.6,
            tube=2,
            top_blocks=2,
            momentum=0.99,
            last_momentum=0.999,
            momentum_steps=1500,
            crop_min_frames=32,
        ),
        TrainSettings(
            epochs=250,  # the time of small-mamp
            batch_size=64,
            optimizer="adamw",
            lr=3e-3,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            decay_vectors=False,
            schedule="cosine",
            warmup_epochs=10,
            knn_every=20,
        ),
        "xsub",
        LAPTOP,
        "latent prediction, Skeleton2vec's",
        parameters=0.3667,
        forward=0.1508,
    )
}
