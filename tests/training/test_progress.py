"""Progress of long loops."""

from __future__ import annotations

import pytest

from pcm3.runs.progress import track


def test_track_counts_and_says_so_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(3, "fine-tuning", seconds=0)) == [0, 1, 2]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [f"fine-tuning: {done} of 3" for done in (1, 2, 3)]
    assert list(track(3, "fine-tuning", seconds=1000)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_track_ends_with_the_loop_that_it_is_in() -> None:
    loop = track(5, "fewer")
    assert next(loop) == 0
    loop.close()
    assert list(track(2, "others")) == [0, 1]
