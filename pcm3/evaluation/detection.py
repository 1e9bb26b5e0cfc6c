"""Action detection in untrimmed recordings: windows are classified, frames become intervals."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pcm3._checks import check_positive, check_seed
from pcm3.augment.functional import crop_resize
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.encoders import TransformerEncoder
from pcm3.evaluation.detection_metrics import (
    check_annotation,
    frame_labels,
    summarize_detection,
)
from pcm3.evaluation.detection_proposals import (
    Proposal,
    activity_proposals,
    sliding_window_proposals,
    smooth,
    write_pku_results,
)
from pcm3.evaluation.features import check_data
from pcm3.evaluation.linear import check_drops
from pcm3.evaluation.recognition import sequence_name
from pcm3.heads import Classifier, ProbeHead
from pcm3.hub import Pretrained
from pcm3.skeleton import to_stream
from pcm3.training.progress import track

Windows = Literal["consecutive", "strided"]
Rule = Literal["sliding_window", "activity"]

_PER_EPOCH = 16  # windows of a recording
_TEST_STRIDE = 4
_CHUNK = 512  # windows encoded at a time


@dataclass(frozen=True)
class Detection:
    """How windows around frames are classified, and how their classes become intervals."""

    windows: Windows = "consecutive"
    """32 frames in a row, or 16 frames, every third to fifth (in tests every fourth)."""
    finetune: bool = False
    """Train the whole encoder, not only a linear classifier of its frozen features."""
    normalize: bool = True
    """Standardise features by batch statistics before the linear map; the papers do not."""
    epochs: int = 60
    """Passes over the training recordings: 16 windows around random frames of each."""
    lr: float = 0.1
    """SGD learning rate; Nesterov momentum 0.9, no weight decay."""
    drops: tuple[int, ...] | None = None
    """Epochs, counted from 0, at which the rate falls tenfold; by default after two thirds."""
    batch_size: int = 64
    """Windows a step."""
    rule: Rule = "sliding_window"
    """How the probabilities of frames become intervals."""
    smoothing: int = 0
    """Frames of a moving mean over the probabilities before that; 0 for none."""
    every: int = 1
    """Classify every so-manyth frame of test recordings; the others take the nearest one's."""
    seed: int = 0
    """Of weights, windows and their order."""
    pku_files: Path | None = None
    """Folder to write the proposals into, as PKU-MMD's evaluator reads them."""

    def __post_init__(self) -> None:
        for name in ("epochs", "lr", "batch_size", "every"):
            check_positive(name, getattr(self, name))
        for name, kind in (("windows", Windows), ("rule", Rule)):
            if getattr(self, name) not in get_args(kind):
                got = getattr(self, name)
                raise ValueError(f"expected {name} among {get_args(kind)}, got {got!r}")
        check_drops(self.drops, self.epochs)
        if self.normalize and self.batch_size < 2:
            raise ValueError("expected batch_size >= 2 to normalize by batch statistics, got 1")
        if self.smoothing < 0:
            raise ValueError(f"expected smoothing >= 0, got {self.smoothing}")
        check_seed(self.seed)

    @property
    def milestones(self) -> list[int]:
        """The epochs of the drops."""
        return [self.epochs * 2 // 3] if self.drops is None else list(self.drops)


PCM3_DETECTION = Detection(finetune=True, normalize=False, lr=0.01, drops=(50,))
"""The recipe behind PCM3's table, for full-size encoders on PKU-MMD."""

PCM3_PLUS_PLUS_DETECTION = Detection(
    "strided", normalize=False, lr=0.01, drops=(40,), rule="activity", smoothing=20
)
"""The recipe behind the table of PCM3++'s survey, for full-size encoders on PKU-MMD."""


def evaluate_detection(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: Detection = Detection(),
) -> dict[str, Any]:
    """Find the actions in untrimmed recordings.

    A linear classifier on the encoder's feature of a window tells the class of the frame in its
    middle, background being one of them. A window that reaches beyond the recording repeats the
    first or last frame there. Windows go to the encoder at their own length, not at the one it was
    trained with, as in the papers; for a transformer they are resized to that one, which its
    temporal embeddings belong to. Whole recordings are used, whatever the data sets'
    ``max_frames``; classes are not balanced. A frozen encoder stays in evaluation mode, so that
    its input normalisation does not adapt (in the published linear recipe it does).

    The default settings were chosen for small data, on training subjects held out of 36 short
    recordings. The published ones, ``PCM3_DETECTION`` and ``PCM3_PLUS_PLUS_DETECTION``, are for
    features of width 2048 and 25 times as many steps an epoch. The activity rule makes one
    interval of actions that follow each other at once.

    Args:
        pretrained: The encoder and how it wants its clips. It is left as it is.
        training: Annotated untrimmed recordings to train on.
        test: The same to test on.
        settings: ``Detection()`` by default.

    Returns:
        For each overlap θ of 0.1, 0.3 and 0.5 ``map_action_voc_θ`` (what the papers report) and
        ``map_action_pku_θ``; ``map_video_pku_0.5``, ``f1_0.5``, ``ap_2d``, and
        ``frame_accuracy`` with background as a class; all in [0, 1]. Under ``details``
        ``class_names`` and ``videos``: of each ``name``, ``frames``, ``truth`` and ``predicted``
        (the likeliest class of the frames) as lists of ``[class, start, end]``, end exclusive,
        where class -1 is background, and ``proposals`` as ``[class, start, end, confidence]``.

    Raises:
        ValueError: If a store has no frame labels, the classes of the two parts differ, or the
            data do not fit the encoder.

    Source:
        PCM3 Sec. 4.3 and the survey of PCM3++, with what their code leaves beyond the text.
    """
    probabilities = frame_probabilities(pretrained, training, test, settings)
    proposals = find_proposals(probabilities, settings)
    result = summarize_detection(probabilities, proposals, test)
    if settings.pku_files is not None:
        videos = test.indices.tolist()
        names = {number: _file_name(test.store, index) for number, index in enumerate(videos)}
        write_pku_results(settings.pku_files, proposals, names)
    return result


def _file_name(store: Store, index: int) -> str:
    """The name of a recording, where readers did not make one up, or else its number."""
    name = re.sub(r"^sequence (?=\d+$)", "sequence-", sequence_name(store, index))
    return name or f"sequence-{index}"


def frame_probabilities(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: Detection = Detection(),
) -> list[NDArray[np.float32]]:
    """Train the classifier of ``evaluate_detection`` and apply it to every frame.

    Returns:
        For each test recording (T, classes + 1), the last column background.

    Raises:
        ValueError: As ``evaluate_detection``.
    """
    for part in (training, test):
        check_data(pretrained, part)
    check_annotation(training, test)
    model = _train(pretrained, _whole(training), settings)
    whole = _whole(test)
    return [_classify(model, _clip(whole, item), settings) for item in range(len(whole))]


def find_proposals(probabilities: Sequence[ArrayLike], settings: Detection) -> list[Proposal]:
    """Smooth and apply the rule of the settings to every recording.

    Args:
        probabilities: As ``frame_probabilities`` gives them.
        settings: Its ``smoothing`` and ``rule`` count.

    Returns:
        Proposals whose ``video`` is the recording's place in the list.
    """
    rule = sliding_window_proposals if settings.rule == "sliding_window" else activity_proposals
    return [
        proposal
        for video, rows in enumerate(probabilities)
        for proposal in rule(smooth(rows, settings.smoothing), -1, video=video)
    ]


# --- recordings and windows -----------------------------------------------------------------------


def _whole(dataset: SkeletonDataset) -> SkeletonDataset:
    """The same recordings, not cut off after a number of frames."""
    return SkeletonDataset(
        dataset.store,
        dataset.indices,
        persons=dataset.persons,
        max_frames=None,
        skeleton=dataset.skeleton,
    )


def _clip(dataset: SkeletonDataset, item: int) -> Tensor:
    return dataset.batch([item]).clips[0]


def _columns(dataset: SkeletonDataset, item: int) -> Tensor:
    """Column of every frame's class (T,): background is the last one."""
    labels = torch.from_numpy(frame_labels(dataset, item))
    return torch.where(labels < 0, len(dataset.class_names), labels)


def _strides(windows: Windows) -> tuple[int, ...]:
    return (1,) if windows == "consecutive" else (3, 4, 5)


def _cut(clip: Tensor, centres: Tensor, strides: Tensor, windows: Windows) -> Tensor:
    """Windows (W, C, L, V, M) of a clip (C, T, V, M); frames outside repeat the ends."""
    half = 16 if windows == "consecutive" else 8
    frames = centres[:, None] + strides[:, None] * torch.arange(-half, half)
    return clip[:, frames.clamp(0, clip.shape[1] - 1)].transpose(0, 1)


# --- the classifier -------------------------------------------------------------------------------


class _WindowClassifier(nn.Module):
    """Windows of joint coordinates (W, C, L, V, M) to class scores, the last one background."""

    def __init__(self, pretrained: Pretrained, classes: int, normalize: bool) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(pretrained.encoder)
        self.skeleton, self.stream = pretrained.skeleton, pretrained.stream
        # the transformer's temporal embeddings belong to this number of frames
        fixed = isinstance(self.encoder, TransformerEncoder)
        self.frames = pretrained.frames if fixed else None
        head = ProbeHead if normalize else Classifier
        self.device = next(self.encoder.parameters()).device
        self.head = head(self.encoder.out_features, classes + 1).to(self.device)

    def features(self, windows: Tensor) -> Tensor:
        clips = windows.to(self.device)
        if self.frames is not None and self.frames != clips.shape[2]:
            lengths = torch.full((len(clips),), clips.shape[2], device=clips.device)
            clips = crop_resize(clips, torch.zeros_like(lengths), lengths, self.frames)
        features: Tensor = self.encoder.pool(
            self.encoder(to_stream(clips, self.skeleton, self.stream))
        )
        return features

    @torch.no_grad()
    def frozen_features(self, windows: Tensor) -> Tensor:
        """Without gradient, float32 on the CPU."""
        return self.features(windows).float().cpu()


def _train(
    pretrained: Pretrained, training: SkeletonDataset, settings: Detection
) -> _WindowClassifier:
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    model = _WindowClassifier(pretrained, len(training.class_names), settings.normalize)
    model.encoder.requires_grad_(settings.finetune)
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(weights, settings.lr, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, settings.milestones)
    model.train()
    model.encoder.train(settings.finetune)
    for inputs, labels in _epochs(model, training, settings, generator):
        order = torch.randperm(len(inputs), generator=generator)
        for rows in order.split(settings.batch_size):
            if settings.normalize and len(rows) < 2:
                continue  # one window has no statistics
            batch = inputs[rows].to(model.device)
            scores = model.head(model.features(batch) if settings.finetune else batch)
            loss = F.cross_entropy(scores, labels[rows].to(model.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def _epochs(
    model: _WindowClassifier,
    training: SkeletonDataset,
    settings: Detection,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows of every epoch, or for a frozen encoder their features, and their columns."""
    kind, strides = settings.windows, torch.tensor(_strides(settings.windows))
    items = range(len(training))
    cached = not settings.finetune and _cache_pays(training, settings)
    table = [_all_features(model, _clip(training, k), kind) for k in items] if cached else []
    columns = [_columns(training, item) for item in items]
    for _ in track(settings.epochs, "detection"):
        drawn, labels = [], []
        for item in items:
            centres = torch.randint(len(columns[item]), (_PER_EPOCH,), generator=generator)
            choice = torch.randint(len(strides), (_PER_EPOCH,), generator=generator)
            labels.append(columns[item][centres])
            if cached:
                drawn.append(table[item][choice, centres])
            else:
                drawn.append(_cut(_clip(training, item), centres, strides[choice], kind))
        inputs = torch.cat(drawn)
        if not (settings.finetune or cached):
            inputs = torch.cat([model.frozen_features(part) for part in inputs.split(_CHUNK)])
        yield inputs, torch.cat(labels)


def _cache_pays(training: SkeletonDataset, settings: Detection) -> bool:
    """Whether there are fewer windows than training would draw."""
    windows = int(training.lengths.sum()) * len(_strides(settings.windows))
    return windows <= settings.epochs * _PER_EPOCH * len(training)


def _all_features(model: _WindowClassifier, clip: Tensor, windows: Windows) -> Tensor:
    """Features (strides, T, D) of the windows around every frame."""
    return torch.stack(
        [
            torch.cat([model.frozen_features(part) for part in _around(clip, 1, stride, windows)])
            for stride in _strides(windows)
        ]
    )


def _around(clip: Tensor, every: int, stride: int, windows: Windows) -> Iterator[Tensor]:
    """Windows around every so-manyth frame of a clip, in chunks."""
    for centres in torch.arange(0, clip.shape[1], every).split(_CHUNK):
        yield _cut(clip, centres, torch.full_like(centres, stride), windows)


@torch.no_grad()
def _classify(model: _WindowClassifier, clip: Tensor, settings: Detection) -> NDArray[np.float32]:
    """Probabilities (T, classes + 1) of a clip (C, T, V, M)."""
    stride = 1 if settings.windows == "consecutive" else _TEST_STRIDE
    parts = _around(clip, settings.every, stride, settings.windows)
    features = torch.cat([model.frozen_features(part) for part in parts])
    probabilities = model.head(features.to(model.device)).softmax(dim=1).cpu().numpy()
    nearest = (np.arange(clip.shape[1]) + settings.every // 2) // settings.every
    rows: NDArray[np.float32] = probabilities[np.minimum(nearest, len(probabilities) - 1)]
    return rows
