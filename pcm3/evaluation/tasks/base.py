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


class Fusion(NamedTuple):
    """The evaluation of several encoders by the sum of their class scores.

    Attributes:
        scores: Function that takes the arguments of ``Task.evaluate`` and returns scores
            (N, classes) of the test part.
        judge: Function that takes summed scores, test part and settings and returns what
            ``Task.evaluate`` returns.
    """

    scores: Callable[..., Tensor]
    judge: Callable[..., dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A downstream task.

    Attributes:
        about: Description of the task in one line.
        settings: Dataclass of the settings.
        evaluate: Function that takes encoder, training part, test part and settings and returns
            the figures and, under ``"details"``, values for pictures.
        headline: Patterns of the names of the main figures, the most important one first.
        legend: Explanation of each figure by its name, with a capital in place of a number.
        details: Typed dictionary of the parts of ``details`` that are read again.
        check: Function that raises a ``ValueError`` if the parts of a result do not fit together.
        pictures: Functions that draw pictures of results.
        needs: What recordings must have: ``"labels"``, ``"frame labels"`` or ``""``.
        learns_classes: Whether the classes of the test part are learnt from the training part.
        new_classes: Whether the ``classes`` of the details should be new to the encoder.
        frames: Function that takes settings as JSON has them and returns how the task uses
            sequences of more than 300 frames: it averages the features of their ``"windows"``,
            uses the ``"first"`` 300 frames as the published code does, or uses ``"all"`` in
            windows of its own.
        protocol: Function that returns the default protocol for a store that the encoder was not
            trained on; None for the protocol that the encoder was trained under.
        fusion: Set if the task can add the scores of several encoders.
        labels: Function that returns the true class of each test sequence from the details, which
            determine chance; None if not known.
        recipes: Recipes by name, whose values the settings that are None take.
        shown: Settings that are shown beside figures even if they are the defaults.
        also_called: What to write instead of other names of the task in the field.
        examples: Further command lines for the help, after ``pcm3 evaluate NAME``.
        protocol_help: Addition to the help on the default protocol.
        frames_help: Addition to the help on long recordings.
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
    new_classes: bool = False
    frames: Callable[[Mapping[str, Any]], Frames] = lambda _: "first"
    protocol: Callable[[Store], str | None] = lambda _: None
    fusion: Fusion | None = None
    labels: Callable[[Mapping[str, Any]], Sequence[int] | None] = lambda parts: parts.get("labels")
    recipes: Mapping[str, Any] = field(default_factory=dict)
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
        """Format the main figures as text, in millimetres or percent."""
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
