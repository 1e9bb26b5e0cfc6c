"""Training runs that are killed outright, again and again, and end like one that never was.

The process is killed with SIGKILL at random moments, and on purpose in the middle of everything
that is written: a checkpoint half on disk, between the renamings of two checkpoints, half a line of
metrics, within an evaluation. The same command starts it again until it has ended; then metrics,
checkpoint (weights, queue, optimiser, position) and encoder file are compared, bit for bit, with
those of a run that was left alone.

    python benchmarks/kills.py --kills 100
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from environment import environment
from safetensors.torch import load_file

import pcm3.evaluation.monitor
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.training.pretrain import pretrain

MODEL = PCM3Settings(hidden=8, layers=1, frames=16, embedding=8, decoder_hidden=8, queue_size=32)
TRAIN = TrainSettings(
    epochs=6, batch_size=4, lr=0.01, optimizer="adamw", knn_every=1, checkpoint_every=2, seed=3
)
CONFIG = RunSettings(MODEL, replace(TRAIN, accelerator="cpu"), "xsub")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = kill_runs(Path(folder), options.kills, random.Random(options.seed))
    result = {
        "benchmark": "kills",
        "command": f"python benchmarks/kills.py --kills {options.kills} --seed {options.seed}",
        **figures,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "kills.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def kill_runs(folder: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill runs so often; how often where, and how many of them ended equal."""
    store = generate(folder / "store", sequences=32, subjects=4, classes=4, frames=(16, 40))
    started = time.perf_counter()
    died = in_child(lambda: train(store, folder / "alone"), None)
    seconds = time.perf_counter() - started
    assert not died
    wanted = end_state(Run(folder / "alone"))
    moments: Counter[str] = Counter()
    runs = equal = 0
    while sum(moments.values()) < kills:
        run = Run(folder / f"run{runs}")
        while True:
            moment = chance.choice(list(MOMENTS))
            prepare, delay = MOMENTS[moment], None
            if prepare is None:
                delay = chance.uniform(0, seconds)
            count = chance.randrange(1, 4)

            def job(run: Run = run, prepare: Any = prepare, count: int = count) -> None:
                if prepare:
                    prepare(count)
                train(store, run.path)

            if not in_child(job, delay):
                break
            moments[moment] += 1
        runs += 1
        equal += end_state(run) == wanted
    return {"kills": dict(moments), "runs": runs, "runs_that_ended_equal": equal}


def train(store: Store, out: Path) -> None:
    """What is killed."""
    pretrain(CONFIG, store, out, quiet=True)


def end_state(run: Run) -> dict[str, Any]:
    """All that a run leaves behind, but for its speed."""
    records = run.read_metrics()
    for record in records:
        record.pop("samples_per_second", None)  # epoch 0 has none
    return {
        "files": sorted(str(file.relative_to(run.path)) for file in run.path.rglob("*")),
        "metrics": records,
        "checkpoint": bits(run.load_checkpoint()),
        "encoder": bits(load_file(run.encoder)),
    }


def bits(value: Any) -> Any:
    """Tensors as bytes, however deep they lie."""
    if isinstance(value, torch.Tensor):
        return (value.dtype, value.shape, value.numpy().tobytes())
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    if isinstance(value, list):
        return [bits(each) for each in value]
    return value


def in_child(job: Callable[[], None], delay: float | None) -> bool:
    """Do a job in a process of its own; whether it was killed, after some seconds or by itself."""
    child = os.fork()
    if child == 0:
        try:
            job()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)  # nothing happens to one that has ended
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_in(owner: Any, name: str, count: int, instead: Callable[..., None]) -> None:
    """Let a function end the process in its nth call, after something else was done."""
    function, calls = getattr(owner, name), 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            instead(*arguments, **named)
            die()
        return function(*arguments, **named)

    setattr(owner, name, called)


def half_a_checkpoint(state: dict[str, Any], file: Any, save: Any = torch.save) -> None:
    whole = io.BytesIO()
    save(state, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()


def half_a_line(run: Run, record: dict[str, Any]) -> None:
    with run.metrics.open("a") as file:
        file.write(json.dumps(record)[:40])


def nothing(*_: Any, **__: Any) -> None:
    pass


MOMENTS: dict[str, Callable[[int], None] | None] = {
    "any": None,
    "half a checkpoint written": lambda n: dies_in(torch, "save", n, half_a_checkpoint),
    "before a file is renamed": lambda n: dies_in(Path, "replace", 2 * n, nothing),
    "after a file is renamed": lambda n: dies_in(Path, "replace", 2 * n, Path.replace),
    "half a line of metrics written": lambda n: dies_in(Run, "append_metrics", n, half_a_line),
    "in an evaluation": lambda n: dies_in(pcm3.evaluation.monitor, "nearest_labels", n, nothing),
}


if __name__ == "__main__":
    main()
