"""What every encoder of this package offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from pcm3.checks import check_clips, check_count, shorten, type_name
from pcm3.skeleton import Skeleton

Pool = Literal["last", "mean"]

SIZES = ("frames", "hidden", "layers", "direction", "pool")
"""What the settings of methods say of an encoder, whichever it is."""


class Encoder(nn.Module, ABC):
    """Clips in, frame features out; ``pool`` turns those into one feature a sequence.

    Attributes:
        joints: V that the encoder takes.
        in_channels: C that the encoder takes.
        persons: M that the encoder takes.
        out_features: D, the width of its features.
        feature_blocks: Number of equal parts that a feature consists of: two for an encoder that
            concatenates two directions.
    """

    joints: int
    in_channels: int
    persons: int
    out_features: int
    feature_blocks: int = 1
    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __init__(self, joints: int, in_channels: int, persons: int, pool: Pool) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise ValueError(f"expected pool among {get_args(Pool)}, got {pool!r}")
        for name, size in (("joints", joints), ("in_channels", in_channels), ("persons", persons)):
            check_count(name, size)
        self.joints = joints
        self.in_channels = in_channels
        self.persons = persons
        self.pooling = pool

    def __new__(cls, *args: Any, **kwargs: Any) -> Encoder:
        """Note what the encoder is built with, for ``arguments``."""
        encoder = super().__new__(cls)
        object.__setattr__(encoder, "_given", (args, kwargs))
        return encoder

    @classmethod
    def from_sizes(
        cls, skeleton: Skeleton, in_channels: int, persons: int, **sizes: Any
    ) -> Encoder:
        """Build an encoder of the sizes that the settings of a method name.

        The constructor gets skeleton, channels and persons in this order. A subclass whose
        constructor has other arguments overrides this.

        Args:
            skeleton: Joint layout of the clips.
            in_channels: C of the clips.
            persons: M of the clips.
            sizes: ``frames``, ``hidden``, ``layers``, ``direction`` and ``pool``, of which the
                constructor gets those that it has; and its further arguments by name.

        Raises:
            ValueError: If the constructor has no such further argument.
        """
        known = signature(cls).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            unknown = [name for name in sizes if name not in known and name not in SIZES]
            if unknown:
                raise ValueError(
                    f"expected arguments of {cls.__name__}{signature(cls)}, got {unknown[0]}"
                )
            sizes = {name: size for name, size in sizes.items() if name in known}
        build: Any = cls
        encoder: Encoder = build(skeleton, in_channels, persons, **sizes)
        return encoder

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Encoder:
        """Rebuild a trained encoder on the CPU, in evaluation mode; needs safetensors.

        Args:
            path: The ``encoder.safetensors`` of a run, or the run folder.

        Raises:
            SkeletonFormatError: If there is no such file, or it holds something else.
            ValueError: If it is an encoder of another class.
        """
        from pcm3.encoders.files import load_encoder  # noqa: PLC0415

        encoder = load_encoder(path).encoder
        if not isinstance(encoder, cls):
            raise ValueError(f"expected a {cls.__name__} in {path}, got {type(encoder).__name__}")
        return encoder

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, JSON-able, that build an encoder of this shape again.

        By default those that it was built with. A skeleton is its ``to_dict()``.
        """
        args, kwargs = self._given
        given = signature(type(self)).bind(*args, **kwargs).arguments
        return {
            name: value.to_dict() if isinstance(value, Skeleton) else value
            for name, value in given.items()
        }

    @abstractmethod
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to frame features ``(N, T', D)``.

        Args:
            clips: The batch.
            prompt: ``(C, V, M)``, added to every frame after the input normalisation; the
                ``offset`` of a :class:`pcm3.prompts.DomainPrompt`.
        """

    def _check_clips(self, clips: Tensor, weight: Tensor) -> None:
        """Require clips of this encoder's sizes and of the dtype of its weights."""
        check_clips(clips, joints=self.joints, channels=self.in_channels, persons=self.persons)
        if clips.dtype != weight.dtype and not torch.is_autocast_enabled(clips.device.type):
            raise ValueError(
                f"expected clips of {weight.dtype}, as the encoder's weights are, got "
                f"{clips.dtype}; convert them, clips.to({weight.dtype})"
            )

    def _check_prompt(self, prompt: Tensor | None) -> None:
        """Require a prompt ``(C, V, M)``, or None."""
        shape = tuple(prompt.shape) if isinstance(prompt, Tensor) else type_name(prompt)
        if prompt is not None and shape != (self.in_channels, self.joints, self.persons):
            raise ValueError(
                f"expected a prompt (C={self.in_channels}, V={self.joints}, M={self.persons}), "
                f"the offset of a DomainPrompt, got {shape}"
            )

    def pool(self, frames: Tensor) -> Tensor:
        """Reduce frame features ``(N, T', D)`` to sequence features ``(N, D)``."""
        return frames[:, -1] if self.pooling == "last" else frames.mean(dim=1)

    def encode_views(
        self, views: Sequence[Tensor], prompts: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Encode several views of one batch; each is normalised by its own statistics.

        Equal to calling the encoder on each view in turn. An encoder that can run them together
        overrides this.
        """
        return [self(view, prompt) for view, prompt in zip(views, prompts, strict=True)]


def check_encoder(encoder: Encoder) -> None:
    """Require what a method uses of an encoder.

    Raises:
        ValueError: Naming what it lacks.
    """
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"expected an encoder, a pcm3.encoders.Encoder, got {shorten(encoder)}")
    name = type(encoder).__name__
    for size in ("joints", "in_channels", "persons", "out_features", "feature_blocks"):
        value = getattr(encoder, size, None)
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"expected {name}.{size} to be a number >= 1, as of a pcm3.encoders.Encoder, got "
                f"{shorten(value)}"
            )
    for method in ("pool", "encode_views"):
        if not callable(getattr(encoder, method, None)):
            raise ValueError(f"expected {name}.{method}(), as of a pcm3.encoders.Encoder, got none")
    forward = signature(encoder.forward)
    try:
        forward.bind("clips", "prompt")
    except TypeError:
        raise ValueError(
            f"expected {name}.forward(clips, prompt=None), got forward{forward}"
        ) from None


def check_input(encoder: Encoder, clips: Tensor, joints: int) -> None:
    """Require finite clips of an encoder's sizes, and of the dtype and device of its weights.

    Raises:
        ValueError: Naming what was expected and what came.
    """
    check_clips(
        clips,
        joints=joints,
        channels=encoder.in_channels,
        persons=encoder.persons,
        finite=True,
    )
    weights = [weight for weight in encoder.parameters() if weight.is_floating_point()]
    if not weights:
        return
    if clips.device != weights[0].device:
        raise ValueError(
            f"expected clips on {weights[0].device}, where the encoder is, got them on "
            f"{clips.device}"
        )
    mixed = clips.device.type != "meta" and torch.is_autocast_enabled(clips.device.type)
    if not mixed and clips.dtype not in {weight.dtype for weight in weights}:
        dtype = weights[0].dtype
        raise ValueError(
            f"expected clips of {dtype}, as the encoder's weights are, got {clips.dtype}; "
            f"convert them, clips.to({dtype})"
        )


def check_frames(encoder: Encoder, frames: Tensor, samples: int) -> None:
    """Require frame features ``(N, T', D)`` of what an encoder returned.

    Raises:
        ValueError: Naming the encoder and what it returned.
    """
    _check_result(encoder, "", "T', ", frames, samples)


def pool_features(encoder: Encoder, frames: Tensor) -> Tensor:
    """Sequence features ``(N, D)`` of frame features ``(N, T', D)``.

    Raises:
        ValueError: If the encoder pools to something else.
    """
    pooled = encoder.pool(frames)
    _check_result(encoder, ".pool", "", pooled, len(frames))
    return pooled


def _check_result(
    encoder: Encoder, method: str, steps: str, features: Tensor, samples: int
) -> None:
    shape = tuple(features.shape) if isinstance(features, Tensor) else type_name(features)
    wanted = (samples, encoder.out_features)
    of_rank = isinstance(shape, tuple) and len(shape) == 2 + bool(steps)
    if not of_rank or (shape[0], shape[-1]) != wanted:
        raise ValueError(
            f"expected {type(encoder).__name__}{method} to return features "
            f"(N={samples}, {steps}D={encoder.out_features}), got {shape}"
        )
