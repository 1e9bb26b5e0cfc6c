"""Devices: start of the processes, synchronised batch normalisation and compiled blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pcm3._torch import allow_tf32, find_device
from pcm3.data.dataset import Batch
from pcm3.errors import explain_missing
from pcm3.methods.settings import TrainSettings
from pcm3.training.launcher import start_others

with explain_missing():
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.utilities import rank_zero_only

_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "tf32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


def launch(config: TrainSettings) -> Fabric:
    """Start one process per device, or join those that ``torchrun`` or SLURM started.

    Raises:
        ValueError: If the accelerator is not available, has fewer devices, or is a CPU while the
            precision is fp16.
    """
    if config.deterministic:
        _be_deterministic()
    device = find_device(config.accelerator)
    if config.precision == "fp16" and device.type == "cpu":  # Fabric would take bf16
        raise ValueError("precision fp16 needs a GPU, got a CPU; use bf16 or fp32")
    devices, nodes = config.devices, config.nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun sets the numbers
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    strategy: DDPStrategy | Literal["auto"] = "auto"
    if devices * nodes > 1:
        # A loss may leave out parameters, but always the same ones, so the graph is static. A
        # static graph cannot skip synchronisation, though, which accumulating batches need.
        several = config.accumulate > 1
        strategy = DDPStrategy(
            static_graph=not several, find_unused_parameters=several, broadcast_buffers=False
        )
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=_PRECISION[config.precision],
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"accelerator {config.accelerator!r}: {error}") from None
    if isinstance(strategy, DDPStrategy):
        environment = strategy.cluster_environment
        if environment and not environment.creates_processes_externally:
            start_others(environment, devices, nodes)
    fabric.launch()
    allow_tf32(config.precision != "fp32")
    return fabric


def _be_deterministic() -> None:
    # matrix products need a fixed workspace before the GPU is first used
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


_SMALL = 1_000_000
_DEFAULT_THREADS = torch.get_num_threads()


@contextmanager
def suitable_threads(model: nn.Module, config: TrainSettings) -> Iterator[None]:
    """Let a small recurrent model train with one thread on a CPU, unless the user chose the number.

    The operations of recurrent layers of a model of less than a million parameters are short. More
    threads gain little in them, and on a busy machine each operation waits for the slowest thread.
    The number counts as chosen if ``OMP_NUM_THREADS`` is set or ``torch.set_num_threads`` was
    called.
    """
    before = torch.get_num_threads()
    chosen = "OMP_NUM_THREADS" in os.environ or before != _DEFAULT_THREADS
    small = sum(parameter.numel() for parameter in model.parameters()) < _SMALL
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    on_cpu = find_device(config.accelerator).type == "cpu"
    if chosen or not (small and recurrent and on_cpu):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def copied_ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Copy clips and lengths of the next batch to a GPU while it computes on this one."""
    copying = torch.cuda.Stream(device)

    def copied() -> Iterator[tuple[Batch, torch.cuda.Event]]:
        for batch in batches:
            with torch.cuda.stream(copying):
                clips = batch.clips.to(device, non_blocking=True)
                lengths = batch.lengths.to(device, non_blocking=True)
            yield batch._replace(clips=clips, lengths=lengths), copying.record_event()

    ahead = copied()
    waiting = next(ahead, None)
    while waiting is not None:
        (batch, arrived), waiting = waiting, next(ahead, None)
        present = torch.cuda.current_stream(device)
        present.wait_event(arrived)
        for tensor in (batch.clips, batch.lengths):
            tensor.record_stream(present)  # keeps its memory from being reused too early
        yield batch


@contextmanager
def naming_lost_processes(fabric: Fabric) -> Iterator[None]:
    """Name a lost process of the run as the cause when communication fails.

    Raises:
        ChildProcessError: If another process was killed, ended or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "gloo" in str(error)  # gloo has no class
        if fabric.world_size == 1 or not lost:
            raise
        raise ChildProcessError(
            f"process {fabric.global_rank} of {fabric.world_size} lost the connection to another "
            "process, which failed or was killed (the system does so when memory runs out); the "
            "same command continues from the last checkpoint"
        ) from error


def is_first() -> bool:
    """Return whether this process is the one that writes files and messages."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def mean_over_processes(fabric: Fabric, value: Tensor | float) -> float:
    """Mean of a value over all processes."""
    reduced = fabric.all_reduce(torch.as_tensor(value, device=fabric.device))
    assert isinstance(reduced, Tensor)
    return float(reduced)


class _Sum(torch.autograd.Function):
    """Sum over all processes; its gradient is summed over them too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _total(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation with the statistics of all processes, on any device.

    All processes must have equally many samples. ``torch.nn.SyncBatchNorm`` needs a GPU.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(N, C, ...)``."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        world = dist.get_world_size()
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        others = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        mean = _total(values.mean(others)) / world
        centred = values - mean.view(shape)
        variance = _total(centred.square().mean(others)) / world
        with torch.no_grad():
            if self.track_running_stats:
                assert self.running_mean is not None
                assert self.running_var is not None
                assert self.num_batches_tracked is not None
                self.num_batches_tracked += 1
                count = world * input.numel() / input.shape[1]
                share = self.momentum or 1 / self.num_batches_tracked
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * count / (count - 1), share)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = normal.to(input.dtype)
        return result


def synchronize_norms(model: nn.Module) -> None:
    """Replace every batch normalisation of a model by a ``SyncBatchNorm``, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                twin = SyncBatchNorm(
                    child.num_features,
                    child.eps,
                    child.momentum,
                    child.affine,
                    child.track_running_stats,
                )
                twin._parameters, twin._buffers = child._parameters, child._buffers
                twin.training = child.training
                setattr(parent, name, twin)


def compile_blocks(model: nn.Module) -> None:
    """Compile every module of a model whose class sets ``compiles``, in place.

    The blocks are alike, so they share one compiled code. Modules around them stay as they are.

    Raises:
        ValueError: If the model has no such module, as with recurrent layers, which already run
            as compiled code.
    """
    blocks = [module for module in model.modules() if getattr(module, "compiles", False)]
    if not blocks:
        raise ValueError(
            "expected a model with blocks to compile, as in transformer and graph encoders, got a "
            f"{type(model).__name__} without blocks"
        )
    for block in blocks:
        block.compile()
