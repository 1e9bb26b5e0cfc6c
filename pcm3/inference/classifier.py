"""A trained classifier of recordings: encoder, head, class names and calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pcm3.augment.functional import center_crop_resize
from pcm3.checks import check_tensor, type_name
from pcm3.data.dataset import LONGEST, SkeletonDataset
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.recognizer import Recognizer, recognition_scores
from pcm3.heads import FinetuneHead
from pcm3.inference.intake import Intake
from pcm3.skeleton import to_stream

How: TypeAlias = Literal["linear", "knn", "finetune"]
"""How a classifier is fitted."""

UNKNOWN = "unknown"
"""Label of recordings whose likeliest class is not likely enough."""


class Neighbours(nn.Module):
    """The head of nearest neighbours: all labelled recordings vote for their class.

    A vote weighs ``exp(cosine / temperature)``, with the cosine similarity of the features. The
    lower the temperature, the fewer of the nearest recordings decide.

    Args:
        gallery: Features of the labelled recordings ``(G, D)``, those of each class together, in
            the order of the classes.
        sizes: Number of recordings of each class ``(K,)``, int64, at least 1.

    Shapes:
        ``(N, D)`` to the logarithms of the votes ``(N, K)``.

    Raises:
        ValueError: If the sizes do not add up to the gallery.
    """

    def __init__(self, gallery: Tensor, sizes: Tensor) -> None:
        super().__init__()
        self.sizes: Tensor
        self.gallery: Tensor
        counts = [int(size) for size in sizes]
        if sum(counts) != len(gallery) or min(counts, default=0) < 1:
            raise ValueError(f"expected sizes >= 1 that add up to {len(gallery)}, got {counts}")
        self.register_buffer("gallery", F.normalize(gallery.float(), dim=1))
        self.register_buffer("sizes", sizes)
        self._counts = counts  # what torch.export can trace

    def forward(self, features: Tensor, temperature: float = 1.0) -> Tensor:
        """Logarithms of the summed votes ``(N, K)`` for features ``(N, D)``."""
        votes = F.normalize(features.float(), dim=1) @ self.gallery.T / temperature
        parts = votes.split(self._counts, dim=1)
        return torch.stack([part.logsumexp(dim=1) for part in parts], dim=1)


def log_probabilities(head: nn.Module, values: Tensor, temperature: float) -> Tensor:
    """Logarithms of probabilities ``(N, K)``, softened by a temperature.

    Args:
        head: The head of a classifier.
        values: Features ``(N, D)`` for ``Neighbours``; the scores ``(N, K)`` of any other head.
        temperature: Above 1 softens, below 1 sharpens.
    """
    scores = head(values, temperature) if isinstance(head, Neighbours) else values / temperature
    return F.log_softmax(scores.float(), dim=1)


@dataclass(frozen=True, kw_only=True)
class Classifier(Intake):
    """A trained classifier, as ``fit_classifier`` makes it and ``load_classifier`` reads it.

    Attributes:
        head: ``Neighbours`` or ``nn.Linear`` on sequence features, or a ``FinetuneHead`` on tokens.
        class_names: Names of the classes.
        how: How it was fitted.
        label: The column of the store that the classes come from; None for its classes.
        temperature: Of the probabilities.
        threshold: A label with a lower probability is ``"unknown"``.
        window: Frames of a window of long recordings.
        longest: Frames of the longest recording that it was fitted on. Recordings of more than
            twice as many are long.
        background: Whether the last class is the background of untrimmed recordings, which
            the classifier was fitted on in windows.
        made: How the classifier was made, JSON-able.
    """

    head: nn.Module
    class_names: tuple[str, ...]
    how: How
    label: str | None
    temperature: float
    threshold: float
    window: int
    longest: int
    background: bool = False
    made: Mapping[str, Any] = field(default_factory=dict)

    def predict_proba(
        self, recordings: Store | SkeletonDataset | Tensor, lengths: Tensor | None = None
    ) -> NDArray[np.float32]:
        """Probabilities of the classes for whole recordings.

        Recordings of more than 300 frames are read in windows of 300 that overlap by half; the mean
        of the windows' features counts, or with a ``FinetuneHead`` that of their scores.

        Args:
            recordings: A store, a data set, or clips ``(N, C, T, V, M)`` of joint coordinates that
                are normalised as the classifier's recordings were.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.

        Returns:
            ``(N, classes)``; rows sum to 1.

        Raises:
            ValueError: If the recordings do not fit the classifier.
        """
        return self.log_proba(recordings, lengths).exp().numpy()

    @torch.no_grad()
    def log_proba(
        self, recordings: Store | SkeletonDataset | Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """Logarithms of the probabilities of ``predict_proba`` ``(N, classes)``, on the CPU.

        Raises:
            ValueError: As ``predict_proba``.
        """
        if isinstance(recordings, Store):
            recordings = self.clips(recordings)
        if isinstance(recordings, SkeletonDataset):
            values = scores_or_features(self.pretrained, self.head, recordings)
        else:
            values = self._of_clips(recordings, lengths)
        return log_probabilities(self.head, values, self.temperature)

    def predict(
        self,
        recordings: Store | SkeletonDataset | Tensor,
        lengths: Tensor | None = None,
        threshold: float | None = None,
    ) -> list[str]:
        """The likeliest class of each recording, or ``"unknown"``.

        Args:
            recordings: As of ``predict_proba``.
            lengths: As of ``predict_proba``.
            threshold: Least probability of a known label; by default that of the classifier, 0 for
                none.

        Raises:
            ValueError: As ``predict_proba``.
        """
        probabilities = self.predict_proba(recordings, lengths)
        return [self.name(row, threshold) for row in probabilities]

    def name(self, probabilities: NDArray[np.float32], threshold: float | None = None) -> str:
        """The name of the likeliest of some probabilities (classes,), or ``"unknown"``."""
        best = int(probabilities.argmax())
        least = self.threshold if threshold is None else threshold
        return UNKNOWN if probabilities[best] < least else self.class_names[best]

    def _of_clips(self, clips: Tensor, lengths: Tensor | None) -> Tensor:
        if not isinstance(clips, Tensor):
            raise ValueError(
                f"expected a Store, a SkeletonDataset or clips (N, C, T, V, M), got "
                f"{type_name(clips)}"
            )
        encoder, skeleton, stream, frames, *_ = self.pretrained
        encoder.check_clips(clips)
        if lengths is not None:
            check_tensor("lengths", lengths)
        resized = to_stream(center_crop_resize(clips, lengths, frames), skeleton, stream)
        if isinstance(self.head, FinetuneHead):
            scores: Tensor = Recognizer(encoder, self.head.to(clips.device))(resized)
            return scores.float().cpu()
        return _scores(self.head, encoder.pool(encoder(resized)).float().cpu())


@torch.no_grad()
def scores_or_features(pretrained: Pretrained, head: nn.Module, dataset: SkeletonDataset) -> Tensor:
    """What ``log_probabilities`` takes for a head: features for ``Neighbours``, else scores.

    Raises:
        ValueError: If the data do not fit the encoder.
    """
    if isinstance(head, FinetuneHead):
        windows = dataset
        if int(dataset.lengths.max(initial=0)) > LONGEST:
            windows = dataset.windows(LONGEST)
        device = pretrained.device
        model = Recognizer(pretrained.encoder, head.to(device)).eval()
        each = recognition_scores(pretrained, model, windows)
        if windows is dataset:
            return each
        parents = torch.from_numpy(windows.parents)
        sums = each.new_zeros(len(dataset), each.shape[1]).index_add_(0, parents, each)
        return sums / torch.bincount(parents, minlength=len(dataset))[:, None]
    return _scores(head, extract_features(pretrained, dataset).values)


def _scores(head: nn.Module, features: Tensor) -> Tensor:
    if isinstance(head, Neighbours):
        return features  # whose scores depend on the temperature
    scores: Tensor = head(features)
    return scores
