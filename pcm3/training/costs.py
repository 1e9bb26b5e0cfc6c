"""What training costs: counted, and measured on a step or two."""

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


class Costs(NamedTuple):
    """Costs of a model.

    Attributes:
        parameters: Numbers in its parameters, those of a momentum twin among them.
        forward: Multiply-accumulates of a sample's forward pass, all views and losses.
        step: Of its forward and backward pass.
    """

    parameters: int
    forward: float
    step: float


def count(model: Method, frames: int | None = None) -> Costs:
    """Count the multiply-accumulates of matrix products and convolutions in a real step.

    Element-wise operations are left out, as usual. The step runs on a copy of the model, on two
    random clips.

    Args:
        model: The model.
        frames: Length of the clips before they are cropped; its own by default. Nothing depends
            on it but the augmentation.
    """
    own = copy.deepcopy(model).cpu().train()
    clips = _clips(own, _SAMPLES, frames)
    # of attention, the unfused form alone is counted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        total = own(clips).total
        forward = counter.get_total_flops()
        total.backward()
    step = counter.get_total_flops()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Costs(parameters, forward / 2 / _SAMPLES, step / 2 / _SAMPLES)


class Estimate(NamedTuple):
    """What a step of training takes on one device, about.

    Attributes:
        seconds: Of a batch.
        bytes: Of parameters, gradients, optimiser, queue and what the backward pass needs.
    """

    seconds: float
    bytes: float


def estimate(model: Method, config: TrainSettings) -> Estimate:
    """Run some steps, on a copy of the model and random clips.

    On a CPU, of 2 and of 8 samples, from which the whole batch follows; elsewhere, where small
    batches say little, of the whole batch.

    Raises:
        ValueError: If there is no such accelerator.
    """
    fabric = launch(replace(config, devices=1, nodes=1))
    own = copy.deepcopy(model)
    wrapped, optimizer = fabric.setup(own, make_optimizer(own, config))
    wrapped.train()
    state = {id(each): each for each in (*own.parameters(), *own.buffers())}
    stored = {each.untyped_storage().data_ptr() for each in state.values()}

    def run(samples: int) -> tuple[float, float]:
        """Seconds, and bytes kept for the backward pass."""
        clips = _clips(own, samples).to(fabric.device)
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
    run(least)
    (less, few), (seconds, many) = (min(run(size), run(size)) for size in (least, most))
    if most < batch:
        share = (batch - most) / (most - least)
        seconds, many = seconds + share * max(0, seconds - less), many + share * (many - few)
    moments = 2 if config.optimizer == "adamw" else 1
    trained = sum(each.nbytes for each in own.parameters() if each.requires_grad)
    return Estimate(
        seconds, many + sum(each.nbytes for each in state.values()) + (1 + moments) * trained
    )


def _clips(model: Method, samples: int, frames: int | None = None) -> Tensor:
    encoder = model.encoder
    frames = model.frames if frames is None else frames
    return torch.randn(samples, encoder.in_channels, frames, encoder.joints, encoder.persons)
