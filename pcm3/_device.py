"""The device to compute on, and how exactly."""

from __future__ import annotations

import torch


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
