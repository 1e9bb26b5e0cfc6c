"""Every setting of a pretraining run, as plain dataclasses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, TypedDict, TypeVar, get_type_hints

from pcm3.augment import (
    Compose,
    JointJitter,
    OneOf,
    RandomMask,
    RandomMix,
    Rotate,
    Shear,
    TemporalClip,
    TemporalCropResize,
    TopologyMask,
)
from pcm3.augment.temporal import ClipMode
from pcm3.checks import check_at_least, check_count, check_different, check_seed
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.encoders.base import Pool
from pcm3.encoders.gru import Direction
from pcm3.io.json import check_kind, parse_json
from pcm3.methods.mamp import MAMP, Target
from pcm3.methods.pcm3 import PCM3, PCM3_POSITIVES, Positive, PromptPosition, Result
from pcm3.skeleton import Skeleton, Stream


@dataclass(frozen=True)
class PCM3Config:
    """What PCM3 trains."""

    builds: ClassVar[type[PCM3]] = PCM3
    stream: Stream = "joint"
    """Input stream, derived after augmentation."""
    encoder: Literal["gru", "stgcn", "transformer"] = "gru"
    """What encodes: recurrent (the paper), graph convolution, or MAMP's transformer."""
    hidden: int = 1024
    """Width of one GRU, of the transformer, or of the graph convolution's features."""
    layers: int = 3
    """Layers of the GRU, blocks of the transformer; the graph convolution has ten blocks."""
    direction: Direction = "causal_pair"
    """What the second GRU of a layer sees."""
    pool: Pool = "last"
    """How frame features become a sequence feature; the transformer knows the mean alone."""
    frames: int = 64
    """Frames that every view is resized to."""
    embedding: int = 128
    """Width of the contrastive embedding."""
    decoder_hidden: int = 512
    """Width of the masked-motion decoder."""
    queue_size: int = 16384
    """Keys in the memory queue."""
    key_momentum: float = 0.999
    """Momentum of the key encoder."""
    temperature: float = 0.07
    """Of InfoNCE."""
    student_temperature: float = 0.1
    """Of the relational distillation's student."""
    teacher_temperature: float = 0.05
    """Of the relational distillation's teacher."""
    positives: tuple[Positive, ...] | tuple[()] = PCM3_POSITIVES
    """Positive pairs of contrastive learning, or none of them; clip is PCM3++'s."""
    info_nce_weight: float = 1.0
    """Weight of InfoNCE; 0 leaves it out, for post-distillation."""
    mask_weight: float = 40.0
    """Weight of masked prediction; 0 leaves it out."""
    kl_weight: float = 1.0
    """Weight of relational distillation; 0 leaves it out."""
    semantic_guidance: bool = True
    """Whether the contrastive gradient reaches the decoder."""
    domain_prompts: bool = True
    """A prompt for each kind of view."""
    task_prompts: bool = True
    """A prompt for each task."""
    prompt_position: PromptPosition = "pre_norm"
    """Domain prompts before the input normalisation (published code, inert) or after it."""
    crop_scale: tuple[float, float] = (0.1, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""
    shear: float = 1.0
    """Amplitude of shear."""
    jitter: float = 1.0
    """Amplitude of joint jitter."""
    masking: Literal["topology", "random"] = "topology"
    """Hide body parts, or single joints."""
    mask_ratio: float = 0.6
    """Share of the body parts, or joints, to hide."""
    mask_clip_length: int | None = None
    """Frames that share one draw of what is hidden; by default 8 of body parts, 1 of joints."""
    same_on_batch: bool = True
    """Draw mix and mask once for a batch (published code), not for each sample."""
    clip_ratio: tuple[float, float] = (0.25, 0.5)
    """Range of the share of the key view's frames that the clip view keeps."""
    clip_mode: ClipMode = "mask"
    """Zero the frames outside the clip, or resize those inside."""
    result: Result = "query"
    """Which encoder is the result."""

    def __post_init__(self) -> None:
        _check_finite(self)
        check_at_least("frames", self.frames, 1)
        unused = {"stgcn": ("layers", "direction"), "transformer": ("direction",)}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in unused.get(self.encoder, ()) and value != each.default:
                raise ValueError(
                    f"{each.name} has no effect on the encoder {self.encoder}: expected its "
                    f"default {each.default!r}, got {value!r}"
                )

    def build(
        self,
        skeleton: Skeleton,
        persons: int,
        in_channels: int = 3,
        kind: type[PCM3] = PCM3,
        **changes: Any,
    ) -> PCM3:
        """Build the model for data of a skeleton, a number of persons and of coordinates.

        ``kind`` may be a subclass, whose constructor takes the same.
        """
        if changes:
            return change(self, changes).build(skeleton, persons, in_channels, kind)
        topology, length = self.masking == "topology", self.mask_clip_length
        if length is None:
            length = 8 if topology else 1
        masking = (
            TopologyMask(skeleton, self.mask_ratio, length)
            if topology
            else RandomMask(self.mask_ratio, length)
        )
        masking.same_on_batch = self.same_on_batch
        return kind(
            self.build_encoder(skeleton, persons, in_channels),
            skeleton,
            stream=self.stream,
            frames=self.frames,
            embedding=self.embedding,
            queue_size=self.queue_size,
            momentum=self.key_momentum,
            temperature=self.temperature,
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
            positives=self.positives,
            info_nce_weight=self.info_nce_weight,
            mask_weight=self.mask_weight,
            kl_weight=self.kl_weight,
            semantic_guidance=self.semantic_guidance,
            domain_prompts=self.domain_prompts,
            task_prompts=self.task_prompts,
            prompt_position=self.prompt_position,
            crop=TemporalCropResize(self.frames, self.crop_scale, self.crop_min_frames),
            spatial=OneOf(JointJitter(amplitude=self.jitter), Shear(self.shear)),
            source_spatial=Shear(self.shear),
            mixing=RandomMix(skeleton, same_on_batch=self.same_on_batch),
            masking=masking,
            clipping=TemporalClip(self.clip_ratio, self.clip_mode),
            decoder_hidden=self.decoder_hidden,
            result=self.result,
        )

    def build_encoder(self, skeleton: Skeleton, persons: int, in_channels: int) -> Encoder:
        """Build the encoder alone."""
        if self.encoder == "stgcn":
            return STGCNEncoder(
                skeleton, in_channels, persons, out_features=self.hidden, pool=self.pool
            )
        if self.encoder == "transformer":
            return TransformerEncoder(
                skeleton,
                in_channels,
                persons,
                self.frames,
                width=self.hidden,
                depth=self.layers,
                heads=max(1, self.hidden // 32),  # as wide as MAMP's
            )
        return GRUEncoder(
            skeleton,
            in_channels,
            persons,
            hidden=self.hidden,
            layers=self.layers,
            direction=self.direction,
            pool=self.pool,
        )


@dataclass(frozen=True)
class MAMPConfig:
    """What MAMP trains; the defaults are its paper's for NTU RGB+D 60."""

    builds: ClassVar[type[MAMP]] = MAMP
    stream: Stream = "joint"
    """Input stream, derived after augmentation."""
    frames: int = 120
    """Frames that every clip is resized to."""
    patch: int = 4
    """Frames of one joint that make a token."""
    width: int = 256
    """Of tokens."""
    depth: int = 8
    """Blocks of the encoder."""
    heads: int = 8
    """Attention heads."""
    decoder_depth: int = 3
    """Blocks of the decoder."""
    mask_ratio: float = 0.9
    """Share of the tokens to hide."""
    motion_temperature: float = 0.8
    """Of the motion-aware mask; 0 hides uniformly."""
    target: Target = "motion"
    """What is predicted; coordinates, with motion_temperature 0, is the MAE baseline."""
    motion_stride: int = 1
    """Frames between the two positions whose difference is the motion."""
    normalize_target: bool = True
    """Whether every patch of the target gets mean 0 and variance 1."""
    skip_absent: bool = False
    """Leave persons who are not there out; the published code trains on them."""
    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""
    rotation: float = 0.3
    """Largest rotation about each axis, in radians."""

    def __post_init__(self) -> None:
        _check_finite(self)
        check_at_least("frames", self.frames, 1)

    def build(
        self,
        skeleton: Skeleton,
        persons: int,
        in_channels: int = 3,
        kind: type[MAMP] = MAMP,
        **changes: Any,
    ) -> MAMP:
        """Build the model for data of a skeleton, a number of persons and of coordinates.

        ``kind`` may be a subclass, whose constructor takes the same.
        """
        if changes:
            return change(self, changes).build(skeleton, persons, in_channels, kind)
        encoder = TransformerEncoder(
            skeleton,
            in_channels,
            persons,
            frames=self.frames,
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            skip_absent=self.skip_absent,
        )
        return kind(
            encoder,
            skeleton,
            stream=self.stream,
            decoder_depth=self.decoder_depth,
            mask_ratio=self.mask_ratio,
            motion_temperature=self.motion_temperature,
            target=self.target,
            motion_stride=self.motion_stride,
            normalize_target=self.normalize_target,
            crop=TemporalCropResize(self.frames, self.crop_scale, self.crop_min_frames),
            rotate=Rotate(math.degrees(self.rotation)) if self.rotation else Compose(),
        )


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained."""

    epochs: int = 451
    """Passes over the training part; 0 writes the untrained encoder."""
    batch_size: int = 128
    """Sequences a step on each device; an incomplete last batch is dropped."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9, or AdamW."""
    lr: float = 0.02
    """Learning rate after warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    weight_decay: float = 1e-4
    """On every parameter, see decay_vectors."""
    decay_vectors: bool = True
    """Whether biases and other parameters of one axis decay too."""
    schedule: Literal["step", "cosine"] = "step"
    """One tenfold drop, or a half cosine to min_lr."""
    drop_epoch: int = 351
    """First epoch, counted from 0, of the dropped rate; scaled where epochs alone change."""
    min_lr: float = 0.0
    """Where the cosine ends."""
    warmup_epochs: float = 0.0
    """Epochs over which the rate rises linearly from 0; scaled like drop_epoch."""
    clip_norm: float = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """What follows a loss or gradient that is not finite: the run ends, or that step is left out
    and counted."""
    accumulate: int = 1
    """Batches whose gradients make one optimiser step."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Of the forward pass, with losses in float32. tf32 is of products on GPUs alone,
    and fp16 of GPUs too."""
    compile: bool = False
    """Compile the blocks of transformer and graph encoders: slow to start, faster afterwards."""
    deterministic: bool = False
    """Repeat bit for bit on GPUs too; on a CPU with the same number of threads it does anyway."""
    accelerator: str = "auto"
    """cpu, cuda, mps or auto."""
    devices: int = 1
    """Devices of each machine, or processes on a CPU; torchrun says it itself."""
    nodes: int = 1
    """Machines, which torchrun or SLURM starts."""
    sync_norm: bool = False
    """Whether batch statistics are those of all devices."""
    workers: int = 0
    """Processes that read batches; 0 reads in the main process."""
    seed: int = 0
    """Of weights, data order and augmentation."""
    knn_every: int = 0
    """Epochs between nearest-neighbour checks on held-out training subjects; 0 never."""
    checkpoint_every: int = 10
    """Epochs between checkpoints; one is always written at the end and on Ctrl-C."""
    keep_epochs: tuple[int, ...] | tuple[()] = ()
    """Epochs after which the encoder is kept, in a file of its own; scaled like drop_epoch."""
    tensorboard: bool = False
    """Also write TensorBoard event files to the run folder."""

    def __post_init__(self) -> None:
        _check_finite(self)
        for name, low in (
            ("epochs", 0),
            ("batch_size", 2),
            ("accumulate", 1),
            ("devices", 1),
            ("nodes", 1),
            ("checkpoint_every", 1),
            ("knn_every", 0),
            ("workers", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} >= {low}, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"expected lr > 0, got {self.lr}")
        if not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"expected min_lr in [0, lr={self.lr}], got {self.min_lr}")
        check_different("keep_epochs", self.keep_epochs)
        if not all(1 <= epoch <= self.epochs for epoch in self.keep_epochs):
            raise ValueError(
                f"expected keep_epochs in [1, epochs={self.epochs}], got {self.keep_epochs}"
            )
        check_seed(self.seed)

    def scaled_to(self, epochs: int) -> TrainConfig:
        """The same schedule over another number of epochs: drop, warm-up, kept ones in proportion.

        Over 0 epochs there is no schedule: none is kept, and nothing else changes.
        """
        share = epochs / self.epochs if epochs > 0 and self.epochs else 1.0
        kept = [max(1, round(epoch * share)) for epoch in self.keep_epochs if epochs > 0]
        return replace(
            self,
            epochs=epochs,
            drop_epoch=round(self.drop_epoch * share),
            warmup_epochs=self.warmup_epochs * share,
            keep_epochs=tuple(dict.fromkeys(kept)),
        )


NO_EFFECT = (
    *("accelerator", "checkpoint_every", "deterministic", "keep_epochs", "knn_every"),
    *("tensorboard", "workers"),
)
"""Settings of training that change nothing but how it is computed, watched and kept."""

AnySettings = TypeVar("AnySettings", PCM3Config, MAMPConfig, TrainConfig)

_MODELS: dict[str, type[PCM3Config | MAMPConfig]] = {"pcm3": PCM3Config, "mamp": MAMPConfig}


class _Known(TypedDict, total=False):
    max_frames: int | None


class _Parts(_Known):
    method: Literal["pcm3", "mamp"]
    model: dict[str, Any]
    train: dict[str, Any]
    protocol: str


@dataclass(frozen=True)
class Config:
    """A whole run: model and training."""

    model: PCM3Config | MAMPConfig = field(default_factory=PCM3Config)
    train: TrainConfig = field(default_factory=TrainConfig)
    protocol: str = "xsub"
    """Which sequences are the training part: of all stores, or one for each, space between."""
    max_frames: int | None = None
    """Where longer sequences are cut off; by default they are trained on in windows."""

    def __post_init__(self) -> None:
        if self.max_frames is not None:
            check_count("max_frames", self.max_frames)

    @property
    def method(self) -> str:
        """What the model is: pcm3 or mamp."""
        return next(name for name, kind in _MODELS.items() if isinstance(self.model, kind))

    def to_json(self) -> str:
        """Text that ``from_json`` reads back."""
        return json.dumps({"method": self.method, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read a configuration; lists become tuples.

        Raises:
            ValueError: If the text is not JSON, lacks a part, names unknown settings, or a value
                is of another type.
        """
        raw = parse_json(text.encode(), "settings", _Parts)
        return cls(
            model=_from_dict(_MODELS[raw["method"]], raw["model"]),
            train=_from_dict(TrainConfig, raw["train"]),
            protocol=raw["protocol"],
            max_frames=raw.get("max_frames"),
        )


def change(settings: AnySettings, changes: Mapping[str, Any]) -> AnySettings:
    """Settings with some of them changed.

    Raises:
        ValueError: Naming settings that there are not and, where it looks like one, what was meant.
    """
    _check_names(type(settings), changes)
    return replace(settings, **changes)


def _check_finite(settings: PCM3Config | MAMPConfig | TrainConfig) -> None:
    for each in fields(settings):
        value = getattr(settings, each.name)
        values = value if isinstance(value, tuple) else (value,)
        if any(isinstance(one, float) and not math.isfinite(one) for one in values):
            raise ValueError(f"expected a finite {each.name}, got {value}")


def _check_names(kind: Any, names: Iterable[str]) -> None:
    known = [each.name for each in fields(kind)]
    unknown = sorted(set(names) - set(known))
    near = [name for each in unknown for name in get_close_matches(each, known)]
    if unknown:
        hint = f"; there is {', '.join(near)}" if near else ""
        raise ValueError(f"unknown {kind.__name__} settings: {', '.join(unknown)}{hint}")


def _from_dict(kind: Any, values: dict[str, Any]) -> Any:
    _check_names(kind, values)
    kinds = get_type_hints(kind)
    for name, value in values.items():
        check_kind(value, kinds[name], name)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
