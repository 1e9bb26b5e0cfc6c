"""How far a number of the library is from the recorded one, and how far it may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Recorded = Mapping[str, NDArray[Any]]


class Row(NamedTuple):
    """One comparison.

    Attributes:
        quantity: What is compared.
        place: Where in the file, a step or a scenario; empty where there is one alone.
        difference: The largest one; infinite where shapes differ or a value is missing.
        tolerance: What it may be at most.
        measure: Whether both are relative or absolute.
    """

    quantity: str
    place: str
    difference: float
    tolerance: float
    measure: str

    @property
    def within(self) -> bool:
        return self.difference <= self.tolerance  # false for NaN


Compare = Callable[[Recorded], Iterator[Row]]


def absolute(
    quantity: str, found: Any, wanted: Any, tolerance: float = 0.0, place: str = ""
) -> Row:
    """The largest difference; by default there may be none."""
    found, wanted = _array(found), _array(wanted)
    difference = float("inf")
    if found.shape == wanted.shape:
        difference = float(np.abs(found - wanted).max(initial=0.0))
    return Row(quantity, place, difference, tolerance, "absolute")


def relative(
    quantity: str,
    found: Any,
    wanted: Any,
    tolerance: float,
    place: str = "",
    *,
    beyond: float = 0.0,
) -> Row:
    """The largest difference as a share of the wanted value, where it is above ``beyond``.

    That is of ``|wanted| + beyond / tolerance``, as in ``torch.allclose``.
    """
    found, wanted = _array(found), _array(wanted)
    difference = float("inf")
    if found.shape == wanted.shape:
        scale = np.abs(wanted) + beyond / tolerance
        shares = np.abs(found - wanted) / np.where(scale == 0, np.finfo(float).tiny, scale)
        difference = float(shares.max(initial=0.0))
    return Row(quantity, place, difference, tolerance, "relative")


def of_norm(quantity: str, found: Any, wanted: Any, tolerance: float, place: str = "") -> Row:
    """The norm of the difference as a share of the norm of the wanted tensor."""
    found, wanted = _array(found), _array(wanted)
    difference = float("inf")
    if found.shape == wanted.shape:
        difference = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    return Row(quantity, place, difference, tolerance, "relative")


def tensor(recorded: Recorded, name: str) -> torch.Tensor:
    return torch.as_tensor(recorded[name])


def part(recorded: Recorded, prefix: str) -> dict[str, torch.Tensor]:
    """Everything below a prefix, as tensors."""
    return {
        name.removeprefix(prefix): torch.as_tensor(value)
        for name, value in recorded.items()
        if name.startswith(prefix)
    }


def _array(value: Any) -> NDArray[np.float64]:
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    return np.asarray(value, dtype=np.float64)
