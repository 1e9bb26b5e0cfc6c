"""Results of evaluations: what a result holds, and its file, written and read here alone."""

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
    """What a result says about one of the runs that it is of.

    Attributes:
        run: Name of the run's folder, or of the encoder's file.
        epoch: Of an encoder that was kept during training; None for the last one.
        encoder: Fingerprint of the encoder; None in results of older versions.
        protocol: What the run was trained under; None where that is not known.
        test_sequences_seen: Test sequences that pretraining has seen, without labels; None where
            that is not known.
        headline: The figure of this run alone that says most, by its name.
    """

    run: str
    epoch: int | None = None
    encoder: str | None = None
    protocol: str | None = None
    test_sequences_seen: int | None = None
    headline: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it is in the file of a result: the figure stands under its own name."""
        about = {name: value for name, value in asdict(self).items() if name != "headline"}
        if self.epoch is None:
            del about["epoch"]
        return about | self.headline


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an evaluation found. What has a default may be missing in results of older versions.

    Attributes:
        task: One of ``TASKS``.
        store: Name of the store.
        store_fingerprint: What the store's content is known by.
        protocol: Training and test part.
        settings: Of the task, without folders.
        allow_normalization: Whether a store of another normalization than the encoder's was taken.
        max_frames: Where longer sequences were cut off; None where all frames counted.
        left_out: ``frames`` after these, and of how many ``sequences``; None where that is not
            known, and ``max_frames`` neither.
        data: Numbers of ``sequences`` and ``frames`` of the store.
        train_sequences: Sequences of the training part.
        test_sequences: Sequences of the test part.
        class_names: Of the store.
        seconds: How long it took.
        device: Where the encoder computed.
        metrics: The figures: numbers, lists by class, and mappings to numbers.
        notes: What the figures should be read with.
        weights: Of each run's scores.
        runs: The runs, more than one where their scores were added.
        details: What pictures need, and what each task adds.
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
        """As it is in its file."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        command = {"command": f"evaluate {content.pop('task')}"}
        return command | content | {"runs": [about.to_json() for about in self.runs]}


def write_result(file: Path, result: Result) -> None:
    """Write a result to a file.

    Raises:
        OSError: Naming the file, if it cannot be written.
    """
    content = result.to_json().items()
    # an entry a line, those with long lists too
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content]
    with replacing(file) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_result(file: Path, check: Callable[[Result], None]) -> Result:
    """Read a result that ``write_result`` wrote, now or in an older version.

    Args:
        file: Its file.
        check: Raises a ``ValueError`` if the task is not known, or its figures or details do not
            fit; ``check_result`` of ``evaluation.tasks.registry``.

    Raises:
        SkeletonFormatError: If it is another file or damaged, naming file and place.
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
    """Whether a figure is a length by its name; all others are fractions."""
    return "_mm" in figure


def plain_settings(settings: Any) -> Settings:
    """Settings of a task, a dataclass, as JSON gives them back, without folders."""
    folders = {each.name for each in fields(settings) if "Path" in str(each.type)}
    kept = {name: value for name, value in asdict(settings).items() if name not in folders}
    plain: Settings = json.loads(json.dumps(kept))
    return plain


def changed_settings(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Settings that are not the defaults, those of a group under ``group.name``."""
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        default = defaults.get(name)
        if isinstance(value, dict):
            inner = default if isinstance(default, dict) else {}  # of another version
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
        known = {each.name for each in fields(RunAbout)}
        headline = {
            name: value
            for name, value in about.items()
            if name not in known and isinstance(value, int | float)
        }
        runs.append(RunAbout(**_checked(RunAbout, about | {"headline": headline}, f"runs[{at}].")))
    task = content["command"].removeprefix("evaluate ")
    return Result(**_checked(Result, content | {"task": task, "runs": []}) | {"runs": runs})


def _checked(kind: type, content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a dataclass that a JSON object has; those without a default have to be there.

    Raises:
        ValueError: Naming the fields that are missing, or the first that is of another kind.
    """
    missing = [
        each.name
        for each in fields(kind)
        if each.name not in content and each.default is MISSING and each.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"expected {', '.join(prefix + name for name in missing)}, got none")
    kinds = {name: each for name, each in get_type_hints(kind).items() if name in content}
    for name, each in kinds.items():
        check_kind(content[name], each, prefix + name)
    return {name: content[name] for name in kinds}


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
