"""Methods by task and accuracy against pretraining time: the numbers drawn are the table's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from written_results import EVIL, check_page, result, write_run

from pcm3.report.entries import Entries, read_entries
from pcm3.report.overview import draw_methods, draw_times
from pcm3.report.page import make_page
from pcm3.runs.series import Picture
from pcm3.viz.figures import PALETTE

TOPS = {"a": (0.8, 0.7, 0.84), "b": (0.5,)}
KEPT = 2


def top1(run: str, value: float, epoch: int | None = None, **changes: Any) -> dict[str, Any]:
    content = result("linear", {"top1": value}, run, **changes)
    content["runs"][0] |= {} if epoch is None else {"epoch": epoch}
    return content


def write_times(run: Path, *seconds: float | None) -> None:
    records: list[dict[str, Any]] = [
        {"epoch": epoch, "step": epoch} | ({} if value is None else {"seconds": value})
        for epoch, value in enumerate(seconds, 1)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three seeds of a, with a kept encoder, and one of b, which also predicts motion."""
    paths = []
    for name, tops in TOPS.items():
        for seed, top in enumerate(tops):
            run = f"{name}-{seed}"
            found = [top1(run, top)]
            if name == "a":
                found.append(top1(run, top - 0.1, KEPT))
            else:
                found.append(result("prediction", {"mpjpe_mm": 90.0}, run))
            paths.append(write_run(tmp_path / run, *found, seed=seed, method=name))
            write_times(paths[-1], 60, 60 * (seed + 1), 120)
    return paths


def methods(read: Entries, baseline: str | None = None) -> list[Picture]:
    return [*draw_methods(read.entries, baseline)]


def spans(axis: Axes) -> list[list[float]]:
    """Ends of the error bars."""
    bars = [each.errorbar for each in axis.containers if getattr(each, "errorbar", None)]
    return [np.array(each[2][0].get_segments())[0, :, 0].tolist() for each in bars]


def test_bars_are_the_figures_of_the_table(runs: list[Path]) -> None:
    (picture,) = methods(read_entries(runs, ["a", "a", "a", "b"]), "a")
    linear, predicted = picture.figures[0].axes
    assert [label.get_text() for label in linear.get_yticklabels()] == ["a", "b"]
    assert linear.get_title(loc="left") == "linear top1"
    assert [bar.get_width() for bar in linear.patches] == pytest.approx([np.mean(TOPS["a"]), 0.5])
    assert [to_hex(bar.get_facecolor()).upper() for bar in linear.patches] == [*PALETTE[1:3]]
    middle, deviation = np.mean(TOPS["a"]), np.std(TOPS["a"], ddof=1)
    (span,) = spans(linear)  # one seed has no error bar
    assert span == pytest.approx([middle - deviation, middle + deviation])
    (line,) = (
        each
        for each in linear.lines
        if len(set(each.get_xdata())) == 1
        and each.get_xdata()[0] == pytest.approx(middle)
        and len(each.get_xdata()) == 2
    )
    assert line.get_color() == PALETTE[0]
    (bar,) = predicted.patches  # a has a gap, above b
    assert (bar.get_width(), bar.get_y()) == pytest.approx((90, 0.6))
    assert to_hex(bar.get_facecolor()).upper() == PALETTE[2]
    assert not predicted.lines  # nor has the baseline a line there


def knn(run: str, value: float, **changes: Any) -> dict[str, Any]:
    metrics = {"top1": value, "vote": 0.9 - value, "map": 0.9 - value}
    return result("knn", metrics, run, **changes)


def test_the_first_panel_has_the_mean_ranks(tmp_path: Path) -> None:
    tops = {"a": (0.7, 0.5), "b": (0.6, 0.4), "c": (0.8, 0.3)}
    paths = [
        write_run(tmp_path / name, top1(name, first), knn(name, second), top1(name, 0.1, KEPT))
        for name, (first, second) in tops.items()
    ]
    kept_only = write_run(tmp_path / "d", top1("d", 0.9, KEPT))
    (picture,) = methods(read_entries([*paths, kept_only]))
    ranks, *others = picture.figures[0].axes
    assert ranks.get_title(loc="left") == "mean rank"
    assert [bar.get_width() for bar in ranks.patches] == [1.5, 2.5, 2]
    assert [axis.get_title(loc="left") for axis in others] == ["linear top1", "knn top1"]
    assert "over 2 of the 2 figures" in picture.caption
    last = write_run(tmp_path / "e", top1("e", 0.5))
    (picture,) = methods(read_entries([*paths, last]))  # with one figure in common
    assert len(picture.figures[0].axes) == 2
    assert "no mean rank" in picture.caption


def test_accuracies_have_a_line_at_chance(tmp_path: Path) -> None:
    details = {"labels": [0, 0, 0, 1]}
    paths = [
        write_run(
            tmp_path / name,
            knn(name, 0.5, details=details),
            result("prediction", {"mpjpe_mm": 90.0}, name),
            knn(name, 0.5, store="other"),
        )
        for name in "ab"
    ]
    (picture,) = methods(read_entries(paths))
    lines = {
        axis.get_title(loc="left"): [(line.get_xdata()[0], line.get_linestyle()) for line in lines]
        for axis in picture.figures[0].axes
        if (lines := axis.lines)
    }
    assert lines == {"data knn top1": [(0.75, ":")]}
    assert "chance" in picture.caption


def test_without_a_baseline_there_is_no_line(runs: list[Path]) -> None:
    (picture,) = methods(read_entries([runs[0], runs[-1]]))
    assert not any(axis.lines for axis in picture.figures[0].axes)
    assert "line" not in picture.caption


def test_points_are_means_over_minutes(runs: list[Path]) -> None:
    (picture,) = draw_times(read_entries(runs, ["a", "a", "a", "b"]))
    (figure,) = picture.figures  # none of millimetres
    a, b = figure.axes[0].containers
    top = np.mean(TOPS["a"])
    np.testing.assert_allclose(a[0].get_xydata(), [[3, top - 0.1], [5, top]])
    np.testing.assert_allclose(b[0].get_xydata(), [[4, 0.5]])
    lengths = np.diff(np.array(a[2][0].get_segments())[:, :, 1])[:, 0]
    np.testing.assert_allclose(lengths, 2 * np.std(TOPS["a"], ddof=1))
    assert not b[2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


@pytest.mark.parametrize("seconds", [(60, None, 60), (None, None, None), ()])
def test_runs_without_all_seconds_have_no_time(
    runs: list[Path], seconds: tuple[float | None, ...]
) -> None:
    write_times(runs[1], *seconds)
    write_times(runs[-1], *seconds)
    read = read_entries(runs, ["a", "a", "a", "b"])
    assert not [*draw_times(read)]
    assert "pretraining time" not in check_page(make_page(read)).text
    write_times(runs[1], 60, 60, None)  # known up to the kept encoder
    write_times(runs[-1], 60)
    (picture,) = draw_times(read_entries(runs, ["a", "a", "a", "b"]))
    a, b = picture.figures[0].axes[0].containers
    assert a[0].get_xdata().tolist() == pytest.approx([(2 + 2 + 4) / 3])
    assert b[0].get_xdata().tolist() == [1]


def test_scores_of_several_runs_have_no_time(tmp_path: Path) -> None:
    paths = []
    for name in "ab":
        content = top1(name, 0.5)
        fused = top1(name, 0.6, weights=[1.0, 1.0])
        fused["runs"] = [*fused["runs"], {"run": "c", "protocol": "xsub"}]
        paths.append(write_run(tmp_path / name, content, fused))
        write_times(paths[-1], 60)
    read = read_entries(paths)
    (picture,) = draw_times(read)
    assert len(picture.figures) == 1
    assert len(methods(read)[0].figures[0].axes) == 3  # and the mean rank


def test_a_legend_is_below_the_first_figure_with_its_columns(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b", EVIL):
        found = [top1(name, 0.5), result("knn", {"top1": 0.5, "vote": 0.25, "map": 0.75}, name)]
        paths.append(write_run(tmp_path / f"run-{len(paths)}", *found[name == EVIL :]))
        write_times(paths[-1], 60)
    read = read_entries(paths, ["a", "b", EVIL])
    (picture,) = draw_times(read)
    shown = [
        [text.get_text() for each in figure.legends for text in each.get_texts()]
        for figure in picture.figures
    ]
    assert shown == [["a", "b"], ["a", "b", EVIL]]
    assert "Methods by task" in check_page(make_page(read)).text


def test_one_column_has_neither_picture(runs: list[Path]) -> None:
    read = read_entries(runs[:3], ["a"] * 3)
    assert not methods(read)
    assert not [*draw_times(read)]
