"""Mean ranks of the columns over the main figures of several tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_results import result, write_run

from pcm3.report.entries import read_entries
from pcm3.report.ranks import Ranks, mean_ranks
from pcm3.report.table import main_rows, tabulate


def ranks(folder: Path, results: dict[str, list[dict[str, Any]]]) -> Ranks | None:
    runs = [write_run(folder / run, *found) for run, found in results.items()]
    read = read_entries(runs, [run.partition("-")[0] for run in results])
    return mean_ranks(main_rows(tabulate(read.entries)))


def top1(value: float, task: str = "linear", **changes: Any) -> dict[str, Any]:
    return result(task, {"top1": value}, **changes)


def knn(value: float, **others: float) -> dict[str, Any]:
    return result("knn", {"top1": value} | others)


def predicted(millimetres: float) -> dict[str, Any]:
    return result("prediction", {"mpjpe_mm": millimetres, "zero_velocity_mm": 99.0})


def test_the_mean_is_over_figures_of_which_the_best_has_rank_1(tmp_path: Path) -> None:
    found = {
        "a-0": [top1(0.7), predicted(50), knn(0.5)],
        "a-1": [top1(0.9), predicted(70), knn(0.5)],
        "b": [top1(0.81), predicted(20), knn(0.4)],
        "c": [top1(0.5), predicted(90), knn(0.5)],
    }
    by_hand = {"a": (2, 2, 1.5), "b": (1, 1, 3), "c": (3, 3, 1.5)}
    means = {column: float(np.mean(sample)) for column, sample in by_hand.items()}
    assert ranks(tmp_path, found) == Ranks(pytest.approx(means), 3)


def test_a_task_with_many_figures_counts_once(tmp_path: Path) -> None:
    found = {
        "a": [top1(0.7), knn(0.4, vote=0.1, map=0.1)],
        "b": [top1(0.5), knn(0.5, vote=0.2, map=0.2)],
    }
    assert ranks(tmp_path, found) == Ranks({"a": 1.5, "b": 1.5}, 2)


def test_figures_that_a_column_lacks_do_not_count(tmp_path: Path) -> None:
    found = {
        "a": [top1(0.7), knn(0.5), predicted(10)],
        "b": [top1(0.5), knn(0.4), top1(0.3, "finetune")],
    }
    assert ranks(tmp_path, found) == Ranks({"a": 1, "b": 2}, 2)


def test_without_two_columns_and_two_common_figures_there_is_no_rank(tmp_path: Path) -> None:
    assert ranks(tmp_path / "1", {"a": [top1(0.5), knn(0.5)]}) is None
    assert ranks(tmp_path / "2", {"a": [top1(0.5), knn(0.5)], "b": [top1(0.5)]}) is None
