"""The pretraining loop."""

from __future__ import annotations

import math
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pcm3.checks import type_name
from pcm3.data.dataset import Batch, ClipDataset, check_joints, collate
from pcm3.errors import explain_missing, is_out_of_memory
from pcm3.io.files import reuse_memory
from pcm3.methods import Method
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.runs.progress import ProgressReport, event_files, format_epoch
from pcm3.runs.seen import describe_data
from pcm3.schedules import learning_rate
from pcm3.terminal import tell
from pcm3.training.cache import DeviceCache, fits_on
from pcm3.training.description import describe_model
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
from pcm3.training.step import Figures, Report, Step
from pcm3.training.workers import leave_signals, reading
from pcm3.training.writer import RunWriter, check_savable_results

with explain_missing():
    from lightning_fabric import Fabric


def fit(
    model: Method,
    dataset: ClipDataset,
    config: TrainSettings,
    out: str | Path | None = None,
    *,
    settings: dict[str, Any] | None = None,
    monitor: Callable[[Method], dict[str, float]] | None = None,
    about: Sequence[str] = (),
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Train a model in place, continuing from the run folder's checkpoint if it has one.

    Args:
        model: The model.
        dataset: The training sequences.
        config: All settings.
        out: Run folder. Nothing is written without it.
        settings: Content of the run folder's ``config.json`` besides the data; by default
            ``config`` and a description of the model, see ``describe_model``. A run with other
            settings is refused.
        monitor: Called before the first step and every ``config.knn_every`` epochs, unless that is
            0; the values that it returns are added to the metrics.
        about: Lines on the data, printed on standard error when training begins.
        quiet: Show no progress nor these lines, and do not warn of a loss term that dwarfs the
            others.

    Returns:
        One record for each epoch: ``epoch``, ``step``, ``lr``, ``total``, every loss term,
        ``samples_per_second``. What ``monitor`` returned before the first step is in a record of
        epoch 0 before them.

    Raises:
        ValueError: If the data set has other joints than the model or has them in another order,
            has a stream other than "joint" (the model derives its own), has fewer sequences than
            one batch, or pairs where the model wants single clips; if the run folder holds a run
            with other settings or data, or cannot keep the encoder; or if the accelerator is not
            available.
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
    if dataset.pairs != model.pairs:
        wanted, got = (
            "a data set of pairs, as SyntheticMotion(pairs=True) is" if pairs else "single clips"
            for pairs in (model.pairs, dataset.pairs)
        )
        raise ValueError(f"expected {wanted}, for a method with pairs={model.pairs}, got {got}")
    if out is not None:
        check_savable_results(model, dataset)
    reuse_memory()
    fabric = launch(config)
    first = fabric.is_global_zero  # only this process writes files and messages
    run = Run(out) if out is not None else None
    if settings is None and run is not None:
        settings = describe_model(model, config)
    settings = (settings or {}) | {"data": describe_data(dataset)}
    training = _Training(fabric, model, dataset, config, run)
    training.warns = first and not quiet
    if training.warns and fabric.device.type == "cuda":
        tell(training.describe_passes(), file=sys.stderr)
    with (
        naming_lost_processes(fabric),
        _claimed(fabric, run, settings),
        _own_randomness(fabric),
        deferred_signals() as stopped,
    ):
        training.resume()
        if about and first and not quiet:
            tell(*about, file=sys.stderr)
        at, sequences = training.at, config.epochs * training.used
        done = at.epoch * training.used + at.done
        with (
            ProgressReport("pretrain", sequences, done, quiet or not first) as bar,
            event_files(run if config.tensorboard and first else None) as write_summary,
            training.batches() as batches,
        ):
            measures = monitor if first and config.knn_every else None
            if measures and training.is_new:
                record = {"epoch": 0, "step": 0} | measures(model)
                if "knn" in record:
                    bar.show(format_epoch(record, config.epochs))
                write_summary(record)
                training.add(record)
            while training.at.epoch < config.epochs:
                record = training.epoch(batches, bar, stopped)
                epoch = training.at.epoch
                if measures and epoch % config.knn_every == 0:
                    record |= measures(model)
                bar.show(format_epoch(record, config.epochs))
                write_summary(record)
                training.keep(record, stopped)
        training.finish()
    return training.records


_LARGE = 100.0
"""Factor by which a loss term exceeds the sum of the others before it counts as dwarfing them."""
_FIRST_STEPS = 10


class _Pending(NamedTuple):
    """A step whose figures were not read yet."""

    report: Report
    before: Position
    rows: Sequence[list[int]]


class _Training:
    """A model that is being trained, on this process's share of the data.

    Attributes:
        at: Progress of the run.
        records: Metrics of each epoch so far, those of epoch 0 included, if there are any.
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
        self.fabric, self.dataset, self.config = fabric, dataset, config
        self._model = model
        self.used = used_sequences(len(dataset), config, fabric.world_size)
        self._together = config.batch_size * fabric.world_size
        _adapt(model, config)
        longest = int(np.max(dataset.lengths, initial=1))
        self._step = Step(fabric, model, config, longest)
        self._writer = RunWriter(fabric, run, model, dataset, self._step, config.keep_epochs)
        self._pending: deque[_Pending] = deque()
        self.warns = False
        self.at = Position()
        self.records: list[dict[str, Any]] = []

    def describe_passes(self) -> str:
        """Say whether the passes of a step are captured as CUDA graphs."""
        reason = self._step.why_not_captured
        captured = "captured" if reason is None else f"not captured, as {reason}"
        return f"note: CUDA graph of the step: {captured}"

    def resume(self) -> None:
        """Continue from the run folder's checkpoint, if it has one."""
        self.at, self.records = self._writer.resume()

    def epoch(
        self, batches: Iterator[Batch], bar: ProgressReport, stopped: Callable[[], bool]
    ) -> dict[str, Any]:
        """Train to the end of the epoch and return the metrics of it."""
        begun, started = self.at.done, time.perf_counter()
        rows = self._rows(self.at)
        for index in range(0, len(rows), self.config.accumulate):
            stop = self._update(rows[index : index + self.config.accumulate], batches, stopped)
            bar.advance(self._together * self.config.accumulate)
            if stop and self.at.done < self.used:
                self._stop(f"in epoch {self.at.epoch + 1}, after {self.at.step} steps")
        self._settle()
        at = self.at
        rate = self._step.optimizer.param_groups[0]["lr"]
        record: dict[str, Any] = {"epoch": at.epoch + 1, "step": at.step, "lr": rate}
        counted = at.done - at.skipped
        means = {name: total / counted for name, total in at.sums.items()}
        record |= {name: mean_over_processes(self.fabric, mean) for name, mean in means.items()}
        if self.config.nonfinite == "skip":
            record["skipped"] = at.skipped
        record["samples_per_second"] = (at.done - begun) / (time.perf_counter() - started)
        self.at = replace(at, epoch=at.epoch + 1, done=0, skipped=0, sums={})
        return record

    @property
    def is_new(self) -> bool:
        """Whether there are neither steps nor metrics yet."""
        return self.at.step == 0 and not self.records

    def add(self, record: dict[str, Any]) -> None:
        """Store the metrics of an epoch."""
        self.records.append(record)
        self._writer.append_metrics(record)

    def keep(self, record: dict[str, Any], stopped: Callable[[], bool]) -> None:
        """Store the metrics of an epoch and, if due, a checkpoint and the encoder."""
        self.add(record)
        epoch, last = self.at.epoch, self.at.epoch == self.config.epochs
        kept = epoch in self.config.keep_epochs
        if last or kept or epoch % self.config.checkpoint_every == 0:
            self._writer.save(self.at)
        if kept:
            self._writer.keep_encoder(epoch)
        if not last and self._agree(stopped()):
            self._stop(f"after epoch {epoch}, {self.at.step} steps")

    def finish(self) -> None:
        """Write the trained encoder."""
        self._writer.finish()

    def _update(
        self, rows: Sequence[list[int]], batches: Iterator[Batch], stopped: Callable[[], bool]
    ) -> bool:
        """Take one optimiser step, read the figures of the one before, and say whether to stop.

        Args:
            rows: Indices of the sequences in each batch to accumulate.
            batches: The batches.
            stopped: Returns whether this process was told to stop.
        """
        before, number = self.at, 0
        steps = before.step // self.config.accumulate
        try:
            self._model.progress(before.epoch, self.config.epochs, steps)
            for number in range(len(rows)):
                batch = next(batches)
                if number == len(rows) - 1 and self.fabric.world_size > 1:
                    self._step.tell(stopped())
                seed = seed_of(self.config.seed, self.at.step, self.fabric.global_rank)
                self._step.backward(batch.clips, batch.lengths, number, seed)
                done = self.at.done + self._together
                self.at = replace(self.at, step=self.at.step + 1, done=done)
            at = replace(self.at, done=self.at.done - self._together)  # of the last batch
            rate = learning_rate(self.config, at.epoch + at.done / self.used)
            report = self._step.update(rate)
        except Exception as error:
            # a killed worker may raise anywhere, even after the last batch
            where = self._where(before, rows[number])
            self._step.undo()
            self._go_back(before)
            self._settle()
            self._writer.save(self.at)
            if is_out_of_memory(error):
                raise MemoryError(f"out of memory in {where}; lower --train.batch-size") from error
            if isinstance(error, ValueError):
                raise ValueError(f"{_reason(error)}, in {where}") from error
            raise
        self._pending.append(_Pending(report, before, rows))
        stop = self._settle(1)  # the device works on this step meanwhile
        if stop or (self.fabric.world_size == 1 and stopped()):
            self._settle()
            return True
        return False

    def _settle(self, ahead: int = 0) -> bool:
        """Read the figures of all steps but the last ``ahead``; return whether one says to stop.

        Raises:
            ValueError: If a step failed, and the run does not skip such steps.
        """
        stop = False
        while len(self._pending) > ahead:
            step = self._pending.popleft()
            figures = step.report.read()
            stop |= figures.stop
            if figures.failed:
                self._fail(step, figures)
                continue
            if self.warns:
                self._warn_of_scale(figures.losses[0], step.before.step + 1)
            sums = dict(self.at.sums)
            for losses in figures.losses:
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value * self._together
            self.at = replace(self.at, sums=sums)
        return stop

    def _fail(self, step: _Pending, figures: Figures) -> None:
        """End the run with the state before a step that failed, or count its sequences."""
        reason = self._explain(step, figures)
        if self.config.nonfinite == "stop":
            self._pending.clear()  # later steps changed nothing either
            self._go_back(step.before)
            self._writer.save(self.at)
            self.fabric.barrier()
            raise ValueError(reason)
        self.at = replace(self.at, skipped=self.at.skipped + len(step.rows) * self._together)
        if self.at.skipped == self.used:
            raise ValueError(f"{reason}; the same happened in every step of this epoch")

    def _go_back(self, before: Position) -> None:
        """Count steps as before a step; sums and skipped sequences never include it."""
        self.at = replace(self.at, step=before.step, done=before.done)

    def _warn_of_scale(self, losses: dict[str, float], step: int) -> None:
        """Warn once, in the first steps, if one loss term dwarfs all others."""
        values = {name: value for name, value in losses.items() if name != "total"}
        name = max(values, key=values.__getitem__, default="")
        others = sum(values.values()) - values.get(name, 0)
        dwarfs = values.get(name, 0) > _LARGE * max(1, others) and len(values) > 1
        if dwarfs:
            print(
                f"warning: the loss {name} is {values[name]:.3g} in step {step}, the sum of all "
                f"others only {others:.3g}: the coordinates may be in a unit such as pixels or "
                "millimetres, see pcm3 show",
                file=sys.stderr,
            )
        self.warns = not dwarfs and step < _FIRST_STEPS

    def _explain(self, step: _Pending, figures: Figures) -> str:
        """Error message for a step in which a loss or gradient is not finite."""
        infinite = [_not_finite(losses) for losses in figures.losses]
        pairs = zip(step.rows, infinite, strict=True)
        row, names = next(((row, names) for row, names in pairs if names), (step.rows[0], []))
        names = names or _not_finite(figures.sums)
        where = self._where(step.before, row)
        return (
            "expected finite losses, gradients and buffers, got NaN or infinity in "
            f"{', '.join(names[:4]) or 'another process'}, in {where}; lower the learning rate "
            "(--train.lr), or skip such steps (--train.nonfinite skip)"
        )

    def _where(self, at: Position, row: Sequence[int]) -> str:
        items = self.dataset.describe(self.dataset.in_epoch(row, at.epoch))
        return f"epoch {at.epoch + 1}, step {at.step + 1}, {items}"

    def _agree(self, flag: bool) -> bool:
        """Whether any process raises the flag."""
        if self.fabric.world_size == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.fabric.device)
        count = self.fabric.all_reduce(raised, reduce_op="sum")
        assert isinstance(count, Tensor)
        return bool(count > 0)

    def _stop(self, where: str) -> None:
        self._writer.save(self.at)
        self.fabric.barrier()  # the launcher ends all processes as soon as one ends
        raise Interrupted(f"stopped {where}")

    @contextmanager
    def batches(self) -> Iterator[Iterator[Batch]]:
        """Iterate over this process's batches of all remaining epochs, read ahead by workers."""
        later = range(self.at.epoch + 1, self.config.epochs)
        starts = [self.at, *(Position(epoch=epoch) for epoch in later)]

        def rows() -> Iterator[list[int]]:
            for at in starts:
                for row in self._rows(at):
                    yield self.dataset.in_epoch(row, at.epoch)

        if fits_on(self.dataset, self.fabric.device, self.config):
            yield DeviceCache(self.dataset, self.fabric.device).batches(rows())
            return
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


def _not_finite(values: Mapping[str, float]) -> list[str]:
    return [name for name, value in values.items() if not math.isfinite(value)]


def _adapt(model: Method, config: TrainSettings) -> None:
    model.accumulate(config.accumulate)
    if config.sync_norm:
        synchronize_norms(model)
    if config.compile:
        compile_blocks(model)


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
