"""``picture_sequence``: a picture of a sequence of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pcm3.viz.animation import animate
from pcm3.viz.figures import save
from pcm3.viz.rerun import show_in_rerun
from pcm3.viz.results import short_text
from pcm3.viz.skeletons import film_strip

if TYPE_CHECKING:
    from pcm3.data.store import Store

_STRIPS, _ANIMATIONS = (".png", ".pdf", ".svg"), (".gif", ".mp4", ".html")


def picture_sequence(
    store: Store, index: int, out: str | Path, notes: Sequence[str] | None = None
) -> Path:
    """Write a picture of a sequence of a store, with bodies upright.

    Args:
        store: The store.
        index: Index of the sequence, from 0.
        out: ``.png``, ``.pdf`` or ``.svg`` for a film strip, ``.gif``, ``.mp4`` or ``.html`` for an
            animation, ``.rrd`` for the rerun viewer.
        notes: Text beside the time of each frame of an animation.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is unknown, or the index is out of range.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in (*_STRIPS, *_ANIMATIONS, ".rrd"):
        expected = ", ".join((*_STRIPS, *_ANIMATIONS))
        raise ValueError(f"expected a file ending in {expected} or .rrd, got {out.name}")

    clip = store.upright(store.stored(index)).transpose(3, 0, 2, 1).astype(np.float32)
    fps = store.meta["fps"] or 30.0
    name, label = store.names[index], int(store.labels[index])
    title = f"{store.class_names[label]}: {name}" if label >= 0 else name
    # explains why bodies float
    note = "" if store.origin is None else f"each frame relative to {store.origin}"
    if suffix == ".rrd":
        show_in_rerun(clip, store.skeleton, fps, out, name)
    elif suffix in _ANIMATIONS:
        save(animate(clip, store.skeleton, fps, title=title, note=notes or note), out)
    else:
        figure = film_strip(clip[None], store.skeleton)
        lines = [short_text(line, 80) for line in (title, note) if line]
        figure.suptitle("\n".join(lines), fontsize="medium")
        save(figure, out)
    return out
