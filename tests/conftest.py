"""Fixtures of all tests: the folder of real recordings and recorded numbers, where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

torch.set_num_threads(1)  # several processes run tests; threads of small tensors only fight

GetGolden = Callable[[str], dict[str, NDArray[Any]]]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by PCM3_SHARED, by default ``shared`` beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("PCM3_SHARED", default))
    if not (folder / "data").is_dir():
        pytest.skip("needs the real recordings; name their folder in PCM3_SHARED")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> GetGolden:
    """Recorded numbers by name: ``golden("pcm3_encoder")["clip"]``."""

    def load(name: str) -> dict[str, NDArray[Any]]:
        file = shared / "golden" / f"{name}.npz"
        if not file.is_file():
            pytest.skip(f"needs the recorded numbers golden/{name}.npz")
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)

    return load
