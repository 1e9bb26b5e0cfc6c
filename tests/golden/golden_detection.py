"""Proposals and average precisions of detection beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from golden_rows import Recorded, Row, absolute
from numpy.typing import NDArray

from pcm3.evaluation.detection_metrics import map_by_action, map_by_video, pku_ap, voc_ap
from pcm3.evaluation.detection_proposals import Proposal, sliding_window_proposals


def compare_detection(recorded: Recorded) -> Iterator[Row]:
    """The sliding-window rule, and both average precisions of both generations' proposals."""
    yield from _sliding_window(recorded)
    for generation in ("sliding_window", "activity"):
        yield from _precisions(recorded, generation)


def _sliding_window(recorded: Recorded) -> Iterator[Row]:
    """Recorded ends are last frames, which may lie in the padding."""
    wanted = recorded["sliding_window/proposals"]
    for video, name in enumerate(recorded["names"].tolist()):
        probabilities = recorded[f"probabilities/{name}"]
        found = sliding_window_proposals(probabilities, 0, video=video)
        own = wanted[wanted[:, 0] == video]
        ends = np.minimum(own[:, 3] + 1, len(probabilities))
        intervals = np.stack([own[:, 1] - 1, own[:, 2], ends], axis=1)
        ours = np.array([each[1:] for each in found]).reshape(-1, 4)
        yield absolute("sliding window, intervals", ours[:, :3], intervals, 0, name)
        yield absolute("sliding window, confidences", ours[:, 3], own[:, 4], 6e-6, name)


def _precisions(recorded: Recorded, generation: str) -> Iterator[Row]:
    """By action both ends count as included, by video neither does."""
    proposals, labels = recorded[f"{generation}/proposals"], recorded["labels"].astype(float)
    labels[:, 1] += 1  # columns of the probabilities
    classes, videos = recorded[f"{generation}/classes"], range(len(recorded["names"]))
    yield absolute("classes", sorted({*labels[:, 1]}), classes, 0, generation)
    for row, overlap in enumerate(recorded["overlaps"].tolist()):
        at = f"{generation} at {overlap}"
        found, truth = _intervals(proposals, 1), _intervals(labels, 1)
        by_class = [voc_ap(*_only("label", each, found, truth), overlap) for each in classes]
        mean = map_by_action(found, truth, overlap)
        wanted = recorded[f"{generation}/ap_by_class"][row]
        yield absolute("AP by class", by_class, wanted, 1e-6, at)
        yield absolute("mAP by action", mean, recorded[f"{generation}/map_action"][row], 1e-6, at)
        found, truth = _intervals(proposals, 0), _intervals(labels, 0)
        by_video = [pku_ap(*_only("video", each, found, truth), overlap) for each in videos]
        mean = map_by_video(found, truth, overlap, videos=videos)
        wanted = recorded[f"{generation}/ap_by_video"][row]
        yield absolute("AP by video", by_video, wanted, 1e-6, at)
        yield absolute("mAP by video", mean, recorded[f"{generation}/map_video"][row], 1e-6, at)


def _intervals(rows: NDArray[np.float64], longer: int) -> list[Proposal]:
    return [
        Proposal(int(video), int(column), int(start), int(end) + longer, float(confidence))
        for video, column, start, end, confidence in rows
    ]


def _only(by: str, value: int, *several: list[Proposal]) -> list[list[Proposal]]:
    return [[each for each in one if getattr(each, by) == value] for one in several]
