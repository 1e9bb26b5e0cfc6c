"""Fixtures of all tests: the folder of real recordings and recorded numbers, where there is one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forks import call, expect_errors
from numpy.typing import NDArray

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells and nohup may have both ignored
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)  # several processes run tests; threads of small tensors only fight

GetGolden = Callable[[str], dict[str, NDArray[Any]]]


SHARED = Path(os.environ.get("PCM3_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by PCM3_SHARED, by default ``shared`` beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real recordings; name their folder in PCM3_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def golden() -> GetGolden:
    """Recorded numbers by name, ``golden("pcm3_encoder")["clip"]``; tests/golden has some."""

    def load(name: str) -> dict[str, NDArray[Any]]:
        for folder in (SHARED / "golden", Path(__file__).parent / "golden"):
            if (folder / f"{name}.npz").is_file():
                with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
                    return dict(arrays)
        pytest.skip(f"needs the recorded numbers golden/{name}.npz")

    return load


@pytest.fixture(scope="session")
def small_memory() -> Callable[..., None]:
    """Run lines that are to raise a ``ValueError`` each, soon, where there is hardly any memory."""

    def run(setup: str, *lines: str, megabytes: int = 300, seconds: float = 60) -> None:
        done = call(expect_errors, setup, list(lines), megabytes, seconds=seconds)
        assert done.returncode == 0, done.stderr[-3000:]

    if not sys.platform.startswith("linux"):
        pytest.skip("needs a limit of memory that holds")
    return run
