"""The steps that an optimiser takes while something is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook


def steps_of(train: Callable[[], Any]) -> list[list[dict[str, Any]]]:
    """The parameter groups of every step of an optimiser."""
    seen: list[list[dict[str, Any]]] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: seen.append([dict(group) for group in optimizer.param_groups])
    )
    try:
        train()
    finally:
        hook.remove()
    return seen
