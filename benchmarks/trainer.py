"""Whole epochs of the trainer, from a store on disk, beside the bare step with the same batches.

    python benchmarks/trainer.py                                        # small presets on a CPU
    python benchmarks/trainer.py --accelerator cuda --precision bf16 --case ntu60-xsub:128

Each case runs in a process of its own. The store holds random coordinates of two persons. The first
epoch, which fills caches, is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import environment
from step import FRAMES, PRECISIONS, library_step, repeat

from pcm3 import NTU25
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.methods.catalog import get_preset
from pcm3.methods.settings import TrainSettings
from pcm3.training.trainer import fit

CASES = ("small:64", "small-mamp:64")
BATCHES = 16  # of an epoch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", nargs="+", default=CASES, help="PRESET:BATCH, several")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--graph", choices=("auto", "off"), default="auto")
    parser.add_argument("--cache", choices=("auto", "none"), default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batches", type=int, default=BATCHES, help="batches of an epoch")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.case[0], options)))
        return
    given = sys.argv[1:]
    cases = []
    for case in options.case:
        command = [sys.executable, __file__, *given, "--one", "--case", case]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        cases.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(cases[-1]), flush=True)
    typed = " ".join(given).partition("--out")[0]
    result = {
        "benchmark": "trainer",
        "command": f"python benchmarks/trainer.py {typed}".strip(),
        "data": f"random coordinates, NTU25, two persons, up to {FRAMES} frames",
        "cases": cases,
        "environment": environment() | {"threads": torch.get_num_threads()},
    }
    if options.accelerator == "cuda":
        result["environment"]["device"] = torch.cuda.get_device_name()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"trainer_{options.accelerator}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Sequences a second of the trainer and of the bare step."""
    preset, size = case.split(":")
    batch = int(size)
    with tempfile.TemporaryDirectory() as folder:
        store = random_store(Path(folder) / "store", options.batches * batch)
        config = TrainSettings(
            epochs=options.epochs,
            batch_size=batch,
            lr=1e-3,
            precision=options.precision,
            accelerator=options.accelerator,
            graph=options.graph,
            cache=options.cache,
            workers=options.workers,
        )
        torch.manual_seed(0)
        model = get_preset(preset).model.build(NTU25, persons=2)
        records = fit(model, SkeletonDataset(store), config, quiet=True)
        trainer = float(np.median([record["samples_per_second"] for record in records[1:]]))
        step = library_step(model, options.accelerator, options.precision, options.graph)
        device = next(model.parameters()).device
        batches = endless(SkeletonDataset(store), batch, device)
        seconds = repeat(lambda: step(*next(batches)), options.batches, device)
    return {
        "case": case,
        "precision": options.precision,
        "graph": options.graph,
        "cache": options.cache,
        "trainer_samples_per_second": round(trainer, 1),
        "step_samples_per_second": round(batch / seconds, 1),
        "share": round(trainer * seconds / batch, 3),
    }


def random_store(path: Path, sequences: int) -> Store:
    """Recordings of different lengths."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, NTU25, class_names=["a"]) as writer:
        for _ in range(sequences):
            frames = rng.integers(FRAMES // 2, FRAMES + 1)
            writer.add(rng.normal(size=(frames, 2, 25, 3)).astype(np.float32), 0)
    return Store(path)


def endless(
    dataset: SkeletonDataset, batch: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches that are on the device already."""
    rows = [range(first, first + batch) for first in range(0, len(dataset), batch)]
    read = [dataset.batch(row) for row in rows]
    moved = [(each.clips.to(device), each.lengths.to(device)) for each in read]
    while True:
        yield from moved


if __name__ == "__main__":
    main()
