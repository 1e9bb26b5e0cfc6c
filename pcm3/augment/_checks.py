"""Checks of the ranges, values and frame ranges that the augmentations are given."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from pcm3._checks import check_clips, check_integers, check_number, check_tensor, readable, shorten
from pcm3.skeleton import Skeleton


def check_skeleton(skeleton: object) -> None:
    """Require a skeleton.

    Raises:
        ValueError: With what came.
    """
    if not isinstance(skeleton, Skeleton):
        raise ValueError(f"expected a Skeleton (pcm3.NTU25, say), got {skeleton!r:.80}")


def check_transforms(**transforms: object) -> None:
    """Require something to call on clips, or None, of each.

    Raises:
        ValueError: Naming the argument and what came instead.
    """
    for name, transform in transforms.items():
        if transform is not None and (not callable(transform) or isinstance(transform, type)):
            raise ValueError(
                f"expected {name} to be a transform to call on clips, Shear() say, got "
                f"{shorten(transform)}"
            )


def check_range(name: str, bounds: Sequence[float], low: float, high: float) -> None:
    """Require ``low <= bounds[0] <= bounds[1] <= high``.

    Raises:
        ValueError: Naming the argument and its value, or the type that came instead.
    """
    if not isinstance(bounds, Collection) or len(bounds) != 2:
        raise ValueError(f"expected {name} as two numbers (a, b), got {shorten(bounds)}")
    for bound in bounds:
        check_number(name, bound)
    if not low <= bounds[0] <= bounds[1] <= high:
        raise ValueError(f"expected {name} (a, b) with {low} <= a <= b <= {high}, got {bounds}")


def check_share(name: str, value: float) -> None:
    """Require a number in [0, 1].

    Raises:
        ValueError: Naming the argument and its value.
    """
    check_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"expected {name} in [0, 1], got {value}")


def check_probabilities(probabilities: Sequence[float], count: int) -> None:
    """Require ``count`` probabilities that sum to 1.

    Raises:
        ValueError: Showing the probabilities.
    """
    if not isinstance(probabilities, Collection):
        raise ValueError(f"expected {count} probabilities, got {shorten(probabilities)}")
    for probability in probabilities:
        check_number("a probability", probability)
    wrong_size = len(probabilities) != count
    if wrong_size or min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
        raise ValueError(
            f"expected {count} probabilities >= 0 that sum to 1, got {tuple(probabilities)}"
        )


def check_batch_or_clip(clips: Tensor, joints: int | None = None) -> None:
    """Require clips ``(N, C, T, V, M)`` or one clip ``(C, T, V, M)`` with C at most 3.

    Raises:
        ValueError: Naming the expected and the received shape.
    """
    check_clips(clips, joints=joints, unbatched=True)


def check_values(
    name: str, values: Tensor, clips: Tensor, *shape: int, dtype: torch.dtype | None = None
) -> None:
    """Require values ``(N, *shape)`` for a batch of clips, ``shape`` for one clip.

    Raises:
        ValueError: Naming the expected and the received type, shape or dtype.
    """
    check_tensor(name, values)
    expected = (*clips.shape[:-4], *shape)
    if tuple(values.shape) != expected:
        raise ValueError(
            f"expected {name} {expected} for clips {tuple(clips.shape)}, got {tuple(values.shape)}"
        )
    if values.device != clips.device:
        raise ValueError(
            f"expected {name} on {clips.device}, where the clips are, got them on {values.device}"
        )
    if dtype is not None and values.dtype != dtype:
        raise ValueError(f"expected {name} of {dtype}, got {values.dtype}")


def check_lengths(lengths: Tensor, clips: Tensor) -> None:
    """Require valid frames ``(N,)`` in [1, T] for a batch, a scalar for one clip.

    The range is looked at where ``readable`` says that values can be read.

    Raises:
        ValueError: Naming the first bad length, the type, the shape or the dtype.
    """
    check_tensor("lengths", lengths)
    samples, frames = tuple(clips.shape[:-4]), clips.shape[-3]
    if tuple(lengths.shape) != samples:
        wanted = f"(N={samples[0]},)" if samples else "() for one clip"
        raise ValueError(f"expected lengths {wanted}, got {tuple(lengths.shape)}")
    check_integers("lengths", lengths)
    if lengths.device != clips.device:
        raise ValueError(
            f"expected lengths on {clips.device}, where the clips are, got them on {lengths.device}"
        )
    if not readable(lengths):
        return
    inside = (lengths >= 1) & (lengths <= frames)
    if not bool(inside.all()):
        index = int((~inside).flatten().nonzero()[0])
        raise ValueError(
            f"expected lengths in [1, T={frames}], got {int(lengths.flatten()[index])} "
            f"in sample {index}"
        )


def check_frame_ranges(clips: Tensor, starts: Tensor, lengths: Tensor) -> None:
    """Require one non-empty range of frames for every clip, within the clip.

    The range is looked at where ``readable`` says that values can be read.

    Raises:
        ValueError: Naming the first bad range, the shape or the dtype.
    """
    for name, values in (("starts", starts), ("lengths", lengths)):
        check_values(name, values, clips)
        check_integers(name, values)
    if not (readable(starts) and readable(lengths)):
        return
    inside = (starts >= 0) & (lengths >= 1) & (starts + lengths <= clips.shape[-3])
    if not bool(inside.all()):
        index = int((~inside).flatten().nonzero()[0])
        raise ValueError(
            f"expected 0 <= start, 1 <= length and start + length <= T={clips.shape[-3]}, got "
            f"start {int(starts.flatten()[index])} and length {int(lengths.flatten()[index])} "
            f"in sample {index}"
        )
