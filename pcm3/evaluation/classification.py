"""Recognition: scores, figures, details and pictures of classes that several tasks use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.evaluation.details import as_array, require
from pcm3.evaluation.metrics import (
    accuracy,
    check_scores,
    confusion_matrix,
    per_class_accuracy,
)
from pcm3.runs.results import Result
from pcm3.runs.series import Entry, Picture, Series, mean_of, source_of
from pcm3.viz.results import Bars, bar_figure, confusion_figure

LEGEND = {"top1": "share of the test sequences given the right class"}
"""Legend of the figures of recognition."""


class RecognitionDetails(TypedDict, total=False):
    """Entries of ``details`` that pictures are drawn from."""

    confusion: list[list[int]]
    labels: list[int]


def summarize(scores: Tensor, test: SkeletonDataset) -> dict[str, Any]:
    """Compute figures and details of recognition from class scores ``(N, classes)`` of a test part.

    Raises:
        ValueError: If a score is NaN or +infinity.
    """
    check_scores("scores", scores)
    return summarize_labels(scores.argmax(dim=1), test)


def summarize_labels(predicted: Tensor, test: SkeletonDataset) -> dict[str, Any]:
    """Compute figures and details of recognition from predicted labels ``(N,)`` of a test part."""
    labels, classes = torch.as_tensor(test.labels), len(test.class_names)
    return {
        "top1": accuracy(predicted, labels),
        "per_class": per_class_accuracy(predicted, labels, classes),
        "details": {
            "confusion": confusion_matrix(predicted, labels, classes),
            "predicted": predicted.tolist(),
            "labels": labels.tolist(),
        },
    }


STREAM_WEIGHTS = (0.6, 0.6, 0.4)
"""Weights of joint, bone and motion streams in AimCLR; HiCLR also reports them."""


def fuse(scores: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Add up class scores, each with its weight.

    Fix the weights before you look at test data: choosing them there would be training on it.

    Args:
        scores: Scores ``(N, classes)`` of each encoder's classifier, for the same sequences:
            logarithms of probabilities from all classifiers, or logits from all.
        weights: A weight for each encoder, at least 0; equal by default. A weight of 0 leaves an
            encoder out.

    Returns:
        ``(N, classes)`` float64, so that rounding decides no tie.

    Raises:
        ValueError: If there are no scores, a weight is negative or all are 0, sizes differ, or a
            score is NaN or +infinity; the message names its row.

    Example:
        >>> joint, bone = torch.tensor([[0.6, 0.4]]), torch.tensor([[0.1, 0.9]])
        >>> int(fuse([joint, bone]).argmax()), int(fuse([joint, bone], (0.9, 0.1)).argmax())
        (1, 0)
    """
    weights = [1.0 / max(len(scores), 1)] * len(scores) if weights is None else list(weights)
    if not scores or len(weights) != len(scores):
        raise ValueError(
            f"expected a weight for each of {len(scores)} encoders, at least one, got {weights}"
        )
    if not min(weights) >= 0 or not 0 < sum(weights) < math.inf:
        raise ValueError(f"expected weights >= 0, not all of them 0, got {weights}")
    shapes = {tuple(tensor.shape) for tensor in scores}
    if len(shapes) > 1:
        raise ValueError(f"expected scores of one shape (N, classes), got {sorted(shapes)}")
    for number, tensor in enumerate(scores):
        check_scores(f"scores of encoder {number}", tensor)
    # 0 times the -inf of a class without training data would be NaN
    parts = [w * tensor.double() for w, tensor in zip(weights, scores, strict=True) if w > 0]
    return torch.stack(parts).sum(dim=0)


def check_labels(*datasets: SkeletonDataset) -> None:
    """Require labelled sequences and, if there is a test part, classes in common.

    Raises:
        ValueError: If a data set is empty, a sequence has no label, or no test class has a training
            sequence; the message names the store.
    """
    for dataset in datasets:
        if len(dataset) == 0:
            raise ValueError(f"expected labelled sequences, got none of {dataset.store.path}")
        if (dataset.labels < 0).any():
            index = int(dataset.indices[dataset.labels < 0][0])
            raise ValueError(
                f"expected labelled sequences, but in {dataset.store.path} sequence {index} has "
                "no label"
            )
    if len(datasets) > 1 and not np.isin(datasets[1].labels, datasets[0].labels).any():
        raise ValueError(
            f"expected test classes with training sequences, but none of the "
            f"{len(np.unique(datasets[1].labels))} in {datasets[1].store.path} has any: evaluate "
            "fewshot, or use another protocol"
        )


def sequence_name(store: Store, index: int) -> str:
    """Return the name of a sequence, or its number if an old store has no names.

    Raises:
        SkeletonFormatError: If the names are damaged.
    """
    named = (store.path / "names.npy").is_file() or "checksums" in store.meta
    return store.names[index] if named else f"sequence {index}"


def check_recognition(result: Result) -> None:
    """Require that a confusion matrix, if there is one, fits the classes.

    Raises:
        ValueError: If it does not fit; the message gives the sizes.
    """
    if "confusion" in result.details:
        classes = len(result.class_names)
        counts = as_array(result.details["confusion"], "confusion", 2)
        good = counts.shape == (classes, classes) and counts.min(initial=0) >= 0
        require(good, f"confusion of counts ({classes}, {classes}), got {counts.shape}")


_CLASSES = 12  # most classes in one bar chart; several charts stand side by side


def draw_confusions(series: Series) -> Iterator[Picture]:
    """Draw a confusion matrix for each series, of the classes that occur."""
    for name, (_, entries) in series.items():
        group = [
            entry
            for entry in entries
            if entry.result.class_names and "confusion" in entry.result.details
        ]
        if not group:
            continue
        counts = np.sum([entry.result.details["confusion"] for entry in group], axis=0)
        occurring = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1)).tolist()
        if not occurring:
            continue
        left_out = ""
        if len(occurring) < len(counts):
            left_out = f" Only the {len(occurring)} of {len(counts)} classes that occur are shown."
        counts = counts[np.ix_(occurring, occurring)]
        names = [group[0].result.class_names[label] for label in occurring]
        wrong = counts - np.diag(np.diag(counts))
        worst = [
            f"{names[cell // len(names)]} → {names[cell % len(names)]} ({wrong.flat[cell]})"
            for cell in np.argsort(-wrong, axis=None, kind="stable")[:3].tolist()
            if wrong.flat[cell]
        ]
        mistakes = f" Most frequent mistakes, truth → prediction: {'; '.join(worst)}."
        added = f", added up over {len(group)} runs" if len(group) > 1 else ""
        yield Picture(
            f"Confusion matrix, {group[0].result.task}: {name}",
            f"Test sequences by true class (rows) and predicted class (columns){added}; darker "
            f"cells hold a larger share of the true class.{left_out}{mistakes * bool(worst)} "
            f"{source_of(group)}",
            [confusion_figure(counts, names)],
        )


def draw_class_accuracy(series: Series) -> Iterator[Picture]:
    """Draw the accuracy of every class, the easiest first."""
    rows, used = {}, []
    for name, (_, entries) in series.items():
        group = [entry for entry in entries if _by_class(entry)]
        if group:
            accuracies = [entry.result.metrics["per_class"] for entry in group]
            rows[name] = [mean_of(values) for values in zip(*accuracies, strict=True)]
            used += group
    if not rows:
        return

    def bars(classes: list[int]) -> dict[str, Bars]:
        return {
            name: Bars([row[label] for label in classes], place=series[name].place)
            for name, row in rows.items()
        }

    names = used[0].result.class_names
    overall = [mean_of(values) for values in zip(*rows.values(), strict=True)]
    known = [label for label, value in enumerate(overall) if value is not None]
    order = sorted(known, key=lambda label: -(overall[label] or 0))
    parts = [part.tolist() for part in np.array_split(order, -(-len(order) // _CLASSES))]
    first = "the easiest class first"
    first += ", by the mean over all bars of a class" if len(rows) > 1 else ""
    yield Picture(
        f"Accuracy by class, {used[0].result.task}",
        f"Share of each class's test sequences that is recognised (top-1), {first}"
        f"{'; the mean of several seeds' if series.has_seeds else ''}. {source_of(used)}",
        [bar_figure(bars(part), [names[at] for at in part], "top-1 accuracy") for part in parts],
    )


def _by_class(entry: Entry) -> bool:
    return bool(entry.result.class_names) and "per_class" in entry.result.metrics


PICTURES = (draw_class_accuracy, draw_confusions)
"""The pictures of recognition."""
