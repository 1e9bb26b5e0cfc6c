"""The momentum twin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pcm3.ema import MomentumTwin


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@settings(deadline=None, max_examples=20)
@given(momentum=st.floats(0, 1), steps=st.integers(1, 4))
def test_update_follows_the_formula(momentum: float, steps: int) -> None:
    source = network()
    twin = MomentumTwin(source, momentum)
    expected = [p.detach().clone().double() for p in source.parameters()]
    for _ in range(steps):
        for parameter in source.parameters():
            parameter.data.normal_()
        twin.update(source)
        for wanted, parameter in zip(expected, source.parameters(), strict=True):
            wanted.mul_(momentum).add_((1 - momentum) * parameter.detach().double())
    for own, wanted in zip(twin.module.parameters(), expected, strict=True):
        torch.testing.assert_close(own.double(), wanted, rtol=1e-5, atol=1e-6)


def test_twin_is_a_copy_without_gradients() -> None:
    source = network()
    twin = MomentumTwin(source)
    assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in source.parameters())
    inputs = torch.randn(5, 3, requires_grad=True)
    output = twin(inputs)
    assert not output.requires_grad
    assert torch.equal(output, source(inputs))
    source[0].weight.data.zero_()
    assert twin.module[0].weight.any()


def test_buffers_are_the_twins_own() -> None:
    source = network()
    twin = MomentumTwin(source, momentum=0.5)
    source(torch.randn(8, 3) + 10)
    twin.update(source)
    norm = twin.module[1]
    assert int(norm.num_batches_tracked) == 0
    assert not norm.running_mean.any()
    inputs = torch.randn(8, 3)
    twin(inputs)
    mean = twin.module[0](inputs).mean(0)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)


def test_update_records_no_gradient() -> None:
    source = network()
    twin = MomentumTwin(source, momentum=0.5)
    twin.update(source)
    assert all(p.is_leaf and p.grad_fn is None for p in twin.parameters())


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_bad_momentum(momentum: float) -> None:
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\], got"):
        MomentumTwin(nn.Linear(1, 1), momentum)


def test_momentum_is_shown() -> None:
    assert repr(MomentumTwin(nn.Linear(1, 1), 0.9)).startswith("MomentumTwin(\n  momentum=0.9\n")
