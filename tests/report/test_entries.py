"""The entries of a report: which runs belong together, and what is no result."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from written_results import Page, check_page, result, table_of, write_run

from pcm3.methods.settings import NO_EFFECT, TrainSettings
from pcm3.report.entries import read_entries
from pcm3.report.page import make_page
from pcm3.report.table import as_json, markdown


def test_stores_of_one_name_and_another_content_are_apart(tmp_path: Path) -> None:
    """Such as with other labels: their figures are no seeds of one."""
    runs = [
        write_run(
            tmp_path / name,
            result("knn", {"top1": 0.5}, run=name, store_fingerprint=content),
            result("knn", {"top1": 0.5}, run=name, store="same", store_fingerprint="e5f6"),
            seed=seed,
        )
        for seed, (name, content) in enumerate((("a0", "a1b2c3d4e5"), ("a1", "00112233445")))
    ]
    stores = [each.store for each in read_entries(runs).entries]
    assert stores == ["data (content 00112233)", "data (content a1b2c3d4)", "same", "same"]


def test_stores_of_one_name_and_another_size_are_apart(tmp_path: Path) -> None:
    details = {"confusion": [[1, 0], [0, 1]]}
    metrics = {"top1": 1.0, "per_class": [1.0, 1.0]}
    small = result("linear", metrics, class_names=["a", "b"], details=details)
    metrics = {"top1": 0.5, "per_class": [1.0, 0.0, 0.5]}
    large = result("linear", metrics, data={"sequences": 9, "frames": 99})
    paths = [write_run(tmp_path / "a", small), write_run(tmp_path / "b", large)]
    results = read_entries(paths)
    assert [each.store for each in results.entries] == [
        *("data (2 classes)", "data (9 sequences, 99 frames, 3 classes)"),
    ]
    check_page(make_page(results))


def test_fused_results_name_the_others_by_their_column(tmp_path: Path) -> None:
    paths = []
    for seed, top in enumerate((0.5, 0.7)):
        abouts = [{"run": f"{x}-{seed}", "test_sequences_seen": 0} for x in ("joint", "bone")]
        fused = result("linear", {"top1": top}, runs=abouts, weights=[0.5, 0.5])
        paths.append(write_run(tmp_path / f"joint-{seed}", fused, seed=seed))
    for seed in (0, 1):
        own = result("linear", {"top1": 0.1})
        paths.append(write_run(tmp_path / f"bone-{seed}", own, seed=seed, stream="bone"))
    rows = table_of(markdown(read_entries(paths)))[2:]
    assert rows[1][2:] == ["linear (fused with bone)", "top1", "60.0 ± 14.1%", ""]
    alone = table_of(markdown(read_entries(paths[:1])))[2]
    assert alone[2] == "linear (fused with bone-0)"
    without = table_of(markdown(read_entries(paths[:2])))[2]  # bones of the same seeds
    assert without[2:] == ["linear (fused with bone)", "top1", "60.0 ± 14.1%"]


def test_fused_results_of_other_seeds_stay_apart(tmp_path: Path) -> None:
    paths = []
    for seed, other in enumerate(("bone-10", "motion")):
        abouts = [{"run": f"joint-{seed}"}, {"run": other}]
        fused = result("linear", {"top1": 0.5}, runs=abouts, weights=[0.5, 0.5])
        paths.append(write_run(tmp_path / f"joint-{seed}", fused, seed=seed))
    rows = table_of(markdown(read_entries(paths)))[2:]
    assert [row[2] for row in rows] == ["linear (fused with bone-10)", "linear (fused with motion)"]


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
    head = table_of(markdown(read_entries(paths)))[0]
    if title is None:  # runs of one name are told apart by their folders
        runs = {each.run for each in read_entries(paths).entries}
        assert runs == {str(path) for path in paths}
    else:
        assert head[4:] == [title]


def test_a_copy_is_no_other_seed(tmp_path: Path) -> None:
    content = result("linear", {"top1": 0.5})
    paths = [
        write_run(tmp_path / name, content, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert table_of(markdown(read_entries(paths)))[0][4:] == ["a, c (2 seeds)", "b"]
    without = [write_run(tmp_path / name, content) for name in "de"]
    assert table_of(markdown(read_entries(without)))[0][4:] == ["d", "e"]


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
    assert table_of(markdown(read_entries(paths)))[0][4:] == ["a (2 seeds)", "a-2"]


def test_runs_of_an_earlier_version_are_seeds_of_the_same(tmp_path: Path) -> None:
    models = ({"key_momentum": 0.9}, {"momentum": 0.9, "encoder_arguments": []}, {"momentum": 0.8})
    paths = [
        write_run(
            tmp_path / f"a-{seed}",
            result("linear", {"top1": 0.5}, f"a-{seed}"),
            seed=seed,
            model=model,
        )
        for seed, model in enumerate(models)
    ]
    assert table_of(markdown(read_entries(paths)))[0][4:] == ["a (2 seeds)", "a-2"]


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
    assert table_of(markdown(read_entries(paths)))[0][4:] == ["a (2 seeds)", "a-2"]


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
    header, _, row = table_of(markdown(read_entries(paths)))
    assert header[-2:] == ["distilled (2 seeds)", "other-2"]
    assert row[-2:] == ["55.0 ± 7.1%", "90.0%"]


def test_a_run_whose_scores_alone_are_in_others(tmp_path: Path) -> None:
    fused = result("linear", {"top1": 0.5}, "joint")
    fused["runs"] = [*fused["runs"], {**fused["runs"][0], "run": "bone"}]
    fused["weights"] = [0.5, 0.5]
    joint = write_run(tmp_path / "joint", fused)
    bone = write_run(tmp_path / "bone")
    (found,), left_out, *_ = read_entries([joint, bone, write_run(tmp_path / "other")])
    assert found.fused == ("bone",)
    assert [why.partition(": ")[0] for why in left_out] == [f"{tmp_path}/other"]


def test_other_files_are_left_out_and_named(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "a",
        result("linear", {"top1": 0.5}),
        {"command": "benchmark"},
        result("linear", {"top1": 0.5}) | {"metrics": [1]},
    )
    (path / "results" / "list.json").write_text("[1, 2]")
    (path / "results" / "broken.json").write_text("{")
    read = read_entries([path])
    assert [each.result.task for each in read.entries] == ["linear"]
    assert [re.findall(r"(\w+)\.json: expected", why) for why in read.left_out] == [
        *(["1"], ["2"], ["broken"], ["list"]),
    ]
    for shown in (Page(make_page(read)).text, markdown(read).replace("\\", "")):
        assert all(why in shown for why in read.left_out)
    assert as_json(read)["left_out"] == read.left_out


def test_runs_without_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run"):
        read_entries([])
    missing, empty = tmp_path / "missing", write_run(tmp_path / "empty", seed=0)
    with pytest.raises(ValueError, match=r"/missing\b"):
        read_entries([missing])
    path = write_run(tmp_path / "a", {"command": "benchmark"})
    with pytest.raises(ValueError, match=r"0\.json\b.*/empty\b"):
        read_entries([path, empty])
    good = write_run(tmp_path / "b", result("linear", {"top1": 0.5}))
    with pytest.raises(ValueError, match=r"b/\.\./b\b"):
        read_entries([good, good / ".." / "b"])
    damaged = write_run(tmp_path / "c", result("linear", {"top1": 0.5}))
    (damaged / "config.json").write_text("nonsense")
    read = read_entries([missing, empty, good, damaged])
    assert [each.run for each in read.entries] == ["b"]
    assert [why.partition(": ")[0] for why in read.left_out] == [
        *(str(missing), f"{damaged}/config.json", str(empty)),
    ]


def test_seconds_of_epochs_follow_from_their_speed(tmp_path: Path) -> None:
    path = write_run(
        *(tmp_path / "a", result("linear", {"top1": 0.5})),
        seed=0,
        train={"epochs": 2, "seed": 0, "batch_size": 8, "devices": 2, "nodes": 3},
    )
    records = [{"epoch": at, "step": 5 * at, "samples_per_second": 60.0 / at} for at in (1, 2)]
    records.append({"epoch": 3, "step": 15})
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records))
    (found,) = read_entries([path]).metrics["a"]
    assert [record.get("seconds") for record in found] == [5 * 48 / 60, 5 * 48 / 30, None]
