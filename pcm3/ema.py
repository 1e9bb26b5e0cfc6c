"""The momentum (key) twin of a network."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pcm3.checks import check_number, type_name


class MomentumTwin(nn.Module):
    """A copy of a module whose parameters follow it slowly and never get gradients.

    Buffers are the twin's own: the batch statistics of a key encoder come from its own passes.

    A step of a slow twin is smaller than half precision can tell. Parameters of less than float32
    therefore have a float32 value beside them, which moves, and are its rounding. These values are
    not in the ``state_dict``: a twin that is loaded goes on from its parameters.

    Args:
        module: The module to copy.
        momentum: alpha in [0, 1): ``twin <- alpha * twin + (1 - alpha) * module``.

    Raises:
        ValueError: If it is no module, or the momentum is outside [0, 1].

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
        if not isinstance(module, nn.Module):
            raise ValueError(f"expected a torch module to copy, got {type_name(module)}")
        check_number("momentum", momentum)
        if not 0 <= momentum <= 1:
            raise ValueError(f"expected momentum in [0, 1], got {momentum}")
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.momentum = momentum
        self._exact: dict[int, Tensor] = {}

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Move every parameter towards the source's.

        Raises:
            ValueError: If the source has other parameters than the module that was copied.
        """
        pairs = _paired(self.module, source)
        for index, (own, theirs) in enumerate(pairs):
            wide = torch.promote_types(own.dtype, torch.float32)
            value = own if own.dtype == wide else self._exact_value(index, own)
            value.lerp_(theirs.to(wide), 1 - self.momentum)
            if value is not own:
                own.copy_(value)
                self._exact[index] = value

    def _exact_value(self, index: int, own: Tensor) -> Tensor:
        """What a parameter is the rounding of, in float32; itself where it was set since."""
        value = self._exact.get(index, own).to(own.device, torch.float32)
        return torch.where(value.to(own.dtype) == own, value, own.float())

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Call the copy without recording gradients."""
        return self.module(*inputs)

    def extra_repr(self) -> str:
        """The momentum."""
        return f"momentum={self.momentum}"


def _paired(own: nn.Module, source: nn.Module) -> list[tuple[nn.Parameter, nn.Parameter]]:
    if not isinstance(source, nn.Module):
        raise ValueError(f"expected the module that was copied, got {type_name(source)}")
    mine, theirs = list(own.named_parameters()), list(source.parameters())
    if len(mine) != len(theirs):
        raise ValueError(
            f"expected the module that was copied, of {len(mine)} parameters, got "
            f"{type(source).__name__} of {len(theirs)}"
        )
    for (name, one), other in zip(mine, theirs, strict=True):
        if one.shape != other.shape:
            raise ValueError(
                f"expected the module that was copied, with {name} {tuple(one.shape)}, got one "
                f"of {tuple(other.shape)}"
            )
    return [(one, other) for (_, one), other in zip(mine, theirs, strict=True)]
