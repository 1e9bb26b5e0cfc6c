"""Mean ranks: one number for each column over the figures of several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from pcm3.report.table import Row
from pcm3.runs.results import is_in_millimetres

_DIGITS = 9  # means that differ only by rounding are equal


class Ranks(NamedTuple):
    """The mean rank of each column.

    Attributes:
        means: Mean rank by column; 1 if the column is the best in every figure.
        used: Number of figures that the ranks are of.
    """

    means: dict[str, float]
    used: int


def mean_ranks(rows: Sequence[Row]) -> Ranks | None:
    """Rank the columns in each figure, and average the ranks.

    The lowest of figures in millimetres is the best, the highest of others. Columns with equal
    figures share the mean of their ranks. A figure that a column lacks does not count, because
    ranks among fewer columns are not comparable.

    Returns:
        The ranks; None with fewer than two columns, or if they have fewer than two figures in
        common.
    """
    columns = [*dict.fromkeys(column for row in rows for column in row.cells)]
    common = [row for row in rows if len(row.cells) == len(columns)]
    if len(columns) < 2 or len(common) < 2:
        return None
    ranks = [_ranks(row, columns) for row in common]
    means = [mean(sample) for sample in zip(*ranks, strict=True)]
    return Ranks(dict(zip(columns, means, strict=True)), len(common))


def _ranks(row: Row, columns: Sequence[str]) -> list[float]:
    means = np.round([row.cells[column].mean for column in columns], _DIGITS)
    ranks: list[float] = rankdata(means if is_in_millimetres(row.figure) else -means).tolist()
    return ranks
