"""Recognition on open data: random encoder, contrastive learning alone, and PCM3.

Runs the `pcm3` commands a user would run (prepare, pretrain --preset small, evaluate linear,
evaluate knn) for several seeds and folds, and writes one JSON file with every figure, the
commands, the commit, versions and device. The last epoch counts; test data choose nothing.

    python benchmarks/recognition.py utd_mhad --data FOLDER_OF_PACKED_NPZ
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from environment import environment

DATASETS = {
    "utd_mhad": ["xsub"],
    "nw_ucla": ["xview"],
    "sbu_interaction": [f"fold:{fold}" for fold in range(1, 6)],
}
# The preset's 200 epochs are 1,200 steps on UTD-MHAD; as many on the larger NW-UCLA are 80 epochs.
# Its cameras look from different sides, so bodies are turned to face one way.
NORMALIZATION = {"nw_ucla": "isc"}
LENGTH = {"nw_ucla": ["--train.epochs", "80", "--train.drop-epoch", "64"]}
SUITES: dict[str, dict[str, list[str]]] = {
    "recognition": {
        "random": ["--preset", "small", "--train.epochs", "0"],
        "contrastive": [
            *("--preset", "small", "--model.positives", "intra", "inter"),
            *("--model.mask-weight", "0"),
        ],
        "pcm3": ["--preset", "small"],
    },
    "methods": {
        "pcm3": ["--preset", "small"],
        "pcm3pp": ["--preset", "small-pp"],
        "pcm3pp_distilled": ["--phase", "post-distill"],
        "mamp": ["--preset", "small-mamp"],
        "mae": ["--preset", "small-mae"],
    },
}
DISTILLED_FROM = {"pcm3pp_distilled": "pcm3pp"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--suite", choices=SUITES, default="recognition", help="what to compare")
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    methods = SUITES[options.suite]
    store = options.work / options.dataset
    prepare = ["prepare", "packed", str(options.data / f"{options.dataset}.npz"), str(store)]
    prepare += ["--normalization", NORMALIZATION.get(options.dataset, "center")]
    if not store.exists():
        call(prepare)
    jobs = [
        (method, protocol, seed)
        for seed in range(options.seeds)
        for protocol in DATASETS[options.dataset]
        for method in methods
        if method not in DISTILLED_FROM
    ]
    later = [
        (method, protocol, seed)
        for seed in range(options.seeds)
        for protocol in DATASETS[options.dataset]
        for method in methods
        if method in DISTILLED_FROM
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = [
            run
            for part in (jobs, later)
            for run in pool.map(lambda job: measure(store, options, *job), part)
        ]
    result = {
        "benchmark": options.suite,
        "command": f"python benchmarks/recognition.py {options.dataset} --suite {options.suite} "
        f"--seeds {options.seeds}",
        "dataset": options.dataset,
        "normalization": NORMALIZATION.get(options.dataset, "center"),
        "summary": {method: summarise(runs, method) for method in methods},
        "runs": runs,
        "environment": environment() | {"threads_per_run": 1, "runs_at_once": options.jobs},
    }
    file = options.out / f"{options.suite}_{options.dataset}.json"
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["summary"], indent=2))


def measure(
    store: Path, options: argparse.Namespace, method: str, protocol: str, seed: int
) -> dict[str, Any]:
    """One run: pretrain, then both evaluations; a run measured before is not repeated."""

    def folder(name: str) -> Path:
        return options.work / f"{store.name}-{protocol.replace(':', '')}-{name}-{seed}"

    run = folder(method)
    kept = run / "results" / "benchmark.json"
    if kept.exists():
        return json.loads(kept.read_text())
    common = ["--data", str(store), "--json"]
    pretrain = ["pretrain", *SUITES[options.suite][method], "--out", str(run)]
    if method in DISTILLED_FROM:
        pretrain += ["--from", str(folder(DISTILLED_FROM[method]))]
    else:
        pretrain += ["--protocol", protocol, "--train.seed", str(seed)]
        if "--train.epochs" not in pretrain:
            pretrain += LENGTH.get(store.name, [])
    pretrain += common
    started = time.perf_counter()
    call(pretrain)
    seconds = time.perf_counter() - started
    measured: dict[str, Any] = {
        "method": method,
        "protocol": protocol,
        "seed": seed,
        "pretrain_seconds": round(seconds, 1),
        "command": "pcm3 " + " ".join(pretrain).replace(str(options.work), "runs"),
    }
    for task in ("linear", "knn"):
        measured[task] = call(["evaluate", task, "--run", str(run), *common])["metrics"]["top1"]
    kept.write_text(json.dumps(measured))
    print(json.dumps(measured), file=sys.stderr, flush=True)
    return measured


def call(arguments: list[str]) -> dict[str, Any]:
    """Run a pcm3 command on one thread and return the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, "-m", "pcm3.cli", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"pcm3 {' '.join(arguments)} failed:\n{done.stderr}")
    last = done.stdout.splitlines()[-1] if done.stdout else "{}"
    return json.loads(last) if last.startswith("{") else {}


def summarise(runs: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """Mean over folds within a seed; mean and standard deviation over seeds."""
    summary: dict[str, Any] = {}
    for task in ("linear", "knn"):
        by_seed: dict[int, list[float]] = {}
        for run in runs:
            if run["method"] == method:
                by_seed.setdefault(run["seed"], []).append(run[task])
        values = [statistics.mean(folds) for folds in by_seed.values()]
        summary[task] = {
            "mean": round(statistics.mean(values), 4),
            "std": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "seeds": [round(value, 4) for value in values],
        }
    seconds = [run["pretrain_seconds"] for run in runs if run["method"] == method]
    return summary | {"pretrain_seconds_max": max(seconds)}


if __name__ == "__main__":
    main()
