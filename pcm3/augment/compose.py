"""``Compose`` and ``OneOf``, which combine transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Generator, Tensor

from pcm3.augment.base import Described, Draw, select
from pcm3.checks import (
    check_clips,
    check_flag,
    check_probabilities,
    shorten,
    type_name,
)

__all__ = ["Compose", "OneOf"]

ClipTransform = Callable[..., Tensor]
"""``transform(clips, generator=...)``. If its attribute ``takes_lengths`` is true, lengths that are
known are passed as ``lengths=``. Its result then holds valid frames only, unless its attribute
``keeps_lengths`` is true and the lengths hold for the result too."""


class _Several(Described):
    """Holds transforms."""

    def __init__(self, transforms: tuple[ClipTransform, ...]) -> None:
        for transform in transforms:
            if not callable(transform) or isinstance(transform, type):
                raise ValueError(
                    f"expected transforms one by one, {type(self).__name__}(a, b), each to be "
                    f"called on clips; got {shorten(transform)}"
                )
        self.transforms = transforms

    @property
    def takes_lengths(self) -> bool:
        """Whether any of the transforms takes ``lengths``."""
        return any(_takes_lengths(transform) for transform in self.transforms)

    @property
    def keeps_lengths(self) -> bool:
        """Whether the lengths hold for the result too."""
        return all(map(_keeps_lengths, self.transforms))


class Compose(_Several):
    """Apply transforms in turn.

    Args:
        transforms: Callables ``transform(clips, generator=...)``. Without any, the identity.

    Raises:
        ValueError: If a transform cannot be called.

    Example:
        >>> import torch
        >>> from pcm3.augment import Shear, TemporalCropResize
        >>> view = Compose(TemporalCropResize(size=32), Shear(0.5))
        >>> view(torch.randn(2, 3, 100, 25, 2), lengths=torch.tensor([50, 100])).shape
        torch.Size([2, 3, 32, 25, 2])
    """

    def __init__(self, *transforms: ClipTransform) -> None:
        super().__init__(transforms)

    def __call__(
        self,
        clips: Tensor,
        lengths: Tensor | int | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Apply the transforms in turn, all with the same generator.

        Args:
            clips: ``(N, C, T, V, M)``, or one clip ``(C, T, V, M)``.
            lengths: Valid frames ``(N,)``. They are passed to the transforms that take them, up to
                the first after which all frames are valid, such as ``TemporalCropResize``.
            generator: Source of the random numbers, on the device of the clips.

        Raises:
            ValueError: If a transform refuses the clips, or lengths are given and no transform
                takes them, or one that does not take them changes the number of frames.
        """
        if lengths is not None and not self.takes_lengths:
            raise ValueError(f"expected no lengths, for no transform takes them: {self!r}")
        for transform in self.transforms:
            taken = (
                {"lengths": lengths} if lengths is not None and _takes_lengths(transform) else {}
            )
            result = transform(clips, generator=generator, **taken)
            _check_result(transform, result)
            if not _keeps_lengths(transform):
                lengths = None
            elif lengths is not None and result.shape[-3] != clips.shape[-3]:
                raise ValueError(
                    f"expected {type_name(transform)}, which changes the number of frames, "
                    f"after a transform that leaves valid frames only; got {self!r}"
                )
            clips = result
        return clips


class OneOf(_Several):
    """Apply exactly one of several transforms, drawn for each sample.

    Every transform runs on the whole batch, and each sample takes the result of one of them. This
    computes results that are not used, but needs no loop over samples and no synchronisation with
    the device. The results of the transforms must have equal shapes.

    Args:
        transforms: Callables ``transform(clips, generator=...)``, at least one.
        probabilities: One for each transform, summing to 1; equal by default.
        same_on_batch: Draw one transform for the whole batch. What the transform draws itself
            depends on its own ``same_on_batch``.

    Raises:
        ValueError: If there is no transform, one cannot be called, or the probabilities do not fit.

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
        super().__init__(transforms)
        if not transforms:
            raise ValueError("expected at least one transform, got none")
        if probabilities is not None:
            check_probabilities(probabilities, len(transforms))
            probabilities = tuple(probabilities)
        self.probabilities = probabilities
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def __call__(
        self,
        clips: Tensor,
        lengths: Tensor | int | None = None,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Apply one transform to every sample.

        Args:
            clips: ``(N, C, T, V, M)``, or one clip ``(C, T, V, M)``.
            lengths: Valid frames ``(N,)``. They are passed to the transforms that take them.
            generator: Source of the random numbers, on the device of the clips.

        Raises:
            ValueError: If a transform refuses the clips, the results differ in shape, or lengths
                are given that no transform takes, or that hold for only some of the results.
        """
        check_clips(clips, unbatched=True)
        if lengths is not None and not self.takes_lengths:
            raise ValueError(f"expected no lengths, for no transform takes them: {self!r}")
        if lengths is not None and len(set(map(_keeps_lengths, self.transforms))) > 1:
            raise ValueError(f"expected lengths to hold for all results or for none: {self!r}")
        batch = clips.unsqueeze(0) if clips.ndim == 4 else clips
        draw = Draw(batch, generator, self.same_on_batch)
        count = len(self.transforms)
        index = draw.choice(self.probabilities or (1 / count,) * count)
        given = {} if lengths is None else {"lengths": lengths}
        results = [
            transform(batch, generator=generator, **(given if _takes_lengths(transform) else {}))
            for transform in self.transforms
        ]
        for transform, result in zip(self.transforms, results, strict=True):
            _check_result(transform, result)
        if any(result.shape != results[0].shape for result in results):
            shapes = [tuple(result.shape) for result in results]
            raise ValueError(f"expected results of one shape, got {shapes}")
        result = select(results, index)
        return result.squeeze(0) if clips.ndim == 4 else result


def _takes_lengths(transform: ClipTransform) -> bool:
    return bool(getattr(transform, "takes_lengths", False))


def _keeps_lengths(transform: ClipTransform) -> bool:
    return not _takes_lengths(transform) or bool(getattr(transform, "keeps_lengths", False))


def _check_result(transform: ClipTransform, result: object) -> None:
    if not isinstance(result, Tensor):
        raise ValueError(
            f"result of {type_name(transform)}: expected a torch tensor, got {type_name(result)}"
        )
