"""Helpers for PyTorch: device, precision, constant indices, all processes, recurrent layers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def find_device(accelerator: str = "auto") -> torch.device:
    """The device for the name of an accelerator.

    Args:
        accelerator: cpu, cuda, mps or another that torch knows, or auto, which is the CPU if there
            is no accelerator.

    Raises:
        ValueError: If there is no such accelerator.
    """
    cpu, found = torch.device("cpu"), None
    if torch.accelerator.is_available():
        found = torch.accelerator.current_accelerator()
    best = found or cpu
    names = {"auto": best, "cpu": cpu, best.type: best}
    if accelerator not in names:
        raise ValueError(
            f"expected accelerator {' or '.join(names)}, got {accelerator!r}, which this machine "
            "or this build of PyTorch does not have"
        )
    return names[accelerator]


def allow_tf32(allowed: bool) -> None:
    """Set whether GPUs may round the factors of float32 products to 10 bits (TF32), for speed.

    By default PyTorch allows this for recurrent layers and convolutions only.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy values to a device; the host does not wait for a GPU that is still computing."""
    if device.type == "cuda":
        values = values.pin_memory()  # no copy if they lie so already
    return values.to(device, non_blocking=True)


def index_tensor(values: tuple[int, ...], device: torch.device) -> Tensor:
    """The values as an integer tensor on a device, which must not be modified."""
    if torch.compiler.is_compiling():  # a constant of the graph, so no cache is needed
        return torch.tensor(values, device=device)
    return _kept(values, device)


@lru_cache(maxsize=128)
def _kept(values: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # as a later caller may need gradients
        return torch.tensor(values, device=device)


class _Gather(torch.autograd.Function):
    """Rows of all processes, of which every process computes the same loss."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # times the number of processes, over which the gradients of weights are averaged
        start = dist.get_rank() * ctx.count
        return gradient[start : start + ctx.count] * dist.get_world_size()


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows ``(N, ...)`` of all processes in rank order.

    Every process must have the same number of rows. Gradients are right if every process computes
    the same loss of the result, and gradients of weights are averaged over the processes.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def recur(gru: nn.GRU, frames: Tensor) -> Tensor:
    """The outputs of a GRU of one layer for a sequence of frames ``(N, T, D)``.

    Within bfloat16 autocast on a GPU it runs in bfloat16, or in float32 on a GPU or with a build
    that has no recurrent layers in bfloat16. There torch would run it in float16, whose range is
    too small for unscaled gradients.
    """
    device = frames.device.type
    reduced = device == "cuda" and torch.is_autocast_enabled(device)
    outputs: Tensor
    if reduced and torch.get_autocast_dtype(device) is torch.bfloat16:
        with torch.autocast(device, enabled=False):
            dtype = torch.bfloat16 if _recurs_in_bfloat16(frames.device) else torch.float32
            outputs = recur_in(dtype, gru, frames)
    else:
        outputs = gru(frames)[0]
    return outputs


def recur_in(dtype: torch.dtype, gru: nn.GRU, frames: Tensor) -> Tensor:
    """The outputs ``(N, T, H)`` of a GRU of one layer whose weights are cast to a dtype."""
    weights = gru.all_weights[0]
    if weights[0].dtype == dtype:
        outputs: Tensor = gru(frames.to(dtype))[0]
        return outputs
    # one piece of memory, as cuDNN wants it; otherwise it would copy the weights once more
    cast = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    parts = cast.split([weight.numel() for weight in weights])
    parts = [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
    state = frames.new_zeros(1, len(frames), gru.hidden_size, dtype=dtype)
    # weights, biases, layers, dropout, training, bidirectional, batch_first
    return torch.gru(frames.to(dtype), state, parts, True, 1, 0.0, gru.training, False, True)[0]


@lru_cache(maxsize=16)
def _recurs_in_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA device and this build of PyTorch have fast recurrent layers in bfloat16."""
    sample = torch.zeros(1, dtype=torch.bfloat16, device=device)
    return torch.cuda.get_device_capability(device) >= (8, 0) and torch.cudnn_is_acceptable(sample)
