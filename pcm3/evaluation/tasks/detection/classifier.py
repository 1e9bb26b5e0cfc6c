"""The classifier of action detection: it tells the class of a frame from the window around it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pcm3._torch import send
from pcm3.augment.functional import crop_resize
from pcm3.data.dataset import SkeletonDataset
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.supervised import Epoch, train
from pcm3.evaluation.tasks.detection.annotation import frame_labels
from pcm3.evaluation.tasks.detection.recipes import Borders, DetectionRecipe, Windows
from pcm3.heads import ProbeHead
from pcm3.skeleton import to_stream

_HALF = {"consecutive": 16, "strided": 8}  # frames of a window before its middle one
_TRAINING_STRIDES = {"consecutive": (1,), "strided": (3, 4, 5)}
_TEST_STRIDE = {"consecutive": 1, "strided": 4}
_PER_EPOCH = 16  # windows per recording and epoch
_CHUNK = 512  # windows encoded at a time


def window_frames(
    centres: Tensor, strides: Tensor, length: int, windows: Windows, borders: Borders
) -> tuple[Tensor, Tensor]:
    """Return the frames of windows around some frames of a recording.

    Args:
        centres: Frames of the recording (W,), int64.
        strides: Step from one frame of a window to the next (W,), int64.
        length: Number of frames T of the recording.
        windows: ``"consecutive"``, L = 32 frames, or ``"strided"``, L = 16.
        borders: Treatment of windows that would reach beyond the recording. ``"repeat"`` repeats
            the frame at the end. ``"inside"`` moves the window inside, so that frames near an end
            get the first or the last whole window; in a recording shorter than a window, the
            window begins at frame 0.

    Returns:
        The frames of each window (W, L), and its middle frame (W,), whose class it is trained on.
        Numbers from T on are after the end of the recording.

    Source:
        ``"inside"`` comes from the detection code of PCM3 and of the survey of PCM3++, which does
        the same or fails in recordings shorter than a window.
    """
    half = _HALF[windows] * strides
    first = centres - half
    if borders == "inside":
        first = torch.minimum(first, length - 2 * half).clamp(min=0)
    frames = first[:, None] + strides[:, None] * torch.arange(2 * _HALF[windows])
    if borders == "repeat":
        frames = frames.clamp(0, length - 1)
    return frames, first + half


def cut_windows(clip: Tensor, frames: Tensor) -> Tensor:
    """Cut windows (W, C, L, V, M) from a clip (C, T, V, M); frames (W, L) from T on are zero."""
    outside = frames >= clip.shape[1]
    windows = clip[:, frames.clamp(max=clip.shape[1] - 1)].transpose(0, 1)
    return windows.masked_fill(outside[:, None, :, None, None], 0)


def too_short(training: SkeletonDataset, recipe: DetectionRecipe) -> int:
    """Count the recordings that end before the middle of every window, so that nothing is learnt.

    Raises:
        ValueError: If all recordings are too short.
    """
    if recipe.borders == "repeat":
        return 0
    half = _HALF[recipe.windows] * _TRAINING_STRIDES[recipe.windows][0]
    lengths = training.store.lengths[training.indices]
    short = int((lengths <= half).sum())
    if short == len(lengths):
        raise ValueError(
            f"expected a training recording of more than half a window, {half} frames, got at "
            f"most {lengths.max(initial=0)}"
        )
    return short


class WindowClassifier(nn.Module):
    """Classifier of windows (W, C, L, V, M); the last of its class scores is background.

    Args:
        pretrained: The encoder, which is copied, and its input.
        classes: Number of classes, without the background.
        normalize: Whether to standardise features by batch statistics before the linear map.
    """

    def __init__(self, pretrained: Pretrained, classes: int, normalize: bool) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(pretrained.encoder)
        self.skeleton, self.stream = pretrained.skeleton, pretrained.stream
        self.frames = pretrained.frames if self.encoder.fixed_frames else None
        head = ProbeHead if normalize else nn.Linear
        self.device = pretrained.device
        self.head = head(self.encoder.out_features, classes + 1).to(self.device)

    def set_training(self, finetune: bool, adapt_norm: bool) -> None:
        """Set to training mode the head, and the encoder or only its running statistics."""
        self.train()
        self.encoder.train(finetune).requires_grad_(finetune)
        for module in self.encoder.modules():
            if adapt_norm and isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.train()

    def features(self, windows: Tensor) -> Tensor:
        """Compute sequence features (W, D) of windows."""
        clips = send(windows, self.device)
        if self.frames is not None and self.frames != clips.shape[2]:
            lengths = torch.full((len(clips),), clips.shape[2], device=clips.device)
            clips = crop_resize(clips, torch.zeros_like(lengths), lengths, self.frames)
        features: Tensor = self.encoder.pool(
            self.encoder(to_stream(clips, self.skeleton, self.stream))
        )
        return features

    @torch.no_grad()
    def frozen_features(self, parts: Iterable[Tensor]) -> Tensor:
        """Compute features of chunks of windows without gradient, float32 on the CPU."""
        return torch.cat([self.features(part).float() for part in parts]).cpu()

    @torch.no_grad()
    def probabilities(
        self, clip: Tensor, recipe: DetectionRecipe, every: int = 1
    ) -> NDArray[np.float32]:
        """Compute probabilities (T, classes + 1) of the frames of a clip (C, T, V, M).

        Windows are cut around every n-th frame; other frames get the result of the nearest one.
        """
        parts = _around(clip, every, _TEST_STRIDE[recipe.windows], recipe)
        computed = (
            self.head(self.frozen_features(parts).to(self.device)).softmax(dim=1).cpu().numpy()
        )
        nearest = (np.arange(clip.shape[1]) + every // 2) // every
        rows: NDArray[np.float32] = computed[np.minimum(nearest, len(computed) - 1)]
        return rows


def train_window_classifier(
    pretrained: Pretrained, training: SkeletonDataset, recipe: DetectionRecipe, seed: int
) -> WindowClassifier:
    """Train a classifier on windows around random frames of whole recordings.

    Returns:
        The classifier in evaluation mode.

    Raises:
        ValueError: If all recordings are too short, or the loss stops being finite.
    """
    too_short(training, recipe)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = WindowClassifier(pretrained, len(training.class_names), recipe.normalize)
    model.set_training(recipe.finetune, recipe.adapt_norm)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(weights, recipe.lr, momentum=0.9, nesterov=True)
    epochs = draw_epochs(model, training, recipe, generator)

    def draw() -> Epoch[Tensor]:
        inputs, labels = next(epochs)

        def loss_of(rows: Tensor) -> Tensor:
            batch = send(inputs[rows], model.device)
            scores = model.head(model.features(batch) if _changes(recipe) else batch)
            return F.cross_entropy(scores, send(labels[rows], model.device))

        order = torch.randperm(len(inputs), generator=generator)
        return order.split(recipe.batch_size), loss_of

    train(
        "detection",
        optimizer,
        recipe.epochs - recipe.start_epoch,
        draw,
        lambda epoch: recipe.factor(recipe.start_epoch + epoch),
        least=2 if recipe.normalize else 1,  # one window has no statistics
    )
    return model.eval()


def draw_epochs(
    model: WindowClassifier,
    training: SkeletonDataset,
    recipe: DetectionRecipe,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the windows of each epoch and their columns.

    Args:
        model: The classifier that is trained.
        training: The recordings, whole.
        recipe: How windows are cut, and for how many epochs.
        generator: Random generator of the windows, on the CPU.

    Yields:
        Windows (K, C, L, V, M) and the column (K,) that is right for each. If the encoder does
        not change, their features (K, D) take the place of the windows.
    """
    strides = torch.tensor(_TRAINING_STRIDES[recipe.windows])
    items = range(len(training))
    cached = not _changes(recipe) and cache_pays(training, recipe)
    table = [_all_features(model, _clip(training, k), recipe) for k in items if cached]
    columns = [_columns(training, item) for item in items]
    for _ in range(recipe.start_epoch, recipe.epochs):
        drawn, labels = [], []
        for item in items:
            length = len(columns[item])
            centres = torch.randint(length, (_PER_EPOCH,), generator=generator)
            choice = torch.randint(len(strides), (_PER_EPOCH,), generator=generator)
            frames, middles = window_frames(
                centres, strides[choice], length, recipe.windows, recipe.borders
            )
            inside = middles < length
            labels.append(columns[item][middles[inside]])
            if cached:
                drawn.append(table[item][choice[inside], centres[inside]])
            else:
                drawn.append(cut_windows(_clip(training, item), frames[inside]))
        inputs = torch.cat(drawn)
        if not (cached or _changes(recipe)):
            inputs = model.frozen_features(inputs.split(_CHUNK))
        yield inputs, torch.cat(labels)


def _changes(recipe: DetectionRecipe) -> bool:
    """Return whether a training step changes the encoder's features."""
    return recipe.finetune or recipe.adapt_norm


def cache_pays(training: SkeletonDataset, recipe: DetectionRecipe) -> bool:
    """Return whether there are fewer windows than training would draw."""
    windows = int(training.lengths.sum()) * len(_TRAINING_STRIDES[recipe.windows])
    return windows <= recipe.epochs * _PER_EPOCH * len(training)


def _all_features(model: WindowClassifier, clip: Tensor, recipe: DetectionRecipe) -> Tensor:
    """Compute features (strides, T, D) of the windows around every frame."""
    return torch.stack(
        [
            model.frozen_features(_around(clip, 1, stride, recipe))
            for stride in _TRAINING_STRIDES[recipe.windows]
        ]
    )


def _around(clip: Tensor, every: int, stride: int, recipe: DetectionRecipe) -> Iterator[Tensor]:
    """Yield windows around every n-th frame of a clip, in chunks."""
    length = clip.shape[1]
    for centres in torch.arange(0, length, every).split(_CHUNK):
        strides = torch.full_like(centres, stride)
        frames, _ = window_frames(centres, strides, length, recipe.windows, recipe.borders)
        yield cut_windows(clip, frames)


def _clip(dataset: SkeletonDataset, item: int) -> Tensor:
    return dataset.batch([item]).clips[0]


def _columns(dataset: SkeletonDataset, item: int) -> Tensor:
    """Return the column of every frame's class (T,); background is the last one."""
    labels = torch.from_numpy(frame_labels(dataset, item))
    return torch.where(labels < 0, len(dataset.class_names), labels)
