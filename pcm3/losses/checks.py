"""Checks of the arguments of losses, and their precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor

from pcm3.checks import check_unit_rows, readable, shape_or_type

Reduction = Literal["mean", "none"]
REDUCTIONS = get_args(Reduction)


def in_float32(tensor: Tensor) -> AbstractContextManager[None]:
    """Return a context without autocast; the device ``meta`` has none to disable."""
    device = tensor.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def check_pair(name: str, tensor: Tensor, other_name: str, other: Tensor, dims: int = 2) -> None:
    """Require two floating-point tensors of one shape and device.

    Raises:
        ValueError: If they do not fit each other, or there is no sample.
    """
    tensors = isinstance(tensor, Tensor) and isinstance(other, Tensor)
    if not tensors or tensor.ndim != dims or tensor.shape != other.shape:
        layout = "(N, D)" if dims == 2 else "(N, C, T, V, M)"
        raise ValueError(
            f"expected {name} and {other_name} as tensors of one shape {layout}, got "
            f"{shape_or_type(tensor)} and {shape_or_type(other)}"
        )
    check_device(other_name, other, name, tensor)
    if len(tensor) == 0:
        raise ValueError(f"expected {name} of one sample or more, got {tuple(tensor.shape)}")
    for its_name, value in ((name, tensor), (other_name, other)):
        if not value.is_floating_point():
            raise ValueError(f"expected floating-point {its_name}, got {value.dtype}")


def check_normalized(**embeddings: Tensor) -> None:
    """Require embeddings ``(N, D)`` of length 1 to within 1 %, if values are ``readable``.

    Raises:
        ValueError: If one has another length; the message names it.
    """
    for name, rows in embeddings.items():
        if readable(rows):
            check_unit_rows(name, rows)


def check_width(name: str, anchors: Tensor, embeddings: Tensor) -> None:
    """Require anchors ``(K, D)`` for embeddings ``(N, D)``.

    Raises:
        ValueError: If width or device differ, or there is no anchor.
    """
    width = embeddings.shape[1]
    rows = isinstance(anchors, Tensor) and anchors.ndim == 2
    if not rows or anchors.shape[1] != width or len(anchors) == 0:
        hint = "" if isinstance(anchors, Tensor) else ": the anchors of a MemoryQueue, say"
        if rows and len(anchors) == width:
            hint = ": are size and dim swapped, MemoryQueue(size=K, dim=D)?"
        raise ValueError(f"expected {name} (K, D={width}), got {shape_or_type(anchors)}{hint}")
    check_device(name, anchors, "the embeddings", embeddings)


def check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Require tensors on one device.

    Raises:
        ValueError: If they are on different ones.
    """
    if tensor.device != other.device:
        raise ValueError(
            f"expected {name} on {other.device}, like {other_name}, got {tensor.device}"
        )


def check_reduction(reduction: str) -> None:
    """Require ``"mean"`` or ``"none"``.

    Raises:
        ValueError: If the reduction is unknown.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"expected a reduction among {REDUCTIONS}, got {reduction!r}")
