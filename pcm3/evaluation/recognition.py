"""Recognition on a store: the linear probe and nearest neighbours as commands run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from pcm3.checks import check_at_least, check_different, check_not_empty, check_seed
from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.features import (
    Features,
    check_cut,
    extract_features,
    extract_random_crops,
)
from pcm3.evaluation.metrics import (
    accuracy,
    check_scores,
    class_means,
    confusion_matrix,
    per_class_accuracy,
)
from pcm3.evaluation.neighbours import rank, vote
from pcm3.evaluation.probes import Probe, ProbeRecipe, fit_logistic, train_classifier
from pcm3.viz.maps import embedding_map

Solver = Literal["logistic", "pcm3", "cmd", "mamp", "mamp-pku1", "mamp-pku2"]


@dataclass(frozen=True)
class Linear:
    """How the linear classifier is fitted."""

    solver: Solver = "logistic"
    """Logistic regression on centre crops, or a published protocol: that of PCM3, of CMD and ISC,
    or of MAMP, which has others for PKU-MMD I and II."""
    regularization: float = 1.0
    """Of logistic: the inverse strength of its L2 penalty."""
    probe: Probe = field(default_factory=Probe)
    """What to do otherwise than the published protocol."""

    def __post_init__(self) -> None:
        if self.solver not in get_args(Solver):
            raise ValueError(f"expected a solver among {get_args(Solver)}, got {self.solver!r}")
        if not self.regularization > 0:
            raise ValueError(f"expected regularization > 0, got {self.regularization}")
        name, default = ("probe", Probe()) if self.solver == "logistic" else ("regularization", 1)
        if getattr(self, name) != default:
            raise ValueError(f"{name} has no effect on solver {self.solver}")
        _ = self.recipe

    @property
    def recipe(self) -> ProbeRecipe | None:
        """What the solver does; None of logistic regression."""
        return None if self.solver == "logistic" else self.probe.applied_to(self.solver)

    def describe(self) -> list[str]:
        """What to say of a figure: how a published protocol trains; nothing of logistic."""
        return [f"classifier trained for {self.recipe}"] if self.recipe else []


def evaluate_linear(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: Linear = Linear(),
) -> dict[str, Any]:
    """Linear probe of a frozen encoder.

    Args:
        pretrained: The encoder and how it wants its clips.
        training: Labelled training part.
        test: Labelled test part.
        settings: How the classifier is fitted.

    Returns:
        ``top1`` and ``per_class`` accuracies as fractions; ``details``: ``confusion`` (rows are
        the true classes), ``predicted`` and ``labels`` of each sequence; and ``notes``, what the
        solver did.

    Raises:
        ValueError: If a sequence has no label, the data do not fit the encoder, or solver
            ``"logistic"`` has a single class to learn.
    """
    result = summarize(linear_scores(pretrained, training, test, settings), test)
    result["details"]["notes"] = settings.describe()
    return result


def linear_scores(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: Linear = Linear(),
) -> Tensor:
    """Scores ``(N, classes)`` of the linear probe for the test part, see ``evaluate_linear``."""
    check_labels(training, test)
    check_classes(training, settings)
    if settings.recipe is not None:
        check_cut(training, test)
    probe = fit_probe(pretrained, training, len(test.class_names), settings)
    return probe(extract_features(pretrained, test).values)


def fit_probe(
    pretrained: Pretrained, training: ClipDataset, classes: int, settings: Linear = Linear()
) -> Callable[[Tensor], Tensor]:
    """The classifier of ``evaluate_linear``: from features (N, D) to scores (N, classes)."""
    recipe = settings.recipe
    if recipe is None:
        features = extract_features(pretrained, training)
        return fit_logistic(features, classes, settings.regularization)
    generator = torch.Generator().manual_seed(recipe.seed)

    def draw() -> Features:
        return extract_random_crops(pretrained, training, generator, degrees=recipe.degrees)

    classifier = train_classifier(draw, pretrained.encoder.out_features, classes, recipe)
    return classifier.requires_grad_(False)


def summarize(scores: Tensor, test: SkeletonDataset) -> dict[str, Any]:
    """What ``evaluate_linear`` returns, of scores ``(N, classes)`` for a test part.

    Raises:
        ValueError: If a score is NaN or +infinity.
    """
    check_scores("scores", scores)
    return summarize_labels(scores.argmax(dim=1), test)


@dataclass(frozen=True)
class Retrieval:
    """What is asked of the neighbours of a test sequence."""

    k: int = 5
    """Neighbours that vote, beside the nearest alone."""
    recall_at: tuple[int, ...] = (1, 5, 10)
    """Numbers of neighbours among which one of the right class is looked for."""
    examples: int = 6
    """Test sequences whose nearest neighbours are listed."""
    seed: int = 0
    """Which ones."""

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
    settings: Retrieval = Retrieval(),
) -> dict[str, Any]:
    """Look the test sequences up among the training sequences, by cosine similarity.

    Args:
        pretrained: The encoder and how it wants its clips.
        training: Labelled gallery.
        test: Labelled queries.
        settings: How many neighbours count.

    Returns:
        Fractions: ``top1`` (the nearest has the right label) and its ``per_class``; ``vote`` (the
        label that most of k neighbours have); ``map`` (mean average precision, everything of the
        query's class being relevant); ``recall_at_K`` (share of queries with their class among
        the first K neighbours, of which there are no more than the gallery holds). ``details``:
        those of ``evaluate_linear`` for the nearest neighbour, ``per_class`` of every figure, and
        ``examples``: the store's indices of a query and of its five nearest neighbours, with
        their similarity and whether they hit, and of all six, the query first, ``names``,
        ``labels`` and ``frames``: five of them (5, M, V, C), evenly spaced, of the persons that
        are there, the second coordinate pointing up (``Store.upright``). ``bones`` and
        ``center`` of the skeleton. ``map``: the test features in the plane, see
        ``embedding_map``; not where there are too few.

    Raises:
        ValueError: If a sequence has no label, the data do not fit the encoder, or fewer than k
            sequences are there to vote.
    """
    check_labels(training, test)
    gallery = extract_features(pretrained, training)
    queries = extract_features(pretrained, test)
    depth = max(settings.k, min(len(training), max(_SHOWN, *settings.recall_at)))
    neighbours, similarity, precision = rank(
        gallery.values, gallery.labels, queries.values, queries.labels, depth
    )
    found = gallery.labels[neighbours]
    hits = found == queries.labels[:, None]
    each = {
        "vote": vote(found[:, : settings.k], similarity[:, : settings.k]) == queries.labels,
        "map": precision,
        **{f"recall_at_{k}": hits[:, :k].any(dim=1) for k in settings.recall_at},
    }
    summary = summarize_labels(found[:, 0], test)
    classes = len(test.class_names)
    summary |= {name: float(values.double().mean()) for name, values in each.items()}
    rng = np.random.default_rng(settings.seed)
    shown = rng.permutation(len(test))[: settings.examples].tolist()
    layout = embedding_map(queries.values, queries.labels, seed=settings.seed)
    summary["details"] |= {
        "per_class": {
            "top1": summary["per_class"],
            **{name: class_means(each[name], queries.labels, classes) for name in each},
        },
        "examples": [
            {
                "query": int(test.indices[row]),
                "neighbours": training.indices[neighbours[row, :_SHOWN].numpy()].tolist(),
                "similarity": similarity[row, :_SHOWN].tolist(),
                "hits": hits[row, :_SHOWN].tolist(),
                **_pictured([(test, row), *((training, at) for at in neighbours[row, :_SHOWN])]),
            }
            for row in shown
        ],
        "bones": [list(bone) for bone in test.skeleton.bones],
        "center": test.skeleton.center,
        **({"map": layout} if layout else {}),
    }
    return summary


_SHOWN = 5  # neighbours of an example
_FRAMES = 5  # of each of its sequences


def _pictured(items: Sequence[tuple[SkeletonDataset, int | Tensor]]) -> dict[str, list[Any]]:
    """Names, labels and a few frames (frames, M, V, C), upright, of items of data sets."""
    names, labels, frames = [], [], []
    for dataset, item in items:
        batch = dataset.batch([int(item)])
        index = int(dataset.indices[int(item)])
        times = np.linspace(0, int(batch.lengths[0]) - 1, _FRAMES).round().astype(np.int64)
        people = rearrange(batch.clips[0], "c t v m -> t m v c").double().numpy()
        there = np.asarray(people.any(axis=(0, 2, 3)))
        there[0] = True
        names.append(sequence_name(dataset.store, index))
        labels.append(int(dataset.store.labels[index]))
        frames.append(dataset.store.upright(people[times][:, there]).round(3).tolist())
    return {"names": names, "labels": labels, "frames": frames}


def sequence_name(store: Store, index: int) -> str:
    """What to call a sequence; stores were once written without names.

    Raises:
        SkeletonFormatError: If the names are damaged.
    """
    named = (store.path / "names.npy").is_file() or "checksums" in store.meta
    return store.names[index] if named else f"sequence {index}"


def summarize_labels(predicted: Tensor, test: SkeletonDataset) -> dict[str, Any]:
    """What ``evaluate_linear`` returns, of predicted labels ``(N,)`` for a test part."""
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


def check_labels(*datasets: SkeletonDataset) -> None:
    """Require sequences, a label of each and, of a training and a test part, classes in common.

    Raises:
        ValueError: Naming the store without a sequence, the first sequence without a label, or
            that all test classes were kept out of training.
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
            "fewshot, or take another protocol"
        )


def check_classes(training: SkeletonDataset, settings: Linear) -> None:
    """Require the two classes that logistic regression needs.

    Raises:
        ValueError: Naming the store and its one class.
    """
    there = np.unique(training.labels).tolist()
    if settings.solver == "logistic" and len(there) < 2:
        names = "".join(f" ({training.class_names[label]!r})" for label in there)
        raise ValueError(
            f"expected a training part of at least 2 classes, got {len(there)}{names} in the "
            f"{len(training)} training sequences of {training.store.path}"
        )
