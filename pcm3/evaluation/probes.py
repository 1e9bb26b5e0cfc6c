"""The linear probe, a linear classifier on frozen features."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3.checks import (
    check_at_least,
    check_positive,
    check_rows_finite,
    check_seed,
    check_tensor,
    type_name,
)
from pcm3.evaluation.features import Features
from pcm3.evaluation.supervised import Epoch, train
from pcm3.heads import Classifier, ProbeHead
from pcm3.schedules import schedule

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class ProbeRecipe:
    """A paper's training of its linear classifier: SGD with momentum 0.9, without weight decay.

    Attributes:
        epochs: Number of passes over the training part.
        batch_size: Number of sequences per step. With ``normalize``, a last batch of one sequence
            is left out.
        lr: Learning rate at the start.
        drops: Epochs, counted from 0, at which the rate falls tenfold; None lets it fall to 0
            along a half cosine, step by step.
        normalize: Whether features are normalised over each batch before the linear map.
        degrees: Largest angle by which training clips are rotated about each axis.
        seed: Seed of weights, data order and clips.
    """

    epochs: int
    batch_size: int
    lr: float
    drops: tuple[float, ...] | None
    normalize: bool = False
    degrees: float = 0.0
    seed: int = 0

    def factor(self, epoch: float) -> float:
        """Return the factor of the learning rate at a fractional epoch."""
        return schedule(epoch, self.epochs, drops=self.drops)

    def head(self, width: int, classes: int) -> Classifier | ProbeHead:
        """Make a linear classifier of features of this width."""
        return (ProbeHead if self.normalize else Classifier)(width, classes)

    def __str__(self) -> str:
        falls = "a cosine"
        if self.drops is not None:
            falls = f"drops at {' '.join(f'{drop:g}' for drop in self.drops) or 'no epoch'}"
        return f"{self.epochs} epochs, batch {self.batch_size}, lr {self.lr:g}, {falls}"


_MAMP = ProbeRecipe(100, 256, 0.1, None, normalize=True, degrees=math.degrees(0.3))

PROBES: dict[str, ProbeRecipe] = {
    "pcm3": ProbeRecipe(100, 1024, 0.1, (20, 50, 80)),
    "cmd": ProbeRecipe(80, 64, 0.1, (50, 70)),
    "mamp": _MAMP,
    "mamp-pku1": replace(_MAMP, batch_size=128),
    "mamp-pku2": replace(_MAMP, batch_size=32, lr=0.01),
}
"""The published linear evaluations: those of PCM3, of CMD (ECCV 2022) and ISC, and of MAMP (ICCV
2023) on NTU RGB+D and on both parts of PKU-MMD. Here all use the last epoch, while the published
code keeps the epoch that is best on the test part."""


@dataclass(frozen=True)
class ProbeSettings:
    """Changes to a published linear evaluation; None leaves a value as published.

    Raises:
        ValueError: If a number is out of range.
    """

    epochs: int | None = None
    """Passes over the training part; other numbers keep the shape of the schedule."""
    batch_size: int | None = None
    """Number of sequences per step."""
    lr: float | None = None
    """SGD learning rate at the start."""
    drops: tuple[int, ...] | None = None
    """Epochs, counted from 0, at which the rate falls tenfold; for pcm3 and cmd."""
    seed: int = 0
    """Seed of weights, data order and clips."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        check_seed(self.seed)

    def applied_to(self, solver: str) -> ProbeRecipe:
        """Return the recipe of a solver, one of ``PROBES``, with these changes.

        Raises:
            ValueError: If a change does not fit the solver.
        """
        published = PROBES[solver]
        epochs = published.epochs if self.epochs is None else self.epochs
        drops = published.drops
        if drops is None and self.drops is not None:
            raise ValueError(f"drops have no effect on {solver}, whose rate follows a cosine")
        if self.drops is not None:
            check_drops(self.drops, epochs)
            drops = self.drops
        elif drops is not None:
            drops = tuple(drop * epochs / published.epochs for drop in drops)
        batch_size = published.batch_size if self.batch_size is None else self.batch_size
        if published.normalize:
            check_at_least("batch_size", batch_size, 2)
        lr = published.lr if self.lr is None else self.lr
        return replace(
            published, epochs=epochs, batch_size=batch_size, lr=lr, drops=drops, seed=self.seed
        )


def check_drops(drops: tuple[int, ...] | None, epochs: int) -> None:
    """Require that a learning rate falls before the last epoch ends, if at all.

    Raises:
        ValueError: If a drop comes too late.
    """
    late = [drop for drop in drops or () if not 0 <= drop < epochs]
    if late:
        raise ValueError(f"expected drops in [0, epochs={epochs}), got {late}")


def train_classifier(
    draw_training: Callable[[], Features], width: int, classes: int, recipe: ProbeRecipe
) -> Classifier | ProbeHead:
    """Train a linear classifier by SGD.

    Args:
        draw_training: Returns the training features of an epoch. It is called once for each epoch,
            so that crops are drawn anew.
        width: Width D of the features.
        classes: Number of classes.
        recipe: Classifier and schedule.

    Returns:
        The classifier of the last epoch, in evaluation mode, which maps features ``(N, D)`` to
        logits ``(N, classes)``.

    Raises:
        ValueError: If there are too few training features for the recipe, a feature is not finite
            (the message names its row), or the loss stops being finite.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    classifier = recipe.head(width, classes)
    least = 2 if recipe.normalize else 1  # a single sequence has no statistics
    optimizer = torch.optim.SGD(classifier.parameters(), lr=recipe.lr, momentum=0.9)

    def draw() -> Epoch[Tensor]:
        values, labels = draw_training()
        if len(values) < least:
            raise ValueError(f"expected at least {least} training sequences, got {len(values)}")
        _check_features(Features(values, labels), classes)
        batches = torch.randperm(len(values), generator=generator).split(recipe.batch_size)
        return batches, lambda rows: F.cross_entropy(classifier(values[rows]), labels[rows])

    train("linear", optimizer, recipe.epochs, draw, recipe.factor, least=least)
    return classifier.eval().requires_grad_(False)


def fit_logistic(
    training: Features, classes: int, regularization: float = 1.0
) -> Callable[[Tensor], Tensor]:
    """Fit multinomial logistic regression on standardised features, all at once.

    Args:
        training: Training features.
        classes: Number of classes.
        regularization: scikit-learn's C, the inverse strength of the L2 penalty.

    Returns:
        The classifier, a function that maps features ``(N, D)`` to scores ``(N, classes)``:
        logarithms of the probabilities, -inf for classes that the training part lacks. It raises a
        ``ValueError`` that names the row if a feature is not finite.

    Raises:
        ValueError: If a training feature is not finite (the message names its row), or a label is
            not in [0, classes).
    """
    classifier = _fit(training, classes, regularization)

    def score(features: Tensor) -> Tensor:
        check_rows_finite("features", features)
        if len(features) == 0:
            return torch.zeros(0, classes)
        # not predict_log_proba, which gives -inf if a probability is below float32's smallest
        margins = torch.as_tensor(
            classifier.decision_function(features.numpy()), dtype=torch.float32
        )
        if margins.ndim == 1:  # of two classes only the second has a margin
            margins = torch.stack([torch.zeros_like(margins), margins], dim=1)
        scores = torch.full((len(features), classes), -torch.inf)
        scores[:, torch.as_tensor(classifier.classes_)] = margins.log_softmax(dim=1)
        return scores

    return score


def fit_ridge(
    training: Features, classes: int, regularization: float = 1.0
) -> Callable[[Tensor], Tensor]:
    """Fit ridge regression of the labels, as indicators, on standardised features.

    It has a closed form, so it is fast even with many features of many sequences.

    Args:
        training: Training features, of at least one sequence.
        classes: Number of classes.
        regularization: The weight of the squared coefficients beside the sum of squared errors.

    Returns:
        The classifier, a function that maps features ``(N, D)`` to scores ``(N, classes)``.

    Raises:
        ValueError: If a training feature is not finite (the message names its row), or a label is
            not in [0, classes).
    """
    _check_features(training, classes)
    values = training.values.double()
    center, scale = values.mean(dim=0), values.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-12 * values.abs().amax(dim=0), scale, 1.0)
    values = (values - center) / scale
    targets = F.one_hot(training.labels, classes).double()
    shares = targets.mean(dim=0)
    gram = values.T @ values
    gram.diagonal().add_(regularization)
    weight = torch.linalg.solve(gram, values.T @ (targets - shares))

    def score(features: Tensor) -> Tensor:
        check_rows_finite("features", features)
        scores: Tensor = ((features.double() - center) / scale) @ weight + shares
        return scores.float()

    return score


def logistic_head(training: Features, classes: int, regularization: float = 1.0) -> nn.Linear:
    """Fit what ``fit_logistic`` fits as one linear map, with the standardisation in its weights.

    Args:
        training: Training features, of every class.
        classes: Number of classes.
        regularization: scikit-learn's C, the inverse strength of the L2 penalty.

    Returns:
        Features ``(N, D)`` to logits ``(N, classes)``, without gradient.

    Raises:
        ValueError: If a class has no training feature, or a feature is not finite.
    """
    _check_features(training, classes)
    missing = sorted(set(range(classes)) - set(training.labels.tolist()))
    if missing:
        raise ValueError(f"expected training features of {classes} classes, got none of {missing}")
    scaler, regression = (step for _, step in _fit(training, classes, regularization).steps)
    weight = regression.coef_ / scaler.scale_
    bias = regression.intercept_ - weight @ scaler.mean_
    if len(weight) == 1:  # of two classes, the second's
        weight, bias = (np.concatenate([np.zeros_like(each), each]) for each in (weight, bias))
    head = nn.Linear(weight.shape[1], classes).requires_grad_(False)
    head.load_state_dict({"weight": torch.as_tensor(weight), "bias": torch.as_tensor(bias)})
    return head


def _check_features(training: Features, classes: int) -> None:
    """Require training features with labels of known classes.

    Raises:
        ValueError: If they are no ``Features`` of tensors, a label is not in [0, classes), or a
            feature is not finite; the message names its row.
    """
    if not isinstance(training, Features):
        raise ValueError(f"expected Features(values, labels), got {type_name(training)}")
    values, labels = training
    check_tensor("training features", values)
    check_tensor("labels", labels)
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        shapes = f"{tuple(values.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected training features (N, D) and labels (N,), got {shapes}")
    wrong = ((labels < 0) | (labels >= classes)).nonzero()[:, 0].tolist()
    if wrong:
        raise ValueError(
            f"expected labels in [0, {classes}), got {labels[wrong[0]].item()} in row {wrong[0]}; "
            "leave out sequences without a label"
        )
    check_rows_finite("training features", values)


def _fit(training: Features, classes: int, regularization: float) -> Pipeline:
    """Fit standardisation and logistic regression.

    Raises:
        ValueError: As ``_check_features``.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - scikit-learn is slow
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    _check_features(training, classes)
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=regularization, max_iter=2000)
    )
    with warnings.catch_warnings():
        # labels are classes, however few sequences each has
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        return classifier.fit(training.values.numpy(), training.labels.numpy())
