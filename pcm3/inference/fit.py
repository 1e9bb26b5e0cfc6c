"""Fit classifiers of recordings on the labelled part of a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pcm3._version import __version__
from pcm3.checks import check_seed
from pcm3.data.dataset import LONGEST
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.probes import fit_logistic, logistic_head
from pcm3.evaluation.tasks.finetune import FinetuneSettings, finetune
from pcm3.inference.calibration import calibrate, count_by_class, known, make_folds
from pcm3.inference.classifier import (
    Classifier,
    How,
    Neighbours,
    log_probabilities,
    scores_or_features,
)
from pcm3.inference.clips import Clips, window_starts
from pcm3.inference.intake import Intake
from pcm3.inference.labels import BACKGROUND, read_frame_labels, read_labels
from pcm3.runs.folder import find_run
from pcm3.runs.seen import name_data, own_protocol

_FOLDS = {"linear": 5, "knn": 5, "finetune": 3}
MOST_CALIBRATED = 5_000
"""Items that are predicted out of fold, at most; drawn at random."""
_MOST_WINDOWS = 50_000  # of untrimmed recordings
_SHORTEST = 8  # frames of a window


def fit_classifier(
    pretrained: Pretrained,
    store: Store,
    indices: ArrayLike | None = None,
    *,
    label: str | None = None,
    how: How = "linear",
    settings: FinetuneSettings | None = None,
    seed: int = 0,
    about: Mapping[str, Any] = {},
) -> Classifier:
    """Fit a classifier on the labelled recordings of a store, and calibrate its probabilities.

    ``"linear"`` is multinomial logistic regression on standardised features of the frozen encoder,
    as in ``evaluate_linear``. ``"knn"`` lets all labelled recordings vote, see ``Neighbours``.
    ``"finetune"`` trains the encoder too, as ``finetune`` does, on the first 300 frames.

    Recordings without a label are left out. Untrimmed recordings are cut into windows as long as
    their annotated actions are in the median; a window has the class of its middle frame, or that
    of the background.

    The temperature and the threshold come from out-of-fold predictions, see ``calibrate`` and
    ``make_folds``: 5 folds, for ``"finetune"`` 3, by subject where subjects are known, and of
    untrimmed recordings by recording where they are not.

    Args:
        pretrained: The encoder and how it wants its clips. It stays as it is.
        store: The data.
        indices: The training part; by default all of the store.
        label: Column with the labels; by default the classes of the store.
        how: What is fitted.
        settings: Of ``"finetune"``; the defaults of ``FinetuneSettings`` if None.
        seed: Of the folds.
        about: Further entries for ``Classifier.made``.

    Raises:
        ValueError: If the data do not fit the encoder, there are fewer than two classes, a class
            has a single recording, or two classes have one name.
    """
    if how not in get_args(How):
        raise ValueError(f"expected how among {', '.join(get_args(How))}, got {how!r}")
    check_seed(seed)
    part = np.arange(len(store)) if indices is None else np.asarray(indices)
    untrimmed = label is None and store.frame_labels is not None
    if untrimmed and how == "finetune":
        raise ValueError(
            f"{store.path}: recordings are untrimmed, for which how is linear or knn, got finetune"
        )
    examples = _windows(store, part) if untrimmed else _recordings(store, part, label)
    _check_classes(store, examples)
    fitted = _FITS[how](pretrained, store, examples, settings or FinetuneSettings())
    drawn = np.random.default_rng(seed).permutation(len(examples.labels))[:MOST_CALIBRATED]
    folds = make_folds(examples.labels, examples.groups, _FOLDS[how], seed)
    predictions, rows = [], []
    for training, rest in folds.parts():
        some = np.intersect1d(rest, drawn)
        held_out = some[known(examples.labels, training, some)]
        if len(held_out):
            predictions.append(fitted.without(training, held_out))
            rows.append(held_out)
    if not rows:
        raise ValueError(
            f"{store.path}: expected a class with recordings in several folds, got none"
        )
    judged = np.concatenate(rows)
    calibration = calibrate(
        lambda temperature: torch.cat([each(temperature) for each in predictions]),
        torch.from_numpy(examples.labels[judged]),
    )
    return Classifier(
        head=fitted.head.requires_grad_(False).eval(),
        class_names=examples.names,
        how=how,
        label=label,
        temperature=calibration.temperature,
        threshold=calibration.threshold,
        window=examples.window,
        longest=int(store.lengths[examples.indices].max()),
        **vars(Intake.like(store, fitted.pretrained)),
        background=untrimmed,
        made={
            **about,
            **name_data(store),
            "store_fingerprint": store.fingerprint,
            "seed": seed,
            "recordings": len(np.unique(examples.indices)),
            "unlabelled": len(part) - len(np.unique(examples.indices)),
            "folds": f"by {examples.group if folds.grouped else examples.item}",
            "folds_of": examples.item,
            "not_by_subject": folds.why if examples.group == "subject" else "",
            "out_of_fold": calibration.figures,
            "by_class": count_by_class(
                examples.names, examples.labels, judged, calibration.predicted.numpy()
            ),
            "pcm3": __version__,
        },
    )


def training_part(path: Path, store: Store, protocol: str | None) -> tuple[str, NDArray[np.int64]]:
    """The protocol and the training part that a classifier is fitted on.

    Args:
        path: The run folder or the file of the encoder.
        store: The data.
        protocol: The protocol; by default that of the run, if it was trained on this store, so that
            its test part stays unseen, or else ``"all"``, every recording.

    Raises:
        ValueError: If the protocol does not exist.
    """
    if protocol is None:
        run, _ = find_run(path)
        protocol = "all"
        if run is not None and run.config.is_file():
            protocols, trained_here = own_protocol(run, store)
            protocol = protocols[0] if trained_here else protocol
    return protocol, split(store, protocol)[0]


class _Examples(NamedTuple):
    """Labelled recordings, or windows of them.

    Attributes:
        names: Names of the classes.
        indices: Sequence of each example (N,).
        labels: Class of each example (N,).
        groups: Group of each example, -1 if unknown (N,); None without groups.
        group: What a group is.
        window: Frames of a window.
        offsets: First frame of each window (N,); None for whole recordings.
        lengths: Frames of each window (N,); None for whole recordings.
    """

    names: tuple[str, ...]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    group: str
    window: int
    offsets: NDArray[np.int64] | None = None
    lengths: NDArray[np.int64] | None = None

    @property
    def item(self) -> str:
        """What an example is."""
        return "recording" if self.offsets is None else "window"

    def clips(
        self,
        pretrained: Pretrained,
        store: Store,
        rows: NDArray[np.int64] | slice = slice(None),
        max_frames: int | None = None,
    ) -> Clips:
        """These examples as clips, all by default."""
        return Clips(
            pretrained,
            store,
            self.indices[rows],
            labels=self.labels[rows],
            class_names=self.names,
            offsets=None if self.offsets is None else self.offsets[rows],
            lengths=None if self.lengths is None else self.lengths[rows],
            max_frames=max_frames,
        )


def _recordings(store: Store, part: NDArray[np.int64], column: str | None) -> _Examples:
    """The labelled recordings of a part.

    Raises:
        ValueError: If none has a label.
    """
    names, codes = read_labels(store, column)
    indices = part[codes[part] >= 0]
    if len(indices) == 0:
        raise ValueError(
            f"{store.path}: expected recordings with a label, got none in the {len(part)} of the "
            f"training part{f', column {column}' if column else ''}"
        )
    groups = store.columns.get("subjects")
    window = int(np.median(store.lengths[indices]))
    return _only_used(
        _Examples(
            names,
            indices,
            codes[indices],
            None if groups is None else groups[indices],
            "subject",
            min(max(window, 1), LONGEST),
        )
    )


def _windows(store: Store, part: NDArray[np.int64]) -> _Examples:
    """Windows of the untrimmed recordings of a part, with the class of the middle frame."""
    names, codes = read_frame_labels(store)
    segments = store.segments
    assert segments is not None
    inside = segments[np.isin(segments[:, 0], part)]
    if len(inside) == 0:
        raise ValueError(
            f"{store.path}: expected annotated actions, got none in the {len(part)} recordings of "
            "the training part"
        )
    window = int(np.clip(np.median(inside[:, 2] - inside[:, 1]), _SHORTEST, LONGEST))
    step = max(1, window // 4, int(store.lengths[part].sum()) // _MOST_WINDOWS)
    columns = []
    for index in part.tolist():
        middles, starts = window_starts(int(store.lengths[index]), window, step)
        labels = codes[store.starts[index] + middles]
        lengths = np.minimum(window, store.lengths[index] - starts)
        columns.append(np.stack([np.full_like(starts, index), labels, starts, lengths]))
    indices, labels, offsets, lengths = np.concatenate(columns, axis=1)
    groups, group = store.columns.get("subjects", np.full(len(store), -1))[indices], "subject"
    if (groups < 0).any():
        groups, group = indices, "recording"
    return _only_used(_Examples(names, indices, labels, groups, group, window, offsets, lengths))


def _only_used(examples: _Examples) -> _Examples:
    """The same examples, without the names of classes that none of them has."""
    used, labels = np.unique(examples.labels, return_inverse=True)
    return examples._replace(
        names=tuple(examples.names[label] for label in used.tolist()),
        labels=labels.astype(np.int64),
    )


def _check_classes(store: Store, examples: _Examples) -> None:
    """Require two classes of different names, and two examples of each.

    Raises:
        ValueError: Naming the class.
    """
    names, counts = examples.names, np.bincount(examples.labels)
    if len(names) < 2:
        raise ValueError(
            f"{store.path}: expected labels of at least 2 classes, got only {names[0]!r} in the "
            f"{len(np.unique(examples.indices))} labelled recordings"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{store.path}: expected different class names, got {twice!r} twice")
    if counts.min() < 2:
        single = [name for name, count in zip(names, counts.tolist(), strict=True) if count < 2]
        raise ValueError(
            f"{store.path}: expected at least 2 recordings of each class, got 1 of "
            f"{', '.join(map(repr, single[:5]))}{' ...' * (len(single) > 5)}"
        )
    if examples.offsets is not None and BACKGROUND not in names:
        raise ValueError(f"{store.path}: expected frames without an action, got none")


Rows: TypeAlias = NDArray[np.int64]
Predict: TypeAlias = Callable[[float], Tensor]


class _Fitted(NamedTuple):
    """A head and its encoder, and how to predict some examples by what others teach.

    Attributes:
        pretrained: The encoder.
        head: The head.
        without: From the examples that train and those that are held out to a function from a
            temperature to logarithms of probabilities (N, classes) of the latter.
    """

    pretrained: Pretrained
    head: torch.nn.Module
    without: Callable[[Rows, Rows], Predict]


def _fit_linear(
    pretrained: Pretrained, store: Store, examples: _Examples, _: FinetuneSettings
) -> _Fitted:
    classes = len(examples.names)
    values, labels = extract_features(pretrained, examples.clips(pretrained, store))

    def without(training: Rows, held_out: Rows) -> Predict:
        if len(np.unique(examples.labels[training])) < 2:  # which logistic regression needs
            only = torch.full((len(held_out), classes), -torch.inf)
            only[:, labels[training][0]] = 0
            return lambda _: only
        part = Features(values[training], labels[training])
        scores = fit_logistic(part, classes)(values[held_out])
        return lambda temperature: F.log_softmax(scores / temperature, dim=1)

    return _Fitted(pretrained, logistic_head(Features(values, labels), classes), without)


def _fit_neighbours(
    pretrained: Pretrained, store: Store, examples: _Examples, _: FinetuneSettings
) -> _Fitted:
    classes = len(examples.names)
    values, labels = extract_features(pretrained, examples.clips(pretrained, store))

    def head(rows: NDArray[np.int64]) -> tuple[Tensor, Neighbours]:
        order = torch.from_numpy(rows)[labels[rows].argsort(stable=True)]
        present, sizes = labels[order].unique_consecutive(return_counts=True)
        return present, Neighbours(values[order], sizes)

    def without(training: Rows, held_out: Rows) -> Predict:
        present, neighbours = head(training)

        def predict(temperature: float) -> Tensor:
            rows = torch.full((len(held_out), classes), -torch.inf)
            rows[:, present] = log_probabilities(neighbours, values[held_out], temperature)
            return rows

        return predict

    return _Fitted(pretrained, head(np.arange(len(labels)))[1], without)


def _fit_finetuned(
    pretrained: Pretrained, store: Store, examples: _Examples, settings: FinetuneSettings
) -> _Fitted:
    def train(rows: NDArray[np.int64] | slice) -> tuple[Pretrained, torch.nn.Module]:
        clips = examples.clips(pretrained, store, rows, max_frames=LONGEST)
        model = finetune(pretrained, clips, settings).model
        return pretrained._replace(encoder=model.encoder), model.head

    def without(training: Rows, held_out: Rows) -> Predict:
        tuned, head = train(training)
        scores = scores_or_features(tuned, head.cpu(), examples.clips(pretrained, store, held_out))
        return lambda temperature: F.log_softmax(scores / temperature, dim=1)

    tuned, head = train(slice(None))
    return _Fitted(tuned, head.cpu(), without)


_FITS: dict[How, Callable[[Pretrained, Store, _Examples, FinetuneSettings], _Fitted]] = {
    "linear": _fit_linear,
    "knn": _fit_neighbours,
    "finetune": _fit_finetuned,
}
