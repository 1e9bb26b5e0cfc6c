"""Frame labels and segments say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcm3.data import Store, StoreWriter
from pcm3.data.store.intervals import contradiction, find_segments, paint
from pcm3.skeleton import SBU15

LENGTH = 12
SEGMENT = st.tuples(st.integers(0, LENGTH - 1), st.integers(1, LENGTH), st.integers(0, 2)).filter(
    lambda segment: segment[0] < segment[1]
)
SEGMENTS = st.lists(SEGMENT, max_size=6).map(lambda rows: np.reshape(rows, (-1, 3)).astype(int))
LABELS = st.lists(st.integers(-1, 2), min_size=1, max_size=LENGTH).map(np.array)


@given(LABELS)
def test_segments_are_the_runs(labels):
    found = find_segments(labels)
    assert found.dtype == np.int64
    assert paint(len(labels), found).tolist() == labels.tolist()
    for start, end, label in found.tolist():
        assert set(labels[start:end]) == {label}
        assert start == 0 or labels[start - 1] != label
        assert end == len(labels) or labels[end] != label
    assert contradiction(labels, found) is None


@given(SEGMENTS)
def test_the_last_segment_wins(segments):
    slow = [-1] * LENGTH
    for start, end, label in segments.tolist():
        slow[start:end] = [label] * (end - start)
    assert paint(LENGTH, segments).tolist() == slow
    assert contradiction(np.array(slow), segments) is None


@given(SEGMENTS, st.lists(st.integers(-1, 2), min_size=LENGTH, max_size=LENGTH))
def test_contradictions(segments, labels):
    first = None
    for frame, label in enumerate(labels):
        there = {its for start, end, its in segments.tolist() if start <= frame < end}
        if first is None and label not in (there or {-1}):
            first = frame
    found = contradiction(np.array(labels), segments)
    assert (found is None) == (first is None)
    assert found is None or found.startswith(f"frame {first} is labelled {labels[first]}, ")


def write(tmp_path, **annotation):
    with StoreWriter(tmp_path / "s", SBU15, class_names=["a", "b"]) as writer:
        writer.add(np.ones((5, 1, 15, 3)), **annotation)
    return Store(tmp_path / "s")


def test_a_store_without_segments_has_those_of_its_frame_labels(tmp_path):
    store = write(tmp_path, frame_labels=[0, 0, -1, 1, 0])
    assert store.segments.tolist() == [[0, 0, 2, 0], [0, 3, 4, 1], [0, 4, 5, 0]]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            {"frame_labels": [0, 0, -1, 1, 0], "segments": [[0, 2, 0], [3, 5, 1]]},
            r"frame 4.*labelled 0.*class 1",
        ),
        ({"frame_labels": [0] * 5, "segments": []}, r"frame 0.*labelled 0"),
        ({"frame_labels": [-1] * 5, "segments": [[1, 2, 1]]}, r"frame 1.*labelled -1.*class 1"),
        ({"frame_labels": [0.5] * 5}, r"frame_labels.*float64"),
        (
            {"frame_labels": [0] * 5, "segments": [[0, 5.5, 0]]},
            "float64",
        ),
    ],
)
def test_a_store_does_not_contradict_itself(tmp_path, annotation, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, **annotation)
