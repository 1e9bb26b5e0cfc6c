"""Settings of training, and the base classes of the settings of methods."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from inspect import signature
from types import UnionType
from typing import (
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pcm3.checks import check_at_least, check_different, check_number, check_seed
from pcm3.encoders import ENCODERS, Encoder
from pcm3.encoders.base import Pool
from pcm3.encoders.gru import Direction
from pcm3.io.imports import find_class, is_import_path
from pcm3.io.json import check_kind
from pcm3.skeleton import Skeleton, Stream

AnySettings = TypeVar("AnySettings", bound="Settings")

FORMER_NAMES = {"key_momentum": "momentum"}
"""Present names of settings by their names in earlier versions, as in old run folders."""


def present_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from a run folder of any version, under present names and with present values."""
    present = {FORMER_NAMES.get(name, name): value for name, value in values.items()}
    if present.get("normalize_target") is True:  # it was a switch
        present["normalize_target"] = "patch"
    return present


@dataclass(frozen=True)
class Settings:
    """Frozen settings. Each field has a type, a default and a docstring, which is its help text.

    Raises:
        ValueError: If a number is not finite, or a word is not among the choices of its type.
    """

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for field in fields(self):
            value = getattr(self, field.name)
            values = value if isinstance(value, tuple) else (value,)
            if kinds[field.name] is float:
                check_number(field.name, value)
            if any(isinstance(number, float) and not math.isfinite(number) for number in values):
                raise ValueError(f"expected a finite {field.name}, got {value}")
            choices = _choices(kinds[field.name])
            if choices and any(word not in choices for word in values):
                raise ValueError(f"expected {field.name} among {choices}, got {value!r}")

    @classmethod
    def from_dict(cls: type[AnySettings], values: Mapping[str, Any]) -> AnySettings:
        """Read settings from the JSON of a run folder, in which tuples are lists.

        Raises:
            ValueError: If a setting is unknown, or its value has another type.
        """
        values = present_settings(values)
        cls.check_names(values)
        kinds = get_type_hints(cls)
        for name, value in values.items():
            check_kind(value, kinds[name], name)
        return cls(**_with_tuples(values))

    @classmethod
    def sharing(cls: type[AnySettings], other: Settings) -> AnySettings:
        """The values of other settings under the names that both have, and defaults elsewhere."""
        names = {field.name for field in fields(cls)} & {field.name for field in fields(other)}
        return cls(**{name: getattr(other, name) for name in names})

    def changed(self: AnySettings, changes: Mapping[str, Any]) -> AnySettings:
        """Return a copy with some settings changed.

        Raises:
            ValueError: If a setting is unknown; the message suggests similar ones.
        """
        self.check_names(changes)
        return replace(self, **_with_tuples(changes))

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason.

        Such a setting is only refused if it is named explicitly, see ``check_effect``.
        """
        return {}

    def check_effect(self, names: Iterable[str]) -> None:
        """Require that settings that were named explicitly have an effect.

        Args:
            names: Their names, for example those of options on a command line.

        Raises:
            ValueError: If a setting is among those ``without_effect``.
        """
        unused = self.without_effect()
        texts = [f"{name} has no effect: {unused[name]}" for name in names if name in unused]
        if texts:
            raise ValueError("; ".join(texts))

    @classmethod
    def check_names(cls, names: Iterable[str]) -> None:
        """Require that all names are settings.

        Raises:
            ValueError: If a name is unknown; the message suggests similar ones and lists all.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(names) - set(known))
        near = [match for name in unknown for match in get_close_matches(name, known)]
        if unknown:
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(
                f"unknown {cls.__name__}: {', '.join(unknown)}, expected names among "
                f"{', '.join(known)}{hint}"
            )


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}


def _choices(kind: Any) -> tuple[str | bool, ...]:
    """Choices of a literal type or a tuple of literals; empty for another type."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    inner = get_args(kind) if get_origin(kind) in (tuple, Union, UnionType) else ()
    choices = [_choices(part) for part in inner if part not in (..., tuple[()])]
    return choices[0] if len(choices) == 1 else ()


@dataclass(frozen=True)
class MethodSettings(Settings):
    """Settings that all methods have.

    Attributes:
        method: The method that the settings belong to.
    """

    method: ClassVar[Any]
    stream: Stream = "joint"
    """Input stream, derived after augmentation."""
    frames: int = 64
    """Frames that each view is resized to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("frames", self.frames, 1)

    @classmethod
    def of_encoder(cls) -> list[str]:
        """Names of the settings that only a new encoder needs; none by default."""
        return []

    def build_encoder(self, skeleton: Skeleton, persons: int, in_channels: int = 3) -> Encoder:
        """Build the encoder alone.

        Args:
            skeleton: Joint layout of the data.
            persons: Number of persons M of the data.
            in_channels: Number of coordinates C of the data.

        Raises:
            NotImplementedError: If the settings of a method do not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define build_encoder")

    def build(self, skeleton: Skeleton, persons: int, in_channels: int = 3) -> Any:
        """Build the method with a new encoder.

        Args:
            skeleton: Joint layout of the data.
            persons: Number of persons M of the data.
            in_channels: Number of coordinates C of the data.
        """
        encoder = self.build_encoder(skeleton, persons, in_channels)
        return self.method(encoder, skeleton, self)


@dataclass(frozen=True)
class EncoderSettings(MethodSettings):
    """Settings of a method that trains any encoder."""

    encoder: str = "gru"
    """Encoder: gru (the paper), stgcn (graph convolution), transformer (MAMP's), or MODULE:CLASS
    for a custom one."""
    hidden: int = 1024
    """Width of one GRU, of the transformer, or of the graph convolution's features."""
    layers: int = 3
    """Layers of the GRU, blocks of the transformer; the graph convolution has ten blocks."""
    direction: Direction = "causal_pair"
    """Direction of the second GRU of a layer."""
    pool: Pool = "last"
    """Pooling of frame features to a sequence feature; the transformer always takes the mean."""
    encoder_arguments: tuple[str, ...] | tuple[()] = ()
    """Further arguments of stgcn or of a custom encoder, each as NAME=VALUE."""

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = ENCODERS.get(self.encoder)
        if kind is None:
            if not is_import_path(self.encoder):
                names = ", ".join(ENCODERS)
                raise ValueError(
                    f"expected encoder among {names} or MODULE:CLASS, got {self.encoder!r}"
                )
            self._further_arguments()
            return
        takes = signature(kind.from_sizes).parameters
        unused = [name for name in ("layers", "direction") if name not in takes]
        if "arguments" in takes:
            self._further_arguments()
        else:
            unused.append("encoder_arguments")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in unused and value != field.default:
                raise ValueError(
                    f"{field.name} has no effect on the encoder {self.encoder}: expected its "
                    f"default {field.default!r}, got {value!r}"
                )

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        kind = ENCODERS.get(self.encoder)
        takes = signature(kind.from_sizes).parameters if kind else _SIZES
        return {name: f"the encoder is {self.encoder}" for name in _SIZES if name not in takes}

    @classmethod
    def of_encoder(cls) -> list[str]:
        """Names of the settings that only a new encoder needs."""
        shared = {field.name for field in fields(MethodSettings)}
        return [field.name for field in fields(EncoderSettings) if field.name not in shared]

    def build_encoder(self, skeleton: Skeleton, persons: int, in_channels: int = 3) -> Encoder:
        """Build the encoder alone.

        Raises:
            SkeletonFormatError: If the module of a custom encoder is not imported.
            ValueError: If the encoder takes clips of other sizes.
        """
        kind = ENCODERS.get(self.encoder) or find_class(self.encoder, Encoder)
        sizes = {name: getattr(self, name) for name in ("frames", *_SIZES)}
        takes = signature(kind.from_sizes).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        if self.encoder in ENCODERS or not takes_any:
            sizes = {name: value for name, value in sizes.items() if name in takes}
        further = self._further_arguments()
        unknown = [] if takes_any else [name for name in further if name not in takes]
        if unknown:
            raise ValueError(f"{kind.__name__} takes no further arguments, got {unknown[0]}")
        sizes |= further
        encoder = kind.from_sizes(skeleton, in_channels, persons, **sizes)
        built = (encoder.joints, encoder.in_channels, encoder.persons)
        if built != (len(skeleton), in_channels, persons):
            raise ValueError(
                f"expected {kind.__name__}(skeleton, in_channels, persons) for {len(skeleton)} "
                f"joints, {in_channels} channels and {persons} persons, in this order, got an "
                f"encoder for {built[0]} joints, {built[1]} channels and {built[2]} persons"
            )
        return encoder

    def _further_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for text in self.encoder_arguments:
            name, equals, value = text.partition("=")
            if not equals or not name.isidentifier():
                raise ValueError(f"expected encoder_arguments as NAME=VALUE, got {text!r}")
            try:
                arguments[name] = json.loads(value)
            except ValueError:  # a word
                arguments[name] = value
        return arguments


_SIZES = ("hidden", "layers", "direction", "pool")


@dataclass(frozen=True)
class TrainSettings(Settings):
    """Settings of training."""

    epochs: int = 451
    """Passes over the training part; 0 writes the untrained encoder."""
    batch_size: int = 128
    """Sequences in a batch on each device; an incomplete last batch is dropped."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """SGD with momentum 0.9, Adam, or AdamW, whose weight decay is apart from the gradient."""
    lr: float = 0.02
    """Learning rate after warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the two moving averages of Adam and AdamW."""
    weight_decay: float = 1e-4
    """Weight decay of the parameters, see decay_vectors."""
    decay_vectors: bool = True
    """Whether weight decay applies to biases and other parameters of one axis too."""
    schedule: Literal["step", "cosine"] = "step"
    """Schedule of the rate: one tenfold drop, or a half cosine down to min_lr."""
    drop_epoch: int = 351
    """First epoch, counted from 0, at the dropped rate; scales with epochs unless it is given."""
    min_lr: float = 0.0
    """Learning rate at the end of the cosine."""
    warmup_epochs: float = 0.0
    """Epochs over which the rate rises linearly from 0; scales like drop_epoch."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0 does not clip."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """Action if a loss or gradient is not finite: stop the run, or skip the step and count it."""
    accumulate: int = 1
    """Batches whose gradients are added up for one optimiser step."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Precision of the forward pass; losses are always float32. tf32 and fp16 need a GPU."""
    graph: Literal["auto", "on", "off"] = "auto"
    """Whether steps are captured as CUDA graphs; auto: on CUDA if all need the same operations."""
    compile: bool = False
    """Compile the blocks of transformer and graph encoders: slow to start, then faster."""
    deterministic: bool = False
    """Whether GPU runs repeat bit for bit; CPU runs with the same number of threads always do."""
    accelerator: str = "auto"
    """Device to train on: cpu, cuda, mps or auto."""
    devices: int = 1
    """Devices on each machine, or processes on a CPU; torchrun overrides it."""
    nodes: int = 1
    """Number of machines, whose processes torchrun or SLURM starts."""
    sync_norm: bool = False
    """Whether batch statistics are computed over all devices."""
    workers: int = 0
    """Processes that read batches; 0 reads them in the main process."""
    cache: Literal["auto", "device", "none"] = "auto"
    """Whether data lie on the device whole; auto: on CUDA if they fill at most a quarter of it."""
    seed: int = 0
    """Random seed of weights, data order and augmentation."""
    knn_every: int = 0
    """Epochs between measurements of the features on held-out training subjects; 0 for none."""
    checkpoint_every: int = 10
    """Epochs between checkpoints; one is also written at the end and on Ctrl-C."""
    keep_epochs: tuple[int, ...] | tuple[()] = ()
    """Epochs after which the encoder is kept in a separate file; scaled like drop_epoch."""
    tensorboard: bool = False
    """Also write TensorBoard event files to the run folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        unused = {}
        if self.optimizer == "sgd":
            unused["betas"] = "the optimizer is sgd"
        other = {"step": "min_lr", "cosine": "drop_epoch"}[self.schedule]
        unused[other] = f"the schedule is {self.schedule}"
        return unused

    def scaled_to(self, epochs: int) -> TrainSettings:
        """Scale the schedule to another number of epochs: drop, warm-up and kept epochs.

        With 0 epochs, no encoders are kept and nothing else changes.
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
    *("accelerator", "cache", "checkpoint_every", "deterministic", "graph", "keep_epochs"),
    *("knn_every", "tensorboard", "workers"),
)
"""Settings of training that do not change its result."""
