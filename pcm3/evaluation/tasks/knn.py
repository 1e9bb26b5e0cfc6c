"""Retrieval: the training sequences nearest to a test sequence, by cosine similarity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from einops import rearrange
from torch import Tensor

from pcm3.checks import check_at_least, check_different, check_not_empty, check_seed
from pcm3.data.dataset import SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.classification import (
    PICTURES,
    RecognitionDetails,
    check_labels,
    check_recognition,
    sequence_name,
    summarize_labels,
)
from pcm3.evaluation.details import LayoutDetails, check_examples, require
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.metrics import class_means
from pcm3.evaluation.neighbours import rank, vote
from pcm3.evaluation.tasks.base import Task
from pcm3.runs.results import Result
from pcm3.runs.series import Picture, Series, source_of
from pcm3.viz.examples import retrieval_figure
from pcm3.viz.maps import embedding_map
from pcm3.viz.results import embedding_figure


@dataclass(frozen=True)
class KnnSettings:
    """Settings of retrieval."""

    k: int = 5
    """Number of neighbours that vote."""
    recall_at: tuple[int, ...] = (1, 5, 10)
    """Numbers K of neighbours for recall at K."""
    examples: int = 6
    """Number of test sequences whose nearest neighbours are kept as examples."""
    seed: int = 0
    """Seed of the choice of examples."""

    def __post_init__(self) -> None:
        check_at_least("k", self.k, 1)
        check_not_empty("recall_at", self.recall_at)
        check_at_least("recall_at", min(self.recall_at), 1)
        check_at_least("examples", self.examples, 0)
        check_different("recall_at", self.recall_at)
        check_seed(self.seed)


def evaluate_knn(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: KnnSettings = KnnSettings(),
) -> dict[str, Any]:
    """Look the test sequences up among the training sequences, by cosine similarity.

    Args:
        pretrained: The encoder and its input.
        training: Labelled gallery.
        test: Labelled queries.
        settings: Numbers of neighbours and of examples.

    Returns:
        Fractions: ``top1`` (accuracy of the nearest neighbour) and its ``per_class``; ``vote``
        (accuracy of the label that most of k neighbours have); ``map`` (mean average precision,
        where all items of the query's class are relevant); ``recall_at_K`` (share of queries with
        their class among the first K neighbours, or among the whole gallery if it is smaller).

        ``details``: those of ``evaluate_linear`` for the nearest neighbour; ``per_class`` of every
        figure; ``bones`` and ``center`` of the skeleton; ``map``, the test features in the plane,
        see ``embedding_map``, if there are enough; and ``examples``. An example holds the store's
        indices of a query and of its five nearest neighbours, with their ``similarity`` and
        ``hits``, and of all six, the query first, ``names``, ``labels`` and five evenly spaced
        ``frames`` (5, M, V, C) of the persons who are present, upright
        (``SkeletonDataset.upright``).

    Raises:
        ValueError: If a sequence has no label, the data do not fit the encoder, or there are fewer
            than k training sequences.
    """
    check_labels(training, test)
    gallery, queries = (extract_features(pretrained, part) for part in (training, test))
    depth = max(settings.k, min(len(training), max(_SHOWN, *settings.recall_at)))
    compared = (*gallery.on(pretrained.device), *queries.on(pretrained.device))
    neighbours, similarity, precision = (part.cpu() for part in rank(*compared, depth))
    labels = gallery.labels[neighbours]
    hits = labels == queries.labels[:, None]
    figures = {
        "vote": vote(labels[:, : settings.k], similarity[:, : settings.k]) == queries.labels,
        "map": precision,
        **{f"recall_at_{k}": hits[:, :k].any(dim=1) for k in settings.recall_at},
    }
    summary = summarize_labels(labels[:, 0], test)
    classes = len(test.class_names)
    summary |= {name: float(values.double().mean()) for name, values in figures.items()}
    rng = np.random.default_rng(settings.seed)
    shown = rng.permutation(len(test))[: settings.examples].tolist()
    layout = embedding_map(queries.values, queries.labels, seed=settings.seed)
    summary["details"] |= {
        "per_class": {
            "top1": summary["per_class"],
            **{
                name: class_means(values, queries.labels, classes)
                for name, values in figures.items()
            },
        },
        "examples": [
            {
                "query": int(test.indices[row]),
                "neighbours": training.indices[neighbours[row, :_SHOWN].numpy()].tolist(),
                "similarity": similarity[row, :_SHOWN].tolist(),
                "hits": hits[row, :_SHOWN].tolist(),
                **_pictured(
                    [(test, row), *((training, item) for item in neighbours[row, :_SHOWN])]
                ),
            }
            for row in shown
        ],
        "bones": [list(bone) for bone in test.skeleton.bones],
        "center": test.skeleton.center,
        **({"map": layout} if layout else {}),
    }
    return summary


_SHOWN = 5  # neighbours in an example
_FRAMES = 5  # frames of each sequence in an example


def _pictured(items: Sequence[tuple[SkeletonDataset, int | Tensor]]) -> dict[str, list[Any]]:
    """Return names, labels and a few upright frames (frames, M, V, C) of items of data sets."""
    names, labels, frames = [], [], []
    for dataset, item in items:
        batch = dataset.batch([int(item)])
        index = int(dataset.indices[int(item)])
        times = np.linspace(0, int(batch.lengths[0]) - 1, _FRAMES).round().astype(np.int64)
        people = rearrange(batch.clips[0], "c t v m -> t m v c").double().numpy()
        present = np.asarray(people.any(axis=(0, 2, 3)))
        present[0] = True
        names.append(sequence_name(dataset.store, index))
        labels.append(int(dataset.store.labels[index]))
        frames.append(dataset.upright(people[times][:, present]).round(3).tolist())
    return {"names": names, "labels": labels, "frames": frames}


class _Map(TypedDict):
    labels: list[int]
    pca: list[tuple[float, float]]
    tsne: list[tuple[float, float]]


class _Neighbours(TypedDict):
    names: list[str]
    labels: list[int]
    similarity: list[float]
    hits: list[bool]
    frames: list[list[list[list[list[float]]]]]


class _Details(RecognitionDetails, LayoutDetails, total=False):
    map: _Map
    examples: list[_Neighbours]


def _check(result: Result) -> None:
    check_recognition(result)
    details, classes = result.details, len(result.class_names)
    if "map" in details:
        counts = [len(details["map"][name]) for name in ("labels", "pca", "tsne")]
        good = len({*counts}) == 1 and counts[0]
        require(good, f"a map of as many labels and points, got {counts}")
    for at, example in enumerate(details.get("examples", ())):
        known = all(0 <= label < classes for label in example["labels"])
        require(known, f"examples[{at}].labels of {classes} classes")
        lengths = [len(example[name]) for name in ("frames", "labels", "names")]
        lengths += [len(example[name]) + 1 for name in ("similarity", "hits")]
        require(len({*lengths}) == 1, f"parts of examples[{at}] that fit, got {lengths}")
    check_examples(details, lambda example: example["frames"], axes=4)


def _maps(series: Series) -> Iterator[Picture]:
    for entry, name in series.first_with("map"):
        layout = entry.result.details["map"]
        maps = {"PCA": layout["pca"], "t-SNE": layout["tsne"]}
        yield Picture(
            f"Map of the features: {name}",
            f"Features of {len(layout['labels'])} test sequences, L2-normalised, in the plane: "
            "their two principal components, and t-SNE, which keeps neighbours together, while "
            "distances between groups mean little. A number marks the middle of its class. "
            f"{source_of([entry])}",
            [embedding_figure(maps, layout["labels"], entry.result.class_names)],
        )


def _galleries(series: Series) -> Iterator[Picture]:
    for entry, name in series.first_with("examples", "bones", "center"):
        details = entry.result.details
        layout = details["bones"], details["center"], entry.result.class_names
        if details["examples"]:
            yield Picture(
                f"Retrieval: {name}",
                "Random test sequences, each above the training sequences nearest to it, with the "
                "cosine similarity of their features. Sequences of the same class are blue, others "
                "orange. Recordings are drawn as stored: bodies float if each frame is centred. "
                f"{source_of([entry])}",
                [retrieval_figure(example, *layout) for example in details["examples"]],
            )


TASK = Task(
    about="Retrieval: the nearest training sequences by cosine similarity.",
    settings=KnnSettings,
    evaluate=evaluate_knn,
    headline=("top1", "vote", "map"),
    legend={
        "top1": "share of the test sequences whose nearest training sequence is of their class",
        "vote": "share of the test sequences given the right class by their k nearest training "
        "sequences, 5 by default",
        "map": "mean average precision of retrieval: training sequences in the order of "
        "similarity, where those of the same class are relevant",
        "recall_at_K": "share of the test sequences with their class among the K nearest training "
        "sequences",
    },
    details=_Details,
    check=_check,
    pictures=(_maps, _galleries, *PICTURES),
    frames=lambda _: "windows",
    also_called={"retrieval": "knn"},
)
