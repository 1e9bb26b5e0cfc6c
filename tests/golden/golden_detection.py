"""Windows, proposals and average precisions of detection beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from golden_rows import Recorded, Row, absolute
from numpy.typing import NDArray

from pcm3.evaluation.tasks.detection.average_precision import (
    map_by_action,
    map_by_video,
    pku_ap,
    summarize_published,
)
from pcm3.evaluation.tasks.detection.classifier import window_frames
from pcm3.evaluation.tasks.detection.detection import (
    DetectionSettings,
    find_proposals,
    published_proposals,
)
from pcm3.evaluation.tasks.detection.proposals import Proposal

RECIPES = {"sliding_window": DetectionSettings("pcm3"), "activity": DetectionSettings("survey")}
NO_LABEL = 255


def compare_detection(recorded: Recorded) -> Iterator[Row]:
    """The windows, and of both generations the proposals and both average precisions."""
    for name in recorded:
        if name.startswith("windows/"):
            yield _test_windows(recorded[name], name)
        elif name.startswith("train/"):
            yield from _training_windows(recorded[name], name)
    for generation, recipe in RECIPES.items():
        yield from _proposals(recorded, generation, recipe)
        yield from _precisions(recorded, generation, recipe)


def _test_windows(wanted: NDArray[Any], name: str) -> Row:
    _, length, kind = name.split("/")
    frames, _ = _windows(int(length), "4" if kind == "strided" else "")
    return absolute("windows in tests", frames, wanted, 0, name)


def _training_windows(wanted: NDArray[Any], name: str) -> Iterator[Row]:
    """Where the published loop has a window and a label."""
    _, length, kind = name.split("/")
    frames, middles = _windows(
        int(length), kind.removeprefix("consecutive").removeprefix("strided")
    )
    unlabelled = wanted[:, 4] == NO_LABEL
    early = int((middles[unlabelled] < int(length)).sum())
    yield absolute("windows with a label, here alone", early, 0, 0, name)
    count = torch.full_like(middles, frames.shape[1])
    rows = torch.stack([torch.arange(int(length)), frames[:, 0], frames[:, -1], count, middles], 1)
    whole = ~unlabelled & (wanted[:, 3] > 0)
    yield absolute("windows in training", rows[torch.as_tensor(whole)], wanted[whole], 0, name)


def _windows(length: int, stride: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Around every frame of a recording; without a stride, frames in a row."""
    centres = torch.arange(length)
    kind: Any = "strided" if stride else "consecutive"
    strides = torch.full_like(centres, int(stride or 1))
    return window_frames(centres, strides, length, kind, "inside")


def _proposals(recorded: Recorded, generation: str, recipe: DetectionSettings) -> Iterator[Row]:
    """As published, and with ends that are exclusive and within the recording."""
    rows, wanted = _rows(recorded), recorded[f"{generation}/proposals"]
    found = published_proposals(rows, recipe)
    intervals = [(each.video, each.label + 1, each.start, each.end) for each in found]
    confidences = [each.confidence for each in found]
    yield absolute("proposals", intervals, wanted[:, :4], 0, generation)
    yield absolute("confidences", confidences, wanted[:, 4], 6e-6, generation)
    if generation == "sliding_window":
        yield absolute("five decimals", confidences, np.round(confidences, 5), 0, generation)
    clean = [(each.video, each.start, each.end) for each in find_proposals(rows, recipe)]
    lengths = np.array([len(each) for each in rows])[wanted[:, 0].astype(int)]
    ends = np.minimum(wanted[:, 3] + (generation == "sliding_window"), lengths)
    expected = np.stack([wanted[:, 0], wanted[:, 2], ends], axis=1)
    yield absolute("proposals, ends exclusive", clean, expected, 0, generation)


def _precisions(recorded: Recorded, generation: str, recipe: DetectionSettings) -> Iterator[Row]:
    """By action both ends count as included, by video neither does."""
    rows, truth = _rows(recorded), _truth(recorded)
    found, classes = published_proposals(rows, recipe), recorded[f"{generation}/classes"] - 1
    yield absolute("classes", sorted({each.label for each in truth}), classes, 0, generation)
    with patch("pcm3.evaluation.tasks.detection.average_precision.true_intervals", lambda _: truth):
        metrics = summarize_published(found, rows)  # type: ignore[arg-type]
    later = [[each._replace(end=each.end + 1) for each in some] for some in (found, truth)]
    for row, overlap in enumerate(recorded["overlaps"].tolist()):
        at = f"{generation} at {overlap}"
        by_class = [map_by_action(*later, overlap, labels=[each]) for each in classes]
        by_video = [
            map_by_video(found, truth, overlap, pku_ap, [each]) for each in range(len(rows))
        ]
        ours = {
            "ap_by_class": by_class,
            "map_action": metrics[f"map_action_published_{overlap}"],
            "ap_by_video": by_video,
            "map_video": metrics[f"map_video_published_{overlap}"],
        }
        for name, value in ours.items():
            yield absolute(name, value, recorded[f"{generation}/{name}"][row], 1e-6, at)


def _rows(recorded: Recorded) -> list[NDArray[np.float32]]:
    """Probabilities with the background last, where it is first in the file."""
    return [np.roll(recorded[f"probabilities/{name}"], -1, axis=1) for name in recorded["names"]]


def _truth(recorded: Recorded) -> list[Proposal]:
    """Of these columns: a class of the label files is that of its number, from 0."""
    return [
        Proposal(v, label, start, end) for v, label, start, end, _ in recorded["labels"].tolist()
    ]
