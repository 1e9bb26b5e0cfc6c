"""Whether prompts learn: their gradients before and after the input normalisation.

Trains the preset `small` for a few epochs with domain prompts in either position and records the
norm of every gradient that reaches prompts and, to compare with, the input normalisation. A batch
norm in training mode subtracts the mean of every channel, and a domain prompt before it is part
of that mean.

    OMP_NUM_THREADS=1 python benchmarks/prompt_gradients.py STORE
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from environment import environment
from torch import Tensor, nn

from pcm3.data import SkeletonDataset, Store, split
from pcm3.methods.catalog import get_preset
from pcm3.training.trainer import fit

POSITIONS = ("pre_norm", "post_norm")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("store", type=Path, help="what `pcm3 prepare` made")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    store = Store(options.store)
    dataset = SkeletonDataset(store, split(store, "xsub")[0])
    measured = {
        position: [
            measure(dataset, position, seed, options.epochs) for seed in range(options.seeds)
        ]
        for position in POSITIONS
    }
    result = {
        "benchmark": "prompt_gradients",
        "command": f"python benchmarks/prompt_gradients.py {options.store.name} "
        f"--epochs {options.epochs} --seeds {options.seeds}",
        "dataset": options.store.name,
        "mean_gradient_norm": {
            position: {name: statistics.mean(run[name] for run in runs) for name in runs[0]}
            for position, runs in measured.items()
        },
        "seeds": measured,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"prompt_gradients_{options.store.name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["mean_gradient_norm"], indent=2))


def measure(dataset: SkeletonDataset, position: str, seed: int, epochs: int) -> dict[str, float]:
    """Mean over steps of the gradient norms of a run, by what they belong to."""
    config = get_preset("small")
    train = replace(config.train, seed=seed, epochs=epochs, drop_epoch=epochs, knn_every=0)
    torch.manual_seed(seed)
    store = dataset.store
    model = replace(config.model, prompt_position=position).build(store.skeleton, store.persons)
    norms = {
        "domain_prompts": watch(model.domain_prompts),
        "task_prompts": watch(model.task_prompts),
        "input_norm": watch(model.encoder.input_norm),
    }
    fit(model, dataset, train, quiet=True)
    return {name: statistics.mean(values) for name, values in norms.items()}


def watch(module: nn.Module) -> list[float]:
    """A list that every gradient of a parameter adds its norm to."""
    norms: list[float] = []

    def note(parameter: Tensor) -> None:
        assert parameter.grad is not None
        norms.append(float(parameter.grad.norm()))

    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(note)
    return norms


if __name__ == "__main__":
    main()
