"""The run folder: what a pretraining run leaves behind, and how to read it.

========================  ====================================================
``config.json``           every setting
``metrics.jsonl``         one JSON object for each epoch
``checkpoint.pt``         all that is needed to go on; ``checkpoint-previous.pt`` the one before
``encoder.safetensors``   the trained encoder, self-describing; ``encoder-epoch300.safetensors``
                          that of an epoch, where it was to be kept
``results/*.json``        what evaluations wrote
========================  ====================================================
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pcm3._files import locked, replacing
from pcm3.training.checkpoint import load_checkpoint, previous, save_checkpoint
from pcm3.training.config import Config


class Run:
    """Paths and files of one run folder.

    Args:
        path: The folder; made when something is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoint = self.path / "checkpoint.pt"
        self.encoder = self.path / "encoder.safetensors"
        self.results = self.path / "results"

    def kept_encoder(self, epoch: int) -> Path:
        """The file of the encoder after so many epochs."""
        return self.encoder.with_stem(f"{self.encoder.stem}-epoch{epoch}")

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` says: settings, ``data``, and where known the recordings ``seen``.

        Raises:
            ValueError: If the folder holds no run, or the file is damaged.
        """
        if not self.config.is_file():
            raise ValueError(f"expected a run folder with a config.json, got {self.path}")
        try:
            settings = json.loads(self.config.read_text())
        except ValueError as error:
            raise ValueError(f"{self.config}: expected JSON, {error}") from None
        if not isinstance(settings, dict):
            raise ValueError(f"{self.config}: expected settings, got {reprlib.repr(settings)}")
        return settings

    def load_config(self) -> Config:
        """The settings that the run was trained with.

        Raises:
            ValueError: If the folder holds no run, or one whose model was built in Python.
        """
        if "method" not in self.settings():
            raise ValueError(
                f"{self.path} does not hold the settings of its model, for it was built in Python; "
                "expected a run of pcm3 pretrain"
            )
        return Config.from_json(self.config.read_text())

    @contextmanager
    def claimed(self, settings: dict[str, Any]) -> Iterator[None]:
        """Keep other processes from training into the folder, with these settings.

        Writes the settings of a new run, and refuses to continue one that has others. A folder in
        which nothing was trained yet, because the first attempt failed, is a new run.

        Raises:
            ValueError: If the folder holds a run with other settings, or is no run folder, or
                another process trains into it.
        """
        self._check_folder()
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path, f"training into {self.path}"):
            self.check(settings)
            if not self._is_trained():
                self.write_text(self.config, json.dumps(settings, indent=2) + "\n")
            for leftover in self.path.glob(".*.tmp"):  # of a process that was killed
                leftover.unlink()
            yield

    def check(self, settings: dict[str, Any]) -> None:
        """Require that training with these settings may begin here, or go on.

        Raises:
            ValueError: If the folder holds a run with other settings, or is no run folder.
        """
        self._check_folder()
        if not self._is_trained():
            return
        plain = json.loads(json.dumps(settings))
        there, here = (_comparable(each) for each in (self.settings(), plain))
        differences = find_differences(there, here)
        if differences:
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(differences)}): "
                "give the same, or another folder"
            )

    def _check_folder(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"expected a run folder, got the file {self.path}")
        if (self.path / "meta.json").exists():
            raise ValueError(f"expected a run folder, got the store {self.path}")

    def _is_trained(self) -> bool:
        weights = (self.checkpoint, previous(self.checkpoint), self.encoder)
        return self.config.exists() and any(each.exists() for each in weights)

    def write_text(self, file: Path, text: str) -> None:
        """Write a file whole or not at all."""
        with replacing(file) as temporary:
            temporary.write_text(text)

    def write_result(self, name: str, result: dict[str, Any]) -> Path:
        """Keep the result of an evaluation as ``results/NAME.json``."""
        file = self.results / f"{name}.json"
        # an entry a line, those with long lists too
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()]
        self.write_text(file, "{\n" + ",\n".join(lines) + "\n}\n")
        return file

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, and keep the one before; it says which settings it is of."""
        settings = json.dumps(_comparable(self.settings()))
        save_checkpoint(self.checkpoint, state | {"settings": settings})

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint that is not damaged, on the CPU, or None where there is none.

        Raises:
            ValueError: If all are damaged, or it is one of a run with other settings.
        """
        state = load_checkpoint(self.checkpoint)
        if state is not None:
            theirs = json.loads(state.pop("settings"))
            differences = find_differences(theirs, _comparable(self.settings()))
            if differences:
                raise ValueError(
                    f"{self.checkpoint} is of another run than {self.config} "
                    f"({'; '.join(differences)})"
                )
        return state

    def read_metrics(self) -> list[dict[str, Any]]:
        """All epochs' records; a last line that was not written to its end is none.

        Raises:
            ValueError: If another line is no record.
        """
        if not self.metrics.exists():
            return []
        records = []
        for number, line in enumerate(self.metrics.read_text().split("\n")[:-1], 1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{self.metrics}, line {number}: expected a JSON object, got "
                    f"{reprlib.repr(line)} ({error})"
                ) from None
        return records

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        """Replace the record of all epochs."""
        self.write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in records))

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one epoch's record."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")


def find_run(path: str | Path) -> tuple[Run | None, int | None]:
    """The run that an encoder belongs to, and of a kept one the epoch.

    Args:
        path: A folder, or the file of an encoder.

    Returns:
        The run of a folder, or that of a kept encoder and its epoch; None for what there is not.
    """
    path = Path(path)
    if path.is_dir():
        return Run(path), None
    run, kept = Run(path.parent), re.fullmatch(r".*-epoch(\d+)", path.stem)
    if kept and run.config.is_file() and path.name == run.kept_encoder(int(kept[1])).name:
        return run, int(kept[1])
    return None, None


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that may change when a run goes on.

    What was seen follows from the rest, and the stores may have moved; devices come and go; and
    which encoders are kept changes none of them.
    """
    kept = {name: value for name, value in settings.items() if name != "seen"}
    free = ("accelerator", "deterministic", "devices", "nodes", "workers", "keep_epochs")
    kept["train"] = {k: v for k, v in settings.get("train", {}).items() if k not in free}
    return kept


def find_differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[str]:
    """What settings in a run and settings at hand differ in, a phrase each."""
    found = []
    for key in sorted(set(there) | set(here)):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += find_differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} is {reprlib.repr(old)} there and {reprlib.repr(new)} here")
    return found
