"""The momentum (key) twin of a network."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pcm3.checks import check_number, type_name


class MomentumTwin(nn.Module):
    """A copy of a module whose parameters follow it slowly and never get gradients.

    The twin has buffers of its own: the batch statistics of a key encoder come from its passes.

    A step of a slow twin is below the resolution of half precision. Parameters of less than
    float32 are therefore rounded copies of float32 values, which are updated. These values are not
    part of the ``state_dict``; a loaded twin continues from its parameters.

    Args:
        module: The module to copy.
        momentum: alpha in [0, 1]: ``twin <- alpha * twin + (1 - alpha) * module``. With 1, at which
            some schedules end, the twin does not move.

    Raises:
        ValueError: If ``module`` is not a module, or the momentum is outside [0, 1].

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
        >>> twin(torch.ones(2, 1)).requires_grad
        False
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
    def update(self, source: nn.Module, momentum: float | Tensor | None = None) -> None:
        """Move every parameter towards the source's.

        Args:
            source: The module that was copied.
            momentum: Momentum of this update, such as that of a schedule; the twin's by default. A
                float32 scalar tensor on the device can change between replays of CUDA graphs.

        Raises:
            ValueError: If the source has other parameters than the module that was copied.
        """
        pairs = _paired(self.module, source)
        share = 1 - (self.momentum if momentum is None else momentum)
        for index, (parameter, target) in enumerate(pairs):
            wide = torch.promote_types(parameter.dtype, torch.float32)
            value = parameter if parameter.dtype == wide else self._exact_value(index, parameter)
            value.lerp_(target.to(wide), share)
            if value is not parameter:
                parameter.copy_(value)
                self._exact[index] = value

    def _exact_value(self, index: int, parameter: Tensor) -> Tensor:
        """The float32 value of a parameter; the parameter itself if it has been set since."""
        value = self._exact.get(index, parameter).to(parameter.device, torch.float32)
        return torch.where(value.to(parameter.dtype) == parameter, value, parameter.float())

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Call the copy without recording gradients."""
        return self.module(*inputs)

    def extra_repr(self) -> str:
        """The momentum."""
        return f"momentum={self.momentum}"


def _paired(twin: nn.Module, source: nn.Module) -> list[tuple[nn.Parameter, nn.Parameter]]:
    if not isinstance(source, nn.Module):
        raise ValueError(f"expected the module that was copied, got {type_name(source)}")
    parameters, targets = dict(twin.named_parameters()), list(source.parameters())
    if len(parameters) != len(targets):
        raise ValueError(
            f"expected the module that was copied, of {len(parameters)} parameters, got "
            f"{type(source).__name__} of {len(targets)}"
        )
    for (name, parameter), target in zip(parameters.items(), targets, strict=True):
        if parameter.shape != target.shape:
            raise ValueError(
                f"expected the module that was copied, with {name} {tuple(parameter.shape)}, got "
                f"one of {tuple(target.shape)}"
            )
    return list(zip(parameters.values(), targets, strict=True))
