"""Every downstream task on open data: PCM3 against an untrained encoder, over seeds.

Runs the `pcm3` commands a user would run (prepare, pretrain --preset small, evaluate TASK) and
writes one JSON file for each data set with every figure, the commands, the commit, versions and
device. Pretraining runs are shared with recognition.py where both have the same --work. The last
epoch counts; test data choose nothing.

    python benchmarks/downstream.py utd_mhad --data FOLDER_OF_PACKED_NPZ
"""

from __future__ import annotations

import argparse
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from environment import environment
from recognition import DATASETS, NORMALIZATION, as_typed, call, length

METHODS = {"random": ["--train.epochs", "0"], "pcm3": []}
TASKS: dict[str, dict[str, list[str]]] = {
    "utd_mhad": {
        "linear": [],
        "knn": [],
        "finetune": [],
        "semi": ["--fractions", "0.1"],
        "occlusion": [],
        "robustness": [],
        "prediction": [],
    },
    "utd_mhad_unseen": {"fewshot": []},
    "precog2016": {"detection": []},
    "nw_ucla": {"knn": []},
}
FILES = {"utd_mhad_unseen": "utd_mhad"}
PROTOCOLS = {**DATASETS, "utd_mhad_unseen": ["labels:0-19"], "precog2016": ["xsub"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "dataset", choices=TASKS, help="utd_mhad_unseen pretrains on 20 of the 27 classes"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    file = FILES.get(options.dataset, options.dataset)
    store = options.work / file
    if not store.exists():
        recipe = ["--normalization", NORMALIZATION.get(file, "center")]
        call(["prepare", "packed", str(options.data / f"{file}.npz"), str(store), *recipe])
    jobs = [
        (method, protocol, seed)
        for seed in range(options.seeds)
        for protocol in PROTOCOLS[options.dataset]
        for method in METHODS
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        parts = list(pool.map(lambda job: measure(store, options, *job), jobs))
    runs = [each for part in parts for each in part]
    result = {
        "benchmark": "downstream",
        "command": f"python benchmarks/downstream.py {options.dataset} --seeds {options.seeds}",
        "dataset": options.dataset,
        "normalization": NORMALIZATION.get(file, "center"),
        "summary": {
            task: {method: summarise(runs, task, method) for method in METHODS}
            for task in TASKS[options.dataset]
        },
        "runs": runs,
        "environment": environment() | {"threads_per_run": 1, "runs_at_once": options.jobs},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out / f"downstream_{options.dataset}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["summary"], indent=2))


def measure(
    store: Path, options: argparse.Namespace, method: str, protocol: str, seed: int
) -> list[dict[str, Any]]:
    """All tasks of one run, which is pretrained if it is not there."""
    run = options.work / f"{store.name}-{protocol.replace(':', '')}-{method}-{seed}"
    common = ["--data", str(store), "--json"]
    pretrain = ["pretrain", "--preset", "small", *METHODS[method], "--out", str(run)]
    pretrain += length(store.name, pretrain)
    pretrain += ["--protocol", protocol, "--train.seed", str(seed), *common]
    call(pretrain)
    measured = []
    for task, settings in TASKS[options.dataset].items():
        evaluate = ["evaluate", task, "--run", str(run), *common, *settings]
        metrics = call(evaluate)["metrics"]
        measured.append(
            {
                "task": task,
                "method": method,
                "protocol": protocol,
                "seed": seed,
                "commands": [as_typed(pretrain, options), as_typed(evaluate, options)],
                "metrics": {k: v for k, v in metrics.items() if isinstance(v, float)},
            }
        )
    return measured


def summarise(runs: list[dict[str, Any]], task: str, method: str) -> dict[str, Any]:
    """Of every figure the mean over folds within a seed; mean and deviation over seeds."""
    chosen = [run for run in runs if (run["task"], run["method"]) == (task, method)]
    seeds = sorted({run["seed"] for run in chosen})
    summary = {}
    for name in chosen[0]["metrics"]:
        values = [
            statistics.mean(run["metrics"][name] for run in chosen if run["seed"] == seed)
            for seed in seeds
        ]
        summary[name] = {
            "mean": round(statistics.mean(values), 4),
            "std": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "seeds": [round(value, 4) for value in values],
        }
    return summary


if __name__ == "__main__":
    main()
