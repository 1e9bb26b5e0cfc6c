"""The downstream tasks by name: what ``pcm3 evaluate`` can do."""

from __future__ import annotations

from pcm3.evaluation.details import require
from pcm3.evaluation.tasks import fewshot, finetune, knn, linear, occlusion, robustness, semi
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.detection import detection
from pcm3.evaluation.tasks.prediction import prediction
from pcm3.io.json import check_kind
from pcm3.runs.results import Result

TASKS: dict[str, Task] = {
    "linear": linear.TASK,
    "knn": knn.TASK,
    "finetune": finetune.TASK,
    "semi": semi.TASK,
    "occlusion": occlusion.TASK,
    "robustness": robustness.TASK,
    "detection": detection.TASK,
    "fewshot": fewshot.TASK,
    "prediction": prediction.TASK,
}
"""The tasks by their names on the command line."""


def check_result(result: Result) -> None:
    """Require a task of ``TASKS``, its headline figures, and the details that it needs.

    Raises:
        ValueError: If a part is missing or wrong; the message says what was expected.
    """
    task = TASKS.get(result.task)
    if task is None:
        raise ValueError(f"expected command to be evaluate and a task, got {result.task!r:.60}")
    check_kind(result.details, task.details, "details")
    figures = f"{task.headline[0]} among the metrics, got {[*result.metrics]!s:.200}"
    require(task.headlines(result.metrics), figures)
    task.check(result)
