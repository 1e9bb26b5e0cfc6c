"""Settings of PCM3 and PCM3++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pcm3.augment.temporal import ClipMode
from pcm3.checks import check_share
from pcm3.methods.settings import EncoderSettings

Positive = Literal["intra", "inter", "mask", "predict", "clip"]
PCM3_POSITIVES: tuple[Positive, ...] = ("intra", "inter", "mask", "predict")
Result = Literal["query", "key"]
PromptPosition = Literal["pre_norm", "post_norm"]


@dataclass(frozen=True)
class PCM3Settings(EncoderSettings):
    """Settings of PCM3; the defaults are those of its paper for NTU RGB+D."""

    embedding: int = 128
    """Width of the contrastive embedding."""
    decoder_hidden: int = 512
    """Width of the masked-motion decoder."""
    queue_size: int = 16384
    """Number of keys in the memory queue."""
    momentum: float = 0.999
    """Momentum of the key encoder."""
    temperature: float = 0.07
    """Temperature tau of InfoNCE."""
    student_temperature: float = 0.1
    """Temperature tau_q of the student of the relational distillation."""
    teacher_temperature: float = 0.05
    """Temperature tau_k of the teacher of the relational distillation."""
    positives: tuple[Positive, ...] | tuple[()] = PCM3_POSITIVES
    """Positive pairs of contrastive learning; may be empty. clip belongs to PCM3++."""
    info_nce_weight: float = 1.0
    """Weight of InfoNCE; 0 leaves it out, for post-distillation."""
    mask_weight: float = 40.0
    """Weight of masked prediction; 0 leaves it out."""
    kl_weight: float = 1.0
    """Weight of relational distillation; 0 leaves it out."""
    semantic_guidance: bool = True
    """Whether the contrastive gradient reaches the decoder."""
    domain_prompts: bool = True
    """Whether each kind of view has a prompt."""
    task_prompts: bool = True
    """Whether each task has a prompt."""
    prompt_position: PromptPosition = "pre_norm"
    """Domain prompts before the input normalisation (published code, inert) or after it."""
    crop_scale: tuple[float, float] = (0.1, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""
    shear: float = 1.0
    """Amplitude of shear."""
    jitter: float | None = 1.0
    """Amplitude of joint jitter; None only shears."""
    reflect: float | None = None
    """Share of the frames by which each end is continued by its mirror image, of which a window is
    cut (1/6 in SkeletonCLR); None crops and resizes, see crop_scale."""
    masking: Literal["topology", "random"] = "topology"
    """Whether to hide body parts (topology) or single joints (random)."""
    mask_ratio: float = 0.6
    """Share of the body parts, or joints, to hide."""
    mask_clip_length: int | None = None
    """Number of frames that share one mask; by default 8 for body parts, 1 for joints."""
    same_on_batch: bool = True
    """Whether to draw mix and mask once per batch (published code) or for each sample."""
    clip_ratio: tuple[float, float] = (0.25, 0.5)
    """Range of the share of frames that the clip view keeps of the key view."""
    clip_mode: ClipMode = "mask"
    """Whether to zero the frames outside the clip (mask) or to resize those inside (resize)."""
    pairs: bool = False
    """Whether the second half of each batch shows the movements of the first half by other people
    before other cameras, as SyntheticMotion(pairs=True) gives them; the keys come from it."""
    result: Result = "query"
    """Encoder that is the result."""

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = {"info_nce": self.info_nce_weight, "mask": self.mask_weight, "kl": self.kl_weight}
        if len(set(self.positives)) != len(self.positives):
            raise ValueError(f"expected different positives, got {self.positives!r}")
        if min(weights.values()) < 0:
            raise ValueError(
                "expected weights >= 0, got "
                + ", ".join(f"{name} {weight}" for name, weight in weights.items())
            )
        if self.reflect is not None:
            check_share("reflect", self.reflect)
        contrasts = self.positives and (self.info_nce_weight or self.kl_weight)
        if not contrasts and self.mask_weight == 0:
            raise ValueError(
                "expected positives with info_nce_weight or kl_weight > 0, or mask_weight > 0, got "
                "settings with nothing to learn"
            )

    @property
    def predicts(self) -> bool:
        """Whether hidden joints are predicted."""
        return self.mask_weight > 0 or "predict" in self.positives

    @property
    def masks(self) -> bool:
        """Whether there is a masked view."""
        return self.predicts or "mask" in self.positives

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        contrasts = self.positives and (self.info_nce_weight or self.kl_weight)
        nothing = "there are no positives" if not self.positives else "no positive has a weight"
        unmasked = "mask_weight is 0 and neither mask nor predict is among the positives"
        unpredicted = "mask_weight is 0 and predict is not among the positives"
        distilled = ("student_temperature", "teacher_temperature")
        alone = "neither mask, predict nor inter is among the positives, and mask_weight is 0"
        rules = (
            (not self.masks, unmasked, ("masking", "mask_ratio", "mask_clip_length")),
            (not self.predicts, unpredicted, ("decoder_hidden",)),
            (not self.masks and "inter" not in self.positives, alone, ("same_on_batch",)),
            (
                "predict" not in self.positives,
                "predict is not among the positives",
                ("semantic_guidance",),
            ),
            (
                "clip" not in self.positives,
                "clip is not among the positives",
                ("clip_ratio", "clip_mode"),
            ),
            (self.info_nce_weight == 0, "info_nce_weight is 0", ("temperature",)),
            (self.kl_weight == 0, "kl_weight is 0", distilled),
            (not contrasts, nothing, ("temperature", *distilled)),
            (not self.positives, nothing, ("momentum",)),
            (not self.domain_prompts, "domain_prompts is off", ("prompt_position",)),
            (
                self.reflect is not None,
                "reflect takes the place of the crop",
                ("crop_scale", "crop_min_frames"),
            ),
        )
        unused = {name: reason for applies, reason, names in rules if applies for name in names}
        return super().without_effect() | unused
