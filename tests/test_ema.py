"""The momentum twin."""

from __future__ import annotations

import copy

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
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\]"):
        MomentumTwin(nn.Linear(1, 1), momentum)


def test_momentum_is_shown() -> None:
    assert repr(MomentumTwin(nn.Linear(1, 1), 0.9)).startswith("MomentumTwin(\n  momentum=0.9\n")


def moved(twin: MomentumTwin, before: torch.Tensor) -> float:
    return float((twin.module.weight.detach().double() - before).mean())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("cast", ["before", "after"])
def test_small_steps_are_not_lost_in_rounding(dtype: torch.dtype, cast: str) -> None:
    torch.manual_seed(0)
    source = nn.Linear(16, 16)
    if cast == "before":
        source.to(dtype)
    twin = MomentumTwin(source, momentum=0.999).to(dtype)
    source.to(dtype)
    before = twin.module.weight.detach().double().clone()
    with torch.no_grad():
        source.weight.add_(0.5)
    way = float((source.weight.detach().double() - before).mean())
    for _ in range(500):
        twin.update(source)
    assert twin.module.weight.dtype == dtype
    assert moved(twin, before) == pytest.approx(way * (1 - 0.999**500), rel=2e-3)


def test_half_precision_goes_on_from_what_is_written_into_it() -> None:
    torch.manual_seed(0)
    source = nn.Linear(16, 16).to(torch.bfloat16)
    twin = MomentumTwin(source, momentum=0.99)
    kept = copy.deepcopy(twin.state_dict())
    assert list(kept) == ["module.weight", "module.bias"]
    with torch.no_grad():
        source.weight.add_(1)
    for _ in range(100):
        twin.update(source)
    twin.load_state_dict(kept)  # far from where it stood
    fresh = MomentumTwin(source, momentum=0.99)
    fresh.load_state_dict(kept)
    for each in (twin, fresh):
        for _ in range(10):
            each.update(source)
    torch.testing.assert_close(twin.module.weight, fresh.module.weight)
    both = copy.deepcopy(twin)
    both.update(source)
    twin.update(source)
    assert torch.equal(both.module.weight, twin.module.weight)


def test_a_source_in_another_precision() -> None:
    source, twin = nn.Linear(4, 4), MomentumTwin(nn.Linear(4, 4).to(torch.bfloat16), momentum=0)
    twin.update(source)
    assert torch.equal(twin.module.weight, source.weight.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (nn.Linear(3, 4, bias=False), r"of 2.*Linear of 1"),
        (nn.Linear(4, 3), r"weight \(4, 3\).*one of \(3, 4\)"),
        (nn.Linear(3, 4).weight, r"torch.nn.parameter.Parameter"),
    ],
)
def test_another_source(source: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MomentumTwin(nn.Linear(3, 4)).update(source)


def test_what_is_no_module() -> None:
    with pytest.raises(ValueError, match="expected a torch module to copy, got float"):
        MomentumTwin(0.99)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="momentum to be a number, got '0"):
        MomentumTwin(nn.Linear(1, 1), "0.9")  # type: ignore[arg-type]


def test_an_update_with_a_momentum_of_its_own() -> None:
    source = nn.Linear(3, 2)
    for momentum in (0.25, torch.tensor(0.25)):
        twin = MomentumTwin(source, momentum=0.9)
        with torch.no_grad():
            source.weight.add_(1.0)
        before = twin.module.weight.clone()
        twin.update(source, momentum)
        torch.testing.assert_close(twin.module.weight, 0.25 * before + 0.75 * source.weight)
        twin.update(source)
        expected = 0.9 * (0.25 * before + 0.75 * source.weight) + 0.1 * source.weight
        torch.testing.assert_close(twin.module.weight, expected)
