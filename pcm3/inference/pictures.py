"""Pictures of answers: recordings with their labels over time, and pages of similar ones."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcm3.data.store import Store
from pcm3.inference.predictions import Prediction, who
from pcm3.inference.search import Match, Queries
from pcm3.io.files import replacing
from pcm3.skeleton import Skeleton
from pcm3.viz.results import short_text
from pcm3.viz.skeletons import film_strip
from pcm3.viz.stores import picture_sequence

_FRAMES = 8  # of each recording in a film strip
_MOST = 20  # queries on a page


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


def write_search_page(
    queries: Queries, store: Store, matches: Sequence[Match], out: str | Path
) -> Path:
    """Write a page with a film strip of each of the first 20 queries, and of its matches.

    Args:
        queries: The queries.
        store: The store that was searched.
        matches: What was found.
        out: The ``.html`` file, which needs no other file.

    Returns:
        The path.
    """
    out = Path(out)
    parts, firsts = [], [at for at, match in enumerate(matches) if match.rank == 1]
    asked = list(zip(queries.names, queries.indices.tolist(), strict=True))
    for place, (name, index) in enumerate(asked[:_MOST]):
        found = matches[slice(*[*firsts, len(matches)][place : place + 2])]
        length = int(queries.store.lengths[index])
        strips = [_frames(queries.store, index, 0, length, store.skeleton)]
        strips += [
            _frames(store, match.index, match.start, match.end, store.skeleton) for match in found
        ]
        titles = ["query"]
        titles += [f"{match.rank}: {match.similarity:.2f}" for match in found]
        width = max(strip.shape[3] for strip in strips)
        clips = np.stack(
            [np.pad(each, ((0, 0),) * 3 + ((0, width - each.shape[3]),)) for each in strips]
        )
        film_strip(clips, store.skeleton, frames=_FRAMES, titles=titles).savefig(
            picture := BytesIO(), format="png", dpi=90
        )
        rows = "".join(
            f"<tr><td>{match.rank}</td><td>{escape(short_text(match.recording, 60))}</td>"
            f"<td>{match.start} to {match.end}</td><td>{match.similarity:.3f}</td>"
            f"<td>{escape(match.label)}</td></tr>"
            for match in found
        )
        parts.append(
            f"<h2>{escape(name)}</h2><table><tr><th></th><th>recording</th><th>frames</th>"
            f"<th>similarity</th><th>label</th></tr>{rows}</table>"
            f'<img alt="film strips" src="data:image/png;base64,'
            f'{b64encode(picture.getvalue()).decode()}">'
        )
    if len(asked) > _MOST:
        parts.append(f"<p>The first {_MOST} of {len(asked)} queries.</p>")
    page = _PAGE.replace("PARTS", "\n".join(parts))
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return out


def _frames(
    store: Store, index: int, start: int, end: int, skeleton: Skeleton
) -> NDArray[np.float32]:
    """Evenly spaced frames of a recording as a clip (C, T, V, M), upright, in a joint order."""
    places = np.linspace(start, end - 1, _FRAMES).round().astype(np.int64)
    order = [store.skeleton.joints.index(joint) for joint in skeleton.joints]
    frames = store.upright(store.stored(index)[places])[:, :, order]
    return frames.transpose(3, 0, 2, 1).astype(np.float32)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Similar recordings</title>
<style>
body { margin: 0 auto; max-width: 60em; font-family: sans-serif; }
img { width: 100%; }
td, th { padding: 0 1em 0 0; text-align: left; }
</style></head><body>
<h1>Similar recordings</h1>
PARTS
</body></html>
"""
