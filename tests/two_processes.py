"""Losses of a batch that two processes share; a module of its own, which both can import."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pcm3.losses import barlow_twins, vicreg


def embeddings(samples: int = 6, width: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, samples, width, generator=generator).unbind()


def in_two_processes(folder: Path, rank: int) -> None:
    one, other = embeddings()
    for loss in (barlow_twins, vicreg):
        torch.manual_seed(0)
        layer = nn.Linear(4, 5, bias=False)
        expected = loss(layer(one), layer(other))  # before there are two processes
        expected.backward()
        wanted, layer.weight.grad = layer.weight.grad, None
        meeting = f"file://{folder}/{loss.__name__}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
        mine = slice(3 * rank, 3 * rank + 3)
        found = loss(layer(one[mine]), layer(other[mine]))
        found.backward()
        gradient = layer.weight.grad
        dist.all_reduce(gradient)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(gradient / 2, wanted)
        dist.destroy_process_group()
