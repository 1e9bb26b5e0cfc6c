"""The learning rate in every epoch of pretraining beside the recorded one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from golden_rows import Recorded, Row, absolute, relative

from pcm3.training.config import TrainConfig
from pcm3.training.optimization import learning_rate, make_optimizer
from pcm3.training.presets import get_preset

PRESETS = {"pcm3_pretrain/command": "ntu60-xsub", "mamp_pretrain/command": "ntu60-xsub-mamp"}
"""Published commands, and the presets that stand for them."""


def compare_pretraining(recorded: Recorded) -> Iterator[Row]:
    """Rates by the recorded settings, and those settings beside the preset's."""
    for call in sorted({name.rpartition("/")[0] for name in recorded}):
        drops = recorded.get(f"{call}/milestones", ())
        if "_pretrain/" not in call or len(drops) > 1:  # a second drop is in no published recipe
            continue
        settings = _settings(recorded, call)
        config = TrainConfig(**settings)
        rates = [learning_rate(config, epoch) for epoch in range(config.epochs)]
        yield relative("rates of pretraining", rates, recorded[f"{call}/rates"], 1e-9, call)
        if f"{call}/momentum" in recorded:
            group = make_optimizer(torch.nn.Linear(1, 1), config).param_groups[0]
            yield absolute("momentum", group["momentum"], recorded[f"{call}/momentum"], 0, call)
        if call in PRESETS:
            preset = get_preset(PRESETS[call]).train
            other = [name for name, value in settings.items() if getattr(preset, name) != value]
            yield absolute("settings of the preset that differ", len(other), 0, 0, call)


def _settings(recorded: Recorded, call: str) -> dict[str, Any]:
    """Fields of ``TrainConfig``."""
    names = {"epochs", "batch_size", "lr", "min_lr", "warmup_epochs", "weight_decay"}
    settings = {
        name: recorded[f"{call}/{name}"].item() for name in names if f"{call}/{name}" in recorded
    }
    if f"{call}/milestones" in recorded:
        return settings | {"schedule": "step", "drop_epoch": int(recorded[f"{call}/milestones"][0])}
    return settings | {"schedule": "cosine"}
