"""Motion prediction: the position of every joint a fraction of a second ahead."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from pcm3._torch import send
from pcm3.checks import check_not_empty, check_positive, check_seed
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.normalize import normalize
from pcm3.data.units import metres_in
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.features import check_data
from pcm3.evaluation.metrics import mpjpe
from pcm3.evaluation.supervised import Epoch, train
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.prediction.model import MotionPredictor, hold_mean
from pcm3.evaluation.tasks.prediction.pictures import (
    PredictionDetails,
    check_details,
    draw_curves,
    draw_strips,
)
from pcm3.losses import masked_mse
from pcm3.schedules import schedule

_EXAMPLES = 4


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of motion prediction."""

    observed: int = 50
    """Number of frames that the encoder gets, at the recording's own rate."""
    predicted: int = 10
    """Number of frames to predict after them."""
    horizons: tuple[int, ...] = (2, 4, 8, 10)
    """Predicted frames, counted from 1, at which errors are reported."""
    finetune: bool = True
    """Train the encoder too, not only the decoder."""
    hidden: int | None = None
    """Width of the decoder; none for that of the encoder's features, 1024 at most."""
    epochs: int = 100
    """Passes over the training sequences, with as many windows as fit without overlap."""
    batch_size: int = 32
    """Largest number of windows per step; the steps of an epoch are of almost equal size."""
    lr: float = 1e-3
    """Adam's learning rate, which falls to 0 along a cosine."""
    seed: int = 0
    """Seed of weights, data order and windows."""

    def __post_init__(self) -> None:
        for name in ("observed", "predicted", "epochs", "batch_size", "lr"):
            check_positive(name, getattr(self, name))
        if self.hidden is not None:
            check_positive("hidden", self.hidden)
        check_seed(self.seed)
        check_not_empty("horizons", self.horizons)
        if not all(1 <= frame <= self.predicted for frame in self.horizons):
            raise ValueError(
                f"expected horizons in [1, predicted={self.predicted}], got {self.horizons}; "
                "--horizons sets them"
            )

    @property
    def window(self) -> int:
        """Number of frames observed and predicted."""
        return self.observed + self.predicted


class _Windows(NamedTuple):
    """Windows of N sequences with the first person.

    Attributes:
        observed: Coordinates as stored, without other persons (N, C, observed, V, M).
        motion: Coordinates in metres, relative to the centre joint (N, C, window, V, 1).
        present: Joints that are present (N, window, V, 1).
    """

    observed: Tensor
    motion: Tensor
    present: Tensor


class _Sequences:
    """The sequences of a part that are long enough, and windows of them."""

    def __init__(self, dataset: SkeletonDataset, settings: PredictionSettings) -> None:
        metres = metres_in(dataset.unit or "")
        if metres is None:
            raise ValueError(
                f"expected coordinates in a unit of length, such as metres or millimetres, which "
                f"errors in millimetres need, got {dataset.unit!r}: {dataset.store.path}"
            )
        self.dataset, self.settings, self.metres = dataset, settings, metres
        starts, lengths = _longest_runs(dataset)
        self.rows = np.flatnonzero(lengths >= settings.window)
        self.starts, self.spare = starts[self.rows], lengths[self.rows] - settings.window
        self.left_out = len(dataset) - len(self.rows)
        # each sequence as often as windows fit into it
        self.repeated = np.repeat(np.arange(len(self.rows)), 1 + self.spare // settings.window)
        if not len(self.rows):
            raise ValueError(
                f"expected sequences of {settings.observed} + {settings.predicted} frames with "
                f"somebody in them, the longest of {dataset.store.path} has {lengths.max()}; "
                "--observed and --predicted set these numbers"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def cut(self, chosen: NDArray[np.int64], shares: NDArray[np.float64]) -> _Windows:
        """Cut windows that start after the given shares, in [0, 1), of the possible places."""
        dataset, settings = self.dataset, self.settings
        starts = self.starts[chosen] + (shares * (self.spare[chosen] + 1)).astype(np.int64)
        size = (len(chosen), dataset.channels)
        joints = len(dataset.skeleton)
        observed = torch.zeros(*size, settings.observed, joints, dataset.persons)
        motion = torch.zeros(*size, settings.window, joints, 1)
        for row, start in enumerate(starts.tolist()):  # one at a time: they may be long
            person = dataset.batch([int(self.rows[chosen[row]])]).clips[0, ..., :1]
            observed[row, ..., :1] = person[:, start : start + settings.observed]
            frames = rearrange(person, "c t v m -> t m v c").numpy()
            centred = torch.from_numpy(normalize(frames, dataset.skeleton, "center"))
            window = centred[start : start + settings.window] * self.metres
            motion[row] = rearrange(window, "t m v c -> c t v m")
        present = (motion != 0).any(dim=1)
        present[:, :, dataset.skeleton.center] = True  # at the origin
        return _Windows(observed, motion, present)


def fit_predictor(
    pretrained: Pretrained,
    training: SkeletonDataset,
    settings: PredictionSettings = PredictionSettings(),
) -> tuple[MotionPredictor, list[float]]:
    """Train a decoder, and a copy of the encoder with it, to predict motion.

    In an epoch, each sequence gives as many windows as fit into it side by side, at random starts.
    The loss is the mean squared error of the coordinates in metres. Gradients are clipped to a
    norm of 5.

    Args:
        pretrained: The encoder, which is not changed, and its input.
        training: Sequences; labels are not used.
        settings: Sizes and schedule.

    Returns:
        The predictor in evaluation mode, on the device of the encoder, and the mean loss of every
        epoch.

    Raises:
        ValueError: If no sequence is long enough, the data do not fit the encoder, their unit is
            not a length, or the loss stops being finite.
    """
    check_data(pretrained, training)
    return _fit(pretrained, _Sequences(training, settings), settings)


def evaluate_prediction(
    pretrained: Pretrained,
    training: SkeletonDataset,
    test: SkeletonDataset,
    settings: PredictionSettings = PredictionSettings(),
) -> dict[str, Any]:
    """Predict motion, and compare the error with that of predicting no motion.

    Only the first person counts, relative to its centre joint, at the recording's own frame rate.
    A sequence is used if this person is present in enough consecutive frames; tests use the window
    in the middle of the longest such run. Papers do not say which sequences, persons, windows and
    origin they use: compare figures with care.

    Args:
        pretrained: The encoder, which is not changed, and its input.
        training: Training part; labels are not used.
        test: Test part; labels are not used.
        settings: Sizes and schedule.

    Returns:
        ``mpjpe_mm``, the mean error over joints, predicted frames and sequences in millimetres,
        and that of the baselines ``zero_velocity_mm``, ``running_average_2_mm`` and
        ``running_average_4_mm``; each also ``..._by_horizon``, by the number of the predicted
        frame. ``details``: ``by_frame``, the errors of every predicted frame; ``fps``; the numbers
        of used sequences, ``training_sequences`` and ``test_sequences``, and of sequences that are
        too short, ``training_left_out`` and ``test_left_out``; ``training_loss`` of every epoch;
        ``bones`` and ``center`` of the skeleton; and ``examples``, a few test sequences with their
        ``sequence`` in the store, their ``mpjpe_mm`` and ``zero_velocity_mm``, and ``observed``
        (the last frames), ``true`` and ``predicted``, each (frames, V, C) in metres and upright
        (``SkeletonDataset.upright``).

    Raises:
        ValueError: As ``fit_predictor``, for either part.
    """
    for part in (training, test):
        check_data(pretrained, part)
    trained, tested = _Sequences(training, settings), _Sequences(test, settings)
    model, losses = _fit(pretrained, trained, settings)
    windows, predicted = _predict(model, tested, settings)
    observed, true = windows.motion.split([settings.observed, settings.predicted], dim=2)
    present = windows.present[:, settings.observed :]
    guesses = {"mpjpe": predicted, "zero_velocity": hold_mean(observed, settings.predicted)}
    for count in (2, 4):
        if count <= settings.observed:
            guesses[f"running_average_{count}"] = hold_mean(observed, settings.predicted, count)
    by_frame = {
        name: (1000 * mpjpe(guess, true, present)).tolist() for name, guess in guesses.items()
    }
    result: dict[str, Any] = {}
    for name, errors in by_frame.items():
        result[f"{name}_mm"] = float(np.mean(errors))
        result[f"{name}_mm_by_horizon"] = {
            str(frame): errors[frame - 1] for frame in settings.horizons
        }
    details = {
        "by_frame": by_frame,
        "fps": test.store.meta["fps"],
        "training_sequences": len(trained),
        "training_left_out": trained.left_out,
        "test_sequences": len(tested),
        "test_left_out": tested.left_out,
        "training_loss": losses,
        "examples": [
            {
                "sequence": int(test.indices[tested.rows[row]]),
                **{
                    f"{name}_mm": float(
                        1000 * mpjpe(guesses[name][[row]], true[[row]], present[[row]]).mean()
                    )
                    for name in ("mpjpe", "zero_velocity")
                },
                "observed": _rounded(observed[row, :, -settings.predicted :], test),
                "true": _rounded(true[row], test),
                "predicted": _rounded(predicted[row], test),
            }
            for row in np.unique(np.linspace(0, len(tested) - 1, _EXAMPLES).astype(int)).tolist()
        ],
        "bones": [list(bone) for bone in test.skeleton.bones],
        "center": test.skeleton.center,
        "notes": _notes(result, tested),
    }
    return {**result, "details": details}


def _notes(result: dict[str, Any], tested: _Sequences) -> list[str]:
    notes = []
    if tested.left_out:
        notes.append(
            f"{len(tested)} of {len(tested) + tested.left_out} test sequences; the others are "
            f"shorter than {tested.settings.window} frames"
        )
    if result["mpjpe_mm"] > result["zero_velocity_mm"]:
        notes.append("worse than predicting no motion at all")
    return notes


def _fit(
    pretrained: Pretrained, sequences: _Sequences, settings: PredictionSettings
) -> tuple[MotionPredictor, list[float]]:
    device = pretrained.device
    torch.manual_seed(settings.seed)
    encoder = copy.deepcopy(pretrained.encoder).requires_grad_(settings.finetune)
    model = MotionPredictor(pretrained._replace(encoder=encoder), settings.hidden)
    model.to(device).train()
    encoder.train(settings.finetune)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=settings.lr)
    steps = -(-len(sequences.repeated) // settings.batch_size)
    random = np.random.default_rng(settings.seed)

    def draw() -> Epoch[NDArray[np.int64]]:
        return np.array_split(random.permutation(sequences.repeated), steps), loss_of

    def loss_of(chosen: NDArray[np.int64]) -> Tensor:
        windows = sequences.cut(chosen, random.random(len(chosen)))
        observed, motion, present = (send(tensor, device) for tensor in windows)
        seen = settings.observed
        predicted = model(observed, motion[:, :, seen - 1], settings.predicted)
        return masked_mse(predicted, motion[:, :, seen:], present[:, seen:])

    losses = train(
        "prediction",
        optimizer,
        settings.epochs,
        draw,
        lambda epoch: schedule(epoch, settings.epochs),
        clip_norm=5.0,
    )
    return model.eval(), losses


@torch.no_grad()
def _predict(
    model: MotionPredictor,
    sequences: _Sequences,
    settings: PredictionSettings,
    batch_size: int = 256,
) -> tuple[_Windows, Tensor]:
    """Return the middle windows, and the predicted motion of each; on the CPU."""
    device = next(model.parameters()).device
    windows, predicted = [], []
    for start in range(0, len(sequences), batch_size):
        chosen = np.arange(start, min(start + batch_size, len(sequences)))
        part = sequences.cut(chosen, np.full(len(chosen), 0.5))
        last = part.motion[:, :, settings.observed - 1]
        guess = model(send(part.observed, device), send(last, device), settings.predicted)
        windows.append(part._replace(observed=part.observed[:0]))
        predicted.append(guess.float())
    joined = (torch.cat(tensors) for tensors in zip(*windows, strict=True))
    return _Windows(*joined), torch.cat(predicted).cpu()


def _longest_runs(dataset: SkeletonDataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start and length of each sequence's longest run of frames with the first person."""
    runs = []
    for item in range(len(dataset)):  # one at a time: they may be long
        clip = dataset.batch([item]).clips[0]
        present = np.pad((clip[..., 0] != 0).any(dim=2).any(dim=0).numpy(), 1)
        begin, end = np.flatnonzero(present[1:] != present[:-1]).reshape(-1, 2).T
        best = int(np.argmax(end - begin)) if len(begin) else None
        runs.append((0, 0) if best is None else (begin[best], end[best] - begin[best]))
    starts, lengths = np.array(runs, dtype=np.int64).reshape(-1, 2).T
    return starts, lengths


def _rounded(clip: Tensor, dataset: SkeletonDataset) -> list[Any]:
    """Turn a clip (C, frames, V, 1) upright, as (frames, V, C) to a tenth of a millimetre."""
    frames = rearrange(clip, "c t v 1 -> t v c").double().numpy()
    rounded: list[Any] = dataset.upright(frames).round(4).tolist()
    return rounded


TASK = Task(
    about="The next frames of a motion, compared with predicting no motion.",
    settings=PredictionSettings,
    evaluate=evaluate_prediction,
    headline=("mpjpe_mm", "zero_velocity_mm"),
    legend={
        "mpjpe_mm": "mean distance of predicted joints from the true ones (MPJPE) over all "
        "predicted frames; less is better",
        "mpjpe_mm_by_horizon.N": "mpjpe_mm of the N-th predicted frame alone",
        "zero_velocity_mm": "mpjpe_mm of predicting that nothing moves after the last observed "
        "frame",
        "zero_velocity_mm_by_horizon.N": "zero_velocity_mm of the N-th frame alone",
        "running_average_N_mm": "mpjpe_mm of predicting the mean of the last N observed frames",
        "running_average_N_mm_by_horizon.N": "running_average_N_mm of one frame alone",
    },
    details=PredictionDetails,
    check=check_details,
    pictures=(draw_curves, draw_strips),
    needs="",
    learns_classes=False,
    frames=lambda _: "all",
)
