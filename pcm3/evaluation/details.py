"""Checks of the details of results, from which pictures are drawn, that several tasks use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class LayoutDetails(TypedDict, total=False):
    """The skeleton of the examples; results of older versions lack it."""

    bones: list[tuple[int, int]]
    center: int


def require(condition: object, what: str) -> None:
    """Raise a ``ValueError`` that says what was expected if the condition does not hold."""
    if not condition:
        raise ValueError(f"expected {what}")


def as_array(values: Sequence[Any], name: str, axes: int) -> NDArray[Any]:
    """Convert nested lists to an array.

    Raises:
        ValueError: If the lists are ragged or have another number of axes.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        array = np.zeros(0)
    require(array.ndim == axes, f"{name} of {axes} axes")
    return array


def check_examples(
    details: Mapping[str, Any], clips: Callable[[Any], Sequence[Any]], axes: int
) -> None:
    """Require examples that can be drawn: all with the same joints, which fit the skeleton.

    Args:
        details: Details, which may have ``examples``, ``bones`` and ``center``.
        clips: Function that returns the clips (..., V, C) of an example, with C of 2 or 3.
        axes: Number of axes of each clip.

    Raises:
        ValueError: If an example does not fit; the message names it.
    """
    joints = None
    for at, example in enumerate(details.get("examples", ())):
        for frames in clips(example):
            shape = as_array(frames, f"examples[{at}]", axes).shape
            joints = joints or shape[-2]
            good = 0 not in shape and shape[-2] == joints and shape[-1] in (2, 3)
            require(good, f"examples[{at}] of frames with {joints} joints, got {shape}")
    if joints is not None:
        ends = [end for bone in details.get("bones", ()) for end in bone]
        good = all(0 <= joint < joints for joint in (*ends, details.get("center", 0)))
        require(good, f"bones and a centre among the {joints} joints of the examples")
