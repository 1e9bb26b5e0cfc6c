"""Results of several runs side by side, and what pictures of them have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from pcm3.runs.results import Result
from pcm3.viz.results import Bars, Curve


class Entry(NamedTuple):
    """A result among those of other runs.

    Attributes:
        result: What was found.
        run: Name of the run.
        column: Name of the runs that differ from it in nothing but the seed, itself included.
        store: Name of the store, with its size where there are several of the name.
        settings: Those that are not the task's defaults, those that the task always shows, and
            the epoch of an encoder that was kept during training.
        fused: The columns, or else the names, of the runs whose scores were added to its own.
        method: Of the run, as are ``epochs`` and ``seed``; None where that is not known.
        file: Where it is from, ``RUN/results/NAME.json``.
        place: Of the run among those given, from 0.
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

    @property
    def how(self) -> str:
        """Settings and fused runs in words, empty where there is nothing to say."""
        words = [f"{name} {_words(value)}" for name, value in self.settings.items()]
        words += [f"fused with {' + '.join(self.fused)}"] if self.fused else []
        return ", ".join(words)

    def named(self, name: str) -> str:
        """A run or column with settings and fused runs, where there is something to say."""
        return f"{name} ({self.how})" if self.how else name


class Group(NamedTuple):
    """Results of runs that differ in nothing but the seed.

    Attributes:
        place: Decides on the look: a column has one colour, other settings another pattern.
        entries: In the order of the runs.
    """

    place: int
    entries: list[Entry]

    def values(self, metric: str) -> list[float]:
        """A figure of every result that has it."""
        return [
            each.result.metrics[metric] for each in self.entries if metric in each.result.metrics
        ]

    def curve(self, points: Mapping[float, Sequence[float]], spread: bool) -> Curve:
        """A line through the means of values, x to values, perhaps with standard deviations."""
        deviations = [std_of(values) for values in points.values()] if spread else None
        return Curve([*points], [mean(each) for each in points.values()], deviations, self.place)


class Series(dict[str, Group]):
    """Results of one task by the name of their series."""

    @property
    def entries(self) -> list[Entry]:
        """The results of all series."""
        return [each for group in self.values() for each in group.entries]

    @property
    def has_seeds(self) -> bool:
        """Whether a series is of several runs."""
        return any(len(group.entries) > 1 for group in self.values())

    def first_with(self, *details: str) -> Iterator[tuple[Entry, str]]:
        """Of every series the first result with these details, and what it is of which run."""
        for _, entries in self.values():
            seeds = f", one of {len(entries)} seeds" if len(entries) > 1 else ""
            for each in entries:
                if all(name in each.result.details for name in details):
                    yield each, each.named(each.run) + seeds
                    break

    def bars(self, metrics: Sequence[str]) -> dict[str, Bars]:
        """Figures of every series: means and, of several runs, standard deviations."""
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
        """A caption that ends with what the spread is, where there is one, and with the files."""
        seeds = "; of several runs mean and standard deviation over seeds" if self.has_seeds else ""
        return f"{text}{seeds}. {source_of(self.entries)}"


class Picture(NamedTuple):
    """Figures that belong together.

    Attributes:
        title: What it is.
        caption: What it shows, and which results it is from.
        figures: To be set side by side where there is room.
    """

    title: str
    caption: str
    figures: list[Figure]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def std_of(values: Sequence[float]) -> float:
    """Standard deviation with n - 1 in the denominator; 0 of a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def source_of(entries: Sequence[Entry]) -> str:
    """What a caption says of the files."""
    return f"From {', '.join(dict.fromkeys(each.file for each in entries))}."


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
