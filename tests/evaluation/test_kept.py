"""A result is printed before it is written: what cannot be written is not lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_damaged_json import PRETRAIN, arrays

from pcm3.cli import main
from pcm3.data import prepare
from pcm3.evaluation.kept import result_name
from pcm3.evaluation.tasks.registry import TASKS


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a run on it."""
    folder = tmp_path_factory.mktemp("trained")
    np.savez(folder / "data.npz", **arrays(untrimmed=False))
    prepare(folder / "data.npz", folder / "store", workers=1)
    command = ["pretrain", "--data", str(folder / "store"), "--out", str(folder / "run"), *PRETRAIN]
    assert main(command) == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "copy")


def fill_disk(_handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("task", ["knn", "all"])
@pytest.mark.parametrize("fault", ["full", "a file in its place"])
def test_a_result_that_cannot_be_written_is_printed(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    fault: str,
) -> None:
    if fault == "full":
        monkeypatch.setattr(os, "fsync", fill_disk)
    else:
        (folder / "run" / "results").touch()
    command = ["evaluate", task, "--run", str(folder / "run"), "--data", str(folder / "store")]
    assert main([*command, "--json"] if task == "knn" else command) == 2
    printed = capsys.readouterr()
    assert "top1" in printed.out
    if task == "knn":
        assert "top1" in json.loads(printed.out.splitlines()[-1])["metrics"]
    assert str(folder / "run" / "results") in printed.err
    assert "Traceback" not in printed.err


def test_many_runs_with_long_names_make_a_name_that_fits(folder: Path) -> None:
    runs = [folder / f"{'é' * 60}{number}" for number in range(4)]
    for run in runs:
        shutil.copytree(folder / "run", run)
    named = {
        result_name("linear", paths, "store", "xsub", TASKS["linear"].defaults)
        for paths in (runs, runs[::-1], runs[:3])
    }
    assert len(named) == 3
    assert max(len(name.encode()) for name in named) <= 180
    command = ["evaluate", "linear", "--run", *map(str, runs[:3]), "--data", str(folder / "store")]
    assert main([*command, "--solver", "logistic"]) == 0
    (kept,) = (runs[0] / "results").iterdir()
    assert json.loads(kept.read_text())["command"] == "evaluate linear"


def test_short_names_are_kept_as_they_are() -> None:
    found = result_name("knn", [Path("run")], "store", "xsub", TASKS["knn"].defaults)
    assert found == "knn_store_xsub"
