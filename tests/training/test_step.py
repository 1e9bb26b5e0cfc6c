"""An optimiser step that changes everything or nothing."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pcm3 import NTU25, PCM3
from pcm3._torch import recur_in
from pcm3.augment import Compose, Shear
from pcm3.encoders import GRUEncoder
from pcm3.methods import Method
from pcm3.methods.catalog import get_preset
from pcm3.methods.settings import TrainSettings
from pcm3.training.graph import NotCapturedError, why_not_captured
from pcm3.training.step import Step

CLIPS = torch.randn(3, 4, 3, 40, 25, 1, generator=torch.Generator().manual_seed(0))
PRESETS = ("small", "small-mamp", "small-simclr", "small-pstl", "small-aimclr", "small-cmd")
BAD = CLIPS[0] * 1e30  # finite, but its square is not


def new_model(preset: str = "small", seed: int = 0) -> Method:
    torch.manual_seed(seed)
    changes = {"small": {"queue_size": 16}, "small-mamp": {"width": 16}}
    changes |= {"small-pstl": {"expander": 16}, "small-aimclr": {"queue_size": 16}}
    changes |= {"small-cmd": {"queue_size": 16, "topk": 4}}
    return get_preset(preset).model.changed(changes.get(preset, {})).build(NTU25, persons=1)


def new_step(model: Method, **changes: Any) -> Step:
    fabric = Fabric(accelerator="cpu", devices=1)
    return Step(fabric, model, TrainSettings(lr=0.01, **changes), frames=40)


def take(step: Step, clips: Tensor, seed: int) -> Any:
    step.backward(clips, torch.full((4,), 40), 0, seed)
    return step.update(0.01).read()


def state(model: Method, step: Step) -> list[Tensor]:
    moments = [
        value
        for parameter in model.parameters()
        for value in step.optimizer.state.get(parameter, {}).values()
    ]
    return [value.clone() for value in (*model.state_dict().values(), *moments)]


def assert_equal(one: list[Tensor], other: list[Tensor]) -> None:
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("preset", "optimizer"),
    [
        *product(PRESETS, ["sgd", "adamw"]),
        *((f"small-{name}", "adamw") for name in ("ms2l", "displacement", "autoencoder", "latent")),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_skipped_step_leaves_no_trace(preset: str, optimizer: Any, first: bool) -> None:
    states = []
    for bad in (True, False):
        model = new_model(preset)
        step = new_step(model, optimizer=optimizer, nonfinite="skip")
        good = 0
        for number in range(4):
            if number == (0 if first else 2):
                assert not bad or take(step, BAD, 9).failed
                continue
            figures = take(step, CLIPS[good], good)
            assert not figures.failed
            good += 1
        states.append(state(model, step))
    assert_equal(*states)


def test_after_a_failed_step_nothing_changes_if_the_run_is_to_stop() -> None:
    model = new_model()
    step = new_step(model)
    take(step, CLIPS[0], 0)
    before = state(model, step)
    assert take(step, BAD, 1).failed
    figures = take(step, CLIPS[1], 2)
    assert figures.failed
    assert all(torch.isfinite(torch.tensor(list(figures.losses[0].values()))))
    assert_equal(state(model, step), before)


def test_figures_are_those_of_the_passes() -> None:
    model, twin = new_model(), new_model()
    step = new_step(model, accumulate=2)
    twin.accumulate(2)
    model.accumulate(2)
    expected = []
    for number in range(2):
        step.backward(CLIPS[number], torch.full((4,), 40), number, seed=number)
        generator = torch.Generator().manual_seed(number)
        output = twin(CLIPS[number], torch.full((4,), 40), generator)
        (output.total / 2).backward()
        losses = {"total": output.total.detach(), **output.terms}
        expected.append({name: float(loss) for name, loss in losses.items()})
    figures = step.update(0.01).read()
    assert figures.losses == expected
    sums = {
        f"the gradient of {name}": float(parameter.grad.sum())
        for name, parameter in twin.named_parameters()
        if parameter.grad is not None
    }
    sums |= {f"the buffer {name}": float(value.sum()) for name, value in twin.named_buffers()}
    assert figures.sums.items() <= sums.items()
    counts = {name for name in sums if name.endswith(("batches_tracked", "position"))}
    assert sums.keys() - figures.sums.keys() == counts


def test_undone_passes_leave_no_trace() -> None:
    model = new_model()
    step = new_step(model, accumulate=2)
    model.accumulate(2)
    before = state(model, step)
    step.undo()
    step.backward(CLIPS[0], torch.full((4,), 40), 0, seed=0)
    assert not all(torch.equal(*pair) for pair in zip(state(model, step), before, strict=True))
    step.undo()
    assert_equal(state(model, step), before)


def test_passes_that_cannot_be_captured_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A capture runs the code of the passes, which computes nothing."""

    def fail(clips: Tensor, lengths: Tensor, number: int) -> None:
        model.queue.anchors = torch.full_like(model.queue.anchors, torch.nan)
        raise NotCapturedError("a reason")

    model, twin = new_model(), new_model()
    step, other = new_step(model), new_step(twin)
    monkeypatch.setattr(step, "_run", fail)
    for number in range(2):
        assert take(step, CLIPS[number], number) == take(other, CLIPS[number], number)
    assert_equal(state(model, step), state(twin, other))
    assert capsys.readouterr().err.count("a reason") == 1
    strict = new_step(new_model(), graph="off")
    strict._config = TrainSettings(graph="on")
    monkeypatch.setattr(strict, "_run", fail)
    with pytest.raises(NotCapturedError):
        take(strict, CLIPS[0], 0)


def test_steps_are_captured_on_cuda_alone() -> None:
    fabric, model = Fabric(accelerator="cpu", devices=1), new_model()
    assert "cpu" in str(why_not_captured(fabric, model, TrainSettings()))
    assert why_not_captured(fabric, model, TrainSettings(graph="off"))
    with pytest.raises(ValueError, match="cpu"):
        why_not_captured(fabric, model, TrainSettings(graph="on"))


def test_methods_whose_steps_may_be_captured() -> None:
    for preset in PRESETS:
        assert new_model(preset).static
    settings = get_preset("small").model.changed({"queue_size": 16})

    def own(clips: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return clips

    class Own(GRUEncoder):
        pass

    for encoder, changes in (
        (GRUEncoder(25, hidden=8), {"spatial": own}),
        (GRUEncoder(25, hidden=8), {"spatial": Compose(Shear(), own)}),
        (Own(25, hidden=8), {}),
    ):
        assert not PCM3(encoder, NTU25, settings, **changes).static
    assert not get_preset("small-mamp").model.changed({"skip_absent": True}).build(NTU25, 1).static


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_gru_in_another_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(6, 8, batch_first=True)
    frames = torch.randn(3, 9, 6, requires_grad=True)
    results = []
    for outputs in (gru(frames)[0], recur_in(dtype, gru, frames)):
        gru.zero_grad()
        frames.grad = None
        outputs.float().square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in gru.parameters()]
        results.append([outputs.detach(), frames.grad.clone(), *gradients])
    assert results[1][0].dtype is dtype
    for expected, found in zip(*results, strict=True):
        error = (found.float() - expected).norm() / expected.norm()
        assert error < (1e-6 if dtype is torch.float64 else 2e-2)
    assert all(gradient.dtype is torch.float32 for gradient in results[1][1:])
