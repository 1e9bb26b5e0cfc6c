"""PCM3: prompted contrast with masked motion modelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3.augment import (
    JointJitter,
    MixedClips,
    OneOf,
    RandomMix,
    Shear,
    TemporalClip,
    TemporalCropResize,
    TopologyMask,
)
from pcm3.augment.functional import apply_mask
from pcm3.checks import check_number, check_transforms, type_name
from pcm3.ema import MomentumTwin
from pcm3.encoders.base import (
    Encoder,
    check_encoder,
    check_frames,
    pool_features,
)
from pcm3.heads import MaskedMotionDecoder, Projector
from pcm3.losses import InfoNCE, MaskedMSE, RelationalKL, similarities
from pcm3.methods.base import Method
from pcm3.prompts import DomainPrompt, TaskPrompt
from pcm3.queue import MemoryQueue
from pcm3.skeleton import NTU25, Skeleton, Stream, check_skeleton, to_stream

Positive = Literal["intra", "inter", "mask", "predict", "clip"]
PCM3_POSITIVES: tuple[Positive, ...] = ("intra", "inter", "mask", "predict")
Result = Literal["query", "key"]
PromptPosition = Literal["pre_norm", "post_norm"]
Transform = Callable[..., Tensor]


@dataclass(frozen=True)
class Views:
    """What one training step sees of a batch.

    Attributes:
        intra: Query view s_intra ``(N, C, T, V, M)``; both mixing partners too.
        key: Key view s' ``(N, C, T, V, M)``.
        source: Clips to be masked, and the target of the prediction ``(N, C, T, V, M)``.
        inter: Mixed clips s_inter with partner ``(N,)`` and the partner's share ``(N,)``.
        mask: ``(N, T, V, M)``, True where ``source`` is hidden.
        offsets: Channel offset of the task prompt for each use, by name; empty without prompts.
        clip: Short clip of ``key``, for the query alone ``(N, C, T, V, M)``; None without it.
    """

    intra: Tensor
    key: Tensor
    source: Tensor
    inter: MixedClips
    mask: Tensor
    offsets: Mapping[str, Tensor] = field(default_factory=dict)
    clip: Tensor | None = None

    @property
    def masked(self) -> Tensor:
        """The masked view s_mask: ``source`` with 0 where hidden."""
        return apply_mask(self.source, self.mask)


class PCM3Output(NamedTuple):
    """The result of one step.

    Attributes:
        total: The loss to minimise (PCM3 Eq. 7).
        terms: Every unweighted term as a scalar: ``info_nce/VIEW``, ``kl/VIEW``, ``masked_mse``.
        prediction: Predicted clips ``(N, C, T, V, M)``, or None where nothing is predicted.
    """

    total: Tensor
    terms: dict[str, Tensor]
    prediction: Tensor | None


class PCM3(Method):
    r"""Contrastive learning and masked prediction that serve each other.

    .. math::
        L = \lambda_c \sum_v L^v_{Info} + \lambda_{kl} \sum_v L^v_{KL} + \lambda_m L_{Mask}

    over the positive pairs v: intra, inter, mask and predict, and in PCM3++ clip. Calling the model
    on a batch draws the views, updates the key encoder and returns the losses; in training mode
    the keys then enter the queue; where batches accumulate, both once for all of them.

    The ablations of the paper are arguments. Table 7: ``positives=()`` (masked prediction),
    ``positives=("intra", "inter"), mask_weight=0`` (contrastive learning) and
    ``positives=("intra", "inter")`` (naive multi-task). Table 8: ``positives``, ``kl_weight=0``.
    Table 9: ``domain_prompts``, ``task_prompts``. Table 10: ``masking``. The gradient
    ablation: ``semantic_guidance=False``. ``pcm3 presets --table 7`` lists the rows as commands.

    PCM3++ adds the clip view (``positives=("intra", "inter", "mask", "predict", "clip")``): a short
    clip of the key view goes to the query encoder, so both sides share their spatial transform and
    differ in time alone. Its second phase, post-distillation, goes on from trained weights with the
    distillation terms alone (``info_nce_weight=0, mask_weight=0``) and takes the key encoder as the
    result. The survey leaves open how long clips are (here a quarter to a half of the frames, see
    ``TemporalClip``), whether masked prediction stays on in post-distillation (here it does not)
    and where prompts are added (here an argument, as for PCM3).

    Args:
        encoder: The query encoder f; the trained result.
        skeleton: Joint layout of the clips.
        stream: Derived from the augmented joints of every view.
        frames: T that every view is resized to.
        embedding: Width of the projector's output.
        queue_size: K.
        momentum: Of the key encoder.
        temperature: tau of InfoNCE.
        student_temperature: tau_q of the relational distillation.
        teacher_temperature: tau_k of the relational distillation.
        positives: The positive pairs, any of ``intra``, ``inter``, ``mask``, ``predict``, ``clip``.
        info_nce_weight: lambda_c; 0 leaves InfoNCE out and keeps the distillation.
        mask_weight: lambda_m; 0 leaves masked prediction out.
        kl_weight: lambda_kl; 0 leaves the distillation out.
        semantic_guidance: Whether the contrastive gradient of the predicted view reaches the
            decoder (never the encoder's features below it).
        domain_prompts: Whether views carry a prompt of their own.
        task_prompts: Whether features carry a prompt of the task they serve.
        prompt_position: Domain prompts before the encoder's input normalisation (published code;
            inert, for batch statistics subtract them) or after it.
        crop: Temporal transform of every view, called with ``lengths``.
        spatial: Transform of query and key view; by default jitter or shear, never both.
        source_spatial: Transform of the clips to be masked; shear by default.
        mixing: Gives the inter view; one draw a batch by default, as in the published code.
        masking: Gives the mask; one draw a batch by default, as in the published code.
        clipping: Gives the clip view from the key view; ``TemporalClip()`` by default, which
            zeroes the frames outside, ``TemporalClip(mode="crop")`` resizes those inside.
        decoder_hidden: Width of the masked-motion decoder.
        result: Which encoder is the result, for ``features`` and for export.

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

    _published_preset = "ntu60-xsub"

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        *,
        stream: Stream = "joint",
        frames: int = 64,
        embedding: int = 128,
        queue_size: int = 16384,
        momentum: float = 0.999,
        temperature: float = 0.07,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.05,
        positives: Sequence[Positive] = PCM3_POSITIVES,
        info_nce_weight: float = 1.0,
        mask_weight: float = 40.0,
        kl_weight: float = 1.0,
        semantic_guidance: bool = True,
        domain_prompts: bool = True,
        task_prompts: bool = True,
        prompt_position: PromptPosition = "pre_norm",
        crop: Transform | None = None,
        spatial: Transform | None = None,
        source_spatial: Transform | None = None,
        mixing: Callable[..., MixedClips] | None = None,
        masking: Transform | None = None,
        clipping: Transform | None = None,
        decoder_hidden: int = 512,
        result: Result = "query",
    ) -> None:
        super().__init__()
        weights = {"info_nce": info_nce_weight, "mask": mask_weight, "kl": kl_weight}
        _check_arguments(encoder, skeleton, positives, weights, prompt_position, result)
        check_transforms(
            crop=crop,
            spatial=spatial,
            source_spatial=source_spatial,
            mixing=mixing,
            masking=masking,
            clipping=clipping,
        )
        self.skeleton = skeleton
        self.stream: Stream = stream
        self.frames = frames
        self.positives = tuple(positives)
        self.info_nce_weight = info_nce_weight
        self.mask_weight = mask_weight
        self.kl_weight = kl_weight
        self.semantic_guidance = semantic_guidance
        self.prompt_position = prompt_position
        self.result = result

        self.crop = crop or TemporalCropResize(size=frames)
        self.spatial = spatial or OneOf(JointJitter(), Shear())
        self.source_spatial = source_spatial or Shear()
        self.mixing = mixing or RandomMix(skeleton, same_on_batch=True)
        self.masking = masking or TopologyMask(skeleton, same_on_batch=True)
        self.clipping = clipping or TemporalClip()

        size = {
            "joints": encoder.joints,
            "in_channels": encoder.in_channels,
            "persons": encoder.persons,
        }
        self.encoder = encoder
        self.projector = Projector(encoder.out_features, embedding)
        self.key_encoder = MomentumTwin(encoder, momentum)
        self.key_projector = MomentumTwin(self.projector, momentum)
        self.decoder = MaskedMotionDecoder(encoder.out_features, hidden=decoder_hidden, **size)
        self.queue = MemoryQueue(queue_size, embedding)
        names = _with_clip(self.positives) if domain_prompts else ()
        self.domain_prompts = nn.ModuleDict({name: DomainPrompt(**size) for name in names})
        tasks = ("contrast", "predict") if task_prompts else ()
        self.task_prompts = nn.ModuleDict(
            {task: TaskPrompt(encoder.out_features, encoder.feature_blocks) for task in tasks}
        )
        self._waiting: list[Tensor] = []  # keys of batches before the optimiser's next step
        self.info_nce = InfoNCE(temperature)
        self.relational_kl = RelationalKL(student_temperature, teacher_temperature)
        self.masked_mse = MaskedMSE()

    def forward(
        self,
        clips: Tensor,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> PCM3Output:
        """Draw the views of clips ``(N, C, T, V, M)`` and return their losses."""
        return self.loss(self.make_views(clips, lengths, generator))

    @torch.no_grad()
    def make_views(
        self,
        clips: Tensor,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Views:
        """Draw everything random of a step: crops, transforms, mix, mask, prompt offsets.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Valid frames of each clip ``(N,)``; T by default.
            generator: Source of randomness on the clips' device.
        """
        self.encoder.check_clips(clips, finite=True)

        def view(spatial: Transform) -> Tensor:
            cropped = self.crop(clips, lengths, generator=generator)
            return to_stream(spatial(cropped, generator=generator), self.skeleton, self.stream)

        intra, key, source = view(self.spatial), view(self.spatial), view(self.source_spatial)
        inter = self.mixing(intra, generator=generator)
        if not isinstance(inter, MixedClips):
            raise ValueError(f"expected mixing to return MixedClips, got {type_name(inter)}")
        mask = self.masking(source, generator=generator)
        offsets = self._draw_offsets(clips.device, generator)
        clip = self.clipping(key, generator=generator) if "clip" in self.positives else None
        return Views(intra, key, source, inter, mask, offsets, clip)

    def _draw_offsets(
        self, device: torch.device, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        if not self.task_prompts:
            return {}
        uses = (*_with_clip(self.positives), "key", "decoder")
        high = self._task_prompt("contrast").offsets
        drawn = torch.randint(high, (len(uses),), device=device, generator=generator)
        return dict(zip(uses, drawn, strict=True))

    def loss(self, views: Views) -> PCM3Output:
        """Losses of given views; in training mode moves key encoder and queue one step on.

        Args:
            views: What ``make_views`` returned, or views of your own.

        Raises:
            ValueError: If the views do not fit the encoder, or what it returns is of another shape
                than it says or carries no gradient.
        """
        if not isinstance(views, Views):
            raise ValueError(f"expected Views, as make_views gives them, got {type_name(views)}")
        predicts = self.mask_weight > 0 or "predict" in self.positives
        first, last = self._inputs(views, predicts)
        frames = self._encode(first)
        prediction = None
        if predicts:
            masked = _stretch(frames["mask"], views.source.shape[2])
            prompted = self._prompt_task("predict", masked, views.offsets.get("decoder"))
            prediction = self.decoder(prompted)
            if "predict" in self.positives:
                composite = self._composite(prediction, prompted, views)
                frames |= self._encode({"predict": composite, **last})

        terms = self._contrast(frames, views) if self.positives else {}
        weights = {"info_nce": self.info_nce_weight, "kl": self.kl_weight}
        total = sum(term * weights[name.partition("/")[0]] for name, term in terms.items())
        if self.mask_weight > 0 and prediction is not None:
            terms["masked_mse"] = self.masked_mse(prediction, views.source, views.mask)
            total = total + self.mask_weight * terms["masked_mse"]
        assert isinstance(total, Tensor)
        return PCM3Output(total, {n: t.detach() for n, t in terms.items()}, prediction)

    def accumulate(self, batches: int) -> None:
        """Let so many batches make one step of optimiser, key encoder and queue from now on."""
        super().accumulate(batches)
        self._waiting.clear()

    def _inputs(self, views: Views, predicts: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The views to encode at once, and those that come after the predicted one.

        The input normalisation updates its statistics in the order of the published code: intra,
        mask, predict, inter. PCM3++'s clip comes before them, so that the frames it zeroes weigh
        least in the statistics that evaluation uses.
        """
        first: dict[str, Tensor] = {}
        last: dict[str, Tensor] = {}
        if "clip" in self.positives:
            if views.clip is None:
                raise ValueError("expected views with a clip, as positives has one, got none")
            first["clip"] = views.clip
        if "intra" in self.positives:
            first["intra"] = views.intra
        if predicts or "mask" in self.positives:
            first["mask"] = views.masked
        if "inter" in self.positives:
            (last if "predict" in self.positives else first)["inter"] = views.inter.clips
        return first, last

    def _encode(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        prompted, offsets = zip(*(self._prompt_view(n, v) for n, v in views.items()), strict=True)
        frames = self.encoder.encode_views(prompted, offsets)
        for each, clips in zip(frames, prompted, strict=True):
            check_frames(self.encoder, each, len(clips))
        self._check_gradient(frames)
        return dict(zip(views, frames, strict=True))

    def _check_gradient(self, frames: Sequence[Tensor]) -> None:
        """Require that an encoder that is to learn does."""
        learns = self.training and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        weights = any(weight.requires_grad for weight in self.encoder.parameters())
        if learns and weights and not any(each.requires_grad for each in frames):
            raise ValueError(
                f"expected features of {type(self.encoder).__name__} that carry a gradient, got "
                "detached ones; encoder.requires_grad_(False) says that it is not to learn"
            )

    def _prompt_view(self, name: str, clips: Tensor) -> tuple[Tensor, Tensor | None]:
        """The clips with their prompt, or the prompt for the encoder to add."""
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
        """The predicted view: prediction where hidden, the input elsewhere.

        With semantic guidance the decoder runs again on detached features, so that the
        contrastive gradient updates the decoder but not, through it, the encoder.
        """
        if self.semantic_guidance:
            prediction = self.decoder(prompted.detach())
        else:
            prediction = prediction.detach()
        return torch.where(views.mask[:, None], prediction.to(views.source.dtype), views.source)

    def _contrast(self, frames: Mapping[str, Tensor], views: Views) -> dict[str, Tensor]:
        key = self._key_embedding(views)
        lam = views.inter.lam.to(key.dtype)[:, None]
        mixed_key = F.normalize((1 - lam) * key + lam * key[views.inter.partner], dim=1)

        def embed(name: str) -> Tensor:
            features = pool_features(self.encoder, frames[name])
            features = self._prompt_task("contrast", features, views.offsets.get(name))
            return F.normalize(self.projector(features).float(), dim=1)

        query = torch.cat([embed(name) for name in self.positives])
        target = torch.cat([mixed_key if name == "inter" else key for name in self.positives])
        anchors = self.queue.anchors
        similarity = similarities(query, anchors)  # once for both losses

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
        if self.training:
            self._waiting.append(key)
            if len(self._waiting) == self._batches_a_step:
                self.queue.enqueue(torch.cat(self._waiting))
                self._waiting.clear()
        return terms

    @torch.no_grad()
    def _key_embedding(self, views: Views) -> Tensor:
        if self.training and not self._waiting:  # once for each optimiser step
            self.key_encoder.update(self.encoder)
            self.key_projector.update(self.projector)
        clips, prompt = self._prompt_view("intra", views.key)
        features = pool_features(self.encoder, self.key_encoder(clips, prompt))
        features = self._prompt_task("contrast", features, views.offsets.get("key"))
        return F.normalize(self.key_projector(features).float(), dim=1)

    @property
    def trained_encoder(self) -> Encoder:
        """The encoder that pretraining is for: ``encoder``, or its momentum twin."""
        if self.result == "query":
            return self.encoder
        return cast("Encoder", self.key_encoder.module)


def _stretch(features: Tensor, frames: int) -> Tensor:
    """Frame features ``(N, T', D)`` of an encoder with temporal strides as ``(N, T, D)``."""
    if features.shape[1] == frames:
        return features
    # The unit matrix resized gives the weights; a product's gradient is deterministic on GPUs too.
    unit = torch.eye(features.shape[1], dtype=features.dtype, device=features.device)[None]
    weights = F.interpolate(unit, frames, mode="linear", align_corners=False)[0]
    stretched: Tensor = weights.T @ features
    return stretched


def _with_clip(positives: Sequence[Positive]) -> tuple[Positive, ...]:
    """Views that may carry prompts: PCM3's always, so that its ablations are of one size."""
    return (*PCM3_POSITIVES, "clip") if "clip" in positives else PCM3_POSITIVES


def _check_arguments(
    encoder: Encoder,
    skeleton: Skeleton,
    positives: Sequence[str],
    weights: Mapping[str, float],
    prompt_position: str,
    result: str,
) -> None:
    check_encoder(encoder)
    check_skeleton(skeleton)
    if encoder.joints != len(skeleton):
        raise ValueError(
            f"expected an encoder for the {len(skeleton)} joints of skeleton {skeleton.name!r}, "
            f"got one for {encoder.joints}"
        )
    for name, weight in weights.items():
        check_number(f"{name}_weight", weight)
    if len(set(positives)) != len(positives) or not set(positives) <= set(get_args(Positive)):
        raise ValueError(f"expected positives among {get_args(Positive)}, got {positives!r}")
    if min(weights.values()) < 0:
        raise ValueError(
            "expected weights >= 0, got "
            + ", ".join(f"{name} {weight}" for name, weight in weights.items())
        )
    contrasts = positives and (weights["info_nce"] or weights["kl"])
    if not contrasts and weights["mask"] == 0:
        raise ValueError(
            "expected positives with info_nce_weight or kl_weight > 0, or mask_weight > 0: "
            "nothing is left to learn"
        )
    if result not in get_args(Result):
        raise ValueError(f"expected result among {get_args(Result)}, got {result!r}")
    if prompt_position not in get_args(PromptPosition):
        raise ValueError(
            f"expected prompt_position among {get_args(PromptPosition)}, got {prompt_position!r}"
        )
