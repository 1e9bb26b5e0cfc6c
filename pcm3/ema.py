"""The momentum (key) twin of a network."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class MomentumTwin(nn.Module):
    """A copy of a module whose parameters follow it slowly and never get gradients.

    Buffers are the twin's own: the batch statistics of a key encoder come from its own passes.

    Args:
        module: The module to copy.
        momentum: alpha in [0, 1): ``twin <- alpha * twin + (1 - alpha) * module``.

    Raises:
        ValueError: If the momentum is outside [0, 1].

    Source:
        MoCo (He et al., CVPR 2020); PCM3 Sec. 3.1.

    Example:
        >>> source = nn.Linear(1, 1, bias=False)
        >>> twin = MomentumTwin(source, momentum=0.9)
        >>> _ = source.weight.data.add_(1.0)
        >>> before = twin.module.weight.item()
        >>> twin.update(source)
        >>> round(twin.module.weight.item() - before, 4)
        0.1
    """

    def __init__(self, module: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"expected momentum in [0, 1], got {momentum}")
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Move every parameter towards the source's."""
        for own, theirs in zip(self.module.parameters(), source.parameters(), strict=True):
            own.lerp_(theirs.to(own.dtype), 1 - self.momentum)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Call the copy without recording gradients."""
        return self.module(*inputs)

    def extra_repr(self) -> str:
        """The momentum."""
        return f"momentum={self.momentum}"
