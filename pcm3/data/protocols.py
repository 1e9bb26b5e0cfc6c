"""The protocols that data sets are published with: their training and test parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Protocol(NamedTuple):
    """A division of sequences into training and test part by the values of a column.

    Attributes:
        column: Name of the column of the store.
        train: Values of the training part.
        test: Values of the test part; None for all others.
    """

    column: str
    train: tuple[int, ...]
    test: tuple[int, ...] | None = None


_SUBJECTS_60 = (1, 2, 4, 5, 8, 9, *range(13, 20), 25, 27, 28, 31, 34, 35, 38)
_SUBJECTS_120 = (
    *_SUBJECTS_60,
    *(45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87)),
    *(89, *range(91, 96), 97, 98, 100, 103),
)

NTU60_PROTOCOLS: Mapping[str, Protocol] = {
    "xsub": Protocol("subjects", _SUBJECTS_60),
    "xview": Protocol("views", (2, 3)),
}
"""NTU RGB+D 60: 20 of 40 subjects train; cameras 2 and 3 train."""

NTU120_PROTOCOLS: Mapping[str, Protocol] = {
    "xsub": Protocol("subjects", _SUBJECTS_120),
    "xset": Protocol("setups", tuple(range(2, 33, 2))),
}
"""NTU RGB+D 120: 53 of 106 subjects train; even setups train."""

PKU1_PROTOCOLS: Mapping[str, Protocol] = {"xview": Protocol("views", (2, 3), (1,))}
"""PKU-MMD I: cameras M and R train, L tests; ``xsub`` is only in the data set's split file."""

PKU2_PROTOCOLS: Mapping[str, Protocol] = {
    "xsub": Protocol("subjects", (1, 4, 5, 6, *range(8, 14)), (2, 3, 7)),
    "xview": Protocol("views", (2, 3), (1,)),
}
"""PKU-MMD II: 10 of 13 subjects train; cameras M and R train, L tests."""


def published_split(column: str) -> Protocol:
    """Make the protocol of a column whose value 1 means training and 0 testing."""
    return Protocol(column, train=(1,), test=(0,))
