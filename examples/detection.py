"""Find actions in recordings that nobody cut: which one, from when to when, how sure.

Untrimmed recordings are put together from synthetic clips; everything but three actions is
background. The encoder is frozen. Prints what was found beside what is there, and the mAP.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcm3 import NTU25
from pcm3.data import SkeletonDataset, Store, StoreWriter, split
from pcm3.data.normalize import normalize
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.tasks.detection.detection import DetectionSettings, evaluate_detection
from pcm3.hub import Pretrained

WANTED = ("raise both arms", "kick left", "squat")


def main(epochs: int = 30) -> dict[str, Any]:
    """Detect in recordings of people that the classifier has not seen; return the figures."""
    torch.manual_seed(0)
    encoder = GRUEncoder(NTU25, persons=1, hidden=64, pool="mean").eval()  # or a trained one
    with tempfile.TemporaryDirectory() as folder:
        store = film(Path(folder) / "store")
        training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
        pretrained = Pretrained(encoder, NTU25, "joint", frames=32)
        result = evaluate_detection(
            pretrained, training, test, DetectionSettings(epochs=epochs, every=2, smoothing=10)
        )
    for video in result["details"]["videos"][:3]:
        show(video, store.meta["fps"])
    print(f"mAP at an overlap of a half: {result['map_action_voc_0.5']:.1%} ")
    return result


def film(out: Path) -> Store:
    """Write a store of untrimmed recordings: all clips of a person end to end."""
    source = synthetic_sequences(sequences=320, classes=6, subjects=32, views=1)
    people = defaultdict(list)
    for clip in source:
        people[clip.columns["subjects"]].append(clip)
    with StoreWriter(
        out, NTU25, class_names=WANTED, fps=source.fps, normalization="center"
    ) as writer:
        for person, clips in sorted(people.items()):
            # a clip begins and ends at rest, which is no part of its action
            parts = [clip.frames[len(clip.frames) // 5 : -len(clip.frames) // 5] for clip in clips]
            names = [source.class_names[clip.label] for clip in clips]
            wanted = [WANTED.index(name) if name in WANTED else -1 for name in names]
            ends = np.cumsum([len(part) for part in parts]).tolist()
            spans = zip([0, *ends], ends, wanted, strict=False)
            writer.add(
                normalize(np.concatenate(parts), NTU25, "center"),
                name=f"person {person}",
                frame_labels=np.repeat(wanted, [len(part) for part in parts]),
                segments=[span for span in spans if span[2] >= 0],
                subjects=person,
            )
    return Store(out)


def show(video: dict[str, Any], fps: float) -> None:
    """Print the intervals of a recording, each with the best proposal for it."""
    print(f"{video['name']}, {video['frames'] / fps:.0f} s")
    for label, start, end in video["truth"]:
        if label < 0:
            continue
        same = [each for each in video["proposals"] if each[0] == label]
        meeting = [each for each in same if each[1] < end and each[2] > start]
        print(f"  {WANTED[label]:<15} {start / fps:4.1f} to {end / fps:4.1f} s  ", end="")
        if not meeting:
            print("missed")
            continue
        _, first, behind, sure = max(
            meeting, key=lambda each: min(each[2], end) - max(each[1], start)
        )
        print(f"found {first / fps:4.1f} to {behind / fps:4.1f} s, confidence {sure:.2f}")


if __name__ == "__main__":
    main()
