"""Recordings for the page on labelling twenty of them: puppets before MediaPipe's camera."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from pcm3.data.synthetic import synthetic_sequences
from pcm3.skeleton import BLAZEPOSE33

ACTIONS = 5
LABELLED = 4  # of each action


def record(folder: Path, sequences: int = 100) -> dict[str, str]:
    """Write files as MediaPipe's landmarks are usually saved, and a table with twenty labels.

    Returns:
        What is done in each recording, also in those without a label.
    """
    source = _film(sequences, frames=(45, 75))
    folder.mkdir(parents=True)
    truth, rows = {}, []
    for number, recording in enumerate(source):
        name = f"recording_{number:03}.json"
        _write(folder / name, recording.frames[:, 0])
        truth[name] = source.class_names[recording.label]
        labelled = number < ACTIONS * LABELLED
        rows.append({"file": name, "label": truth[name] if labelled else ""})
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["file", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return truth


def record_session(file: Path) -> list[tuple[str, float, float]]:
    """Write one long recording of an action after the other.

    Returns:
        The actions, with the seconds at which they start and end.
    """
    source = _film(4, frames=(110, 140), seed=1)
    scenes = list(source)
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, np.concatenate([scene.frames[:, 0] for scene in scenes]))
    ends = np.cumsum([len(scene.frames) for scene in scenes]) / 30
    starts = [0.0, *ends[:-1]]
    names = [source.class_names[scene.label] for scene in scenes]
    return list(zip(names, map(float, starts), map(float, ends), strict=True))


def _film(sequences: int, **options: Any) -> Any:
    options |= {"classes": ACTIONS, "subjects": 5, "views": 1, "missing": 0}
    return synthetic_sequences(sequences=sequences, skeleton=BLAZEPOSE33, **options)


def _write(file: Path, points: np.ndarray) -> None:
    frames = [
        {"pose_world_landmarks": [dict(zip("xyz", joint, strict=True)) for joint in frame]}
        for frame in (points * [1, -1, -1]).round(4).tolist()  # y points down, as MediaPipe's
    ]
    file.write_text(json.dumps({"fps": 30, "frames": frames}), encoding="utf-8")
