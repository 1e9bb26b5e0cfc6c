"""Detection on open data: a random and a pretrained small encoder under several recipes.

Runs the `pcm3` commands a user would run (prepare, pretrain --preset small, evaluate detection
--recipe NAME) for several seeds and writes one JSON file for each data set with every figure, the
commands, the commit, versions and device. Odd subjects train, even ones test. The last epoch
counts; test data choose nothing.

    python benchmarks/detection.py precog2016 --data FOLDER_OF_PACKED_NPZ
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from downstream import summarise
from environment import environment
from recognition import as_typed, call

METHODS = ("random", "pcm3")
RECIPES = ("default", "pcm3", "survey")
# The preset's 200 epochs are 800 steps on PRECOG-2016, as many as 5 are on the larger MSRC-12, of
# which every fourth frame is classified in tests.
EPOCHS = {"precog2016": 200, "msrc12_untrimmed": 5}
EVERY = {"precog2016": 1, "msrc12_untrimmed": 4}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", choices=EPOCHS)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for runs")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--epochs", type=int, help="of pretraining; by default 800 steps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    store = options.work / options.dataset
    if not store.exists():
        call(["prepare", "packed", str(options.data / f"{options.dataset}.npz"), str(store)])
    jobs = [(method, seed) for seed in range(options.seeds) for method in reversed(METHODS)]
    with ThreadPoolExecutor(options.jobs) as pool:
        parts = list(pool.map(lambda job: measure(store, options, *job), jobs))
    runs = [each for part in parts for each in part]
    command = ["python benchmarks/detection.py", options.dataset, f"--seeds {options.seeds}"]
    command += [f"--recipes {' '.join(options.recipes)}"] * (options.recipes != RECIPES)
    command += [f"--epochs {options.epochs}"] * bool(options.epochs)
    result = {
        "benchmark": "detection",
        "command": " ".join(command),
        "dataset": options.dataset,
        "normalization": "center",
        "test_frames_classified": f"1 of {EVERY[options.dataset]}",
        "summary": {
            recipe: {method: summarise(runs, recipe, method) for method in METHODS}
            for recipe in options.recipes
        },
        "runs": runs,
        "environment": environment() | {"threads_per_run": 1, "runs_at_once": options.jobs},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out / f"detection_{options.dataset}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    headline = "map_action_voc_0.5"
    for recipe, each in result["summary"].items():
        print(recipe, {method: each[method][headline] for method in METHODS})


def measure(
    store: Path, options: argparse.Namespace, method: str, seed: int
) -> list[dict[str, Any]]:
    """All recipes with one encoder, which is pretrained if it is not there."""
    run = options.work / f"{store.name}-detection-{method}-{seed}"
    epochs = options.epochs or EPOCHS[options.dataset]
    schedule = [epochs, "--train.drop-epoch", round(0.8 * epochs)] if method == "pcm3" else [0]
    common = ["--data", str(store), "--json"]
    pretrain = ["pretrain", "--preset", "small", "--train.epochs", *map(str, schedule)]
    pretrain += ["--protocol", "xsub", "--train.seed", str(seed), "--out", str(run), *common]
    call(pretrain)
    measured = []
    for recipe in options.recipes:
        evaluate = ["evaluate", "detection", "--run", str(run), "--recipe", recipe, *common]
        evaluate += ["--every", str(EVERY[options.dataset]), "--seed", str(seed)]
        metrics = call(evaluate)["metrics"]
        commands = [as_typed(pretrain, options), as_typed(evaluate, options)]
        measured.append(
            {
                "task": recipe,
                "method": method,
                "protocol": "xsub",
                "seed": seed,
                "commands": commands,
                "metrics": metrics,
            }
        )
    return measured


if __name__ == "__main__":
    main()
