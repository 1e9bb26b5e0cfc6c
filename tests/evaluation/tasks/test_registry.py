"""A task of one's own: its record is all that the commands and the report need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from written_results import check_page

from pcm3.cli import main
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.details import require
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.registry import TASKS, check_result
from pcm3.hub import Pretrained, save_encoder
from pcm3.runs.results import Result, read_result
from pcm3.runs.series import Picture, Series
from pcm3.skeleton import SBU15
from pcm3.viz.results import bar_figure


@dataclass(frozen=True)
class LengthSettings:
    """How lengths are compared."""

    factor: int = 2
    """What they are multiplied by."""


def evaluate_lengths(_: Pretrained, training: Any, test: Any, settings: Any) -> dict[str, Any]:
    draws = [0.25, 0.75] if settings.factor == 2 else [0.5, 0.5]
    details = {"draws": draws, "truth": [0, 0, 0, 1], "notes": ["lengths alone"]}
    return {"right_at_9": 0.5, "right_std_at_9": 0.35, "details": details}


def check_lengths(result: Result) -> None:
    require(len(result.details.get("draws", [0, 0])) == 2, "two draws")


def draw_lengths(series: Series) -> Iterator[Picture]:
    yield Picture(
        "Lengths",
        series.caption("Shares"),
        [bar_figure(series.bars(["right_at_9"]), ["right"], "x")],
    )


TASK = Task(
    about="Whether longer recordings are longer.",
    settings=LengthSettings,
    evaluate=evaluate_lengths,
    headline=("right_at_*",),
    legend={
        "right_at_N": "share of the lengths that are right",
        "right_std_at_N": "deviation over two draws",
    },
    check=check_lengths,
    pictures=(draw_lengths,),
    labels=lambda details: details.get("truth"),
    shown=("factor",),
    also_called={"duration": "lengths"},
    examples=("--run run --data store --factor 3",),
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(TASKS, "lengths", TASK)
    generate(
        tmp_path / "data", sequences=24, classes=3, subjects=4, frames=(12, 20), skeleton=SBU15
    )
    torch.manual_seed(0)
    encoder = GRUEncoder(15, persons=1, hidden=4, layers=1, pool="mean").eval()
    save_encoder(tmp_path / "run" / "encoder.safetensors", Pretrained(encoder, SBU15, "joint", 8))
    return tmp_path / "run"


def evaluate(run: Path, *options: str) -> list[str]:
    data = ["--data", str(run.parent / "data"), "--protocol", "xsub"]
    return ["evaluate", "lengths", "--run", str(run), *data, *options]


def test_a_task_is_evaluated_kept_and_reported(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--factor", "3"]):
        assert main(evaluate(run, *options)) == 0
        said = capsys.readouterr()
        assert f"(factor {options[-1] if options else 2}): right_at_9 50.0%" in said.out
        assert "lengths alone" in said.err
    names = {file.name for file in (run / "results").iterdir()}
    assert names == {"lengths_data_xsub.json", "lengths_factor-3_data_xsub.json"}
    assert main(["report", str(run), "--out", str(run.parent / "report"), "--json"]) == 0
    report = json.loads((run.parent / "report" / "report.json").read_text())
    assert [each["settings"] for each in report["results"]] == [{"factor": 2}, {"factor": 3}]
    text = (run.parent / "report" / "report.md").read_text()
    assert "| data | xsub | lengths (factor 2) | right_at_9 | 50.0% ? |" in text
    assert "| right_std_at_9 | 35.0% ? |" in text
    for said in ("lengths alone", "`right_at_N`: share of the lengths"):
        assert said in text
    assert "75.0%" in text.partition("## Runs")[2]  # the commonest of the true classes
    page = check_page((run.parent / "report" / "report.html").read_text())
    assert len(page.images()) == 1
    assert "Lengths" in page.text


def test_a_task_is_in_the_help(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    assert TASK.about in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", "lengths", "--help"])
    shown = capsys.readouterr().out
    assert "What they are multiplied by." in shown
    assert "pcm3 evaluate lengths --run run --data store --factor 3" in shown
    assert main(["evaluate", "duration"]) == 2
    assert "lengths?" in capsys.readouterr().err


def test_a_tasks_own_check_is_made(run: Path) -> None:
    assert main(evaluate(run)) == 0
    (file,) = (run / "results").iterdir()
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"details": {"draws": [0.5]}}))
    with pytest.raises(SkeletonFormatError, match=r"lengths_data_xsub\.json.*two draws"):
        read_result(file, check_result)
