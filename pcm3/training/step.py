"""One optimiser step, which changes nothing unless everything that it computes is finite."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pcm3.errors import explain_missing
from pcm3.methods import Method
from pcm3.methods.settings import TrainSettings
from pcm3.schedules import make_optimizer, set_rate
from pcm3.terminal import tell
from pcm3.training.graph import GraphedPasses, NotCapturedError, why_not_captured

with explain_missing():
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Figures:
    """Figures of a step.

    Attributes:
        losses: ``total`` and the loss terms of each batch.
        sums: Sums of gradients and buffers, by what they are.
        failed: Whether a figure is not finite in any process, so that nothing was changed.
        stop: Whether any process was told to stop.
    """

    losses: list[dict[str, float]]
    sums: dict[str, float]
    failed: bool
    stop: bool


class Report:
    """The figures of a step on their way from the device."""

    def __init__(self, values: Tensor, losses: list[list[str]], sums: list[str]) -> None:
        self._losses, self._sums = losses, sums
        self._values = values.to("cpu", non_blocking=True)
        self._arrived = None
        if values.device.type == "cuda":
            self._arrived = torch.cuda.current_stream(values.device).record_event()

    def read(self) -> Figures:
        """Wait for the figures."""
        if self._arrived is not None:
            self._arrived.synchronize()
        failed, stop, *values = self._values.tolist()
        left = iter(values)
        losses = [dict(zip(names, left, strict=False)) for names in self._losses]
        return Figures(losses, dict(zip(self._sums, left, strict=True)), failed > 0, stop > 0)


class Step:
    """The passes and the update of an optimiser step on this process.

    The device itself finds out whether losses, gradients and buffers are finite. If one is not,
    weights, optimiser, statistics, momentum twin and queue keep the values from before the step.
    The host need not wait: it may read the report of a step after it has begun the next one.

    With ``config.nonfinite`` "stop", nothing changes in later steps either.

    Args:
        fabric: Device, precision and processes.
        model: The model to train, in place.
        config: All settings.
        frames: Frames of the longest clip.

    Attributes:
        optimizer: The optimiser.
        why_not_captured: Why the passes are not captured as CUDA graphs; None if they are.

    Raises:
        ValueError: If the model has no parameter to train.
    """

    def __init__(self, fabric: Fabric, model: Method, config: TrainSettings, frames: int) -> None:
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                f"expected a {type(model).__name__} to train, got one without a parameter that "
                "requires a gradient"
            )
        self._fabric, self._model, self._config = fabric, model, config
        self._wrapped, self.optimizer = fabric.setup(model, make_optimizer(model, config))
        self._wrapped.train()
        self._generator = torch.Generator(fabric.device)
        self._untrained = list(_untrained(model))
        self._values = [value for _, _, value in self._untrained]
        self._kept = [value.clone() for value in self._values]
        self._failed = torch.zeros((), device=fabric.device)
        self._told = torch.zeros((), device=fabric.device)
        self._passes: list[dict[str, Tensor]] = [{}] * config.accumulate
        self._figures = self._failed
        self._sums: list[str] = []
        self._begun = False
        self._run: Callable[[Tensor, Tensor, int], None] = self._pass
        self.why_not_captured = why_not_captured(fabric, model, config)
        if self.why_not_captured is None:
            batches = config.accumulate
            self._run = GraphedPasses(self._pass, self._generator, frames, batches)
        # GradScaler finds overflows of float16 itself, and waits for them
        self._scaled = config.precision == "fp16"
        self._guard_optimizer()

    @torch.no_grad()
    def _guard_optimizer(self) -> None:
        """Make the fused optimiser leave out its update while ``_failed`` is 1."""
        if self._scaled:
            return
        optimizer = self.optimizer.optimizer
        optimizer.found_inf = self._failed
        if isinstance(optimizer, torch.optim.SGD):
            # an update that is left out would leave new buffers as they were allocated
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    state = optimizer.state[parameter]
                    if state.get("momentum_buffer") is None:
                        state["momentum_buffer"] = torch.zeros_like(parameter)

    def backward(self, clips: Tensor, lengths: Tensor, number: int, seed: int) -> None:
        """Add the gradients of a batch.

        Args:
            clips: The clips ``(N, C, T, V, M)``.
            lengths: Valid frames of each clip ``(N,)``.
            number: Number of the batch in this step, from 0.
            seed: Seed of the random numbers.
        """
        self._generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout takes no generator
        if number == 0:
            self._begun = True
            if self._kept:
                with torch.no_grad():
                    torch._foreach_copy_(self._kept, self._values)
        try:
            self._run(clips, lengths, number)
        except NotCapturedError as error:
            if number or self._config.graph == "on":
                raise
            self.undo()
            self._begun, self._run = True, self._pass
            tell(f"note: {error}", file=sys.stderr)
            self.backward(clips, lengths, number, seed)

    def _pass(self, clips: Tensor, lengths: Tensor, number: int) -> None:
        """Do everything of a step but the update, which runs on the device alone."""
        if number == 0:
            self.optimizer.zero_grad()
        last = number == self._config.accumulate - 1
        with self._fabric.no_backward_sync(self._wrapped, enabled=not last):
            output = self._wrapped(clips, lengths, self._generator)
            self._fabric.backward(output.total / self._config.accumulate)
        self._passes[number] = {"total": output.total.detach(), **output.terms}
        if last:
            self._conclude()

    @torch.no_grad()
    def _conclude(self) -> None:
        """Gather the figures, and restore what the passes changed if one is not finite."""
        summed = {
            f"the gradient of {name}": parameter.grad
            for name, parameter in self._model.named_parameters()
            if parameter.grad is not None
        }
        for name, buffer in self._model.named_buffers():
            if buffer.is_floating_point():  # statistics may overflow where no loss does
                summed[f"the buffer {name}"] = buffer
        self._sums = list(summed)
        figures = [value for losses in self._passes for value in losses.values()]
        # a sum is finite only if all its terms are
        figures += [tensor.sum() for tensor in summed.values()]
        values = torch.stack([value.float() for value in figures])
        totals = [losses["total"].float() for losses in self._passes]
        tested = torch.stack(totals) if self._scaled else values
        failed = (~tested.isfinite()).any().float()
        if self._config.nonfinite == "stop":
            failed = torch.maximum(failed, self._failed)
        flags = torch.stack([failed, self._told])
        if self._fabric.world_size > 1:
            raised = self._fabric.all_reduce(flags, reduce_op="sum")
            assert isinstance(raised, Tensor)
            flags = raised.clamp(max=1)
        self._failed.copy_(flags[0])
        self._figures = torch.cat([flags, values])
        for (owner, name, value), kept in zip(self._untrained, self._kept, strict=True):
            changed = getattr(owner, name)
            value.copy_(torch.where(self._failed > 0, kept, changed))
            if changed is not value:  # a queue replaces its keys, which the loss still needs
                setattr(owner, name, value)

    def update(self, rate: float) -> Report:
        """Change the weights.

        Args:
            rate: The learning rate.
        """
        losses = [list(each) for each in self._passes]
        report = Report(self._figures, losses, self._sums)
        self._begun = False
        if self._scaled and report.read().failed:
            return report
        set_rate(self.optimizer, rate)
        if self._config.clip_norm > 0:
            self._fabric.clip_gradients(
                self._wrapped,
                self.optimizer,
                max_norm=self._config.clip_norm,
                error_if_nonfinite=False,
            )
        self.optimizer.step()
        return report

    def tell(self, stop: bool) -> None:
        """Tell the other processes, in the report of this step, whether to stop."""
        self._told.fill_(float(stop))

    @torch.no_grad()
    def undo(self) -> None:
        """Restore what the passes since the last update changed."""
        if not self._begun:
            return
        for (owner, name, value), kept in zip(self._untrained, self._kept, strict=True):
            value.copy_(kept)
            setattr(owner, name, value)
        self.optimizer.zero_grad()
        self._model.accumulate(self._config.accumulate)

    def state(self) -> Mapping[str, object]:
        """State of optimiser and precision for a checkpoint."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "precision": self._fabric.strategy.precision.state_dict(),
        }

    def load_state(self, state: Mapping[str, dict[str, object]]) -> None:
        """Load what ``state`` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._fabric.strategy.precision.load_state_dict(state["precision"])
        self._guard_optimizer()


def _untrained(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Module, name and value of tensors that a forward pass may change.

    These are statistics, queues and momentum twins.
    """
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            yield module, name, buffer
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                yield module, name, parameter
