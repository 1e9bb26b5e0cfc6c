"""Few-shot recognition: telling new classes apart by a few examples of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from pcm3.checks import check_at_least, check_different, check_not_empty, check_seed
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.classification import check_labels
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.tasks.base import Task
from pcm3.runs.progress import track
from pcm3.runs.series import Picture, Series, source_of
from pcm3.viz.results import bar_figure

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FewShotClassifier = Literal["svm", "centroid", "logistic"]
ClassNames = Literal["auto", "all", "ntu120-unseen"]

NTU120_UNSEEN_CLASSES = (
    *(60, 61, 66, 69, 72, 78, 79, 80, 84, 90, 91, 95, 96, 98, 99, 100, 102, 106, 108, 111, 113),
    *(114, 115),
)
"""Classes of NTU RGB+D 120, counted from 0, that PCM3++ (Sec. 4.4.2) draws its episodes from.

None of them is in NTU RGB+D 60. The paper speaks of 20 classes, but lists these 23, with a comma
missing between 113 and 114.
"""


def published_protocol(store: Store) -> str | None:
    """Return the protocol of PCM3++'s few-shot figures for NTU RGB+D 120, else None.

    The data set is recognised by its protocol ``"xset"``, which no other data set has.
    """
    return "xset" if "xset" in store.protocols else None


@dataclass(frozen=True)
class FewShotSettings:
    """Settings of few-shot recognition."""

    ways: int = 5
    """Number of classes in an episode."""
    shots: tuple[int, ...] = (1, 5)
    """Numbers of examples of each class."""
    queries: int = 15
    """Number of sequences of each class to recognise."""
    episodes: int = 1000
    """Number of episodes."""
    classifiers: tuple[FewShotClassifier, ...] = ("svm", "centroid", "logistic")
    """Linear SVM (one against one), nearest mean, multinomial logistic regression; C = 1."""
    classes: tuple[int, ...] | ClassNames = "auto"
    """Labels to draw from; ntu120-unseen for those of PCM3++, all for all labels with enough
    sequences; auto is ntu120-unseen on NTU RGB+D 120, else all."""
    seed: int = 0
    """Seed of the episodes."""

    def __post_init__(self) -> None:
        check_at_least("ways", self.ways, 2)
        check_not_empty("shots", self.shots)
        check_at_least("shots", min(self.shots), 1)
        check_different("shots", self.shots)
        check_different("classifiers", self.classifiers)
        check_at_least("queries", self.queries, 1)
        check_at_least("episodes", self.episodes, 1)
        check_seed(self.seed)
        check_not_empty("classifiers", self.classifiers)
        check_not_empty("classes", self.classes)
        if isinstance(self.classes, str) and self.classes not in get_args(ClassNames):
            raise ValueError(
                f"expected labels or classes among {', '.join(get_args(ClassNames))}, got "
                f"{self.classes!r}"
            )
        if set(self.classifiers) - set(get_args(FewShotClassifier)):
            raise ValueError(
                f"expected classifiers among {', '.join(get_args(FewShotClassifier))}, got "
                f"{self.classifiers}"
            )


def evaluate_fewshot(
    pretrained: Pretrained,
    training: SkeletonDataset,  # noqa: ARG001 - not used: episodes bring their own examples
    test: SkeletonDataset,
    settings: FewShotSettings = FewShotSettings(),
) -> dict[str, Any]:
    """Recognise episodes of a few classes with a few examples each, drawn from the test part.

    Features are L2-normalised. All classifiers get the same episodes, and episodes with fewer
    shots use some of the examples of those with more. Choose a test part whose classes pretraining
    has not seen.

    Args:
        pretrained: The encoder and its input.
        training: Not used.
        test: Labelled sequences.
        settings: Settings of the episodes.

    Returns:
        For every classifier and number of shots the mean accuracy, such as ``svm_5shot``, and half
        the width of its 95 % interval, ``svm_5shot_ci95``, ``1.96 std / sqrt(episodes)``, as
        fractions. ``details``: ``classes`` (labels drawn from), ``left_out`` (labels with too few
        sequences), ``episodes`` (accuracy of each, by the same names as the means), ``notes``.

    Raises:
        ValueError: If a sequence has no label, the data do not fit the encoder, a given class
            has too few sequences, or too few classes have enough sequences.

    Source:
        Classifier and classes are those of PCM3++ Sec. 4.4.2; normalisation, queries and interval
        those of UniSiam (Lu et al. 2022), which it follows. The number of episodes is this
        library's choice.
    """
    check_labels(test)
    named, notes = _named(test, settings)
    classes, left_out = _choose(test.labels, named, settings)
    notes += _note_on_few(test, left_out, len(classes), settings)
    features = F.normalize(extract_features(pretrained, test).values.double(), dim=1).numpy()
    accuracies: dict[str, list[float]] = {
        f"{kind}_{shots}shot": [] for shots in settings.shots for kind in settings.classifiers
    }
    truth = np.repeat(np.arange(settings.ways), settings.queries)
    for support, query in draw_episodes(test.labels, classes, settings):
        queries = features[query.ravel()]
        for shots in settings.shots:
            examples = features[support[:, :shots].ravel()]
            labels = np.repeat(np.arange(settings.ways), shots)
            for kind in settings.classifiers:
                right = _CLASSIFIERS[kind](examples, labels, queries) == truth
                accuracies[f"{kind}_{shots}shot"].append(float(right.mean()))
    result: dict[str, Any] = {}
    for name, values in accuracies.items():
        result[name] = float(np.mean(values))
        result[f"{name}_ci95"] = float(1.96 * np.std(values) / np.sqrt(len(values)))
    result["details"] = {
        "classes": classes,
        "left_out": left_out,
        "episodes": accuracies,
        "notes": notes,
    }
    return result


def draw_episodes(
    labels: Integers, classes: list[int], settings: FewShotSettings
) -> Iterator[tuple[Integers, Integers]]:
    """Draw episodes: classes first, then their sequences, without replacement in an episode.

    Args:
        labels: Labels of all sequences (N,).
        classes: Labels to draw from, each with enough sequences.
        settings: Size and number of the episodes, and the seed.

    Yields:
        Rows of the examples (ways, largest number of shots) and of the queries (ways, queries).

    Raises:
        ValueError: If there are too few classes, or a class has too few sequences.
    """
    size = settings.queries + max(settings.shots)
    rows = {label: np.flatnonzero(labels == label) for label in classes}
    few = [f"{len(found)} of class {label}" for label, found in rows.items() if len(found) < size]
    if few or len(rows) < settings.ways:
        got = ", ".join(few) or f"{len(rows)} classes"
        raise ValueError(
            f"expected at least {settings.ways} classes with {_needed(settings)}, got {got}"
        )
    rng = np.random.default_rng(settings.seed)
    for _ in track(settings.episodes, "few-shot"):
        chosen = rng.permutation(classes)[: settings.ways].tolist()
        drawn = np.stack([rng.permutation(rows[label])[:size] for label in chosen])
        yield drawn[:, settings.queries :], drawn[:, : settings.queries]


def _named(test: SkeletonDataset, settings: FewShotSettings) -> tuple[tuple[int, ...], list[str]]:
    """Return the labels to draw from, empty for all, and notes on them."""
    published = settings.classes == "auto" and published_protocol(test.store) is not None
    if published or settings.classes == "ntu120-unseen":
        present = np.isin(NTU120_UNSEEN_CLASSES, test.labels).sum()
        note = f"{present} of the {len(NTU120_UNSEEN_CLASSES)} classes ntu120-unseen"
        return NTU120_UNSEEN_CLASSES, [note]
    return (settings.classes if isinstance(settings.classes, tuple) else ()), []


def _choose(
    labels: Integers, named: tuple[int, ...], settings: FewShotSettings
) -> tuple[list[int], list[int]]:
    """Return the labels to draw from, and the labels with too few sequences."""
    size = settings.queries + max(settings.shots)
    present, counts = np.unique(labels, return_counts=True)
    count_of = dict(zip(present.tolist(), counts.tolist(), strict=True))
    wanted = sorted(set(named)) or list(count_of)
    enough = [label for label in wanted if count_of.get(label, 0) >= size]
    left_out = [label for label in wanted if label not in enough]
    needed = _needed(settings)
    if named and settings.classes != "auto" and left_out:
        raise ValueError(
            f"expected {needed} of every given class, got "
            + ", ".join(f"{count_of.get(label, 0)} of class {label}" for label in left_out)
        )
    if len(enough) < settings.ways:
        sizes = sorted(count_of.get(label, 0) for label in wanted)
        raise ValueError(
            f"expected at least {settings.ways} classes with {needed}, got {len(enough)} of "
            f"{len(wanted)}; {_remedy(sizes, len(enough), settings)}"
        )
    return enough, left_out


_SHOWN = 12


def _needed(settings: FewShotSettings) -> str:
    """Say how many sequences of a class an episode takes."""
    shots, queries = max(settings.shots), settings.queries
    return f"{shots + queries} sequences ({shots} shots and {queries} queries)"


def _note_on_few(
    test: SkeletonDataset, left_out: list[int], used: int, settings: FewShotSettings
) -> list[str]:
    """Note the classes of the test part that have too few sequences, if there are any."""
    names = [test.class_names[label] for label in np.intersect1d(left_out, test.labels)]
    if not names:
        return []
    which = f"{len(names)} of {used + len(names)} classes"
    more = len(names) - _SHOWN
    names[_SHOWN:] = [f"and {more} more"] if more > 0 else []
    return [f"{which} have fewer than {_needed(settings)}, so left out: {', '.join(names)}"]


def _remedy(sizes: list[int], enough: int, settings: FewShotSettings) -> str:
    """Suggest options that would fit classes of these sizes, in rising order."""
    options = [f"--ways {enough}"] if enough > 1 else []
    if len(sizes) >= settings.ways:
        queries = sizes[-settings.ways] - max(settings.shots)
        options += [f"--queries {queries}"] if queries > 0 else []
    return f"try {' or '.join(options)}" if options else f"the largest class has {sizes[-1]}"


def _svm(examples: Floats, labels: Integers, queries: Floats) -> Integers:
    from sklearn.svm import SVC  # noqa: PLC0415 - scikit-learn is slow

    # if votes tie, the margins decide, not the order of the classes
    model = SVC(kernel="linear", C=1.0, break_ties=True).fit(examples, labels)
    return np.asarray(model.predict(queries))


def _logistic(examples: Floats, labels: Integers, queries: Floats) -> Integers:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - scikit-learn is slow

    model = LogisticRegression(C=1.0, max_iter=1000).fit(examples, labels)
    return np.asarray(model.predict(queries))


def _centroid(examples: Floats, labels: Integers, queries: Floats) -> Integers:
    means = np.stack([examples[labels == label].mean(axis=0) for label in np.unique(labels)])
    distance = (means**2).sum(axis=1) - 2 * queries @ means.T
    return np.asarray(distance.argmin(axis=1))


_CLASSIFIERS: dict[FewShotClassifier, Callable[[Floats, Integers, Floats], Integers]] = {
    "svm": _svm,
    "centroid": _centroid,
    "logistic": _logistic,
}


def _bars(series: Series) -> Iterator[Picture]:
    known = dict.fromkeys(name for entry in series.entries for name in entry.result.metrics)
    names = [name for name in known if f"{name}_ci95" in known]
    if not names:
        return
    bars = series.bars(names)
    for label, (_, entries) in series.items():
        if len(entries) == 1:
            metrics = entries[0].result.metrics
            intervals = [metrics.get(f"{name}_ci95", 0.0) for name in names]
            bars[label] = bars[label]._replace(spread=intervals)
    seeds = "; with several runs, the standard deviation over seeds" if series.has_seeds else ""
    titles = [name.replace("_", ", ").replace("shot", " shot") for name in names]
    yield Picture(
        "Few-shot recognition",
        "Mean accuracy over episodes of a few classes with a few examples each, by classifier "
        f"and number of examples. Lines are 95 % intervals of the mean{seeds}. "
        f"{source_of(series.entries)}",
        [bar_figure(bars, titles, "accuracy")],
    )


TASK = Task(
    about="Episodes of a few classes with a few examples each, from the test part.",
    settings=FewShotSettings,
    evaluate=evaluate_fewshot,
    headline=("*shot",),
    legend={
        "svm_Nshot": "accuracy in episodes with N examples of each class, by a linear SVM; chance "
        "is one in the number of classes of an episode, 5 by default",
        "centroid_Nshot": "accuracy in episodes with N examples of each class, by the nearest mean",
        "logistic_Nshot": "accuracy in episodes with N examples of each class, by logistic "
        "regression",
        "svm_Nshot_ci95": "half the width of the 95 % interval of svm_Nshot",
        "centroid_Nshot_ci95": "half the width of the 95 % interval of centroid_Nshot",
        "logistic_Nshot_ci95": "half the width of the 95 % interval of logistic_Nshot",
    },
    pictures=(_bars,),
    learns_classes=False,
    new_classes=True,
    frames=lambda _: "windows",
    protocol=published_protocol,
    protocol_help=", or xset on NTU RGB+D 120 if that is new to it",
)
