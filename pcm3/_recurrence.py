"""How recurrent layers run in reduced precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
