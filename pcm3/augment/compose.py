"""Several transforms as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Generator, Tensor

from pcm3.augment._checks import check_probabilities
from pcm3.augment._draw import Described, Draw, Transform, select

__all__ = ["Compose", "OneOf"]


class ClipTransform(Protocol):
    """Anything that can be composed: clips in, clips out, with ``generator=``."""

    def __call__(self, clips: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Transform ``(N, C, T, V, M)`` or one clip ``(C, T, V, M)``."""


class Compose(Described):
    """Apply transforms in turn.

    Args:
        transforms: Callables ``transform(clips, generator=...)``; none is the identity.

    Example:
        >>> import torch
        >>> from pcm3.augment import Rotate, Shear
        >>> Compose(Shear(0.5), Rotate(10))(torch.randn(3, 64, 25, 2)).shape
        torch.Size([3, 64, 25, 2])
    """

    def __init__(self, *transforms: ClipTransform) -> None:
        self.transforms = transforms

    def __call__(self, clips: Tensor, generator: Generator | None = None) -> Tensor:
        """Apply the transforms in turn, all with the same generator.

        Args:
            clips: ``(N, C, T, V, M)``, or one clip ``(C, T, V, M)``.
            generator: Source of the random numbers, on the device of the clips.

        Raises:
            ValueError: If a transform refuses the clips.
        """
        for transform in self.transforms:
            clips = transform(clips, generator=generator)
        return clips


class OneOf(Transform):
    """Apply exactly one of several transforms, drawn for each sample.

    Every transform runs on the whole batch and each sample takes the result of its own: no waiting
    for the device and no loop over samples, for the price of the unused results. The transforms
    must agree on the shape of their result.

    Args:
        transforms: Callables ``transform(clips, generator=...)``, at least one.
        probabilities: One for each transform, summing to 1; equal by default.
        same_on_batch: Draw one transform for the whole batch. What it draws itself is its own
            ``same_on_batch``.

    Raises:
        ValueError: If there is no transform, or the probabilities do not fit.

    Example:
        >>> import torch
        >>> from pcm3.augment import JointJitter, Shear
        >>> OneOf(JointJitter(), Shear())(torch.randn(2, 3, 64, 25, 2)).shape
        torch.Size([2, 3, 64, 25, 2])
    """

    def __init__(
        self,
        *transforms: ClipTransform,
        probabilities: Sequence[float] | None = None,
        same_on_batch: bool = False,
    ) -> None:
        if not transforms:
            raise ValueError("expected at least one transform, got none")
        if probabilities is not None:
            check_probabilities(probabilities, len(transforms))
            probabilities = tuple(probabilities)
        self.transforms = transforms
        self.probabilities = probabilities
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        count = len(self.transforms)
        index = draw.choice(self.probabilities or (1 / count,) * count)
        results = [transform(clips, generator=draw.generator) for transform in self.transforms]
        if len({result.shape for result in results}) > 1:
            shapes = [tuple(result.shape) for result in results]
            raise ValueError(f"expected results of one shape, got {shapes}")
        return select(results, index)
