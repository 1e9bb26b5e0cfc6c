"""Constant indices, copied to a device once: later uses do not wait for the host."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def index_tensor(values: tuple[int, ...], device: torch.device) -> Tensor:
    """The values as an integer tensor on a device; not to be written to."""
    if torch.compiler.is_compiling():  # a constant of the graph, which needs no cache
        return torch.tensor(values, device=device)
    return _kept(values, device)


@lru_cache(maxsize=128)
def _kept(values: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a later caller may need a gradient through its use
        return torch.tensor(values, device=device)
