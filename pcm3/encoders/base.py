"""What every encoder of this package offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from pcm3._checks import check_clips, type_name

Pool = Literal["last", "mean"]


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

    def __init__(self, joints: int, in_channels: int, persons: int, pool: Pool) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise ValueError(f"expected pool among {get_args(Pool)}, got {pool!r}")
        for name, size in (("joints", joints), ("in_channels", in_channels), ("persons", persons)):
            if size < 1:
                raise ValueError(f"expected {name} >= 1, got {size}")
        self.joints = joints
        self.in_channels = in_channels
        self.persons = persons
        self.pooling = pool

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Encoder:
        """Rebuild a trained encoder on the CPU, in evaluation mode; needs safetensors.

        Args:
            path: The ``encoder.safetensors`` of a run, or the run folder.

        Raises:
            SkeletonFormatError: If there is no such file, or it holds something else.
            ValueError: If it is an encoder of another class.
        """
        from pcm3.hub import load_encoder  # noqa: PLC0415

        encoder = load_encoder(path).encoder
        if not isinstance(encoder, cls):
            raise ValueError(f"expected a {cls.__name__} in {path}, got {type(encoder).__name__}")
        return encoder

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, JSON-able, that build an encoder of this shape again."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to build it again")

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
                f"expected clips of {weight.dtype}, as the encoder's weights are, got {clips.dtype}"
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
