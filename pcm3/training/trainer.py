"""The pretraining loop."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pcm3.checks import type_name
from pcm3.data.dataset import Batch, ClipDataset, check_joints, collate
from pcm3.encoders.files import Pretrained, check_savable, save_encoder
from pcm3.errors import is_out_of_memory
from pcm3.io.files import reuse_memory
from pcm3.methods import Method
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.runs.progress import ProgressReport, event_files, format_figures
from pcm3.runs.seen import describe_data
from pcm3.schedules import learning_rate, make_optimizer, set_rate
from pcm3.terminal import tell
from pcm3.training.devices import (
    compile_blocks,
    copied_ahead,
    launch,
    mean_over_processes,
    naming_lost_processes,
    synchronize_norms,
)
from pcm3.training.interrupts import Interrupted, deferred_signals
from pcm3.training.order import Position, remaining_batches, seed_of, used_sequences
from pcm3.training.workers import leave_signals, reading


def fit(
    model: Method,
    dataset: ClipDataset,
    config: TrainSettings,
    out: str | Path | None = None,
    *,
    settings: dict[str, Any] | None = None,
    monitor: Callable[[Method], dict[str, float]] | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Train a model in place, continuing from the run folder's checkpoint if it has one.

    Args:
        model: The model.
        dataset: The training sequences.
        config: All settings.
        out: Run folder. Nothing is written without it.
        settings: Content of the run folder's ``config.json`` besides the data; by default
            ``config`` and a description of the model. A run with other settings is refused.
        monitor: Called every ``config.knn_every`` epochs; the values that it returns are added to
            the metrics.
        quiet: Show no progress, and do not warn of a loss term that dwarfs the others.

    Returns:
        One record for each epoch: ``epoch``, ``step``, ``lr``, ``total``, every loss term,
        ``samples_per_second``.

    Raises:
        ValueError: If the data set has other joints than the model or has them in another order,
            has a stream other than "joint" (the model derives its own) or has fewer sequences than
            one batch; if the run folder holds a run with other settings or data, or cannot keep
            the encoder; or if the accelerator is not available.
            Also if a loss or gradient is not finite: the message names it, the step and the
            sequences, and the run folder holds the state before that step.
        MemoryError: If a step runs out of memory.
        ChildProcessError: If a process that reads batches, or another process of the run, is
            killed.
        Interrupted: After Ctrl-C or a termination signal, between two steps.
    """
    if not isinstance(model, Method):
        raise ValueError(f"expected a PCM3, a MAMP or another Method, got {type_name(model)}")
    check_joints(dataset, model.skeleton)
    if out is not None:
        for trained in _results(model, dataset):
            check_savable(trained)
    reuse_memory()
    fabric = launch(config)
    first = fabric.is_global_zero  # only this process writes files and messages
    run = Run(out) if out is not None else None
    settings = (settings or _describe(model, config)) | {"data": describe_data(dataset)}
    training = _Training(fabric, model, dataset, config, run)
    training.warns = first and not quiet
    with (
        naming_lost_processes(fabric),
        _claimed(fabric, run, settings),
        _own_randomness(fabric),
        deferred_signals() as stopped,
    ):
        training.resume()
        at, sequences = training.at, config.epochs * training.used
        done = at.epoch * training.used + at.done
        with (
            ProgressReport("pretrain", sequences, done, quiet or not first) as bar,
            event_files(run if config.tensorboard and first else None) as write_summary,
            training.batches() as batches,
        ):
            while training.at.epoch < config.epochs:
                record = training.epoch(batches, bar, stopped)
                epoch = training.at.epoch
                if first and monitor and config.knn_every and epoch % config.knn_every == 0:
                    record |= monitor(model)
                bar.line(format_figures(record | {"epoch": f"{epoch}/{config.epochs}"}))
                write_summary(record)
                training.keep(record, stopped)
        training.finish()
    return training.records


_LARGE = 100.0
"""Factor by which a loss term exceeds the sum of the others before it counts as dwarfing them."""
_FIRST_STEPS = 10


class _Training:
    """A model that is being trained, on this process's share of the data.

    Attributes:
        at: Progress of the run.
        records: Metrics of each epoch so far.
        used: Number of sequences of an epoch that all processes use.
        warns: Whether to check the next step for a loss term that dwarfs the others.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: Method,
        dataset: ClipDataset,
        config: TrainSettings,
        run: Run | None,
    ) -> None:
        self.fabric, self.dataset, self.config, self.run = fabric, dataset, config, run
        self.used = used_sequences(len(dataset), config, fabric.world_size)
        self._together = config.batch_size * fabric.world_size
        self._trained = [p for p in model.parameters() if p.requires_grad]
        if not self._trained:
            raise ValueError(
                f"expected a {type(model).__name__} to train, got one without a parameter that "
                "requires a gradient"
            )
        _adapt(model, config)
        self.model = model
        self._wrapped, self._optimizer = fabric.setup(model, make_optimizer(model, config))
        self._wrapped.train()
        self._generator = torch.Generator(fabric.device)
        self.warns = False
        self._saved = 0  # step of the last checkpoint
        self.at = Position()
        self.records: list[dict[str, Any]] = []

    def epoch(
        self, batches: Iterator[Batch], bar: ProgressReport, stopped: Callable[[], bool]
    ) -> dict[str, Any]:
        """Train to the end of the epoch and return the metrics of it."""
        begun, started = self.at.done, time.perf_counter()
        rows = self._rows(self.at)
        for index in range(0, len(rows), self.config.accumulate):
            stop = self._update(rows[index : index + self.config.accumulate], batches, stopped)
            bar.advance(
                self._together * self.config.accumulate,
                f"epoch {self.at.epoch + 1}/{self.config.epochs}",
            )
            if stop and self.at.done < self.used:
                self._stop(f"in epoch {self.at.epoch + 1}, after {self.at.step} steps")
        at = self.at
        rate = self._optimizer.param_groups[0]["lr"]
        record: dict[str, Any] = {"epoch": at.epoch + 1, "step": at.step, "lr": rate}
        counted = at.done - at.skipped
        means = {name: total / counted for name, total in at.sums.items()}
        record |= {name: mean_over_processes(self.fabric, mean) for name, mean in means.items()}
        if self.config.nonfinite == "skip":
            record["skipped"] = at.skipped
        record["samples_per_second"] = (at.done - begun) / (time.perf_counter() - started)
        self.at = replace(at, epoch=at.epoch + 1, done=0, skipped=0, sums={})
        return record

    def keep(self, record: dict[str, Any], stopped: Callable[[], bool]) -> None:
        """Store the metrics of an epoch and, if due, a checkpoint and the encoder."""
        self.records.append(record)
        if self.run and self.fabric.is_global_zero:
            self.run.append_metrics(record)
        epoch, last = self.at.epoch, self.at.epoch == self.config.epochs
        kept = epoch in self.config.keep_epochs
        if last or kept or epoch % self.config.checkpoint_every == 0:
            self._save()
        if kept:
            self._keep_encoder(epoch)
        if not last and self._agree(stopped())[0]:
            self._stop(f"after epoch {epoch}, {self.at.step} steps")

    def _update(
        self, rows: Sequence[list[int]], batches: Iterator[Batch], stopped: Callable[[], bool]
    ) -> bool:
        """Take one optimiser step if all losses are finite; return whether the run must stop.

        Args:
            rows: Indices of the sequences in each batch to accumulate.
            batches: The batches.
            stopped: Returns whether this process was told to stop.
        """
        before = self.at
        kept = {name: value.clone() for name, value in _untrained(self.model)}
        terms: list[dict[str, Tensor]] = []
        try:
            for row in rows:
                terms.append(self._backward(next(batches), last=row is rows[-1]))
        except Exception as error:
            # a killed worker may raise anywhere, even after the last batch
            where = self._where(before, rows[min(len(terms), len(rows) - 1)])
            self._undo(before, kept)
            self._save()
            if is_out_of_memory(error):
                raise MemoryError(f"out of memory in {where}; lower --train.batch-size") from error
            if isinstance(error, ValueError):
                raise ValueError(f"{_reason(error)}, in {where}") from error
            raise
        if self.warns:
            self._warn_of_scale(terms[0])
        infinite, stop = self._agree(not self._is_finite(terms), stopped())
        if infinite:
            reason = self._explain(terms, rows, before)
            done = replace(self.at, sums=before.sums)
            self._undo(before, kept)
            if self.config.nonfinite == "stop":
                self._save()
                self.fabric.barrier()
                raise ValueError(reason)
            self.at = replace(done, skipped=before.skipped + len(rows) * self._together)
            if self.at.skipped == self.used:
                raise ValueError(f"{reason}; the same happened in every step of this epoch")
            return stop
        if self.config.clip_norm > 0:
            self.fabric.clip_gradients(
                self._wrapped,
                self._optimizer,
                max_norm=self.config.clip_norm,
                error_if_nonfinite=False,
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        return stop

    def _backward(self, batch: Batch, *, last: bool) -> dict[str, Tensor]:
        """Compute the gradients of a batch and return its losses."""
        at, config = self.at, self.config
        set_rate(self._optimizer, learning_rate(config, at.epoch + at.done / self.used))
        seed = seed_of(config.seed, at.step, self.fabric.global_rank)
        self._generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout takes no generator
        with self.fabric.no_backward_sync(self._wrapped, enabled=not last):
            output = self._wrapped(batch.clips, batch.lengths, self._generator)
            self.fabric.backward(output.total / config.accumulate)
        terms = {"total": output.total.detach(), **output.terms}
        sums = {n: at.sums.get(n, 0) + term.float() * self._together for n, term in terms.items()}
        self.at = replace(at, step=at.step + 1, done=at.done + self._together, sums=sums)
        return terms

    def _warn_of_scale(self, terms: dict[str, Tensor]) -> None:
        """Warn once, in the first steps, if one loss term dwarfs all others."""
        values = {name: float(term) for name, term in terms.items() if name != "total"}
        name = max(values, key=values.__getitem__, default="")
        others = sum(values.values()) - values.get(name, 0)
        dwarfs = values.get(name, 0) > _LARGE * max(1, others) and len(values) > 1
        if dwarfs:
            print(
                f"warning: the loss {name} is {values[name]:.3g} in step {self.at.step}, the sum "
                f"of all others only {others:.3g}: the coordinates may be in a unit such as pixels "
                "or millimetres, see pcm3 show",
                file=sys.stderr,
            )
        self.warns = not dwarfs and self.at.step < _FIRST_STEPS

    def _is_finite(self, terms: Sequence[dict[str, Tensor]]) -> bool:
        """Whether losses and gradients are finite; the host waits for the device here."""
        sums = [losses["total"] for losses in terms]
        if self.config.precision != "fp16":  # GradScaler handles the overflows of fp16
            # a sum is finite only if all its terms are
            sums += [p.grad.sum() for p in self._trained if p.grad is not None]
        return bool(torch.stack([value.float() for value in sums]).isfinite().all())

    def _explain(
        self, terms: Sequence[dict[str, Tensor]], rows: Sequence[list[int]], before: Position
    ) -> str:
        """Error message for a step in which a loss or gradient is not finite."""
        infinite = [
            [name for name, value in losses.items() if not bool(value.isfinite())]
            for losses in terms
        ]
        row, names = next(((r, n) for r, n in zip(rows, infinite, strict=True) if n), (rows[0], []))
        if not names:
            names = [
                f"the gradient of {name}"
                for name, parameter in self.model.named_parameters()
                if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
            ]
        where = self._where(before, row)
        return (
            f"expected finite losses and gradients, got NaN or infinity in "
            f"{', '.join(names[:4]) or 'another process'}, in {where}; lower the learning rate "
            "(--train.lr), or skip such steps (--train.nonfinite skip)"
        )

    def _where(self, at: Position, row: Sequence[int]) -> str:
        return f"epoch {at.epoch + 1}, step {at.step + 1}, {self.dataset.describe(row)}"

    @torch.no_grad()
    def _undo(self, before: Position, kept: dict[str, Tensor]) -> None:
        """Restore the state before a step."""
        for name, value in _untrained(self.model):
            value.copy_(kept[name])
        self._optimizer.zero_grad()
        self.model.accumulate(self.config.accumulate)
        self.at = before

    def _agree(self, *flags: bool) -> list[bool]:
        """Whether any process raises each flag."""
        if self.fabric.world_size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.float32, device=self.fabric.device)
        counts = self.fabric.all_reduce(raised, reduce_op="sum")
        assert isinstance(counts, Tensor)
        return [count > 0 for count in counts.tolist()]

    def _stop(self, where: str) -> None:
        self._save()
        self.fabric.barrier()  # the launcher ends all processes as soon as one ends
        raise Interrupted(f"stopped {where}")

    def _save(self) -> None:
        """Write a checkpoint if a step was taken since the last one."""
        if self.run and self.fabric.is_global_zero and self.at.step > self._saved:
            position = {field.name: getattr(self.at, field.name) for field in fields(self.at)}
            self.run.save_checkpoint(
                {
                    "model": self.model.state_dict(),
                    "optimizer": self._optimizer.state_dict(),
                    "precision": self.fabric.strategy.precision.state_dict(),
                    "position": position,
                }
            )
        self._saved = self.at.step

    def resume(self) -> None:
        """Continue from the run folder's checkpoint, if it has one.

        Raises:
            ValueError: If the processes see different checkpoints, or that of a finished run was
                deleted.
        """
        state = self.run.load_checkpoint() if self.run else None
        if state is None and self.run and self.run.encoder.exists() and self.run.read_metrics():
            raise ValueError(
                f"expected a checkpoint in {self.run.path}, which holds a finished run; delete the "
                "folder to start again"
            )
        if state is not None:
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            self.at = Position(**state["position"])
            self._saved = self.at.step
        if self.fabric.broadcast(self.at.step) != self.at.step:
            assert self.run
            raise ValueError(
                f"expected all machines to share the run folder {self.run.path}; process "
                f"{self.fabric.global_rank} found a checkpoint of another step, {self.at.step}"
            )
        if self.run and self.fabric.is_global_zero:
            records = self.run.read_metrics()
            self.records = [record for record in records if record["step"] <= self.at.step]
            if len(self.records) < self.at.epoch:
                tell(
                    f"warning: {self.run.metrics} holds {len(self.records)} of the "
                    f"{self.at.epoch} trained epochs",
                    file=sys.stderr,
                )
            self.run.write_metrics(self.records)
        self.fabric.barrier()
        self._find_kept()

    def _find_kept(self) -> None:
        """Require that every encoder to keep is in the run folder or of an epoch to come.

        Raises:
            ValueError: If the run is past the epoch of an encoder that was not kept.
        """
        for epoch in self.config.keep_epochs:
            if self.run is None or epoch > self.at.epoch or self.run.kept_encoder(epoch).exists():
                continue
            if (epoch, 0) != (self.at.epoch, self.at.done):
                raise ValueError(
                    f"expected keep_epochs after epoch {self.at.epoch}, up to which "
                    f"{self.run.path} is trained; got {epoch}, whose encoder was not kept"
                )
            self._keep_encoder(epoch)

    def _keep_encoder(self, epoch: int) -> None:
        if self.run and self.fabric.is_global_zero:
            self._save_encoders(self.run.kept_encoder(epoch))

    def finish(self) -> None:
        """Write the trained encoder while all processes wait."""
        if self.run and self.fabric.is_global_zero:
            self._save_encoders(self.run.encoder)
        self.fabric.barrier()

    def _save_encoders(self, file: Path) -> None:
        """Write the first trained encoder to a file, and encoders of other streams next to it."""
        for number, trained in enumerate(_results(self.model, self.dataset)):
            stem = f"{file.stem}-{trained.stream}" if number else file.stem
            save_encoder(file.with_stem(stem), trained)

    @contextmanager
    def batches(self) -> Iterator[Iterator[Batch]]:
        """Iterate over this process's batches of all remaining epochs, read ahead by workers."""
        later = range(self.at.epoch + 1, self.config.epochs)
        starts = [self.at, *(Position(epoch=epoch) for epoch in later)]

        def rows() -> Iterator[list[int]]:
            for at in starts:
                yield from self._rows(at)

        loader = DataLoader(
            self.dataset,
            batch_sampler=rows(),
            collate_fn=collate,
            num_workers=self.config.workers,
            worker_init_fn=leave_signals,
            pin_memory=self.fabric.device.type == "cuda",
        )
        with reading(loader) as read:
            if self.fabric.device.type == "cuda":
                yield copied_ahead(read, self.fabric.device)
            else:
                yield (self.fabric.to_device(batch) for batch in read)

    def _rows(self, at: Position) -> list[list[int]]:
        """Remaining batches of this process in an epoch."""
        sequences, processes = len(self.dataset), self.fabric.world_size
        left = remaining_batches(at, sequences, self.config, processes)
        rows: list[list[int]] = left[:, self.fabric.global_rank].tolist()
        return rows


def _reason(error: ValueError) -> str:
    """Message of an error, without the traceback that workers of data loaders add."""
    text = str(error)
    inner = re.search(
        r"^[\w.]+Error: (.*)", text[text.rfind("Traceback") :], re.DOTALL | re.MULTILINE
    )
    return inner[1].strip() if text.startswith("Caught ") and inner else text


def _untrained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that a forward pass may change: statistics, queues and momentum twins."""
    yield from model.named_buffers()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter


def _adapt(model: Method, config: TrainSettings) -> None:
    model.accumulate(config.accumulate)
    if config.sync_norm:
        synchronize_norms(model)
    if config.compile:
        compile_blocks(model)


def _results(model: Method, dataset: ClipDataset) -> list[Pretrained]:
    """Trained encoders of a run."""
    rest = model.frames, dataset.normalization
    return [
        Pretrained(encoder, model.skeleton, stream, *rest)
        for stream, encoder in model.trained_encoders.items()
    ]


def _describe(model: Method, config: TrainSettings) -> dict[str, Any]:
    """Settings of a run whose model was built in Python."""
    description = {
        "method": type(model).__name__,
        "encoder": type(model.encoder).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "stream": model.stream,
        "frames": model.frames,
    }
    return {"model": description, "train": asdict(config), "protocol": None}


@contextmanager
def _claimed(fabric: Fabric, run: Run | None, settings: dict[str, Any]) -> Iterator[None]:
    """Hold the run folder; if the first process is refused, all processes end."""
    with ExitStack() as held:
        refusal: Exception | None = None
        if run and fabric.is_global_zero:
            try:
                held.enter_context(run.claimed(settings))
            except (ValueError, OSError) as error:
                refusal = error
        refusal = fabric.broadcast(refusal)
        if refusal is not None:
            raise refusal if fabric.is_global_zero else SystemExit(2)
        yield


def _own_randomness(fabric: Fabric) -> AbstractContextManager[None]:
    """Restore the global random generators afterwards."""
    return torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else [])
