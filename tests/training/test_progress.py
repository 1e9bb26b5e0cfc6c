"""Progress of long loops."""

from __future__ import annotations

import re

import pytest

from pcm3.runs import progress
from pcm3.runs.progress import ProgressReport, format_epoch, track

RECORD = {
    "epoch": 200,
    "step": 12345,
    "lr": 0.01,
    "total": 12.3456789,
    **{f"term_{number}": 1.23456789 for number in range(20)},
    "samples_per_second": 1234.5678,
    "skipped": 128,
    "knn": 0.98765,
}


def test_track_counts_and_says_so_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(3, "fine-tuning", seconds=0)) == [0, 1, 2]
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line.split("  ") for line in shown.err.splitlines()]
    assert [line[0] for line in lines] == [f"fine-tuning: {done} of 3" for done in (1, 2, 3)]
    assert [line[1].endswith(" left") for line in lines[:2]] == [True, True]
    assert len(lines[2]) == 1
    assert list(track(3, "fine-tuning", seconds=1000)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_track_ends_with_the_loop_that_it_is_in() -> None:
    loop = track(5, "fewer")
    assert next(loop) == 0
    loop.close()
    assert list(track(2, "others")) == [0, 1]


def test_a_log_has_one_short_line_an_epoch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with ProgressReport("pretrain", total=40000, done=10000) as report:
        clock[0] = 600.0
        report.advance(10000)
        report.show(format_epoch(RECORD, 400))
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 80
    for figure in ("epoch 200/400", "loss 12.35", "kNN 98.8%", "128 skipped", "20 minutes left"):
        assert figure in line


def test_a_terminal_shows_one_line_of_its_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    with ProgressReport("pretrain", total=28_000_000) as report:
        report.advance(14_000_000)
        report.show(format_epoch({**RECORD, "skipped": 0}, 400))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    lines = [line for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert all(len(line) <= 80 for line in lines)
    assert shown.strip("\n").count("\n") == 0
    assert "epoch 200/400  loss 12.35" in lines[-1]
    assert lines[-1].rstrip().endswith("left")
