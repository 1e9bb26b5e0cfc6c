"""What a training step costs, counted."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pcm3.methods import Method

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
    encoder = own.encoder
    size = (encoder.in_channels, frames or own.frames, encoder.joints, encoder.persons)
    clips = torch.randn(_SAMPLES, *size)
    # of attention, the unfused form alone is counted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        total = own(clips).total
        forward = counter.get_total_flops()
        total.backward()
    step = counter.get_total_flops()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Costs(parameters, forward / 2 / _SAMPLES, step / 2 / _SAMPLES)
