"""Pictures of the sequences of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pcm3.viz.animation import animate
from pcm3.viz.figures import save
from pcm3.viz.rerun import show_in_rerun
from pcm3.viz.results import short_text
from pcm3.viz.skeletons import film_strip

if TYPE_CHECKING:
    from pcm3.data.store import Store

__all__ = ["picture_sequence"]

_SOME = 32  # sequences
_STRIPS, _ANIMATIONS = (".png", ".pdf", ".svg"), (".gif", ".mp4", ".html")


def picture_sequence(store: Store, index: int, out: str | Path) -> Path:
    """Write a picture of a sequence of a store, standing upright.

    Args:
        store: The store.
        index: Which sequence, from 0.
        out: ``.png``, ``.pdf`` or ``.svg`` for a film strip, ``.gif``, ``.mp4`` or ``.html`` for an
            animation, ``.rrd`` for the rerun viewer.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is another one, or there is no such sequence.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in (*_STRIPS, *_ANIMATIONS, ".rrd"):
        expected = ", ".join((*_STRIPS, *_ANIMATIONS))
        raise ValueError(f"expected a file ending in {expected} or .rrd, got {out.name}")

    clip = _upright(store, index)
    fps = store.meta["fps"] or 30.0
    name, label = store.names[index], int(store.labels[index])
    title = f"{store.class_names[label]}: {name}" if label >= 0 else name
    if suffix == ".rrd":
        show_in_rerun(clip, store.skeleton, fps, out, name)
    elif suffix in _ANIMATIONS:
        save(animate(clip, store.skeleton, fps, title=title), out)
    else:
        figure = film_strip(clip[None], store.skeleton)
        figure.suptitle(short_text(title, 80), fontsize="medium")
        save(figure, out)
    return out


def _upright(store: Store, index: int) -> NDArray[np.float32]:
    """A sequence (C, T, V, M), rotated so that the second coordinate points up."""
    clip = store.stored(index).transpose(3, 0, 2, 1).astype(np.float32)
    up = 1
    if store.meta["normalization"] == "isc":  # which stands bodies up along the third
        clip, up = np.stack([clip[0], clip[2], -clip[1]]), 2
    if {"trunk", "left_leg", "right_leg"} <= store.skeleton.parts.keys():
        parts = store.skeleton.parts
        # of several sequences: in one of them people may lie down
        some = np.linspace(0, len(store) - 1, min(len(store), _SOME)).astype(int)
        heights = np.concatenate([store.stored(int(at))[:, 0, :, up] for at in some])
        heights = np.where(heights == 0, np.nan, heights.astype(np.float64))
        trunk = np.nanmean(heights[:, parts["trunk"]])
        if trunk < np.nanmean(heights[:, (*parts["left_leg"], *parts["right_leg"])]):
            clip[1:] *= -1  # half a turn, or the image of one
    return clip
