"""The report: what is on file, side by side, as a table and as a page that needs nothing else."""

from __future__ import annotations

import base64
import json
import re
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from html import escape
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from pcm3.cli import main
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.evaluate import evaluate_runs, result_file, write_result
from pcm3.evaluation.tasks.fewshot import FewShot
from pcm3.evaluation.tasks.finetune import Finetune
from pcm3.evaluation.tasks.occlusion import Occlusion, Robustness
from pcm3.evaluation.tasks.prediction.prediction import Prediction
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.evaluation.tasks.semi import Semi
from pcm3.hub import Pretrained, save_encoder
from pcm3.methods.settings import NO_EFFECT, TrainSettings
from pcm3.report.legend import LEGEND, explain
from pcm3.report.page import make_page, write_report
from pcm3.report.pictures import Picture, draw_pictures
from pcm3.report.results import Result, read_results
from pcm3.report.table import as_json, for_people, markdown, remarks, tabulate
from pcm3.skeleton import SBU15
from pcm3.viz.figures import PALETTE

EVIL = "<script>alert(1)</script>"
CLASSES = ["wave", EVIL, "sit & stand $x_1$"]


def result(task: str, metrics: dict[str, Any], run: str = "a", **changes: Any) -> dict[str, Any]:
    about = {"run": run, "protocol": "xsub", "test_sequences_seen": 0}
    content = {
        "command": f"evaluate {task}",
        "store": "data",
        "protocol": "xsub",
        "settings": {},
        "test_sequences": 9,
        "class_names": CLASSES,
        "metrics": metrics,
        "weights": [1.0],
        "runs": [about],
        "details": {},
    }
    return content | changes


def write_run(path: Path, *results: dict[str, Any], seed: int | None = None, **config: Any) -> Path:
    (path / "results").mkdir(parents=True)
    if seed is not None:
        seen = {"store": f"data-{seed}", "protocol": "xsub", "sequences": 9, "frames": 99}
        settings = {"method": "pcm3", "train": {"epochs": 2, "seed": seed}, "seen": [seen]}
        (path / "config.json").write_text(json.dumps(settings | config))
    for number, content in enumerate(results):
        (path / "results" / f"{number}.json").write_text(json.dumps(content))
    return path


@pytest.fixture
def seeds(tmp_path: Path) -> list[Path]:
    """Three runs that differ in the seed, and one of another kind."""
    tops = {"pcm3-0": 0.8, "pcm3-1": 0.7, "pcm3-2": 0.84}
    paths = [
        write_run(tmp_path / name, result("linear", {"top1": top}, name), seed=number)
        for number, (name, top) in enumerate(tops.items())
    ]
    other = result("linear", {"top1": 0.5}, "mamp-0")
    return [*paths, write_run(tmp_path / "mamp-0", other, seed=0, method="mamp")]


def table_of(text: str, title: str = "# Results") -> list[list[str]]:
    """The table below a title."""
    _, _, below = text.partition(f"{title}\n")
    lines = [line for line in below.partition("\n#")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


# --- the table ------------------------------------------------------------------------------------


def test_runs_that_differ_in_the_seed_share_a_column(seeds: list[Path]) -> None:
    head, rule, row = table_of(markdown(read_results(seeds)))
    assert head == ["store", "protocol", "task", "figure", "pcm3 (3 seeds)", "mamp-0"]
    assert rule == ["---"] * 4 + ["---:"] * 2
    # (80 + 70 + 84) / 3 = 78; deviations 2, -8, 6: the root of (4 + 64 + 36) / 2 is 7.21
    assert row == ["data", "xsub", "linear", "top1", "78.0 ± 7.2%", "50.0%"]
    assert "± is the standard deviation" in markdown(read_results(seeds))


def test_columns_are_in_the_order_of_the_runs(seeds: list[Path]) -> None:
    head = table_of(markdown(read_results(seeds[::-1])))[0]
    assert head[4:] == ["mamp-0", "pcm3 (3 seeds)"]


def test_a_run_that_lacks_a_result_is_not_counted(seeds: list[Path]) -> None:
    knn = result("knn", {"top1": 0.25, "vote": 0.5, "map": 0.125, "recall_at_1": 0.25})
    for path in seeds[:2]:
        (path / "results" / "knn.json").write_text(json.dumps(knn))
    rows = table_of(markdown(read_results(seeds)))[2:]
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
    text = markdown(read_results(paths))
    assert [row[3:] for row in table_of(text)[2:]] == [
        ["mpjpe_mm", "30.0 ± 0.0 mm"],
        ["zero_velocity_mm", "31.9 ± 0.0 mm"],
    ]
    assert "mpjpe_mm | 30.0 mm |" in markdown(read_results(paths[:1]))


def semi(tops: dict[float, list[float]]) -> dict[str, Any]:
    metrics: dict[str, float] = {}
    for share, values in tops.items():
        metrics[f"top1_at_{share}"] = statistics.mean(values)
        metrics[f"top1_std_at_{share}"] = statistics.stdev(values)
    runs = [{"fraction": share, "top1": top} for share, values in tops.items() for top in values]
    return result("semi", metrics, details={"runs": runs})


def test_few_labels_have_the_deviation_over_all_draws(tmp_path: Path) -> None:
    first = {0.01: [0.1, 0.2, 0.3], 0.1: [0.5, 0.5, 0.5]}
    second = {0.01: [0.2, 0.2, 0.2], 0.1: [0.7, 0.7, 0.7]}
    paths = [
        write_run(tmp_path / f"a-{seed}", semi(tops), seed=seed)
        for seed, tops in enumerate((first, second))
    ]
    text = markdown(read_results(paths))
    # deviations of 10, 20, 30, 20, 20, 20: the root of 200 / 5; three times -10, 10: 600 / 5
    assert [row[3:] for row in table_of(text)[2:]] == [
        ["top1_at_0.01", "20.0 ± 6.3%"],
        ["top1_at_0.1", "60.0 ± 11.0%"],
    ]
    assert "± of top1_at_F is the standard deviation over all draws" in text
    assert "over runs that differ" not in text
    assert "20.0 ± 10.0%" in markdown(read_results(paths[:1]))
    for shown in (text, make_page(read_results(paths))):
        assert "top1_std_at" not in shown
        assert "top1_<wbr>std" not in shown
    data = json.loads(write_report(paths, tmp_path / "out").data.read_text())
    rows = {row["figure"]: row["cells"]["a"] for row in data["table"]}
    assert rows["top1_std_at_0.01"]["values"] == pytest.approx({"a-0": 0.1, "a-1": 0})
    assert rows["top1_at_0.01"]["draws"] == [*first[0.01], *second[0.01]]


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
    results = read_results([path])
    assert [each.settings for each in results.found] == [
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
    rows = tabulate(read_results([path]).found)
    assert [(row.figure, row.headline) for row in rows] == [
        ("mpjpe_mm", True),
        ("zero_velocity_mm", True),
        ("mpjpe_mm_by_horizon.2", False),
        ("mpjpe_mm_by_horizon.4", False),
    ]
    text = markdown(read_results([path]))
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
    text = markdown(read_results([write_run(tmp_path / "a", *contents)]))
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
    results = read_results(paths)
    head, _, *rows = table_of(markdown(results), "## Runs")
    assert head == [
        *("run", "method", "epochs", "seed", "store", "protocol"),
        *("training sequences", "test sequences", "chance"),
    ]
    assert rows == [
        ["b", "pcm3", "2", "3", "data", "xsub", "7", "4", "50.0%"],
        ["b", "pcm3", "2", "3", "other", "xsub", "", "9", ""],
        ["a", "", "", "", "data", "xsub", "", "4", "50.0%"],  # of the same test part
    ]
    text = make_page(results)
    assert "Chance is the share of the commonest class" in text
    cells = [Page(cell).text for cell in re.findall("<td>.*?</td>", text.partition("<h2>")[2])]
    assert cells[:8] == rows[0][1:]


def test_chance_of_occluded_recordings(tmp_path: Path) -> None:
    clean = {"labels": [0, 1, 1, 1]}
    content = result("occlusion", {"spatial_top1": 0.5}, details={"clean": clean})
    text = markdown(read_results([write_run(tmp_path / "a", content)]))
    assert table_of(text, "## Runs")[2][-1] == "75.0%"


def test_figures_that_occur_are_explained(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "recall_at_1": 0.5, "recall_at_10": 0.5, "own": 0.5}
    results = read_results([write_run(tmp_path / "a", result("knn", metrics))])
    text = markdown(results)
    assert re.findall(r"^- `(.*?)`: \w", text, re.MULTILINE) == ["top1", "recall_at_K"]
    page = make_page(results)
    assert page.count("<dt>") == 2
    assert f"<dt>recall_<wbr>at_<wbr>K</dt><dd>{LEGEND['recall_at_K']}</dd>" in page


def test_tasks_are_in_their_order_and_stores_apart(tmp_path: Path) -> None:
    contents = [
        result("fewshot", {"svm_1shot": 0.1}, store="b"),
        result("knn", {"top1": 0.1}, store="a"),
        result("linear", {"top1": 0.1}, store="b"),
        result("linear", {"top1": 0.1}, store="b", protocol="xview"),
    ]
    rows = tabulate(read_results([write_run(tmp_path / "x", *contents)]).found)
    assert [row[:3] for row in rows] == [
        ("a", "xsub", "knn"),
        ("b", "xsub", "linear"),
        ("b", "xsub", "fewshot"),
        ("b", "xview", "linear"),
    ]


def test_stores_of_one_name_and_another_size_are_apart(tmp_path: Path) -> None:
    details = {"confusion": [[1, 0], [0, 1]]}
    metrics = {"top1": 1.0, "per_class": [1.0, 1.0]}
    small = result("linear", metrics, class_names=["a", "b"], details=details)
    metrics = {"top1": 0.5, "per_class": [1.0, 0.0, 0.5]}
    large = result("linear", metrics, data={"sequences": 9, "frames": 99})
    paths = [write_run(tmp_path / "a", small), write_run(tmp_path / "b", large)]
    results = read_results(paths)
    assert [each.store for each in results.found] == [
        *("data (2 classes)", "data (9 sequences, 99 frames, 3 classes)"),
    ]
    check_page(make_page(results))


def test_fused_results_name_the_others_by_their_column(tmp_path: Path) -> None:
    paths = []
    for seed, top in enumerate((0.5, 0.7)):
        abouts = [{"run": f"joint-{seed}"}, {"run": f"bone-{seed}"}]
        fused = result("linear", {"top1": top}, runs=abouts, weights=[0.5, 0.5])
        paths.append(write_run(tmp_path / f"joint-{seed}", fused, seed=seed))
    for seed in (0, 1):
        own = result("linear", {"top1": 0.1})
        paths.append(write_run(tmp_path / f"bone-{seed}", own, seed=seed, stream="bone"))
    rows = table_of(markdown(read_results(paths)))[2:]
    assert rows[1][2:] == ["linear (fused with bone)", "top1", "60.0 ± 14.1%", ""]
    alone = table_of(markdown(read_results(paths[:1])))[2]
    assert alone[2] == "linear (fused with bone-0)"
    without = table_of(markdown(read_results(paths[:2])))[2]  # bones of the same seeds
    assert without[2:] == ["linear (fused with bone)", "top1", "60.0 ± 14.1%"]


def test_fused_results_of_other_seeds_stay_apart(tmp_path: Path) -> None:
    paths = []
    for seed, other in enumerate(("bone-10", "motion")):
        abouts = [{"run": f"joint-{seed}"}, {"run": other}]
        fused = result("linear", {"top1": 0.5}, runs=abouts, weights=[0.5, 0.5])
        paths.append(write_run(tmp_path / f"joint-{seed}", fused, seed=seed))
    rows = table_of(markdown(read_results(paths)))[2:]
    assert [row[2] for row in rows] == ["linear (fused with bone-10)", "linear (fused with motion)"]


def test_seen_test_sequences_are_told(tmp_path: Path) -> None:
    seen = [{"run": "a", "test_sequences_seen": 3}]
    path = write_run(tmp_path / "a", result("linear", {"top1": 0.5}, runs=seen))
    text = markdown(read_results([path]))
    assert table_of(text)[2][-1] == "50.0% †"
    assert "† Pretraining has seen test sequences" in text
    assert "†" in make_page(read_results([path]))


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["x/run_seed0", "x/run_seed1"], "run (2 seeds)"),
        (["x/m-10", "x/m-11"], "m (2 seeds)"),
        (["one", "two"], "one, two (2 seeds)"),
        (["a/run", "b/run"], None),
    ],
)
def test_names_of_columns(tmp_path: Path, names: list[str], title: str | None) -> None:
    content = result("linear", {"top1": 0.5})
    paths = [write_run(tmp_path / name, content, seed=number) for number, name in enumerate(names)]
    head = table_of(markdown(read_results(paths)))[0]
    if title is None:  # runs of one name are told apart by their folders
        runs = {each.run for each in read_results(paths).found}
        assert runs == {str(path) for path in paths}
    else:
        assert head[4:] == [title]


def test_a_copy_is_no_other_seed(tmp_path: Path) -> None:
    content = result("linear", {"top1": 0.5})
    paths = [
        write_run(tmp_path / name, content, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert table_of(markdown(read_results(paths)))[0][4:] == ["a, c (2 seeds)", "b"]
    without = [write_run(tmp_path / name, content) for name in "de"]
    assert table_of(markdown(read_results(without)))[0][4:] == ["d", "e"]


@pytest.mark.parametrize("name", NO_EFFECT)
def test_settings_that_change_no_result_do_not_part_seeds(tmp_path: Path, name: str) -> None:
    train = asdict(TrainSettings())
    other = {str: "cpu", bool: True, int: 7, tuple: (3,)}[type(train[name])]
    paths = [
        write_run(
            tmp_path / f"a-{seed}",
            result("linear", {"top1": 0.5}, f"a-{seed}"),
            seed=seed,
            train=train | {"seed": seed, **more},
        )
        for seed, more in enumerate(({}, {name: other}, {"lr": 0.5}))
    ]
    assert table_of(markdown(read_results(paths)))[0][4:] == ["a (2 seeds)", "a-2"]


def test_devices_are_counted_together(tmp_path: Path) -> None:
    """Batch and sequences of a step are those of all."""
    paths = [
        write_run(
            tmp_path / f"a-{seed}",
            result("linear", {"top1": 0.5}, f"a-{seed}"),
            seed=seed,
            train=asdict(TrainSettings(seed=seed, devices=devices, nodes=nodes)),
        )
        for seed, (devices, nodes) in enumerate(((4, 1), (2, 2), (2, 1)))
    ]
    assert table_of(markdown(read_results(paths)))[0][4:] == ["a (2 seeds)", "a-2"]


# --- what is no result ----------------------------------------------------------------------------


def test_other_files_are_left_out_and_named(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "a",
        result("linear", {"top1": 0.5}),
        {"command": "benchmark"},
        result("linear", {"top1": 0.5}) | {"metrics": [1]},
    )
    (path / "results" / "list.json").write_text("[1, 2]")
    (path / "results" / "broken.json").write_text("{")
    read = read_results([path])
    assert [each.task for each in read.found] == ["linear"]
    assert [re.findall(r"(\w+)\.json: expected", why) for why in read.left_out] == [
        *(["1"], ["2"], ["broken"], ["list"]),
    ]
    for shown in (Page(make_page(read)).text, markdown(read).replace("\\", "")):
        assert all(why in shown for why in read.left_out)
    assert as_json(read)["left_out"] == read.left_out


def test_runs_without_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run folder, got none"):
        read_results([])
    missing, empty = tmp_path / "missing", write_run(tmp_path / "empty", seed=0)
    with pytest.raises(ValueError, match=r"folder with results, got none: .*missing: no such fold"):
        read_results([missing])
    path = write_run(tmp_path / "a", {"command": "benchmark"})
    with pytest.raises(ValueError, match=r"got none: .*0\.json: expected .*; .*empty: no results"):
        read_results([path, empty])
    good = write_run(tmp_path / "b", result("linear", {"top1": 0.5}))
    with pytest.raises(ValueError, match=r"expected different runs, got .*b/../b twice"):
        read_results([good, good / ".." / "b"])
    damaged = write_run(tmp_path / "c", result("linear", {"top1": 0.5}))
    (damaged / "config.json").write_text("nonsense")
    read = read_results([missing, empty, good, damaged])
    assert [each.run for each in read.found] == ["b"]
    assert [why.partition(": ")[0] for why in read.left_out] == [
        *(str(missing), f"{damaged}/config.json", str(empty)),
    ]


# --- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags and their attributes; fails where an end does not fit its start."""

    VOID = ("meta", "img", "br", "wbr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[str]:
        start = "data:image/svg+xml;base64,"
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith(start) for source in sources)
        return [base64.b64decode(source[len(start) :]).decode() for source in sources]


def check_page(text: str) -> Page:
    """It parses, runs nothing, and asks nobody for anything."""
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(names)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
    assert "url(" not in text
    assert "@import" not in text
    for image in page.images():
        for element in ElementTree.fromstring(image).iter():
            assert not str(element.tag).endswith("script")
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png"))
    return page


def test_names_are_escaped(tmp_path: Path) -> None:
    counts = [[2, 1, 0], [0, 3, 0], [1, 0, 2]]
    content = result(
        "linear",
        {"top1": 7 / 9, "per_class": [2 / 3, 1.0, 2 / 3]},
        store=f"{EVIL}|*",
        protocol="</style>",
        details={"confusion": counts},
    )
    path = write_run(tmp_path / "a<b>&\"'", content)
    results = read_results([path])
    page = check_page(make_page(results))
    assert EVIL in page.text  # in words
    assert "a<b>&\"'" in page.text
    assert "</style>, " not in make_page(results)
    row = table_of(markdown(results))[2]
    assert row[0] == r"&lt;script&gt;alert(1)&lt;/script&gt;\|\*"
    written = ["".join(ElementTree.fromstring(image).itertext()) for image in page.images()]
    assert all(EVIL in text for text in written)
    assert all("sit & stand $x_1$" in text for text in written)  # no formula


def test_the_page_is_the_same_again(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "per_class": [0.5, 0.25, None]}
    path = write_run(tmp_path / "a", result("linear", metrics))
    page = make_page(read_results([path]))
    assert "<img" in page
    assert page == make_page(read_results([path]))


def test_the_page_tells_settings_and_all_figures(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "vote": 0.25, "map": 0.125, "recall_at_1": 0.75}
    path = write_run(tmp_path / "a", result("knn", metrics, settings={"k": 7, "seed": 0}))
    page = check_page(make_page(read_results([path])))
    for text in ("k 7", "top1", "50.0%", "recall_at_1", "75.0%"):
        assert text in page.text
    assert "seed 0" not in page.text


def test_a_run_has_its_colour_in_every_store(tmp_path: Path) -> None:
    figures = {"spatial_top1": 0.5}
    occluded = [result("occlusion", figures, store=store) for store in ("one", "two")]
    paths = [write_run(tmp_path / "a", occluded[0]), write_run(tmp_path / "b", *occluded)]
    both, alone = check_page(make_page(read_results(paths))).images()
    first, second = (color.lower() for color in PALETTE[1:3])
    assert first in both
    assert second in both
    assert first not in alone
    assert second in alone


def test_names_of_tables_stay_in_view(tmp_path: Path) -> None:
    text = make_page(read_results([write_run(tmp_path / "a", result("linear", {"top1": 0.5}))]))
    (names,) = re.findall(r"([^}]*) \{ position: sticky; left: 0;", text)
    assert ".figures :is(th, td):nth-child(-n+2)" in names
    assert ".runs th:first-child" in names
    assert re.findall('<table class="(.*?)">', text) == ["runs", "figures"]


def test_names_break_at_slashes_alone(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "per_class": [0.5, 0.25, None]}
    path = write_run(tmp_path / "seed-0", result("linear", metrics))
    text = make_page(read_results([path]))
    assert "<span>seed-0/</span><span>results/</span><span>0.json.</span>" in text
    assert '<th scope="col"><span>seed-0</span></th>' in text


def test_command(seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "some where"
    assert main(["report", *map(str, seeds), "--out", str(out), "--json"]) == 0
    said = capsys.readouterr().out
    told = json.loads(said.splitlines()[-1])
    assert told["command"] == "report"
    assert told["out"] == str(out)
    assert told["metrics"]["pcm3"]["data xsub linear top1"] == pytest.approx(0.78)
    assert told["metrics"]["mamp-0"] == {"data xsub linear top1": 0.5}
    assert sorted(file.name for file in out.iterdir()) == [
        *("report.html", "report.json", "report.md"),
    ]
    headlines, others = (out / "report.md").read_text().split("\n## ", 1)
    assert headlines in said
    assert others not in said
    check_page((out / "report.html").read_text())


def test_command_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("run").mkdir()
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    assert "expected a run folder with results, got none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- pictures -------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "linear": None,
    "knn": None,
    "finetune": Finetune(epochs=1),
    "semi": Semi(fractions=(0.25, 0.5), draws=2, epochs=1),
    "occlusion": Occlusion(),
    "robustness": Robustness(ratios=(0.5,), noise=(0.1,), strides=(2,)),
    "fewshot": FewShot(ways=2, shots=(1, 2), queries=2, episodes=3),
    "prediction": Prediction(observed=6, predicted=3, horizons=(2,), epochs=1),
}
DETECTION = {
    "videos": [
        {
            "name": f"video {number}",
            "frames": 100,
            "truth": [[0, 10, 20], [2, 30, 60]],
            "proposals": [[0, 12, 22, 0.9], [1, 40, 70, 0.3]],
            "predicted": [[-1, 0, 100]],
        }
        for number in range(8)
    ]
}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds, evaluated on everything."""
    folder = tmp_path_factory.mktemp("runs")
    store = generate(
        folder / "data", sequences=24, classes=3, subjects=4, frames=(12, 20), skeleton=SBU15
    )
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        encoder = GRUEncoder(15, persons=1, hidden=4, layers=1, pool="mean").eval()
        detection = result("detection", {"map_action_voc_0.5": 0.5}, details=DETECTION)
        detection |= {"store": "data"}
        paths.append(write_run(folder / f"run-{seed}", detection))
        save_encoder(paths[-1] / "encoder.safetensors", Pretrained(encoder, SBU15, "joint", 8))
        for task, given in SMALL.items():
            settings = given or TASKS[task].settings()
            found = evaluate_runs(task, paths[-1:], Store(store.path), "xsub", settings)
            write_result(result_file(task, paths[-1:], found, settings), found)
        config = {"method": "pcm3", "train": {"seed": seed}}
        (paths[-1] / "config.json").write_text(json.dumps(config))
    return paths


@pytest.fixture(scope="module")
def drawn(evaluated: list[Path]) -> list[Picture]:
    return list(draw_pictures(read_results(evaluated).found))


def of_task(paths: list[Path], task: str) -> list[Result]:
    return [each for each in read_results(paths).found if each.task == task]


def pictures_of(pictures: Iterable[Picture], start: str) -> list[Picture]:
    return [each for each in pictures if each.title.startswith(start)]


def test_every_task_has_its_picture(evaluated: list[Path], drawn: list[Picture]) -> None:
    titles = [each.title for each in drawn]
    how = {each.task: f"run ({each.how})" for each in read_results(evaluated).found}
    assert titles == [
        "Accuracy by class, linear",
        "Confusion matrix, linear: run (solver logistic)",
        "Map of the features: run-0, one of 2 seeds",
        "Retrieval: run-0, one of 2 seeds",
        "Accuracy by class, knn",
        "Confusion matrix, knn: run",
        "Accuracy by class, finetune",
        f"Confusion matrix, finetune: {how['finetune']}",
        "Few labels",
        "Occluded recordings",
        "Robustness",
        "Detected actions: run-0, one of 2 seeds",
        "Few-shot recognition",
        "Motion prediction",
        f"Predicted motion: {how['prediction'].replace('run', 'run-0', 1)}, one of 2 seeds",
    ]


def test_the_whole_page(evaluated: list[Path], drawn: list[Picture]) -> None:
    results = read_results(evaluated)
    page = check_page(make_page(results))
    assert len(page.images()) == sum(len(each.figures) for each in drawn)
    for each in drawn:
        assert each.caption in page.text
        assert "From run-0/results/" in each.caption
    opened = sum(tag == "details" and "open" in attributes for tag, attributes in page.tags)
    assert opened == 11  # each kind once


def test_every_figure_is_explained(evaluated: list[Path]) -> None:
    rows = for_people(tabulate(read_results(evaluated).found))
    assert [row.figure for row in rows if not explain([row.figure])] == []


def test_confusions_are_added_up_over_the_seeds(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(drawn, "Confusion matrix, linear")
    parts = of_task(evaluated, "linear")
    counts = np.sum([each.details["confusion"] for each in parts], axis=0)
    shown = np.asarray(picture.figures[0].axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, counts / counts.sum(axis=1, keepdims=True))
    assert "added up over 2 runs" in picture.caption
    wrong = counts - np.diag(np.diag(counts))
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        names = parts[0].class_names
        assert f"{names[row]} → {names[column]} ({wrong.max()})" in picture.caption


def test_bars_of_classes_are_means_and_sorted(evaluated: list[Path], drawn: list[Picture]) -> None:
    (picture,) = pictures_of(drawn, "Accuracy by class, linear")
    axis = picture.figures[0].axes[0]
    parts = of_task(evaluated, "linear")
    means = np.mean([each.metrics["per_class"] for each in parts], axis=0)
    shown = {
        label.get_text(): bar.get_width()
        for label, bar in zip(axis.get_yticklabels(), axis.patches, strict=True)
    }
    assert shown == pytest.approx(dict(zip(parts[0].class_names, means, strict=True)))
    assert [*shown.values()] == sorted(shown.values(), reverse=True)


def test_robustness_has_mean_and_deviation_over_seeds(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(drawn, "Robustness")
    parts = of_task(evaluated, "robustness")
    kinds = ("spatial", "temporal", "noise", "frame_rate")
    for figure, kind in zip(picture.figures, kinds, strict=True):
        rows = np.array([each.details["curves"][kind]["top1"] for each in parts])
        ((line, _, (bars,)),) = figure.axes[0].containers
        curve = parts[0].details["curves"][kind]
        values = np.round(curve.get("hidden", curve["values"]), 6)
        np.testing.assert_allclose(line.get_xydata().T, [values, rows.mean(axis=0)])
        spans = np.array(bars.get_segments())[:, :, 1]
        np.testing.assert_allclose(spans[:, 1] - spans[:, 0], 2 * rows.std(axis=0, ddof=1))
    labels = [figure.axes[0].get_xlabel() for figure in picture.figures]
    assert labels[2] == "standard deviation of the noise, metres"


def test_few_labels_take_all_draws_of_all_seeds(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(drawn, "Few labels")
    runs = [
        run
        for each in read_results(evaluated).found
        if each.task == "semi"
        for run in each.details["runs"]
    ]
    ((line, _, (bars,)),) = picture.figures[0].axes[0].containers
    np.testing.assert_allclose(line.get_xydata()[:, 0], [0.25, 0.5])
    tops = [[run["top1"] for run in runs if run["fraction"] == x] for x in (0.25, 0.5)]
    assert [len(each) for each in tops] == [4, 4]
    np.testing.assert_allclose(line.get_xydata()[:, 1], [np.mean(each) for each in tops])
    spans = np.array(bars.get_segments())[:, :, 1]
    deviations = [np.std(each, ddof=1) for each in tops]
    np.testing.assert_allclose((spans[:, 1] - spans[:, 0]) / 2, deviations)


def test_few_shot_intervals_of_one_run_are_its_own(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (picture,) = pictures_of(draw_pictures(of_task(evaluated[:1], "fewshot")), "Few-shot")
    (own,) = of_task(evaluated[:1], "fewshot")
    axis = picture.figures[0].axes[0]
    names = [name for name in own.metrics if not name.endswith("ci95")]
    titles = [label.get_text() for label in axis.get_yticklabels()]
    assert titles == [name.replace("_", ", ").replace("shot", " shot") for name in names]
    (bars,) = (each for each in axis.containers if hasattr(each, "patches"))
    assert [bar.get_width() for bar in bars.patches] == [own.metrics[name] for name in names]
    spans = np.array(bars.errorbar[2][0].get_segments())[:, :, 0]
    intervals = [own.metrics[f"{name}_ci95"] for name in names]
    np.testing.assert_allclose((spans[:, 1] - spans[:, 0]) / 2, intervals)
    assert "over seeds" not in picture.caption
    assert "of several runs the standard deviation" in pictures_of(drawn, "Few-shot")[0].caption


def test_prediction_states_what_no_motion_gives(
    evaluated: list[Path], drawn: list[Picture]
) -> None:
    (curve,) = pictures_of(drawn, "Motion prediction")
    parts = of_task(evaluated, "prediction")
    *_, still = curve.figures[0].axes[0].containers
    np.testing.assert_allclose(
        still[0].get_xydata()[:, 1], parts[0].details["by_frame"]["zero_velocity"]
    )
    (strips,) = pictures_of(drawn, "Predicted motion")
    assert f"{parts[0].metrics['zero_velocity_mm']:.1f} mm" in strips.caption
    assert len(strips.figures) == len(parts[0].details["examples"])


def test_time_lines_are_of_six_recordings(drawn: list[Picture]) -> None:
    (picture,) = pictures_of(drawn, "Detected actions")
    assert len(picture.figures[0].axes) == 6
    assert picture.caption.startswith("6 of 8 test recordings")


def test_occlusion_bars(evaluated: list[Path]) -> None:
    (picture,) = pictures_of(draw_pictures(of_task(evaluated[:1], "occlusion")), "Occluded")
    (own,) = of_task(evaluated[:1], "occlusion")
    endings = ("", "_occluded_training")
    keys = ["top1", *(f"{kind}_top1{end}" for kind in ("spatial", "temporal") for end in endings)]
    widths = [bar.get_width() for bar in picture.figures[0].axes[0].patches]
    assert widths == [own.metrics[key] for key in keys]


@pytest.mark.parametrize("task", TASKS)
def test_results_without_details_have_a_table_all_the_same(task: str, tmp_path: Path) -> None:
    name = TASKS[task].headline[0]
    content = result(task, {name: 0.5}, class_names=[])
    path = write_run(tmp_path / "a", content)
    page = check_page(make_page(read_results([path])))
    assert name in page.text
    shown = 1 if task == "occlusion" and name in ("top1", "spatial_top1") else 0
    assert len(page.images()) == shown


def test_letters_that_the_font_lacks_and_control_characters(tmp_path: Path) -> None:
    names = ["挥手", "a\x00b\nc", "x" * 99]
    content = result(
        "linear",
        {"top1": 0.5, "per_class": [1.0, None, 0.5]},
        class_names=names,
        details={"confusion": [[1, 0, 0], [0, 1, 0], [1, 0, 1]]},
    )
    path = write_run(tmp_path / "a", content)
    page = check_page(make_page(read_results([path])))
    confusion = "".join(ElementTree.fromstring(page.images()[1]).itertext())
    assert "挥手" in confusion
    assert "ab c" in confusion
    assert "x" * 27 + "…" in confusion


def test_what_tasks_say_is_said_once(tmp_path: Path) -> None:
    said = ["2 of 9 test sequences", "worse than <nothing>"]
    paths = [
        write_run(tmp_path / name, result("linear", {"top1": 0.5}, name, notes=said), seed=number)
        for number, name in enumerate(("a-0", "a-1"))
    ]
    results = read_results(paths)
    page = check_page(make_page(results))
    for note in said:
        assert page.text.count(f"linear: {note}") == 1
        assert markdown(results).count(f"linear: {escape(note)}") == 1


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
    assert remarks(read_results(paths).found) == said


def test_a_run_whose_scores_alone_are_in_others(tmp_path: Path) -> None:
    fused = result("linear", {"top1": 0.5}, "joint")
    fused["runs"] = [*fused["runs"], {**fused["runs"][0], "run": "bone"}]
    fused["weights"] = [0.5, 0.5]
    joint = write_run(tmp_path / "joint", fused)
    bone = write_run(tmp_path / "bone")
    (found,), left_out = read_results([joint, bone, write_run(tmp_path / "other")])
    assert found.fused == ("bone",)
    assert [why.partition(": ")[0] for why in left_out] == [f"{tmp_path}/other"]


# --- hostile results ------------------------------------------------------------------------------

HOSTILE = (
    *(EVIL, '"><img src=x onerror=alert(1)>', "'><svg/onload=alert(1)>", "</style><b>", "-->"),
    *("</title></body></html><iframe src=//x>", "]]></text><script/>", "&lt;script&gt;", "&#60;b>"),
    *("<!--", "<?xml", "\u202etxt.exe\u2066", "a\x00\x08\x1b[31mb", "\ud800<b>", "{body}"),
    *("$\\frac{$", "<math><mtext></form>", 'x" style="color:red" y="', "javascript:alert(1)"),
    *("\u2028<b>", "<a href=//x>" * 200),
)
_KEPT = ("command", "bones", "center", "kind")


def hostile(value: Any, texts: Iterator[str], key: str = "") -> Any:
    """The same with all words replaced, but for those that say which task it is."""
    if isinstance(value, dict):
        return {name: hostile(each, texts, name) for name, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, texts, key) for each in value]
    return next(texts) if isinstance(value, str) and key not in _KEPT else value


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(at, marks=pytest.mark.slow) for at in range(1, len(HOSTILE)))]
)
def test_no_word_of_a_result_becomes_markup(
    evaluated: list[Path], tmp_path: Path, first: int
) -> None:
    """Every word is replaced by the next of those that are hostile, whatever it names."""
    texts = cycle([*HOSTILE[first:], *HOSTILE[:first]])
    name = "".join(letter for letter in HOSTILE[first] if letter not in "/\x00\ud800")[:80]
    run = tmp_path / f"{name}x"
    (run / "results").mkdir(parents=True)
    config = {"method": next(texts), "train": {"seed": 0}, "protocol": next(texts)}
    (run / "config.json").write_text(json.dumps(config))
    store, protocol = next(texts), next(texts)
    for file in (evaluated[0] / "results").glob("*.json"):
        content = hostile(json.loads(file.read_text()), texts)
        content |= {"store": store, "protocol": protocol, "notes": [next(texts)]}
        content["settings"] |= {next(texts): next(texts), "other": list(HOSTILE)}
        content["metrics"] |= {next(texts): 0.5, f"top1_at_{next(texts)}": 0.25}
        (run / "results" / file.name).write_text(json.dumps(content))
    report = write_report([run], tmp_path / "out")
    page = check_page(report.page.read_text(encoding="utf-8"))
    plain = check_page(make_page(read_results(evaluated[:1])))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    allowed = {(tag, name) for tag, given in plain.tags for name in given}
    assert {(tag, name) for tag, given in page.tags for name in given} <= allowed
    classes = {(tag, given.get("class")) for tag, given in plain.tags}
    assert {(tag, given.get("class")) for tag, given in page.tags} <= classes
    assert len(page.images()) > 10
    for image in page.images():
        kinds = {str(element.tag) for element in ElementTree.fromstring(image).iter()}
        assert all(kind.startswith("{") for kind in kinds)
        assert not {kind.rpartition("}")[2] for kind in kinds} & {"script", "foreignObject", "b"}
    for text in HOSTILE:
        if "\x00" not in text and "\ud800" not in text:
            assert " ".join(text.split()) in " ".join(page.text.split())  # told as it is
    table = report.table.read_text(encoding="utf-8")
    assert not re.search("<[a-z!/?]", table)
    assert json.loads(report.data.read_text(encoding="utf-8"))["results"]


def test_seeds_that_go_on_from_seeds_share_a_column(tmp_path: Path) -> None:
    paths = [
        write_run(
            tmp_path / f"distilled-{seed}",
            result("linear", {"top1": 0.5 + 0.1 * seed}, f"distilled-{seed}"),
            seed=seed,
            start=f"{start}-{seed}",
        )
        for seed, start in enumerate(("pp", "pp"))
    ]
    other = result("linear", {"top1": 0.9}, "other-2")
    paths.append(write_run(tmp_path / "other-2", other, seed=2, start="plain-2"))
    header, _, row = table_of(markdown(read_results(paths)))
    assert header[-2:] == ["distilled (2 seeds)", "other-2"]
    assert row[-2:] == ["55.0 ± 7.1%", "90.0%"]
