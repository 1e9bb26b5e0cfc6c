"""The library computes what the reference implementations computed."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from golden_files import COMPARISONS, worst
from golden_rows import Row, absolute, of_norm, relative
from golden_schedules import DETECTION, SOLVERS

from pcm3.evaluation.probes import PROBES
from pcm3.evaluation.tasks.detection.detection import RecipeName

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", COMPARISONS)
def test_recorded_numbers(golden, name):
    rows = list(COMPARISONS[name](golden(name)))
    assert rows
    assert [row for row in rows if not row.within] == []


def test_every_published_recipe_is_compared():
    assert {"default", *DETECTION.values()} == set(get_args(RecipeName))
    assert {solver for solver, _ in SOLVERS.values()} == set(PROBES)


def test_what_is_committed_stays_small():
    assert sum(file.stat().st_size for file in HERE.glob("*.npz")) < 4e6


def test_differences():
    wanted = torch.tensor([1.0, -4.0])
    assert absolute("", [1.5, -4.25], wanted).difference == 0.5
    assert relative("", [1.5, -5.0], wanted, 1e-4).difference == 0.5
    assert relative("", [1.5, -5.0], wanted, 0.1, beyond=0.1).difference == 0.25
    assert of_norm("", [1.0, 0.0], torch.tensor([3.0, 4.0]), 1).difference == np.sqrt(20) / 5
    assert relative("", [0.0], [0.0], 1e-9).difference == 0
    for one in (absolute, relative, of_norm):
        assert not one("", [1.0], wanted, 1e9).within  # another shape
        assert not one("", [1.0, float("nan")], wanted, 1e9).within


def test_the_worst_row_of_a_quantity_is_shown():
    values = [("a", 1.0), ("b", 0.0), ("a", 3.0), ("b", float("nan")), ("a", 2.0), ("b", 1.0)]
    rows = worst([Row(name, "", value, 5.0, "absolute") for name, value in values])
    assert [row.quantity for row in rows] == ["a", "b"]
    assert rows[0].difference == 3
    assert np.isnan(rows[1].difference)
