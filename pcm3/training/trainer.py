"""The training loop."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pcm3.data.dataset import Batch, ClipDataset, check_joints, collate
from pcm3.hub import Pretrained, save_encoder
from pcm3.methods import Method
from pcm3.training.config import TrainConfig
from pcm3.training.progress import ProgressReport, format_figures
from pcm3.training.run import Run

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


class Interrupted(KeyboardInterrupt):
    """The run was stopped between two steps; with a run folder, after saving a checkpoint."""


def fit(
    model: Method,
    dataset: ClipDataset,
    config: TrainConfig,
    out: str | Path | None = None,
    *,
    settings: dict[str, Any] | None = None,
    monitor: Callable[[Method], dict[str, float]] | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Train a model in place; continue where the run folder's checkpoint stands.

    Args:
        model: The model.
        dataset: The training sequences.
        config: All settings.
        out: Run folder. Nothing is written without it.
        settings: What the run folder's ``config.json`` says beside the data; ``config`` and a
            description of the model by default. A run of other settings is not continued.
        monitor: Called every ``config.knn_every`` epochs; its figures join the metrics.
        quiet: Show no progress.

    Returns:
        One record for each epoch: ``epoch``, ``step``, ``lr``, ``total``, every loss term,
        ``samples_per_second``.

    Raises:
        ValueError: If the data set has other joints than the model or another order of them, a
            stream other than "joint" (the model derives its own) or fewer sequences than one
            batch, the run folder holds a run of other settings or data, or there is no such
            accelerator.
        Interrupted: After Ctrl-C or a termination signal, between two steps.
    """
    check_joints(dataset, model.skeleton)
    fabric = _launch(config)
    steps = _steps_per_epoch(len(dataset), config, fabric.world_size)
    wrapped, optimizer = fabric.setup(model, _optimizer(model, config))
    run = Run(out) if out is not None else None
    settings = (settings or _describe(model, config)) | {"data": _describe_data(dataset)}
    step, sums, records = _resume(run, settings, model, optimizer)
    generator = torch.Generator(fabric.device)
    wrapped.train()
    with (
        ProgressReport("pretrain", config.epochs * steps, step, quiet) as progress,
        _signals() as stopped,
        _summaries(run if config.tensorboard else None) as write_summary,
    ):
        for epoch in range(step // max(steps, 1), config.epochs):
            started, first = time.perf_counter(), step
            for batch in _batches(dataset, config, fabric, epoch, steps, step - epoch * steps):
                rate = learning_rate(config, step / steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                generator.manual_seed(_seed(config.seed, step, fabric.global_rank))
                output = wrapped(batch.clips, batch.lengths, generator)
                fabric.backward(output.total / config.accumulate)
                step += 1
                if step % config.accumulate == 0:
                    if config.clip_norm > 0:
                        fabric.clip_gradients(wrapped, optimizer, max_norm=config.clip_norm)
                    optimizer.step()
                    optimizer.zero_grad()
                for name, term in {"total": output.total.detach(), **output.terms}.items():
                    sums[name] = sums.get(name, 0) + term
                progress.advance(f"epoch {epoch + 1}/{config.epochs}")
                within = step % config.accumulate == 0 and step < (epoch + 1) * steps
                if within and stopped():
                    _save(run, model, optimizer, step, sums)
                    raise Interrupted(f"stopped in epoch {epoch + 1}, after {step} steps")
            speed = (step - first) * config.batch_size * fabric.world_size
            record: dict[str, Any] = {"epoch": epoch + 1, "step": step, "lr": rate}
            record |= {name: float(total) / steps for name, total in sums.items()}
            record["samples_per_second"] = speed / (time.perf_counter() - started)
            sums = {}
            if monitor and config.knn_every and (epoch + 1) % config.knn_every == 0:
                record |= monitor(model)
            records.append(record)
            progress.line(format_figures(record | {"epoch": f"{epoch + 1}/{config.epochs}"}))
            write_summary(record)
            if run:
                run.append_metrics(record)
            last = epoch + 1 == config.epochs
            stop = stopped() and not last
            if last or stop or (epoch + 1) % config.checkpoint_every == 0:
                _save(run, model, optimizer, step, sums)
            if stop:
                raise Interrupted(f"stopped after epoch {epoch + 1}, {step} steps")
    if run:
        view = Pretrained(model.trained_encoder, model.skeleton, model.stream, model.frames)
        save_encoder(run.encoder, view._replace(normalization=dataset.normalization))
    return records


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The rate at a fractional epoch: linear warm-up, then the schedule."""
    if epoch < config.warmup_epochs:
        return config.lr * epoch / config.warmup_epochs
    if config.schedule == "step":
        return config.lr * (0.1 if epoch >= config.drop_epoch else 1.0)
    done = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.min_lr + (config.lr - config.min_lr) * cosine


def _launch(config: TrainConfig) -> Fabric:
    try:
        fabric = Fabric(
            accelerator=config.accelerator, devices=1, precision=_PRECISION[config.precision]
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"accelerator {config.accelerator!r}: {error}") from None
    fabric.launch()
    return fabric


def _steps_per_epoch(sequences: int, config: TrainConfig, devices: int) -> int:
    update = config.batch_size * devices * config.accumulate
    if sequences < update and config.epochs:
        raise ValueError(
            f"expected at least {update} training sequences (batch_size x devices x accumulate), "
            f"got {sequences}; lower batch_size (--train.batch-size)"
        )
    return sequences // update * config.accumulate


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not config.decay_vectors:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    decay = config.weight_decay
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, weight_decay=decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, weight_decay=decay)


def _describe(model: Method, config: TrainConfig) -> dict[str, Any]:
    """For a run that was not started from a preset's model settings."""
    about = {
        "method": type(model).__name__,
        "encoder": type(model.encoder).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "stream": model.stream,
        "frames": model.frames,
    }
    return {"model": about, "train": asdict(config), "protocol": None}


def _describe_data(dataset: ClipDataset) -> dict[str, Any]:
    return {
        "sequences": len(dataset),
        "frames": int(dataset.lengths.sum()),
        "normalization": dataset.normalization,
        "skeleton": {"name": dataset.skeleton.name, "joints": list(dataset.skeleton.joints)},
    }


def _seed(*parts: int) -> int:
    """One seed from several numbers; equal parts give equal randomness after a resume."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _batches(
    dataset: ClipDataset, config: TrainConfig, fabric: Fabric, epoch: int, steps: int, skip: int
) -> Iterator[Batch]:
    """The batches of an epoch that are still to do, in an order set by seed and epoch alone."""
    order = np.random.default_rng((config.seed, epoch)).permutation(len(dataset))
    size, rank = config.batch_size, fabric.global_rank
    rows = order[: steps * size * fabric.world_size].reshape(steps, fabric.world_size, size)
    loader = DataLoader(
        dataset,
        batch_sampler=rows[skip:, rank].tolist(),
        collate_fn=collate,
        num_workers=config.workers,
        pin_memory=fabric.device.type == "cuda",
    )
    for batch in loader:
        yield fabric.to_device(batch)


def _resume(
    run: Run | None, settings: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Tensor], list[dict[str, Any]]]:
    """Step, sums of the epoch's terms and records where the run stands."""
    if run is None:
        return 0, {}, []
    run.claim(settings)
    state = run.load_checkpoint()
    if state is None:
        run.write_metrics([])
        return 0, {}, []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    records = [record for record in run.read_metrics() if record["step"] <= state["step"]]
    run.write_metrics(records)
    return state["step"], state["sums"], records


def _save(
    run: Run | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    sums: dict[str, Tensor],
) -> None:
    if run:
        run.save_checkpoint(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "sums": sums,
            }
        )


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or termination signal into a flag; a second one acts at once."""
    caught: list[int] = []
    handlers: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def catch(number: int, _frame: object) -> None:
        caught.append(number)
        restore()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, catch)
    except ValueError:  # not the main thread: signals are somebody else's
        pass
    try:
        yield lambda: bool(caught)
    finally:
        restore()


@contextmanager
def _summaries(run: Run | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    if run is None:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    with SummaryWriter(str(run.path)) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in record.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, record["epoch"])

        yield write
