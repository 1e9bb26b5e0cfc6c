"""Results of several runs side by side, and what pictures of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple, TypeAlias

from matplotlib.figure import Figure

from pcm3.runs.results import Result


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


Series: TypeAlias = dict[str, Group]
"""Results of one task by the name of their series."""


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


def all_entries(series: Series) -> list[Entry]:
    """The results of all series."""
    return [each for group in series.values() for each in group.entries]


def first_with(entries: Sequence[Entry], *details: str) -> list[Entry]:
    """The first result with these details, alone, or none."""
    return [each for each in entries if all(name in each.result.details for name in details)][:1]


def one_of(entry: Entry, entries: Sequence[Entry]) -> str:
    """Which of several runs a picture is of."""
    seeds = f", one of {len(entries)} seeds" if len(entries) > 1 else ""
    return entry.named(entry.run) + seeds


def metric_of(entries: Sequence[Entry], name: str) -> list[float]:
    """A figure of every result that has it."""
    metrics = [each.result.metrics for each in entries]
    return [each[name] for each in metrics if name in each]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def std_of(values: Sequence[float]) -> float:
    """Standard deviation with n - 1 in the denominator; 0 of a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def has_seeds(series: Series) -> bool:
    """Whether a series is of several runs."""
    return any(len(group.entries) > 1 for group in series.values())


def over_seeds(series: Series) -> str:
    """What a caption says of the spread, where there is one."""
    return "; of several runs mean and standard deviation over seeds" if has_seeds(series) else ""


def source_of(entries: Sequence[Entry]) -> str:
    """What a caption says of the files."""
    return f"From {', '.join(dict.fromkeys(each.file for each in entries))}."


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
