"""The recorded files, and what each is compared by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from golden_cmd import compare_cmd
from golden_context import compare_displacement, compare_ms2l
from golden_data import compare_ntu, compare_pku
from golden_detection import compare_detection
from golden_graph import compare_aimclr, compare_pstl
from golden_mamp import compare_finetuning, compare_step, compare_steps
from golden_pcm3 import compare_encoder, compare_prompted_steps, compare_unprompted_step
from golden_rows import Compare, Recorded, Row
from golden_schedules import compare_schedules

COMPARISONS: dict[str, Compare] = {
    "pcm3_encoder": compare_encoder,
    "pcm3_step_no_prompt": compare_unprompted_step,
    "pcm3_step_prompted": compare_prompted_steps,
    "aimclr": compare_aimclr,
    "cmd": compare_cmd,
    "pstl": compare_pstl,
    "mamp_step": compare_step,
    "mamp_steps": compare_steps,
    "mamp_finetune": compare_finetuning,
    "ntu_normalization": compare_ntu,
    "pku_normalization": compare_pku,
    "detection": compare_detection,
    "probe_schedules": compare_schedules,
    "displacement": compare_displacement,
    "ms2l": compare_ms2l,
}
"""File name without suffix to what yields its rows."""


def load(file: Path) -> Recorded:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def worst(rows: Iterable[Row]) -> list[Row]:
    """The row of every quantity that is off the most, in the order of the quantities."""
    chosen: dict[str, Row] = {}
    for row in rows:
        chosen[row.quantity] = max(chosen.get(row.quantity, row), row, key=_size)
    return list(chosen.values())


def _size(row: Row) -> float:
    return math.inf if math.isnan(row.difference) else row.difference
