"""The run folder: the files of a pretraining run.

========================  ====================================================
``config.json``           all settings
``metrics.jsonl``         one JSON object per epoch
``checkpoint.pt``         state from which training continues; ``checkpoint-previous.pt`` is the
                          checkpoint before it
``encoder.safetensors``   the trained encoder and how to build it;
                          ``encoder-epoch300.safetensors`` is one kept after epoch 300, and
                          ``encoder-motion.safetensors`` that of another stream
``seen.npz``              keys by which the training sequences are recognised
``results/*.json``        results of evaluations
========================  ====================================================
"""

from __future__ import annotations

import json
import re
import reprlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from pcm3.data.dataset import LONGEST
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import locked, regular, replacing
from pcm3.io.json import parse_json, read_json
from pcm3.methods.catalog import RunSettings
from pcm3.methods.settings import NO_EFFECT, present_settings
from pcm3.runs.checkpoint import load_checkpoint, previous, save_checkpoint
from pcm3.terminal import tell


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
    protocol: str | None
    sequences: int
    frames: int


class _Train(TypedDict, total=False):
    epochs: int
    seed: int
    batch_size: int
    devices: int
    nodes: int


class _Known(TypedDict, total=False):
    method: str
    model: dict[str, Any]
    protocol: str | None
    data: _Data
    seen: list[_Seen] | None
    start: str
    preset: str | None
    parts: dict[str, str | None]
    code: dict[str, list[str]]


class _Settings(_Known):
    train: _Train


class _Epoch(TypedDict):
    epoch: int
    step: int


class Run:
    """Paths and files of one run folder.

    Args:
        path: The folder. It is created when the first file is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoint = self.path / "checkpoint.pt"
        self.encoder = self.path / "encoder.safetensors"
        self.seen = self.path / "seen.npz"
        self.results = self.path / "results"

    def kept_encoder(self, epoch: int) -> Path:
        """Return the path of the encoder that is kept after an epoch."""
        return self.encoder.with_stem(f"{self.encoder.stem}-epoch{epoch}")

    def settings(self) -> dict[str, Any]:
        """Read ``config.json``: settings, ``data`` and, if known, the recordings ``seen``.

        Raises:
            ValueError: If the folder holds no run.
            SkeletonFormatError: If the file is damaged.
        """
        if not regular(self.config).is_file():
            raise ValueError(f"expected a run folder with a config.json, got {self.path}")
        settings: dict[str, Any] = read_json(self.config, _Settings)
        return settings

    def load_config(self) -> RunSettings:
        """Load the settings that the run was trained with.

        Raises:
            ValueError: If the folder holds no run, or a run whose model was built in Python.
            SkeletonFormatError: If ``config.json`` is damaged.
        """
        if "method" not in self.settings():
            raise ValueError(
                f"expected a run of pcm3 pretrain, got {self.path}, whose model was built in "
                "Python, where its encoder may have been built in any way"
            )
        try:
            return RunSettings.from_json(regular(self.config).read_text(encoding="utf-8"))
        except ValueError as error:
            raise SkeletonFormatError(f"{self.config}: {error}") from None

    @contextmanager
    def claimed(self, settings: dict[str, Any], seen: Mapping[str, Any]) -> Iterator[None]:
        """Lock the folder against other processes while a run with these settings trains.

        The settings of a new run and what it sees are written; a run with other settings is
        refused. A folder without a checkpoint or encoder, for example after a failed first attempt,
        counts as new. If code of the user has changed since the run began, a warning is printed on
        standard error, and ``config.json`` keeps the digests of both.

        Args:
            settings: Content of ``config.json``.
            seen: Arrays of ``seen.npz``.

        Raises:
            ValueError: If the folder holds a run with other settings, is not a run folder, or is
                in use by another process.
        """
        self._check_folder()
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path, f"training into {self.path}"):
            self.check(settings)
            if self._is_trained():
                self._compare_code(settings)
            else:
                with replacing(self.seen) as temporary, temporary.open("wb") as file:
                    np.savez(file, **seen)
                self._write_settings(settings)
            for leftover in self.path.glob(".*.tmp"):  # files of a process that was killed
                leftover.unlink()
            yield

    def check(self, settings: dict[str, Any]) -> None:
        """Require that training with these settings can begin or continue in the folder.

        Raises:
            ValueError: If the folder holds a run with other settings, or is not a run folder.
        """
        self._check_folder()
        if not self._is_trained():
            return
        old, new = self.settings(), json.loads(json.dumps(settings))
        if "method" not in old and "method" in new:
            raise ValueError(
                f"{self.path} holds a run that fit made in Python: continue it there, with the "
                "same model and data, or choose another folder"
            )
        if "method" in old and "method" not in new:
            raise ValueError(
                f"{self.path} holds a run of pcm3 pretrain: continue it with that command, or give "
                "fit another folder"
            )
        if not knows_settings(old):
            new = _only_described(new, old)
        differences = find_differences(comparable(old), comparable(new))
        if differences:
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(differences)}): "
                "use the same settings, or another folder; to go on from its weights with other "
                f"settings, add --from {self.path} to another --out"
            )

    def _write_settings(self, settings: dict[str, Any]) -> None:
        self.write_text(self.config, json.dumps(settings, indent=2) + "\n")

    def _compare_code(self, settings: dict[str, Any]) -> None:
        """Warn of code that has changed, and add its digest if the run trains on."""
        old = self.settings()
        before, now = old.get("code"), settings.get("code", {})
        if before is None:  # a run of an earlier version, or without code of the user
            return
        changed = [name for name in now if before.get(name, [])[-1:] != now[name]]
        if not changed:
            return
        finished = self.encoder.is_file()
        what = "it is finished and stays as it is" if finished else "it continues with the new code"
        tell(
            f"warning: the code of {', '.join(changed)} has changed since {self.path} was trained "
            f"with it; {what}",
            file=sys.stderr,
        )
        if not finished:
            added = {name: [*before.get(name, []), *now[name]] for name in changed}
            self._write_settings(old | {"code": before | added})

    def _check_folder(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"expected a run folder, got the file {self.path}")
        if (self.path / "meta.json").exists():
            raise ValueError(f"expected a run folder, got the store {self.path}")

    def _is_trained(self) -> bool:
        weights = (self.checkpoint, previous(self.checkpoint), self.encoder)
        return self.config.exists() and any(file.exists() for file in weights)

    def write_text(self, file: Path, text: str) -> None:
        """Write a file completely or not at all."""
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write a checkpoint with the settings of the run; keep the one before as well."""
        settings = json.dumps(comparable(self.settings()))
        save_checkpoint(self.checkpoint, state | {"settings": settings})

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Load the last intact checkpoint on the CPU; None if the run has no checkpoint.

        Raises:
            ValueError: If all checkpoints are damaged, or belong to a run with other settings.
        """
        state = load_checkpoint(self.checkpoint)
        if state is not None:
            old = comparable(json.loads(state.pop("settings")))
            differences = find_differences(old, comparable(self.settings()))
            if differences:
                raise ValueError(
                    f"{self.checkpoint} belongs to another run than {self.config} "
                    f"({'; '.join(differences)})"
                )
        return state

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read the metrics of all epochs; an unfinished last line is left out.

        Raises:
            SkeletonFormatError: If another line does not hold the metrics of an epoch.
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
        """Replace the metrics of all epochs."""
        self.write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in records))

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add the metrics of one epoch."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")


_BESIDE = re.compile(r"encoder(?:-epoch(\d+))?(?:-(joint|bone|motion))?\.safetensors")


def find_run(path: str | Path) -> tuple[Run | None, int | None]:
    """Find the run that an encoder belongs to, and the epoch after which it was kept.

    Args:
        path: A run folder, or the file of an encoder.

    Returns:
        The run, or None for a file outside a run; and the epoch, or None for an encoder of a whole
        run.
    """
    path = Path(path)
    if path.is_dir():
        return Run(path), None
    run, named = Run(path.parent), _BESIDE.fullmatch(path.name)
    if named and any(named.groups()) and run.config.is_file():
        return run, int(named[1]) if named[1] else None
    return None, None


def find_stream(path: str | Path) -> str | None:
    """Find the stream in the name of an encoder's file, as runs of several streams keep them.

    Returns:
        The stream; None for a run folder, for the first encoder of a run and for other files.
    """
    named = _BESIDE.fullmatch(Path(path).name)
    return named[2] if named and find_run(path)[0] else None


def knows_settings(settings: dict[str, Any]) -> bool:
    """Return whether ``config.json`` holds all settings of the method.

    It does not for models that were built in Python with earlier versions.
    """
    return "method" in settings or "parts" in settings


def find_method_name(settings: dict[str, Any]) -> str | None:
    """Return the name of the method in ``config.json``; None if it is not known."""
    model = settings.get("model", {})
    former = str(model["method"]).lower() if "method" in model else None
    name: str | None = settings.get("method") or model.get("name", former)
    return name


def _only_described(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Return what earlier versions wrote of a model that was built in Python."""
    kept = {name: value for name, value in new.items() if name != "parts"}
    model = {name: value for name, value in new["model"].items() if name in old["model"]}
    return kept | {"model": model}


def comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that must stay the same when a run continues.

    The recordings seen are left out: they follow from the rest, and stores may have moved. So are
    the code of the user, in which a fault may have been mended, the name of the preset, the number
    of devices, and settings that do not affect the result, such as ``keep_epochs``.
    """
    left_out = ("seen", "code", "preset")
    kept = {name: value for name, value in settings.items() if name not in left_out}
    kept.setdefault("max_frames", LONGEST)  # earlier versions did not store it and cut there
    kept.setdefault("any_layout", False)
    free = (*NO_EFFECT, "devices", "nodes")
    kept["train"] = {k: v for k, v in settings.get("train", {}).items() if k not in free}
    model = present_settings(settings.get("model", {}))
    # earlier versions lack settings that are now empty
    kept["model"] = {name: value for name, value in model.items() if value != []}
    return kept


def find_differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Describe each difference between the settings of a run and new settings."""
    differences = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            differences += find_differences(before, after, f"{prefix}{key}.")
        elif before != after:
            differences.append(
                f"{prefix}{key} is {reprlib.repr(before)} there and {reprlib.repr(after)} here"
            )
    return differences
