"""One real training step of the paper's full-size model, at a batch that a laptop can hold.

Writes the parameter counts, the loss terms, the seconds of the step and the loss of the same
views after it to results/full_size_step.json.

    python benchmarks/full_size_step.py
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from environment import environment

from pcm3 import PCM3
from pcm3.data import SkeletonDataset, generate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="ntu60-xview")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = PCM3.from_preset(options.preset)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", sequences=options.batch_size * 2, persons=2)
        batch = SkeletonDataset(store).batch(range(options.batch_size))
    views = model.make_views(batch.clips, batch.lengths, generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    output = model.loss(views)
    output.total.backward()
    optimizer.step()
    seconds = time.perf_counter() - started
    result = {
        "benchmark": "full_size_step",
        "command": f"python benchmarks/full_size_step.py --preset {options.preset} "
        f"--batch-size {options.batch_size}",
        "data": "synthetic, NTU25, two persons, seed 0",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(seconds, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "terms": {name: float(term) for name, term in output.terms.items()},
        "total": float(output.total.detach()),
        "total_after_the_step": float(model.eval().loss(views).total.detach()),
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "full_size_step.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
