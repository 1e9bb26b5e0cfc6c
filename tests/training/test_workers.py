"""Processes that read batches end with the run, however it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

import forks
import pytest

from pcm3.data.synthetic import generate

SCRIPT = """
import os, signal, sys
import torch
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.skeleton import NTU25
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.training.trainer import fit

store, out, how = sys.argv[1:]
os.setsid()
print(os.getpid())


class Disturbed(SkeletonDataset):
    def __getitems__(self, indices):
        batch = super().__getitems__(indices)
        self.count = getattr(self, "count", 0) + 1
        if self.count < 3:
            return batch
        if how == "nan":
            batch.clips[0] = torch.nan
        elif how == "error":
            raise RuntimeError("the disk is gone")
        elif how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "interrupted" and self.count == 3:
            os.kill(os.getppid(), signal.SIGTERM)
        return batch


model = PCM3Settings(
    hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=16, pool="mean"
).build(NTU25, persons=1)
config = TrainSettings(
    epochs=10 if how == "exit" else 1000, batch_size=4, accelerator="cpu", workers=2
)
fit(model, Disturbed(Store(store)), config, out, quiet=True)
"""

ENDINGS = {
    "nan": "ValueError: expected finite",
    "error": "RuntimeError: the disk is gone",
    "killed": "ChildProcessError: a process that reads batches was killed by SIGKILL",
    "interrupted": "Interrupted: stopped",
    "exit": "",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    generate(folder / "store", sequences=12, frames=(10, 30))
    (folder / "script.py").write_text(SCRIPT)
    return folder


@pytest.mark.parametrize("how", ENDINGS)
def test_a_run_with_workers_ends(folder: Path, how: str) -> None:
    arguments = (str(folder / "store"), str(folder / f"run-{how}"), how)
    run = forks.call(forks.script, folder / "script.py", *arguments)
    group = int(run.stdout.splitlines()[0])
    assert (run.returncode == 0) == (how == "exit")
    assert ENDINGS[how] in run.stderr
    assert not is_there(group)


def is_there(group: int) -> bool:
    """Whether any process of a group is left, a moment later."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True
