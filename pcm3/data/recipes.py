"""Which recipe a store gets: what was asked for, and what the recordings are already."""

from __future__ import annotations

from typing import get_args

from pcm3.data.normalize import Normalization
from pcm3.data.readers import Source


def settle(
    source: Source, asked: Normalization | None, duplicate_single: bool = False
) -> Normalization:
    """The recipe that the store of a source holds in the end.

    Recordings that hold a recipe already stay as they are where none, ``"none"`` or the same one
    is asked for. ``"sgn"`` chooses bodies and moves them once, so another recipe may follow it;
    ``"isc"`` turns them, and nothing may.

    Raises:
        ValueError: If the recipe is unknown, or does not suit the recordings.
    """
    if asked is not None and asked not in get_args(Normalization):
        expected = ", ".join(get_args(Normalization))
        raise ValueError(f"expected a normalization among {expected}, got {asked!r}")
    held = source.normalization
    recipe = asked or ("center" if held == "none" else held)
    if recipe == "none":
        recipe = held
    if duplicate_single and recipe != "sgn":
        raise ValueError(f"duplicate_single belongs to normalization 'sgn', got {recipe!r}")
    if duplicate_single and held == "sgn":
        what = f"{source.format!r} recordings went through already"
        raise ValueError(f"duplicate_single is a step of normalization 'sgn', which {what}")
    if recipe == held:
        return recipe
    if held == "isc":
        raise ValueError(
            f"{source.format!r} recordings are normalised by 'isc' already, which turns them, and "
            f"{recipe!r} cannot follow; give --normalization isc, which leaves them as they are"
        )
    if recipe == "sgn" and source.bodies == "place":
        raise ValueError(
            "'sgn' links bodies that are tracked by their ids, got bodies 'place'; give --bodies "
            "tracked, or leave it out"
        )
    if recipe in ("isc", "sgn") and source.untrimmed:
        raise ValueError(
            f"{recipe!r} leaves out frames and moves bodies in time, so the labels of frames of "
            "untrimmed recordings would no longer fit; give --normalization none, which is what "
            "the published detection reads, or center"
        )
    return recipe
