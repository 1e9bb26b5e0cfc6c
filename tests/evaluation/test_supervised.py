"""The loop of all supervised tasks against its steps written down."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from pcm3.evaluation.supervised import Epoch, train
from pcm3.schedules import parameter_groups, schedule

TARGETS = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0])


def loop(
    weight: nn.Parameter, optimizer: torch.optim.Optimizer, sizes: Sequence[int], **options: float
) -> tuple[list[float], list[list[int]]]:
    """Three epochs of squared errors; the losses, and the rows of every batch that was used."""
    seen: list[list[int]] = []

    def loss_of(rows: Tensor) -> Tensor:
        seen.append(rows.tolist())
        return (weight - TARGETS[rows]).square().mean()

    def draw() -> Epoch[Tensor]:
        return torch.arange(5).split(list(sizes)), loss_of

    losses = train(
        "toy",
        optimizer,
        3,
        draw,
        lambda epoch: 1 / (1 + epoch),
        **options,  # type: ignore[arg-type]
    )
    return losses, seen


def test_steps_written_down() -> None:
    weight = nn.Parameter(torch.zeros(()))
    losses, seen = loop(weight, torch.optim.SGD([weight], 0.1), (2, 3))
    value, expected = 0.0, []
    for epoch in range(3):
        total = 0.0
        for step, rows in enumerate(([0, 1], [2, 3, 4])):
            targets = TARGETS[rows].tolist()
            total += sum((value - each) ** 2 for each in targets) / 5
            gradient = sum(2 * (value - each) for each in targets) / len(targets)
            value -= 0.1 / (1 + epoch + step / 2) * gradient
        expected.append(total)
    assert losses == pytest.approx(expected)
    assert weight.item() == pytest.approx(value)
    assert seen == [[0, 1], [2, 3, 4]] * 3


def test_small_batches_are_left_out_and_gradients_clipped() -> None:
    weight = nn.Parameter(torch.zeros(()))
    _, seen = loop(weight, torch.optim.SGD([weight], 0.1), (4, 1), least=2, clip_norm=0.5)
    assert seen == [[0, 1, 2, 3]] * 3
    assert weight.item() == pytest.approx(0.5 * 0.1 * (1 + 1 / 2 + 1 / 3), rel=1e-4)


def test_groups_keep_the_ratio_of_their_rates() -> None:
    one, other = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([{"params": [one], "lr": 0.1}, {"params": [other], "lr": 0.02}])
    loop(one, optimizer, (5,))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 / 3, 0.02 / 3])


def test_a_loss_that_is_not_finite_ends_it() -> None:
    weight = nn.Parameter(torch.zeros(()))
    with pytest.raises(ValueError, match=r"loss became (inf|nan) in epoch [23].*lr \(now 1e\+20"):
        loop(weight, torch.optim.SGD([weight], 1e20), (5,))


def test_schedules() -> None:
    assert [schedule(at / 2, 4, high=8, warmup=2, drops=(3,)) for at in range(8)] == (
        pytest.approx([0, 2, 4, 6, 8, 8, 0.8, 0.8])
    )
    assert [schedule(at, 4, high=8, low=2) for at in range(4)] == (
        pytest.approx([8, 2 + 3 * (1 + 0.5**0.5), 5, 2 + 3 * (1 - 0.5**0.5)])
    )
    assert schedule(3, 4, high=8, warmup=2) == pytest.approx(4)
    assert schedule(3, 4, high=8, drops=()) == 8


def test_parameter_groups() -> None:
    model = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2), nn.Linear(2, 2).requires_grad_(False))
    scales = {"1.weight": 0.5}
    found = [
        ([model.get_submodule("1").weight], 0.05, 0.2),
        ([model[0].weight, model[0].bias, model[1].bias], 0.1, 0.0),
    ]
    groups = parameter_groups(model, 0.1, 0.2, scales=scales)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        each[1:] for each in found
    ]
    for group, (parameters, _, _) in zip(groups, found, strict=True):
        assert all(ours is theirs for ours, theirs in zip(group["params"], parameters, strict=True))
    (group,) = parameter_groups(model, 0.1, 0.2, decay_vectors=True)
    assert (len(group["params"]), group["lr"], group["weight_decay"]) == (4, 0.1, 0.2)
