"""The training loop."""

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
    """Train a model in place; continue where the run folder's checkpoint stands.

    Args:
        model: The model.
        dataset: The training sequences.
        config: All settings.
        out: Run folder. Nothing is written without it.
        settings: What the run folder's ``config.json`` says beside the data; ``config`` and a
            description of the model by default. A run of other settings is not continued.
        monitor: Called every ``config.knn_every`` epochs; its figures join the metrics.
        quiet: Show no progress, and do not warn of a loss term that dwarfs the others.

    Returns:
        One record for each epoch: ``epoch``, ``step``, ``lr``, ``total``, every loss term,
        ``samples_per_second``.

    Raises:
        ValueError: If the data set has other joints than the model or another order of them, a
            stream other than "joint" (the model derives its own) or fewer sequences than one
            batch, the run folder holds a run of other settings or data, the encoder is none that
            a run folder can keep, or there is no such accelerator.
            Also where a loss or gradient is not finite; the message says which, when, and in
            which sequences. The run folder then holds the state before that step.
        MemoryError: If a step needs more memory than there is.
        ChildProcessError: If a process that reads batches, or another of the run, is killed.
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
    first = fabric.is_global_zero  # it alone writes and speaks
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
"""Times all others a loss term is that dwarfs them; losses that fit their data are of order 1."""
_FIRST_STEPS = 10


class _Training:
    """A model that is being trained, on this process's share of the data.

    Attributes:
        at: Where it stands.
        records: One for each epoch so far.
        used: Sequences of an epoch, of all processes.
        warns: Whether it still has to look for a loss term that dwarfs the others.
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
        """Go on to the end of the epoch; its record."""
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
        record |= {name: mean_over_processes(self.fabric, each) for name, each in means.items()}
        if self.config.nonfinite == "skip":
            record["skipped"] = at.skipped
        record["samples_per_second"] = (at.done - begun) / (time.perf_counter() - started)
        self.at = replace(at, epoch=at.epoch + 1, done=0, skipped=0, sums={})
        return record

    def keep(self, record: dict[str, Any], stopped: Callable[[], bool]) -> None:
        """Keep the record of an epoch, its encoder if asked to and, every few, a checkpoint."""
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
        """One step of the optimiser, if all is finite; whether the run is to stop.

        Args:
            rows: Items of each batch that it accumulates.
            batches: Gives them.
            stopped: Whether this process was told to stop.
        """
        before = self.at
        kept = {name: value.clone() for name, value in _untrained(self.model)}
        terms: list[dict[str, Tensor]] = []
        try:
            for row in rows:
                terms.append(self._backward(next(batches), last=row is rows[-1]))
        except Exception as error:
            # that a worker was killed is raised anywhere, after the last batch too
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
                raise ValueError(f"{reason}; so it was in every step of this epoch")
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
        """The gradients of a batch; its losses."""
        at, config = self.at, self.config
        set_rate(self._optimizer, learning_rate(config, at.epoch + at.done / self.used))
        seed = seed_of(config.seed, at.step, self.fabric.global_rank)
        self._generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout knows of no generator
        with self.fabric.no_backward_sync(self._wrapped, enabled=not last):
            output = self._wrapped(batch.clips, batch.lengths, self._generator)
            self.fabric.backward(output.total / config.accumulate)
        terms = {"total": output.total.detach(), **output.terms}
        sums = {n: at.sums.get(n, 0) + term.float() * self._together for n, term in terms.items()}
        self.at = replace(at, step=at.step + 1, done=at.done + self._together, sums=sums)
        return terms

    def _warn_of_scale(self, terms: dict[str, Tensor]) -> None:
        """Warn once, in the first steps, where a term leaves the others no say."""
        values = {name: float(term) for name, term in terms.items() if name != "total"}
        name = max(values, key=values.__getitem__, default="")
        others = sum(values.values()) - values.get(name, 0)
        dwarfs = values.get(name, 0) > _LARGE * max(1, others) and len(values) > 1
        if dwarfs:
            print(
                f"warning: the loss {name} is {values[name]:.3g} in step {self.at.step}, all "
                f"others together {others:.3g}, so that they hardly count: the coordinates may be "
                "in a unit such as pixels or millimetres, see pcm3 show",
                file=sys.stderr,
            )
        self.warns = not dwarfs and self.at.step < _FIRST_STEPS

    def _is_finite(self, terms: Sequence[dict[str, Tensor]]) -> bool:
        """Whether losses and gradients are; here the host waits for the device."""
        sums = [each["total"] for each in terms]
        if self.config.precision != "fp16":  # whose gradients overflow now and then, see GradScaler
            # a sum is finite only if all are
            sums += [p.grad.sum() for p in self._trained if p.grad is not None]
        return bool(torch.stack([each.float() for each in sums]).isfinite().all())

    def _explain(
        self, terms: Sequence[dict[str, Tensor]], rows: Sequence[list[int]], before: Position
    ) -> str:
        found = [
            [name for name, value in each.items() if not bool(value.isfinite())] for each in terms
        ]
        row, names = next(((r, n) for r, n in zip(rows, found, strict=True) if n), (rows[0], []))
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
            "(--train.lr), or leave such steps out (--train.nonfinite skip)"
        )

    def _where(self, at: Position, row: Sequence[int]) -> str:
        return f"epoch {at.epoch + 1}, step {at.step + 1}, {self.dataset.describe(row)}"

    @torch.no_grad()
    def _undo(self, before: Position, kept: dict[str, Tensor]) -> None:
        """Go back to where a step began."""
        for name, value in _untrained(self.model):
            value.copy_(kept[name])
        self._optimizer.zero_grad()
        self.model.accumulate(self.config.accumulate)
        self.at = before

    def _agree(self, *flags: bool) -> list[bool]:
        """Whether any process says so."""
        if self.fabric.world_size == 1:
            return list(flags)
        said = torch.tensor(flags, dtype=torch.float32, device=self.fabric.device)
        counts = self.fabric.all_reduce(said, reduce_op="sum")
        assert isinstance(counts, Tensor)
        return [count > 0 for count in counts.tolist()]

    def _stop(self, where: str) -> None:
        self._save()
        self.fabric.barrier()  # whoever ends early makes the launcher end the others
        raise Interrupted(f"stopped {where}")

    def _save(self) -> None:
        """Write a checkpoint, if there is something new."""
        if self.run and self.fabric.is_global_zero and self.at.step > self._saved:
            position = {each.name: getattr(self.at, each.name) for each in fields(self.at)}
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
        """Go on from the run folder's checkpoint, if there is one.

        Raises:
            ValueError: If processes do not see the same one, or it was deleted.
        """
        state = self.run.load_checkpoint() if self.run else None
        if state is None and self.run and self.run.encoder.exists() and self.run.read_metrics():
            raise ValueError(
                f"expected a checkpoint in {self.run.path}, which was trained to its end; "
                "delete the folder to begin anew"
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
                f"expected one run folder {self.run.path} that all machines share; process "
                f"{self.fabric.global_rank} sees another step, {self.at.step}, in it"
            )
        if self.run and self.fabric.is_global_zero:
            records = self.run.read_metrics()
            self.records = [record for record in records if record["step"] <= self.at.step]
            if len(self.records) < self.at.epoch:
                tell(
                    f"warning: {self.run.metrics} holds {len(self.records)} of the "
                    f"{self.at.epoch} epochs trained",
                    file=sys.stderr,
                )
            self.run.write_metrics(self.records)
        self.fabric.barrier()
        self._find_kept()

    def _find_kept(self) -> None:
        """Require that the encoders to keep are there, or can still be.

        Raises:
            ValueError: If the run is past the epoch of one.
        """
        for epoch in self.config.keep_epochs:
            if self.run is None or epoch > self.at.epoch or self.run.kept_encoder(epoch).exists():
                continue
            if (epoch, 0) != (self.at.epoch, self.at.done):
                raise ValueError(
                    f"expected keep_epochs that {self.run.path}, with {self.at.epoch} epochs "
                    f"trained, has yet to reach; got {epoch}, whose encoder was not kept"
                )
            self._keep_encoder(epoch)

    def _keep_encoder(self, epoch: int) -> None:
        if self.run and self.fabric.is_global_zero:
            self._save_encoders(self.run.kept_encoder(epoch))

    def finish(self) -> None:
        """Write the trained encoder; all processes wait for that."""
        if self.run and self.fabric.is_global_zero:
            self._save_encoders(self.run.encoder)
        self.fabric.barrier()

    def _save_encoders(self, file: Path) -> None:
        """Write the first trained encoder to a file, and those of further streams beside it."""
        for number, trained in enumerate(_results(self.model, self.dataset)):
            stem = f"{file.stem}-{trained.stream}" if number else file.stem
            save_encoder(file.with_stem(stem), trained)

    @contextmanager
    def batches(self) -> Iterator[Iterator[Batch]]:
        """The batches of this process for all epochs that are left, read ahead by workers."""
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
        """The batches of this process that are left of an epoch."""
        sequences, processes = len(self.dataset), self.fabric.world_size
        left = remaining_batches(at, sequences, self.config, processes)
        rows: list[list[int]] = left[:, self.fabric.global_rank].tolist()
        return rows


def _reason(error: ValueError) -> str:
    """What an error says, without the traceback that data loaders' workers add."""
    text = str(error)
    inner = re.search(
        r"^[\w.]+Error: (.*)", text[text.rfind("Traceback") :], re.DOTALL | re.MULTILINE
    )
    return inner[1].strip() if text.startswith("Caught ") and inner else text


def _untrained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a forward pass may change: statistics, queues and momentum twins."""
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
    """What a run is for."""
    rest = model.frames, dataset.normalization
    return [
        Pretrained(encoder, model.skeleton, stream, *rest)
        for stream, encoder in model.trained_encoders.items()
    ]


def _describe(model: Method, config: TrainSettings) -> dict[str, Any]:
    """For a run that was not started from a preset's model settings."""
    about = {
        "method": type(model).__name__,
        "encoder": type(model.encoder).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "stream": model.stream,
        "frames": model.frames,
    }
    return {"model": about, "train": asdict(config), "protocol": None}


@contextmanager
def _claimed(fabric: Fabric, run: Run | None, settings: dict[str, Any]) -> Iterator[None]:
    """Hold the run folder; what the first process is refused ends all of them."""
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
    """Leave the global generators as they are for whoever called."""
    return torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else [])
