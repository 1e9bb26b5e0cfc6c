"""The memory queue against a deque, and in two processes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.losses import info_nce
from pcm3.queue import MemoryQueue


def turned(*degrees: float) -> torch.Tensor:
    """Keys (N, 2) of length 1, told apart by their direction."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def random_keys(*size: int) -> torch.Tensor:
    return F.normalize(torch.randn(*size), dim=-1)


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 7), batches=st.lists(st.integers(0, 17), max_size=6))
def test_holds_the_last_keys(size: int, batches: list[int]) -> None:
    queue = MemoryQueue(size=size, dim=2)
    last = deque([tuple(key) for key in queue.anchors.tolist()], maxlen=size)
    written = 0
    for batch in batches:
        keys = turned(*range(written, written + batch))
        written += batch
        queue.enqueue(keys)
        last.extend(tuple(key) for key in keys.tolist())
        assert int(queue.position) == written % size
        oldest_first = queue.anchors.roll(-int(queue.position), dims=0)
        assert [tuple(key) for key in oldest_first.tolist()] == list(last)
    assert len(queue) == size


def test_starts_with_different_random_unit_vectors() -> None:
    torch.manual_seed(0)
    anchors = MemoryQueue(size=256, dim=16).anchors
    assert anchors.dtype == torch.float32
    torch.testing.assert_close(anchors.norm(dim=1), torch.ones(256))
    similarity = anchors @ anchors.T - torch.eye(256)
    assert similarity.max() < 0.95
    assert abs(float(similarity.mean())) < 0.01


def test_enqueue_between_loss_and_backward_changes_no_gradient() -> None:
    torch.manual_seed(0)
    queue = MemoryQueue(size=8, dim=4)
    key = random_keys(3, 4)
    gradients = []
    for enqueue in (False, True):
        query = torch.full((3, 4), 0.5, requires_grad=True)
        loss = info_nce(query, key, queue.anchors)
        if enqueue:
            queue.enqueue(key)
        loss.backward()
        gradients.append(query.grad)
    assert torch.equal(*gradients)


def test_keys_are_taken_without_their_graph_and_as_float32() -> None:
    queue = MemoryQueue(size=4, dim=2)
    keys = torch.tensor([[0.6, 0.8], [0.8, -0.6]], dtype=torch.float16, requires_grad=True)
    queue.enqueue(keys)
    assert queue.anchors.dtype == torch.float32
    assert not queue.anchors.requires_grad
    assert torch.equal(queue.anchors[:2], keys.float())


def test_state_dict_carries_contents_and_position() -> None:
    queue, twin = MemoryQueue(size=5, dim=2), MemoryQueue(size=5, dim=2)
    queue.enqueue(turned(0, 10, 20))
    twin.load_state_dict(queue.state_dict())
    assert set(queue.state_dict()) == {"anchors", "position"}
    for each in (queue, twin):
        each.enqueue(turned(30, 40, 50))
    assert torch.equal(queue.anchors, twin.anchors)
    assert int(queue.position) == int(twin.position) == 1


@pytest.mark.parametrize("shape", [(3, 4), (3, 6), (3,), (3, 5, 1), (3, 8)])
def test_keys_of_the_wrong_width(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"keys \(N, D=5\).*size=8, dim=5\)") as raised:
        MemoryQueue(size=8, dim=5).enqueue(torch.zeros(shape))
    assert str(shape) in str(raised.value)
    assert ("did you mean MemoryQueue(size=5, dim=8)" in str(raised.value)) == (shape == (3, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keys_are_of_length_1(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    queue = MemoryQueue(size=64, dim=128)
    queue.enqueue(F.normalize(torch.randn(64, 128).to(dtype), dim=1))
    queue.enqueue(torch.zeros(0, 128, dtype=dtype))
    before, position = queue.anchors, int(queue.position)
    for factor in (0, 0.98, 1.02, 11.3):
        keys = random_keys(3, 128).to(dtype)
        keys[2] *= factor
        with pytest.raises(ValueError, match=r"length 1, F\.normalize.*row 2"):
            queue.enqueue(keys)
    assert torch.equal(queue.anchors, before)
    assert queue.position == position


def test_a_queue_in_half_precision_holds_what_it_is_given() -> None:
    queue = MemoryQueue(size=4, dim=8).to(torch.bfloat16)
    keys = random_keys(4, 8)
    for _ in range(3):
        queue.enqueue(keys)
    assert torch.equal(queue.anchors, keys.to(torch.bfloat16))


def test_keys_that_are_no_fractions() -> None:
    with pytest.raises(ValueError, match=r"torch\.int64"):
        MemoryQueue(size=8, dim=5).enqueue(torch.eye(5, dtype=torch.long))


def test_what_is_filled_in_inference_mode_can_be_trained_with() -> None:
    queue = MemoryQueue(size=8, dim=4)
    with torch.inference_mode():
        keys = random_keys(3, 4)
        queue.enqueue(keys)
    query = random_keys(2, 4).requires_grad_()
    info_nce(query, query.detach(), queue.anchors).backward()
    assert query.grad is not None
    assert torch.equal(queue.anchors[:3], keys)
    queue.enqueue(random_keys(2, 4))
    assert queue.position == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_keys_that_are_no_numbers(value: float) -> None:
    queue, keys = MemoryQueue(size=8, dim=5), torch.zeros(4, 5)
    before = queue.anchors.clone()
    keys[1, 4] = keys[2, 0] = value
    with pytest.raises(ValueError, match="NaN or infinity in row 1"):
        queue.enqueue(keys)
    assert torch.equal(queue.anchors, before)
    assert queue.position == 0


def test_keys_are_not_looked_at_on_an_accelerator() -> None:
    """A device without values stands for one that the host would have to wait for."""
    queue = MemoryQueue(size=8, dim=5).to("meta")
    queue.enqueue(torch.zeros(3, 5, device="meta"))
    assert queue.anchors.shape == (8, 5)


def test_keys_take_no_gradient_along() -> None:
    queue = MemoryQueue(size=4, dim=2)
    queue.anchors.requires_grad_()
    queue.enqueue(turned(0, 90))
    assert not queue.anchors.requires_grad


def test_size_and_width_are_shown_and_those_of_the_paper() -> None:
    assert repr(MemoryQueue()) == "MemoryQueue(size=16384, dim=128)"


def test_keys_of_another_kind() -> None:
    with pytest.raises(ValueError, match=r"numpy\.ndarray"):
        MemoryQueue(size=8, dim=5).enqueue(torch.zeros(3, 5).numpy())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "dim", "message"),
    [(0, 4, r"size >= 1.*0"), (4, 0, "dim >= 1, got 0"), (4.0, 8, "size to be a whole number")],
)
def test_sizes_below_one(size: int, dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryQueue(size=size, dim=dim)


def test_size_and_width_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        MemoryQueue(8, 4)  # type: ignore[misc]


WORKER = """
import sys
import torch
import torch.distributed as dist
from pcm3.queue import MemoryQueue

def turned(*degrees):
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.manual_seed(0)
queue = MemoryQueue(size=5, dim=2)
for batch in range(2):
    queue.enqueue(turned(10.0 * batch + rank, 10.0 * batch + rank + 0.5))
torch.save(queue.state_dict(), f"{folder}/queue{rank}.pt")
dist.destroy_process_group()
"""


def test_two_processes_hold_the_keys_of_both_in_rank_order(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    states = [torch.load(tmp_path / f"queue{rank}.pt", weights_only=True) for rank in range(2)]
    keys = [0, 0.5, 1, 1.5, 10, 10.5, 11, 11.5]  # rank 0 before rank 1 in each of two batches
    for state in states:
        position = int(state["position"])
        assert position == len(keys) % 5
        found = [math.degrees(math.atan2(y, x)) for x, y in state["anchors"].roll(-position, 0)]
        assert found == pytest.approx(keys[-5:], abs=1e-3)
