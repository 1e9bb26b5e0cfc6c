"""Novelty detection: how far recordings are from reference ones, which are taken to be normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pcm3.augment.functional import mirror
from pcm3.checks import check_at_least, check_share
from pcm3.data.store import Store
from pcm3.encoders.base import EncoderAdapter
from pcm3.encoders.files import Pretrained
from pcm3.inference.search import Gallery, Queries
from pcm3.skeleton import Skeleton

_FRAMES = 64  # that recordings are resized to for a comparison of joints
_CHUNK = 512  # recordings at a time
_UNKNOWN = -1
_ROUNDING = 1e-12  # of distances


@dataclass(frozen=True)
class Judgement:
    """How far a recording, or a window of it, is from the references.

    Attributes:
        recording: Name of the recording in its store.
        index: Number of the recording in its store.
        person: Number of the person, from 0; -1 if several are judged together.
        start: First frame.
        end: Frame after the last one.
        label: Class of the recording; empty if unknown.
        score: Mean cosine distance of the features to those of the k nearest references, in
            [0, 2].
        threshold: The score above which the recording is novel; None if it is unknown.
        reference: Name of the nearest reference.
        reference_index: Number of the nearest reference in its store.
        reference_start: First frame of the nearest reference.
        reference_end: Frame after its last one.
    """

    recording: str
    index: int
    person: int
    start: int
    end: int
    label: str
    score: float
    threshold: float | None
    reference: str
    reference_index: int
    reference_start: int
    reference_end: int

    @property
    def novel(self) -> bool | None:
        """Whether the score is above the threshold; None without a threshold.

        By more than rounding errors, as the threshold may be the score of the same reference.
        """
        return None if self.threshold is None else self.score > self.threshold + _ROUNDING


class NoveltyDetector:
    """Nearest-neighbour novelty detection: the score is the distance to the nearest references.

    A recording is compared with the references of its class, if its class is known, and otherwise
    with all references; but never with a reference of its own subject, and never with itself or a
    copy of the same bits. Recordings that are not of the store of the references, and those of a
    store without subjects, have no subject in common with a reference.

    The threshold of a class comes from the scores of its references, which are judged by the same
    rules. Of n scores it is the ceil(quantile * (n + 1))-th smallest, as in split conformal
    prediction, and the largest if n is too small for that. There is none if no reference can be
    judged, as if all are of one subject.

    Args:
        gallery: Features of the store.
        references: The recordings of the store that are references.
        k: The score is the mean distance to this many references.
        quantile: The share of new recordings like the references whose score is, on average, at
            most the threshold.
        same_subject: Compare recordings with references of their own subject too.
        across_classes: Compare recordings with references of all classes.

    Raises:
        ValueError: If a number is out of range, there are fewer references than ``k``, or the
            subject of a reference is unknown while others are known.

    Source:
        Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-Free Predictive Inference for
        Regression", Journal of the American Statistical Association, 2018, for the threshold.
    """

    def __init__(
        self,
        gallery: Gallery,
        references: ArrayLike,
        *,
        k: int = 1,
        quantile: float = 0.95,
        same_subject: bool = False,
        across_classes: bool = False,
    ) -> None:
        check_at_least("k", k, 1)
        check_share("quantile", quantile)
        store = gallery.store
        self.gallery, self.k, self.quantile = gallery, k, quantile
        self.across_classes = across_classes
        self._rows = np.flatnonzero(np.isin(gallery.indices, np.asarray(references)))
        if len(self._rows) < k:
            raise ValueError(f"expected at least k = {k} references, got {len(self._rows)}")
        original = store.columns["duplicate_of"]
        self._identity = np.where(original >= 0, original, np.arange(len(store)))
        self._subjects = store.columns.get("subjects", np.full(len(store), _UNKNOWN))
        self.by_subject = not same_subject and bool((self._subjects >= 0).any())
        self._recordings = gallery.indices[self._rows]
        self._check_subjects(self._recordings)
        self._classes = store.labels[self._recordings]
        self._values = gallery.values[torch.from_numpy(self._rows)]
        self._scores: dict[int, NDArray[np.float64]] = {}

    @property
    def references(self) -> NDArray[np.int64]:
        """The recordings of the store that are references, in their order."""
        return np.unique(self._recordings)

    @property
    def count(self) -> int:
        """Number of recordings that are references."""
        return len(self.references)

    @property
    def windowed(self) -> bool:
        """Whether references are compared in windows."""
        return len(self._rows) > self.count

    @property
    def enough(self) -> int | None:
        """Number of reference scores from which the quantile is not just the largest one.

        It is None for a quantile of 1, which is the largest score of any number.
        """
        return None if self.quantile == 1 else _ceil(self.quantile / (1 - self.quantile))

    def _check_subjects(self, recordings: NDArray[np.int64]) -> None:
        unknown = recordings[self._subjects[recordings] < 0]
        if self.by_subject and len(unknown):
            store = self.gallery.store
            raise ValueError(
                f"{store.path}: expected recordings of known subjects, as none is compared with "
                f"its own subject; that of {store.names[unknown[0]]!r} is unknown (-1); "
                "--same-subject compares all"
            )

    def _check_not_itself(self, recordings: NDArray[np.int64]) -> None:
        """Require that what is judged is not the only reference, or a copy of it."""
        references = np.unique(self._identity[self._recordings])
        alike = np.isin(self._identity[recordings], references) & (recordings >= 0)
        if len(references) == 1 and alike.all():
            raise ValueError(
                "expected a recording that is not the reference, got the same recording, "
                f"{self.gallery.store.names[references[0]]}, as both: none is compared with itself "
                "or a copy"
            )

    def nearest(
        self, values: Tensor, classes: ArrayLike, recordings: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Compare recordings with the references.

        Args:
            values: Features of the recordings ``(N, D)``.
            classes: Class of each in the store of the references (N,); -1 if unknown.
            recordings: Number of each in the store of the references (N,); -1 for others.

        Returns:
            Scores (N,), infinite where there are fewer than ``k`` references to compare with, and
            the row in the gallery of the nearest reference (N,). Of equally near ones the first.

        Raises:
            ValueError: If the subject of a recording is unknown while others are known.
        """
        classes, recordings = np.asarray(classes), np.asarray(recordings)
        self._check_subjects(recordings[recordings >= 0])
        references = F.normalize(self._values.double(), dim=1)
        scores = np.full(len(values), np.inf)
        nearest = np.zeros(len(values), np.int64)
        for first in range(0, len(values), _CHUNK):
            part = slice(first, first + _CHUNK)
            cosines = F.normalize(values[part].double(), dim=1) @ references.T
            distances = (1 - cosines).clamp(0, 2).numpy()
            distances[~self._comparable(classes[part], recordings[part])] = np.inf
            nearest[part] = self._rows[distances.argmin(axis=1)]
            scores[part] = _mean_of_smallest(distances, self.k)
        return scores, nearest

    def _comparable(
        self, classes: NDArray[np.int64], recordings: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which references each recording is compared with (N, references)."""
        classes, recordings = classes[:, None], recordings[:, None]
        comparable = self._identity[recordings] != self._identity[self._recordings]
        if self.by_subject:
            comparable &= self._subjects[recordings] != self._subjects[self._recordings]
        comparable |= recordings < 0
        if not self.across_classes:
            comparable &= (classes < 0) | (classes == self._classes)
        return np.asarray(comparable)

    def normal_scores(self, label: int) -> NDArray[np.float64]:
        """Scores of the references of a class (n,), the lowest first; of all references for -1.

        Those that have fewer than ``k`` others to be compared with are left out.
        """
        if self.across_classes:
            label = _UNKNOWN
        if label not in self._scores:
            own = np.flatnonzero((self._classes == label) | (label < 0))
            values = self._values[torch.from_numpy(own)]
            scores, _ = self.nearest(values, np.full(len(own), label), self._recordings[own])
            self._scores[label] = np.sort(scores[np.isfinite(scores)])
        return self._scores[label]

    def thresholds(self, classes: ArrayLike) -> NDArray[np.float64]:
        """The threshold of each class (N,), that of all references for -1; NaN if unknown."""
        classes = np.asarray(classes)
        thresholds = np.full(classes.shape, np.nan)
        for label in np.unique(classes).tolist():
            scores = self.normal_scores(label)
            if count := len(scores):
                rank = _ceil(self.quantile * (count + 1))
                thresholds[classes == label] = scores[min(max(rank, 1), count) - 1]
        return thresholds

    def judge(
        self, queries: Queries, features: Gallery, chosen: Sequence[int] | None = None
    ) -> tuple[list[Judgement], int]:
        """Judge recordings.

        Args:
            queries: The recordings.
            features: Features of ``queries.clips.store``, of windows if the gallery has windows.
            chosen: The recordings of ``queries.store`` to judge; all by default.

        Returns:
            The judgements in the order of the features, and how many are left out, because they
            have fewer than ``k`` references to compare with.

        Raises:
            ValueError: If nothing has enough references, or as ``nearest``.
        """
        rows = np.arange(len(features.indices))
        if chosen is not None:
            rows = np.flatnonzero(np.isin(queries.indices[features.indices], chosen))
        sequences = features.indices[rows]
        indices = queries.indices[sequences]
        labels = np.array(("", *queries.store.class_names))[queries.store.labels[indices] + 1]
        names = self.gallery.store.class_names
        codes = {"": _UNKNOWN, **{name: code for code, name in enumerate(names)}}
        classes = np.array([codes.get(label, len(names)) for label in labels], dtype=np.int64)
        values = features.values[torch.from_numpy(rows)]
        scores, nearest = self.nearest(values, classes, np.array(queries.own)[sequences])
        if not np.isfinite(scores).any():
            strange = sorted({name for name in labels.tolist() if name not in codes})
            if strange and not self.across_classes:
                raise ValueError(
                    f"expected recordings of the classes of {self.gallery.store.path}, "
                    f"{', '.join(names) or 'which has none'}, or without a class, got "
                    f"{', '.join(map(repr, strange))}; --across-classes compares all classes"
                )
            self._check_not_itself(np.array(queries.own)[sequences])
            raise ValueError(
                f"expected at least k = {self.k} references to compare a recording with, of "
                f"{'another subject' if self.by_subject else 'other recordings'}"
                f"{'' if self.across_classes else ' and of its class'}, got none for any recording"
            )
        thresholds = self.thresholds(classes)
        gallery, judged = self.gallery, []
        for at in np.flatnonzero(np.isfinite(scores)).tolist():
            row, place, threshold = int(rows[at]), int(nearest[at]), float(thresholds[at])
            judged.append(
                Judgement(
                    queries.store.names[indices[at]],
                    int(indices[at]),
                    int(queries.persons[sequences[at]]),
                    int(features.starts[row]),
                    int(features.ends[row]),
                    str(labels[at]),
                    float(scores[at]),
                    None if np.isnan(threshold) else threshold,
                    gallery.store.names[gallery.indices[place]],
                    int(gallery.indices[place]),
                    int(gallery.starts[place]),
                    int(gallery.ends[place]),
                )
            )
        return judged, len(rows) - len(judged)


def _ceil(value: float) -> int:
    """Round up what is no whole number but for rounding errors."""
    return math.ceil(round(value, 9))


def _mean_of_smallest(distances: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Mean of the k smallest distances of each row; infinite if there are fewer."""
    if distances.shape[1] > k:
        distances = np.partition(distances, k - 1, axis=1)[:, :k]
    return np.asarray(distances.mean(axis=1))


def mirrored(features: Gallery, skeleton: Skeleton) -> Gallery:
    """Exchange left and right in features that ``raw_joints`` made.

    Args:
        features: The features, of clips (C, 64, V, M).
        skeleton: The layout of the joint axis.
    """
    store = features.store
    shape = (store.channels, _FRAMES, len(skeleton), -1)
    return replace(
        features, values=mirror(features.values.unflatten(1, shape), skeleton).flatten(1)
    )


def raw_joints(store: Store) -> Pretrained:
    """An encoder without weights: the features are the joint coordinates of 64 frames."""
    persons, joints, channels = store.persons, len(store.skeleton), store.channels
    size = channels * _FRAMES * joints * persons
    encoder = EncoderAdapter(nn.Flatten(), size, joints, channels, persons, fixed_frames=True)
    normalization = store.meta["normalization"]
    return Pretrained(encoder, store.skeleton, "joint", _FRAMES, normalization)
