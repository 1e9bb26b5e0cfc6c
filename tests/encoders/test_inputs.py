"""Clips that no encoder takes: values that are not finite, and lengths."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pcm3.encoders import Encoder, EncoderAdapter, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.skeleton import NTU25

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "gru": lambda: GRUEncoder(NTU25, hidden=4, layers=1),
    "stgcn": lambda: STGCNEncoder(NTU25, channels=2, layers=(1, 1), out_features=4),
    "transformer": lambda: TransformerEncoder(NTU25, frames=16, width=8, depth=1, heads=2),
    "adapter": lambda: EncoderAdapter(
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2400), nn.Linear(2400, 4)), 4
    ),
}


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(8, 3, 16, 25, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ENCODERS)
def test_one_nan_is_refused_and_spoils_nothing(kind: str, value: float, clips: Tensor) -> None:
    encoder = ENCODERS[kind]().train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    clips[3, 0, 10, 5, 0] = value
    ways: list[Callable[[], object]] = [
        lambda: encoder(clips),
        lambda: encoder.encode_views([clips], [None]),
        lambda: encoder.encode_joints(clips, torch.arange(9).expand(8, 9)),
    ]
    for way in ways:
        with pytest.raises(ValueError, match="sample 3, frame 10, joint 5, person 0"):
            way()
    after = encoder.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("kind", ENCODERS)
def test_lengths_are_no_prompt(kind: str, clips: Tensor) -> None:
    encoder = ENCODERS[kind]().eval()
    with pytest.raises(ValueError, match=r"prompt \(C=3, V=25, M=2\).*\(8,\).*no lengths"):
        encoder(clips, torch.full((8,), 10))
    with pytest.raises(ValueError, match=r"prompt \(C=3, V=25, M=2\).*\(3, 25\)$"):
        encoder(clips, torch.zeros(3, 25))
