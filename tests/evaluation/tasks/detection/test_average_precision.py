"""Metrics of detection against literal re-computations, worked examples and their properties."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.evaluation.tasks.detection.average_precision import (
    ap_2d,
    f1_score,
    map_by_action,
    map_by_video,
    pku_ap,
    voc_ap,
)
from pcm3.evaluation.tasks.detection.proposals import Proposal

Intervals = Sequence[Proposal]
AP = Callable[[Intervals, Intervals, float], float]


# --- the rules, word by word ----------------------------------------------------------------------


def slow_voc_ap(proposals: Intervals, truth: Intervals, threshold: float) -> float:
    """Counts frames from the first to the last one."""
    used: set[int] = set()
    hits = []
    for p in sorted(proposals, key=lambda p: -p.confidence):
        best, best_overlap = -1, -math.inf
        for g, t in enumerate(truth):
            if (t.video, t.label) != (p.video, p.label):
                continue
            p_last, t_last = p.end - 1, t.end - 1
            common = max(min(p_last, t_last) - max(p.start, t.start) + 1, 0)
            both = (p_last - p.start + 1) + (t_last - t.start + 1) - common
            if common / both > best_overlap:
                best, best_overlap = g, common / both
        hit = best_overlap >= threshold and best not in used
        if hit:
            used.add(best)
        hits.append(hit)
    recall, precision = [0.0], [0.0]
    for count in range(1, len(hits) + 1):
        recall.append(sum(hits[:count]) / max(len(truth), 1))
        precision.append(sum(hits[:count]) / count)
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def assign(proposals: Intervals, truth: Intervals, threshold: float) -> dict[int, int]:
    """Proposal to interval as PKU-MMD does it, by the plain difference of the ends."""
    owners = {}
    for number, p in enumerate(proposals):
        best, best_overlap = -1, 0.0
        for g, t in enumerate(truth):
            overlap = (min(p.end, t.end) - max(p.start, t.start)) / (
                max(p.end, t.end) - min(p.start, t.start)
            )
            if (t.video, t.label) != (p.video, p.label):
                overlap = 0.0
            if overlap > best_overlap:
                best, best_overlap = g, overlap
        if best_overlap >= threshold:
            owners[number] = best
    return owners


def slow_pku_ap(proposals: Intervals, truth: Intervals, threshold: float) -> float:
    if not truth:
        return 0.0
    proposals = sorted(proposals, key=lambda p: p.confidence)
    owners = assign(proposals, truth, threshold)

    def precision_recall(left: list[int]) -> tuple[float, float]:
        positives = len({owners[number] for number in left if number in owners})
        return positives / max(len(left), 1), positives / len(truth)

    left = list(range(len(proposals)))
    highest, recall = precision_recall(left)
    area = 0.0
    for number in range(len(proposals)):
        left.remove(number)
        if number in owners:
            precision, new_recall = precision_recall(left)
            highest = max(highest, precision)
            area += highest * (recall - new_recall)
            recall = new_recall
    return area


@st.composite
def intervals(draw: st.DrawFn, max_size: int = 9, distinct: bool = False) -> list[Proposal]:
    count = draw(st.integers(0, max_size))
    ranks = draw(st.permutations(range(count)))
    drawn = []
    for rank in ranks:
        start, length = draw(st.integers(0, 12)), draw(st.integers(1, 9))
        video, label = draw(st.integers(0, 1)), draw(st.integers(0, 1))
        confidence = rank if distinct else rank // 2
        drawn.append(Proposal(video, label, start, start + length, confidence))
    return drawn


thresholds = st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.75, 1.0])


@settings(deadline=None, max_examples=400)
@given(intervals(), intervals(6), thresholds)
def test_both_precisions_are_what_their_words_say(
    proposals: list[Proposal], truth: list[Proposal], threshold: float
) -> None:
    assert voc_ap(proposals, truth, threshold) == pytest.approx(
        slow_voc_ap(proposals, truth, threshold)
    )
    assert pku_ap(proposals, truth, threshold) == pytest.approx(
        slow_pku_ap(proposals, truth, threshold)
    )


@settings(deadline=None, max_examples=100)
@given(intervals(), intervals(6), thresholds)
def test_means_and_f1(proposals: list[Proposal], truth: list[Proposal], threshold: float) -> None:
    def of(each: Intervals, field: str, value: int) -> Intervals:
        return [p for p in each if getattr(p, field) == value]

    for ap, slow in ((voc_ap, slow_voc_ap), (pku_ap, slow_pku_ap)):
        by_label = [
            slow(of(proposals, "label", c), of(truth, "label", c), threshold) for c in range(3)
        ]
        there = sorted({t.label for t in truth})
        wanted = np.mean([by_label[c] for c in there]) if there else 0
        assert map_by_action(proposals, truth, threshold, ap) == pytest.approx(wanted)
        every = map_by_action(proposals, truth, threshold, ap, range(3))
        assert every == pytest.approx(np.mean(by_label))
        by_video = [
            slow(of(proposals, "video", v), of(truth, "video", v), threshold) for v in range(3)
        ]
        there = sorted({each.video for each in [*truth, *proposals]})
        wanted = np.mean([by_video[v] for v in there]) if there else 0
        assert map_by_video(proposals, truth, threshold, ap) == pytest.approx(wanted)
        every = map_by_video(proposals, truth, threshold, ap, range(3))
        assert every == pytest.approx(np.mean(by_video))
    steps = [pku_ap(proposals, truth, round(0.05 * step, 2)) for step in range(1, 21)]
    assert ap_2d(proposals, truth) == pytest.approx(np.mean(steps))
    positives = len(set(assign(proposals, truth, threshold).values()))
    f1 = 0.0
    if positives:
        precision, recall = positives / len(proposals), positives / len(truth)
        f1 = 2 * precision * recall / (precision + recall)
    assert f1_score(proposals, truth, threshold) == pytest.approx(f1)


# --- worked examples ------------------------------------------------------------------------------

ONE, TWO = Proposal(0, 0, 10, 50), Proposal(0, 0, 100, 150)


def right(interval: Proposal, confidence: float) -> Proposal:
    return interval._replace(confidence=confidence)


def wrong(confidence: float) -> Proposal:
    return Proposal(0, 0, 200, 220, confidence)


@pytest.mark.parametrize(
    ("proposals", "truth", "pku", "voc"),
    [
        ([right(ONE, 0.9), wrong(0.2), wrong(0.1)], [ONE], 1 / 3, 1),
        ([right(ONE, 0.9), wrong(0.85), right(TWO, 0.8)], [ONE, TWO], 2 / 3, 5 / 6),
        ([right(ONE, 0.9), right(TWO, 0.8), wrong(0.1)], [ONE, TWO], 1, 1),
        ([right(ONE, 0.9), right(ONE, 0.8)], [ONE], 1, 1),
        ([right(ONE, 0.9), right(ONE, 0.8), right(TWO, 0.7)], [ONE, TWO], 5 / 6, 5 / 6),
    ],
)
def test_worked_examples(
    proposals: list[Proposal], truth: list[Proposal], pku: float, voc: float
) -> None:
    for order in (proposals, proposals[::-1]):
        assert pku_ap(order, truth) == pytest.approx(pku)
        assert voc_ap(order, truth) == pytest.approx(voc)


def test_a_match_needs_video_class_and_overlap() -> None:
    assert voc_ap([ONE], [ONE._replace(video=1)]) == 0
    assert pku_ap([ONE], [ONE._replace(label=1)]) == 0
    half = ONE._replace(end=30)  # 20 of 40 frames
    for ap in (voc_ap, pku_ap):
        assert ap([half], [ONE], 0.5) == 1
        assert ap([half], [ONE], 0.51) == 0
        assert ap([ONE._replace(end=51)], [ONE], 1.0) == 0


def test_the_better_overlap_is_the_one_that_counts() -> None:
    """A proposal between two intervals goes to the nearer one, even if that one is taken."""
    near, far = Proposal(0, 0, 0, 10), Proposal(0, 0, 8, 18)
    proposals = [right(near, 0.9), Proposal(0, 0, 3, 12, 0.8)]
    assert voc_ap(proposals, [near, far], 0.3) == 0.5
    assert voc_ap(proposals[1:], [near, far], 0.3) == 0.5


# --- detectors of known quality -------------------------------------------------------------------


def annotated(videos: int = 6) -> list[Proposal]:
    rng = np.random.default_rng(0)
    truth = []
    for video in range(videos):
        edges = np.sort(rng.choice(400, 10, replace=False))
        truth += [
            Proposal(video, number % 3, int(a), int(b))
            for number, (a, b) in enumerate(zip(edges[::2], edges[1::2], strict=True))
        ]
    return truth


def test_perfect_and_silent_detectors() -> None:
    truth = annotated()
    perfect = [right(each, 0.1 * number) for number, each in enumerate(truth)]
    for proposals, score in ((perfect, 1), (perfect[::-1], 1), ([], 0)):
        for threshold in (0.05, 0.5, 1):
            for ap in (voc_ap, pku_ap):
                assert ap(proposals, truth, threshold) == score
                assert map_by_action(proposals, truth, threshold, ap) == score
                assert map_by_video(proposals, truth, threshold, ap) == score
            assert f1_score(proposals, truth, threshold) == score
        assert ap_2d(proposals, truth) == score


def test_nothing_to_find() -> None:
    assert voc_ap([ONE], []) == pku_ap([ONE], []) == f1_score([ONE], []) == ap_2d([ONE], []) == 0
    assert map_by_action([ONE], []) == map_by_video([], []) == 0


def test_guessing_finds_little() -> None:
    truth, rng = annotated(), np.random.default_rng(1)
    guesses = []
    for video in range(6):
        for _ in range(10):
            start, length = int(rng.integers(0, 380)), int(rng.integers(10, 60))
            label = int(rng.integers(3))
            guesses.append(Proposal(video, label, start, start + length, rng.random()))
    assert map_by_action(guesses, truth, 0.5) < 0.2
    assert pku_ap(guesses, truth, 0.5) < 0.2
    assert f1_score(guesses, truth, 0.5) < 0.3


# --- properties -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(intervals(8, distinct=True), intervals(5), thresholds)
def test_bounds(proposals: list[Proposal], truth: list[Proposal], threshold: float) -> None:
    pku, voc = pku_ap(proposals, truth, threshold), voc_ap(proposals, truth, threshold)
    assert 0 <= pku <= voc + 1e-12
    assert voc <= 1 + 1e-12


@settings(deadline=None, max_examples=150)
@given(intervals(8, distinct=True), intervals(5), thresholds, st.sampled_from([voc_ap, pku_ap]))
def test_fewer_false_positives_never_hurt(
    proposals: list[Proposal], truth: list[Proposal], threshold: float, ap: AP
) -> None:
    owners = assign(proposals, truth, threshold)
    before = ap(proposals, truth, threshold)
    for number in range(len(proposals)):
        if number not in owners:
            fewer = proposals[:number] + proposals[number + 1 :]
            assert ap(fewer, truth, threshold) >= before - 1e-12


@settings(deadline=None, max_examples=150)
@given(intervals(8, distinct=True), intervals(5), thresholds, st.sampled_from([voc_ap, pku_ap]))
def test_finding_more_at_the_top_never_hurts(
    proposals: list[Proposal], truth: list[Proposal], threshold: float, ap: AP
) -> None:
    alone = Proposal(7, 0, 3, 9, confidence=99)  # an interval that nobody else can have
    before = ap(proposals, [*truth, alone], threshold)
    assert ap([*proposals, alone], [*truth, alone], threshold) >= before


@settings(deadline=None, max_examples=150)
@given(intervals(8, distinct=True), intervals(5, distinct=True), thresholds)
def test_a_second_proposal_for_an_interval_is_a_false_positive(
    proposals: list[Proposal], truth: list[Proposal], threshold: float
) -> None:
    for proposal in proposals:
        again = proposal._replace(confidence=proposal.confidence - 0.5)
        nowhere = again._replace(video=9)
        assert voc_ap([*proposals, again], truth, threshold) == pytest.approx(
            voc_ap([*proposals, nowhere], truth, threshold)
        )


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [voc_ap, pku_ap, f1_score, map_by_action, map_by_video])
@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, math.nan])
def test_thresholds_out_of_range(metric: AP, threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold in \(0, 1\], got"):
        metric([ONE], [ONE], threshold)


@pytest.mark.parametrize("metric", [voc_ap, pku_ap, f1_score, map_by_action, ap_2d])
def test_bad_intervals(metric: Callable[[Intervals, Intervals], float]) -> None:
    with pytest.raises(ValueError, match=r"start < end in the proposals, got .*start=10, end=10"):
        metric([ONE._replace(end=10)], [ONE])
    with pytest.raises(ValueError, match=r"start < end in the truth"):
        metric([ONE], [ONE._replace(end=3)])
    with pytest.raises(ValueError, match="other than NaN"):
        metric([ONE._replace(confidence=math.nan)], [ONE])


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_fields_may_be_numbers_of_torch_or_numpy(kind: Callable[..., Sequence[Any]]) -> None:
    table = [(0, 0, 10, 50), (0, 1, 60, 90), (1, 1, 5, 20)]
    truth = [Proposal(*row) for row in kind(table)]
    found = [
        Proposal(*row, score) for row, score in zip(kind(table), kind([0.9, 0.8, 0.7]), strict=True)
    ]
    plain = [Proposal(*row) for row in table]
    for those in (truth, plain):
        assert voc_ap(found, those) == pku_ap(found, those) == f1_score(found, those) == 1
        assert map_by_action(found, those) == map_by_video(found, those) == 1
    for metric in (voc_ap, map_by_action, map_by_video):
        with pytest.raises(ValueError, match="Proposal"):
            metric(table, plain)
