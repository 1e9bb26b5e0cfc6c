from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data import Store, StoreWriter
from pcm3.skeleton import SBU15

MakeSequences = Callable[..., list[NDArray[np.float32]]]
MakeStore = Callable[..., Store]


@pytest.fixture(scope="session")
def make_sequences() -> MakeSequences:
    def make(
        lengths: Sequence[int], persons: int = 2, channels: int = 3, seed: int = 0
    ) -> list[NDArray[np.float32]]:
        rng = np.random.default_rng(seed)
        shape = (persons, len(SBU15), channels)
        return [rng.normal(size=(t, *shape)).astype(np.float32) for t in lengths]

    return make


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Write sequences and columns to a store; labels count through three classes."""

    def make(
        sequences: Sequence[NDArray[np.float32]],
        columns: dict[str, Sequence[int]] | None = None,
        name: str = "store",
        **options: Any,
    ) -> Store:
        with StoreWriter(tmp_path / name, SBU15, class_names=list("abc"), **options) as writer:
            for i, sequence in enumerate(sequences):
                row = {key: values[i] for key, values in (columns or {}).items()}
                writer.add(sequence, i % 3, **row)
        return Store(tmp_path / name)

    return make
