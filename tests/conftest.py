"""Fixtures of all tests: the folder of real recordings and recorded numbers, where there is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells and nohup may have both ignored
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)  # several processes run tests; threads of small tensors only fight

GetGolden = Callable[[str], dict[str, NDArray[Any]]]


TESTS = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("PCM3_SHARED", TESTS.parents[1] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by PCM3_SHARED, by default ``shared`` beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real recordings; name their folder in PCM3_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def golden() -> GetGolden:
    """Recorded numbers by name, shared or committed: ``golden("pcm3_encoder")["clip"]``."""

    def load(name: str) -> dict[str, NDArray[Any]]:
        files = (folder / "golden" / f"{name}.npz" for folder in (SHARED, TESTS))
        file = next((each for each in files if each.is_file()), None)
        if file is None:
            pytest.skip(f"needs the recorded numbers golden/{name}.npz")
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)

    return load


_SMALL = """
import resource, sys
{setup}
import pcm3.errors
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {megabytes} * 2**20,) * 2)
for line in {lines!r}:
    try:
        exec(line)
    except ValueError as error:
        assert "allocate" not in str(error) and "MemoryError" not in str(error), (line, error)
        assert len(str(error)) < 4000, (line, error)
    else:
        sys.exit("nothing was raised by " + line)
"""


@pytest.fixture(scope="session")
def small_memory() -> Callable[..., None]:
    """Run lines that are to raise a ``ValueError`` each, soon, where there is hardly any memory."""

    def run(setup: str, *lines: str, megabytes: int = 300, seconds: float = 60) -> None:
        script = _SMALL.format(setup=setup, lines=lines, megabytes=megabytes)
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    if not sys.platform.startswith("linux"):
        pytest.skip("needs a limit of memory that holds")
    return run
