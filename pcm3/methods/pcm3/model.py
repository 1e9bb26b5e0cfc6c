"""PCM3: prompted contrast with masked motion modelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3.augment import (
    JointJitter,
    MixedClips,
    OneOf,
    RandomMask,
    RandomMix,
    ReflectCrop,
    Shear,
    TemporalClip,
    TemporalCropResize,
    TopologyMask,
)
from pcm3.checks import check_transforms, type_name
from pcm3.encoders.base import Encoder, check_frames, pool_features
from pcm3.heads import MaskedMotionDecoder
from pcm3.losses import InfoNCE, MaskedMSE, RelationalKL, similarities
from pcm3.methods.base import Output
from pcm3.methods.features import stretch_frames
from pcm3.methods.momentum import MomentumContrast
from pcm3.methods.pcm3.presets import PRESETS
from pcm3.methods.pcm3.settings import PCM3_POSITIVES, PCM3Settings, Positive
from pcm3.methods.pcm3.views import Views
from pcm3.prompts import DomainPrompt, TaskPrompt
from pcm3.queue import MemoryQueue
from pcm3.skeleton import NTU25, Skeleton, to_stream

Transform = Callable[..., Tensor]


class PCM3(MomentumContrast):
    r"""Contrastive learning and masked prediction that support each other.

    .. math::
        L = \lambda_c \sum_v L^v_{Info} + \lambda_{kl} \sum_v L^v_{KL} + \lambda_m L_{Mask}

    over the positive pairs v: intra, inter, mask and predict, and in PCM3++ clip. Calling the model
    on a batch draws the views and returns the losses. In training mode it also updates the key
    encoder and adds the keys to the queue, once per optimiser step when batches accumulate.

    The ablations of the paper are arguments. Table 7: ``positives=()`` (masked prediction),
    ``positives=("intra", "inter"), mask_weight=0`` (contrastive learning) and
    ``positives=("intra", "inter")`` (naive multi-task). Table 8: ``positives``, ``kl_weight=0``.
    Table 9: ``domain_prompts``, ``task_prompts``. Table 10: ``masking``. The gradient
    ablation: ``semantic_guidance=False``. ``pcm3 presets --table 7`` lists the rows as commands.

    PCM3++ adds the clip view (``positives=("intra", "inter", "mask", "predict", "clip")``): a short
    clip of the key view goes to the query encoder, so both sides share their spatial transform and
    differ only in time. Its second phase, post-distillation, starts from trained weights, trains
    with the distillation terms alone (``info_nce_weight=0, mask_weight=0``) and has the key encoder
    as its result. The survey does not say how long clips are (here a quarter to a half of the
    frames, see ``TemporalClip``), whether post-distillation uses masked prediction (here it does
    not) and where prompts are added (here an argument, as for PCM3).

    Args:
        encoder: The query encoder f.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; those of the paper if None.
        crop: Temporal transform of every view, called with ``lengths``; by default a
            ``TemporalCropResize``.
        spatial: Transform of query and key view; by default either jitter or shear, at random.
        source_spatial: Transform of the clips to be masked; by default shear.
        mixing: Transform that returns the inter view; by default ``RandomMix``.
        masking: Transform that returns the mask, or the setting ``"topology"`` or ``"random"``.
        clipping: Transform of the key view that returns the clip view; by default
            ``TemporalClip``.
        changes: Settings to change, by name, see :class:`~pcm3.methods.pcm3.settings.PCM3Settings`.

    Raises:
        ValueError: If skeleton and encoder disagree, an argument is out of range, or clips do
            not fit.

    Source:
        Zhang, Lin, Liu: Prompted Contrast with Masked Motion Modeling, ACM MM 2023. PCM3++: Sec. 3
        of their later survey and benchmark of self-supervised skeleton representation learning.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> model = PCM3(GRUEncoder(NTU25, hidden=8), NTU25, queue_size=32, decoder_hidden=8)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> len(output.terms)
        9
    """

    Settings = PCM3Settings
    presets = PRESETS
    name = "pcm3"
    settings: PCM3Settings

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: PCM3Settings | None = None,
        *,
        crop: Transform | None = None,
        spatial: Transform | None = None,
        source_spatial: Transform | None = None,
        mixing: Callable[..., MixedClips] | None = None,
        masking: Transform | Literal["topology", "random"] | None = None,
        clipping: Transform | None = None,
        **changes: Any,
    ) -> None:
        if isinstance(masking, str):  # name of a built-in masking
            changes["masking"], masking = masking, None
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(
            crop=crop,
            spatial=spatial,
            source_spatial=source_spatial,
            mixing=mixing,
            masking=masking,
            clipping=clipping,
        )
        chosen, together = self.settings, self.settings.same_on_batch
        self.positives = chosen.positives
        self.info_nce_weight = chosen.info_nce_weight
        self.mask_weight = chosen.mask_weight
        self.kl_weight = chosen.kl_weight
        self.semantic_guidance = chosen.semantic_guidance
        self.prompt_position = chosen.prompt_position
        self.result = chosen.result

        self.crop = crop or self._make_crop()
        self.spatial = spatial or self._make_spatial()
        self.source_spatial = source_spatial or Shear(chosen.shear)
        self.mixing = mixing or RandomMix(skeleton, same_on_batch=together)
        self.masking = masking or self._make_masking()
        self.clipping = clipping or TemporalClip(chosen.clip_ratio, chosen.clip_mode)

        size = {
            "joints": encoder.joints,
            "in_channels": encoder.in_channels,
            "persons": encoder.persons,
        }
        features = encoder.out_features
        self.decoder: MaskedMotionDecoder | None = None
        if self.settings.predicts:
            self.decoder = MaskedMotionDecoder(features, hidden=chosen.decoder_hidden, **size)
        self.queue = MemoryQueue(size=chosen.queue_size, dim=chosen.embedding)
        views = self._prompted_views if chosen.domain_prompts else ()
        self.domain_prompts = nn.ModuleDict({view: DomainPrompt(**size) for view in views})
        tasks = ("contrast", "predict") if chosen.task_prompts else ()
        self.task_prompts = nn.ModuleDict(
            {task: TaskPrompt(features, encoder.feature_blocks) for task in tasks}
        )
        self.info_nce = InfoNCE(chosen.temperature)
        self.relational_kl = RelationalKL(chosen.student_temperature, chosen.teacher_temperature)
        self.masked_mse = MaskedMSE()

    def _make_crop(self) -> Transform:
        chosen = self.settings
        if chosen.reflect is not None:
            return ReflectCrop(chosen.frames, chosen.reflect)
        return TemporalCropResize(chosen.frames, chosen.crop_scale, chosen.crop_min_frames)

    def _make_spatial(self) -> Transform:
        shear = Shear(self.settings.shear)
        if self.settings.jitter is None:
            return shear
        return OneOf(JointJitter(amplitude=self.settings.jitter), shear)

    def _make_masking(self) -> Transform:
        ratio, length = self.settings.mask_ratio, self.settings.mask_clip_length
        together = self.settings.same_on_batch
        if self.settings.masking == "random":
            return RandomMask(ratio, 1 if length is None else length, same_on_batch=together)
        length = 8 if length is None else length
        return TopologyMask(self.skeleton, ratio, length, same_on_batch=together)

    @torch.no_grad()
    def make_views(
        self,
        clips: Tensor,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Views:
        """Draw crops, transforms, mix, mask and prompt offsets of a training step.

        Views that the settings do not need are not drawn.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``; with ``settings.pairs`` twice as many, of
                which the second half is what keys are made of.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.

        Raises:
            ValueError: If the clips do not fit the encoder, or are not pairs.
        """
        self.encoder.check_clips(clips)
        pairs = self.settings.pairs
        if pairs and len(clips) % 2:
            raise ValueError(f"expected two clips of each movement, got {len(clips)} clips")
        shown, other = clips.chunk(2) if pairs else (clips, clips)
        if pairs and lengths is not None:  # both clips of a movement are as long
            lengths = lengths[: len(shown)]

        def view(clips: Tensor, spatial: Transform) -> Tensor:
            cropped = self.crop(clips, lengths, generator=generator)
            return to_stream(spatial(cropped, generator=generator), self.skeleton, self.stream)

        intra, key = view(shown, self.spatial), view(other, self.spatial)
        source = view(shown, self.source_spatial) if self.settings.masks else None
        inter = self._mix(intra, generator) if "inter" in self.positives else None
        mask = None if source is None else self.masking(source, generator=generator)
        offsets = self._draw_offsets(clips.device, generator)
        clip = self.clipping(key, generator=generator) if "clip" in self.positives else None
        return Views(intra, key, source, inter, mask, offsets, clip)

    def _mix(self, clips: Tensor, generator: torch.Generator | None) -> MixedClips:
        mixed = self.mixing(clips, generator=generator)
        if not isinstance(mixed, MixedClips):
            raise ValueError(f"expected mixing to return MixedClips, got {type_name(mixed)}")
        return mixed

    def _draw_offsets(
        self, device: torch.device, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        if not self.task_prompts:
            return {}
        uses = (*self._prompted_views, "key", "decoder")
        high = self._task_prompt("contrast").offsets
        drawn = torch.randint(high, (len(uses),), device=device, generator=generator)
        return dict(zip(uses, drawn, strict=True))

    def loss(self, views: Views) -> Output:
        """Compute the losses of views; in training mode, also update key encoder and queue.

        Args:
            views: Views of ``make_views``, or custom ones.

        Raises:
            ValueError: If the views do not fit the encoder, or the encoder returns another shape
                than it declares or features without a gradient.
        """
        if not isinstance(views, Views):
            raise ValueError(f"expected Views, as make_views returns them, got {type_name(views)}")
        first, last = self._inputs(views)
        frames = self._encode(first)
        prediction = None
        if self.decoder is not None:
            masked = stretch_frames(frames["mask"], views.masked.shape[2])
            prompted = self._prompt_task("predict", masked, views.offsets.get("decoder"))
            prediction = self.decoder(prompted)
            if "predict" in self.positives:
                composite = self._composite(prediction, prompted, views)
                frames |= self._encode({"predict": composite, **last})

        terms = self._contrast(frames, views) if self.positives else {}
        weights = {"info_nce": self.info_nce_weight, "kl": self.kl_weight}
        total = sum(term * weights[name.partition("/")[0]] for name, term in terms.items())
        if self.mask_weight > 0 and prediction is not None:
            terms["masked_mse"] = self.masked_mse(prediction, *views.hidden)
            total = total + self.mask_weight * terms["masked_mse"]
        assert isinstance(total, Tensor)
        return Output(total, {n: t.detach() for n, t in terms.items()}, prediction)

    @property
    def _prompted_views(self) -> tuple[Positive, ...]:
        """Views with prompts: all of PCM3's, so that its ablations have equally many weights."""
        return (*PCM3_POSITIVES, "clip") if "clip" in self.positives else PCM3_POSITIVES

    def _inputs(self, views: Views) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Split the views into those encoded first and those encoded after the predicted one.

        The input normalisation updates its statistics in the order of the published code: intra,
        mask, predict, inter. The clip view of PCM3++ comes first, so that its zeroed frames weigh
        least in the statistics that evaluation uses.
        """
        first: dict[str, Tensor] = {}
        last: dict[str, Tensor] = {}
        if "clip" in self.positives:
            if views.clip is None:
                raise ValueError(
                    "expected views with a clip, because positives include clip, got None"
                )
            first["clip"] = views.clip
        if "intra" in self.positives:
            first["intra"] = views.intra
        if self.settings.masks:
            first["mask"] = views.masked
        if "inter" in self.positives:
            if views.inter is None:
                raise ValueError("expected views with inter, which positives include, got None")
            (last if "predict" in self.positives else first)["inter"] = views.inter.clips
        return first, last

    def _encode(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        prompted, offsets = zip(*(self._prompt_view(n, v) for n, v in views.items()), strict=True)
        frames = self.encoder.encode_views(prompted, offsets)
        for features, clips in zip(frames, prompted, strict=True):
            check_frames(self.encoder, features, len(clips))
        self._check_gradient(frames)
        return dict(zip(views, frames, strict=True))

    def _check_gradient(self, frames: Sequence[Tensor]) -> None:
        """Require that the features of an encoder in training have a gradient."""
        learns = self.training and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        weights = any(weight.requires_grad for weight in self.encoder.parameters())
        if learns and weights and not any(features.requires_grad for features in frames):
            raise ValueError(
                f"expected features of {type(self.encoder).__name__} with a gradient, got detached "
                "ones; call encoder.requires_grad_(False) to train without updating the encoder"
            )

    def _prompt_view(self, name: str, clips: Tensor) -> tuple[Tensor, Tensor | None]:
        """Add the prompt to the clips, or return it for the encoder to add."""
        if not self.domain_prompts:
            return clips, None
        prompt = self.domain_prompts[name]
        assert isinstance(prompt, DomainPrompt)
        if self.prompt_position == "pre_norm":
            return prompt(clips), None
        return clips, prompt.offset

    def _task_prompt(self, task: str) -> TaskPrompt:
        prompt = self.task_prompts[task]
        assert isinstance(prompt, TaskPrompt)
        return prompt

    def _prompt_task(self, task: str, features: Tensor, offset: Tensor | None) -> Tensor:
        if not self.task_prompts or offset is None:
            return features
        prompted: Tensor = self._task_prompt(task)(features, offset)
        return prompted

    def _composite(self, prediction: Tensor, prompted: Tensor, views: Views) -> Tensor:
        """Compose the predicted view: the prediction where hidden, the input elsewhere.

        With semantic guidance, the decoder runs again on detached features, so that the contrastive
        gradient updates the decoder but does not reach the encoder through it.
        """
        source, mask = views.hidden
        if self.semantic_guidance and self.decoder is not None:
            prediction = self.decoder(prompted.detach())
        else:
            prediction = prediction.detach()
        return torch.where(mask[:, None], prediction.to(source.dtype), source)

    def _contrast(self, frames: Mapping[str, Tensor], views: Views) -> dict[str, Tensor]:
        key = self._key_embedding(views)
        targets = dict.fromkeys(self.positives, key)
        if views.inter is not None:
            lam = views.inter.lam.to(key.dtype)[:, None]
            mixed = (1 - lam) * key + lam * key[views.inter.partner]
            targets["inter"] = F.normalize(mixed, dim=1)

        def embed(name: str) -> Tensor:
            features = pool_features(self.encoder, frames[name])
            features = self._prompt_task("contrast", features, views.offsets.get(name))
            return F.normalize(self.projector(features).float(), dim=1)

        query = torch.cat([embed(name) for name in self.positives])
        target = torch.cat([targets[name] for name in self.positives])
        anchors = self.queue.anchors
        similarity = similarities(query, anchors)  # shared by both losses

        def per_view(prefix: str, losses: Tensor) -> dict[str, Tensor]:
            means = losses.view(len(self.positives), -1).mean(dim=1)
            return {f"{prefix}/{n}": m for n, m in zip(self.positives, means, strict=True)}

        terms: dict[str, Tensor] = {}
        if self.info_nce_weight > 0:
            losses = self.info_nce(query, target, anchors, "none", similarity)
            terms |= per_view("info_nce", losses)
        if self.kl_weight > 0:
            divergence = self.relational_kl(query, target, anchors, "none", similarity)
            terms |= per_view("kl", divergence)
        self.keep(key)
        return terms

    @torch.no_grad()
    def _key_embedding(self, views: Views) -> Tensor:
        self.move_twins()
        clips, prompt = self._prompt_view("intra", views.key)
        features = pool_features(self.encoder, self.key_encoder(clips, prompt))
        features = self._prompt_task("contrast", features, views.offsets.get("key"))
        return F.normalize(self.key_projector(features).float(), dim=1)

    @property
    def trained_encoder(self) -> Encoder:
        """The encoder that pretraining produces: ``encoder`` or its momentum twin."""
        if self.result == "query":
            return self.encoder
        return cast("Encoder", self.key_encoder.module)
