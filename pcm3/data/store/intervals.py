"""Conversion between frame labels and segments of untrimmed recordings."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def find_segments(frame_labels: Integers) -> Integers:
    """Find the runs of equal labels (T,) except -1, as (S, 3) of start, end (exclusive), class.

    Example:
        >>> find_segments(np.array([-1, 2, 2, 0, -1, 2])).tolist()
        [[1, 3, 2], [3, 4, 0], [5, 6, 2]]
    """
    starts = np.flatnonzero(np.diff(frame_labels, prepend=-2))  # the first frame starts a run
    ends = np.append(starts[1:], len(frame_labels))
    labels = frame_labels[starts]
    return np.stack([starts, ends, labels], axis=1)[labels >= 0].astype(np.int64)


def paint(length: int, segments: Integers) -> Integers:
    """Return the class of every frame (T,), -1 outside segments; where they overlap, the last wins.

    Time is linear in frames and segments, whatever their overlap.
    """
    frame_labels = np.full(length, -1, dtype=np.int64)
    rows = segments.tolist()
    by_start = sorted(range(len(rows)), key=lambda row: rows[row][0], reverse=True)
    bounds = np.unique(segments[:, :2]).tolist()
    running: list[tuple[int, int, int]] = []  # a heap, the last row first
    for start, end in itertools.pairwise(bounds):
        while by_start and rows[by_start[-1]][0] == start:
            row = by_start.pop()
            heapq.heappush(running, (-row, *rows[row][1:]))
        while running and running[0][1] <= start:
            heapq.heappop(running)
        if running:
            frame_labels[start:end] = running[0][2]
    return frame_labels


def contradiction(frame_labels: Integers, segments: Integers) -> str | None:
    """Describe the first frame whose label disagrees with the segments, None if all agree.

    The label of a frame must be the class of a segment that holds it, or -1 if none does.

    Args:
        frame_labels: (T,), -1 is background.
        segments: (S, 3) within the T frames.
    """
    frames = np.arange(len(frame_labels))
    inside = _holds(frames, segments[:, 0], segments[:, 1])
    size = len(frame_labels) + 1  # shifts the classes apart, so that they do not overlap
    starts, ends = segments[:, :2].T + size * segments[:, 2]
    explained = _holds(frames + size * frame_labels, starts, ends)
    wrong = np.where(inside, ~explained, frame_labels != -1)
    if not wrong.any():
        return None
    frame = int(np.argmax(wrong))
    classes = sorted({label for start, end, label in segments.tolist() if start <= frame < end})
    expected = f"class {' or '.join(map(str, classes))}" if classes else "no class"
    return f"frame {frame} is labelled {int(frame_labels[frame])}, but segments give it {expected}"


def _holds(places: Integers, starts: Integers, ends: Integers) -> NDArray[np.bool_]:
    """Return whether each place lies in any of the intervals."""
    begun = np.searchsorted(np.sort(starts), places, side="right")
    over = np.searchsorted(np.sort(ends), places, side="right")
    return np.asarray(begun > over)
