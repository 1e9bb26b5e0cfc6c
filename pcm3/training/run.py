"""The run folder: what a pretraining run leaves behind, and how to read it.

========================  ====================================================
``config.json``           every setting
``metrics.jsonl``         one JSON object for each epoch
``checkpoint.pt``         all that is needed to go on
``encoder.safetensors``   the trained encoder, self-describing
``results/*.json``        what evaluations wrote
========================  ====================================================
"""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import Any

import torch

from pcm3._files import replacing
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

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` says: settings, ``data``, and where known the recordings ``seen``.

        Raises:
            ValueError: If the folder holds no run.
        """
        if not self.config.is_file():
            raise ValueError(f"expected a run folder with a config.json, got {self.path}")
        settings: dict[str, Any] = json.loads(self.config.read_text())
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

    def claim(self, settings: dict[str, Any]) -> None:
        """Write the settings of a new run; refuse to continue one that has others.

        A folder in which nothing was trained yet, because the first attempt failed, is a new run.

        Raises:
            ValueError: If the folder holds a run with other settings, or is no run folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"expected a run folder, got the file {self.path}")
        if (self.path / "meta.json").exists():
            raise ValueError(f"expected a run folder, got the store {self.path}")
        text = json.dumps(settings, indent=2) + "\n"
        trained = self.checkpoint.exists() or self.encoder.exists()
        if not (trained and self.config.exists()):
            self.write_text(self.config, text)
            return
        there, here = (_comparable(each) for each in (self.settings(), json.loads(text)))
        differences = find_differences(there, here)
        if differences:
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(differences)}): "
                "give the same, or another folder"
            )

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
        """Replace the checkpoint."""
        with replacing(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint on the CPU, or None where there is none."""
        if not self.checkpoint.exists():
            return None
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        return state

    def read_metrics(self) -> list[dict[str, Any]]:
        """All epochs' records."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        """Replace the record of all epochs."""
        self.write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in records))

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one epoch's record."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that may change when a run goes on.

    What was seen follows from the rest, and the stores may have moved; devices come and go.
    """
    kept = {name: value for name, value in settings.items() if name != "seen"}
    machines = ("accelerator", "devices", "nodes", "workers")
    kept["train"] = {k: v for k, v in settings.get("train", {}).items() if k not in machines}
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
