"""Rules that make intervals of frames against literal transcriptions, and PKU-MMD's files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcm3.evaluation.tasks.detection.proposals import (
    Proposal,
    activity_proposals,
    sliding_window_proposals,
    smooth,
    write_pku_results,
)

Rows = NDArray[np.float64]


def recording(seed: int, background: int) -> Rows:
    """Probabilities of 4 classes and background in runs of any length, with errors in them."""
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(1, 160))
    labels: list[int] = []
    while len(labels) < frames:
        column = background if rng.random() < 0.4 else int(rng.integers(5))
        labels += [column] * int(rng.integers(1, 50))
    columns = np.array(labels[:frames])
    noisy = rng.random(frames) < rng.uniform(0, 0.9)
    columns[noisy] = rng.integers(0, 5, noisy.sum())
    rows = rng.dirichlet(np.ones(5), frames)
    rows[np.arange(frames), columns] += rng.uniform(0.2, 2)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def literal_sliding_window(
    rows: Rows, background: int, length: int, shift: int, ratio: float
) -> list[tuple[int, int, int, float]]:
    """Column, start, last frame and confidence."""
    total = len(rows)
    label = rows.argmax(axis=1)
    found = []

    def density(a: int, b: int, c: int) -> float:
        return sum(label[t] == c for t in range(max(a + 1, 0), b + 1)) / (b - a)

    i = 0
    while i < total - length:
        c = int(label[i])
        if c == background:
            i += 1
            continue
        if density(i, i + length, c) <= ratio or i + 2 * length >= total:
            i += 1
            continue
        e = i + length
        while density(e, e + length, c) > ratio and e + 2 * length < total:
            e += length
        while density(e - shift, e, c) < ratio and e > i:
            e -= shift
        if e > i:
            found.append((c, i, e, float(np.mean([rows[t, c] for t in range(i, e + 1)]))))
            i = e
        else:
            i += 1
    return found


def padded(rows: Rows, background: int, total: int) -> Rows:
    behind = np.zeros((total - len(rows), rows.shape[1]))
    behind[:, background] = 1
    return np.concatenate([rows, behind])


@pytest.mark.parametrize("background", [0, 2, 4])
@pytest.mark.parametrize(("length", "shift", "ratio"), [(15, 2, 0.1), (10, 5, 0.2), (4, 12, 0.25)])
def test_sliding_window_is_the_rule_on_a_recording_in_background(
    background: int, length: int, shift: int, ratio: float
) -> None:
    count = 0
    for seed in range(70):
        rows = recording(seed, background)
        proposals = sliding_window_proposals(
            rows, background, video=seed, window=length, step=shift, ratio=ratio
        )
        total = 9000 if seed == 3 else len(rows) + 100
        literal = literal_sliding_window(
            padded(rows, background, total), background, length, shift, ratio
        )
        assert [p[:4] for p in proposals] == [
            (seed, c - (c > background), i, min(e + 1, len(rows))) for c, i, e, _ in literal
        ]
        assert [p.confidence for p in proposals] == pytest.approx([each[3] for each in literal])
        count += len(proposals)
    assert count > 70


def test_sliding_window_by_hand() -> None:
    """From frame 10 by two windows of 15 to frame 40, behind which there are no more."""
    columns = np.full(100, 1)
    columns[10:40] = 0
    rows = np.eye(2)[columns]
    (found,) = sliding_window_proposals(rows, 1)
    assert found[:4] == (0, 0, 10, 41)  # last frame 40: frames 39 and 40 hold one of the class
    assert found.confidence == pytest.approx(30 / 31)
    (found,) = sliding_window_proposals(rows[:40], -1)
    assert found[:4] == (0, 0, 10, 40)
    assert found.confidence == pytest.approx(30 / 31)


def test_single_frames_and_background_make_no_sliding_window() -> None:
    rows = np.eye(3)[[2] * 40 + [0] + [2] * 40 + [1]]
    assert sliding_window_proposals(rows, 2) == []
    assert sliding_window_proposals(rows[:1], 2) == []
    assert sliding_window_proposals(np.zeros((0, 3)), 2) == []


@pytest.mark.parametrize("background", [0, 3, -1])
@pytest.mark.parametrize("min_length", [1, 15])
def test_activity_runs_frame_by_frame(background: int, min_length: int) -> None:
    count = 0
    for seed in range(70):
        rows = smooth(recording(seed, background), 8)
        expected = []
        run: list[int] = []
        for t in range(len(rows) + 1):
            if t < len(rows) and 1 - rows[t, background] >= 0.4:
                run.append(t)
                continue
            if len(run) >= min_length:
                means = [
                    np.mean([rows[r, c] for r in run])
                    for c in range(5)
                    if c != background % rows.shape[1]
                ]
                best = int(np.argmax(means))
                expected.append((seed, best, run[0], run[-1] + 1, means[best]))
            run = []
        proposals = activity_proposals(rows, background, video=seed, min_length=min_length)
        assert [p[:4] for p in proposals] == [each[:4] for each in expected]
        assert [p.confidence for p in proposals] == pytest.approx([each[4] for each in expected])
        count += len(proposals)
    assert count > 70


def test_activity_of_all_and_nothing() -> None:
    rows = np.full((10, 2), 0.5)
    assert activity_proposals(rows, 1) == [Proposal(0, 0, 0, 10, 0.5)]
    assert activity_proposals(rows, 1, threshold=0.6) == []
    exactly = np.tile([0.4, 0.6], (5, 1))
    assert activity_proposals(exactly, 1) == [Proposal(0, 0, 0, 5, pytest.approx(0.4))]
    assert activity_proposals(np.zeros((0, 2)), 1) == []


@pytest.mark.parametrize("window", [0, 1, 2, 3, 20])
def test_smooth_is_a_moving_mean(window: int) -> None:
    for seed in range(20):
        rows = recording(seed, 0)
        expected = []
        for i in range(len(rows)):
            first, end = max(i - window // 2, 0), min(i + window // 2, len(rows) - 1)
            used = rows[first:end] if window > 1 and len(rows) > 1 else rows[i : i + 1]
            expected.append(used.mean(axis=0))
        np.testing.assert_allclose(smooth(rows, window), expected, atol=1e-12)


BAD_ROWS = [
    (np.zeros((4, 1)), 0, r"\(T, classes \+ 1\), got \(4, 1\)"),
    (np.zeros(4), 0, r"got \(4,\)"),
    (np.zeros((4, 3)), 3, "background among 3 columns, got 3"),
    (np.array([[0.5, 0.5], [0.5, math.nan]]), 0, "got nan in frame 1, column 1"),
    (np.array([[0.5, 0.5], [1.5, -0.5]]), 0, "got 1.5 in frame 1, column 0"),
]


@pytest.mark.parametrize("rule", [sliding_window_proposals, activity_proposals])
@pytest.mark.parametrize(("rows", "background", "message"), BAD_ROWS)
def test_bad_probabilities(rule, rows: Rows, background: int, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        rule(rows, background)


def test_bad_options() -> None:
    rows = np.full((4, 2), 0.5)
    for options, message in (
        ({"window": 0}, "window > 0, got 0"),
        ({"step": 0}, "step > 0, got 0"),
        ({"ratio": 1.0}, r"ratio in \[0, 1\), got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            sliding_window_proposals(rows, 1, **options)
    with pytest.raises(ValueError, match="min_length > 0"):
        activity_proposals(rows, 1, min_length=0)
    with pytest.raises(ValueError, match=r"threshold in \[0, 1\], got 2"):
        activity_proposals(rows, 1, threshold=2)
    with pytest.raises(ValueError, match="window >= 0"):
        smooth(rows, -1)


# --- PKU-MMD's files ------------------------------------------------------------------------------

NAMES = {0: "0002-L", 3: "sequence 7"}

proposals = st.builds(
    lambda video, label, start, length, sure: Proposal(video, label, start, start + length, sure),
    st.sampled_from(sorted(NAMES)),
    st.integers(0, 50),
    st.integers(0, 9000),
    st.integers(1, 500),
    st.floats(0, 1),
)


def read(folder: Path) -> Iterator[Proposal]:
    for video, name in NAMES.items():
        for line in (folder / f"{name}.txt").read_text().splitlines():
            label, start, end, confidence = line.split(",")
            yield Proposal(video, int(label) - 1, int(start), int(end), float(confidence))


@given(st.lists(proposals, max_size=6))
def test_files_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, found: list[Proposal]
) -> None:
    folder = tmp_path_factory.mktemp("results") / "made"
    write_pku_results(folder, found, NAMES)
    assert sorted(file.name for file in folder.iterdir()) == ["0002-L.txt", "sequence 7.txt"]
    assert [*read(folder)] == sorted(found, key=lambda each: each.video)


def test_lines_of_a_file(tmp_path: Path) -> None:
    write_pku_results(tmp_path, [Proposal(0, 0, 10, 50, 0.25), Proposal(0, 50, 60, 61)], NAMES)
    assert (tmp_path / "0002-L.txt").read_text() == "1,10,50,0.25\n51,60,61,1.0\n"
    assert (tmp_path / "sequence 7.txt").read_text() == ""


def test_bad_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a name for every video, got none for 2"):
        write_pku_results(tmp_path, [Proposal(2, 0, 1, 2)], NAMES)
    with pytest.raises(ValueError, match="different name"):
        write_pku_results(tmp_path, [], {0: "a", 1: "a"})
    for name in ("../a", "a\\b", "", ".."):
        with pytest.raises(ValueError, match="name of a video without folders"):
            write_pku_results(tmp_path, [], {0: name})
    assert list(tmp_path.iterdir()) == []
