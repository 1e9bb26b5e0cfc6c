"""The optimiser, and the learning rate over the epochs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from pcm3.methods.settings import TrainSettings


def make_optimizer(model: nn.Module, config: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of what is trained, as the settings say."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not config.decay_vectors:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    common: dict[str, Any] = {
        "lr": config.lr,
        "weight_decay": config.weight_decay,
        # fused ones unscale gradients themselves, after they would have been clipped
        "fused": not (config.precision == "fp16" and config.clip_norm > 0),
    }
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=config.betas, **common)
    return torch.optim.SGD(groups, momentum=0.9, **common)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(config: TrainSettings, epoch: float) -> float:
    """The rate at a fractional epoch: linear warm-up, then the schedule."""
    if epoch < config.warmup_epochs:
        return config.lr * epoch / config.warmup_epochs
    if config.schedule == "step":
        return config.lr * (0.1 if epoch >= config.drop_epoch else 1.0)
    done = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.min_lr + (config.lr - config.min_lr) * cosine
