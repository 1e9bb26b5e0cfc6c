"""Say what somebody is doing while they do it: frames in one by one, nearest neighbours out.

A puppet performs before a noisy camera; frames of your own camera would do in the place of its
file. The encoder here is untrained, to be ready in seconds: take a trained one with
``GRUEncoder.from_pretrained("RUN")``.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcm3 import NTU25
from pcm3.data import SkeletonDataset, generate, split
from pcm3.data.normalize import normalize
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import Encoder, GRUEncoder, StreamingEncoder
from pcm3.evaluation.knn import nearest_labels

FPS = 30  # of the camera
WINDOW = 45  # frames that a label looks back
SCENE: dict[str, Any] = {"sequences": 288, "classes": 6, "views": 1, "frames": (80, 120)}


def main() -> float:
    """Follow a recording of people that the gallery does not know; return the share named right."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", **SCENE)
        known, unseen = split(store, "xsub")
        encoder = GRUEncoder(NTU25, persons=1, hidden=64, pool="mean").eval()
        gallery, labels = make_gallery(encoder, SkeletonDataset(store, known))
        file = Path(folder) / "camera.npy"
        wanted = record(file, [int(index) for index in unseen[:12]])
        return follow(file, StreamingEncoder(encoder), gallery, labels, wanted, store.class_names)


@torch.no_grad()
def make_gallery(encoder: Encoder, dataset: SkeletonDataset) -> tuple[Tensor, Tensor]:
    """Features ``(G, D)`` of overlapping windows at the camera's pace, and labels ``(G,)``."""
    clips, lengths, labels, _ = dataset.batch(range(len(dataset)))
    frames = encoder(clips)  # a causal encoder: the padding at the end changes nothing before it
    windows = [
        (frames[row, start : start + WINDOW].mean(dim=0), label)
        for row, (length, label) in enumerate(zip(lengths.tolist(), labels, strict=True))
        for start in range(0, length - WINDOW + 1, WINDOW // 3)
    ]
    features, owners = zip(*windows, strict=True)
    return torch.stack(features), torch.stack(owners)


def record(file: Path, indices: list[int]) -> list[int]:
    """Write raw frames (T, M, V, C) of some recordings, end to end; return the label of each."""
    recordings = list(synthetic_sequences(**SCENE))
    film = [recordings[index] for index in indices]
    np.save(file, np.concatenate([recording.frames for recording in film]))
    return [recording.label for recording in film for _ in recording.frames]


def follow(
    file: Path,
    stream: StreamingEncoder,
    gallery: Tensor,
    labels: Tensor,
    wanted: list[int],
    names: tuple[str, ...],
) -> float:
    """Take the frames as a camera gives them, and print a label once a second."""
    raw: deque[Any] = deque(maxlen=FPS)  # where the body's centre is lost, an earlier one counts
    recent: deque[Tensor] = deque(maxlen=WINDOW)
    right = 0
    started = time.perf_counter()
    for time_step, frame in enumerate(np.load(file, mmap_mode="r")):
        raw.append(frame)
        centered = normalize(np.stack(raw), NTU25, "center")[-1]  # (M, V, C)
        recent.append(stream.push(torch.from_numpy(centered).permute(2, 1, 0)))
        query = torch.stack(list(recent)).mean(dim=0, keepdim=True)
        label = int(nearest_labels(gallery, labels, query, k=5))
        right += label == wanted[time_step]
        if time_step % FPS == FPS - 1:
            second, truth = (time_step + 1) // FPS, names[wanted[time_step]]
            print(f"{second:>3} s  {names[label]:<18} (it is: {truth})")
    seconds = time.perf_counter() - started
    print(f"{right / len(wanted):.0%} of {len(wanted)} frames named right")
    print(f"{len(wanted) / seconds:.0f} frames per second; the camera gives {FPS}")
    return right / len(wanted)


if __name__ == "__main__":
    main()
