"""Fine-tuning for recognition: the whole model learns from all labels or from a few."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pcm3._torch import send
from pcm3.augment import Compose, Rotate
from pcm3.checks import check_seed
from pcm3.data.dataset import SkeletonDataset
from pcm3.encoders import Encoder
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.classification import (
    LEGEND,
    PICTURES,
    RecognitionDetails,
    check_labels,
    check_recognition,
    summarize,
)
from pcm3.evaluation.details import require
from pcm3.evaluation.features import check_cut, check_data, training_crop
from pcm3.evaluation.recognizer import Recognizer, recognition_scores
from pcm3.evaluation.supervised import Epoch, train
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.finetune_recipes import RECIPES, FinetuneRecipe, RecipeSettings
from pcm3.heads import Classifier, FinetuneHead
from pcm3.runs.results import Result
from pcm3.runs.series import Group, Picture, Series, source_of
from pcm3.schedules import parameter_groups
from pcm3.skeleton import to_stream
from pcm3.viz.results import curve_figure


def check_fraction(fraction: float) -> None:
    """Require a share in (0, 1].

    Raises:
        ValueError: If the share is another.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"expected a label fraction in (0, 1], got {fraction}")


@dataclass(frozen=True)
class FinetuneSettings(RecipeSettings):
    """Settings of fine-tuning."""

    label_fraction: float = 1.0
    """Share of the training part whose labels are used, in (0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.label_fraction)


class Finetuned(NamedTuple):
    """Result of fine-tuning.

    Attributes:
        model: The model in evaluation mode, on the device of the pretrained encoder.
        rows: The items of the training part that the model learnt from, sorted, int64.
        losses: Mean loss of every epoch.
    """

    model: Recognizer
    rows: NDArray[np.int64]
    losses: list[float]


def draw_labelled(
    labels: ArrayLike, fraction: float, balanced: bool = False, seed: int = 0
) -> NDArray[np.int64]:
    """Draw the sequences whose labels a semi-supervised run may use.

    Args:
        labels: Class of each sequence (N,), at least 0.
        fraction: Share to draw, in (0, 1].
        balanced: Draw ``round(fraction n_c)``, at least one, of the n_c sequences of every class
            (AimCLR, HiCLR) instead of ``int(fraction N)`` of all (CMD, MAMP).
        seed: Equal seeds draw equal sequences.

    Returns:
        Positions in ``labels``, sorted, int64.

    Raises:
        ValueError: If fraction or seed is out of range, the fraction holds no sequence, or a label
            is missing.

    Example:
        >>> draw_labelled([0, 0, 0, 0, 1, 1], 0.5, balanced=True).size
        3
    """
    labels = np.asarray(labels, dtype=np.int64)
    check_fraction(fraction)
    check_seed(seed)
    if labels.ndim != 1 or (labels < 0).any():
        raise ValueError(f"expected labels (N,) >= 0, got {labels}")
    random = np.random.default_rng(seed)
    if balanced:
        classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        counts = [max(1, round(fraction * len(rows))) for rows in classes]
    else:
        # slightly more, because 0.29 * 100 is slightly below 29 in floating point
        classes, counts = [np.arange(len(labels))], [int(fraction * len(labels) + 1e-9)]
    if sum(counts) == 0:
        raise ValueError(
            f"expected at least one sequence, but {fraction} of {len(labels)} is less than one"
        )
    drawn = [
        random.choice(rows, count, replace=False)
        for rows, count in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def finetune(
    pretrained: Pretrained,
    training: SkeletonDataset,
    settings: FinetuneSettings = FinetuneSettings(),
) -> Finetuned:
    """Fine-tune a copy of a pretrained encoder, and a new head, on labelled sequences.

    Sequences are cropped to 50 to 100 % of their frames, and rotated if the recipe says so. All
    parts are in training mode.

    Args:
        pretrained: The encoder, which is not changed, and its input.
        training: Labelled sequences, of the pretraining store or any other.
        settings: Recipe, share of the labels, seed.

    Raises:
        ValueError: If a sequence has no label, the data or the settings do not fit the encoder,
            a batch would have fewer than two sequences, or the loss stops being finite.

    Source:
        CMD (Mao et al., ECCV 2022) and PCM3 Sec. 4.3; MAMP (Mao et al., ICCV 2023).
    """
    check_data(pretrained, training)
    check_cut(training)
    check_labels(training)
    recipe = settings.resolve(pretrained.encoder)
    rows, steps = draw_rows(training.labels, settings, recipe.batch_size)
    device = pretrained.device
    torch.manual_seed(settings.seed)
    model = _build(pretrained.encoder, len(training.class_names), recipe, settings.scratch)
    model.to(device).train().requires_grad_(True)
    order = torch.Generator().manual_seed(settings.seed)
    generator = torch.Generator(device).manual_seed(settings.seed)
    augment = Compose(training_crop(pretrained.frames), Rotate(recipe.rotation))

    def draw() -> Epoch[Tensor]:
        return torch.randperm(len(rows), generator=order).tensor_split(steps), loss_of

    def loss_of(part: Tensor) -> Tensor:
        batch = training.batch(rows[part.numpy()].tolist())
        clips, lengths = send(batch.clips, device), send(batch.lengths, device)
        clips = augment(clips, lengths, generator=generator)
        scores = model(to_stream(clips, pretrained.skeleton, pretrained.stream))
        labels = send(batch.labels, device)
        return F.cross_entropy(scores, labels, label_smoothing=recipe.label_smoothing)

    losses = train(
        "fine-tuning",
        finetune_optimizer(model, recipe),
        recipe.epochs,
        draw,
        recipe.factor,
    )
    return Finetuned(model.eval(), rows, losses)


def evaluate_finetune(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: FinetuneSettings = FinetuneSettings(),
) -> dict[str, Any]:
    """Recognise actions after fine-tuning, with the weights of the last epoch.

    Training and test part may come from another store than the pretraining (transfer).

    Args:
        pretrained: The encoder, which is not changed, and its input.
        training: Labelled training part.
        test: Labelled test part.
        settings: Recipe, share of the labels, seed.

    Returns:
        ``top1`` and ``per_class`` accuracies as fractions. ``details``: those of
        ``evaluate_linear``, ``training_sequences`` (number of labels that were used), ``recipe``
        (all its values by name), and ``training_loss`` of every epoch.

    Raises:
        ValueError: If the classes of the two parts differ, and as ``finetune``.
    """
    check_parts(training, test)
    model, rows, losses = finetune(pretrained, training, settings)
    result = summarize(recognition_scores(pretrained, model, test), test)
    result["details"] |= {
        "training_sequences": len(rows),
        "recipe": settings.resolve(pretrained.encoder)._asdict(),
        "training_loss": losses,
    }
    return result


def check_parts(training: SkeletonDataset, test: SkeletonDataset) -> None:
    """Require a label for every sequence, and the same classes in both parts.

    Raises:
        ValueError: If a label is missing or the classes differ; the message names the stores.
    """
    check_labels(training, test)
    if training.class_names != test.class_names:
        raise ValueError(
            f"expected a training and a test part of the same classes, got those of "
            f"{training.store.path} and {test.store.path}"
        )


def draw_rows(
    labels: NDArray[np.int64], settings: FinetuneSettings, batch_size: int
) -> tuple[NDArray[np.int64], int]:
    """Draw the labelled sequences; return also the number of batches that they form.

    Raises:
        ValueError: If there are too few.
    """
    rows = np.arange(len(labels))
    if settings.label_fraction < 1:
        rows = draw_labelled(labels, settings.label_fraction, settings.balanced, settings.seed)
    steps = -(-len(rows) // batch_size)
    if len(rows) // max(steps, 1) < 2:
        raise ValueError(
            "expected at least two sequences in every batch, which batch normalisation needs, "
            f"got {len(rows)} in batches of {batch_size}"
        )
    return rows, steps


def _build(pretrained: Encoder, classes: int, recipe: FinetuneRecipe, scratch: bool) -> Recognizer:
    encoder = type(pretrained)(**pretrained.arguments) if scratch else copy.deepcopy(pretrained)
    encoder.set_drop_path(recipe.drop_path)
    if recipe.recipe == "mamp":
        return Recognizer(encoder, FinetuneHead(encoder.out_features, encoder.joints, classes))
    return Recognizer(encoder, Classifier(encoder.out_features, classes))


def finetune_optimizer(model: Recognizer, recipe: FinetuneRecipe) -> torch.optim.Optimizer:
    """Make the optimiser of a recipe."""
    scales = model.encoder.learning_rate_scales(recipe.layer_decay)
    groups = parameter_groups(
        model,
        recipe.lr,
        recipe.weight_decay,
        scales={f"encoder.{parameter}": scale for parameter, scale in scales.items()},
    )
    if recipe.recipe == "mamp":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=0.9)


def _check(result: Result) -> None:
    check_recognition(result)
    share = _share(result)
    good = isinstance(share, int | float) and 0 < share <= 1
    require(good, f"settings.label_fraction in (0, 1], got {share!r:.60}")


def _share(result: Result) -> Any:
    """Return the share of the labels that was used; 1 if the result does not say."""
    return result.settings.get("label_fraction", 1.0)


def _label_curves(series: Series) -> Iterator[Picture]:
    """Draw accuracy against the labelled share, of results that differ in nothing else."""
    groups: dict[str, Group] = {}
    for group in series.values():
        for entry in group.entries:
            rest = {key: kept for key, kept in entry.settings.items() if key != "label_fraction"}
            name = entry._replace(settings=rest).named(entry.column)
            groups.setdefault(name, Group(group.place, [])).entries.append(entry)
    curves, used = {}, []
    for name, group in groups.items():
        accuracies: dict[float, list[float]] = {}
        for entry in group.entries:
            accuracies.setdefault(_share(entry.result), []).append(entry.result.metrics["top1"])
        if len(accuracies) > 1:
            seeds = any(len(sample) > 1 for sample in accuracies.values())
            curves[name] = group.curve(dict(sorted(accuracies.items())), spread=seeds)
            used += group.entries
    if curves:
        yield Picture(
            "Accuracy against labels",
            "Accuracy after fine-tuning with the labels of a share of the training part; of "
            f"several runs mean and standard deviation over seeds. {source_of(used)}",
            [curve_figure(curves, "labelled share", x_percent=True, logarithmic=True)],
        )


TASK = Task(
    about="The whole network trained on with labels.",
    settings=FinetuneSettings,
    recipes=RECIPES,
    evaluate=evaluate_finetune,
    headline=("top1",),
    legend=LEGEND,
    details=RecognitionDetails,
    check=_check,
    pictures=(*PICTURES, _label_curves),
    also_called={"transfer": "finetune, with another store as --data"},
)
