"""Animations of recordings with their predicted labels over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pcm3.data.store import Store
from pcm3.inference.predictions import Prediction, who
from pcm3.viz.stores import picture_sequence


def picture_predictions(store: Store, predictions: Sequence[Prediction], out: str | Path) -> Path:
    """Write an animation of one recording, with the predicted label of each frame beside the time.

    Args:
        store: The store of the recording.
        predictions: All predictions for it.
        out: The ``.gif``, ``.mp4`` or ``.html`` file.

    Returns:
        The path.

    Raises:
        ValueError: If the predictions are not of one recording.
    """
    indices = {each.index for each in predictions}
    if len(indices) != 1:
        raise ValueError(
            f"expected one recording to draw, got {len(indices)}; --index says which one"
        )
    (index,) = indices
    persons = {each.person for each in predictions}
    notes: list[list[str]] = [[] for _ in range(int(store.lengths[index]))]
    for each in predictions:
        prefix = f"{who(each.person)}: " if len(persons) > 1 else ""
        for frame in range(each.start, each.end):
            notes[frame].append(f"{prefix}{each.label} {each.probability:.0%}")
    return picture_sequence(store, index, out, [", ".join(texts) for texts in notes])
