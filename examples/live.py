"""Say what somebody is doing while they do it: frames in one by one, nearest neighbours out.

Without arguments a puppet performs before a noisy camera, and an untrained encoder watches, to be
ready in seconds. With your own labelled store, a run trained on it, and a recording as your pose
estimator gives it, an array (T, V, C) or (T, M, V, C) in the place of a camera:

    python examples/live.py STORE RUN RECORDING.npy

A recording that the store holds under that file name is left out of the comparison.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pcm3 import NTU25
from pcm3.data import SkeletonDataset, Store, collate, generate, split
from pcm3.data.normalize import Normalization, normalize
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import Encoder, GRUEncoder, StreamingEncoder
from pcm3.evaluation.features import dataset_for
from pcm3.evaluation.neighbours import nearest_labels
from pcm3.hub import Pretrained, load_encoder

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
        pretrained = Pretrained(encoder, NTU25, "joint", 64, "center")
        file = Path(folder) / "camera.npy"
        wanted = record(file, [int(index) for index in unseen[:12]])
        labels = follow(file, pretrained, SkeletonDataset(store, known), wanted)
    right = float(np.mean(np.equal(labels, wanted)))
    print(f"{right:.0%} of {len(wanted)} frames named right")
    return right


def own(store: str, run: str, recording: str) -> list[int]:
    """Follow a recording with a trained encoder; return the label of each frame."""
    try:
        return follow(*opened(store, run, Path(recording)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"live.py: {error}") from None


def opened(folder: str, run: str, file: Path) -> tuple[Path, Pretrained, SkeletonDataset]:
    """The recording, the encoder, and the sequences to compare with, if they fit together."""
    store, pretrained = Store(folder), load_encoder(run)
    file.stat()
    if not isinstance(pretrained.encoder, GRUEncoder):
        raise SystemExit(
            "expected a run with a GRU encoder, which can see frames one by one, got a "
            f"{type(pretrained.encoder).__name__}"
        )
    if pretrained.stream != "joint" or pretrained.normalization not in ("center", "none"):
        raise SystemExit(
            "expected a run on joints that are normalised frame by frame (center or none), got "
            f"{pretrained.stream}, {pretrained.normalization}"
        )
    others = np.array([Path(name).name != file.name for name in store.names])
    if not others.all():
        print(f"{file.name} is in the store: it is compared with all others")
    indices = np.flatnonzero((store.labels >= 0) & others)
    return file, pretrained, dataset_for(pretrained, store, indices)


def follow(
    file: Path, pretrained: Pretrained, known: SkeletonDataset, wanted: list[int] | None = None
) -> list[int]:
    """Take the frames as a camera gives them, and print a label once a second."""
    encoder, skeleton = pretrained.encoder, pretrained.skeleton
    recipe: Normalization = "none" if pretrained.normalization == "none" else "center"
    gallery, owners = make_gallery(encoder, known)
    stream = StreamingEncoder(encoder)
    camera = np.load(file, mmap_mode="r")
    camera = camera if camera.ndim == 4 else camera[:, None]  # of one person
    raw: deque[Any] = deque(maxlen=FPS)  # where the body's centre is lost, an earlier one counts
    recent: deque[Tensor] = deque(maxlen=WINDOW)
    labels = []
    started = time.perf_counter()
    for frame in camera:
        raw.append(frame)
        frames = normalize(np.stack(raw), skeleton, recipe, encoder.persons)
        recent.append(stream.push(torch.from_numpy(frames[-1]).permute(2, 1, 0)))  # (C, V, M)
        query = torch.stack(list(recent)).mean(dim=0, keepdim=True)
        labels.append(int(nearest_labels(gallery, owners, query, k=min(5, len(gallery)))))
        if len(labels) % FPS == 0 or len(labels) == len(camera):
            line = f"{len(labels) / FPS:>5.1f} s  {known.class_names[labels[-1]]:<18}"
            if wanted:
                line += f" (it is: {known.class_names[wanted[len(labels) - 1]]})"
            print(line.rstrip())
    seconds = time.perf_counter() - started
    print(f"{len(labels) / seconds:.0f} frames per second; the camera gives {FPS}")
    return labels


@torch.no_grad()
def make_gallery(encoder: Encoder, dataset: SkeletonDataset) -> tuple[Tensor, Tensor]:
    """Features ``(G, D)`` of overlapping windows at the camera's pace, and labels ``(G,)``."""
    features, owners = [], []
    for clips, lengths, labels, _ in DataLoader(dataset, 64, collate_fn=collate):
        frames = encoder(clips)  # causal: the padding at the end changes nothing before it
        for row, (length, label) in enumerate(zip(lengths.tolist(), labels, strict=True)):
            for start in range(0, max(1, length - WINDOW + 1), WINDOW // 3):
                features.append(frames[row, start : min(length, start + WINDOW)].mean(dim=0))
                owners.append(label)
    return torch.stack(features), torch.stack(owners)


def record(file: Path, indices: list[int]) -> list[int]:
    """Write raw frames (T, M, V, C) of some recordings, end to end; return the label of each."""
    recordings = list(synthetic_sequences(**SCENE))
    film = [recordings[index] for index in indices]
    np.save(file, np.concatenate([recording.frames for recording in film]))
    return [recording.label for recording in film for _ in recording.frames]


if __name__ == "__main__":
    if len(sys.argv) not in (1, 4):
        raise SystemExit(__doc__)
    own(*sys.argv[1:]) if sys.argv[1:] else main()
