"""Pretraining steps: seconds, share of the device's arithmetic that they reach, and memory.

Every case runs in a process of its own: a large matrix product, steps of the library, and steps of
a slow and obvious baseline (baseline.py) with the same weights, always in fp32; batches come in as
the trainer gets them, augmentation is part of a step. What a step reaches is its counted operations
(matrix products and convolutions) a second, as a share of what the matrix product reaches in the
same precision. In cases of MAMP that end in ":absent" four of five samples have no second person,
as in NTU RGB+D, whom the library leaves out (--model.skip-absent) and the baseline does not.

On a GPU the mean of many steps is measured, with the time that the host needs to issue one and the
number of kernels in it. --graph on captures the step as a CUDA graph.

    python benchmarks/step.py --precision fp32 bf16         # the cases for a CPU
    python benchmarks/step.py --accelerator cuda --precision bf16 --graph on --case ntu60-xsub:128
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baseline import pcm3_views, slow
from environment import environment

from pcm3 import MAMP, NTU25, PCM3
from pcm3._torch import allow_tf32
from pcm3.io.files import reuse_memory
from pcm3.methods import Method
from pcm3.methods.catalog import get_preset
from pcm3.methods.settings import TrainSettings
from pcm3.training.costs import count
from pcm3.training.devices import compile_blocks, launch
from pcm3.training.step import Report, Step

CASES = (
    *("small:64", "small-pp:64", "small-mamp:64"),
    *("ntu60-xsub:8", "ntu60-xsub:32", "ntu60-xsub-pp:8", "ntu60-xsub-mamp:4"),
    "ntu60-xsub-mamp:5:absent",
)
FRAMES = 100  # of a recording; NTU RGB+D's mean is 80
SEQUENCES = 40_091  # NTU RGB+D 60, cross-subject
EPOCHS = 450
REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--case", nargs="+", default=CASES, help="PRESET:BATCH or PRESET:BATCH:absent, several"
    )
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--graph", nargs="+", choices=("on", "off"), default=["off"])
    parser.add_argument("--steps", type=int, help="measured steps; by default 3, on a GPU 50")
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--compile", action="store_true", help="measure MAMP compiled as well")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    options.steps = options.steps or (50 if options.accelerator == "cuda" else 3)
    if options.one:
        print(json.dumps(measure(options.case[0], options.precision[0], options)))
        return
    figures = []
    for case in options.case:
        for precision, graph in product(options.precision, options.graph):
            command = [sys.executable, __file__, "--one", "--case", case, "--precision", precision]
            command += ["--accelerator", options.accelerator, "--steps", str(options.steps)]
            command += ["--graph", graph]
            command += ["--no-baseline"] * options.no_baseline + ["--compile"] * options.compile
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            figures.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(figures[-1]), flush=True)
    given = " ".join(sys.argv[1:]).partition("--out")[0]  # where it is kept says nothing
    result = {
        "benchmark": "step",
        "command": f"python benchmarks/step.py {given}".strip(),
        "data": f"random coordinates, NTU25, two persons, {FRAMES} frames",
        "cases": figures,
        "environment": environment() | {"threads": torch.get_num_threads()},
    }
    if options.accelerator == "cuda":
        result["environment"]["device"] = torch.cuda.get_device_name()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"step_{options.accelerator}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")


def measure(case: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one case."""
    preset, size, *absent = case.split(":")
    batch = int(size)
    device = torch.device(options.accelerator)
    allow_tf32(precision == "tf32")
    reuse_memory()  # as training does
    torch.manual_seed(0)
    model = get_preset(preset).model.build(NTU25, persons=2).to(device)
    rate = product_rate(device, REDUCED.get(precision, torch.float32))
    clips = torch.randn(batch, 3, FRAMES, 25, 2, device=device)
    clips[: batch * 4 // 5, ..., 1] *= not absent
    lengths = torch.full((batch,), FRAMES, device=device)

    def timed(step: Callable[[], None]) -> dict[str, float]:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = repeat(step, options.steps, device)
        return {
            "seconds": round(seconds, 4),
            "samples_per_second": round(batch / seconds, 1),
            "peak_memory_mb": peak_memory(device),
        }

    if absent:
        assert isinstance(model, MAMP)
        model.skip_absent = True
    step = library_step(model, options.accelerator, precision, options.graph[0])
    library = timed(lambda: step(clips, lengths))
    if device.type == "cuda":
        library |= issued(lambda: step(clips, lengths))
    costs = count(model)  # after the step, for it takes memory of its own
    if not absent:  # otherwise it takes fewer operations than are counted
        library["utilisation"] = round(2 * costs.step * batch / library["seconds"] / rate, 4)
    result: dict[str, Any] = {
        "case": case,
        "precision": precision,
        "graph": options.graph[0],
        "parameters": costs.parameters,
        "gmac_per_sample_forward": round(costs.forward / 1e9, 3),
        "gmac_per_sample_step": round(costs.step / 1e9, 3),
        "matrix_product_gflops": round(rate / 1e9, 1),
        "library": library,
    }
    if preset.startswith("ntu60") and batch == 128:
        steps = SEQUENCES // batch * EPOCHS
        result["hours_for_450_epochs"] = round(result["library"]["seconds"] * steps / 3600, 2)
    if not options.no_baseline:
        twin = slow(model)
        if isinstance(twin, MAMP):
            twin.skip_absent = False
    if options.compile and isinstance(model, MAMP):  # recurrent layers have nothing to compile
        compile_blocks(model)
        step = library_step(model, options.accelerator, precision, options.graph[0])
        result["compiled"] = timed(lambda: step(clips, lengths))
    if not options.no_baseline:
        allow_tf32(False)
        slow_step = plain_step(twin)
        if isinstance(twin, PCM3):
            arrays, rng = (clips.cpu().numpy(), lengths.cpu().numpy()), np.random.default_rng(0)
            twin.make_views = lambda *_: to(device, pcm3_views(twin, *arrays, rng))
        result["baseline"] = timed(lambda: slow_step(clips, lengths))
        ratio = result["baseline"]["seconds"] / result["library"]["seconds"]
        result["times_as_fast"] = round(ratio, 2)
    return result


def library_step(
    model: Method, accelerator: str, precision: Any, graph: Any
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """What the trainer does with a batch that has arrived, with SGD."""
    config = TrainSettings(lr=1e-3, precision=precision, accelerator=accelerator, graph=graph)
    step = Step(launch(config), model, config, FRAMES)
    seeds, reports = itertools.count(), deque[Report]()

    def run(clips: torch.Tensor, lengths: torch.Tensor) -> None:
        step.backward(clips, lengths, 0, next(seeds))
        reports.append(step.update(config.lr))
        if len(reports) > 1:
            reports.popleft().read()

    return run


def plain_step(model: torch.nn.Module) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """A step without anything around it, with SGD, in float32."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=True)

    def step(clips: torch.Tensor, lengths: torch.Tensor) -> None:
        model(clips, lengths).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def issued(step: Callable[[], None]) -> dict[str, float]:
    """Seconds that the host needs to issue a step, and the number of its kernels."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    seconds = time.perf_counter() - started
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    kernels = sum(each.device_type == torch.profiler.DeviceType.CUDA for each in profile.events())
    return {"host_seconds": round(seconds, 4), "kernels": kernels}


def to(device: torch.device, views: Any) -> Any:
    """Views on another device."""
    if isinstance(views, torch.Tensor):
        return views.to(device)
    if isinstance(views, dict):
        return {name: to(device, value) for name, value in views.items()}
    if isinstance(views, tuple):
        return type(views)(*(to(device, value) for value in views))
    if views is None:
        return None
    return type(views)(**{name: to(device, value) for name, value in vars(views).items()})


def repeat(step: Callable[[], None], times: int, device: torch.device) -> float:
    """Seconds of a call: the median after one to warm up, on a GPU the mean after ten."""
    if device.type == "cuda":
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(times):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / times
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, two for each multiply-accumulate."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / repeat(lambda: torch.mm(a, b), 10, device)


def peak_memory(device: torch.device) -> int:
    """Megabytes so far; on a CPU of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
