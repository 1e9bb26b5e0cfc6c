"""Predictions for recordings: a label for each recording and person, or for intervals of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pcm3.checks import check_at_least
from pcm3.evaluation.tasks.detection.proposals import (
    activity_proposals,
    sliding_window_proposals,
)
from pcm3.inference.classifier import UNKNOWN, Classifier
from pcm3.inference.clips import Clips, window_starts
from pcm3.inference.labels import BACKGROUND, is_labelled
from pcm3.inference.recordings import Recordings
from pcm3.inference.tables import SECONDS, in_seconds, who, write_table

Rule: TypeAlias = Literal["sliding_window", "activity"]
"""How the probabilities of frames become intervals."""

_PER_WINDOW = 8  # windows begin in the length of one


@dataclass(frozen=True)
class Prediction:
    """The label of a recording, or of an interval of it.

    Attributes:
        recording: Name of the recording in its store.
        index: Number of the recording in its store.
        person: Number of the person, from 0; -1 if several are classified together.
        start: First frame.
        end: Frame after the last one.
        label: Name of the class, or ``"unknown"``; of untrimmed recordings without an action
            ``"background"``.
        probability: Of the likeliest class; of an interval the mean over its frames.
        ranked: The likeliest classes and their probabilities, the likeliest first.
        labelled: Whether the recording has a label in its store.
    """

    recording: str
    index: int
    person: int
    start: int
    end: int
    label: str
    probability: float
    ranked: tuple[tuple[str, float], ...]
    labelled: bool = False

    def to_json(self, fps: float | None) -> dict[str, Any]:
        """As JSON, with seconds where the frame rate is known."""
        content: dict[str, Any] = {
            "recording": self.recording,
            "index": self.index,
            "person": who(self.person),
            "start": self.start,
            "end": self.end,
        }
        content |= in_seconds(self.start, self.end, fps)
        ranked = [{"label": name, "probability": value} for name, value in self.ranked]
        content |= {"label": self.label, "probability": self.probability, "ranked": ranked}
        return content | {"labelled": self.labelled}


def predict(
    classifier: Classifier,
    recordings: Recordings,
    indices: Sequence[int] | None = None,
    *,
    top: int = 1,
    threshold: float | None = None,
    windows: bool | None = None,
    rule: Rule = "sliding_window",
) -> list[Prediction]:
    """Predict the labels of recordings.

    A recording has one label for each person, or one for all persons if the classifier takes
    several together. A label with a probability below the threshold is ``"unknown"``.

    A long recording has a label for each of its intervals instead. Windows as long as the
    training recordings are in the median are classified around every eighth of a window, and each
    frame has the probabilities of the nearest one. Frames whose likeliest class is below the
    threshold count as background, and a rule of action detection finds the intervals. A recording
    without any is one interval, unknown or background. Long are recordings of more than twice the
    frames of the longest training recording, and all of them for a classifier of untrimmed ones.

    Args:
        classifier: The classifier.
        recordings: As ``open_recordings`` opens them.
        indices: Numbers of the recordings; all by default.
        top: Number of classes in ``Prediction.ranked``, at most that of the classifier.
        threshold: By default that of the classifier; 0 for none.
        windows: Whether recordings have intervals; by default long ones.
        rule: ``sliding_window_proposals`` or ``activity_proposals``.

    Returns:
        In the order of the recordings, persons and intervals.

    Raises:
        ValueError: If the recordings do not fit the classifier, ``top`` is below 1, ``threshold``
            outside [0, 1], or ``rule`` is ``"activity"`` for a classifier of trimmed recordings.
    """
    check_at_least("top", top, 1)
    if windows is False and classifier.background:
        raise ValueError(
            "expected recordings in windows, as the classifier was fitted on untrimmed ones, got "
            "whole recordings"
        )
    if rule == "activity" and not classifier.background:
        raise ValueError(
            "expected rule sliding_window, as the classifier was fitted on trimmed recordings, "
            "which have no background that separates activity; got activity"
        )
    threshold = classifier.threshold if threshold is None else threshold
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected threshold in [0, 1], got {threshold}")
    store = recordings.clips
    rows = np.arange(len(store))
    if indices is not None:
        rows = np.flatnonzero(np.isin(recordings.indices, indices))
    long = store.lengths[rows] > 2 * classifier.longest
    if windows is not None or classifier.background:
        long = np.full(len(rows), windows is not False)
    found: dict[int, list[Prediction]] = {}
    whole = rows[~long]
    if len(whole):
        clips = classifier.clips(store, whole.tolist())
        for row, values in zip(whole.tolist(), classifier.predict_proba(clips), strict=True):
            length = int(store.lengths[row])
            label = classifier.name(values, threshold)
            found[row] = [_prediction(classifier, recordings, row, (0, length), label, values, top)]
    for row in rows[long].tolist():
        frames = frame_probabilities(classifier, recordings, row)
        found[row] = [
            _prediction(classifier, recordings, row, span, label, frames[slice(*span)].mean(0), top)
            for span, label in _intervals(classifier, frames, threshold, rule)
        ]
    labelled = is_labelled(recordings.store, classifier.label)
    return [
        replace(each, labelled=bool(labelled[each.index]))
        for row in rows.tolist()
        for each in found[row]
    ]


def frame_probabilities(
    classifier: Classifier, recordings: Recordings, row: int
) -> NDArray[np.float32]:
    """Probabilities of the classes in every frame (T, classes), from windows around it.

    Args:
        classifier: The classifier.
        recordings: The recordings.
        row: A sequence of ``recordings.clips``.
    """
    store, window = recordings.clips, classifier.window
    length = int(store.lengths[row])
    step = max(1, window // _PER_WINDOW)
    middles, starts = window_starts(length, window, step)
    clips = Clips(
        classifier.pretrained,
        store,
        np.full(len(starts), row),
        offsets=starts,
        lengths=np.minimum(window, length - starts),
    )
    nearest = (np.arange(length) + step // 2) // step
    rows: NDArray[np.float32] = classifier.predict_proba(clips)
    return rows[np.minimum(nearest, len(middles) - 1)]


def _intervals(
    classifier: Classifier, frames: NDArray[np.float32], threshold: float, rule: Rule
) -> list[tuple[tuple[int, int], str]]:
    """Intervals with their labels; if there is none, all frames."""
    names = classifier.class_names[:-1] if classifier.background else classifier.class_names
    rows = np.zeros((len(frames), len(names) + 1))
    rows[:, : frames.shape[1]] = frames
    if not classifier.background:
        rows[:, -1] = np.maximum(0, 1 - frames.sum(axis=1))
    unsure = rows[:, :-1].max(axis=1) < threshold
    rows[unsure] = np.eye(len(names) + 1)[-1]
    propose = sliding_window_proposals if rule == "sliding_window" else activity_proposals
    proposals = propose(rows, -1)
    if not proposals:
        return [((0, len(frames)), BACKGROUND if classifier.background else UNKNOWN)]
    intervals, last = [], 0
    for each in proposals:
        start, last = max(each.start, last), each.end  # two in a row may share a frame
        if start < each.end:
            intervals.append(((start, each.end), names[each.label]))
    return intervals


def _prediction(
    classifier: Classifier,
    recordings: Recordings,
    row: int,
    span: tuple[int, int],
    label: str,
    probabilities: NDArray[np.float32],
    top: int,
) -> Prediction:
    names, index = classifier.class_names, int(recordings.indices[row])
    order = np.argsort(-probabilities, kind="stable")[:top]
    ranked = tuple((names[at], float(probabilities[at])) for at in order.tolist())
    place = names.index(label) if label in names else int(order[0])
    return Prediction(
        recordings.store.names[index],
        index,
        int(recordings.persons[row]),
        *span,
        label,
        float(probabilities[place]),
        ranked,
    )


def write_csv(
    file: str | Path, predictions: Sequence[Prediction], fps: float | None = None
) -> None:
    """Write predictions as a table, whole or not at all.

    The columns are ``recording, person, start, end, label, probability``, with several ranked
    classes ``label_1, probability_1, label_2, ...``, ``labelled``, which is ``yes`` or ``no``, and,
    if the frame rate is known, ``start_seconds, end_seconds``.

    Args:
        file: The file.
        predictions: The predictions.
        fps: Frames per second of the recordings; None if unknown.
    """
    count = max((len(each.ranked) for each in predictions), default=1)
    ranks = [f"{name}_{at}" for at in range(1, count + 1) for name in ("label", "probability")]
    head = ["recording", "person", "start", "end", "label", "probability"]
    rows = []
    for each in predictions:
        row = [each.recording, who(each.person), each.start, each.end, each.label]
        row.append(f"{each.probability:.6f}")
        if count > 1:
            row += [part for name, p in each.ranked for part in (name, f"{p:.6f}")]
        row.append("yes" if each.labelled else "no")
        row += [f"{second:.3f}" for second in in_seconds(each.start, each.end, fps).values()]
        rows.append(row)
    seconds = SECONDS if fps is not None else ()
    write_table(file, [*head, *ranks * (count > 1), "labelled", *seconds], rows)
