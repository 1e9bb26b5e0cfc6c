"""How a PCM3 step grows with batch, frames, hidden width and queue.

Around a step of moderate size one number is changed at a time; every point is a process of its own,
whose peak memory counts from before the model is built. Beside the measured seconds stand those
that the counted operations predict, beside the memory a straight line (in the square of the hidden
width) through the first and the last point. Writes results/growth.json and a picture.

    python benchmarks/growth.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from environment import environment
from step import peak_memory, plain_step, repeat

from pcm3 import NTU25, PCM3
from pcm3.encoders import GRUEncoder
from pcm3.io.files import reuse_memory
from pcm3.training.costs import count

CPU = torch.device("cpu")
BASE = {"batch": 16, "frames": 64, "hidden": 128, "queue": 16384}
VALUES = {
    "batch": [4, 8, 16, 32, 64],
    "frames": [16, 32, 64, 128, 256],
    "hidden": [64, 128, 256, 512],
    "queue": [1024, 4096, 16384, 65536],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(
        "--picture", type=Path, default=Path(__file__).parents[1] / "docs" / "growth.svg"
    )
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    points = {}
    for name, values in VALUES.items():
        points[name] = [point(BASE | {name: value}) | {name: value} for value in values]
        print(name, points[name], flush=True)
    result = {
        "benchmark": "growth",
        "command": "python benchmarks/growth.py",
        "data": "random coordinates, NTU25, two persons",
        "base": BASE,
        "points": points,
        "environment": environment() | {"threads": torch.get_num_threads()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "growth.json").write_text(json.dumps(result, indent=2) + "\n")
    draw(points, options.picture)


def point(settings: dict[str, int]) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps(settings)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def measure(batch: int, frames: int, hidden: int, queue: int) -> dict[str, float]:
    """Seconds and megabytes of a step, and its multiply-accumulates."""
    reuse_memory()
    torch.manual_seed(0)
    before = peak_memory(CPU)
    model = PCM3(GRUEncoder(NTU25, hidden=hidden), NTU25, frames=frames, queue_size=queue)
    step = plain_step(model)
    clips, lengths = torch.randn(batch, 3, frames, 25, 2), torch.full((batch,), frames)
    seconds = repeat(lambda: step(clips, lengths), 5, CPU)
    memory = peak_memory(CPU) - before
    gmac = count(model).step * batch / 1e9
    return {"seconds": round(seconds, 4), "memory_mb": memory, "gmac": round(gmac, 3)}


def draw(points: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Two rows of panels: seconds and memory, with what is expected dashed."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    figure, axes = plt.subplots(
        2, len(points), figsize=(11, 5), sharex="col", sharey="row", layout="tight"
    )
    for column, (name, measured) in enumerate(points.items()):
        values = [each[name] for each in measured]
        base = next(each for each in measured if each[name] == BASE[name])
        speed = base["seconds"] / base["gmac"]
        seconds, memory = axes[0, column], axes[1, column]
        seconds.loglog(values, [each["seconds"] for each in measured], "o-", label="measured")
        predicted = [speed * each["gmac"] for each in measured]
        seconds.loglog(values, predicted, "--", label="from counted operations")
        memory.loglog(values, [each["memory_mb"] for each in measured], "o-", label="measured")
        power = 2 if name == "hidden" else 1
        (x, first), (y, last) = (
            (each[name] ** power, each["memory_mb"]) for each in (measured[0], measured[-1])
        )
        line = [first + (last - first) * (value**power - x) / (y - x) for value in values]
        label = "line in its square" if power == 2 else "line"
        memory.loglog(values, line, "--", label=label)
        memory.set_xlabel(name)
        memory.set_xticks(values, [str(value) for value in values])
        for axis in (seconds, memory):
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
            axis.legend(fontsize=7)
    axes[0, 0].set_ylabel("seconds a step")
    axes[1, 0].set_ylabel("MB")
    figure.savefig(file)


if __name__ == "__main__":
    main()
