"""The check that features have the shape that a head expects."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pcm3.checks import shape_or_type


def check_shape(what: str, value: Tensor, ndim: int, axes: Mapping[int, tuple[str, int]]) -> None:
    """Require a tensor of a number of axes, some of which have known sizes.

    Args:
        what: Name and shape of the value for the message, such as ``"features (N, D)"``.
        value: The value.
        ndim: Number of axes.
        axes: Letter and size of each axis whose size is known, by the position of the axis.

    Raises:
        ValueError: If the value is no tensor or has another shape.
    """
    fits = isinstance(value, Tensor) and value.ndim == ndim
    if not fits or any(value.shape[axis] != size for axis, (_, size) in axes.items()):
        sizes = " and ".join(f"{name}={size}" for name, size in axes.values())
        raise ValueError(f"expected {what} with {sizes}, got {shape_or_type(value)}")
