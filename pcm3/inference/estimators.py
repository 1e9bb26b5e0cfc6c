"""Estimators of scikit-learn over lists of recordings: features, and a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pcm3.data.body import form_of
from pcm3.data.normalize import Normalization, normalize
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.encoders.files import Pretrained, load_encoder
from pcm3.evaluation.features import extract_features
from pcm3.inference.classifier import Classifier, How
from pcm3.inference.clips import Clips
from pcm3.inference.fit import fit_classifier
from pcm3.skeleton import Skeleton

Recordings = Sequence[ArrayLike]
"""Recordings (T, V, C) of one person or (T, M, V, C) of several, of any number of frames, as the
camera gives them; 0 where a person or joint is not seen."""


class PretrainedEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of recordings by a trained encoder, as a transformer of scikit-learn.

    Recordings are arrays (T, V, C) of one person or (T, M, V, C) of several, of any number of
    frames, 0 where a person or joint is not seen. They get the normalisation that the encoder was
    trained with. They must have its joints in its order, and its frame rate and unit; an encoder
    for all layouts takes any. Those of more than 300 frames count by the mean of their windows, as
    in evaluations.

    Args:
        run: The run folder, or the file of an encoder.
        skeleton: Layout of the recordings, if not that of the encoder, which must be one for all
            layouts: a skeleton or the name of a built-in one.

    Example:
        >>> recordings = [np.random.default_rng(0).normal(size=(60, 2, 25, 3))]
        >>> PretrainedEncoder("pretrained", skeleton="ntu25").fit_transform(recordings).shape
        (1, 128)
    """

    def __init__(self, run: str | Path, skeleton: str | Skeleton | None = None) -> None:
        self.run = run
        self.skeleton = skeleton

    def fit(
        self,
        recordings: Recordings,  # noqa: ARG002
        labels: ArrayLike | None = None,  # noqa: ARG002
    ) -> PretrainedEncoder:
        """Read the encoder; recordings and labels are not looked at.

        Raises:
            SkeletonFormatError: As ``load_encoder``.
        """
        self.pretrained_ = load_encoder(self.run)
        return self

    def transform(self, recordings: Recordings) -> NDArray[np.float32]:
        """Features (N, D) of recordings.

        Raises:
            ValueError: If a recording does not fit the encoder; the message says which.
        """
        check_is_fitted(self)
        with _stored(recordings, self.pretrained_, self.skeleton) as store:
            clips = Clips(self.pretrained_, store, np.arange(len(store)))
            features: NDArray[np.float32] = extract_features(self.pretrained_, clips).values.numpy()
        return features


class ActionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A calibrated classifier of recordings, as a classifier of scikit-learn.

    Args:
        run: The run folder, or the file of an encoder.
        how: What is fitted, see ``fit_classifier``.
        seed: Of the folds of the calibration.
        skeleton: Layout of the recordings, as of ``PretrainedEncoder``.

    Attributes:
        classes_: The classes, sorted.
        classifier_: The classifier, which ``save_classifier`` writes.
    """

    def __init__(
        self,
        run: str | Path,
        how: How = "linear",
        seed: int = 0,
        skeleton: str | Skeleton | None = None,
    ) -> None:
        self.run = run
        self.how = how
        self.seed = seed
        self.skeleton = skeleton

    def fit(
        self, recordings: Recordings, labels: ArrayLike, groups: ArrayLike | None = None
    ) -> ActionClassifier:
        """Fit and calibrate.

        Args:
            recordings: The recordings (N,).
            labels: The class of each (N,): numbers or words.
            groups: The person of each (N,), so that calibration looks at unseen persons.

        Raises:
            ValueError: If a recording does not fit the encoder, numbers of recordings and labels
                differ, or as ``fit_classifier``.
        """
        self.classes_, codes = np.unique(np.asarray(labels), return_inverse=True)
        names = [str(name) for name in self.classes_.tolist()]
        columns = {"labels": codes}
        if groups is not None:
            columns["subjects"] = np.unique(np.asarray(groups), return_inverse=True)[1]
        pretrained = load_encoder(self.run)
        with _stored(recordings, pretrained, self.skeleton, names, **columns) as store:
            self.classifier_ = fit_classifier(pretrained, store, how=self.how, seed=self.seed)
        return self

    def predict_proba(self, recordings: Recordings) -> NDArray[np.float32]:
        """Calibrated probabilities (N, classes).

        Raises:
            ValueError: If a recording does not fit the encoder; the message says which.
        """
        check_is_fitted(self)
        classifier: Classifier = self.classifier_
        with _stored(recordings, classifier.pretrained, classifier.layout) as store:
            return classifier.predict_proba(store)

    def predict(self, recordings: Recordings) -> NDArray[Any]:
        """The likeliest class of each recording (N,).

        Raises:
            ValueError: If a recording does not fit the encoder; the message says which.
        """
        likeliest = self.predict_proba(recordings).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[likeliest]
        return predicted


@contextmanager
def _stored(
    recordings: Recordings,
    pretrained: Pretrained,
    layout: str | Skeleton | None,
    class_names: Sequence[str] = (),
    **columns: NDArray[np.int64],
) -> Iterator[Store]:
    """Recordings as a store, normalised for an encoder, for the time of the ``with`` block."""
    encoder = pretrained.encoder
    skeleton = pretrained.skeleton if layout is None else choose_layout(layout)
    any_layout = form_of(pretrained.normalization) is not None
    if not any_layout and skeleton != pretrained.skeleton:
        raise ValueError(
            f"expected recordings of the layout of the encoder, {pretrained.skeleton.name!r}, got "
            f"{skeleton.name!r}; an encoder of pretrain --any-layout takes all"
        )
    for name, values in columns.items():
        if len(values) != len(recordings):
            raise ValueError(f"expected {len(recordings)} {name}, got {len(values)}")
    recipe: Normalization | Any = pretrained.normalization or "none"
    size = (len(skeleton), encoder.in_channels)
    if any_layout:
        recipe = "none"  # the form is made of recordings as they are
        size = (len(skeleton), np.shape(recordings[0])[-1] if len(recordings) else 3)
    with TemporaryDirectory(prefix="pcm3-") as folder:
        target = Path(folder) / "store"
        with StoreWriter(target, skeleton, class_names=class_names, normalization=recipe) as writer:
            for number, recording in enumerate(recordings):
                frames = np.asarray(recording, dtype=np.float32)
                frames = frames[:, None] if frames.ndim == 3 else frames
                if frames.ndim != 4 or frames.shape[2:] != size or 0 in frames.shape:
                    raise ValueError(
                        f"recording {number}: expected (T, V={size[0]}, C={size[1]}) or (T, M, "
                        f"V={size[0]}, C={size[1]}), got {np.shape(recording)}"
                    )
                if frames.shape[1] > frames.shape[0]:
                    raise ValueError(
                        f"recording {number}: expected (T, M, V, C), got {np.shape(recording)}, "
                        f"{frames.shape[1]} persons in {frames.shape[0]} frames; "
                        "transpose(1, 3, 2, 0) brings (C, T, V, M) into this order"
                    )
                if not np.isfinite(frames).all():
                    raise ValueError(f"recording {number}: expected finite coordinates")
                of_it: dict[str, Any] = {
                    name: int(values[number]) for name, values in columns.items()
                }
                clip = normalize(frames, skeleton, recipe, encoder.persons)
                writer.add(clip, of_it.pop("labels", -1), **of_it)
        try:
            yield Store(target)
        except ValueError as error:  # it does not concern anybody where the recordings are
            raise ValueError(str(error).removeprefix(f"{target}: ")) from None
