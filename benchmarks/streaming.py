"""How fast recurrent encoders follow a live recording, frame by frame.

Pushes random frames of NTU25 skeletons, two persons, into a small encoder and into the paper's
full-size one, and compares the features with those of the whole sequence. Writes the median and
the 95th percentile of the milliseconds of a frame, and frames per second over all frames, to
results/streaming.json.

    OMP_NUM_THREADS=1 python benchmarks/streaming.py
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import environment

from pcm3 import NTU25
from pcm3.encoders import GRUEncoder, StreamingEncoder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    result = {
        "benchmark": "streaming",
        "command": f"python benchmarks/streaming.py --frames {options.frames} "
        f"--hidden {' '.join(map(str, options.hidden))}",
        "threads": torch.get_num_threads(),
        "frames": options.frames,
        "encoders": [measure(hidden, options.frames) for hidden in options.hidden],
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "streaming.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(hidden: int, frames: int, warm_up: int = 20) -> dict[str, Any]:
    """Latency of one encoder, and how far its features are from the whole sequence's."""
    torch.manual_seed(0)
    encoder = GRUEncoder(NTU25, hidden=hidden).eval()
    stream = StreamingEncoder(encoder)
    recording = torch.randn(frames, 3, 25, 2)
    for frame in recording[:warm_up]:
        stream.push(frame)
    stream.reset()
    seconds, features = [], []
    for frame in recording:
        started = time.perf_counter()
        features.append(stream.push(frame))
        seconds.append(time.perf_counter() - started)
    with torch.no_grad():
        whole = encoder(recording.movedim(0, 1)[None])[0]
    return {
        "hidden": hidden,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "median_ms": round(float(np.median(seconds)) * 1e3, 3),
        "p95_ms": round(float(np.percentile(seconds, 95)) * 1e3, 3),
        "frames_per_second": round(frames / sum(seconds), 1),
        "largest_deviation": float((torch.stack(features) - whole).abs().max()),
    }


if __name__ == "__main__":
    main()
