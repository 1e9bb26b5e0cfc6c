"""The training loop of probes, fine-tuning, detection and prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

import torch
from torch import Tensor, nn

from pcm3.runs.progress import track
from pcm3.schedules import scale_rates

Rows = TypeVar("Rows", bound=Sized)
Epoch = tuple[Sequence[Rows], Callable[[Rows], Tensor]]
"""The batches of an epoch, and a function that computes the mean loss of a batch."""


def train(
    name: str,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    draw: Callable[[], Epoch[Rows]],
    factor: Callable[[float], float],
    *,
    least: int = 1,
    clip_norm: float = 0.0,
) -> list[float]:
    """Take a step for every batch of every epoch.

    Args:
        name: Name shown by the progress bar.
        optimizer: The optimiser, with the learning rates that the schedule multiplies.
        epochs: Number of epochs.
        draw: Function that returns an epoch; called once for each epoch.
        factor: Function that returns the factor of the learning rates at a fractional epoch,
            counted from 0.
        least: Batches of fewer samples are left out.
        clip_norm: Largest norm of the whole gradient; 0 does not clip.

    Returns:
        The mean loss of each epoch.

    Raises:
        ValueError: If the loss stops being finite.
    """
    lr = max(group["lr"] for group in optimizer.param_groups)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    losses = []
    for epoch in track(epochs, name):
        batches, loss_of = draw()
        samples = sum(len(rows) for rows in batches)
        taken: list[tuple[Tensor, int]] = []
        for step, rows in enumerate(batches):
            if len(rows) < least:
                continue
            scale_rates(optimizer, factor(epoch + step / len(batches)))
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            if clip_norm > 0:
                nn.utils.clip_grad_norm_(trained, clip_norm)
            optimizer.step()
            taken.append((loss.detach(), len(rows)))
        # read at the end of the epoch, as the host would wait for the device at each step
        values = torch.stack([loss for loss, _ in taken]).cpu().tolist() if taken else []
        counts = [count for _, count in taken]
        total = sum(value * count / samples for value, count in zip(values, counts, strict=True))
        if not math.isfinite(total):
            raise ValueError(f"the loss became {total} in epoch {epoch + 1}; lower lr (now {lr})")
        losses.append(total)
    return losses
