"""Recognition on open data, in several comparisons.

    recognition  an untrained encoder, contrastive learning alone, and PCM3
    methods      PCM3, PCM3++ before and after post-distillation, MAMP, and its MAE variant
    encoders     PCM3 with the recurrent, the graph and the transformer encoder
    streams      joints, bones and motion, untrained, trained shortly and in full; three fused
    prompts      prompts after the input normalisation, before it, and none

Runs the `pcm3` commands a user would run (prepare, pretrain --preset small, evaluate linear,
evaluate knn) for several seeds and folds, and writes one JSON file with every figure, the
commands, the commit, versions and device. The last epoch counts; test data choose nothing.

    python benchmarks/recognition.py utd_mhad --data FOLDER_OF_PACKED_NPZ --suite methods
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

from pcm3.methods.catalog import get_preset

DATASETS = {
    "utd_mhad": ["xsub"],
    "nw_ucla": ["xview"],
    "sbu_interaction": [f"fold:{fold}" for fold in range(1, 6)],
}
# The presets' 200 epochs are 1,200 steps on UTD-MHAD; as many on the larger NW-UCLA are 80 epochs.
# Its cameras look from different sides, so bodies are turned to face one way.
NORMALIZATION = {"nw_ucla": "isc"}
SHARE_OF_EPOCHS = {"nw_ucla": 0.4}
# Width, rates and schedule of these two were chosen on held-out training subjects of UTD-MHAD.
_STGCN = ["--preset", "small", "--model.encoder", "stgcn", "--model.hidden", "256"]
_TRANSFORMER = ["--preset", "small", "--model.encoder", "transformer", "--model.hidden", "128"]
_BONE = ["--preset", "small", "--model.stream", "bone"]
_MOTION = ["--preset", "small", "--model.stream", "motion"]
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
    "encoders": {
        "random": ["--preset", "small", "--train.epochs", "0"],
        "pcm3": ["--preset", "small"],
        "stgcn_random": [*_STGCN, "--train.epochs", "0"],
        "stgcn": [*_STGCN, "--train.lr", "0.001"],
        "transformer_random": [*_TRANSFORMER, "--train.epochs", "0"],
        "transformer": [
            *(*_TRANSFORMER, "--train.lr", "0.001"),
            *("--train.warmup-epochs", "10", "--train.schedule", "cosine"),
        ],
    },
    "streams": {
        "random": ["--preset", "small", "--train.epochs", "0"],
        "pcm3_short": ["--preset", "small", "--train.epochs", "10"],
        "pcm3": ["--preset", "small"],
        "bone_random": [*_BONE, "--train.epochs", "0"],
        "bone_short": [*_BONE, "--train.epochs", "10"],
        "bone": _BONE,
        "motion_random": [*_MOTION, "--train.epochs", "0"],
        "motion_short": [*_MOTION, "--train.epochs", "10"],
        "motion": _MOTION,
    },
    "prompts": {
        "pcm3": ["--preset", "small"],
        "pre_norm": ["--preset", "small", "--model.prompt-position", "pre_norm"],
        "no_prompts": ["--preset", "small", "--model.no-domain-prompts", "--model.no-task-prompts"],
    },
}
DISTILLED_FROM = {"pcm3pp_distilled": "pcm3pp"}
FUSED = ("pcm3", "bone", "motion")
FUSIONS = {
    "streams": {"fused_equally": [], "fused_0.6_0.6_0.4": ["--weights", "0.6", "0.6", "0.4"]}
}


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
    ]
    later = [job for job in jobs if job[0] in DISTILLED_FROM]
    fusions = FUSIONS.get(options.suite, {})
    runs = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for part in ([job for job in jobs if job not in later], later):
            runs += pool.map(lambda job: measure(store, options, *job), part)
        for fusion in fusions:
            several = [(fusion, *job[1:]) for job in jobs if job[0] == "pcm3"]
            runs += pool.map(lambda job: measure_fusion(store, options, *job), several)
    result = {
        "benchmark": options.suite,
        "command": f"python benchmarks/recognition.py {options.dataset} --suite {options.suite} "
        f"--seeds {options.seeds}",
        "dataset": options.dataset,
        "normalization": NORMALIZATION.get(options.dataset, "center"),
        "summary": {method: summarise(runs, method) for method in (*methods, *fusions)},
        "runs": runs,
        "environment": environment() | {"threads_per_run": 1, "runs_at_once": options.jobs},
    }
    file = options.out / f"{options.suite}_{options.dataset}.json"
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["summary"], indent=2))


def run_folder(
    store: Path, options: argparse.Namespace, method: str, protocol: str, seed: int
) -> Path:
    return options.work / f"{store.name}-{protocol.replace(':', '')}-{method}-{seed}"


def measure(
    store: Path, options: argparse.Namespace, method: str, protocol: str, seed: int
) -> dict[str, Any]:
    """One run: pretrain, then both evaluations; a run measured before is not repeated."""
    run = run_folder(store, options, method, protocol, seed)
    kept = run / "results" / "benchmark.json"
    if kept.exists():
        return json.loads(kept.read_text())
    common = ["--data", str(store), "--json"]
    pretrain = ["pretrain", *SUITES[options.suite][method], "--out", str(run)]
    if method in DISTILLED_FROM:
        first = run_folder(store, options, DISTILLED_FROM[method], protocol, seed)
        pretrain += ["--from", str(first)]
    else:
        pretrain += ["--protocol", protocol, "--train.seed", str(seed)]
        pretrain += length(store.name, SUITES[options.suite][method])
    pretrain += common
    started = time.perf_counter()
    call(pretrain)
    seconds = time.perf_counter() - started
    measured: dict[str, Any] = {
        "method": method,
        "protocol": protocol,
        "seed": seed,
        "pretrain_seconds": round(seconds, 1),
        "command": as_typed(pretrain, options),
        "commit": environment()["commit"],
    }
    for task in ("linear", "knn"):
        measured[task] = call(["evaluate", task, "--run", str(run), *common])["metrics"]["top1"]
    kept.write_text(json.dumps(measured))
    print(json.dumps(measured), file=sys.stderr, flush=True)
    return measured


def length(dataset: str, words: list[str]) -> list[str]:
    """As many steps on every data set, where they are not the preset's."""
    train = get_preset(words[words.index("--preset") + 1]).train
    share = SHARE_OF_EPOCHS.get(dataset, 1)
    if share == 1 or "--train.epochs" in words:
        return []
    arguments = ["--train.epochs", str(round(share * train.epochs))]
    if train.schedule == "step":
        arguments += ["--train.drop-epoch", str(round(share * train.drop_epoch))]
    return arguments


def measure_fusion(
    store: Path, options: argparse.Namespace, fusion: str, protocol: str, seed: int
) -> dict[str, Any]:
    """The linear probe of all runs of a seed together."""
    runs = [str(run_folder(store, options, method, protocol, seed)) for method in FUSED]
    command = ["evaluate", "linear", "--run", *runs, "--data", str(store)]
    command += [*FUSIONS[options.suite][fusion], "--json"]
    return {
        "method": fusion,
        "protocol": protocol,
        "seed": seed,
        "command": as_typed(command, options),
        "linear": call(command)["metrics"]["top1"],
    }


def as_typed(arguments: list[str], options: argparse.Namespace) -> str:
    return "pcm3 " + " ".join(arguments).replace(str(options.work), "runs")


def call(arguments: list[str]) -> dict[str, Any]:
    """Run a pcm3 command on one thread and return the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, "-m", "pcm3", *arguments],
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
            if run["method"] == method and task in run:
                by_seed.setdefault(run["seed"], []).append(run[task])
        values = [statistics.mean(folds) for folds in by_seed.values()]
        if not values:
            continue
        summary[task] = {
            "mean": round(statistics.mean(values), 4),
            "std": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "seeds": [round(value, 4) for value in values],
        }
    seconds = [run.get("pretrain_seconds", 0) for run in runs if run["method"] == method]
    return summary | {"pretrain_seconds_max": max(seconds)}


if __name__ == "__main__":
    main()
