"""Recognition on a store: the linear probe and nearest neighbours as commands run them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from pcm3.data.dataset import SkeletonDataset
from pcm3.evaluation.features import extract_features, extract_random_crops
from pcm3.evaluation.knn import nearest_labels
from pcm3.evaluation.linear import SGDProbe, logistic_probe, sgd_probe
from pcm3.evaluation.metrics import accuracy, per_class_accuracy
from pcm3.hub import Pretrained

Solver = Literal["logistic", "sgd"]


def evaluate_linear(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    solver: Solver = "logistic",
    recipe: SGDProbe | None = None,
    regularization: float = 1.0,
) -> dict[str, Any]:
    """Linear probe of a frozen encoder.

    Args:
        pretrained: The encoder and how it wants its clips.
        training: Labelled training part.
        test: Labelled test part.
        solver: ``"logistic"`` fits once on features of the centre crop, in seconds;
            ``"sgd"`` is the reference protocol with new random crops every epoch.
        recipe: Schedule of ``"sgd"``.
        regularization: Of ``"logistic"``: the inverse strength of its L2 penalty.

    Returns:
        ``top1`` and ``per_class`` accuracies as fractions.

    Raises:
        ValueError: If a sequence has no label, or the data do not fit the encoder.
    """
    scores = linear_scores(pretrained, training, test, solver, recipe, regularization)
    return summarize(scores, test)


def linear_scores(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    solver: Solver = "logistic",
    recipe: SGDProbe | None = None,
    regularization: float = 1.0,
) -> Tensor:
    """Scores ``(N, classes)`` of the linear probe for the test part, see ``evaluate_linear``."""
    check_labels(training, test)
    classes = len(test.class_names)
    test_features = extract_features(pretrained, test).values
    recipe = recipe or SGDProbe()
    if solver == "sgd":
        generator = torch.Generator().manual_seed(recipe.seed)
        return sgd_probe(
            lambda: extract_random_crops(pretrained, training, generator),
            test_features,
            classes,
            recipe,
        )
    features = extract_features(pretrained, training)
    return logistic_probe(features, test_features, classes, regularization)


def summarize(scores: Tensor, test: SkeletonDataset) -> dict[str, Any]:
    """``top1`` and ``per_class`` accuracies of scores ``(N, classes)`` for a test part."""
    labels = torch.as_tensor(test.labels)
    return _summary(scores.argmax(dim=1), labels, len(test.class_names))


def evaluate_knn(
    pretrained: Pretrained, training: SkeletonDataset, test: SkeletonDataset, k: int = 1
) -> dict[str, Any]:
    """Nearest-neighbour retrieval with the features of a frozen encoder.

    Returns:
        ``top1`` and ``per_class`` accuracies as fractions.

    Raises:
        ValueError: If a sequence has no label, or the data do not fit the encoder.
    """
    check_labels(training, test)
    gallery = extract_features(pretrained, training)
    queries = extract_features(pretrained, test)
    predicted = nearest_labels(gallery.values, gallery.labels, queries.values, k)
    return _summary(predicted, queries.labels, len(test.class_names))


def check_labels(*datasets: SkeletonDataset) -> None:
    """Require a label of every sequence.

    Raises:
        ValueError: Naming the first sequence without one.
    """
    for dataset in datasets:
        if (dataset.labels < 0).any():
            index = int(dataset.indices[dataset.labels < 0][0])
            raise ValueError(
                f"expected labelled sequences, but in {dataset.store.path} sequence {index} has "
                "no label"
            )


def _summary(predicted: torch.Tensor, labels: torch.Tensor, classes: int) -> dict[str, Any]:
    return {
        "top1": accuracy(predicted, labels),
        "per_class": per_class_accuracy(predicted, labels, classes),
    }
