"""``Compose`` and ``OneOf``, which combine transforms."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from pcm3.augment.base import Described, Draw, select
from pcm3.augment.mix import MixedClips
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
``keeps_lengths`` is true and the lengths hold for the result too. A transform that takes no lengths
treats all frames alike, and the lengths hold for its result if it keeps the number of frames."""


class _Several(Described):
    """Holds transforms."""

    def __init__(self, transforms: tuple[ClipTransform, ...]) -> None:
        for transform in transforms:
            if not callable(transform) or isinstance(transform, type):
                raise ValueError(
                    f"expected transforms one by one, {type(self).__name__}(a, b), each to be "
                    f"called on clips; got {shorten(transform)}"
                )
            if not _takes_generator(transform):
                raise ValueError(
                    f"expected transforms that can be called as transform(clips, generator=...), "
                    f"such as lambda clips, generator=None: 2 * clips; got {shorten(transform)}"
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

    Transforms are callables, not modules: use this class instead of ``torch.nn.Sequential``. A mask
    can only be the last. Call a mix on the result.

    Args:
        transforms: Callables ``transform(clips, generator=...)``. Without any, the identity.

    Raises:
        ValueError: If a transform cannot be called in this way.

    Example:
        >>> import torch
        >>> from pcm3.augment import Shear, TemporalCropResize
        >>> view = Compose(TemporalCropResize(size=32, scale=(0.5, 1)), Shear(0.5))
        >>> view(torch.randn(2, 3, 64, 25, 2), lengths=torch.tensor([50, 64])).shape
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
            ValueError: If a transform refuses the clips, a mask is followed by a transform,
                lengths are given and none takes them, or a transform takes lengths that no longer
                hold, as an earlier one, such as ``MotionFrameDrop``, changed the number of frames.
        """
        if lengths is not None and not self.takes_lengths:
            raise ValueError(f"expected no lengths, for no transform takes them: {self!r}")
        changed: ClipTransform | None = None  # the number of frames, so that lengths do not hold
        for transform in self.transforms:
            if isinstance(clips, Tensor) and clips.dtype == torch.bool:
                raise ValueError(
                    f"expected clips for {type_name(transform)}, got a mask, which only the last "
                    "transform may return"
                )
            if lengths is not None and changed is not None and _takes_lengths(transform):
                raise ValueError(
                    f"expected {type_name(transform)}, which takes lengths, before "
                    f"{type_name(changed)}, which changes the number of frames"
                )
            result = _call(transform, clips, lengths, generator)
            if not _keeps_lengths(transform):
                lengths = None
            elif result.shape[-3:-2] != clips.shape[-3:-2]:
                changed = transform
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
        results = [_call(transform, batch, lengths, generator) for transform in self.transforms]
        if any(result.shape != results[0].shape for result in results):
            shapes = [tuple(result.shape) for result in results]
            raise ValueError(f"expected results of one shape, got {shapes}")
        result = select(results, index)
        return result.squeeze(0) if clips.ndim == 4 else result


def _takes_lengths(transform: ClipTransform) -> bool:
    return bool(getattr(transform, "takes_lengths", False))


def _keeps_lengths(transform: ClipTransform) -> bool:
    return not _takes_lengths(transform) or bool(getattr(transform, "keeps_lengths", False))


def _takes_generator(transform: ClipTransform) -> bool:
    try:
        signature = inspect.signature(transform)
    except ValueError:  # some builtins have none
        return True
    try:
        signature.bind(None, generator=None)
    except TypeError:
        return False
    return True


def _call(
    transform: ClipTransform,
    clips: Tensor,
    lengths: Tensor | int | None,
    generator: Generator | None,
) -> Tensor:
    """Call a transform, with the lengths if it takes them."""
    given = {} if lengths is None or not _takes_lengths(transform) else {"lengths": lengths}
    result: object = transform(clips, **given, generator=generator)
    if not isinstance(result, Tensor):
        advice = "; call the mix on the result" if isinstance(result, MixedClips) else ""
        raise ValueError(
            f"result of {type_name(transform)}: expected a torch tensor, got {type_name(result)}"
            f"{advice}"
        )
    return result
