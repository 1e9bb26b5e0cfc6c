"""Results of evaluations on file: the one place that says what they hold, and checks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.io.json import check_kind, read_json

Setting = bool | float | str | None


class _Headline(TypedDict):
    run: str


class _About(_Headline, total=False):
    protocol: str | None
    test_sequences_seen: int | None


class _Known(TypedDict, total=False):
    data: dict[str, int]
    train_sequences: int
    max_frames: int | None
    left_out: dict[str, int]
    seconds: float
    device: str
    notes: list[str]


class _Content(_Known):
    command: str
    store: str
    protocol: str
    settings: dict[str, Setting | list[Setting] | dict[str, Setting | list[Setting]]]
    test_sequences: int
    class_names: list[str]
    metrics: dict[str, Any]
    weights: list[float]
    runs: list[_About]
    details: dict[str, Any]


class _Recognition(TypedDict, total=False):
    confusion: list[list[int]]
    labels: list[int]


class _Map(TypedDict):
    labels: list[int]
    pca: list[tuple[float, float]]
    tsne: list[tuple[float, float]]


class _Neighbours(TypedDict):
    names: list[str]
    labels: list[int]
    similarity: list[float]
    hits: list[bool]
    frames: list[list[list[list[list[float]]]]]


class _Layout(TypedDict, total=False):
    bones: list[tuple[int, int]]
    center: int


class _Retrieval(_Recognition, _Layout, total=False):
    map: _Map
    examples: list[_Neighbours]


class _Clean(TypedDict):
    labels: list[int]


class _Occlusion(TypedDict, total=False):
    clean: _Clean


class _Curve(TypedDict):
    values: list[float]
    top1: list[float]


class _Hidden(_Curve, total=False):
    hidden: list[float]


class _Robustness(TypedDict, total=False):
    curves: dict[str, _Hidden]
    unit: str


class _Draw(TypedDict):
    fraction: float
    top1: float


class _Semi(TypedDict, total=False):
    runs: list[_Draw]


class _Video(TypedDict):
    name: str
    frames: int
    truth: list[tuple[int, int, int]]
    proposals: list[tuple[int, int, int, float]]


class _Detection(TypedDict, total=False):
    videos: list[_Video]


class _Motion(TypedDict):
    sequence: int
    mpjpe_mm: float
    zero_velocity_mm: float
    observed: list[list[list[float]]]
    true: list[list[list[float]]]
    predicted: list[list[list[float]]]


class _Prediction(_Layout, total=False):
    by_frame: dict[str, list[float]]
    examples: list[_Motion]


_DETAILS = {
    "linear": _Recognition,
    "knn": _Retrieval,
    "finetune": _Recognition,
    "semi": _Semi,
    "occlusion": _Occlusion,
    "robustness": _Robustness,
    "detection": _Detection,
    "prediction": _Prediction,
}
"""Of what is under ``details`` that which pictures are drawn from; all of it may be absent."""


_UNKNOWN: dict[str, Any] = {"data": {}, "notes": []}


def read_result(file: Path) -> dict[str, Any]:
    """A result that ``pcm3 evaluate`` wrote, as ``evaluate_runs`` returned it.

    What is not needed may be missing: ``data`` and ``notes`` are then empty.

    Raises:
        SkeletonFormatError: If it is another file or damaged, naming file and place.
    """
    content: dict[str, Any] = _UNKNOWN | read_json(file, _Content)
    try:
        _check(content)
    except ValueError as error:
        raise SkeletonFormatError(f"{file}: {error}") from None
    return content


def task_of(content: Mapping[str, Any]) -> str:
    """Which of ``TASKS`` a result is of."""
    return str(content["command"]).removeprefix("evaluate ")


def _check(content: dict[str, Any]) -> None:
    task, metrics, details = task_of(content), content["metrics"], content["details"]
    _require(task in TASKS, f"command to be evaluate and a task, got {content['command']!r:.60}")
    check_kind(details, _DETAILS.get(task, dict[str, Any]), "details")
    for name, value in metrics.items():
        check_kind(value, _kind_of(name), f"metrics.{name}")
    best = TASKS[task].headline[0]
    _require(TASKS[task].headlines(metrics), f"{best} among the metrics, got {[*metrics]!s:.200}")
    runs, weights = len(content["runs"]), len(content["weights"])
    _require(runs == weights > 0, f"a weight for each of {runs} runs, got {weights}")
    classes = len(content["class_names"])
    count = len(metrics.get("per_class", content["class_names"]))
    _require(count == classes, f"per_class of {classes} classes, got {count}")
    for name, check in _CHECKS.items():
        if name in details and task in _DETAILS:
            check(content, details)


def _kind_of(metric: str) -> Any:
    if metric == "per_class":
        return list[float | None]
    return dict[str, float] if metric.endswith("_by_horizon") else float


def _check_confusion(content: dict[str, Any], details: dict[str, Any]) -> None:
    classes, counts = len(content["class_names"]), _array(details["confusion"], "confusion", 2)
    good = counts.shape == (classes, classes) and counts.min(initial=0) >= 0
    _require(good, f"confusion of counts ({classes}, {classes}), got {counts.shape}")


def _check_map(_: dict[str, Any], details: dict[str, Any]) -> None:
    counts = [len(details["map"][name]) for name in ("labels", "pca", "tsne")]
    _require(len({*counts}) == 1 and counts[0], f"a map of as many labels and points, got {counts}")


def _check_examples(content: dict[str, Any], details: dict[str, Any]) -> None:
    if not details["examples"]:
        return
    joints, classes = _count_joints(details), len(content["class_names"])
    for at, example in enumerate(details["examples"]):
        if "hits" in example:
            clips = [(each, 4) for each in example["frames"]]
            lengths = [len(example[name]) for name in ("frames", "labels", "names")]
            lengths += [len(example[name]) + 1 for name in ("similarity", "hits")]
            known = all(0 <= label < classes for label in example["labels"])
            _require(known, f"examples[{at}].labels of {classes} classes")
        else:
            clips = [(example[name], 3) for name in ("observed", "true", "predicted")]
            lengths = [len(example[name]) for name in ("true", "predicted")]
        _require(len({*lengths}) == 1, f"parts of examples[{at}] that fit, got {lengths}")
        for frames, axes in clips:
            shape = _array(frames, f"examples[{at}]", axes).shape
            good = 0 not in shape and shape[-2] == joints and shape[-1] in (2, 3)
            _require(good, f"examples[{at}] of frames with {joints} joints, got {shape}")


def _count_joints(details: dict[str, Any]) -> int:
    """V of the first example, which bones and centre have to fit; older results have no bones."""
    first = details["examples"][0]
    frames = first["frames"][:1] if "hits" in first else first["observed"]
    shape = _array(frames, "examples[0]", 5 if "hits" in first else 3).shape
    joints = shape[-2]
    ends = [end for bone in details.get("bones", ()) for end in bone]
    good = all(0 <= joint < joints for joint in (*ends, details.get("center", 0)))
    _require(good, f"bones and a centre among the {joints} joints of the examples")
    return int(joints)


def _check_curves(_: dict[str, Any], details: dict[str, Any]) -> None:
    for name, curve in details["curves"].items():
        counts = {len(curve[key]) for key in ("values", "top1", "hidden") if key in curve}
        _require(len(counts) == 1, f"curves.{name} of as many values and figures, got {counts}")


def _check_draws(_: dict[str, Any], details: dict[str, Any]) -> None:
    shares = [draw["fraction"] for draw in details["runs"]]
    _require(all(0 < share <= 1 for share in shares), f"fractions in (0, 1], got {shares!s:.100}")


def _check_videos(_: dict[str, Any], details: dict[str, Any]) -> None:
    for at, video in enumerate(details["videos"]):
        _require(video["frames"] > 0, f"videos[{at}] of frames, got {video['frames']}")


def _check_errors(content: dict[str, Any], details: dict[str, Any]) -> None:
    frames, errors = content["settings"].get("predicted"), details["by_frame"]
    counts = {name: len(each) for name, each in errors.items()}
    good = "mpjpe" in errors and {*counts.values()} == {frames}
    _require(good, f"errors of {frames} frames by_frame, got {counts}")


_CHECKS = {
    "confusion": _check_confusion,
    "map": _check_map,
    "examples": _check_examples,
    "curves": _check_curves,
    "runs": _check_draws,
    "videos": _check_videos,
    "by_frame": _check_errors,
}
"""Of details by name, where their parts have to fit together."""


def _array(values: Sequence[Any], name: str, axes: int) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        array = np.zeros(0)
    _require(array.ndim == axes, f"{name} of {axes} axes")
    return array


def _require(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(f"expected {what}")
