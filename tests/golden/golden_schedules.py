"""The learning rate in every epoch of the published commands beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from golden_rows import Recorded, Row, absolute, relative

from pcm3.encoders import Encoder, GRUEncoder, TransformerEncoder
from pcm3.evaluation.probes import ProbeSettings
from pcm3.evaluation.tasks.detection.detection import DetectionSettings
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.evaluation.tasks.finetune_recipes import RecipeSettings
from pcm3.evaluation.tasks.semi import SemiSettings
from pcm3.methods.catalog import get_preset
from pcm3.methods.settings import TrainSettings
from pcm3.schedules import learning_rate, make_optimizer

PRESETS = {"pcm3_pretrain/command": "ntu60-xsub", "mamp_pretrain/command": "ntu60-xsub-mamp"}
"""Published commands, and the presets that stand for them."""
SOLVERS: dict[str, tuple[str, ProbeSettings]] = {
    "pcm3_linear/command": ("pcm3", ProbeSettings()),
    "pcm3_linear/defaults": ("pcm3", ProbeSettings(lr=30.0)),
    "cmd_linear/command": ("cmd", ProbeSettings()),
    "cmd_linear/defaults": ("cmd", ProbeSettings(lr=30.0, batch_size=256)),
    "mamp_linear/command": ("mamp", ProbeSettings()),
    "mamp_linear/command2": ("mamp-pku1", ProbeSettings()),
    "mamp_linear/command3": ("mamp-pku2", ProbeSettings()),
}
FINETUNING: dict[str, RecipeSettings] = {
    "cmd_finetune/command": FinetuneSettings(),
    "cmd_finetune/defaults": FinetuneSettings(lr=30.0, batch_size=256),
    "cmd_transfer/command": FinetuneSettings(),
    "cmd_transfer/defaults": FinetuneSettings(lr=30.0, batch_size=256),
    "mamp_finetune/command": FinetuneSettings(),
    "mamp_transfer/command": FinetuneSettings(),
    "mamp_finetune_scratch/command": FinetuneSettings(scratch=True),
    "mamp_semi/command": SemiSettings(),
    "mamp_semi/command2": SemiSettings(scratch=True),
}
DETECTION: dict[str, Any] = {
    "detection_sliding_window_2023/config": "pcm3",
    "detection_linear/config": "survey",
    "detection_finetune/config": "survey-finetune",
    "detection_sliding_window/config": "survey-sliding-window",
}


def compare_schedules(recorded: Recorded) -> Iterator[Row]:
    """Pretraining by its recorded settings, everything else by its recipe."""
    for call in sorted({name.rpartition("/")[0] for name in recorded}):
        if call in SOLVERS:
            recipe = SOLVERS[call][1].applied_to(SOLVERS[call][0])
            rates = [recipe.lr * recipe.factor(epoch) for epoch in range(recipe.epochs)]
            yield from _rows(recorded, call, "linear evaluation", rates, recipe.batch_size)
        elif call in FINETUNING:
            yield from _finetuning(recorded, call)
        elif call in DETECTION:
            yield from _detection(recorded, call)
        elif "_pretrain/" in call:
            yield from _pretraining(recorded, call)


def _rows(
    recorded: Recorded, call: str, what: str, rates: Sequence[float], batch_size: int
) -> Iterator[Row]:
    yield relative(f"rates of {what}", rates, recorded[f"{call}/rates"], 1e-9, call)
    yield absolute(f"batch of {what}", batch_size, recorded[f"{call}/batch_size"], 0, call)


def _finetuning(recorded: Recorded, call: str) -> Iterator[Row]:
    recipe = FINETUNING[call].resolve(_encoder(call))
    rates = [recipe.lr * recipe.factor(epoch) for epoch in range(recipe.epochs)]
    yield from _rows(recorded, call, "fine-tuning", rates, recipe.batch_size)
    for field in ("weight_decay", "layer_decay"):
        if f"{call}/{field}" in recorded:
            found = getattr(recipe, field)
            yield absolute(f"{field} of fine-tuning", found, recorded[f"{call}/{field}"], 0, call)


def _encoder(call: str) -> Encoder:
    """One for which the recipe of a command is chosen; CMD's rate is that of wide features."""
    with torch.device("meta"):
        if call.startswith("cmd"):
            return GRUEncoder(25, hidden=256, layers=1)
        return TransformerEncoder(25, width=8, depth=1, heads=1)


def _detection(recorded: Recorded, call: str) -> Iterator[Row]:
    recipe = DetectionSettings(DETECTION[call]).resolve()
    rates = [recipe.lr * recipe.factor(epoch) for epoch in range(recipe.epochs)]
    yield from _rows(recorded, call, "detection", rates, recipe.batch_size)
    first = recorded[f"{call}/start_epoch"]
    yield absolute("first epoch of detection", recipe.start_epoch, first, 0, call)
    drops = recorded[f"{call}/milestones"]
    yield absolute("drops of detection", recipe.drops, drops, 0, call)


def _pretraining(recorded: Recorded, call: str) -> Iterator[Row]:
    """Rates by the recorded settings, and those settings beside the preset's."""
    if len(recorded.get(f"{call}/milestones", ())) > 1:  # of no published command
        return
    settings = _settings(recorded, call)
    config = TrainSettings(**settings)
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
    """Fields of ``TrainSettings``."""
    names = {"epochs", "batch_size", "lr", "min_lr", "warmup_epochs", "weight_decay"}
    settings = {
        name: recorded[f"{call}/{name}"].item() for name in names if f"{call}/{name}" in recorded
    }
    if f"{call}/milestones" in recorded:
        return settings | {"schedule": "step", "drop_epoch": int(recorded[f"{call}/milestones"][0])}
    return settings | {"schedule": "cosine"}
