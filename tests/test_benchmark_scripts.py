"""Every benchmark script runs from end to end, at its smallest size and on synthetic recordings.

What a script starts with this Python runs inside the test: the commands are the script's own, and
torch is imported once.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.cli import main as pcm3_command
from pcm3.data import Store, prepare
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.encoders.files import load_encoder, load_pretrained, save_encoder
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import COCO17, KINECT20, NTU25, SBU15, Skeleton
from pcm3.training.pretrain import pretrain

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = {file.stem for file in BENCHMARKS.glob("*.py")}
FRAMES = (16, 24)
TRAINED = ["--train.batch-size", "8"]
EVALUATED = {
    "finetune": ["--epochs", "1"],
    "semi": ["--fractions", "0.5", "--draws", "1", "--epochs", "1"],
    "prediction": ["--observed", "6", "--predicted", "5", "--horizons", "1", "5", "--epochs", "1"],
    "detection": ["--epochs", "1"],
    "fewshot": ["--shots", "1", "--queries", "2", "--episodes", "3"],
}

Run = Callable[..., Any]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """The module of a script by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(subprocess, "run", partial(run_inside, subprocess.run))
    yield import_module
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def run_inside(run: Run, command: list[str], **options: Any) -> Any:
    """Run a pcm3 command or a benchmark script here, and anything else as it is."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        if command[:3] == [sys.executable, "-m", "pcm3"]:
            code = pcm3_command(command[3:])
        elif command[0] == sys.executable and Path(command[1]).parent == BENCHMARKS:
            code = start(import_module(Path(command[1]).stem), *command[2:])
        else:
            return run(command, **options)
    return subprocess.CompletedProcess(command, code or 0, printed.getvalue(), "")


def start(module: Any, *arguments: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__file__, *map(str, arguments)])
        module.main()


def read(folder: Path, name: str) -> dict[str, Any]:
    result = json.loads((folder / f"{name}.json").read_text())
    assert result["command"].startswith("python benchmarks/")
    assert {"commit", "torch", "device"} <= result["environment"].keys()
    return result


# --- recordings -----------------------------------------------------------------------------------


def packed(skeleton: Skeleton, persons: int, classes: int, sequences: int) -> dict[str, Any]:
    """Synthetic sequences in the layout of packed files."""
    source = synthetic_sequences(
        sequences=sequences, skeleton=skeleton, persons=persons, subjects=5, frames=FRAMES
    )
    recordings = list(source)
    columns = {
        name: np.array([each.columns[name] for each in recordings])
        for name in ("subjects", "views", "fold")
    }
    return columns | {
        "joints": np.concatenate([each.frames for each in recordings]),
        "lengths": np.array([len(each.frames) for each in recordings]),
        "labels": np.arange(sequences) % classes,
        "class_names": np.array([f"class {number}" for number in range(classes)]),
        "joint_names": np.array(skeleton.joints),
        "parents": np.array(skeleton.parents),
        "fps": np.float32(30),
        "unit": np.array("metres"),
        "source": np.array("synthetic"),
        "licence": np.array("none"),
    }


def untrimmed(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same with an action from frame 4 to frame 12 of each."""
    starts = np.cumsum(arrays["lengths"]) - arrays["lengths"]
    frame_labels = np.full(len(arrays["joints"]), -1)
    segments = []
    for number, (begin, label) in enumerate(zip(starts, arrays["labels"], strict=True)):
        frame_labels[begin + 4 : begin + 12] = label
        segments.append((number, 4, 12, label))
    return arrays | {
        "labels": np.full_like(arrays["labels"], -1),
        "frame_labels": frame_labels,
        "segments": np.array(segments),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packed files."""
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "utd_mhad.npz", **packed(KINECT20, 1, 25, 75))
    np.savez(folder / "nw_ucla.npz", **packed(KINECT20, 1, 4, 24))
    np.savez(folder / "sbu_interaction.npz", **packed(SBU15, 2, 4, 20))
    np.savez(folder / "precog2016.npz", **untrimmed(packed(KINECT20, 1, 3, 10)))
    pictures = packed(COCO17, 1, 3, 15)
    pictures["joints"][..., 2] = 0
    pictures |= {"unit": np.array("pixels"), "train": np.arange(15) % 2}
    np.savez(folder / "penn_action.npz", **pictures)
    return folder


@pytest.fixture(scope="module")
def store(data: Path) -> Path:
    prepare(data / "nw_ucla.npz", data / "store", workers=1)
    return data / "store"


# --- scripts --------------------------------------------------------------------------------------


def test_every_script_is_started_here() -> None:
    started = re.findall(r'script\("(\w+)"\)', Path(__file__).read_text())
    runs = {name for name in SCRIPTS if "__main__" in (BENCHMARKS / f"{name}.py").read_text()}
    elsewhere = {"detection", "kills", "mutation"}  # in tests/test_benchmarks.py, tests/training
    assert set(started) | elsewhere == runs
    assert SCRIPTS - runs == {
        "baseline",
        "environment",
        "family_tables",
        "shipped_tables",
        "spread",
    }


@pytest.fixture
def recognition(script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """With one epoch of small batches."""
    module = script("recognition")
    shares = dict.fromkeys(("utd_mhad", "nw_ucla", "precog2016"), 0.005)
    monkeypatch.setattr(module, "SHARE_OF_EPOCHS", shares)
    return module


@pytest.mark.parametrize(
    ("suite", "methods", "rows"),
    [
        ("methods", ["pcm3pp", "pcm3pp_distilled"], ["pcm3pp", "pcm3pp_distilled"]),
        ("streams", ["pcm3", "bone", "motion"], ["pcm3", "fused_0.6_0.6_0.4"]),
    ],
)
def test_recognition(
    recognition: Any,
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    tmp_path: Path,
    suite: str,
    methods: list[str],
    rows: list[str],
) -> None:
    small = {
        name: words + TRAINED * ("--preset" in words)
        for name, words in recognition.SUITES[suite].items()
        if name in methods
    }
    monkeypatch.setitem(recognition.SUITES, suite, small)
    options = ["--data", data, "--work", tmp_path, "--out", tmp_path, "--seeds", 1, "--jobs", 1]
    start(recognition, "nw_ucla", "--suite", suite, *options)
    summary = read(tmp_path, f"{suite}_nw_ucla")["summary"]
    for row in rows:
        assert 0 <= summary[row]["linear"]["mean"] <= 1


@pytest.mark.parametrize("dataset", ["utd_mhad", "utd_mhad_unseen", "precog2016", "nw_ucla"])
def test_downstream(
    recognition: Any,
    script: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    tmp_path: Path,
    dataset: str,
) -> None:
    downstream = script("downstream")
    assert recognition.DATASETS is downstream.DATASETS
    small = {
        "random": ["--train.epochs", "0"],
        "pcm3": ["--train.batch-size", "2" if dataset == "precog2016" else "8"],
    }
    monkeypatch.setattr(downstream, "METHODS", small)
    tasks = {name: EVALUATED.get(name, words) for name, words in downstream.TASKS[dataset].items()}
    monkeypatch.setitem(downstream.TASKS, dataset, tasks)
    options = ["--data", data, "--work", tmp_path, "--out", tmp_path, "--seeds", 1, "--jobs", 1]
    start(downstream, dataset, *options)
    result = read(tmp_path, f"downstream_{dataset}")
    assert result["summary"].keys() == tasks.keys()
    for task in result["summary"].values():
        assert task["random"].keys() == task["pcm3"].keys() != set()
    epochs = [re.findall(r"--train.epochs (\d+)", run["commands"][0]) for run in result["runs"]]
    assert {tuple(each) for each in epochs} == {("0",), ("1",)}


@pytest.mark.parametrize("dataset", ["utd_mhad", "precog2016"])
def test_answers(
    script: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    dataset: str,
) -> None:
    answers = script("answers")
    arrays = packed(KINECT20, 1, 4, 40)
    if dataset == "precog2016":
        arrays = untrimmed(arrays)
        monkeypatch.setitem(answers.EPOCHS, dataset, 2)
    small = [] if dataset == "precog2016" else ["--train.epochs", "1"]
    monkeypatch.setattr(answers, "PRETRAIN", [*answers.PRETRAIN, *small, *TRAINED])
    monkeypatch.setattr(answers, "HOW", ("linear", "knn"))
    monkeypatch.setattr(answers, "REPEATS", 1)
    monkeypatch.setattr(answers, "FILES", (2,))
    np.savez(tmp_path / f"{dataset}.npz", **arrays)
    work = tmp_path / "work"
    start(answers, dataset, "--data", tmp_path, "--work", work, "--out", tmp_path, "--seeds", 1)
    result = read(tmp_path, f"answers_{dataset}")
    test = int((arrays["subjects"] % 2 == 0).sum())
    counts = [run["test_recordings"] for run in result["runs"] if run["how"] != "search"]
    assert counts == [test, test]
    figure = "accuracy" if dataset == "utd_mhad" else "f1_0.5"
    for how in ("linear", "knn"):
        assert 0 <= result["summary"][how][figure]["mean"] <= 1
    if dataset == "utd_mhad":
        assert {"import_torch", "predict_2", "commit"} == result["speed"].keys()
        result["speed"] = None
        (tmp_path / f"answers_{dataset}.json").write_text(json.dumps(result))
        start(answers, dataset, "--data", tmp_path, "--work", work, "--out", tmp_path, "--speed")
        again = read(tmp_path, f"answers_{dataset}")
        assert again["speed"]["predict_2"]["seconds"] > 0
        assert again | {"speed": None} == result
        assert result["runs"][-1]["queries"] == test
        assert 0 < result["summary"]["search"]["precision_at_5"]["mean"] <= 1
        with np.load(work / "utd_mhad_few.npz") as file:
            few, subjects = file["few_0"], file["subjects"]
        assert (subjects[few != ""] % 2 == 1).all()
        assert [int((few == f"class {number}").sum()) for number in range(4)] == [5] * 4


def test_exercises(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = script("answers")
    arrays = packed(KINECT20, 1, 2, 40)
    arrays["correct"] = np.arange(40) // 2 % 2
    monkeypatch.setitem(answers.EXERCISES, "uiprmd_kinect", 1)
    monkeypatch.setattr(answers, "PRETRAIN", [*answers.PRETRAIN, *TRAINED])
    np.savez(tmp_path / "uiprmd_kinect.npz", **arrays)
    options = ["--data", tmp_path, "--work", tmp_path / "work", "--out", tmp_path, "--seeds", 2]
    start(answers, "uiprmd_kinect", *options)
    result = read(tmp_path, "answers_uiprmd_kinect")
    seeds = {how: len(figures["auc"]["seeds"]) for how, figures in result["summary"].items()}
    assert seeds == {"joints": 1, "random": 2, "pcm3": 2}
    test = int((arrays["subjects"] % 2 == 0).sum())
    assert {run["judged"] + run["left_out"] for run in result["runs"]} == {test}
    epochs = {
        run["how"]: re.findall(r"--train.epochs (\d+)", run["commands"][0])
        for run in result["runs"]
    }
    assert epochs == {"joints": [], "random": ["0"], "pcm3": ["1"]}


def test_majority(script: Callable[[str], Any], data: Path, tmp_path: Path) -> None:
    start(script("majority"), "--data", data, "--out", tmp_path)
    shares = read(tmp_path, "majority")["top1"]
    assert shares.keys() == {"utd_mhad", "nw_ucla", "sbu_interaction"}
    assert all(0 <= share < 0.5 for share in shares.values())


@pytest.mark.parametrize("final", [False, True])
def test_shipped(
    script: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    tmp_path: Path,
    final: bool,
) -> None:
    shipped = script("shipped")
    monkeypatch.setattr(shipped, "_STEPS", 2)
    parts = " without ".join(["pairs", *shipped.WITHOUT])
    on = (
        ["untrained", "own", "pool", "continued", "shipped"]
        if final
        else ["scripts", "motion", parts]
    )
    sets = ["utd_mhad", "sbu, fold 2"] if final else ["utd_mhad", "nw_ucla"]
    generate = shipped.generate
    monkeypatch.setattr(
        shipped, "generate", lambda out, **options: generate(out, **options | {"sequences": 8})
    )
    monkeypatch.setattr(shipped, "_UNTESTED", "nw_ucla")
    monkeypatch.setattr(shipped, "TRIALS", {name: shipped.FINAL[name] for name in sets})
    folders = ["--data", data, "--cache", tmp_path, "--out", tmp_path, "--encoders", tmp_path]
    size = ["--steps", 2, "--batch", 4, *["--final"] * final]
    start(shipped, *folders, *size, "--on", *on[:1], "--sets", *sets, "--seeds", 0, 1)
    start(shipped, *folders, *size, "--on", *on, "--sets", *sets)  # the first again
    contrastive = ["--preset", shipped.CONTRASTIVE, "--name", "contrastive"]
    start(shipped, *folders, *size, *contrastive, "--on", "motion", "--sets", *sets)
    [row] = json.loads((tmp_path / "contrastive.json").read_text())["results"]
    assert row["preset"] == shipped.CONTRASTIVE
    assert row["cpu_seconds"] > 0
    results = json.loads((tmp_path / "shipped.json").read_text())["results"]
    measured = [(row["what"], row["seed"]) for row in results]
    assert measured == [(on[0], 1), *((what, 0) for what in on)]
    for row in results:
        assert row["command"].startswith("python benchmarks/")
        again = (row["what"], row["seed"]) == (on[0], 0)
        assert row["cpu_seconds"] is None if again else row["cpu_seconds"] > 0
        assert list(row["figures"]) == sets
        for figures in row["figures"].values():
            assert list(figures) == ["linear", "knn", "five"]
            assert all(0 <= value <= 1 for value in figures.values())
    names = [file.name for file in tmp_path.glob("*.safetensors")]
    assert len(names) == len(on) + 2 + 2 * final  # two of own and of continued
    utd = shipped.FINAL["utd_mhad"]
    store = shipped.open_store("utd_mhad", data, tmp_path)
    known, training, test = utd.parts(store, final)
    assert known.tolist() == training.tolist()
    few = replace(utd, labels=0.3).parts(store, final)
    assert few.known.tolist() == known.tolist()
    assert len(few.training) < len(known)
    subjects = store.columns["subjects"]
    assert set(subjects[utd.official(store)]) == {1, 3, 5}
    assert set(subjects[training]) == ({1, 3, 5} if final else {1, 5})
    assert set(subjects[test]) == ({2, 4} if final else {3})


def test_shipped_without_depth(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    shipped = script("shipped")
    monkeypatch.setattr(shipped, "_STEPS", 2)
    folders = ["--data", data, "--cache", tmp_path, "--out", tmp_path, "--encoders", tmp_path]
    size = ["--steps", 2, "--batch", 4]
    on = ["both", "own", "shipped"]
    sets = ["utd_mhad", "penn"]
    start(shipped, *folders, *size, "--flat", "--final", "--on", *on, "--sets", *sets)
    start(shipped, *folders, *size, "--final", "--on", *on, "--sets", *sets[:1])
    results = json.loads((tmp_path / "shipped_2d.json").read_text())["results"]
    assert [(row["what"], list(row["figures"])) for row in results] == [(name, sets) for name in on]
    results = json.loads((tmp_path / "shipped.json").read_text())["results"]
    reused = {row["what"]: row["cpu_seconds"] is None for row in results}
    assert reused == {"both": True, "own": False, "shipped": True}
    written = (tmp_path / "shipped.json").read_bytes()
    start(shipped, *folders, *size, "--on", "own", "--sets", "precog")  # to be kept
    assert (tmp_path / "shipped.json").read_bytes() == written
    [kept] = tmp_path.glob("shipped-own-precog2016-*.safetensors")
    assert load_encoder(kept).normalization == "body"
    assert Store(tmp_path / "utd_mhad_2d").channels == 2
    assert Store(tmp_path / "utd_mhad").channels == 3

    options = argparse.Namespace(batch=8, seed=0)
    whole, flat, both = (shipped.DATA[name](options) for name in ("motion", "flat", "both"))
    depths = [data.batch(range(6)).clips[:, 2].abs().amax((1, 2, 3)) for data in (flat, both)]
    assert (depths[0] == 0).all()
    assert (depths[1] > 0).tolist() == [False, True] * 3
    second = both.batch([1]).clips
    assert torch.equal(second, whole.batch([1]).clips)


def test_open_data(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    module = script("open_data")
    arrays = untrimmed(packed(KINECT20, 1, 3, 10))
    np.savez(tmp_path / "msrc12_untrimmed.npz", **arrays)
    monkeypatch.setattr(module, "NAMES", ("msrc12",))
    start(module, "--data", tmp_path, "--out", tmp_path / "stores")
    store = Store(tmp_path / "stores" / "msrc12")
    assert store.lengths.tolist() == [8] * 10
    assert store.labels.tolist() == [0, 1, 2] * 3 + [0]
    assert store.columns["subjects"].tolist() == arrays["subjects"].tolist()
    first = int(arrays["lengths"][0])
    joints = arrays["joints"][first + 4 : first + 12, 0]
    seen = joints[:, [5, 9]].any(axis=-1).all(axis=-1)
    assert seen.sum() > 4
    bones = [frames[seen, 5] - frames[seen, 9] for frames in (store.stored(1)[:, 0], joints)]
    np.testing.assert_allclose(*bones, atol=1e-5)  # the store is centred


SWEEP = """
seeds = [0, 1]
[common]
preset = "small"
data = ["stores/utd_mhad", "stores/nw_ucla"]
protocol = ["subjects:1,3", "views:1,2"]
any_layout = true
model.hidden = 4
model.layers = 1
model.queue_size = 16
train.batch_size = 16
train.knn_every = 0
[[variations]]
name = "untrained"
train.epochs = 0
[[variations]]
name = "pcm3"
train.epochs = 1
[[evaluations]]
task = "linear"
data = "stores/utd_mhad"
protocol = "subjects:1,3"
"""


def test_families(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    module = script("families")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "NAMES", ("utd_mhad", "nw_ucla"))
    monkeypatch.setattr(module, "ProcessPoolExecutor", lambda _, **__: ThreadPoolExecutor(1))
    (tmp_path / "sweep.toml").write_text(SWEEP)
    arguments = ["--data", data, "--work", tmp_path, "--sweep", tmp_path / "sweep.toml"]
    for _ in range(2):  # the second time, nothing is left to do
        start(module, *arguments, "--out", tmp_path)
    rows = json.loads((tmp_path / "families.json").read_text())["results"]
    assert [(row["variation"], row["seed"]) for row in rows] == [
        *(("untrained", 0), ("pcm3", 0)),
        *(("untrained", 1), ("pcm3", 1)),
    ]
    for row in rows:
        assert row["epochs"] == (row["variation"] == "pcm3")
        assert row["cpu_seconds"] >= 0
        run = tmp_path / "runs" / f"{row['variation']}-seed{row['seed']}"
        [file] = (run / "results").glob("*.json")
        top1 = json.loads(file.read_text())["metrics"]["top1"]
        assert row["figures"] == {"utd_mhad subjects:1,3 linear": {"top1": top1}}


def test_tables_of_families(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    families, tables = script("families"), import_module("family_tables")
    sweep = families.read_sweep(families.FILE)
    measured = {f"{e.data.name} {e.protocol} {e.task}" for e in sweep.evaluations}
    used = [(names, key) for each in tables.COLUMNS.values() for names, key in each.values()]
    assert {name for names, _ in used for name in names} == measured
    assert [*tables.TITLES] == [*sweep.variations]

    def row(variation: str, seed: int, value: float) -> dict[str, Any]:
        figures: dict[str, dict[str, float]] = {}
        for names, key in used:
            for name in names:
                figures.setdefault(name, {})[key] = value
        return {"variation": variation, "seed": seed, "figures": figures}

    rows = [row("mae", 0, 0.5), row("mae", 1, 0.6), row("mamp", 0, 0.6), row("mamp", 1, 0.8)]
    rows[0]["figures"]["sbu_interaction fold:2 linear"]["top1"] = 1.0
    (tmp_path / "families.json").write_text(json.dumps({"results": rows}))
    monkeypatch.setattr(tables, "FILE", tmp_path / "families.json")
    _, _, mae, mamp = tables.methods(["linear"])
    assert mae.split(" | ")[1] == "55.0 ± 7.1"
    assert mae.split(" | ")[4] == "60.0 ± 0.0"  # SBU: the mean of five folds
    assert mamp.split(" | ")[-2:] == ["70.0 ± 14.1", "2 |"]
    [claim] = tables.claims()[2:]  # no other has all its methods
    assert claim.split(" | ")[0] == "| MAMP over MAE"
    assert claim.split(" | ")[2:] == ["+14.7 ± 7.5", "17 of 17", "2 |"]


def test_shipped_tasks(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    module = script("shipped_tasks")
    monkeypatch.setattr(module, "SEEDS", (0, 1))
    for settings in ("FinetuneSettings", "DetectionSettings"):
        monkeypatch.setattr(module, settings, partial(getattr(module, settings), epochs=1))
    save_encoder(tmp_path / "shipped-own-utd_mhad-all-1.safetensors", load_pretrained())
    folders = ["--data", data, "--cache", tmp_path, "--out", tmp_path, "--encoders", tmp_path]
    start(module, *folders, "--only", "PRECOG-2016, detection", "UTD-MHAD, 20 % of labels")
    rows = json.loads((tmp_path / "shipped_tasks.json").read_text())["results"]
    names = [(row["encoder"], row["seed"]) for row in rows if row["what"].startswith("UTD")]
    both = [(name, seed) for seed in (0, 1) for name in ("untrained", "shipped")]
    assert names == [*both, ("own", 1)]
    assert all(0 <= row["figure"] <= 1 for row in rows)
    assert len(rows) == 9


def test_tables_of_shipped(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped, tasks = script("shipped"), script("shipped_tasks")
    tables = import_module("shipped_tables")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert {name.partition(",")[0] for name in shipped.FINAL} == {*tables.SHIPPED}
    assert {*tables.WITHOUT_DEPTH} == {*tables.SHIPPED, *shipped.FLAT}
    assert {*tasks.KEPT} < {*tables.ENCODERS}
    parts = {part for name in tables.PARTS for part in name.split(" without ")}
    assert parts == {*shipped.WITHOUT, "scripts", "motion", "pairs"}

    def row(what: str, seed: int, value: float) -> dict[str, Any]:
        figures = {name: dict.fromkeys(tables.KINDS, value) for name in shipped.FINAL}
        figures["sbu, fold 3"] = dict.fromkeys(tables.KINDS, value + 0.05)
        row = {"what": what, "preset": "small", "steps": 1200, "seed": seed, "cpu_seconds": 90}
        return row | {"figures": figures}

    results = {"results": [row("pairs", 0, 0.5), row("pairs", 1, 0.7), row("own", 0, 0.5)]}
    for name in ("shipped", "shipped_choices"):
        (tmp_path / f"{name}.json").write_text(json.dumps(results))
    linear, _, _ = tables.shipped("shipped", tables.SHIPPED)[2:]
    cells = linear.strip("| ").split(" | ")
    assert cells[:2] == ["own", "linear"]
    assert cells[-3:] == ["51.0", "50.1", "1"]  # SBU: the mean of five folds
    linear, _, _ = tables.shipped("shipped", tables.WITHOUT_DEPTH)[2:]
    assert linear.strip("| ").split(" | ")[-4:] == ["51.0", "-", "-", "1"]  # no set of pictures
    [pairs] = tables.compared("what", tables.PARTS)[2:]
    assert pairs.split(" | ")[1:4] == ["1,200", "1.5", "60.1 ± 14.1"]
    assert len(tables.compared("preset", tables.METHODS)) == 2  # none on "motion"

    for name, value in (("", 0.6), ("_2d", 0.5)):
        results = {"results": [row("flat", 0, value)]}
        (tmp_path / f"shipped_dimensions{name}.json").write_text(json.dumps(results))
    [flat] = tables.TABLES["shipped_dimensions"]()[2:]
    assert flat == f"| 2D |{' 60.1 |' * 3}{' 50.1 |' * 3}"

    figures = [("UTD-MHAD", "untrained", 0.4), ("UTD-MHAD", "untrained", 0.6), ("SBU", "own", 0.7)]
    rows = [dict(zip(("what", "encoder", "figure"), each, strict=True)) for each in figures]
    (tmp_path / "shipped_tasks.json").write_text(json.dumps({"results": rows}))
    head, _, utd, sbu = tables.tasks()
    assert head == "| Task | untrained | own |"
    assert [utd, sbu] == ["| UTD-MHAD, fine-tuned | 50.0 ± 14.1 | - |", "| SBU | - | 70.0 |"]


def test_pretrained(script: Callable[[str], Any], monkeypatch: Any, tmp_path: Path) -> None:
    made = script("pretrained")
    small = made.COMMAND.replace("6400", "128") + " --model.hidden 4 --model.layers 1"
    monkeypatch.setattr(made, "COMMAND", small)
    start(made, "--run", tmp_path / "run", "--out", tmp_path, "--epochs", 1, "--seed", 3)
    about = json.loads((tmp_path / "pretrained.json").read_text())
    assert about["seed"] == 3
    assert "--train.seed 3" in about["command"]
    encoder = load_encoder(tmp_path / "pretrained.safetensors")
    assert (encoder.normalization, encoder.encoder.persons) == ("body", 2)


def test_prompt_gradients(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path
) -> None:
    module = script("prompt_gradients")
    preset = module.get_preset("small")
    small = replace(preset, train=replace(preset.train, batch_size=4))
    monkeypatch.setattr(module, "get_preset", lambda _: small)
    start(module, store, "--epochs", 1, "--seeds", 1, "--out", tmp_path)
    norms = read(tmp_path, "prompt_gradients_store")["mean_gradient_norm"]
    assert norms["pre_norm"]["domain_prompts"] < 1e-3 * norms["post_norm"]["domain_prompts"]


def test_evaluate_all(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path
) -> None:
    model = PCM3Settings(hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=8)
    config = RunSettings(model, TrainSettings(epochs=0), "xview")
    pretrain(config, Store(store), tmp_path / "run", quiet=True)
    some = {name: TASKS[name] for name in ("linear", "knn")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", some)
    start(script("evaluate_all"), tmp_path / "run", store, "--out", tmp_path)
    seconds = read(tmp_path, "evaluate_all_store")["seconds_by_task"]
    assert seconds.keys() == {"evaluate linear", "evaluate knn"}


def test_fuzz(script: Callable[[str], Any], tmp_path: Path) -> None:
    start(script("fuzz"), "--files", 2, "--kinds", "ntu", "store", "--out", tmp_path)
    result = read(tmp_path, "fuzz")
    assert (result["total"]["files"], result["total"]["wrong"]) == (4, 0)


def test_small_files(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = script("small_files")
    for reader, writers in module.FILES.items():  # each of them is written
        for write in writers:
            folder = tmp_path / write.__name__
            folder.mkdir()
            assert write(folder, 0.002).exists(), reader
    monkeypatch.setitem(module.FILES, "msr", module.FILES["msr"][:1])
    start(module, "--size", 0.01, "--readers", "msr", "--out", tmp_path)
    result = read(tmp_path, "small_files")
    (found,) = result["readers"]["msr"]
    assert (found["outcome"], found["exit_code"]) == ("read", 0)
    assert result["idle"]["peak_megabytes"] > 50


def test_opening(script: Callable[[str], Any], tmp_path: Path) -> None:
    numbers = ["--sequences", 3, "--openings", 1, "--rounds", 1]
    start(script("opening"), *numbers, "--before", "none", "--out", tmp_path)
    found = read(tmp_path, "opening")["milliseconds"]
    assert found.keys() == {"trimmed", "untrimmed"}
    assert all(times["now"] > 0 for times in found.values())


def test_fidelity(script: Callable[[str], Any], tmp_path: Path) -> None:
    module = script("fidelity")
    start(module, "--out", tmp_path)
    result = read(tmp_path, "fidelity")
    assert result["files"].keys() | {*result["not_covered"]} == {
        file.name for file in (Path(__file__).parent / "golden").glob("*.npz")
    }
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    arrays = dict(module.load(Path(__file__).parent / "golden" / "probe_schedules.npz"))
    arrays["pcm3_pretrain/command/rates"][350] *= 0.1
    np.savez(wrong / "probe_schedules.npz", **arrays)
    np.savez(wrong / "other.npz", number=1)
    with pytest.raises(SystemExit, match="1 quantities"):
        start(module, "--golden", wrong, "--out", tmp_path)
    assert read(tmp_path, "fidelity")["not_covered"] == ["other.npz"]
    with pytest.raises(SystemExit, match="found none"):
        start(module, "--golden", tmp_path / "run", "--out", tmp_path)


def test_growth(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = script("growth")
    monkeypatch.setattr(module, "BASE", {"batch": 2, "frames": 8, "hidden": 4, "queue": 8})
    values = {"frames": [8, 16], "hidden": [4, 8]}
    monkeypatch.setattr(module, "VALUES", values)
    megabytes = count(1)
    monkeypatch.setattr(module, "peak_memory", lambda _: next(megabytes) ** 2)
    start(module, "--out", tmp_path, "--picture", tmp_path / "growth.svg")
    assert read(tmp_path, "growth")["points"].keys() == values.keys()
    assert (tmp_path / "growth.svg").stat().st_size > 1000


def test_import_time(script: Callable[[str], Any], tmp_path: Path) -> None:
    start(script("import_time"), "--repeats", 1, "--out", tmp_path)
    assert read(tmp_path, "import_time")["torch_seconds"] > 0


MUTATION = """
import sys
sys.path.insert(0, {folder!r})
import mutation
mutation.changed = lambda code: [(1, code.replace("labels).double()", "labels).float()", 1))]
sys.argv[1:] = ["pcm3/evaluation/metrics.py", "--out", {out!r}]
mutation.main()
"""


def test_mutation_but_for_cosmic_ray(tmp_path: Path) -> None:
    code = MUTATION.format(folder=str(BENCHMARKS), out=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    module = read(tmp_path, "mutation")["modules"]["pcm3/evaluation/metrics.py"]
    assert (module["mutants"], module["killed"]) == (1, 1)


def test_prepare_ntu(script: Callable[[str], Any], tmp_path: Path) -> None:
    options = ["--files", 1, "--fewer", 1, "--work", tmp_path, "--out", tmp_path]
    start(script("prepare_ntu"), *options)
    result = read(tmp_path, "prepare_ntu")
    assert (result["files"], result["pcm3_fewer_files"]["files"]) == (1, 1)


def test_step(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = script("step")
    monkeypatch.setattr(module, "product_rate", lambda *_: 1e9)
    options = ["--precision", "fp32", "bf16", "--steps", 1, "--out", tmp_path]
    start(module, "--case", "small:3", "small-mamp:5:absent", *options)
    cases = read(tmp_path, "step_cpu")["cases"]
    assert [case["precision"] for case in cases] == ["fp32", "bf16"] * 2
    assert all(case["times_as_fast"] > 0 for case in cases)


def test_trainer(script: Callable[[str], Any], tmp_path: Path) -> None:
    options = ["--batches", 2, "--epochs", 2, "--out", tmp_path]
    start(script("trainer"), "--case", "small:4", *options)
    (case,) = read(tmp_path, "trainer_cpu")["cases"]
    assert case["share"] > 0


def test_threads(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = script("threads")
    monkeypatch.setattr(module, "BUSY", "input()")
    options = ["--threads", torch.get_num_threads(), "--steps", 1, "--out", tmp_path]
    start(module, "--case", "small-mamp:4", *options)
    rows = read(tmp_path, "threads")["rows"]
    assert {row["beside"] for row in rows} == {"nothing", "other work"}
    assert all(row["seconds"] > 0 for row in rows)


def test_streaming(script: Callable[[str], Any], tmp_path: Path) -> None:
    start(script("streaming"), "--frames", 25, "--hidden", 4, "--out", tmp_path)
    (encoder,) = read(tmp_path, "streaming")["encoders"]
    assert encoder["largest_deviation"] < 1e-5


def test_table(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = script("table")
    copies = [Path(shutil.copy(page, tmp_path)) for page in module.PAGES]
    monkeypatch.setattr(module, "PAGES", copies)
    wanted = [page.read_text() for page in copies]
    row = re.compile(r"(<!-- table \w+ -->\n.*\n.*\n)\|.*\n")
    copies[0].write_text(row.sub(r"\1", wanted[0], count=1))
    assert copies[0].read_text() != wanted[0]
    start(module)
    assert [page.read_text() for page in copies] == wanted


def test_throughput(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = script("throughput")
    encoders = dict.fromkeys(module.ENCODERS, lambda: GRUEncoder(NTU25, hidden=4))
    monkeypatch.setattr(module, "ENCODERS", encoders)
    monkeypatch.setattr(module, "product_rate", lambda *_: 1e9)
    sizes = {
        "augmentation": {"batch": 3, "frames": 20},
        "reading": {"batch": 2, "sequences": 4},
        "encoders": {"batch": 2},
        "extraction": {"sequences": 4},
        "detection": {"frames": 8},
        "retrieval": {"gallery": 10, "queries": 5, "width": 4},
    }
    assert sizes.keys() == module.PARTS.keys()
    small = {name: partial(module.PARTS[name], **each) for name, each in sizes.items()}
    monkeypatch.setattr(module, "PARTS", small)
    start(module, "--out", tmp_path)
    for name in sizes:
        assert read(tmp_path, name)["figures"]
