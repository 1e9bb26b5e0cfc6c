"""Checks of what callers hand in, shared by every public entry point."""

from __future__ import annotations

import torch
from torch import Tensor


def check_clips(
    clips: Tensor,
    *,
    joints: int | None = None,
    channels: int | None = None,
    persons: int | None = None,
    finite: bool = False,
) -> None:
    """Require clips ``(N, C, T, V, M)`` of the given sizes, or say what came instead.

    Args:
        clips: What the caller passed.
        joints: Required V, where given.
        channels: Required C, where given.
        persons: Required M, where given.
        finite: Also refuse NaN and infinity. On an accelerator this check is left out: it would
            make the host wait for the device.

    Raises:
        ValueError: With the expected and the received shape, or the first bad entry.
    """
    wanted = f"(N, C{_equals(channels)}, T, V{_equals(joints)}, M{_equals(persons)})"
    fits = clips.ndim == 5 and all(
        size is None or clips.shape[axis] == size
        for axis, size in ((1, channels), (3, joints), (4, persons))
    )
    if not fits or 0 in clips.shape:
        raise ValueError(f"expected clips {wanted}, got {tuple(clips.shape)}")
    if not clips.is_floating_point():
        raise ValueError(f"expected floating-point clips, got {clips.dtype}")
    if finite and clips.device.type == "cpu" and not bool(torch.isfinite(clips).all()):
        sample, _, frame, joint, person = (~torch.isfinite(clips)).nonzero()[0].tolist()
        raise ValueError(
            "expected finite coordinates, got NaN or infinity in "
            f"sample {sample}, frame {frame}, joint {joint}, person {person}"
        )


def check_positive(name: str, value: float) -> None:
    """Require a number above zero.

    Raises:
        ValueError: Naming the argument and its value.
    """
    if not value > 0:
        raise ValueError(f"expected {name} > 0, got {value}")


def _equals(size: int | None) -> str:
    return "" if size is None else f"={size}"
