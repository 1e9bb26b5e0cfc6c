"""Learning rates over training, and which parameters share one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pcm3.methods.settings import TrainSettings


def schedule(
    epoch: float,
    epochs: float,
    *,
    high: float = 1.0,
    low: float = 0.0,
    warmup: float = 0.0,
    drops: Sequence[float] | None = None,
) -> float:
    """The learning rate at a fractional epoch.

    Args:
        epoch: In [0, epochs).
        epochs: Where training ends.
        high: The rate after the warm-up.
        low: Where the cosine ends.
        warmup: Epochs over which the rate rises linearly from 0.
        drops: Epochs at which the rate falls tenfold; None lets it fall along a half cosine.
    """
    if epoch < warmup:
        return high * epoch / warmup
    if drops is not None:
        return high * 0.1 ** sum(epoch >= drop for drop in drops)
    done = (epoch - warmup) / (epochs - warmup)
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * done))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to a multiple of its first one."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    *,
    decay_vectors: bool = False,
    scales: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """The trained parameters, those of one learning rate and weight decay together.

    Args:
        model: The model.
        lr: Learning rate.
        weight_decay: Of parameters of two axes or more.
        decay_vectors: Whether others, biases and weights of normalisations, decay as well.
        scales: Factors of the learning rate by parameter name; 1 for names that are not in it.

    Returns:
        Groups for an optimiser of torch, those that decay first.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            still = parameter.ndim <= 1 and not decay_vectors
            groups.setdefault((still, (scales or {}).get(name, 1.0)), []).append(parameter)
    return [
        {
            "params": groups[still, scale],
            "lr": lr * scale,
            "weight_decay": 0.0 if still else weight_decay,
        }
        for still, scale in sorted(groups, key=lambda key: key[0])
    ]


def make_optimizer(model: nn.Module, config: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of pretraining."""
    groups = parameter_groups(
        model, config.lr, config.weight_decay, decay_vectors=config.decay_vectors
    )
    # fused ones unscale gradients themselves, after they would have been clipped
    fused = not (config.precision == "fp16" and config.clip_norm > 0)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=config.betas, fused=fused)
    return torch.optim.SGD(groups, momentum=0.9, fused=fused)


def learning_rate(config: TrainSettings, epoch: float) -> float:
    """The rate of pretraining at a fractional epoch."""
    return schedule(
        epoch,
        max(config.epochs, config.warmup_epochs + 1),  # a cosine takes an epoch at least
        high=config.lr,
        low=config.min_lr,
        warmup=config.warmup_epochs,
        drops=(config.drop_epoch,) if config.schedule == "step" else None,
    )
