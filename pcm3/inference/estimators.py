"""Estimators of scikit-learn over lists of recordings: features, and a classifier."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcm3.data.body import BodyForm, form_of
from pcm3.data.normalize import Normalization, fill_center, normalize
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.readers.shared.orders import COORDINATES, ORDER, crowded, fitting_orders
from pcm3.data.readers.shared.third import looks_like_score
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.encoders.files import Pretrained, load_encoder
from pcm3.errors import explain_missing
from pcm3.evaluation.features import extract_features
from pcm3.inference.classifier import Classifier, How
from pcm3.inference.clips import Clips
from pcm3.inference.fit import fit_classifier
from pcm3.skeleton import Skeleton

with explain_missing():
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted

Recordings = Sequence[ArrayLike]
"""Recordings (T, V, C) of one person or (T, M, V, C) of several, as the camera gives them; 0 where
a person is absent or a joint is not seen."""


class PretrainedEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of recordings by a trained encoder, as a transformer of scikit-learn.

    Recordings get the normalisation that the encoder was trained with. They must have its joints in
    its order, and its frame rate and unit; an encoder for all layouts takes any. The features of a
    recording of more than 300 frames are the mean of those of its windows, as in evaluations.

    Recordings are arrays or tensors (T, V, C) of one person or (T, M, V, C) of several, and may
    have different numbers of frames. They are 0 where a person is absent or a joint is not seen. A
    clip (C, T, V, M) of the library becomes a recording by ``clip.permute(1, 3, 2, 0)``; crop it to
    its valid frames.

    Args:
        run: The run folder, or the file of an encoder.
        skeleton: Layout of the recordings, if not that of the encoder, which must be one for all
            layouts: a skeleton or the name of a built-in one.

    Attributes:
        axes_: For an encoder for all layouts, which axis points up and whether axes are
            left-handed, as the bodies of the recordings of ``fit`` show.

    Shapes:
        N recordings ``(T, V, C)`` or ``(T, M, V, C)`` to features ``(N, D)``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> alone = rng.normal(size=(60, 25, 3))  # (T, V, C)
        >>> two = rng.normal(size=(90, 2, 25, 3))  # (T, M, V, C)
        >>> two[50:, 1] = 0  # the second person has left
        >>> encoder = PretrainedEncoder("pretrained", skeleton="ntu25")
        >>> encoder.fit_transform([alone, two]).shape
        (2, 128)
        >>> import torch
        >>> clips, lengths = torch.randn(4, 3, 64, 25, 2), [64, 50, 40, 30]  # (N, C, T, V, M)
        >>> pairs = zip(clips, lengths)
        >>> recordings = [clip[:, :length].permute(1, 3, 2, 0) for clip, length in pairs]
        >>> encoder.transform(recordings).shape
        (4, 128)
    """

    def __init__(self, run: str | Path, skeleton: str | Skeleton | None = None) -> None:
        self.run = run
        self.skeleton = skeleton

    def fit(
        self,
        recordings: Recordings,
        labels: ArrayLike | None = None,  # noqa: ARG002
    ) -> PretrainedEncoder:
        """Read the encoder and, if it takes any layout, find out how the axes lie.

        Without recordings, ``fit([])``, each call of ``transform`` finds out for itself.

        Raises:
            SkeletonFormatError: As ``load_encoder``.
            ValueError: If a recording does not fit the encoder.
        """
        self.pretrained_ = load_encoder(self.run)
        self.axes_ = {}
        if form_of(self.pretrained_.normalization) is not None and len(recordings):
            with _stored(recordings, self.pretrained_, self.skeleton) as store:
                body = BodyForm(store, self.pretrained_.skeleton)
                self.axes_ = {"up": store.up, "left_handed": body.left_handed}
        return self

    def transform(self, recordings: Recordings) -> NDArray[np.float32]:
        """Features (N, D) of recordings.

        Raises:
            ValueError: If a recording does not fit the encoder or its axes have another order; the
                message says which.
        """
        check_is_fitted(self)
        with _stored(recordings, self.pretrained_, self.skeleton, axes=self.axes_) as store:
            clips = Clips(self.pretrained_, store, np.arange(len(store)))
            features: NDArray[np.float32] = extract_features(self.pretrained_, clips).values.numpy()
        return features


class ActionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A calibrated classifier of recordings, as a classifier of scikit-learn.

    Recordings have the shapes that :class:`PretrainedEncoder` takes.

    Args:
        run: The run folder, or the file of an encoder.
        how: What is fitted, see ``fit_classifier``.
        seed: Of the folds of the calibration.
        skeleton: Layout of the recordings, as of ``PretrainedEncoder``.

    Attributes:
        classes_: The classes, sorted.
        classifier_: The classifier, which ``save_classifier`` writes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> still = [rng.normal(size=(40, 25, 3)).round() for _ in range(8)]  # (T, V, C)
        >>> moved = [recording.cumsum(axis=0) for recording in still]
        >>> classifier = ActionClassifier("pretrained", skeleton="ntu25")
        >>> labels = ["still"] * 8 + ["moved"] * 8
        >>> classifier.fit(still + moved, labels).predict_proba(moved[:2]).shape
        (2, 2)
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
        with _stored(recordings, pretrained, self.skeleton, names, columns) as store:
            self.classifier_ = fit_classifier(pretrained, store, how=self.how, seed=self.seed)
            self.axes_ = {"up": store.up, "left_handed": self.classifier_.left_handed}
        return self

    def predict_proba(self, recordings: Recordings) -> NDArray[np.float32]:
        """Calibrated probabilities (N, classes).

        Raises:
            ValueError: If a recording does not fit the encoder; the message says which.
        """
        check_is_fitted(self)
        classifier: Classifier = self.classifier_
        axes = self.axes_
        with _stored(recordings, classifier.pretrained, classifier.layout, axes=axes) as store:
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
    columns: Mapping[str, NDArray[np.int64]] = {},
    axes: Mapping[str, Any] = {},
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
    if len(recordings) == 0:
        raise ValueError("expected one or more recordings, got none")
    for name, values in columns.items():
        if len(values) != len(recordings):
            raise ValueError(f"expected {len(recordings)} {name}, got {len(values)}")
    recipe: Normalization | Any = pretrained.normalization or "none"
    channels: tuple[int, ...] = (encoder.in_channels,)
    if any_layout:
        recipe = "none"  # the form is made of recordings as they are
        channels = COORDINATES
    warned = False
    with TemporaryDirectory(prefix="pcm3-") as folder:
        target = Path(folder) / "store"
        with StoreWriter(target, skeleton, class_names=class_names, normalization=recipe) as writer:
            for number, recording in enumerate(recordings):
                try:
                    frames = _checked(recording, len(skeleton), channels)
                except ValueError as error:
                    raise ValueError(f"recording {number}: {error}") from None
                channels = frames.shape[-1:]  # all have as many
                if any_layout and channels == (3,) and not warned and looks_like_score(frames):
                    warned = True
                    warnings.warn(
                        f"recording {number} looks like x, y and a score, but is read as x, y, z; "
                        "pass recording[..., :2] if the third number is a score",
                        stacklevel=5,
                    )
                of_it: dict[str, Any] = {
                    name: int(values[number]) for name, values in columns.items()
                }
                if recipe == "center":
                    frames = fill_center(frames, skeleton)
                clip = normalize(frames, skeleton, recipe, encoder.persons)
                writer.add(clip, of_it.pop("labels", -1), **of_it)
        try:
            yield Store(target, **axes)
        except ValueError as error:  # it does not concern anybody where the recordings are
            raise ValueError(str(error).removeprefix(f"{target}: ")) from None


def _checked(recording: ArrayLike, joints: int, channels: tuple[int, ...]) -> NDArray[np.float32]:
    """The frames (T, M, V, C) of a recording (T, M, V, C) or (T, V, C)."""
    array = np.asarray(recording, dtype=np.float32)
    frames = array[:, None] if array.ndim == 3 else array
    fits = frames.ndim == 4 and frames.shape[2] == joints and frames.shape[3] in channels
    if not fits or 0 in frames.shape or crowded(frames.shape):
        size = f"V={joints}, C={' or '.join(map(str, channels))}"
        raise ValueError(
            f"expected (T, {size}) or (T, M, {size}), no more persons than frames, got "
            f"{array.shape}{_advice(recording, array.shape, joints)}"
        )
    if not np.isfinite(frames).all():
        raise ValueError("expected finite coordinates")
    if not frames.any():
        raise ValueError("expected a body, but all coordinates are 0")
    return frames


def _advice(recording: ArrayLike, shape: tuple[int, ...], joints: int) -> str:
    """How to permute the axes of an array whose shape fits other orders, if there are any."""
    fitting = fitting_orders(shape, joints) if len(shape) in (3, 4) else []
    method = "permute" if hasattr(recording, "permute") else "transpose"  # of torch or numpy
    advice = ""
    for order in fitting:
        wanted = [letter for letter in ORDER if letter in order]
        if list(order) != wanted:
            axes = ", ".join(str(order.index(letter)) for letter in wanted)
            advice += f"; if its axes are ({', '.join(order)}), pass recording.{method}({axes})"
    return advice
