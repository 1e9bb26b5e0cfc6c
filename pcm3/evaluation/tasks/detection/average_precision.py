"""Metrics of action detection.

Two average precisions are in use: ``voc_ap``, which the PCM3 papers report by action, and
``pku_ap``, PKU-MMD's own, which they report by video. Overlap is the number of frames that two
intervals have in common, divided by the number of frames in their union. The VOC rule counts
frames as ``last - first + 1``, and PKU-MMD's evaluator as the difference of the ends. Here ends
are exclusive, so that both counts are equal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.dataset import SkeletonDataset
from pcm3.evaluation.classification import sequence_name
from pcm3.evaluation.tasks.detection.annotation import frame_labels, true_intervals
from pcm3.evaluation.tasks.detection.proposals import Proposal

THRESHOLDS = (0.1, 0.3, 0.5)
"""The overlaps that the papers report."""

AveragePrecision = Callable[[Sequence[Proposal], Sequence[Proposal], float], float]


def voc_ap(
    proposals: Sequence[Proposal], truth: Sequence[Proposal], threshold: float = 0.5
) -> float:
    """Compute average precision as in PASCAL VOC, interpolated at all points.

    Proposals are taken from the most to the least confident. Each is matched with the annotated
    interval of its video and class that it overlaps most. It is a true positive if the overlap
    reaches the threshold and no earlier proposal has taken that interval, else a false positive.
    The result is the area below precision over recall, with the highest precision at this or a
    higher recall.

    Args:
        proposals: Proposals of any videos and classes; of equal confidence, earlier ones come
            first.
        truth: The annotated intervals.
        threshold: Smallest overlap of a match, in (0, 1].

    Returns:
        The average precision in [0, 1]; 0 if there are no proposals or no annotated intervals.

    Raises:
        ValueError: If an interval is empty, a confidence is NaN, or the threshold is out of range.

    Source:
        Everingham et al., the PASCAL VOC challenge (2010 on); mAP_a of PCM3 and PCM3++.

    Example:
        >>> truth = [Proposal(0, 0, 10, 50)]
        >>> found = [Proposal(0, 0, 10, 48, 0.9), Proposal(0, 0, 60, 80, 0.2)]
        >>> voc_ap(found, truth)
        1.0
    """
    matched = _matches(proposals, truth, threshold)
    order = np.argsort([-proposal.confidence for proposal in proposals], kind="stable")
    taken = matched[order]
    hits = np.zeros(len(taken), dtype=bool)
    matches = np.flatnonzero(taken >= 0)
    hits[matches[np.unique(taken[matches], return_index=True)[1]]] = True
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[hits].sum() / max(len(truth), 1))


def pku_ap(
    proposals: Sequence[Proposal], truth: Sequence[Proposal], threshold: float = 0.5
) -> float:
    """Compute average precision as PKU-MMD's evaluator does.

    Each proposal is matched with the annotated interval of its video and class that it overlaps
    most, if the overlap reaches the threshold; several proposals may match one interval. An
    interval with a match is found. Precision is the number of found intervals divided by that of
    proposals, recall the same number divided by that of intervals. Proposals are then removed,
    from the least to the most confident. Whenever a proposal with a match is removed, both are
    computed again, and the drop in recall counts with the highest precision so far.

    Precision is not computed again after a false positive is removed. The result is therefore at
    most ``voc_ap``, except for equal confidences, and can be far lower:

    * With one annotated interval, every false positive counts, whatever its confidence (first
      example: 1/3, while ``voc_ap`` is 1). Below two true positives it does not count.
    * A second proposal for an interval is a false positive too, but precision is computed again
      after its removal: with the lowest confidence it does no harm (second example).

    Args:
        proposals: Proposals of any videos and classes; of equal confidence, earlier ones are
            removed first.
        truth: The annotated intervals.
        threshold: Smallest overlap of a match, in (0, 1].

    Returns:
        The average precision in [0, 1]; 0 if there are no proposals or no annotated intervals.

    Raises:
        ValueError: If an interval is empty, a confidence is NaN, or the threshold is out of range.

    Source:
        Liu et al., PKU-MMD, and its evaluation code.

    Example:
        >>> truth = [Proposal(0, 0, 10, 50)]
        >>> right = Proposal(0, 0, 10, 48, 0.9)
        >>> wrong = [Proposal(0, 0, 60, 80, 0.2), Proposal(0, 0, 90, 99, 0.1)]
        >>> round(pku_ap([right, *wrong], truth), 3)
        0.333
        >>> pku_ap([right, Proposal(0, 0, 10, 40, 0.2)], truth)
        1.0
    """
    matched = _matches(proposals, truth, threshold)
    order = np.argsort([proposal.confidence for proposal in proposals], kind="stable")
    return _pku_area(matched[order], len(truth))


def f1_score(
    proposals: Sequence[Proposal], truth: Sequence[Proposal], threshold: float = 0.5
) -> float:
    """Compute the harmonic mean of precision and recall as PKU-MMD counts them, see ``pku_ap``.

    Confidences do not matter. The score is 0 if nothing is found.
    """
    matched = np.unique(_matches(proposals, truth, threshold))
    return 2 * int((matched >= 0).sum()) / max(len(proposals) + len(truth), 1)


def map_by_action(
    proposals: Sequence[Proposal],
    truth: Sequence[Proposal],
    threshold: float = 0.5,
    ap: AveragePrecision = voc_ap,
    labels: Collection[int] | None = None,
) -> float:
    """Average the average precision over classes, with all videos together (mAP_a).

    Args:
        proposals: Proposals of all videos and classes.
        truth: The annotated intervals.
        threshold: Smallest overlap of a match, in (0, 1].
        ap: ``voc_ap`` or ``pku_ap``.
        labels: Classes to average over, by default those in the truth. PKU-MMD's evaluator uses
            all 51; classes without annotated intervals count as 0.

    Raises:
        ValueError: As ``ap``.
    """
    proposed, annotated = _grouped(proposals, "label"), _grouped(truth, "label")
    labels = sorted(annotated) if labels is None else labels
    return _mean([ap(proposed[label], annotated[label], threshold) for label in labels])


def map_by_video(
    proposals: Sequence[Proposal],
    truth: Sequence[Proposal],
    threshold: float = 0.5,
    ap: AveragePrecision = pku_ap,
    videos: Collection[int] | None = None,
) -> float:
    """Average the average precision over videos, with all classes together (mAP_v).

    Args:
        proposals: Proposals of all videos and classes.
        truth: The annotated intervals.
        threshold: Smallest overlap of a match, in (0, 1].
        ap: ``pku_ap`` or ``voc_ap``.
        videos: Videos to average over, by default those with a proposal or an annotated interval.
            PKU-MMD's evaluator uses those that have a file of results.

    Raises:
        ValueError: As ``ap``.
    """
    proposed, annotated = _grouped(proposals, "video"), _grouped(truth, "video")
    videos = sorted(proposed.keys() | annotated.keys()) if videos is None else videos
    return _mean([ap(proposed[video], annotated[video], threshold) for video in videos])


def ap_2d(proposals: Sequence[Proposal], truth: Sequence[Proposal]) -> float:
    """Compute PKU-MMD's 2D-AP: the mean ``pku_ap`` over thresholds 0.05, 0.1, ... 1."""
    _check(proposals, truth)
    owners, overlaps = _best_overlaps(proposals, truth)
    order = np.argsort([proposal.confidence for proposal in proposals], kind="stable")
    owners, overlaps = owners[order], overlaps[order]
    return _mean(
        [
            _pku_area(np.where(overlaps >= step / 20, owners, -1), len(truth))
            for step in range(1, 21)
        ]
    )


def summarize_detection(
    probabilities: Sequence[ArrayLike], proposals: Sequence[Proposal], test: SkeletonDataset
) -> dict[str, Any]:
    """Compute metrics and details of ``evaluate_detection``.

    Args:
        probabilities: Probabilities (T, classes + 1) of each test recording; the last column is
            background.
        proposals: Proposals made from the probabilities.
        test: The recordings.

    Raises:
        ValueError: If the recordings are trimmed, or have other lengths.
    """
    truth = true_intervals(test)
    labels = [frame_labels(test, video) for video in range(len(test))]
    predicted = [np.asarray(rows).argmax(axis=1) for rows in probabilities]
    if [*map(len, labels)] != [*map(len, predicted)]:
        raise ValueError(f"expected probabilities of every frame of the {len(test)} recordings")
    classes = len(test.class_names)
    predicted = [np.where(columns == classes, -1, columns) for columns in predicted]
    metrics: dict[str, Any] = {}
    for threshold in THRESHOLDS:
        metrics[f"map_action_voc_{threshold}"] = map_by_action(proposals, truth, threshold)
        metrics[f"map_action_pku_{threshold}"] = map_by_action(
            proposals, truth, threshold, pku_ap, range(classes)
        )
    videos = range(len(test))
    metrics["map_video_pku_0.5"] = map_by_video(proposals, truth, 0.5, pku_ap, videos)
    metrics["f1_0.5"] = f1_score(proposals, truth, 0.5)
    metrics["ap_2d"] = ap_2d(proposals, truth)
    right = np.concatenate(predicted) == np.concatenate(labels)
    metrics["frame_accuracy"] = float(right.mean())
    annotated, proposed = _grouped(truth, "video"), _grouped(proposals, "video")
    metrics["details"] = {
        "class_names": list(test.class_names),
        "videos": [
            {
                "name": sequence_name(test.store, int(test.indices[video])),
                "frames": len(labels[video]),
                "truth": [list(interval[1:4]) for interval in annotated[video]],
                "proposals": [list(proposal[1:]) for proposal in proposed[video]],
                "predicted": _runs(predicted[video].tolist()),
            }
            for video in videos
        ],
    }
    return metrics


def summarize_published(proposals: Sequence[Proposal], test: SkeletonDataset) -> dict[str, float]:
    """Compute metrics as the code of PCM3 and of the survey of PCM3++ does, to compare with papers.

    That code does not convert the ends of proposals and label files. By action, it counts both ends
    as included, so that an interval of a label file, whose end is the frame after its last one, is
    a frame too long. By video, it uses plain differences. Proposals of the sliding-window rule,
    whose end is their last frame, are a frame too short.

    Args:
        proposals: Proposals of ``published_proposals``.
        test: The recordings.

    Returns:
        For each overlap θ of 0.1, 0.3 and 0.5, ``map_action_published_θ``, the mean ``voc_ap`` over
        the classes in the truth, and ``map_video_published_θ``, the mean ``pku_ap`` over all
        recordings.

    Raises:
        ValueError: If the recordings are trimmed.
    """
    truth = true_intervals(test)
    detected, annotated = (
        [interval._replace(end=interval.end + 1) for interval in intervals]
        for intervals in (proposals, truth)
    )
    by_action = {
        f"map_action_published_{threshold}": map_by_action(detected, annotated, threshold)
        for threshold in THRESHOLDS
    }
    videos = range(len(test))
    return by_action | {
        f"map_video_published_{threshold}": map_by_video(
            proposals, truth, threshold, pku_ap, videos
        )
        for threshold in THRESHOLDS
    }


def _check(proposals: Sequence[Proposal], truth: Sequence[Proposal]) -> None:
    for what, intervals in (("proposals", proposals), ("truth", truth)):
        for interval in intervals:
            if not isinstance(interval, Proposal):
                raise ValueError(f"expected {what} as Proposal(...), got {interval!r:.80}")
            if not interval.start < interval.end:
                raise ValueError(f"expected start < end in the {what}, got {interval}")
            if math.isnan(interval.confidence):
                raise ValueError(f"expected confidences other than NaN, got {interval}")


def _matches(
    proposals: Sequence[Proposal], truth: Sequence[Proposal], threshold: float
) -> NDArray[np.int64]:
    """Return the index of the annotated interval that each proposal matches (P,), -1 for none."""
    if not 0 < threshold <= 1:
        raise ValueError(f"expected threshold in (0, 1], got {threshold}")
    _check(proposals, truth)
    owners, overlaps = _best_overlaps(proposals, truth)
    return np.where(overlaps >= threshold, owners, -1)


def _best_overlaps(
    proposals: Sequence[Proposal], truth: Sequence[Proposal]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the annotated interval of its video and class that each proposal overlaps most."""
    owners = np.full(len(proposals), -1)
    overlaps = np.zeros(len(proposals))
    proposed, annotated = _places(proposals), _places(truth)
    for key in proposed.keys() & annotated.keys():
        start, end = _bounds(proposals, proposed[key])
        true_start, true_end = _bounds(truth, annotated[key])
        common = np.minimum(end[:, None], true_end) - np.maximum(start[:, None], true_start)
        # the hull of intervals that meet is their union; others are below any threshold
        hull = np.maximum(end[:, None], true_end) - np.minimum(start[:, None], true_start)
        overlap = common / hull
        best = overlap.argmax(axis=1)
        owners[proposed[key]] = np.array(annotated[key])[best]
        overlaps[proposed[key]] = overlap[np.arange(len(best)), best]
    return owners, overlaps


def _places(intervals: Sequence[Proposal]) -> dict[tuple[int, int], list[int]]:
    """Return the positions of the intervals of each video and class."""
    places = defaultdict(list)
    for place, interval in enumerate(intervals):
        places[int(interval.video), int(interval.label)].append(place)  # of torch or numpy too
    return places


def _bounds(
    intervals: Sequence[Proposal], places: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    chosen = [intervals[place] for place in places]
    starts, ends = ([getattr(interval, side) for interval in chosen] for side in ("start", "end"))
    return np.array(starts), np.array(ends)


def _pku_area(matched: NDArray[np.int64], intervals: int) -> float:
    """Compute PKU-MMD's area from the matches of proposals, the least confident first."""
    if not len(matched) or not intervals:
        return 0.0
    counts = np.bincount(matched[matched >= 0], minlength=intervals)
    positives = int((counts > 0).sum())
    best, area = positives / len(matched), 0.0
    for removed, interval in enumerate(matched.tolist(), 1):
        if interval < 0:
            continue
        counts[interval] -= 1
        lost = counts[interval] == 0
        positives -= int(lost)
        best = max(best, positives / max(len(matched) - removed, 1))
        area += best * lost
    return float(area) / intervals


def _grouped(intervals: Sequence[Proposal], by: str) -> dict[int, list[Proposal]]:
    groups: dict[int, list[Proposal]] = defaultdict(list)
    for interval in intervals:
        if not isinstance(interval, Proposal):
            raise ValueError(f"expected intervals as Proposal(...), got {interval!r:.80}")
        groups[int(getattr(interval, by))].append(interval)
    return groups


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _runs(labels: Sequence[int]) -> list[list[int]]:
    """Group equal neighbours as [label, start, end]."""
    runs: list[list[int]] = []
    for label, run in groupby(labels):
        start = runs[-1][2] if runs else 0
        runs.append([label, start, start + len(list(run))])
    return runs
