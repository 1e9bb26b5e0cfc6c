"""Results of evaluations: the type, and the writer and the reader of its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import replacing
from pcm3.io.json import check_kind, read_json

_Value: TypeAlias = bool | float | str | None
Settings: TypeAlias = dict[str, _Value | list[_Value] | dict[str, _Value | list[_Value]]]
"""Settings of a task as JSON has them."""


@dataclass(frozen=True, kw_only=True)
class RunAbout:
    """One of the runs that a result was made with.

    Attributes:
        run: Name of the run's folder, or of the encoder's file.
        epoch: Epoch of an encoder that was kept during training; None for the last encoder.
        encoder: Fingerprint of the encoder; None in results of older versions.
        protocol: Protocol of the run's training; None if not known.
        test_sequences_seen: Number of test sequences that pretraining is known to have seen,
            without labels; None if it is not known to have seen one, but may have.
        headline: The main figure of this run alone, by its name.
    """

    run: str
    epoch: int | None = None
    encoder: str | None = None
    protocol: str | None = None
    test_sequences_seen: int | None = None
    headline: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content as in the file of a result."""
        about = {name: value for name, value in asdict(self).items() if name != "headline"}
        if self.epoch is None:
            del about["epoch"]
        return about | self.headline


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of an evaluation. Attributes with a default may be missing in older files.

    Attributes:
        task: One of ``TASKS``.
        store: Name of the store.
        store_fingerprint: Fingerprint of the store's content.
        protocol: Training and test part.
        settings: Settings of the task, without folders.
        allow_normalization: Whether a store of another normalization than the encoder's was taken.
        max_frames: Frames after which sequences were cut off; None if all frames counted.
        left_out: Number of ``frames`` that were cut off, and of how many ``sequences``; number of
            test sequences that are ``copies`` of training sequences. None if neither this nor
            ``max_frames`` is known.
        data: Numbers of ``sequences`` and ``frames`` of the store.
        train_sequences: Sequences of the training part.
        test_sequences: Sequences of the test part.
        class_names: Classes of the store.
        seconds: Duration of the evaluation.
        device: Device of the encoder.
        metrics: The figures: numbers, ``per_class`` a list, ``NAME_by_horizon`` a mapping.
        notes: Remarks that readers of the figures should know.
        weights: Weight of each run's scores.
        runs: The runs, more than one if their scores were added.
        details: Further values that depend on the task, such as those that pictures need.
    """

    task: str
    store: str
    store_fingerprint: str | None = None
    protocol: str
    settings: Settings
    allow_normalization: bool = False
    max_frames: int | None = None
    left_out: dict[str, int] | None = None
    data: dict[str, int] = field(default_factory=dict)
    train_sequences: int | None = None
    test_sequences: int
    class_names: list[str]
    seconds: float | None = None
    device: str | None = None
    metrics: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    weights: list[float]
    runs: list[RunAbout]
    details: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the content as in the file of a result."""
        content = {part.name: getattr(self, part.name) for part in fields(self)}
        command = {"command": f"evaluate {content.pop('task')}"}
        return command | content | {"runs": [about.to_json() for about in self.runs]}


def write_result(file: Path, result: Result) -> None:
    """Write a result to a file.

    Raises:
        OSError: If the file cannot be written; the message names it.
    """
    content = result.to_json().items()
    # each entry on one line, even if it has long lists
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content]
    with replacing(file) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_result(file: Path, check: Callable[[Result], None]) -> Result:
    """Read a result that ``write_result`` wrote, now or in an older version.

    Args:
        file: File of the result.
        check: Function that raises a ``ValueError`` if the task is not known, or its figures or
            details are wrong, such as ``check_result`` of ``evaluation.tasks.registry``.

    Raises:
        SkeletonFormatError: If the file is damaged or not a result; the message names the place.
    """
    content = read_json(file)
    try:
        result = _from_json(content)
        _check(result)
        check(result)
    except ValueError as error:
        raise SkeletonFormatError(f"{file}: {error}") from None
    return result


def is_in_millimetres(figure: str) -> bool:
    """Return whether a figure is in millimetres, judged by its name; all others are fractions."""
    return "_mm" in figure


def plain_settings(settings: Any) -> Settings:
    """Convert settings of a task, a dataclass, to what comes back from JSON, without folders."""
    folders = {setting.name for setting in fields(settings) if "Path" in str(setting.type)}
    kept = {name: value for name, value in asdict(settings).items() if name not in folders}
    plain: Settings = json.loads(json.dumps(kept))
    return plain


def changed_settings(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Return the settings that differ from the defaults; nested ones are named ``group.name``."""
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        default = defaults.get(name)
        if isinstance(value, dict):
            inner = default if isinstance(default, dict) else {}  # other versions may differ
            changed |= changed_settings(value, inner, f"{prefix}{name}.")
        elif value != default:
            changed[prefix + name] = value
    return changed


def _from_json(content: dict[str, Any]) -> Result:
    for name, kind in (("command", str), ("runs", list[dict[str, Any]])):
        if name not in content:
            raise ValueError(f"expected {name}, got none")
        check_kind(content[name], kind, name)
    runs = []
    for at, about in enumerate(content["runs"]):
        known = {part.name for part in fields(RunAbout)}
        headline = {
            name: value
            for name, value in about.items()
            if name not in known and isinstance(value, int | float)
        }
        runs.append(RunAbout(**_checked(RunAbout, about | {"headline": headline}, f"runs[{at}].")))
    task = content["command"].removeprefix("evaluate ")
    return Result(**_checked(Result, content | {"task": task, "runs": []}) | {"runs": runs})


def _checked(kind: type, content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Check the fields of a dataclass in a JSON object; those without a default are required.

    Raises:
        ValueError: If fields are missing or one is of another type; the message names them.
    """
    required = [
        part.name
        for part in fields(kind)
        if part.default is MISSING and part.default_factory is MISSING
    ]
    if missing := [prefix + name for name in required if name not in content]:
        raise ValueError(f"expected {', '.join(missing)}, got none")
    types = {name: type_ for name, type_ in get_type_hints(kind).items() if name in content}
    for name, type_ in types.items():
        check_kind(content[name], type_, prefix + name)
    return {name: content[name] for name in types}


def _check(result: Result) -> None:
    for name, value in result.metrics.items():
        check_kind(value, _kind_of(name), f"metrics.{name}")
    runs, weights = len(result.runs), len(result.weights)
    if not runs == weights > 0:
        raise ValueError(f"expected a weight for each of {runs} runs, got {weights}")
    classes = len(result.class_names)
    count = len(result.metrics.get("per_class", result.class_names))
    if count != classes:
        raise ValueError(f"expected per_class of {classes} classes, got {count}")


def _kind_of(metric: str) -> Any:
    if metric == "per_class":
        return list[float | None]
    return dict[str, float] if metric.endswith("_by_horizon") else float
