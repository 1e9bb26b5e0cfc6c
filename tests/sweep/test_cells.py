"""Sweeps from file to report: trained once, continued, changed, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pcm3.cli import main
from pcm3.data import generate
from pcm3.methods.catalog import RunSettings
from pcm3.runs.folder import Run
from pcm3.skeleton import SBU15
from pcm3.sweep import cells
from pcm3.sweep.file import read_sweep

Capture = pytest.CaptureFixture[str]

SMALL: dict[str, Any] = {
    **{"sequences": 24, "classes": 3, "subjects": 4, "frames": (12, 20), "skeleton": SBU15}
}
TINY = """
[common]
data = "store"
train = {epochs = 1, batch_size = 4}

[common.model]
frames = 8
crop_min_frames = 8
hidden = 4
layers = 1
decoder_hidden = 4
embedding = 4
queue_size = 8
"""
VARIATIONS = """
[[variations]]
name = "base"

[[variations]]
name = "narrow"
model.hidden = 2

[[variations]]
name = "distilled"
from = "base"
phase = "post-distill"
"""
KNN = '[[evaluations]]\ntask = "knn"\n'
LINEAR = '[[evaluations]]\ntask = "linear"\nsettings.regularization = 2.0\nmax_frames = 9\n'
WHOLE = 'baseline = "base"\nseeds = [0, 1]\n' + TINY + VARIATIONS + KNN + LINEAR


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a sweep that ran on two processes."""
    folder = tmp_path_factory.mktemp("sweep")
    generate(folder / "store", **SMALL)
    (folder / "ab.toml").write_text(WHOLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["sweep", "ab.toml", "--jobs", "2"]) == 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_json(capsys: Capture, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return told


def error(capsys: Capture, *arguments: str) -> str:
    capsys.readouterr()
    assert main([*arguments]) == 2
    return capsys.readouterr().err


def test_runs_are_those_of_the_file(folder: Path) -> None:
    for cell in read_sweep("ab.toml").cells:
        run = Run(folder / "ab" / cell.name)
        assert RunSettings.from_json(run.config.read_text()) == cell.config
        assert run.settings().get("start") == (
            f"base-seed{cell.seed}" if cell.variation.name == "distilled" else None
        )
        tasks = {json.loads(file.read_text())["command"] for file in run.results.iterdir()}
        assert tasks == {"evaluate knn", "evaluate linear"}
        assert (folder / "ab" / f"{cell.name}.log").exists()


def test_results_are_joined(folder: Path) -> None:
    data = json.loads((folder / "ab" / "report" / "report.json").read_text())
    records = [r for r in data["comparison"] if (r["task"], r["figure"]) == ("knn", "top1")]
    assert [record["column"] for record in records] == ["base", "narrow", "distilled"]
    for record in records:
        tops = []
        for seed in (0, 1):
            (file,) = (folder / "ab" / f"{record['column']}-seed{seed}" / "results").glob("knn*")
            tops.append(json.loads(file.read_text())["metrics"]["top1"])
        assert record["mean"] == pytest.approx(sum(tops) / 2)
    assert records[1]["settings"] == {"hidden": "2", "from": "", "phase": "pretrain"}
    assert records[2]["settings"] == {"hidden": "4", "from": "base", "phase": "post-distill"}


def test_what_is_finished_is_not_run_again(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_json(capsys, "sweep", "ab.toml", "--dry-run")["metrics"] == {
        "cells": 6,
        "finished": 6,
    }

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(cells, "pretrain", fail)
    monkeypatch.setattr(cells, "evaluate_runs", fail)
    assert run_json(capsys, "sweep", "ab.toml")["metrics"] == {"cells": 6, "failed": 0}
    run_json(capsys, "sweep", "ab.toml", "--cell", "5")


def test_another_evaluation_does_not_train_again(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "pretrain", None)
    (folder / "ab.toml").write_text(WHOLE.replace("= 2.0", "= 3.0"))
    assert run_json(capsys, "sweep", "ab.toml", "--dry-run")["metrics"]["finished"] == 0
    before = sorted((folder / "ab" / "narrow-seed1" / "results").iterdir())
    told = run_json(capsys, "sweep", "ab.toml", "--cell", "4")
    assert told["run"] == "ab/narrow-seed1"
    (new,) = {*(folder / "ab" / "narrow-seed1" / "results").iterdir()} - {*before}
    assert json.loads(new.read_text())["settings"]["regularization"] == 3.0
    assert run_json(capsys, "sweep", "ab.toml", "--dry-run")["metrics"]["finished"] == 1


def test_a_variation_that_changed_is_refused(folder: Path, capsys: Capture) -> None:
    (folder / "ab.toml").write_text(WHOLE.replace("hidden = 2", "hidden = 3"))
    message = error(capsys, "sweep", "ab.toml")
    assert "ab.toml: narrow: ab/narrow-seed0" in message
    assert "model.hidden is 2 there and 3 here" in message
    run_json(capsys, "sweep", "ab.toml", "--cell", "0")  # others are as they were


def test_another_seed_is_added(folder: Path, capsys: Capture) -> None:
    (folder / "ab.toml").write_text(WHOLE.replace("[0, 1]", "[0, 1, 2]"))
    assert run_json(capsys, "sweep", "ab.toml", "--dry-run")["metrics"] == {
        "cells": 9,
        "finished": 6,
    }
    assert "cell 6 (base-seed2)" in error(capsys, "sweep", "ab.toml", "--cell", "8")
    for number in (6, 7, 8):
        run_json(capsys, "sweep", "ab.toml", "--cell", str(number))
    records = run_json(capsys, "sweep", "ab.toml")["comparison"]
    assert {record["test"] for record in records} >= {"paired t-test"}


def test_a_run_that_fails_is_named_and_the_others_are_reported(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("ab/narrow-seed0")
    shutil.rmtree("ab/base-seed1")
    Path("ab/narrow-seed0").mkdir()
    Path("ab/narrow-seed0/config.json").mkdir()  # which cannot be written
    assert main(["sweep", "ab.toml", "--jobs", "2"]) == 2
    assert "1 of 6 runs failed: narrow-seed0" in capfd.readouterr().err
    assert Run("ab/base-seed1").encoder.exists()
    assert "base (2 seeds, baseline)" in Path("ab/report/report.md").read_text()
    for file in ("report.md", "report.html", "report.tex"):
        assert "narrow-seed0" in Path("ab/report", file).read_text(), file


WRONG = {
    ('data = "store"', 'data = "stare"'): "base: stare: .*top of new.toml",
    (
        "seeds = [0, 1]\n\n[common]",
        'seeds = [0, 1]\n\n[common]\nprotocol = "fold:99"',
    ): "base: .*fold",
    ("batch_size = 4", "batch_size = 400"): "base: .*400",
    (KNN, KNN + 'protocol = "fold:99"\n'): r"base: evaluations\[0\] \(knn\): .*fold",
    (KNN, KNN + 'protocol = "all"\n'): r"base: evaluations\[0\] \(knn\): .*all",
    (KNN, KNN + 'data = "raw"\n'): r"base: evaluations\[0\] \(knn\): raw .*allow_normalization",
    ('"linear"\nsettings.regularization = 2.0', '"prediction"'): r"evaluations\[1\].*max_frames",
    ('"knn"', '"detection"'): r"evaluations\[0\] \(detection\): .*frame",
}


@pytest.mark.parametrize(("change", "message"), WRONG.items(), ids=range(len(WRONG)))
def test_stores_are_checked_before_anything_runs(
    change: tuple[str, str], message: str, folder: Path
) -> None:
    generate(Path("raw"), **SMALL, normalization="none")
    text = WHOLE.replace(*change)
    assert text != WHOLE
    Path("new.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        cells.Cells(read_sweep("new.toml"), Path("new"))
    assert not Path("new").exists()


def test_cells_that_do_not_exist(folder: Path, capsys: Capture) -> None:
    for number in ("6", "-1"):
        assert "0 to 5" in error(capsys, "sweep", "ab.toml", "--cell", number)
    assert "--jobs" in error(capsys, "sweep", "ab.toml", "--cell", "0", "--jobs", "2")
    assert "jobs" in error(capsys, "sweep", "ab.toml", "--jobs", "0")


def test_without_results_there_is_no_report(folder: Path, capsys: Capture) -> None:
    Path("none.toml").write_text(
        TINY.replace("epochs = 1", "epochs = 0") + "[axes]\nmodel.hidden = [2]"
    )
    assert main(["sweep", "none.toml"]) == 0
    assert "no report" in capsys.readouterr().out
    assert Run("none/hidden-2-seed0").encoder.exists()
