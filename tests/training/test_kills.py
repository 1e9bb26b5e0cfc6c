"""Runs that are killed outright end as if they had not been."""

from __future__ import annotations

import json
from pathlib import Path

import forks
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_runs_end_equal(tmp_path: Path, kills: int) -> None:
    # a process of its own: this one has threads, which do not come along into children
    options = ["--kills", str(kills), "--out", str(tmp_path)]
    done = forks.call(forks.script, SCRIPT, *options, seconds=3600)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "kills.json").read_text())
    assert sum(figures["kills"].values()) >= kills
    assert figures["runs"] >= 1
    assert figures["runs_that_ended_equal"] == figures["runs"]
    if kills > 30:
        assert len(figures["kills"]) == 6  # every moment
