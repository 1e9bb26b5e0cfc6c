"""What training writes to its run folder: checkpoints, metrics and encoders."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pcm3.data.dataset import ClipDataset
from pcm3.encoders.files import Pretrained, check_savable, save_encoder
from pcm3.errors import explain_missing
from pcm3.methods import Method
from pcm3.runs.folder import Run
from pcm3.terminal import tell
from pcm3.training.order import Position
from pcm3.training.step import Step

with explain_missing():
    from lightning_fabric import Fabric


class RunWriter:
    """Writer of a run folder. Only the first process writes; without a folder, none does.

    Args:
        fabric: The processes of the run.
        run: The run folder, or None.
        model: The model that is trained.
        dataset: The training sequences.
        step: Holds the state of optimiser and precision.
        keep_epochs: Epochs after which the encoder is kept in a separate file.
    """

    def __init__(
        self,
        fabric: Fabric,
        run: Run | None,
        model: Method,
        dataset: ClipDataset,
        step: Step,
        keep_epochs: Sequence[int],
    ) -> None:
        self._fabric, self._run = fabric, run
        self._model, self._dataset, self._step = model, dataset, step
        self._keep_epochs = keep_epochs
        self._saved = 0  # step of the last checkpoint

    @property
    def _writes(self) -> Run | None:
        """The run folder if this process writes to it."""
        return self._run if self._fabric.is_global_zero else None

    def resume(self) -> tuple[Position, list[dict[str, Any]]]:
        """Load the run folder's checkpoint, if it has one.

        Returns:
            The progress and, in the first process, the metrics of each epoch so far.

        Raises:
            ValueError: If the processes see different checkpoints, that of a finished run was
                deleted, or the run is past the epoch of an encoder that was not kept.
        """
        at = self._load()
        if self._fabric.broadcast(at.step) != at.step:
            assert self._run
            raise ValueError(
                f"expected all machines to share the run folder {self._run.path}; process "
                f"{self._fabric.global_rank} found a checkpoint of another step, {at.step}"
            )
        records: list[dict[str, Any]] = []
        if run := self._writes:
            records = [record for record in run.read_metrics() if record["step"] <= at.step]
            trained = sum(record["epoch"] > 0 for record in records)
            if trained < at.epoch:
                tell(
                    f"warning: {run.metrics} holds {trained} of the {at.epoch} trained epochs",
                    file=sys.stderr,
                )
            run.write_metrics(records)
        self._fabric.barrier()
        self._find_kept(at)
        return at, records

    def _load(self) -> Position:
        run = self._run
        state = run.load_checkpoint() if run else None
        if state is None:
            if run and run.encoder.exists() and any(each["step"] for each in run.read_metrics()):
                raise ValueError(
                    f"expected a checkpoint in {run.path}, which holds a finished run; delete the "
                    "folder to start again"
                )
            return Position()
        try:
            self._model.load_state_dict(state["model"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{run and run.path}: expected a checkpoint with the weights of the model as this "
                f"version builds it, got others: {reason:.300}"
            ) from None
        self._step.load_state(state)
        sums = {name: float(value) for name, value in state["position"]["sums"].items()}
        at = Position(**(state["position"] | {"sums": sums}))
        self._saved = at.step
        return at

    def _find_kept(self, at: Position) -> None:
        """Require that every encoder to keep is in the run folder or of an epoch to come."""
        for epoch in self._keep_epochs:
            if self._run is None or epoch > at.epoch or self._run.kept_encoder(epoch).exists():
                continue
            if (epoch, 0) != (at.epoch, at.done):
                raise ValueError(
                    f"expected keep_epochs after epoch {at.epoch}, up to which {self._run.path} "
                    f"is trained; got {epoch}, whose encoder was not kept"
                )
            self.keep_encoder(epoch)

    def save(self, at: Position) -> None:
        """Write a checkpoint if a step was taken since the last one."""
        if self._writes and at.step > self._saved:
            position = asdict(at)
            state = {"model": self._model.state_dict(), **self._step.state(), "position": position}
            self._writes.save_checkpoint(state)
        self._saved = at.step

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Append the metrics of an epoch."""
        if self._writes:
            self._writes.append_metrics(record)

    def keep_encoder(self, epoch: int) -> None:
        """Write the encoder after an epoch to a file of its own."""
        if self._writes:
            self._save_encoders(self._writes.kept_encoder(epoch))

    def finish(self) -> None:
        """Write the trained encoder while all processes wait."""
        if self._writes:
            self._save_encoders(self._writes.encoder)
        self._fabric.barrier()

    def _save_encoders(self, file: Path) -> None:
        """Write the first trained encoder to a file, and encoders of other streams next to it."""
        for number, trained in enumerate(_results(self._model, self._dataset)):
            stem = f"{file.stem}-{trained.stream}" if number else file.stem
            save_encoder(file.with_stem(stem), trained)


def check_savable_results(model: Method, dataset: ClipDataset) -> None:
    """Require that a run folder can keep the encoders of a model.

    Raises:
        ValueError: If an encoder could not be built again from a file.
    """
    for trained in _results(model, dataset):
        check_savable(trained)


def _results(model: Method, dataset: ClipDataset) -> list[Pretrained]:
    """Trained encoders of a run."""
    rest = model.frames, dataset.normalization, dataset.unit
    return [
        Pretrained(encoder, model.skeleton, stream, *rest)
        for stream, encoder in model.trained_encoders.items()
    ]
