"""The comparison of a report: settings, figures and tests, in each format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from written_results import check_page, result, table_of, write_run

from pcm3.cli import main
from pcm3.report.page import Report, write_report
from pcm3.report.significance import compare_samples, holm

TOPS = {
    "base": (0.80, 0.78, 0.80, 0.85),
    "better": (0.90, 0.87, 0.91, 0.95),
    "same_100%": (0.81, 0.77, 0.80, 0.85),
}
SETTINGS = {
    "base": {"mask_ratio": "0.6"},
    "better": {"mask_ratio": "0.8"},
    "same_100%": {"mask_ratio": "all & none"},
}


def write(folder: Path, seeds: int) -> Report:
    paths, columns = [], []
    for name, tops in TOPS.items():
        for seed, top in enumerate(tops[:seeds]):
            run = folder / f"{name}-{seed}"
            paths.append(write_run(run, result("linear", {"top1": top}, run.name), seed=seed))
            columns.append(name)
    out = folder / "report"
    return write_report(paths, out, columns=columns, settings=SETTINGS, baseline="base")


def expected() -> list[float]:
    base = dict(enumerate(TOPS["base"]))
    found = [compare_samples(dict(enumerate(TOPS[name])), base) for name in [*TOPS][1:]]
    return holm([test.p for test in found if test is not None])


def test_figures_are_tested_against_the_baseline(tmp_path: Path) -> None:
    report = write(tmp_path, 4)
    records = json.loads(report.data.read_text())["comparison"]
    assert [record["column"] for record in records] == [*TOPS]
    assert [record["p"] for record in records] == [None, *expected()]
    assert records[1]["p"] < 0.05 < records[2]["p"]
    assert records[1]["difference"] == pytest.approx(0.9075 - 0.8075)


def test_every_format_has_the_table(tmp_path: Path) -> None:
    report = write(tmp_path, 4)
    text = report.table.read_text()
    assert table_of(text, "## Comparison: data, xsub") == [
        ["", "mask\\_ratio".replace("\\", ""), "linear top1"],
        ["---", "---", "---:"],
        ["base (4 seeds, baseline)", "0.6", "80.8 ± 3.0%"],
        ["better (4 seeds)", "0.8", "90.8 ± 3.3% \\*"],
        ["same_100% (4 seeds)", "all &amp; none", "80.8 ± 3.3%"],
    ]
    assert "a paired t-test over equal seeds" in text
    page = check_page(report.page.read_text())
    assert "90.8 ± 3.3% *" in page.text
    rows = list(csv.DictReader(report.sheet.open()))
    assert [row["mask_ratio"] for row in rows] == ["0.6", "0.8", "all & none"]
    assert [float(row["linear top1 mean"]) for row in rows] == pytest.approx(
        [sum(tops) / 4 for tops in TOPS.values()]
    )
    assert rows[0]["linear top1 p_holm"] == ""
    assert [float(row["linear top1 p_holm"]) for row in rows[1:]] == expected()
    latex = report.latex.read_text().splitlines()
    assert latex[-4:-2] == [
        r"better (4 seeds) & 0.8 & 90.8 $\pm$ 3.3 \textsuperscript{*} \\",
        r"same\_100\% (4 seeds) & all \& none & 80.8 $\pm$ 3.3 \\",
    ]
    assert r"\begin{tabular}{llr}" in latex
    assert r" & mask\_ratio & linear top1 (\%) \\" in latex


def test_two_seeds_show_no_significance(tmp_path: Path) -> None:
    report = write(tmp_path, 2)
    text = report.table.read_text()
    assert "\\*" not in text
    assert "fewer than 3 seeds" in text
    assert {r["p"] for r in json.loads(report.data.read_text())["comparison"]} == {None}


def test_runs_without_results_are_not_the_baseline(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", result("linear", {"top1": 0.5}, "a"))
    with pytest.raises(ValueError):
        write_report([run], tmp_path / "report", baseline="b")
    with pytest.raises(ValueError):
        write_report([run], tmp_path / "report", columns=["a", "b"])


def test_the_command_compares_with_a_baseline(
    seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = list(map(str, seeds))
    assert main(["report", *runs, "--out", f"{tmp_path}/r", "--baseline", "pcm3"]) == 0
    assert "| mamp-0 | 50.0% |" in capsys.readouterr().out
    assert main(["report", *runs, "--out", f"{tmp_path}/r", "--baseline", "simclr"]) == 2
    assert "pcm3, mamp-0" in capsys.readouterr().err
