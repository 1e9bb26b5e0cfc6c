"""The training loop."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pcm3._memory import reuse_memory
from pcm3.data.dataset import Batch, ClipDataset, check_joints, collate
from pcm3.hub import Pretrained, save_encoder
from pcm3.methods import Method
from pcm3.training.compiled import compile_blocks
from pcm3.training.config import TrainConfig
from pcm3.training.devices import launch, synchronize_norms
from pcm3.training.progress import ProgressReport, format_figures
from pcm3.training.run import Run


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
    reuse_memory()
    fabric = launch(config)
    used = used_sequences(len(dataset), config, fabric.world_size)
    _adapt(model, config)
    wrapped, optimizer = fabric.setup(model, _optimizer(model, config))
    run = Run(out) if out is not None else None
    settings = (settings or _describe(model, config)) | {"data": _describe_data(dataset)}
    at, records = _resume(fabric, run, settings, model, optimizer)
    if not fabric.is_global_zero:  # it alone writes and speaks
        run, monitor, quiet = None, None, True
    generator = torch.Generator(fabric.device)
    batches = _batches(dataset, config, fabric, replace(at))
    together = config.batch_size * fabric.world_size
    wrapped.train()
    with (
        ProgressReport("pretrain", config.epochs * used, at.epoch * used + at.done, quiet) as bar,
        _signals() as stopped,
        _summaries(run if config.tensorboard else None) as write_summary,
    ):
        while at.epoch < config.epochs:
            first, started = at.done, time.perf_counter()
            for batch in islice(batches, len(_rows(len(dataset), config, fabric, at))):
                _set_rate(optimizer, learning_rate(config, at.epoch + at.done / used))
                generator.manual_seed(_seed(config.seed, at.step, fabric.global_rank))
                at.step, at.done = at.step + 1, at.done + together
                updates = at.step % config.accumulate == 0
                terms = _step(fabric, wrapped, optimizer, config, batch, generator, updates)
                for name, term in terms.items():
                    at.sums[name] = at.sums.get(name, 0) + term * together
                bar.advance(together, f"epoch {at.epoch + 1}/{config.epochs}")
                # processes agree on stopping at the end of epochs only
                if updates and at.done < used and fabric.world_size == 1 and stopped():
                    _save(run, model, optimizer, at)
                    raise Interrupted(f"stopped in epoch {at.epoch + 1}, after {at.step} steps")
            rate = optimizer.param_groups[0]["lr"]
            record: dict[str, Any] = {"epoch": at.epoch + 1, "step": at.step, "lr": rate}
            record |= {n: _mean(fabric, total / at.done) for n, total in at.sums.items()}
            record["samples_per_second"] = (at.done - first) / (time.perf_counter() - started)
            at = replace(at, epoch=at.epoch + 1, done=0, sums={})
            if monitor and config.knn_every and at.epoch % config.knn_every == 0:
                record |= monitor(model)
            records.append(record)
            bar.line(format_figures(record | {"epoch": f"{at.epoch}/{config.epochs}"}))
            write_summary(record)
            if run:
                run.append_metrics(record)
            last = at.epoch == config.epochs
            stop = _mean(fabric, float(stopped())) > 0 and not last
            if last or stop or at.epoch % config.checkpoint_every == 0:
                _save(run, model, optimizer, at)
            if stop:
                raise Interrupted(f"stopped after epoch {at.epoch}, {at.step} steps")
    _finish(fabric, run, model, dataset)
    return records


def _step(
    fabric: Fabric,
    model: _FabricModule,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    batch: Batch,
    generator: torch.Generator,
    updates: bool,
) -> dict[str, Tensor]:
    """Gradients of a batch and, where it is the last that accumulates, the update."""
    with fabric.no_backward_sync(model, enabled=not updates):
        output = model(batch.clips, batch.lengths, generator)
        fabric.backward(output.total / config.accumulate)
    if updates:
        if config.clip_norm > 0:
            fabric.clip_gradients(model, optimizer, max_norm=config.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    return {"total": output.total.detach(), **output.terms}


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The rate at a fractional epoch: linear warm-up, then the schedule."""
    if epoch < config.warmup_epochs:
        return config.lr * epoch / config.warmup_epochs
    if config.schedule == "step":
        return config.lr * (0.1 if epoch >= config.drop_epoch else 1.0)
    done = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.min_lr + (config.lr - config.min_lr) * cosine


@dataclass
class _Position:
    """Where a run stands.

    Attributes:
        step: Batches of each process so far.
        epoch: Epochs that are complete.
        done: Sequences of the present epoch, of all processes.
        sums: Of this epoch's loss terms, over sequences.
    """

    step: int = 0
    epoch: int = 0
    done: int = 0
    sums: dict[str, Any] = field(default_factory=dict)


def used_sequences(sequences: int, config: TrainConfig, processes: int) -> int:
    """Sequences of an epoch: whole optimiser steps."""
    update = config.batch_size * processes * config.accumulate
    if sequences < update and config.epochs:
        raise ValueError(
            f"expected at least {update} training sequences (batch_size x devices x accumulate), "
            f"got {sequences}; lower batch_size (--train.batch-size)"
        )
    return sequences // update * update


def _adapt(model: Method, config: TrainConfig) -> None:
    model.accumulate(config.accumulate)
    if config.sync_norm:
        synchronize_norms(model)
    if config.compile:
        compile_blocks(model)


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
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


def _rows(sequences: int, config: TrainConfig, fabric: Fabric, at: _Position) -> NDArray[np.int64]:
    """The batches of an epoch that are still to do ``(steps, processes, batch_size)``.

    Their order is set by seed and epoch alone.
    """
    order = np.random.default_rng((config.seed, at.epoch)).permutation(sequences)
    left = order[at.done : used_sequences(sequences, config, fabric.world_size)]
    steps = len(left) // (config.batch_size * fabric.world_size * config.accumulate)
    shape = (steps * config.accumulate, fabric.world_size, config.batch_size)
    return left[: math.prod(shape)].reshape(shape)


def _batches(
    dataset: ClipDataset, config: TrainConfig, fabric: Fabric, at: _Position
) -> Iterator[Batch]:
    """The batches of this process for all epochs that are left, read ahead by workers."""

    def rows() -> Iterator[list[int]]:
        starts = [at, *(_Position(epoch=epoch) for epoch in range(at.epoch + 1, config.epochs))]
        for start in starts:
            yield from _rows(len(dataset), config, fabric, start)[:, fabric.global_rank].tolist()

    loader = DataLoader(
        dataset,
        batch_sampler=rows(),
        collate_fn=collate,
        num_workers=config.workers,
        pin_memory=fabric.device.type == "cuda",
    )
    for batch in loader:
        yield fabric.to_device(batch)


def _mean(fabric: Fabric, value: Tensor | float) -> float:
    """The mean over processes."""
    reduced = fabric.all_reduce(torch.as_tensor(value, device=fabric.device))
    assert isinstance(reduced, Tensor)
    return float(reduced)


def _resume(
    fabric: Fabric,
    run: Run | None,
    settings: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[_Position, list[dict[str, Any]]]:
    """Position and records where the run stands, in every process."""
    if run is None:
        return _Position(), []
    refusal: Exception | None = None
    if fabric.is_global_zero:
        try:
            run.claim(settings)
        except (ValueError, OSError) as error:
            refusal = error
    refusal = fabric.broadcast(refusal)
    if refusal is not None:
        raise refusal if fabric.is_global_zero else SystemExit(2)
    state = run.load_checkpoint()
    records: list[dict[str, Any]] = []
    at = _Position()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        at = _Position(**state["position"])
        records = [record for record in run.read_metrics() if record["step"] <= at.step]
    fabric.barrier()
    if fabric.is_global_zero:
        run.write_metrics(records)
    return at, records


def _finish(fabric: Fabric, run: Run | None, model: Method, dataset: ClipDataset) -> None:
    """Write the trained encoder; no process goes on before."""
    if run:
        view = Pretrained(model.trained_encoder, model.skeleton, model.stream, model.frames)
        save_encoder(run.encoder, view._replace(normalization=dataset.normalization))
    fabric.barrier()


def _save(
    run: Run | None, model: nn.Module, optimizer: torch.optim.Optimizer, at: _Position
) -> None:
    if run:
        run.save_checkpoint(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "position": {each.name: getattr(at, each.name) for each in fields(at)},
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
