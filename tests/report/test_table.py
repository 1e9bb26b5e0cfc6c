"""The table of a report: figures of runs side by side, and what they are."""

from __future__ import annotations

import csv
import json
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_results import Page, result, table_of, write_run

from pcm3.evaluation.tasks import knn
from pcm3.methods.catalog import get_preset
from pcm3.report.entries import read_entries
from pcm3.report.page import make_page, write_report
from pcm3.report.table import NOT_KNOWN, SPREAD, as_json, explain, markdown, remarks, tabulate


def test_runs_that_differ_in_the_seed_share_a_column(seeds: list[Path]) -> None:
    head, rule, row = table_of(markdown(read_entries(seeds)))
    assert head == ["store", "protocol", "task", "figure", "pcm3 (3 seeds)", "mamp-0"]
    assert rule == ["---"] * 4 + ["---:"] * 2
    # (80 + 70 + 84) / 3 = 78; deviations 2, -8, 6: the root of (4 + 64 + 36) / 2 is 7.21
    assert row == ["data", "xsub", "linear", "top1", "78.0 ± 7.2%", "50.0%"]
    assert "± is the standard deviation" in markdown(read_entries(seeds))


def test_columns_are_in_the_order_of_the_runs(seeds: list[Path]) -> None:
    head = table_of(markdown(read_entries(seeds[::-1])))[0]
    assert head[4:] == ["mamp-0", "pcm3 (3 seeds)"]


def test_a_run_that_lacks_a_result_is_not_counted(seeds: list[Path]) -> None:
    knn = result("knn", {"top1": 0.25, "vote": 0.5, "map": 0.125, "recall_at_1": 0.25})
    for path in seeds[:2]:
        (path / "results" / "knn.json").write_text(json.dumps(knn))
    rows = table_of(markdown(read_entries(seeds)))[2:]
    assert [row[2:] for row in rows[1:]] == [
        ["knn", "top1", "25.0 ± 0.0% (n = 2)", ""],
        ["knn", "vote", "50.0 ± 0.0% (n = 2)", ""],
        ["knn", "map", "12.5 ± 0.0% (n = 2)", ""],
    ]


def test_what_is_the_same_for_all_seeds_has_no_spread(tmp_path: Path) -> None:
    errors = {"a-0": 30.0, "a-1": 30.001}
    paths = [
        write_run(
            tmp_path / name,
            result("prediction", {"mpjpe_mm": error, "zero_velocity_mm": 31.9}),
            seed=seed,
        )
        for seed, (name, error) in enumerate(errors.items())
    ]
    text = markdown(read_entries(paths))
    assert [row[3:] for row in table_of(text)[2:]] == [
        ["mpjpe_mm", "30.0 ± 0.0 mm"],
        ["zero_velocity_mm", "31.9 ± 0.0 mm"],
    ]
    assert "mpjpe_mm | 30.0 mm |" in markdown(read_entries(paths[:1]))


def semi(tops: dict[float, list[float]]) -> dict[str, Any]:
    metrics: dict[str, float] = {}
    for share, values in tops.items():
        metrics[f"top1_at_{share}"] = statistics.mean(values)
        metrics[f"top1_std_at_{share}"] = statistics.stdev(values)
    runs = [{"fraction": share, "top1": top} for share, values in tops.items() for top in values]
    return result("semi", metrics, details={"runs": runs})


def test_the_deviation_is_over_runs_in_all_formats(tmp_path: Path) -> None:
    first = {0.01: [0.1, 0.2, 0.3], 0.1: [0.5, 0.5, 0.5]}
    second = {0.01: [0.2, 0.2, 0.2], 0.1: [0.7, 0.7, 0.7]}
    paths = [
        write_run(tmp_path / f"a-{seed}", semi(tops), seed=seed)
        for seed, tops in enumerate((first, second))
    ]
    report = write_report(paths, tmp_path / "out")
    text = report.table.read_text()
    assert [row[3:] for row in table_of(text)[2:]] == [
        ["top1_at_0.01", "20.0 ± 0.0%"],
        ["top1_at_0.1", "60.0 ± 14.1%"],  # the root of (10 ** 2 + 10 ** 2) / 1
    ]
    others = [row[3:] for row in table_of(text, "## All other figures")[2:]]
    assert others[0] == ["top1_std_at_0.01", "5.0 ± 7.1%"]
    data = json.loads(report.data.read_text())
    rows = {row["figure"]: row["cells"]["a"] for row in data["table"]}
    (line,) = csv.DictReader(report.sheet.open())
    for figure, std in {"top1_at_0.01": 0, "top1_at_0.1": 0.02**0.5}.items():
        assert rows[figure]["std"] == pytest.approx(std, abs=1e-12)
        assert float(line[f"semi {figure} std"]) == pytest.approx(std, abs=1e-12)
    latex = report.latex.read_text()
    assert r"20.0 $\pm$ 0.0 & 60.0 $\pm$ 14.1" in latex
    page = report.page.read_text()
    for said in (text, page, "\n".join(data["notes"])):
        assert SPREAD in said
    assert SPREAD.replace("±", r"$\pm$") in latex


def test_a_single_run_has_no_deviation_in_any_format(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", semi({0.1: [0.1, 0.2, 0.3]}), seed=0)
    report = write_report([run], tmp_path / "out")
    assert table_of(report.table.read_text())[2][3:] == ["top1_at_0.1", "20.0%"]
    assert json.loads(report.data.read_text())["table"][0]["cells"]["a"]["std"] is None
    (line,) = csv.DictReader(report.sheet.open())
    assert line["semi top1_at_0.1 std"] == ""
    assert r"a & 20.0 \\" in report.latex.read_text()
    for file in (report.table, report.page):
        assert SPREAD in file.read_text()


def test_means_and_deviations_for_programs(seeds: list[Path], tmp_path: Path) -> None:
    data = json.loads(write_report(seeds, tmp_path / "out").data.read_text())
    values = {"pcm3-0": 0.8, "pcm3-1": 0.7, "pcm3-2": 0.84}
    (row,) = data["table"]
    assert (row["store"], row["protocol"], row["task"], row["figure"]) == (
        *("data", "xsub", "linear", "top1"),
    )
    cell = row["cells"]["pcm3"]
    assert cell["values"] == values
    assert cell["mean"] == pytest.approx(statistics.mean(values.values()))
    assert cell["std"] == pytest.approx(np.std([*values.values()], ddof=1))
    assert row["cells"]["mamp-0"]["std"] is None
    assert [(each["run"], each["metrics"]["top1"]) for each in data["results"]] == [
        *values.items(),
        ("mamp-0", 0.5),
    ]


def test_settings_that_are_not_the_defaults_make_a_row_of_their_own(tmp_path: Path) -> None:
    nested = {"solver": "pcm3", "regularization": 1.0, "probe": {"epochs": 3, "drops": None}}
    kept = {"run": "a", "epoch": 300, "protocol": "xsub", "test_sequences_seen": 0}
    path = write_run(
        tmp_path / "a",
        result("linear", {"top1": 0.5}, settings=nested),
        result("linear", {"top1": 0.25}, settings={"solver": "logistic"}),
        result("knn", {"top1": 0.2}, settings={"k": 5}, runs=[kept]),
        result("linear", {"top1": 0.1}, settings={"solver": "sgd", "sgd": {"lr": 0.1}}),
        seed=0,
    )
    results = read_entries([path])
    assert [each.settings for each in results.entries] == [
        {"solver": "logistic"},
        {"solver": "pcm3", "probe.epochs": 3},
        {"solver": "sgd", "sgd.lr": 0.1},
        {"epoch": 300},
    ]
    rows = table_of(markdown(results))[2:]
    assert [row[2:] for row in rows] == [
        ["linear (solver logistic)", "top1", "25.0%"],
        ["linear (solver pcm3, probe.epochs 3)", "top1", "50.0%"],
        ["linear (solver sgd, sgd.lr 0.1)", "top1", "10.0%"],
        ["knn (epoch 300)", "top1", "20.0%"],
    ]


def test_all_figures_are_kept_and_the_headline_comes_first(tmp_path: Path) -> None:
    horizon = {"2": 10.0, "4": 20.0}
    metrics = {"zero_velocity_mm": 40.0, "mpjpe_mm_by_horizon": horizon, "mpjpe_mm": 30.26}
    path = write_run(tmp_path / "a", result("prediction", metrics))
    rows = tabulate(read_entries([path]).entries)
    assert [(row.figure, row.headline) for row in rows] == [
        ("mpjpe_mm", True),
        ("zero_velocity_mm", True),
        ("mpjpe_mm_by_horizon.2", False),
        ("mpjpe_mm_by_horizon.4", False),
    ]
    text = markdown(read_entries([path]))
    assert [row[3:] for row in table_of(text)[2:]] == [
        ["mpjpe_mm", "30.3 mm"],
        ["zero_velocity_mm", "40.0 mm"],
    ]
    assert [row[3:] for row in table_of(text, "## All other figures")[2:]] == [
        ["mpjpe_mm_by_horizon.2", "10.0 mm"],
        ["mpjpe_mm_by_horizon.4", "20.0 mm"],
    ]


def test_accuracy_of_unaltered_recordings_is_no_headline_of_altered_ones(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "spatial_top1": 0.25, "noise_top1": 0.125}
    contents = [result(task, metrics) for task in ("linear", "occlusion", "robustness")]
    text = markdown(read_entries([write_run(tmp_path / "a", *contents)]))
    assert [row[2] for row in table_of(text) if row[3] == "top1"] == ["linear"]
    others = table_of(text, "## All other figures")
    assert [row[2] for row in others if row[3] == "top1"] == ["occlusion", "robustness"]


def test_runs_are_told_with_their_data(tmp_path: Path) -> None:
    linear = result("linear", {"top1": 0.5}, details={"labels": [0, 0, 2, 1]})
    linear |= {"train_sequences": 7, "test_sequences": 4}
    other = result("fewshot", {"svm_1shot": 0.5}, store="other")
    paths = [
        write_run(tmp_path / "b", linear, other, seed=3),
        write_run(tmp_path / "a", result("robustness", {"noise_top1": 0.5}, test_sequences=4)),
    ]
    results = read_entries(paths)
    head, _, *rows = table_of(markdown(results), "## Runs")
    assert head == [
        *("run", "method", "epochs", "seed", "store", "protocol"),
        *("training sequences (evaluation)", "test sequences", "chance"),
    ]
    assert rows == [
        ["b", "pcm3", "2", "3", "data", "xsub", "7", "4", "50.0%"],
        ["b", "pcm3", "2", "3", "other", "xsub", "-", "9", "-"],
        ["a", "-", "-", "-", "data", "xsub", "-", "4", "50.0%"],  # of the same test part
    ]
    text = make_page(results)
    assert NOT_KNOWN in text
    assert NOT_KNOWN in markdown(results)
    assert "Chance is the share of the commonest class" in text
    cells = [Page(cell).text for cell in re.findall("<td>.*?</td>", text.partition("<h2>")[2])]
    assert cells[:8] == rows[0][1:]


def test_columns_of_which_nothing_is_known_are_left_out(tmp_path: Path) -> None:
    """As for an encoder without its run."""
    results = read_entries([write_run(tmp_path / "a", result("linear", {"top1": 0.5}))])
    text = markdown(results)
    head, rule, row = table_of(text, "## Runs")
    assert head == ["run", "store", "protocol", "test sequences"]
    assert rule == ["---"] * 3 + ["---:"]
    assert row == ["a", "data", "xsub", "9"]
    page = make_page(results)
    for shown in (text, page):
        assert NOT_KNOWN not in shown
        assert "Chance" not in shown
    table = page.partition('<table class="runs">')[2].partition("</table>")[0]
    assert re.findall('<th scope="col">(.*?)</th>', table) == head


def test_runs_of_one_name_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    content, common = result("linear", {"top1": 0.5}), {"temperature": 0.07, "shear": 1.0}
    models: list[dict[str, Any]] = [
        {"encoder": "gru", "hidden": 128, **common},
        {"encoder": "stgcn", "hidden": 128, **common},
        {"encoder": "gru", "hidden": 1024, **common},
        {"encoder": "gru", "hidden": 128, **common},
    ]
    paths = [
        write_run(tmp_path / str(number) / "run", content, seed=number, model=model)
        for number, model in enumerate(models)
    ]
    rows = table_of(markdown(read_entries(paths)), "## Runs")[2:]
    gru, graph, wide = "encoder gru, hidden 128", "encoder stgcn, hidden 128", "encoder gru, hidden"
    assert [row[1] for row in rows] == [
        f"pcm3 ({varied})" for varied in (gru, graph, f"{wide} 1024", gru)
    ]
    assert len({row[0] for row in rows}) == len(rows)
    rows = table_of(markdown(read_entries([paths[0], paths[3]])), "## Runs")[2:]
    assert [row[1] for row in rows] == ["pcm3", "pcm3"]
    many = {f"setting_{number}": number for number in range(9)}
    other = write_run(tmp_path / "many" / "run", content, seed=0, model={**many, "setting_0": 1})
    paths = [write_run(tmp_path / "few" / "run", content, seed=0, model=dict.fromkeys(many, -1))]
    (_, second) = table_of(markdown(read_entries([*paths, other])), "## Runs")[2:]
    assert second[1].endswith("setting_5 5, setting_6 6, setting_7 7, setting_8 8)")


def config_of(preset: str, **changes: Any) -> dict[str, Any]:
    """What ``config.json`` of a run of this preset holds, with changed settings of the model."""
    model = changes.pop("model", {})
    settings = get_preset(preset)
    changed = replace(settings, model=settings.model.changed(model), **changes)
    config: dict[str, Any] = json.loads(changed.to_json())
    return config


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        (
            [config_of("small"), config_of("small", any_layout=True)],
            ["pcm3 (any_layout False)", "pcm3 (any_layout True)"],
        ),
        (
            [config_of("small"), config_of("small-skeletonclr")],
            ["pcm3 (preset small)", "pcm3 (preset small-skeletonclr)"],
        ),
        (
            [
                config_of("small"),
                config_of("small", model={"mask_ratio": 0.3}),
                config_of("small-skeletonclr", model={"shear": 0.1}),
            ],
            [
                "pcm3 (preset small, mask_ratio 0.6)",
                "pcm3 (preset small, mask_ratio 0.3)",
                "pcm3 (preset small-skeletonclr, shear 0.1)",
            ],
        ),
        (
            [config_of("small"), config_of("small", model={"positives": ("intra", "inter")})],
            ["pcm3 (positives intra inter mask predict)", "pcm3 (positives intra inter)"],
        ),
        (
            [config_of("small"), config_of("small") | {"start": "other-0"}],
            ["pcm3 (from none)", "pcm3 (from other)"],
        ),
        (
            [
                config_of("small")
                | {
                    "data": {
                        "sequences": 9,
                        "frames": 99,
                        "checksum": checksum,
                        "normalization": "none",
                        "skeleton": {"name": "ntu25", "joints": []},
                    }
                }
                for checksum in ("a", "b")
            ],
            ["pcm3 (training data 9 sequences (a))", "pcm3 (training data 9 sequences (b))"],
        ),
        ([config_of("small")] * 2, ["pcm3", "pcm3"]),
    ],
)
def test_each_run_is_told_by_its_preset_and_what_differs(
    tmp_path: Path, configs: list[dict[str, Any]], expected: list[str]
) -> None:
    content = result("linear", {"top1": 0.5})
    paths = [
        write_run(tmp_path / str(number), content, seed=0, **config)
        for number, config in enumerate(configs)
    ]
    rows = table_of(markdown(read_entries(paths)), "## Runs")[2:]
    assert [row[1] for row in rows] == expected


def test_chance_of_occluded_recordings(tmp_path: Path) -> None:
    clean = {"labels": [0, 1, 1, 1]}
    content = result("occlusion", {"spatial_top1": 0.5}, details={"clean": clean})
    text = markdown(read_entries([write_run(tmp_path / "a", content)]))
    assert table_of(text, "## Runs")[2][-1] == "75.0%"


def test_figures_that_occur_are_explained(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "recall_at_1": 0.5, "recall_at_10": 0.5, "own": 0.5}
    results = read_entries([write_run(tmp_path / "a", result("knn", metrics))])
    text = markdown(results)
    assert re.findall(r"^- `(.*?)`: \w", text, re.MULTILINE) == ["top1", "recall_at_K"]
    page = make_page(results)
    assert page.count("<dt>") == 2
    assert f"<dt>recall_<wbr>at_<wbr>K</dt><dd>{knn.TASK.legend['recall_at_K']}</dd>" in page


def test_tasks_are_in_their_order_and_stores_apart(tmp_path: Path) -> None:
    contents = [
        result("fewshot", {"svm_1shot": 0.1}, store="b"),
        result("knn", {"top1": 0.1}, store="a"),
        result("linear", {"top1": 0.1}, store="b"),
        result("linear", {"top1": 0.1}, store="b", protocol="xview"),
    ]
    rows = tabulate(read_entries([write_run(tmp_path / "x", *contents)]).entries)
    assert [row[:3] for row in rows] == [
        ("a", "xsub", "knn"),
        ("b", "xsub", "linear"),
        ("b", "xsub", "fewshot"),
        ("b", "xview", "linear"),
    ]


def test_what_tasks_say_names_its_runs_where_others_say_nothing(tmp_path: Path) -> None:
    def saying(*notes: str, k: int = 5) -> dict[str, Any]:
        content = result("knn", {"top1": 0.5}, "run", notes=list(notes))
        return content | {"settings": {"k": k}}

    paths = [
        write_run(tmp_path / "pcm3", saying("few", "odd"), saying("worse", k=9)),
        write_run(tmp_path / "mamp", saying("few"), saying(k=9)),
        write_run(tmp_path / "mae", saying("few", "odd")),
    ]
    said = ["knn: few", "knn (pcm3, mae): odd", "knn (k 9, pcm3): worse"]
    assert remarks(read_entries(paths).entries) == said


def test_seen_test_sequences_are_told(tmp_path: Path) -> None:
    seen = [{"run": "a", "test_sequences_seen": 3}]
    path = write_run(tmp_path / "a", result("linear", {"top1": 0.5}, runs=seen))
    text = markdown(read_entries([path]))
    assert table_of(text)[2][-1] == "50.0% †"
    assert "† Pretraining has seen test sequences" in text
    assert "†" in make_page(read_entries([path]))


@pytest.mark.parametrize(
    ("counts", "mark", "seen"),
    [([0, 0], "", 0), ([0, None], " ?", None), ([None], " ?", None), ([None, 2], " †", 2)],
)
def test_unknown_is_told_too(
    tmp_path: Path, counts: list[int | None], mark: str, seen: int | None
) -> None:
    runs = [{"run": str(at), "test_sequences_seen": count} for at, count in enumerate(counts)]
    weights = [1 / len(runs)] * len(runs)
    own = result("linear", {"top1": 0.5}, runs=runs, weights=weights)
    results = read_entries([write_run(tmp_path / "a", own)])
    assert table_of(markdown(results))[2][-1] == f"50.0%{mark}"
    assert ("? Whether" in markdown(results)) == (mark == " ?")
    assert as_json(results)["results"][0]["seen"] == seen


def test_every_figure_is_explained(evaluated: list[Path]) -> None:
    rows = tabulate(read_entries(evaluated).entries)
    assert [row.figure for row in rows if not explain([row])] == []
