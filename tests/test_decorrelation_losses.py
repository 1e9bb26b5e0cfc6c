"""Barlow Twins and VICReg against loops, and over several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forks import Started
from two_processes import embeddings, in_two_processes

from pcm3.losses import BarlowTwins, VICReg, barlow_twins, vicreg


def test_barlow_twins_equals_its_definition() -> None:
    one, other = embeddings()
    total = 0.0
    for i in range(4):
        for j in range(4):
            a, b = one[:, i], other[:, j]
            a = (a - a.mean()) / (a.var(correction=0) + 1e-5).sqrt()
            b = (b - b.mean()) / (b.var(correction=0) + 1e-5).sqrt()
            correlation = float((a * b).mean())
            total += (1 - correlation) ** 2 if i == j else 0.1 * correlation**2
    assert float(barlow_twins(one, other, 0.1)) == pytest.approx(total, rel=1e-5)
    assert BarlowTwins(0.1)(one, other) == barlow_twins(one, other, 0.1)
    assert float(barlow_twins(one, one, 0.0)) == pytest.approx(0, abs=1e-4)
    assert "0.1" in repr(BarlowTwins(0.1))


def test_vicreg_equals_its_definition() -> None:
    one, other = embeddings()
    total = 2.0 * float(((one - other) ** 2).mean())
    for view in (one, other):
        covariance = view.T.cov()
        for i in range(4):
            total += 3.0 / 4 * max(0.0, 1 - float(covariance[i, i] + 1e-4) ** 0.5)
            others = sum(float(covariance[i, j]) ** 2 for j in range(4) if j != i)
            total += 0.5 / 4 * others
    assert float(vicreg(one, other, 2.0, 3.0, 0.5)) == pytest.approx(total, rel=1e-5)
    assert VICReg(2.0, 3.0, 0.5)(one, other) == vicreg(one, other, 2.0, 3.0, 0.5)
    assert "covariance=0.5" in repr(VICReg(2.0, 3.0, 0.5))


@pytest.mark.parametrize("loss", [barlow_twins, vicreg])
def test_what_they_promise(loss: object) -> None:
    one, other = embeddings()
    half = loss(one.half(), other.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(one.half().float(), other.half().float()))
    with torch.autocast("cpu"):
        torch.testing.assert_close(loss(one, other), loss(one, other))
        assert loss(one, other).dtype == torch.float32
    with pytest.raises(ValueError, match="two clips"):
        loss(one[:1], other[:1])
    with pytest.raises(ValueError, match=r"\(6, 4\)"):
        loss(one, other[:5])
    with pytest.raises(ValueError, match=">= 0"):
        loss(one, other, -1.0)
    for wrong in (lambda: BarlowTwins(-1.0), lambda: VICReg(covariance=-1.0)):
        with pytest.raises(ValueError, match=">= 0"):
            wrong()


def test_a_collapsed_batch_has_a_gradient() -> None:
    same = torch.ones(4, 3, requires_grad=True)
    (barlow_twins(same, same) + vicreg(same, same)).backward()
    assert bool(same.grad.isfinite().all())


def test_the_batch_is_that_of_all_processes(tmp_path: Path) -> None:
    started = [Started(in_two_processes, tmp_path, rank) for rank in range(2)]
    for each in started:
        ended = each.end(120)
        assert ended.returncode == 0, ended.stderr
