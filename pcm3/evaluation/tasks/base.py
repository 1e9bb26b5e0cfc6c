"""The record in which a task declares everything that commands and reports need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor

from pcm3.data.dataset import LONGEST
from pcm3.data.store import Store
from pcm3.runs.results import Result, Settings, is_in_millimetres, plain_settings
from pcm3.runs.series import Picture, Series

Frames: TypeAlias = Literal["windows", "first", "all"]


class Draws(NamedTuple):
    """Repetitions with different random draws, whose mean is a figure.

    Attributes:
        values: From a result and the name of a figure to the values that it is the mean of; empty
            for other figures.
        spread: Pattern of the figures that hold their standard deviation, which tables show beside
            the mean instead.
        note: What tables say about this standard deviation.
    """

    values: Callable[[Result, str], Sequence[float]]
    spread: str
    note: str


class Fusion(NamedTuple):
    """How the class scores of several encoders are judged together.

    Attributes:
        scores: From the arguments of ``Task.evaluate`` to scores (N, classes) of the test part.
        judge: From added scores, test part and settings to what ``Task.evaluate`` returns.
    """

    scores: Callable[..., Tensor]
    judge: Callable[..., dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A downstream task.

    Attributes:
        about: What it measures, in one line.
        settings: Dataclass of its settings.
        evaluate: From encoder, training part, test part and settings to the figures, and under
            ``"details"`` what pictures need.
        headline: Patterns of the names of its main figures, the most important one first.
        legend: Name of a figure, with a capital in place of a number, to an explanation.
        details: Typed dictionary of the parts of ``details`` that are read again.
        check: Raises a ``ValueError`` if the parts of a result do not fit together.
        pictures: Functions that draw pictures of results.
        needs: What recordings must have: ``"labels"``, ``"frame labels"`` or ``""``.
        learns_classes: Whether the classes of the test part are learnt from the training part.
        frames: From settings, as JSON has them, to how sequences of more than 300 frames count:
            by the mean of the features of their ``"windows"``, by the ``"first"`` 300 frames as
            in the published code, or by ``"all"``, as the task has its own windows.
        protocol: From a store that an encoder was not trained on to the default protocol there;
            None for the one that the encoder was trained under.
        fusion: For tasks that can add the scores of several encoders.
        labels: From details to the true class of each test sequence, from which chance follows;
            None if not known.
        draws: For tasks with repetitions whose mean is a figure.
        shown: Settings that are shown beside figures even if they are the defaults.
        also_called: Other names in the field, to what to write instead.
        examples: Further command lines for its help, after ``pcm3 evaluate NAME``.
        protocol_help: What its help adds about the default protocol.
        frames_help: What its help adds about long recordings.
    """

    about: str
    settings: type
    evaluate: Callable[..., dict[str, Any]]
    headline: tuple[str, ...]
    legend: Mapping[str, str]
    details: Any = dict[str, Any]
    check: Callable[[Result], None] = lambda _: None
    pictures: tuple[Callable[[Series], Iterator[Picture]], ...] = ()
    needs: Literal["labels", "frame labels", ""] = "labels"
    learns_classes: bool = True
    frames: Callable[[Mapping[str, Any]], Frames] = lambda _: "first"
    protocol: Callable[[Store], str | None] = lambda _: None
    fusion: Fusion | None = None
    labels: Callable[[Mapping[str, Any]], Sequence[int] | None] = lambda found: found.get("labels")
    draws: Draws | None = None
    shown: tuple[str, ...] = ()
    also_called: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    protocol_help: str = ""
    frames_help: str = ""

    @property
    def defaults(self) -> Settings:
        """The default settings as JSON has them."""
        return plain_settings(self.settings())

    def headlines(self, metrics: Mapping[str, Any]) -> list[str]:
        """Return the names of the main figures among the metrics, the most important one first."""
        return [name for pattern in self.headline for name in metrics if fnmatchcase(name, pattern)]

    def summary(self, metrics: Mapping[str, Any]) -> str:
        """Format the main figures as text, in millimetres or per cent."""
        return ", ".join(
            f"{name} {metrics[name]:.1f}"
            if is_in_millimetres(name)
            else f"{name} {metrics[name]:.1%}"
            for name in self.headlines(metrics)
        )

    def how(self, settings: Mapping[str, Any]) -> str:
        """Format the settings that are always shown, in brackets; empty if there are none."""
        words = ", ".join(f"{name} {settings[name]}" for name in self.shown)
        return f" ({words})" if words else ""

    def limit(self, settings: Mapping[str, Any]) -> int | None:
        """Return the frame after which sequences are cut off by default; None for nowhere."""
        return LONGEST if self.frames(settings) == "first" else None

    def lacks(self, store: Store) -> str | None:
        """Say why a store does not support the task; None if it does."""
        if self.needs == "labels" and store.frame_labels is not None:
            return "recordings are untrimmed, without a label of their own"
        if self.needs == "labels" and (store.labels < 0).all():
            return f"none of the {len(store)} sequences has a label"
        if self.needs == "frame labels" and store.frame_labels is None:
            return "recordings have no label for every frame"
        return None
