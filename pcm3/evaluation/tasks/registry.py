"""The downstream tasks by name: what ``pcm3 evaluate`` can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from pcm3.data.dataset import LONGEST
from pcm3.data.store import Store
from pcm3.evaluation.recognition import Linear, Retrieval, evaluate_knn, evaluate_linear
from pcm3.evaluation.tasks.detection.detection import Detection, evaluate_detection
from pcm3.evaluation.tasks.fewshot import FewShot, evaluate_fewshot, published_protocol
from pcm3.evaluation.tasks.finetune import Finetune, evaluate_finetune
from pcm3.evaluation.tasks.occlusion import (
    Occlusion,
    Robustness,
    evaluate_occlusion,
    evaluate_robustness,
)
from pcm3.evaluation.tasks.prediction.prediction import Prediction, evaluate_prediction
from pcm3.evaluation.tasks.semi import Semi, evaluate_semi


class Task(NamedTuple):
    """A downstream task.

    Attributes:
        about: What it measures, in a line.
        settings: Dataclass of its options.
        evaluate: From encoder, training part, test part and settings to the figures, with what
            pictures need under ``"details"``.
        headline: Names of the figures that say most, the first one above all; ``*`` stands for
            what settings decide.
        needs: What recordings have to have: ``"labels"``, ``"frame labels"`` or ``""``.
        learns_classes: Whether the classes of the test part are learnt from the training part.
        frames: From settings to what of sequences longer than 300 frames counts: the mean of the
            features of their ``"windows"``, the ``"first"`` 300 as in the published code, or
            ``"all"``, as the task has its own windows.
        protocol: From a store that an encoder was not trained on to the protocol that the task
            has there by default; None for the one that the encoder was trained under.
    """

    about: str
    settings: type
    evaluate: Callable[..., dict[str, Any]]
    headline: tuple[str, ...]
    needs: str = "labels"
    learns_classes: bool = True
    frames: Callable[[Any], Literal["windows", "first", "all"]] = lambda _: "first"
    protocol: Callable[[Store], str | None] = lambda _: None

    def headlines(self, metrics: Mapping[str, Any]) -> list[str]:
        """Names of the figures that say most, of those that are there."""
        return [name for pattern in self.headline for name in metrics if fnmatchcase(name, pattern)]

    def limit(self, settings: Any) -> int | None:
        """Where longer sequences are cut off by default."""
        return LONGEST if self.frames(settings) == "first" else None

    def lacks(self, store: Store) -> str | None:
        """Why a store does not support the task; None if it does."""
        if self.needs == "labels" and store.frame_labels is not None:
            return "recordings are untrimmed, without a label of their own"
        if self.needs == "labels" and (store.labels < 0).all():
            return f"none of the {len(store)} sequences has a label"
        if self.needs == "frame labels" and store.frame_labels is None:
            return "recordings have no label for every frame"
        return None


TASKS = {
    "linear": Task(
        "A linear classifier on frozen features.",
        Linear,
        evaluate_linear,
        ("top1",),
        frames=lambda settings: "first" if settings.recipe else "windows",
    ),
    "knn": Task(
        "Retrieval: the nearest training sequences by cosine similarity.",
        Retrieval,
        evaluate_knn,
        ("top1", "vote", "map"),
        frames=lambda _: "windows",
    ),
    "finetune": Task(
        "The whole network trained on with labels.", Finetune, evaluate_finetune, ("top1",)
    ),
    "semi": Task(
        "The whole network trained on with few labels, several draws of each share.",
        Semi,
        evaluate_semi,
        ("top1_at_*",),
    ),
    "occlusion": Task(
        "A linear classifier on recordings with hidden body parts or frames.",
        Occlusion,
        evaluate_occlusion,
        ("spatial_top1", "temporal_top1"),
    ),
    "robustness": Task(
        "A linear classifier on ever more occluded, noisy and slower recordings.",
        Robustness,
        evaluate_robustness,
        ("spatial_top1", "temporal_top1", "noise_top1", "frame_rate_top1"),
    ),
    "detection": Task(
        "Intervals of actions in untrimmed recordings.",
        Detection,
        evaluate_detection,
        ("map_action_voc_0.5", "map_action_pku_0.5", "map_video_pku_0.5"),
        needs="frame labels",
        learns_classes=False,
        frames=lambda _: "all",
    ),
    "fewshot": Task(
        "Episodes of a few classes with a few examples each, from the test part.",
        FewShot,
        evaluate_fewshot,
        ("*shot",),
        learns_classes=False,
        frames=lambda _: "windows",
        protocol=published_protocol,
    ),
    "prediction": Task(
        "The next frames of a motion, beside predicting none.",
        Prediction,
        evaluate_prediction,
        ("mpjpe_mm", "zero_velocity_mm"),
        needs="",
        learns_classes=False,
        frames=lambda _: "all",
    ),
}
"""Name on the command line to task."""
