"""What judgements of novelty say: ROC curves, differences from the references, tables."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pcm3.data.body import BODY_UNIT, BodyForm
from pcm3.data.splits import select
from pcm3.data.store import Store
from pcm3.data.tally import body_length
from pcm3.data.units import full_name, three_digits
from pcm3.evaluation.metrics import roc_auc
from pcm3.inference.clips import same_layout
from pcm3.inference.differences import Difference, compare
from pcm3.inference.novelty import Judgement, NoveltyDetector
from pcm3.inference.search import Queries
from pcm3.inference.tables import who, write_table

_Group = TypeVar("_Group", bound=Hashable)

_OTHER_SIZE = 2.5  # times as large or small: not only another person or posture
_MORE_MISSING = 0.1  # of the joints of a recording
_SIZED = 20  # references, and frames of a recording, by which bodies are measured


def score_judgements(
    judged: Sequence[Judgement], store: Store, reference: str, normal: Store
) -> dict[str, Any]:
    """Compare judgements with the column that the references were chosen by.

    Recordings with the values of the references are normal, those with other values are novel,
    and those with none (-1, an empty word) do not count.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        store: The store of the judged recordings.
        reference: The column and values of the references, as ``select`` takes them.
        normal: The store of the references.

    Returns:
        ``auc``, the area under the ROC curve of all recordings; ``auc_within_classes``, the mean of
        the areas within each class, and ``auc_of_class``, these areas by name;
        ``auc_within_subjects``, the mean of the areas within each subject and class;
        ``true_positive_rate`` and ``false_positive_rate``, the shares of novel and of normal
        recordings with a score above the threshold; ``others`` and ``alike``, how many of both
        were judged. What cannot be computed is None. Empty if the
        store has no such column.
    """
    column, _, _ = reference.partition(":")
    alike = (column in store.words) == (column in normal.words)
    if column != "labels" and not (column in store.columns and alike):
        return {}
    values = set(_words(normal, column)[select(normal, reference)].tolist())
    words = _words(store, column).tolist()
    known = [each for each in judged if words[each.index] not in ("", -1)]
    novel = np.array([words[each.index] not in values for each in known], dtype=bool)
    scores = np.array([each.score for each in known])
    subjects = store.columns.get("subjects", np.full(len(store), -1)).tolist()
    whose = [(subjects[each.index], each.label) for each in known]
    of_class = _areas(scores, novel, [each.label or None for each in known])
    of_subject = _areas(scores, novel, [pair if pair[0] >= 0 else None for pair in whose])
    pairs = list(zip(known, novel.tolist(), strict=True))
    called = [(each.novel, truth) for each, truth in pairs]
    rates = {
        name: _mean([yes for yes, truth in called if truth == wanted and yes is not None])
        for name, wanted in (("true_positive_rate", True), ("false_positive_rate", False))
    }
    return {
        "auc": roc_auc(scores, novel),
        "auc_within_classes": _mean(of_class.values()),
        "auc_within_subjects": _mean(of_subject.values()),
        "auc_of_class": of_class,
        **rates,
        **{
            name: len({each.index for each, truth in pairs if truth == wanted})
            for name, wanted in (("others", True), ("alike", False))
        },
    }


def _areas(
    scores: NDArray[np.float64], novel: NDArray[np.bool_], groups: Sequence[_Group | None]
) -> dict[_Group, float]:
    """Area under the ROC curve within each group that has novel and normal recordings."""
    members: dict[_Group, list[int]] = {}
    for row, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(row)
    areas = {group: roc_auc(scores[rows], novel[rows]) for group, rows in members.items()}
    return {group: area for group, area in areas.items() if area is not None}


def _mean(values: Collection[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _words(store: Store, column: str) -> NDArray[Any]:
    """A column (N,), or the names of the classes; of words ``""`` is for none, of integers -1."""
    names: NDArray[Any] = np.array(("", *store.class_names))
    return names[store.labels + 1] if column == "labels" else store.values(column)


def furthest(judged: Sequence[Judgement]) -> list[int]:
    """Order judgements by how far the scores are above the thresholds, the furthest first.

    As a ratio, because thresholds differ between classes. Where a threshold is unknown, scores
    decide.
    """
    by_ratio = all(each.threshold for each in judged)
    keys = [each.score / (each.threshold or 1) if by_ratio else each.score for each in judged]
    return sorted(range(len(judged)), key=lambda at: -keys[at])


def explain(judgement: Judgement, queries: Queries, store: Store) -> Difference:
    """Compare a recording with its nearest reference, joint by joint.

    Args:
        judgement: What ``NoveltyDetector.judge`` found.
        queries: The recordings that were judged.
        store: The store of the references.

    Recordings of another layout are compared in the body form, see :mod:`pcm3.data.body`.

    Raises:
        ValueError: If the units of the recordings differ, or as ``compare``.
    """
    own = (queries.indices == judgement.index) & (queries.persons == judgement.person)
    source, skeleton = queries.clips.store, store.skeleton
    row = int(np.flatnonzero(own)[0])
    part = slice(judgement.start, judgement.end)
    reference_part = slice(judgement.reference_start, judgement.reference_end)
    if not same_layout(source, store):  # then the encoder takes any
        skeleton = queries.clips.skeleton
        one, other = (BodyForm(each, skeleton) for each in (source, store))
        reference = other.frames(judgement.reference_index, reference_part)
        return compare(one.frames(row, part), reference, skeleton, BODY_UNIT)
    check_units(source, store)
    order = [source.skeleton.joints.index(joint) for joint in skeleton.joints]
    frames = source.stored(row)[part][:, :, order]
    reference = store.stored(judgement.reference_index)[reference_part]
    # both as the store of the references has them: a lying person alone would seem upside down
    unit = full_name(store.meta["unit"])
    return compare(store.upright(frames), store.upright(reference), skeleton, unit)


def check_units(source: Store, store: Store) -> None:
    """Require recordings in the unit of the references.

    Raises:
        ValueError: Saying what was expected and what the recordings are in.
    """
    unit, wanted = (full_name(each.meta["unit"]) for each in (source, store))
    if unit != wanted:
        raise ValueError(
            f"expected recordings in {wanted}, as the references are, got {unit}, which cannot be "
            "converted; prepare both in one unit: pcm3 prepare ... --unit UNIT"
        )


def explain_furthest(
    judged: Sequence[Judgement], queries: Queries, store: Store, most: int = 20
) -> tuple[list[Difference | None], list[str]]:
    """Compare all that is novel, and at least the furthest, with the nearest references.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        queries: The recordings that were judged.
        store: The store of the references.
        most: Number of the furthest recordings that are compared even if they are not novel.

    Returns:
        What ``explain`` found for each, None for the others and for those that cannot be compared,
        and a note if there are such.
    """
    wanted = {at for at, each in enumerate(judged) if each.novel}.union(furthest(judged)[:most])
    differences: list[Difference | None] = [None] * len(judged)
    failed: list[str] = []
    for at in sorted(wanted):
        try:
            differences[at] = explain(judged[at], queries, store)
        except ValueError as error:
            failed.append(f"{judged[at].recording}: {error}")
    notes = [f"{len(failed)} not compared joint by joint, as {failed[0]}"] if failed else []
    return differences, notes


def note_on_classes(
    judged: Sequence[Judgement], queries: Queries, detector: NoveltyDetector
) -> list[str]:
    """Note which recordings were compared with all classes, and which classes have no reference.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        queries: The recordings.
        detector: What judged them.
    """
    names = detector.gallery.store.class_names
    if detector.across_classes or not names:
        return []
    notes = []
    if unknown := len({each.index for each in judged if not each.label}):
        notes.append(
            f"the class of {unknown} recording{'s' * (unknown > 1)} is unknown: compared with all "
            "classes; --select labels:NAME or a labels.csv names it"
        )
    used = np.unique(queries.store.labels[queries.indices])
    strange = {queries.store.class_names[label] for label in used[used >= 0]} - set(names)
    if strange:
        notes.append(f"no reference has the class {', '.join(sorted(strange))}")
    return notes


def note_on_thresholds(judged: Sequence[Judgement], detector: NoveltyDetector) -> list[str]:
    """Note which thresholds come from too few references for the quantile.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        detector: What judged them.
    """
    names, enough = detector.gallery.store.class_names, detector.enough
    labels = {each.label for each in judged if each.threshold is not None}
    if detector.across_classes:
        labels = {""} if labels else labels
    codes = {label: names.index(label) if label else -1 for label in labels}
    counts = {label: len(detector.normal_scores(code)) for label, code in codes.items()}
    few = sorted((count, label) for label, count in counts.items() if enough and count < enough)
    if not few:
        return []
    count, label = few[0]
    what = "windows of references" if detector.windowed else f"reference{'s' * (count > 1)}"
    of_class = f" of {label}" if label else ""
    others = len(few) - 1
    more = f"; so it is for {others} more class{'es' * (others > 1)}" if others else ""
    return [
        f"with {count} {what}{of_class}, the threshold is the largest distance among them, and "
        f"about one good recording in {count + 1} is called novel: a quantile of "
        f"{detector.quantile:.4g} needs {enough} of them{more}"
    ]


def note_on_sizes(
    judged: Sequence[Judgement], queries: Queries, detector: NoveltyDetector
) -> list[str]:
    """Note which bodies are more than 2.5 times as large as those of the references, or as small.

    The distance does not depend on the size, but differences in a unit of length do.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        queries: The recordings.
        detector: What judged them.
    """
    store = detector.gallery.store
    sizes = [_size(store, index) for index in _some_references(detector)]
    usual = float(np.median([size for size in sizes if size > 0] or [0.0]))
    found = {each.index: each.recording for each in judged}
    strange = []
    for index, name in found.items():
        size = _size(queries.store, index)
        if min(size, usual) > 0 and max(size / usual, usual / size) > _OTHER_SIZE:
            strange.append((size, name))
    if not strange:
        return []
    size, name = strange[0]
    more = f"; so it is for {len(strange) - 1} of the others" if len(strange) > 1 else ""
    return [
        f"bodies of {name} measure {three_digits(size)} {full_name(queries.store.meta['unit'])}, "
        f"those of the references {three_digits(usual)}: probably one of the two is in another "
        f"unit than its file says{more}"
    ]


def note_on_missing_joints(
    judged: Sequence[Judgement], queries: Queries, detector: NoveltyDetector
) -> list[str]:
    """Note which recordings lack more joints than the references, by ten percent of all or more.

    A joint that is not seen is at 0, so it adds to the distance as a joint that moved would.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        queries: The recordings.
        detector: What judged them.
    """
    store = detector.gallery.store
    usual = float(np.median([_missing(store, index) for index in _some_references(detector)]))
    found = {each.index: each.recording for each in judged}
    shares = [(_missing(queries.store, index), name) for index, name in found.items()]
    strange = sorted((pair for pair in shares if pair[0] >= usual + _MORE_MISSING), reverse=True)
    if not strange:
        return []
    share, name = strange[0]
    more = f"; the same holds for {len(strange) - 1} more" if len(strange) > 1 else ""
    return [
        f"{share:.0%} of the joints of {name} are missing, of those of the references "
        f"{usual:.0%}: missing joints count as differences, so its score may be high because it "
        f"was tracked badly{more}"
    ]


def _some_references(detector: NoveltyDetector) -> list[int]:
    """Recordings that show what the references are like."""
    references = detector.references
    some = references[np.unique(np.linspace(0, len(references) - 1, _SIZED).astype(int))]
    chosen: list[int] = some.tolist()
    return chosen


def _missing(store: Store, index: int) -> float:
    """Share of joints that are not seen, in frames of persons who are there.

    The centre joint does not count, as it is at 0 where recordings are centred.
    """
    frames = np.delete(store.stored(index), store.skeleton.center, axis=2)
    seen = np.asarray(frames.any(-1))
    there = np.asarray(seen.any(-1))
    return 1 - float(seen[there].mean()) if there.any() else 0.0


def _size(store: Store, index: int) -> float:
    """Size of the bodies of a recording, by some of its frames; 0 without any."""
    frames = store.stored(index)
    frames = frames[frames.any(axis=(1, 2, 3))]
    return body_length(frames[:: max(1, len(frames) // _SIZED)]) if len(frames) else 0.0


def note_on_sides(judged: Sequence[Judgement], swapped: Sequence[Judgement]) -> list[str]:
    """Note which recordings are closer to the references when left and right are exchanged.

    That is, their score is then less than half of what it is.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        swapped: What it found for the same recordings with left and right exchanged.
    """
    pairs = zip(judged, swapped, strict=True)
    closer = [(one, other) for one, other in pairs if other.score < one.score / 2]
    if not closer:
        return []
    one, other = max(closer, key=lambda pair: pair[0].score - pair[1].score)
    more = f", and so are {len(closer) - 1} others" if len(closer) > 1 else ""
    return [
        f"{one.recording}, frames {one.start} to {one.end}, is closer to the references when left "
        f"and right are exchanged: distance {other.score:.4f} instead of {one.score:.4f}{more}"
    ]


def judgement_json(
    judgement: Judgement, difference: Difference | None, fps: float | None = None
) -> dict[str, Any]:
    """A judgement as JSON, with parts, joints and frames if it was compared with its reference.

    Args:
        judgement: What ``NoveltyDetector.judge`` found.
        difference: What ``explain`` found for it, or None.
        fps: Frames per second of the recording; None if unknown.
    """
    content = asdict(judgement) | {"person": who(judgement.person), "novel": judgement.novel}
    if difference is not None:
        parts = difference.by_part.items()
        start, end = difference.worst
        content |= {
            "parts": {name: None if np.isnan(value) else value for name, value in parts},
            "worst_start": judgement.start + start,
            "worst_end": judgement.start + end,
            "joints": [
                {
                    "joint": peak.joint,
                    "mean": peak.mean,
                    "difference": peak.difference,
                    "frame": judgement.start + peak.frame,
                    "seconds": None if fps is None else (judgement.start + peak.frame) / fps,
                }
                for peak in difference.peaks()
            ],
            "unit": difference.unit,
        }
    return content


_COLUMNS = (
    *("recording", "person", "start", "end", "label", "score", "threshold", "novel"),
    *("reference", "reference_start", "reference_end", "part", "worst_start", "worst_end"),
    *("joint", "joint_difference", "joint_frame", "joint_mean"),
)


def write_judgements(
    file: str | Path, judged: Sequence[Judgement], differences: Sequence[Difference | None]
) -> None:
    """Write judgements as a table, whole or not at all.

    The columns are ``recording, person, start, end, label, score, threshold, novel, reference,
    reference_start, reference_end, part, worst_start, worst_end, joint, joint_difference,
    joint_frame, joint_mean``. ``novel`` is yes or no. The last seven say which body part, frames
    and joint differ most from the reference, by the mean, and the largest difference of the joint,
    its frame, and its mean difference. What is unknown is empty.

    Args:
        file: The file.
        judged: What ``NoveltyDetector.judge`` found.
        differences: What ``explain`` found for each, or None.
    """
    rows = []
    for each, difference in zip(judged, differences, strict=True):
        worst: tuple[object, ...] = ("",) * 7
        if difference is not None:
            worst = (difference.part, *(each.start + frame for frame in difference.worst))
            (peak,) = difference.peaks(1)
            worst += (peak.joint, f"{peak.difference:.6g}", each.start + peak.frame)
            worst += (f"{peak.mean:.6g}",)
        threshold = "" if each.threshold is None else f"{each.threshold:.6f}"
        rows.append(
            (
                *(each.recording, who(each.person), each.start, each.end, each.label),
                *(f"{each.score:.6f}", threshold),
                {True: "yes", False: "no", None: ""}[each.novel],
                *(each.reference, each.reference_start, each.reference_end, *worst),
            )
        )
    write_table(file, _COLUMNS, rows)
