"""The order of the axes of one recording: frames T, persons M, joints V, coordinates C."""

from __future__ import annotations

import itertools

ORDER = "TMVC"
"""Order in which recordings are read; with three axes, M is left out."""
COORDINATES = (2, 3)
"""Numbers of coordinates C that a joint may have."""


def crowded(shape: tuple[int, ...]) -> bool:
    """Whether a shape (T, M, V, C) has more persons than frames.

    No recording is like that, but arrays whose axes have another order are: clips (C, T, V, M)
    have 2 or 3 as their first axis and the frames as their second.
    """
    return len(shape) == 4 and shape[1] > shape[0]


def fitting_orders(shape: tuple[int, ...], joints: int) -> list[str]:
    """The orders of the axes that a shape of three or four axes fits, such as ``CTVM``.

    They have ``joints`` joints, 2 or 3 coordinates and no more persons than frames; only in the
    order TMVC may there be more, as some recordings may really have.
    """
    fitting = []
    for letters in itertools.permutations(ORDER if len(shape) == 4 else "TVC"):
        size = dict(zip(letters, shape, strict=True))
        fits = size["V"] == joints and size["C"] in COORDINATES and 0 not in shape
        order = "".join(letters)
        if fits and (size.get("M", 1) <= size["T"] or order == ORDER):
            fitting.append(order)
    return fitting
