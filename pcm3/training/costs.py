"""Costs of training: operations counted, time and memory measured on a few steps."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pcm3.methods import Method
from pcm3.methods.settings import TrainSettings
from pcm3.schedules import make_optimizer
from pcm3.training.devices import launch

_SAMPLES = 2
_SLOW = 1.0  # seconds of a step from which a single measurement is exact enough


class Costs(NamedTuple):
    """Costs of a model.

    Attributes:
        parameters: Number of parameters, including those of a momentum twin.
        forward: Multiply-accumulates of the forward pass of one sample, all views and losses.
        step: Multiply-accumulates of the forward and backward pass of one sample.
    """

    parameters: int
    forward: float
    step: float


def count(model: Method, frames: int | None = None) -> Costs:
    """Count the multiply-accumulates of matrix products and convolutions in a real step.

    Element-wise operations are not counted, as usual. The step runs on a copy of the model with
    two random clips.

    Args:
        model: The model.
        frames: Length of the clips before they are cropped; the model's ``frames`` by default. It
            affects only the augmentation.
    """
    duplicate = copy.deepcopy(model).cpu().train()
    clips = _clips(duplicate, _SAMPLES, frames)
    # the counter knows only the unfused form of attention
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        total = duplicate(clips).total
        forward = counter.get_total_flops()
        total.backward()
    step = counter.get_total_flops()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Costs(parameters, forward / 2 / _SAMPLES, step / 2 / _SAMPLES)


class Estimate(NamedTuple):
    """Estimated time and memory of a training step on one device.

    Attributes:
        seconds: Time of one batch.
        bytes: Memory of parameters, gradients, optimiser, queue and tensors that are kept for the
            backward pass.
    """

    seconds: float
    bytes: float


def estimate(model: Method, config: TrainSettings) -> Estimate:
    """Measure a few steps on a copy of the model with random clips.

    On a CPU, steps of 2 and of 8 samples are measured, twice if they are fast, and extrapolated to
    the whole batch. Elsewhere, where small batches say little, steps of the whole batch are
    measured.

    Raises:
        ValueError: If the accelerator is not available.
    """
    fabric = launch(replace(config, devices=1, nodes=1))
    duplicate = copy.deepcopy(model)
    wrapped, optimizer = fabric.setup(duplicate, make_optimizer(duplicate, config))
    wrapped.train()
    tensors = (*duplicate.parameters(), *duplicate.buffers())
    state = {id(tensor): tensor for tensor in tensors}
    stored = {tensor.untyped_storage().data_ptr() for tensor in state.values()}

    def run(samples: int) -> tuple[float, float]:
        """Seconds of a step and bytes that it keeps for the backward pass."""
        clips = _clips(duplicate, samples).to(fabric.device)
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in stored:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        started = time.perf_counter()
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            total = wrapped(clips).total
        fabric.backward(total)
        optimizer.step()
        optimizer.zero_grad()
        total.item()  # waits for the device
        return time.perf_counter() - started, sum(kept.values())

    batch = config.batch_size
    most = min(8, batch) if fabric.device.type == "cpu" else batch
    least = min(_SAMPLES, most)
    repeats = 2 if run(least)[0] < _SLOW else 1
    (less, few), (seconds, many) = (
        min(run(size) for _ in range(repeats)) for size in (least, most)
    )
    if most < batch:
        share = (batch - most) / (most - least)
        seconds, many = seconds + share * max(0, seconds - less), many + share * (many - few)
    moments = 1 if config.optimizer == "sgd" else 2
    trained = sum(
        parameter.nbytes for parameter in duplicate.parameters() if parameter.requires_grad
    )
    held = sum(tensor.nbytes for tensor in state.values())
    return Estimate(seconds, many + held + (1 + moments) * trained)


def _clips(model: Method, samples: int, frames: int | None = None) -> Tensor:
    encoder = model.encoder
    frames = model.frames if frames is None else frames
    samples *= 2 if model.pairs else 1
    return torch.randn(samples, encoder.in_channels, frames, encoder.joints, encoder.persons)
