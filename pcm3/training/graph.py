"""Steps as CUDA graphs, which only CUDA has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pcm3.errors import explain_missing
from pcm3.methods import Method
from pcm3.methods.settings import TrainSettings

with explain_missing():
    from lightning_fabric import Fabric

_WARM_UP = 3
"""Steps that run as they are, so that libraries have their work space before the capture."""


class NotCapturedError(RuntimeError):
    """The passes could not be captured. None of their operations was computed."""


class GraphedPasses:
    """The passes of a step, captured as CUDA graphs after a few steps and then replayed.

    A replay issues all kernels of a pass at once, for which the host would need longer than the
    device computes. Clips are copied to fixed memory and padded to a fixed number of frames.
    Random numbers are those of uncaptured passes, as the generator is registered with the graphs.

    Args:
        passes: Called with clips, lengths and the number of the batch in the step. It may run
            nothing on the host that differs from step to step.
        generator: Source of the random numbers.
        frames: Frames of the longest clip.
        batches: Batches of a step. Each has a graph of its own.

    Source:
        https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(
        self,
        passes: Callable[[Tensor, Tensor, int], None],
        generator: torch.Generator,
        frames: int,
        batches: int,
    ) -> None:
        self._passes, self._generator = passes, generator
        self._frames, self._batches = frames, batches
        self._stream = torch.cuda.Stream(generator.device)
        self._clips = self._lengths = torch.empty(0, device=generator.device)
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._pool: Any = None
        self._steps = 0

    def __call__(self, clips: Tensor, lengths: Tensor, number: int) -> None:
        """Run the passes of a batch.

        Raises:
            NotCapturedError: If the passes cannot be captured.
        """
        if self._clips.shape[0] != len(clips) or self._clips.shape[2] < clips.shape[2]:
            self._allocate(clips, lengths)
        self._clips.zero_()
        self._clips[:, :, : clips.shape[2]].copy_(clips)
        self._lengths.copy_(lengths)
        if self._steps < _WARM_UP:
            self._warm_up(number)
            self._steps += number == self._batches - 1
            return
        if len(self._graphs) == number:
            self._capture(number)
        self._graphs[number].replay()

    def _allocate(self, clips: Tensor, lengths: Tensor) -> None:
        samples, channels, frames, *rest = clips.shape
        self._clips = clips.new_zeros(samples, channels, max(frames, self._frames), *rest)
        self._lengths = lengths.clone()
        self._graphs, self._pool, self._steps = [], None, 0

    def _warm_up(self, number: int) -> None:
        present = torch.cuda.current_stream(self._generator.device)
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            self._passes(self._clips, self._lengths, number)
        present.wait_stream(self._stream)

    def _capture(self, number: int) -> None:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        cached = torch.is_autocast_cache_enabled()
        # weights that are cast once for several passes would not be cast again in a replay
        torch.set_autocast_cache_enabled(False)
        try:
            # another thread copies batches to pinned memory meanwhile
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                self._passes(self._clips, self._lengths, number)
        except RuntimeError as error:
            raise NotCapturedError(f"steps cannot be captured as CUDA graphs: {error}") from error
        finally:
            torch.set_autocast_cache_enabled(cached)
        self._pool = graph.pool()
        self._graphs.append(graph)


def why_not_captured(fabric: Fabric, model: Method, config: TrainSettings) -> str | None:
    """Return why the steps of a run are not captured as CUDA graphs; None if they are.

    Raises:
        ValueError: If ``config.graph`` is "on" and the steps cannot be captured.
    """
    if config.graph == "off":
        return "it is off"
    if fabric.device.type != "cuda":
        reason = f"it needs a CUDA device, not {fabric.device.type}"
    elif fabric.world_size > 1:
        reason = "it needs a single process"
    elif any(weight.dtype != torch.float32 for weight in model.parameters()):
        reason = "it needs weights in float32"
    elif config.graph == "auto" and not model.static:
        reason = f"the step of {type(model).__name__} may differ from batch to batch"
    else:
        return None
    if config.graph == "on":
        raise ValueError(f"the step cannot be captured as a CUDA graph: {reason}")
    return reason
