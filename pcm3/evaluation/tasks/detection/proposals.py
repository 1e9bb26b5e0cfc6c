"""Proposals of action detection from the probabilities of frames, and their PKU-MMD files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.checks import check_positive
from pcm3.io.files import replacing


class Proposal(NamedTuple):
    """An interval of a recording with one action, detected or annotated.

    Attributes:
        video: Number of the recording.
        label: Class of the action, from 0; background is not a class here.
        start: First frame, from 0.
        end: Frame after the last one.
        confidence: Confidence on any scale; not used in annotated intervals.
    """

    video: int
    label: int
    start: int
    end: int
    confidence: float = 1.0


def sliding_window_proposals(
    probabilities: ArrayLike,
    background: int,
    *,
    video: int = 0,
    window: int = 15,
    step: int = 2,
    ratio: float = 0.1,
) -> list[Proposal]:
    """Follow the likeliest class of the frames, window by window (PCM3).

    A proposal of class c may start at any frame whose likeliest class is c, not background. It
    starts there if c is the likeliest class in more than ``ratio`` of the next ``window`` frames.
    It grows by a window as long as this holds for the window after its last frame. Then it loses
    ``step`` frames at the end as long as c is the likeliest in less than ``ratio`` of these. The
    confidence is the mean probability of c from the first to the last frame. The search continues
    at the last frame, so that two consecutive proposals may share it.

    Background follows the recording, as in the reference, which pads to 9000 frames. If a proposal
    ends there, that frame counts in its confidence, and the proposal is cut.

    Args:
        probabilities: Probabilities (T, classes + 1) whose rows sum to 1.
        background: The column of the background. The other columns are the classes, in order.
        video: Number of the recording, for the proposals.
        window: Length L of a window in frames.
        step: Step S in frames.
        ratio: Share r in [0, 1).

    Returns:
        Proposals in the order of time.

    Raises:
        ValueError: If the probabilities are of another shape, not finite or not within [0, 1], or
            an argument is out of range.

    Source:
        PCM3 Sec. 4.3, "detection"; numbers and rule from the authors' code.
    """
    check_positive("window", window)
    check_positive("step", step)
    if not 0 <= ratio < 1:
        raise ValueError(f"expected ratio in [0, 1), got {ratio}")
    rows = pad_with_background(probabilities, background, 2 * window + step)
    frames, background = len(rows) - 2 * window - step, background % rows.shape[1]
    likeliest = rows.argmax(axis=1)
    # counts[c, t]: frames before t whose likeliest class is c
    counts = (likeliest == np.arange(rows.shape[1])[:, None]).cumsum(axis=1)
    counts = np.pad(counts, ((0, 0), (1, 0)))

    def share(column: int, first: int, last: int) -> float:
        """Return the share of a class in the frames after ``first`` up to ``last``."""
        hits = counts[column, last + 1] - counts[column, max(first + 1, 0)]
        return float(hits) / (last - first)

    proposals = []
    start = 0
    while start < frames:
        column = int(likeliest[start])
        last = start
        if column != background:
            while share(column, last, last + window) > ratio:
                last += window
            while last > start and share(column, last - step, last) < ratio:
                last -= step
        if last <= start:
            start += 1
            continue
        confidence = float(rows[start : last + 1, column].mean())
        end = min(last + 1, frames)
        proposals.append(Proposal(video, column - (column > background), start, end, confidence))
        start = last
    return proposals


def activity_proposals(
    probabilities: ArrayLike,
    background: int,
    *,
    video: int = 0,
    threshold: float = 0.4,
    min_length: int = 1,
) -> list[Proposal]:
    """Propose every run of frames that are probably not background as an action (PCM3++).

    Each longest run is one proposal. Its class has the highest mean probability, background left
    out, and this mean is the confidence. Two actions without background between them become one
    proposal. The reference first smooths the probabilities, see ``smooth``.

    Args:
        probabilities: Probabilities (T, classes + 1) whose rows sum to 1.
        background: The column of the background. The other columns are the classes, in order.
        video: Number of the recording, for the proposals.
        threshold: Smallest ``1 - p(background)`` of a frame in a run, in [0, 1].
        min_length: Shorter runs are left out; the reference leaves out none.

    Returns:
        Proposals in the order of time.

    Raises:
        ValueError: If the probabilities are of another shape, not finite or not within [0, 1], or
            an argument is out of range.

    Source:
        The survey of PCM3++; numbers and rule from the authors' code.
    """
    rows, background = _check_probabilities(probabilities, background)
    check_positive("min_length", min_length)
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected threshold in [0, 1], got {threshold}")
    active = np.pad(1 - rows[:, background] >= threshold, 1)
    edges = np.flatnonzero(active[1:] != active[:-1])
    classes = np.delete(rows, background, axis=1)
    proposals = []
    for start, end in edges.reshape(-1, 2).tolist():
        if end - start >= min_length:
            mean = classes[start:end].mean(axis=0)
            label = int(mean.argmax())
            proposals.append(Proposal(video, label, start, end, float(mean[label])))
    return proposals


def pad_with_background(
    probabilities: ArrayLike, background: int, frames: int
) -> NDArray[np.float64]:
    """Append frames of background to the probabilities of a recording.

    Args:
        probabilities: Probabilities (T, columns) whose rows sum to 1.
        background: The column of the background.
        frames: Number of frames that follow.

    Returns:
        Probabilities (T + frames, columns).

    Raises:
        ValueError: If the probabilities are of another shape, not finite or not within [0, 1], or
            there is no such column.
    """
    rows, background = _check_probabilities(probabilities, background)
    following = np.zeros((frames, rows.shape[1]))
    following[:, background] = 1
    return np.concatenate([rows, following])


def smooth(probabilities: ArrayLike, window: int = 20) -> NDArray[np.float64]:
    """Smooth probabilities by a moving mean: of frame i, over the frames [i - w/2, i + w/2).

    As in the reference of PCM3++, the last frame is in none of these means; a recording of one
    frame stays unchanged.

    Args:
        probabilities: Probabilities (T, columns).
        window: Length w of the window in frames; 0 and 1 change nothing.

    Raises:
        ValueError: If the probabilities are of another shape or the window is negative.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2 or window < 0:
        raise ValueError(f"expected (T, columns) and a window >= 0, got {rows.shape} and {window}")
    half = window // 2
    if half == 0:
        return rows
    frames = np.arange(len(rows))
    first = np.maximum(frames - half, 0)
    end = np.maximum(np.minimum(frames + half, len(rows) - 1), first + 1)
    sums = np.pad(rows.cumsum(axis=0), ((1, 0), (0, 0)))
    return np.asarray((sums[end] - sums[first]) / (end - first)[:, None])


def write_pku_results(
    folder: str | Path, proposals: Sequence[Proposal], names: Mapping[int, str]
) -> None:
    """Write proposals as PKU-MMD's evaluator reads them: a text file for each video.

    ``NAME.txt`` has a line ``label,start,end,confidence`` for each proposal. Labels count from 1,
    frames from 0, and the end is the frame after the last one, as in the data set's label files. A
    video without proposals gets an empty file, because the evaluator leaves videos without a file
    out of its mean.

    Args:
        folder: Folder of the files, created if needed; files of the same names are replaced.
        proposals: Proposals of videos that have a name.
        names: Name of each video by its number, ``{0: "0002-L", ...}``.

    Raises:
        ValueError: If a video has no name, a name cannot be that of a file, or two are equal.
    """
    lines: dict[int, list[str]] = {video: [] for video in names}
    for video, label, start, end, confidence in proposals:
        if video not in lines:
            raise ValueError(f"expected a name for every video, got none for {video}")
        lines[video].append(f"{label + 1},{start},{end},{float(confidence)!r}\n")
    if len(set(names.values())) < len(names):
        raise ValueError("expected a different name for each video, got a name twice")
    for name in names.values():
        if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
            raise ValueError(f"expected the name of a video without folders, got {name!r}")
    for video, name in names.items():
        with replacing(Path(folder) / f"{name}.txt") as temporary:
            temporary.write_text("".join(lines[video]))


def _check_probabilities(
    probabilities: ArrayLike, background: int
) -> tuple[NDArray[np.float64], int]:
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(f"expected probabilities (T, classes + 1), got {rows.shape}")
    if not -rows.shape[1] <= background < rows.shape[1]:
        raise ValueError(f"expected background among {rows.shape[1]} columns, got {background}")
    wrong = ~((rows >= -1e-6) & (rows <= 1 + 1e-6))
    if wrong.any():
        frame, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"expected probabilities in [0, 1], got {rows[frame, column]} in frame {frame}, "
            f"column {column}"
        )
    return rows, background % rows.shape[1]
