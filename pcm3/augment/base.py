"""Base classes of the transforms: random draws, valid frames, unbatched clips and the repr."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from pcm3.checks import check_clips, check_generator, check_lengths, type_name
from pcm3.skeleton import Skeleton


class Draw:
    """Random values for the samples of one batch, float32 whatever the clips are.

    Args:
        clips: The batch; values are drawn on its device.
        generator: Source of the random numbers, by default that of the device.
        same_on_batch: Draw once and repeat the values for every sample.
        lengths: Valid frames ``(N,)``, or one number for all; T by default.

    Raises:
        ValueError: If the generator is on another device than the clips.
    """

    def __init__(
        self,
        clips: Tensor,
        generator: Generator | None,
        same_on_batch: bool,
        lengths: Tensor | int | None = None,
    ) -> None:
        check_generator(generator, clips.device)
        self.samples = clips.shape[0]
        self.device = clips.device
        self.generator = generator
        self._drawn = 1 if same_on_batch else self.samples
        self._clips, self._lengths = clips, lengths

    @property
    def valid(self) -> Tensor:
        """Valid frames ``(N,)``, int64.

        Raises:
            ValueError: If the lengths are not one integer or a tensor of integers in [1, T].
        """
        clips, lengths = self._clips, self._lengths
        if lengths is None:
            return torch.full((self.samples,), clips.shape[2], device=self.device)
        if isinstance(lengths, int):
            lengths = torch.full((self.samples,), lengths, device=self.device)
        elif isinstance(lengths, Tensor) and lengths.ndim == 0:
            lengths = lengths.expand(self.samples)
        check_lengths(lengths, clips)
        return lengths.long()

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """``(N, *shape)`` uniform in [low, high)."""
        # compiled code with a dynamic batch size accepts no generator, not even None
        given: dict[str, Any] = {} if self.generator is None else {"generator": self.generator}
        size = (self._drawn, *shape)
        unit: Tensor = torch.rand(size, device=self.device, dtype=torch.float32, **given)
        return (low + (high - low) * unit).expand(self.samples, *shape)

    def normal(self, *shape: int) -> Tensor:
        """``(N, *shape)`` from the normal distribution of mean 0 and variance 1."""
        given: dict[str, Any] = {} if self.generator is None else {"generator": self.generator}
        size = (self._drawn, *shape)
        drawn: Tensor = torch.randn(size, device=self.device, dtype=torch.float32, **given)
        return drawn.expand(self.samples, *shape)

    def integers(self, low: int, high: int | Tensor) -> Tensor:
        """``(N,)`` uniform in {low, ..., high}; ``high`` may differ between samples."""
        return low + (self.uniform() * (high - low + 1)).long()

    def choice(self, probabilities: Sequence[float]) -> Tensor:
        """``(N,)`` indices, index k with ``probabilities[k]``."""
        unit, index, reached = self.uniform(), torch.zeros((), device=self.device), 0.0
        for probability in probabilities[:-1]:
            reached += probability
            index = index + (unit >= reached)
        return index.long().expand(self.samples)

    def subset(self, *shape: int, count: int | Tensor) -> Tensor:
        """Boolean ``(N, *shape)`` with ``count`` True along the last axis, uniformly."""
        rank = self.uniform(*shape).argsort(-1).argsort(-1)
        return rank < (count[:, None] if isinstance(count, Tensor) else count)


class Described:
    """A repr that shows the constructor call."""

    def __repr__(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                shown += [repr(item) for item in value]
            else:
                value = value.name if isinstance(value, Skeleton) else value
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class Transform(Described, ABC):
    """A transform of clips ``(N, C, T, V, M)``, or of one clip ``(C, T, V, M)``."""

    same_on_batch: bool
    skeleton: Skeleton | None = None
    takes_lengths = False

    def __call__(
        self,
        clips: Tensor,
        lengths: Tensor | int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw values and apply them.

        Args:
            clips: ``(N, C, T, V, M)``, or one clip ``(C, T, V, M)``.
            lengths: Valid frames, integers ``(N,)`` in [1, T] on the device of the clips, or one
                number for all; T by default. Only if ``takes_lengths`` is true.
            generator: Source of the random numbers, on the device of the clips.

        Raises:
            ValueError: If the clips have another shape, the lengths are not integers in [1, T]
                (the range is checked on the CPU only), or the transform takes no lengths.
        """
        joints = None if self.skeleton is None else len(self.skeleton)
        check_clips(clips, joints=joints, unbatched=True)
        if lengths is not None and not self.takes_lengths:
            raise ValueError(
                f"expected no lengths, for {type(self).__name__} treats all frames alike; got "
                f"{type_name(lengths)}"
            )
        batch = clips.unsqueeze(0) if clips.ndim == 4 else clips
        result = self._transform(batch, Draw(batch, generator, self.same_on_batch, lengths))
        return result.squeeze(0) if clips.ndim == 4 else result

    @abstractmethod
    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        """The result for a batch ``(N, C, T, V, M)``."""


def select(candidates: Sequence[Tensor], index: Tensor) -> Tensor:
    """Select the i-th entry of ``candidates[index[i]]`` for every sample i."""
    chosen, *others = candidates
    for number, other in enumerate(others, start=1):
        chosen = torch.where((index == number).view(-1, *[1] * (other.ndim - 1)), other, chosen)
    return chosen


def share_of(count: int, ratio: float) -> int:
    """``int(count * ratio)``, robust to products just below a whole number."""
    return int(count * ratio + 1e-9)
