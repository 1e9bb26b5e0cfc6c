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
from typing import Any, TypedDict

from pcm3.data.dataset import LONGEST
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import locked, regular, replacing
from pcm3.io.json import parse_json, read_json
from pcm3.methods.catalog import RunSettings
from pcm3.methods.settings import FORMER_NAMES, NO_EFFECT
from pcm3.runs.checkpoint import load_checkpoint, previous, save_checkpoint


class _Skeleton(TypedDict):
    name: str
    joints: list[str]


class _Data(TypedDict):
    sequences: int
    frames: int
    normalization: str | None
    skeleton: _Skeleton


class _Seen(TypedDict):
    store: str
    protocol: str
    sequences: int
    frames: int


class _Train(TypedDict, total=False):
    epochs: int
    seed: int
    devices: int
    nodes: int


class _Known(TypedDict, total=False):
    method: str
    model: dict[str, Any]
    protocol: str | None
    data: _Data
    seen: list[_Seen] | None
    start: str


class _Settings(_Known):
    train: _Train


class _Epoch(TypedDict):
    epoch: int
    step: int


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
            ValueError: If the folder holds no run.
            SkeletonFormatError: If the file is damaged.
        """
        if not regular(self.config).is_file():
            raise ValueError(f"expected a run folder with a config.json, got {self.path}")
        settings: dict[str, Any] = read_json(self.config, _Settings)
        return settings

    def load_config(self) -> RunSettings:
        """The settings that the run was trained with.

        Raises:
            ValueError: If the folder holds no run, or one whose model was built in Python.
            SkeletonFormatError: If ``config.json`` is damaged.
        """
        if "method" not in self.settings():
            raise ValueError(
                f"{self.config} does not hold the settings of its model, for it was built in "
                "Python; expected a run of pcm3 pretrain"
            )
        try:
            return RunSettings.from_json(regular(self.config).read_text(encoding="utf-8"))
        except ValueError as error:
            raise SkeletonFormatError(f"{self.config}: {error}") from None

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
        there, here = self.settings(), json.loads(json.dumps(settings))
        in_python = [name for name, each in (("it", there), ("this", here)) if "method" not in each]
        if in_python == ["it"]:
            raise ValueError(
                f"{self.config} is of a run that fit made in Python: go on there, with the same "
                "model and data, or give another folder"
            )
        if in_python == ["this"]:
            raise ValueError(
                f"{self.config} is of a run of pcm3 pretrain: go on with that command, or give fit "
                "another folder"
            )
        differences = find_differences(comparable(there), comparable(here))
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
            temporary.write_text(text, encoding="utf-8")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, and keep the one before; it says which settings it is of."""
        settings = json.dumps(comparable(self.settings()))
        save_checkpoint(self.checkpoint, state | {"settings": settings})

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint that is not damaged, on the CPU, or None where there is none.

        Raises:
            ValueError: If all are damaged, or it is one of a run with other settings.
        """
        state = load_checkpoint(self.checkpoint)
        if state is not None:
            theirs = comparable(json.loads(state.pop("settings")))
            differences = find_differences(theirs, comparable(self.settings()))
            if differences:
                raise ValueError(
                    f"{self.checkpoint} is of another run than {self.config} "
                    f"({'; '.join(differences)})"
                )
        return state

    def read_metrics(self) -> list[dict[str, Any]]:
        """All epochs' records; a last line that was not written to its end is none.

        Raises:
            SkeletonFormatError: If another line is no record.
        """
        if not self.metrics.exists():
            return []
        records = []
        for number, line in enumerate(regular(self.metrics).read_bytes().split(b"\n")[:-1], 1):
            where = f"{self.metrics}, line {number}"
            parse_json(line, where, _Epoch)
            records.append(parse_json(line, where, dict[str, float]))
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


def comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that may change when a run goes on.

    What was seen follows from the rest, and the stores may have moved; devices come and go; and
    which encoders are kept changes none of them.
    """
    kept = {name: value for name, value in settings.items() if name != "seen"}
    kept.setdefault("max_frames", LONGEST)  # runs once said nothing, and cut there
    free = (*NO_EFFECT, "devices", "nodes")
    kept["train"] = {k: v for k, v in settings.get("train", {}).items() if k not in free}
    model = settings.get("model", {}).items()  # earlier versions lack settings that are empty now
    kept["model"] = {FORMER_NAMES.get(name, name): value for name, value in model if value != []}
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
