"""Curves of what was measured during training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written_results import check_page, result, write_run

from pcm3.report.entries import read_entries
from pcm3.report.page import make_page
from pcm3.report.progress import draw_progress

RECORDS = [
    {"epoch": 1, "step": 4, "total": 2.0},
    {"epoch": 2, "step": 8, "total": 1.5, "knn": 0.5, "uniformity": -2.0},
    {"epoch": 4, "step": 16, "total": 1.0, "knn": 0.7, "uniformity": -2.5},
]
OTHERS = [{**record, "knn": 0.9} if "knn" in record else record for record in RECORDS]


def test_seeds_are_averaged() -> None:
    (picture,) = draw_progress({"a": [RECORDS, OTHERS], "b": [[]], "c": [RECORDS[:2]]})
    knn, uniformity = (figure.axes[0] for figure in picture.figures)
    a, c = (container.lines[0] for container in knn.containers)
    assert a.get_xdata().tolist() == [2, 4]
    assert a.get_ydata().tolist() == pytest.approx([0.7, 0.8])
    assert (c.get_xdata().tolist(), c.get_ydata().tolist()) == ([2], [0.5])
    assert a.get_color() != c.get_color()
    assert uniformity.get_ylim()[0] < -2.5


def test_without_measurements_there_is_no_picture() -> None:
    assert [*draw_progress({"a": [RECORDS[:1]]})] == []


def test_the_page_has_the_curves(tmp_path: Path) -> None:
    paths = []
    for seed, records in enumerate((RECORDS, OTHERS)):
        run = write_run(tmp_path / f"a-{seed}", result("knn", {"top1": 0.5}), seed=seed)
        (run / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
        paths.append(run)
    read = read_entries(paths)
    assert read.metrics == {"a": [RECORDS, OTHERS]}
    page = check_page(make_page(read))
    assert "Features during training" in page.text
    assert len(page.images()) >= 2
    (paths[0] / "metrics.jsonl").write_text("{}\n")
    read = read_entries(paths)
    assert read.metrics == {"a": [[], OTHERS]}
    assert "metrics.jsonl, line 1" in read.left_out[0]
