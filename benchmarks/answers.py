"""Answers for recordings of unseen people: labels, intervals, novelty; and speed.

Runs the `pcm3` commands a user would run (prepare, pretrain --preset small, classifier, predict,
novelty) for several seeds and writes one JSON file with every figure, the commands, the commit,
versions and device. Odd subjects train. Of trimmed recordings each seed draws its own labels, 5 of
each class; all other recordings have none. Untrimmed recordings of the test subjects are predicted
from a store without annotations, and compared with them afterwards. Exercises of the test subjects
are judged by the good repetitions of the training subjects. Test data choose nothing.

    python benchmarks/answers.py utd_mhad --data FOLDER_OF_PACKED_NPZ
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detection import EPOCHS
from environment import environment
from recognition import as_typed, call

import pcm3
from pcm3.data import SkeletonDataset, Store, split
from pcm3.evaluation.metrics import expected_calibration_error
from pcm3.evaluation.tasks.detection.annotation import true_intervals
from pcm3.evaluation.tasks.detection.average_precision import f1_score, map_by_action
from pcm3.evaluation.tasks.detection.proposals import Proposal

PACKED = ("joints", "lengths", "joint_names", "parents", "fps", "unit")
PRETRAIN = ["pretrain", "--preset", "small", "--protocol", "xsub"]
HOW = ("linear", "knn", "finetune")
# 200 epochs on UTD-MHAD are 1,200 steps; as many on the larger UI-PRMD are 80 epochs.
EXERCISES = {"uiprmd_kinect": 80}
JUDGED_BY = {"joints": None, "random": 0, "pcm3": 1}  # share of the epochs
NEAREST = 5  # recordings that a search shows
REPEATS = 5  # of a command that is timed; the median counts
FILES = (1, 100)  # recordings to predict


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", choices=["utd_mhad", *EPOCHS, *EXERCISES])
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for runs")
    parser.add_argument("--labels", type=int, default=5, help="of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speed", action="store_true", help="measure only the speed again")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    few = options.dataset == "utd_mhad"
    store = options.work / (f"{options.dataset}_few" if few else options.dataset)
    out = options.out / f"answers_{options.dataset}.json"
    if options.speed:
        result = json.loads(out.read_text()) | {"speed": measure_speed(store, options)}
        out.write_text(json.dumps(result, indent=2) + "\n")
        return
    source = options.data / f"{options.dataset}.npz"
    if not store.exists():
        packed = source
        if few:
            packed = options.work / f"{options.dataset}_few.npz"
            write_few(source, packed, options.labels, options.seeds)
        call(["prepare", "packed", str(packed), str(store)])
    measure = measure_labels if few else measure_intervals
    if options.dataset in EXERCISES:
        measure = measure_novelty
    if options.dataset in EPOCHS and not new_store(store).exists():
        write_new(source, new_store(store).with_suffix(".npz"))
        packed = str(new_store(store).with_suffix(".npz"))
        call(["prepare", "packed", packed, str(new_store(store))])
    runs = [each for seed in range(options.seeds) for each in measure(store, options, seed)]
    ways = list(dict.fromkeys(run["how"] for run in runs))
    command = ["python benchmarks/answers.py", options.dataset, f"--seeds {options.seeds}"]
    command += [f"--labels {options.labels}"] * (options.labels != parser.get_default("labels"))
    result = {
        "benchmark": "answers",
        "command": " ".join(command),
        "dataset": options.dataset,
        **({"labels_per_class": options.labels} if few else {}),
        "summary": {how: summarise([run for run in runs if run["how"] == how]) for how in ways},
        **({"speed": measure_speed(store, options)} if few else {}),
        "runs": runs,
        "environment": environment() | {"threads_per_run": 1},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({"summary": result["summary"], "speed": result.get("speed")}, indent=2))


def write_few(source: Path, target: Path, count: int, seeds: int) -> None:
    """Add a column of labels for each seed: some of each class, of odd subjects."""
    with np.load(source) as file:
        arrays = dict(file)
    names, labels = arrays["class_names"], arrays["labels"]
    training = arrays["subjects"] % 2 == 1
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        few = np.full(len(labels), "", dtype=names.dtype)
        for label, name in enumerate(names):
            few[random.permutation(np.flatnonzero(training & (labels == label)))[:count]] = name
        arrays[f"few_{seed}"] = few
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(target, **arrays)


def measure_labels(store: Path, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Classifiers of every kind on one encoder, which is pretrained if it is not there."""
    run = options.work / f"{store.name}-pcm3-{seed}"
    common = ["--data", str(store), "--json"]
    pretrain = [*PRETRAIN, "--train.seed", str(seed), "--out", str(run), *common]
    call(pretrain)
    measured = []
    for how in HOW:
        file = run / f"{how}.safetensors"
        fit = ["classifier", "--run", str(run), "--protocol", "xsub", "--label", f"few_{seed}"]
        fit += ["--how", how, "--seed", str(seed), "--out", str(file), "--overwrite", *common]
        fitted = call(fit)["metrics"]
        predict = ["predict", str(file), str(store), "--json"]
        found = call(predict)["predictions"]
        measured.append(
            {
                "how": how,
                "seed": seed,
                "commands": [as_typed(each, options) for each in (pretrain, fit, predict)],
                "labelled": fitted["recordings"],
                "temperature": fitted["temperature"],
                "threshold": fitted["threshold"],
                "out_of_fold": fitted["out_of_fold"],
                **score(Store(store), found, file),
            }
        )
        print(json.dumps(measured[-1]), file=sys.stderr, flush=True)
    search = ["search", "--run", str(run), "--query", str(store), "-k", str(NEAREST), *common]
    precision = score_search(Store(store), call(search)["matches"])
    commands = [as_typed(each, options) for each in (pretrain, search)]
    measured.append({"how": "search", "seed": seed, "commands": commands, **precision})
    return measured


def score_search(store: Store, matches: list[dict[str, Any]]) -> dict[str, float]:
    """Share of the nearest recordings that show the action of a test recording."""
    _, test = split(store, "xsub")
    names = [store.class_names[store.labels[index]] for index in test]
    wanted = dict(zip((store.names[index] for index in test), names, strict=True))
    right = [m["label"] == wanted[m["query"]] for m in matches if m["query"] in wanted]
    return {"queries": len(test), f"precision_at_{NEAREST}": round(statistics.mean(right), 4)}


def new_store(store: Path) -> Path:
    """The store of the test part of untrimmed recordings, without annotations."""
    return store.with_name(f"{store.name}_new")


def write_new(source: Path, target: Path) -> None:
    """Write the recordings of even subjects without labels and annotations."""
    with np.load(source) as file:
        arrays = {name: file[name] for name in PACKED}
        rows = np.flatnonzero(file["subjects"] % 2 == 0)
    ends = np.cumsum(arrays["lengths"])
    parts = [arrays["joints"][ends[row] - arrays["lengths"][row] : ends[row]] for row in rows]
    arrays |= {"joints": np.concatenate(parts), "lengths": arrays["lengths"][rows]}
    np.savez(target, **arrays)


def measure_intervals(store: Path, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Intervals of unlabelled recordings, with one encoder; runs are those of detection.py."""
    run = options.work / f"{store.name}-detection-pcm3-{seed}"
    epochs = EPOCHS[options.dataset]
    common = ["--data", str(store), "--json"]
    pretrain = [*PRETRAIN, "--train.epochs", str(epochs)]
    pretrain += ["--train.drop-epoch", str(round(0.8 * epochs))]
    pretrain += ["--train.seed", str(seed), "--out", str(run), *common]
    call(pretrain)
    opened, measured = Store(store), []
    _, test = split(opened, "xsub")
    truth = true_intervals(SkeletonDataset(opened, test))
    for how in ("linear", "knn"):
        file = options.work / f"{run.name}-{how}.safetensors"
        fit = ["classifier", "--run", str(run), "--protocol", "xsub", "--how", how]
        fit += ["--seed", str(seed), "--out", str(file), "--overwrite", *common]
        fitted = call(fit)["metrics"]
        predict = ["predict", str(file), str(new_store(store)), "--json"]
        found = [
            Proposal(
                each["index"],
                opened.class_names.index(each["label"]),
                each["start"],
                each["end"],
                each["probability"],
            )
            for each in call(predict)["predictions"]
            if each["label"] in opened.class_names
        ]
        measured.append(
            {
                "how": how,
                "seed": seed,
                "commands": [as_typed(each, options) for each in (pretrain, fit, predict)],
                "recordings": fitted["recordings"],
                "temperature": fitted["temperature"],
                "threshold": fitted["threshold"],
                "out_of_fold": fitted["out_of_fold"],
                "test_recordings": len(test),
                "intervals": len(truth),
                "found": len(found),
                "f1_0.5": round(f1_score(found, truth, 0.5), 4),
                "map_action_voc_0.5": round(map_by_action(found, truth, 0.5), 4),
            }
        )
        print(json.dumps(measured[-1]), file=sys.stderr, flush=True)
    return measured


def measure_novelty(store: Path, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Good and bad repetitions by joints, which have no seed, and by encoders."""
    measured = []
    for how, share in JUDGED_BY.items():
        judge = ["novelty", "--data", str(store), "--reference", "correct:1", "--protocol", "xsub"]
        commands = []
        if share is None and seed > 0:
            continue
        if share is not None:
            run = options.work / f"{store.name}-{how}-{seed}"
            epochs = round(share * EXERCISES[options.dataset])
            pretrain = [*PRETRAIN, "--train.epochs", str(epochs), "--train.seed", str(seed)]
            pretrain += ["--out", str(run), "--data", str(store), "--json"]
            call(pretrain)
            commands = [pretrain]
            judge += ["--run", str(run)]
        judge.append("--json")
        figures = call(judge)["metrics"]
        commands = [as_typed(each, options) for each in (*commands, judge)]
        measured.append({"how": how, "seed": seed, "commands": commands, **figures})
        print(json.dumps(measured[-1]), file=sys.stderr, flush=True)
    return measured


def score(store: Store, found: list[dict[str, Any]], file: Path) -> dict[str, float]:
    """Figures of the predictions for test recordings."""
    _, test = split(store, "xsub")
    best = {each["index"]: each["ranked"][0] for each in found}
    unknown = {each["index"]: each["label"] == "unknown" for each in found}
    wanted = [store.class_names[store.labels[index]] for index in test]
    right = torch.tensor(
        [best[index]["label"] == name for index, name in zip(test, wanted, strict=True)]
    )
    sure = torch.tensor([not unknown[index] for index in test])
    values = torch.tensor([best[index]["probability"] for index in test]).clamp(0, 1)
    figures = {
        "test_recordings": len(test),
        "accuracy": float(right.double().mean()),
        "calibration_error": expected_calibration_error(values, right),
        "unknown": float((~sure).double().mean()),
        "accuracy_of_known": float(right[sure].double().mean()),
    }
    classifier = pcm3.load_classifier(file)
    if classifier.how != "knn":  # whose votes a temperature of 1 makes all alike
        plain = replace(classifier, temperature=1.0)
        rows = torch.from_numpy(plain.predict_proba(classifier.clips(store, test.tolist())))
        before = expected_calibration_error(rows.max(dim=1).values.clamp(0, 1), right)
        figures["calibration_error_without_temperature"] = before
    return {name: round(value, 4) for name, value in figures.items()}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    names = ["accuracy", "calibration_error", "calibration_error_without_temperature"]
    names += ["unknown", "accuracy_of_known", "f1_0.5", "map_action_voc_0.5"]
    names += [f"precision_at_{NEAREST}", "auc", "auc_within_classes", "auc_within_subjects"]
    names += ["true_positive_rate", "false_positive_rate"]
    summary = {}
    for name in names:
        values = [run[name] for run in runs if run.get(name) is not None]
        if values:
            summary[name] = {
                "mean": round(statistics.mean(values), 4),
                "std": round(statistics.stdev(values), 4) if len(values) > 1 else None,
                "seeds": values,
            }
    return summary


def measure_speed(store: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of `pcm3 predict` from its start to its end, on files, and of `import torch`."""
    opened = Store(store)
    classifier = options.work / f"{store.name}-pcm3-0" / "linear.safetensors"
    torch_alone = [timed([sys.executable, "-c", "import torch"]) for _ in range(REPEATS)]
    speed: dict[str, Any] = {"import_torch": middle(torch_alone)}
    for count in FILES:
        folder = options.work / f"files_{count}"
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(min(count, len(opened))):
            np.save(folder / f"{index:03}.npy", opened.sequence(index))
        command = [sys.executable, "-m", "pcm3", "predict", str(classifier), str(folder)]
        speed[f"predict_{count}"] = middle([timed(command) for _ in range(REPEATS)])
    return speed | {"commit": environment()["commit"]}


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=True
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, spent


def middle(times: list[tuple[float, float]]) -> dict[str, float]:
    """The medians."""
    seconds, spent = zip(*times, strict=True)
    return {
        "seconds": round(statistics.median(seconds), 2),
        "processor_seconds": round(statistics.median(spent), 2),
    }


if __name__ == "__main__":
    main()
