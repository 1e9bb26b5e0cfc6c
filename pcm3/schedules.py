"""Learning-rate schedules, parameter groups and the optimiser of pretraining."""

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
    """Learning rate at a fractional epoch.

    Args:
        epoch: Fractional epoch in [0, epochs).
        epochs: Total number of epochs.
        high: Rate after the warm-up.
        low: Rate at the end of the cosine.
        warmup: Epochs over which the rate rises linearly from 0.
        drops: Epochs at which the rate falls tenfold; None for a half cosine instead.
    """
    if epoch < warmup:
        return high * epoch / warmup
    if drops is not None:
        return high * 0.1 ** sum(epoch >= drop for drop in drops)
    done = (epoch - warmup) / (epochs - warmup)
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * done))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply the initial learning rate of every parameter group by a factor."""
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
    """Group the trainable parameters by learning rate and weight decay.

    Args:
        model: The model.
        lr: Learning rate.
        weight_decay: Weight decay of parameters with two or more axes.
        decay_vectors: Whether weight decay also applies to parameters with one axis, such as
            biases and weights of normalisations.
        scales: Learning-rate factor by parameter name; 1 for names that are missing.

    Returns:
        Parameter groups for a torch optimiser, those with weight decay first.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim <= 1 and not decay_vectors
            groups.setdefault((exempt, (scales or {}).get(name, 1.0)), []).append(parameter)
    return [
        {
            "params": groups[exempt, scale],
            "lr": lr * scale,
            "weight_decay": 0.0 if exempt else weight_decay,
        }
        for exempt, scale in sorted(groups, key=lambda key: key[0])
    ]


def make_optimizer(model: nn.Module, config: TrainSettings) -> torch.optim.Optimizer:
    """Build the optimiser of pretraining."""
    groups = parameter_groups(
        model, config.lr, config.weight_decay, decay_vectors=config.decay_vectors
    )
    # a fused optimiser unscales gradients itself, which is too late for clipping
    fused = not (config.precision == "fp16" and config.clip_norm > 0)
    if config.optimizer != "sgd":
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        return kind(groups, betas=config.betas, fused=fused)
    return torch.optim.SGD(groups, momentum=0.9, fused=fused)


def learning_rate(config: TrainSettings, epoch: float) -> float:
    """Learning rate of pretraining at a fractional epoch."""
    return schedule(
        epoch,
        max(config.epochs, config.warmup_epochs + 1),  # a cosine takes at least one epoch
        high=config.lr,
        low=config.min_lr,
        warmup=config.warmup_epochs,
        drops=(config.drop_epoch,) if config.schedule == "step" else None,
    )
