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
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


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

    def protocol(self) -> str:
        """The protocol that the run was trained under.

        Raises:
            ValueError: If the folder holds no run.
        """
        if not self.config.is_file():
            raise ValueError(f"expected a run folder with a config.json, got {self.path}")
        protocol: str = json.loads(self.config.read_text())["protocol"]
        return protocol

    def write_text(self, file: Path, text: str) -> None:
        """Write a file whole or not at all."""
        with _replacing(file) as temporary:
            temporary.write_text(text)

    def write_result(self, name: str, result: dict[str, Any]) -> Path:
        """Keep the result of an evaluation as ``results/NAME.json``."""
        file = self.results / f"{name}.json"
        self.write_text(file, json.dumps(result, indent=2) + "\n")
        return file

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        with _replacing(self.checkpoint) as temporary:
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


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
