"""What ``prepare`` makes of raw recordings beside the recorded arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from golden_rows import Recorded, Row, absolute
from numpy.typing import NDArray

from pcm3.data import Store, prepare

ISC, SGN = 1e-5, 1e-6


def compare_ntu(recorded: Recorded) -> Iterator[Row]:
    """NTU RGB+D by both recipes, and the copy of a single person in NTU RGB+D 120."""
    for scenario in recorded["scenarios"].tolist():
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            raw.mkdir()
            name = str(recorded[f"{scenario}/name"])
            content = recorded[f"{scenario}/skeleton"].tobytes()
            (raw / f"{name}.skeleton").write_bytes(content)
            isc = _prepared(raw, "ntu", "isc")
            sgn = _prepared(raw, "ntu", "sgn")
            copied = _prepared(raw, "ntu", "sgn", duplicate_single=True)
        yield absolute("isc", isc, recorded[f"{scenario}/isc"], ISC, scenario)
        wanted = recorded[f"{scenario}/sgn"]
        yield absolute("sgn", sgn, wanted, SGN, scenario)
        if recorded[f"{scenario}/sgn120_copies"]:
            wanted = wanted[:, [0, 0]]
        yield absolute("sgn of NTU RGB+D 120", copied, wanted, SGN, scenario)


def compare_pku(recorded: Recorded) -> Iterator[Row]:
    """The first action of recordings of PKU-MMD."""
    for scenario in recorded["scenarios"].tolist():
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            for kind in ("skeleton", "label"):
                (raw / kind).mkdir(parents=True)
            content = recorded[f"{scenario}/skeleton"].tobytes()
            (raw / "skeleton" / "0002-L.txt").write_bytes(content)
            (raw / "label" / "0002-L.txt").write_text(str(recorded[f"{scenario}/label"]))
            isc = _prepared(raw, "pku", "isc")
        yield absolute("isc", isc, recorded[f"{scenario}/isc"], ISC, scenario)


def _prepared(raw: Path, kind: Any, recipe: Any, **options: Any) -> NDArray[np.float32]:
    """The first sequence (T, M, V, C); empty where the files are refused."""
    out = raw.with_name("store")
    try:
        prepare(raw, out, format=kind, normalization=recipe, workers=1, overwrite=True, **options)
    except ValueError:
        return np.zeros(0, np.float32)
    return np.array(Store(out).sequence(0))
