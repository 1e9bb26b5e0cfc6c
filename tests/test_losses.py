"""Every loss against slow loops, and what each refuses."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pcm3.losses import (
    InfoNCE,
    MaskedMSE,
    RelationalKL,
    info_nce,
    key_and_queue_logits,
    masked_mse,
    nt_xent,
    relational_kl,
    similarities,
    topk_relational_kl,
)
from pcm3.queue import MemoryQueue

SIZES = {
    "samples": st.integers(1, 5),
    "anchors": st.integers(1, 7),
    "width": st.integers(1, 6),
    "seed": st.integers(0, 10_000),
}
TEMPERATURES = st.floats(0.03, 2.0)


def embeddings(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(*size, generator=generator), dim=1) for size in sizes]


def dot(a: Tensor, b: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


@settings(deadline=None, max_examples=30)
@given(**SIZES, temperature=TEMPERATURES)
def test_info_nce_equals_a_slow_loop(
    samples: int, anchors: int, width: int, seed: int, temperature: float
) -> None:
    query, key, negatives = embeddings(
        (samples, width), (samples, width), (anchors, width), seed=seed
    )
    expected = []
    for z, positive in zip(query, key, strict=True):
        logits = [dot(z, positive) / temperature, *(dot(z, m) / temperature for m in negatives)]
        expected.append(-math.log(softmax(logits)[0]))
    each = info_nce(query, key, negatives, temperature, reduction="none")
    assert each.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    mean = info_nce(query, key, negatives, temperature)
    assert float(mean) == pytest.approx(sum(expected) / samples, rel=1e-4, abs=1e-5)
    assert torch.equal(InfoNCE(temperature)(query, key, negatives), mean)
    assert torch.equal(InfoNCE(temperature)(query, key, negatives, reduction="none"), each)


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(2, 5), width=SIZES["width"], seed=SIZES["seed"], tau=TEMPERATURES)
def test_nt_xent_equals_a_slow_loop(samples: int, width: int, seed: int, tau: float) -> None:
    first, second = embeddings((samples, width), (samples, width), seed=seed)
    both = [*first.double(), *second.double()]
    losses = []
    for i, z in enumerate(both):
        positive = math.exp(float(z @ both[(i + samples) % (2 * samples)]) / tau)
        others = sum(math.exp(float(z @ m) / tau) for j, m in enumerate(both) if j != i)
        losses.append(-math.log(positive / others))
    expected = sum(losses) / len(losses)
    assert float(nt_xent(first, second, tau)) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    # with the own similarity set to -1 instead of being left out
    for i in range(len(both)):
        losses[i] = math.log(math.exp(losses[i]) + math.exp((-1 - alike(both, i)) / tau))
    expected = sum(losses) / len(losses)
    found = float(nt_xent(first, second, tau, exclude_self=False))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def alike(both: list[Tensor], i: int) -> float:
    return float(both[i] @ both[(i + len(both) // 2) % len(both)])


def test_nt_xent_refuses_what_it_cannot_contrast() -> None:
    one, other = embeddings((1, 3), (2, 3))
    with pytest.raises(ValueError, match=r"two clips or more.*1"):
        nt_xent(one, one)
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        nt_xent(other, one)
    with pytest.raises(ValueError, match=r"temperature.*0"):
        nt_xent(other, other, 0)
    assert nt_xent(other.half(), other.half()).dtype == torch.float32


@given(**SIZES, student_temperature=TEMPERATURES, teacher_temperature=TEMPERATURES)
def test_relational_kl_equals_a_slow_loop(
    samples: int,
    anchors: int,
    width: int,
    seed: int,
    student_temperature: float,
    teacher_temperature: float,
) -> None:
    student, teacher, queue = embeddings(
        (samples, width), (samples, width), (anchors, width), seed=seed
    )
    expected = []
    for z, target in zip(student, teacher, strict=True):
        p = softmax([dot(target, m) / teacher_temperature for m in queue])
        q = softmax([dot(z, m) / student_temperature for m in queue])
        expected.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
    loss = RelationalKL(student_temperature, teacher_temperature)
    each = loss(student, teacher, queue, reduction="none")
    assert each.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert float(loss(student, teacher, queue)) == pytest.approx(
        sum(expected) / samples, rel=1e-4, abs=1e-5
    )
    assert float(each.min()) > -1e-6


def test_relational_kl_is_zero_only_for_equal_distributions() -> None:
    teacher, other, queue = embeddings((4, 8), (4, 8), (32, 8))
    # Equal logits: the student's temperature and its dot products are both twice the teacher's.
    doubled = 2 * similarities(teacher, queue)
    equal = relational_kl(teacher, teacher, queue, 0.1, 0.05, similarity=doubled)
    assert equal.abs() < 1e-6
    assert relational_kl(teacher, teacher, queue, 0.1, 0.1).abs() < 1e-6
    assert relational_kl(teacher, teacher, queue, 0.1, 0.05) > 1e-2
    assert relational_kl(other, teacher, queue, 0.1, 0.1) > 1e-2
    assert relational_kl(other, teacher, torch.ones(5, 8), 0.1, 0.05).abs() < 1e-6


def test_relational_kl_pulls_the_student_and_never_the_teacher() -> None:
    student, teacher, queue = embeddings((4, 8), (4, 8), (32, 8))
    student.requires_grad_()
    teacher.requires_grad_()
    relational_kl(student, teacher, queue).backward()
    assert teacher.grad is None
    # The gradient is that of the cross-entropy that the paper writes.
    twin = student.detach().clone().requires_grad_()
    target = F.softmax(teacher.detach() @ queue.T / 0.05, dim=1)
    (-target * F.log_softmax(twin @ queue.T / 0.1, dim=1)).sum(1).mean().backward()
    torch.testing.assert_close(student.grad, twin.grad, rtol=1e-4, atol=1e-6)


def test_distillation_of_the_nearest_equals_its_definition() -> None:
    student, teacher = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).unbind()
    student.requires_grad_()
    teacher.requires_grad_()
    total = torch.zeros(())
    for n in range(3):
        near = teacher[n].argsort(descending=True)[:4]
        q = (student[n, near] / 0.2).softmax(0)
        p = (teacher[n, near] / 0.1).softmax(0).detach()
        total = total + (p * (p.log() - q.log())).sum() / 3
    found = topk_relational_kl(student, teacher, 4, 0.2, 0.1)
    torch.testing.assert_close(found, total)
    found.backward()
    assert teacher.grad is None
    z, k, anchors = (F.normalize(torch.randn(n, 5), dim=1) for n in (3, 3, 8))
    whole = topk_relational_kl(z @ anchors.T, k @ anchors.T, 8)
    torch.testing.assert_close(whole, relational_kl(z, k, anchors))
    for k, word in ((0, "k in"), (9, "k in"), (2.0, "k in")):
        with pytest.raises(ValueError, match=word):
            topk_relational_kl(student, teacher, k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="teacher_temperature"):
        topk_relational_kl(student, teacher, 4, 0.2, 0.0)
    with pytest.raises(ValueError, match="teacher"):
        topk_relational_kl(student, teacher[:2], 4)


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 5),
    share=st.floats(0.1, 1.0),
    seed=st.integers(0, 10_000),
)
def test_masked_mse_is_the_mean_over_hidden_scalars(
    shape: tuple[int, ...], share: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randn(shape, generator=generator)
    target = torch.randn(shape, generator=generator)
    samples, channels, *rest = shape
    mask = torch.rand(samples, *rest, generator=generator) < share
    mask[0, 0, 0, 0] = True
    errors = [
        float(prediction[n, c, t, v, m] - target[n, c, t, v, m]) ** 2
        for n, t, v, m in mask.nonzero().tolist()
        for c in range(channels)
    ]
    expected = pytest.approx(sum(errors) / len(errors), rel=1e-4, abs=1e-6)
    assert float(masked_mse(prediction, target, mask)) == expected
    elsewhere = torch.where(mask[:, None], prediction, prediction + 7)
    assert float(MaskedMSE()(elsewhere, target, mask)) == expected


def test_masked_mse_has_no_gradient_at_visible_positions() -> None:
    prediction = torch.randn(2, 3, 4, 5, 2, requires_grad=True)
    mask = torch.rand(2, 4, 5, 2) < 0.5
    masked_mse(prediction, torch.zeros_like(prediction), mask).backward()
    assert prediction.grad is not None
    assert torch.equal((prediction.grad != 0).any(dim=1), mask)


def all_losses(dtype: torch.dtype) -> dict[str, tuple[Any, tuple[Tensor, ...]]]:
    query, key, queue = (z.to(dtype) for z in embeddings((6, 16), (6, 16), (64, 16)))
    clips = torch.randn(2, 2, 3, 4, 5, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    mask = torch.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)[..., :2] % 3 == 0
    return {
        "info_nce": (info_nce, (query, key, queue)),
        "relational_kl": (relational_kl, (query, key, queue)),
        "masked_mse": (masked_mse, (clips[0], clips[1], mask)),
    }


@pytest.mark.parametrize("name", ["info_nce", "relational_kl", "masked_mse"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_arithmetic_is_float32_whatever_comes_in(name: str, dtype: torch.dtype) -> None:
    loss, inputs = all_losses(dtype)[name]
    widened = tuple(x.float() if x.is_floating_point() else x for x in inputs)
    result = loss(*inputs)
    assert result.dtype == torch.float32
    assert torch.equal(result, loss(*widened))


@pytest.mark.parametrize("name", ["info_nce", "relational_kl", "masked_mse"])
def test_arithmetic_is_float32_under_autocast(name: str) -> None:
    loss, inputs = all_losses(torch.float32)[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (inputs[0].flatten(1) @ inputs[0].flatten(1).T).dtype == torch.bfloat16
        inside = loss(*inputs)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(*inputs))


Z, QUEUE = F.normalize(torch.ones(4, 8)), torch.ones(16, 8)


@pytest.mark.parametrize("loss", [info_nce, relational_kl], ids=["info_nce", "relational_kl"])
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((Z, Z[:3], QUEUE), r"shape \(N, D\).*\(4, 8\) and \(3, 8\)"),
        ((Z, torch.ones(4, 9), QUEUE), r"shape \(N, D\).*\(4, 8\) and \(4, 9\)"),
        ((Z[None], Z[None], QUEUE), r"shape \(N, D\).*\(1, 4, 8\) and"),
        ((Z[0], Z[0], QUEUE), r"shape \(N, D\).*\(8,\) and \(8,\)"),
        ((Z, Z, QUEUE.T), r"\(K, D=8\).*\(8, 16\): are size and dim swapped, Mem"),
        ((Z.long(), Z, QUEUE), r"floating-point (query|student), got torch\.int64"),
        ((Z, Z.long(), QUEUE), r"floating-point (key|teacher), got torch\.int64"),
        ((Z, Z, torch.ones(16, 7)), r"\(K, D=8\).*\(16, 7\)"),
        ((Z, Z, QUEUE[..., None]), r"\(K, D=8\).*\(16, 8, 1\)"),
        ((Z, Z, QUEUE[0]), r"\(K, D=8\), got \(8,\)"),
        ((Z, Z, QUEUE[:0]), r"\(K, D=8\), got \(0, 8\)"),
        (
            (Z, Z, MemoryQueue(size=16, dim=8)),
            r"\(K, D=8\), got .*MemoryQueue, .*: the anchors of a MemoryQueue",
        ),
        ((Z.numpy(), Z, QUEUE), r"as tensors .*, got numpy\.ndarray, .*no torch tensor"),
        ((Z, Z.tolist(), QUEUE), "as tensors .*, got .* and list, .*no torch tensor"),
    ],
)
def test_embeddings_that_do_not_fit(loss: Any, inputs: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(*inputs)


@pytest.mark.parametrize("temperature", [0.0, -0.1, float("nan")])
def test_temperatures_must_be_positive(temperature: float) -> None:
    for build in (
        lambda: info_nce(Z, Z, QUEUE, temperature),
        lambda: InfoNCE(temperature),
        lambda: relational_kl(Z, Z, QUEUE, temperature),
        lambda: relational_kl(Z, Z, QUEUE, 0.1, temperature),
        lambda: RelationalKL(temperature),
        lambda: RelationalKL(0.1, temperature),
    ):
        with pytest.raises(ValueError, match=rf"temperature > 0, got {temperature}"):
            build()


@pytest.mark.parametrize("loss", [info_nce, relational_kl], ids=["info_nce", "relational_kl"])
def test_unknown_reduction(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"among \('mean', 'none'\).*'sum'"):
        loss(Z, Z, QUEUE, reduction="sum")


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "loss",
    [
        lambda z, other: info_nce(z, other, QUEUE),
        lambda z, other: InfoNCE()(z, other, QUEUE),
        lambda z, other: relational_kl(z, other, QUEUE),
        lambda z, other: key_and_queue_logits(z, other, QUEUE),
        nt_xent,
    ],
    ids=["info_nce", "InfoNCE", "relational_kl", "key_and_queue_logits", "nt_xent"],
)
def test_embeddings_must_have_length_1(loss: Callable[..., Tensor], place: int) -> None:
    """To within 1 %, so that those of bfloat16 pass; what is not finite shows in the loss."""
    pair = [Z, Z]
    for length in (0.993, 1.007):
        pair[place] = Z * length
        assert loss(*pair).isfinite().all()
    for length, shown in ((0.985, "0.985"), (1.015, "1.015"), (0.0, "0")):
        pair[place] = Z.clone()
        pair[place][2] *= length
        with pytest.raises(ValueError, match=rf"of length 1, F.normalize.* {shown} in row 2$"):
            loss(*pair)
    pair[place] = torch.full_like(Z, torch.nan)
    assert not loss(*pair).isfinite().all()


CLIPS, MASK = torch.zeros(2, 3, 4, 5, 1), torch.ones(2, 4, 5, 1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("prediction", "target", "mask", "message"),
    [
        (CLIPS, CLIPS[:1], MASK, r"shape \(N, C, T, V, M\).*\(1, 3, 4, 5, 1\)"),
        (CLIPS[0], CLIPS[0], MASK[0], r"shape \(N, C, T, V, M\)"),
        (CLIPS[None], CLIPS[None], MASK, r"shape \(N, C, T, V, M\)"),
        (CLIPS[:1], CLIPS, MASK, r"shape \(N, C, T, V, M\)"),
        (CLIPS, CLIPS, MASK[None], r"\(2, 4, 5, 1\).*torch.bool \(1, 2, 4, 5, 1\)"),
        (CLIPS, CLIPS, MASK.expand(2, 4, 5, 2), r"\(2, 4, 5, 1\).*torch.bool \(2, 4, 5, 2\)"),
        (CLIPS, CLIPS, MASK.float(), r"mask \(N, T, V, M\).*torch.float32"),
        (CLIPS, CLIPS, MASK[:, :2], r"\(2, 4, 5, 1\).*torch.bool \(2, 2, 5, 1\)"),
        (CLIPS, CLIPS, ~MASK, "an empty mask"),
    ],
)
def test_masked_mse_that_does_not_fit(
    prediction: Tensor, target: Tensor, mask: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        masked_mse(prediction, target, mask)


@pytest.mark.parametrize("loss", [info_nce, relational_kl])
def test_known_similarities(loss: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    query, key, anchors = (F.normalize(torch.randn(n, 4), dim=1) for n in (5, 5, 7))
    known = similarities(query, anchors)
    torch.testing.assert_close(known, query @ anchors.T)
    expected = loss(query, key, anchors, reduction="none")
    assert torch.equal(loss(query, key, anchors, reduction="none", similarity=known), expected)
    for other, shape in ((known.T, r"\(7, 5\)"), (known[:4], r"\(4, 7\)")):
        with pytest.raises(ValueError, match=rf"similarity \(N, K\) = \(5, 7\), got {shape}"):
            loss(query, key, anchors, similarity=other)
    for other in (anchors[:, :3], anchors.tolist()):
        with pytest.raises(ValueError, match=r"anchors .*\(K, D=4\)"):
            similarities(query, other)


def test_modules_say_their_temperatures_and_have_those_of_the_paper() -> None:
    assert repr(InfoNCE()) == "InfoNCE(temperature=0.07)"
    assert repr(RelationalKL()) == "RelationalKL(student_temperature=0.1, teacher_temperature=0.05)"
    query, key, queue = embeddings((6, 16), (6, 16), (64, 16))
    assert torch.equal(info_nce(query, key, queue), InfoNCE()(query, key, queue))
    assert torch.equal(relational_kl(query, key, queue), RelationalKL()(query, key, queue))


@pytest.mark.parametrize(
    ("module", "function"),
    [(InfoNCE, info_nce), (RelationalKL, relational_kl), (MaskedMSE, masked_mse)],
)
def test_a_module_says_all_that_its_function_says(
    module: type[nn.Module], function: Callable[..., Tensor]
) -> None:
    shown = f"{inspect.getdoc(module)}\n{inspect.getdoc(module.forward)}"
    texts = (inspect.getdoc(function) or "").partition("Example:")[0].split("\n")
    assert [line for line in texts if line.strip() not in shown] == []
    arguments = inspect.signature(function).parameters
    assert [name for name in arguments if f"\n    {name}: " not in shown] == []
