"""Results of several runs side by side, for pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from pcm3.errors import explain_missing
from pcm3.runs.results import Result
from pcm3.viz.results import Bars, Curve

with explain_missing():
    from matplotlib.figure import Figure


class Entry(NamedTuple):
    """A result among those of other runs.

    Attributes:
        result: The result.
        run: Name of the run.
        column: Name of the runs that differ only in the seed, this one included.
        store: Name of the store, with its size if several have that name.
        settings: Settings that are not the defaults or that the task always shows, and the epoch
            of an encoder that was kept during training.
        fused: Columns, or else names, of the runs whose scores were added to those of this run.
        method: Method of the run; None if not known.
        epochs: Epochs of the run; None if not known.
        seed: Seed of the run; None if not known.
        file: File of the result, ``RUN/results/NAME.json``.
        place: Place of the run among those given, from 0.
        varied: Settings that another of the runs has otherwise, such as ``"encoder gru"``.
    """

    result: Result
    run: str
    column: str
    store: str
    settings: dict[str, Any]
    fused: tuple[str, ...]
    method: str | None
    epochs: int | None
    seed: int | None
    file: str
    place: int
    varied: str = ""

    @property
    def how(self) -> str:
        """Settings and fused runs in words; may be empty."""
        words = [f"{name} {_words(value)}" for name, value in self.settings.items()]
        words += [f"fused with {' + '.join(self.fused)}"] if self.fused else []
        return ", ".join(words)

    def named(self, name: str) -> str:
        """Return the name of a run or column, followed by ``how`` in brackets."""
        return f"{name} ({self.how})" if self.how else name


class Group(NamedTuple):
    """Results of runs that differ only in the seed.

    Attributes:
        place: Number that determines the look: the column decides the colour, settings the pattern.
        entries: The results in the order of the runs.
    """

    place: int
    entries: list[Entry]

    def values(self, metric: str) -> list[float]:
        """Return the values of a metric, of the results that have it."""
        return [
            entry.result.metrics[metric] for entry in self.entries if metric in entry.result.metrics
        ]

    def curve(self, points: Mapping[float, Sequence[float]], spread: bool) -> Curve:
        """Return a line through the mean at each x, with standard deviations if ``spread``."""
        deviations = [std_of(values) for values in points.values()] if spread else None
        return Curve(
            [*points], [mean(sample) for sample in points.values()], deviations, self.place
        )


class Series(dict[str, Group]):
    """Results of one task by the name of their series."""

    @property
    def entries(self) -> list[Entry]:
        """The results of all series."""
        return [entry for group in self.values() for entry in group.entries]

    @property
    def has_seeds(self) -> bool:
        """Whether a series has several runs."""
        return any(len(group.entries) > 1 for group in self.values())

    def first_with(self, *details: str) -> Iterator[tuple[Entry, str]]:
        """Yield the first result of each series that has these details, and its name."""
        for _, entries in self.values():
            seeds = f", one of {len(entries)} seeds" if len(entries) > 1 else ""
            for entry in entries:
                if all(name in entry.result.details for name in details):
                    yield entry, entry.named(entry.run) + seeds
                    break

    def bars(self, metrics: Sequence[str]) -> dict[str, Bars]:
        """Return metrics of each series: means and, of several runs, standard deviations."""
        return {
            name: Bars(
                [mean_of(group.values(metric)) for metric in metrics],
                [std_of(group.values(metric)) for metric in metrics]
                if len(group.entries) > 1
                else None,
                group.place,
            )
            for name, group in self.items()
        }

    def caption(self, text: str) -> str:
        """Complete a caption: explain the spread, if there is one, and name the files."""
        seeds = "; of several runs mean and standard deviation over seeds" if self.has_seeds else ""
        return f"{text}{seeds}. {source_of(self.entries)}"


class Picture(NamedTuple):
    """Figures that belong together.

    Attributes:
        title: Title of the picture.
        caption: What it shows, and the files of its results.
        figures: The figures, shown side by side if there is room.
    """

    title: str
    caption: str
    figures: list[Figure]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are not None; None if all are."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def std_of(values: Sequence[float]) -> float:
    """Return the standard deviation with n - 1 in the denominator; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def source_of(entries: Sequence[Entry]) -> str:
    """Return the sentence of a caption that names the files."""
    return f"From {', '.join(dict.fromkeys(entry.file for entry in entries))}."


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
