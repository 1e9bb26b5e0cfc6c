"""What the pictures share: colours and writing to a file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["PALETTE", "save"]

PALETTE = ("#000000", "#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442")
"""Okabe and Ito's colours, told apart by colour-blind readers. In the order of the body parts:
trunk black, left blue, right orange, arms dark, legs light."""


def save(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a figure, in the format that the suffix names, and make its folder where it lacks.

    Args:
        figure: What to write.
        path: Where to; ``.png``, ``.pdf``, ``.svg`` and what else matplotlib writes.
        dpi: Pixels per inch of pixel formats.

    Returns:
        The path.

    Raises:
        ValueError: If matplotlib does not write that format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path
