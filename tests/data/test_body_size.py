"""Bodies in metres that are too large or too small to be that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcm3.data import prepare


def notes(folder: Path, scale: float, **options: Any) -> list[str]:
    folder.mkdir()
    for at in range(3):
        points = np.random.default_rng(at).uniform(-0.8, 0.8, size=(9, 15, 3)) * scale
        np.save(folder / f"{at}.npy", points.astype(np.float32))
    report = prepare(
        folder, folder / "store", format="folder", skeleton="sbu15", workers=1, **options
    )
    return [note for note in report["warnings"] if "measure" in note]


@pytest.mark.parametrize(("scale", "said"), [(1000, "15"), (0.01, "0.01"), (100, "1")])
def test_says_so_and_names_the_option(tmp_path: Path, scale: float, said: str) -> None:
    (note,) = notes(tmp_path / "files", scale)
    assert note.startswith(f"bodies measure {said}")
    assert "e+" not in note
    assert "--unit " in note


@pytest.mark.parametrize("scale", [1, 0.2, 4])
def test_metres_are_taken_for_that(tmp_path: Path, scale: float) -> None:
    assert not notes(tmp_path / "files", scale)


def test_another_unit_is_not_doubted(tmp_path: Path) -> None:
    assert not notes(tmp_path / "files", 1000, unit="millimetres")
