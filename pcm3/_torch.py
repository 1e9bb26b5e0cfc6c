"""Helpers for PyTorch: device, precision, constant indices, recurrent layers."""

from __future__ import annotations

from functools import lru_cache

import torch
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


def index_tensor(values: tuple[int, ...], device: torch.device) -> Tensor:
    """The values as an integer tensor on a device, which must not be modified."""
    if torch.compiler.is_compiling():  # a constant of the graph, so no cache is needed
        return torch.tensor(values, device=device)
    return _kept(values, device)


@lru_cache(maxsize=128)
def _kept(values: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # as a later caller may need gradients
        return torch.tensor(values, device=device)


def recur(gru: nn.GRU, frames: Tensor) -> Tensor:
    """The outputs of a GRU for a sequence of frames ``(N, T, D)``.

    Within bfloat16 autocast on a GPU it runs in float32, with TF32 products if these are allowed.
    There torch would run it in float16, whose range is too small for unscaled gradients.
    """
    device = frames.device.type
    reduced = device == "cuda" and torch.is_autocast_enabled(device)
    outputs: Tensor
    if reduced and torch.get_autocast_dtype(device) is torch.bfloat16:
        with torch.autocast(device, enabled=False):
            outputs = gru(frames.float())[0]
    else:
        outputs = gru(frames)[0]
    return outputs
