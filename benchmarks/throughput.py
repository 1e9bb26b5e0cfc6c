"""The parts beside the training step, each by itself.

augmentation     the views of PCM3 from batches, beside one sample after the other in numpy
reading          batches from a store on disk
encoders         forward, and forward with backward
extraction       features of a store, crops and reading included
detection        every frame of an untrimmed recording classified by the window around it
retrieval        nearest neighbour, and the whole ranking, at the size of NTU RGB+D 60

python benchmarks/throughput.py
python benchmarks/throughput.py --part retrieval
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baseline import pcm3_views
from environment import environment
from step import product_rate, repeat

from pcm3 import NTU25, PCM3
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.neighbours import nearest_labels, rank
from pcm3.evaluation.tasks.detection.classifier import WindowClassifier
from pcm3.evaluation.tasks.detection.recipes import RECIPES
from pcm3.hub import Pretrained
from pcm3.io.files import reuse_memory
from pcm3.methods.catalog import get_preset

CPU = torch.device("cpu")
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "gru, small": lambda: GRUEncoder(NTU25, hidden=64),
    "gru, full size": lambda: GRUEncoder(NTU25),
    "graph convolution": lambda: STGCNEncoder(NTU25),
    "transformer of MAMP": lambda: TransformerEncoder(NTU25),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    reuse_memory()  # as training does
    for part in options.part:
        torch.manual_seed(0)
        result = {
            "benchmark": part,
            "command": f"python benchmarks/throughput.py --part {part}",
            "figures": PARTS[part](),
            "environment": environment() | {"threads": torch.get_num_threads()},
        }
        (options.out / f"{part}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(result), flush=True)


def augmentation(batch: int = 128, frames: int = 150) -> dict[str, Any]:
    """Samples a second on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = get_preset("small").model.build(NTU25, persons=2)
    model = PCM3(config.encoder, NTU25, queue_size=8)  # the published augmentation
    clips, lengths = torch.randn(batch, 3, frames, 25, 2), torch.full((batch,), frames)
    fast = repeat(lambda: model.make_views(clips, lengths), 10, CPU)
    arrays, rng = (clips.numpy(), lengths.numpy()), np.random.default_rng(0)
    slow = repeat(lambda: pcm3_views(model, *arrays, rng), 1, CPU)
    torch.set_num_threads(threads)
    return {
        "batch": batch,
        "frames": frames,
        "samples_per_second": round(batch / fast, 1),
        "samples_per_second_numpy": round(batch / slow, 1),
        "times_as_fast": round(slow / fast, 2),
    }


def reading(batch: int = 128, sequences: int = 1024) -> dict[str, Any]:
    """Samples a second, the file in the system's cache."""
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", sequences=sequences, persons=2, frames=(80, 120))
        data, rng = SkeletonDataset(store), np.random.default_rng(0)
        seconds = repeat(lambda: data.batch(rng.integers(0, sequences, batch)), 20, CPU)
    return {"batch": batch, "frames": "80 to 120", "samples_per_second": round(batch / seconds, 1)}


def encoders(batch: int = 16) -> dict[str, Any]:
    """Milliseconds a sample."""
    figures = {}
    for name, build in ENCODERS.items():
        encoder = build()
        frames = getattr(encoder, "frames", 64)
        clips = torch.randn(batch, 3, frames, 25, 2)
        with torch.no_grad():
            forward = repeat(partial(encoder, clips), 3, CPU)
        both = repeat(partial(_forward_and_backward, encoder, clips), 3, CPU)
        figures[name] = {
            "frames": frames,
            "forward_ms": round(1000 * forward / batch, 2),
            "forward_and_backward_ms": round(1000 * both / batch, 2),
        }
    return {"batch": batch, **figures}


def _forward_and_backward(encoder: Encoder, clips: torch.Tensor) -> None:
    encoder(clips).sum().backward()


def extraction(sequences: int = 512) -> dict[str, Any]:
    """Sequences a second."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", sequences=sequences, persons=2, frames=(80, 120))
        data = SkeletonDataset(store)
        for name in ("gru, small", "gru, full size"):
            pretrained = Pretrained(ENCODERS[name](), NTU25, "joint", 64)
            seconds = repeat(partial(extract_features, pretrained, data), 1, CPU)
            figures[name] = round(len(data) / seconds, 1)
    return figures


def detection(frames: int = 256) -> dict[str, Any]:
    """Frames a second."""
    figures = {}
    clip = torch.randn(3, frames, 25, 2)
    for name in ("gru, small", "gru, full size"):
        model = WindowClassifier(Pretrained(ENCODERS[name](), NTU25, "joint", 64), 52, True)
        model.eval()
        seconds = repeat(partial(model.probabilities, clip, RECIPES["default"]), 1, CPU)
        figures[name] = round(frames / seconds, 1)
    return {"window": 32, **figures}


def retrieval(gallery: int = 40_000, queries: int = 16_000, width: int = 2048) -> dict[str, Any]:
    """Seconds, and the memory of the whole process with the features."""
    known, asked = torch.randn(gallery, width), torch.randn(queries, width)
    labels, wanted = torch.randint(0, 60, (gallery,)), torch.randint(0, 60, (queries,))
    rate = product_rate(CPU, torch.float32)
    nearest = repeat(lambda: nearest_labels(known, labels, asked), 1, CPU)
    memory = {"nearest": _peak()}
    ranking = repeat(lambda: rank(known, labels, asked, wanted), 1, CPU)
    product = 2 * gallery * queries * width / rate
    return {
        "gallery": gallery,
        "queries": queries,
        "width": width,
        "nearest_seconds": round(nearest, 2),
        "nearest_peak_memory_mb": memory["nearest"],
        "ranking_seconds": round(ranking, 2),
        "ranking_peak_memory_mb": _peak(),
        "seconds_of_the_product_alone": round(product, 2),
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


PARTS = {
    "augmentation": augmentation,
    "reading": reading,
    "encoders": encoders,
    "extraction": extraction,
    "detection": detection,
    "retrieval": retrieval,
}


if __name__ == "__main__":
    main()
