"""The linear probe: how well a linear classifier reads frozen features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pcm3._checks import check_at_least, check_positive, check_rows_finite, check_seed
from pcm3.evaluation.features import Features
from pcm3.heads import Classifier, ProbeHead
from pcm3.training.optimization import set_rate
from pcm3.training.progress import track


@dataclass(frozen=True)
class SGDProbe:
    """The reference recipe of the linear evaluation (ISC, CMD; PCM3 Sec. 4.3).

    Attributes:
        epochs: Passes over the training part.
        batch_size: Sequences a step.
        lr: SGD learning rate, momentum 0.9, no weight decay.
        drops: Epochs, counted from 0, at which the rate falls tenfold; by default after 5/8 and
            7/8 of them.
        seed: Of weights, data order and clips.
        degrees: By how much training clips are turned at most, about each axis.

    Raises:
        ValueError: If a number is out of range.
    """

    epochs: int = 80
    batch_size: int = 64
    lr: float = 0.1
    drops: tuple[int, ...] | None = None
    seed: int = 0
    degrees: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr"):
            check_positive(name, getattr(self, name))
        check_drops(self.drops, self.epochs)
        check_seed(self.seed)

    @property
    def milestones(self) -> list[int]:
        """The epochs of the drops."""
        shares = (self.epochs * 5 // 8, self.epochs * 7 // 8)
        return list(shares if self.drops is None else self.drops)

    def rate(self, epoch: float) -> float:
        """The learning rate at a fractional epoch."""
        return self.lr * 0.1 ** sum(epoch >= drop for drop in self.milestones)

    def head(self, width: int, classes: int) -> Classifier:
        """A linear classifier of features of this width."""
        return Classifier(width, classes)


@dataclass(frozen=True)
class MAMPProbe:
    """MAMP's recipe: features normalised over each batch, a rate that falls to 0 by a cosine.

    One sequence that is left over at the end of an epoch is left out.

    Attributes:
        epochs: Passes over the training part.
        batch_size: Sequences a step, at least 2.
        lr: SGD learning rate, momentum 0.9, no weight decay.
        seed: Of weights, data order and clips.
        degrees: By how much training clips are turned at most, about each axis.

    Raises:
        ValueError: If a number is out of range.

    Source:
        The linear evaluation of MAMP (Mao et al., ICCV 2023), of the last epoch, not the best.
    """

    epochs: int = 100
    batch_size: int = 256
    lr: float = 0.1
    seed: int = 0
    degrees: ClassVar[float] = math.degrees(0.3)

    def __post_init__(self) -> None:
        check_positive("epochs", self.epochs)
        check_at_least("batch_size", self.batch_size, 2)
        check_positive("lr", self.lr)
        check_seed(self.seed)

    def rate(self, epoch: float) -> float:
        """The learning rate at a fractional epoch."""
        return self.lr * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))

    def head(self, width: int, classes: int) -> ProbeHead:
        """A normalisation and a linear classifier of features of this width."""
        return ProbeHead(width, classes)


def check_drops(drops: tuple[int, ...] | None, epochs: int) -> None:
    """Require that a learning rate falls, where it does, before the last epoch ends.

    Raises:
        ValueError: With the drops that come too late.
    """
    late = [drop for drop in drops or () if not 0 <= drop < epochs]
    if late:
        raise ValueError(f"expected drops in [0, epochs={epochs}), got {late}")


def sgd_probe(
    draw_training: Callable[[], Features],
    test: Tensor,
    classes: int,
    recipe: SGDProbe | MAMPProbe,
) -> Tensor:
    """Train a linear classifier by SGD and return its scores of the last epoch.

    Args:
        draw_training: Gives the training features of an epoch: called once for each, so that
            the crops are drawn anew.
        test: Test features ``(N, D)``.
        classes: Number of classes.
        recipe: Classifier and schedule.

    Returns:
        Scores ``(N, classes)``, the logits.

    Raises:
        ValueError: If there are too few training features for the recipe, one is not finite (the
            message names its row), or the loss stops being finite.
    """
    classifier = train_classifier(draw_training, test.shape[1], classes, recipe)
    with torch.no_grad():
        scores: Tensor = classifier(test)
    return scores


def train_classifier(
    draw_training: Callable[[], Features], width: int, classes: int, recipe: SGDProbe | MAMPProbe
) -> Classifier | ProbeHead:
    """The linear classifier of ``sgd_probe``, for features of this width, in evaluation mode.

    Raises:
        ValueError: As ``sgd_probe``.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    classifier = recipe.head(width, classes)
    least = 2 if isinstance(classifier, ProbeHead) else 1  # one alone has no statistics
    optimizer = torch.optim.SGD(classifier.parameters(), lr=recipe.lr, momentum=0.9)
    for epoch in track(recipe.epochs, "linear"):
        values, labels = draw_training()
        if len(values) < least:
            raise ValueError(f"expected at least {least} training sequences, got {len(values)}")
        check_rows_finite("training features", values)
        total = 0.0
        batches = torch.randperm(len(values), generator=generator).split(recipe.batch_size)
        for step, rows in enumerate(batches):
            if len(rows) < least:
                continue
            set_rate(optimizer, recipe.rate(epoch + step / len(batches)))
            loss = F.cross_entropy(classifier(values[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ValueError(
                f"the loss became {total} in epoch {epoch + 1}; lower lr (now {recipe.lr})"
            )
    return classifier.eval()


def logistic_probe(
    training: Features, test: Tensor, classes: int, regularization: float = 1.0
) -> Tensor:
    """Fit multinomial logistic regression on standardised features, all at once.

    Args:
        training: Training features.
        test: Test features ``(N, D)``.
        classes: Number of classes.
        regularization: scikit-learn's C, the inverse strength of the L2 penalty.

    Returns:
        Scores ``(N, classes)``: logarithms of the probabilities, -inf for classes that the training
        part lacks.

    Raises:
        ValueError: If a feature is not finite; the message names its row.
    """
    return fit_logistic(training, classes, regularization)(test)


def fit_logistic(
    training: Features, classes: int, regularization: float = 1.0
) -> Callable[[Tensor], Tensor]:
    """The classifier of ``logistic_probe``: from features ``(N, D)`` to its scores.

    Raises:
        ValueError: If a training feature is not finite; the message names its row.
    """
    check_rows_finite("training features", training.values)
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=regularization, max_iter=2000)
    )
    classifier.fit(training.values.numpy(), training.labels.numpy())

    def score(features: Tensor) -> Tensor:
        check_rows_finite("features", features)
        if len(features) == 0:
            return torch.zeros(0, classes)
        # not predict_log_proba, which gives -inf where a probability is below float32's smallest
        margins = torch.as_tensor(
            classifier.decision_function(features.numpy()), dtype=torch.float32
        )
        if margins.ndim == 1:  # of two classes, the second's
            margins = torch.stack([torch.zeros_like(margins), margins], dim=1)
        scores = torch.full((len(features), classes), -torch.inf)
        scores[:, torch.as_tensor(classifier.classes_)] = margins.log_softmax(dim=1)
        return scores

    return score
