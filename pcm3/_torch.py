"""What several parts ask of PyTorch: the device, constant indices, recurrent layers, memory."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn


def find_device(accelerator: str = "auto") -> torch.device:
    """The device that an accelerator's name stands for.

    Args:
        accelerator: cpu, cuda, mps or another that torch knows; auto is the CPU where there is
            no other.

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
            f"expected accelerator {' or '.join(names)}, got {accelerator!r}: this machine, or "
            "this build of PyTorch, has no such one"
        )
    return names[accelerator]


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may round the factors of float32 products to 10 bits, for speed.

    PyTorch by itself lets recurrent layers and convolutions do so and nothing else.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def index_tensor(values: tuple[int, ...], device: torch.device) -> Tensor:
    """The values as an integer tensor on a device; not to be written to."""
    if torch.compiler.is_compiling():  # a constant of the graph, which needs no cache
        return torch.tensor(values, device=device)
    return _kept(values, device)


@lru_cache(maxsize=128)
def _kept(values: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a later caller may need a gradient through its use
        return torch.tensor(values, device=device)


def recur(gru: nn.GRU, frames: Tensor) -> Tensor:
    """The outputs of a GRU for a sequence of frames ``(N, T, D)``.

    Within bfloat16 autocast on a GPU, where torch would run it in float16, out of whose range
    unscaled gradients fall, it runs in float32; with TF32 products where those are allowed.
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
