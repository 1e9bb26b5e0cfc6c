"""Checks of what callers hand in, shared by every public entry point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def check_clips(
    clips: Tensor,
    *,
    joints: int | None = None,
    channels: int | None = None,
    persons: int | None = None,
    finite: bool = False,
    unbatched: bool = False,
) -> None:
    """Require clips ``(N, C, T, V, M)`` of the given sizes, or say what came instead.

    Args:
        clips: What the caller passed.
        joints: Required V, where given.
        channels: Required C, where given.
        persons: Required M, where given.
        finite: Also refuse NaN and infinity. On an accelerator this check is left out: it would
            make the host wait for the device.
        unbatched: Also take one clip ``(C, T, V, M)``. Its C is at most 3, for with more it is
            likely a batch ``(N, C, T, V)`` that lacks the axis of persons.

    Raises:
        ValueError: With the expected and the received type or shape, or the first bad entry.
    """
    check_tensor("clips", clips)
    one = unbatched and clips.ndim == 4 and clips.shape[0] <= 3
    sizes = ((-4, channels), (-2, joints), (-1, persons))
    fits = (clips.ndim == 5 or one) and all(
        size is None or clips.shape[axis] == size for axis, size in sizes
    )
    if not fits or 0 in clips.shape:
        layout = f"C{_equals(channels)}, T, V{_equals(joints)}, M{_equals(persons)})"
        or_one = f", or one clip ({layout} with C at most 3" if unbatched else ""
        and_all = ", nothing of it empty" if fits else ""
        got = tuple(clips.shape)
        raise ValueError(f"expected clips (N, {layout}{or_one}{and_all}, got {got}")
    if not clips.is_floating_point():
        raise ValueError(f"expected floating-point clips, got {clips.dtype}")
    if finite and clips.device.type == "cpu" and not _all_finite(clips):
        sample, _, frame, joint, person = (~clips.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            "expected finite coordinates, got NaN or infinity in "
            f"sample {sample}, frame {frame}, joint {joint}, person {person}"
        )


def _all_finite(values: Tensor) -> bool:
    # a sum takes a tenth of the time, and is finite only if all are
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def check_tensor(name: str, value: object) -> None:
    """Require a tensor.

    Raises:
        ValueError: Naming the argument and the type that came instead.
    """
    from torch import Tensor  # noqa: PLC0415 - readers check their settings without it

    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a torch tensor, got {type_name(value)}")


def type_name(value: object) -> str:
    """``numpy.ndarray`` for an array, ``list`` for a list."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def check_at_least(name: str, value: float, least: float) -> None:
    """Require a number of at least ``least``; NaN is none.

    Raises:
        ValueError: Naming it, the bound and what came.
    """
    if not value >= least:
        raise ValueError(f"expected {name} >= {least}, got {value}")


def check_different(name: str, values: Sequence[object]) -> None:
    """Require that nothing is there twice.

    Raises:
        ValueError: Naming the argument and its values.
    """
    if len(set(values)) < len(values):
        raise ValueError(f"expected different {name}, got {tuple(values)}")


def check_increasing(name: str, values: Sequence[float]) -> None:
    """Require that every value is larger than the one before.

    Raises:
        ValueError: Naming the argument and its values.
    """
    if any(after <= before for before, after in pairwise(values)):
        raise ValueError(f"expected {name} that increase, got {tuple(values)}")


def check_positive(name: str, value: float) -> None:
    """Require a number above zero.

    Raises:
        ValueError: Naming the argument and its value.
    """
    if not value > 0:
        raise ValueError(f"expected {name} > 0, got {value}")


def check_seed(seed: int) -> None:
    """Require a seed that numpy, torch and scikit-learn all take.

    Raises:
        ValueError: With what came.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"expected seed in [0, 2**32), got {seed}")


def check_not_empty(name: str, values: Sequence[object]) -> None:
    """Require at least one value.

    Raises:
        ValueError: Naming what has none.
    """
    if not len(values):
        raise ValueError(f"expected at least one of {name}, got none")


def _equals(size: int | None) -> str:
    return "" if size is None else f"={size}"
