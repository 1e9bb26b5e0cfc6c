"""Pictures of answers: recordings with their labels over time, and pages of similar ones."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pcm3.data.body import BodyForm
from pcm3.data.store import Store
from pcm3.errors import explain_missing
from pcm3.inference.clips import same_layout
from pcm3.inference.differences import Difference
from pcm3.inference.judgements import furthest
from pcm3.inference.novelty import Judgement
from pcm3.inference.predictions import Prediction
from pcm3.inference.search import Gallery, Match, Queries, similarities
from pcm3.inference.tables import who
from pcm3.io.files import replacing
from pcm3.skeleton import Skeleton
from pcm3.viz.differences import difference_figure
from pcm3.viz.figures import save
from pcm3.viz.results import short_text
from pcm3.viz.skeletons import film_strip
from pcm3.viz.stores import picture_sequence
from pcm3.viz.timelines import Interval, label_figure, similarity_figure

with explain_missing():
    from matplotlib.figure import Figure

_FRAMES = 8  # of each recording in a film strip
_HEADS = [f"{share:.0%}" for share in np.linspace(0, 1, _FRAMES)]  # of recordings of any length
_MOST = 20  # queries on a page
_TITLE = 24  # letters
STILLS = (".png", ".pdf", ".svg")
"""Suffixes of pictures that do not move."""


def picture_predictions(store: Store, predictions: Sequence[Prediction], out: str | Path) -> Path:
    """Write a picture of one recording with its predicted labels over time.

    Args:
        store: The store of the recording.
        predictions: All predictions for it.
        out: ``.png``, ``.pdf`` or ``.svg`` for coloured intervals; ``.gif``, ``.mp4`` or ``.html``
            for an animation with the label of each frame beside the time.

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
    if Path(out).suffix in STILLS:
        rows: dict[str, list[Interval]] = {}
        for each in predictions:
            row = f"person {who(each.person)}" if len(persons) > 1 else ""
            interval = Interval(each.label, each.start, each.end, each.probability)
            rows.setdefault(row, []).append(interval)
        length, fps = int(store.lengths[index]), store.meta["fps"]
        return save(label_figure(rows, length, fps, store.names[index]), out)
    notes: list[list[str]] = [[] for _ in range(int(store.lengths[index]))]
    for each in predictions:
        prefix = f"{who(each.person)}: " if len(persons) > 1 else ""
        for frame in range(each.start, each.end):
            notes[frame].append(f"{prefix}{each.label} {each.probability:.0%}")
    return picture_sequence(store, index, out, [", ".join(texts) for texts in notes])


def picture_matches(
    queries: Queries, store: Store, matches: Sequence[Match], out: str | Path
) -> Path:
    """Write the film strips of one query and its matches.

    Args:
        queries: The query.
        store: The store that was searched.
        matches: What was found for it.
        out: The ``.png``, ``.pdf`` or ``.svg`` file.

    Returns:
        The path.

    Raises:
        ValueError: If there is not one query.
    """
    if len(queries.names) != 1:
        raise ValueError(f"expected one query to draw, got {len(queries.names)}")
    return save(_strips(queries, 0, store, matches), out)


def _strips(queries: Queries, place: int, store: Store, matches: Sequence[Match]) -> Figure:
    """Film strips of a query, and of its matches."""
    alike = same_layout(queries.store, store)  # otherwise the encoder takes any layout
    skeleton = store.skeleton if alike else queries.clips.skeleton
    index = int(queries.indices[place])
    length = int(queries.store.lengths[index])
    strips = [_frames(queries.store, index, 0, length, skeleton, alike)]
    labels = np.array(("", *queries.store.class_names))[queries.store.labels + 1]
    titles = [_title("query", queries.names[place], str(labels[index]))]
    for match in matches:
        strips.append(_frames(store, match.index, match.start, match.end, skeleton, alike))
        found = f"{match.rank}: {match.start} to {match.end}, {match.similarity:.3f}"
        titles.append(_title(match.recording, found, match.label))
    width = max(strip.shape[3] for strip in strips)
    clips = np.stack(
        [np.pad(each, ((0, 0),) * 3 + ((0, width - each.shape[3]),)) for each in strips]
    )
    figure = film_strip(clips, skeleton, None, _FRAMES, titles, heads=_HEADS)
    for axis in figure.axes:
        axis.yaxis.label.set_fontsize("x-small")
    return figure


def _title(*lines: str) -> str:
    """Lines beside a film strip, without empty ones."""
    return "\n".join(short_text(line, _TITLE) for line in lines if line)


def write_search_page(
    queries: Queries,
    features: Tensor,
    gallery: Gallery,
    matches: Sequence[Match],
    out: str | Path,
) -> Path:
    """Write a page with a film strip of each of the first 20 queries, and of its matches.

    If a single recording was searched in windows, the page also has the similarity over time.

    Args:
        queries: The queries.
        features: Their features ``(Q, D)``.
        gallery: What was searched.
        matches: What was found.
        out: The ``.html`` file, which needs no other file.

    Returns:
        The path.
    """
    store, parts = gallery.store, []
    single = len(store) == 1 and len(gallery.values) > 1
    curves = similarities(gallery, features[:_MOST])
    left = list(matches)
    for place, (name, values) in enumerate(zip(queries.names, curves, strict=False)):
        found: list[Match] = []  # a query may have no match
        while left and left[0].query == name and left[0].rank == len(found) + 1:
            found.append(left.pop(0))
        rows = "".join(
            f"<tr><td>{match.rank}</td><td>{escape(short_text(match.recording, 60))}</td>"
            f"<td>{match.start} to {match.end}</td><td>{match.similarity:.3f}</td>"
            f"<td>{escape(match.label)}</td></tr>"
            for match in found
        )
        parts.append(
            f"<h2>{escape(name)}</h2><table><tr><th></th><th>recording</th><th>frames</th>"
            f"<th>similarity</th><th>label</th></tr>{rows}</table>"
            f"{_image(_strips(queries, place, store, found), 'film strips')}"
        )
        if single:
            middles = (gallery.starts + gallery.ends) / 2
            spans = [(match.start, match.end) for match in found]
            figure = similarity_figure(middles, values, spans, store.meta["fps"])
            parts.append(_image(figure, "similarity over time"))
    if len(queries.names) > _MOST:
        parts.append(f"<p>The first {_MOST} of {len(queries.names)} queries.</p>")
    return _write_page(Path(out), "Similar recordings", parts)


def picture_difference(judgement: Judgement, difference: Difference) -> Figure:
    """Draw a judged recording above its nearest reference, and where the two differ.

    Args:
        judgement: What ``NoveltyDetector.judge`` found.
        difference: What ``explain`` found for it.
    """
    recording, reference = (
        frames.transpose(3, 0, 2, 1)
        for frames in (difference.recording, difference.reference[difference.matched])
    )
    figure = difference_figure(
        recording,
        reference,
        difference.values.transpose(0, 2, 1),
        difference.parts,
        difference.worst,
        difference.skeleton,
        titles=("judged", "reference"),
        unit=difference.unit,
        first=judgement.start,
    )
    ours = f"frames {judgement.start} to {judgement.end}: distance {judgement.score:.4f}"
    theirs = f"frames {judgement.reference_start} to {judgement.reference_end}"
    title = f"{short_text(judgement.recording, 60)}, {ours}"
    nearest = f"nearest reference: {short_text(judgement.reference, 60)}, {theirs}"
    figure.suptitle(f"{title}\n{nearest}", fontsize="medium")
    return figure


def write_novelty_page(
    judged: Sequence[Judgement],
    differences: Sequence[Difference | None],
    out: str | Path,
) -> Path:
    """Write a page with pictures of the 20 recordings that are furthest from the references.

    Args:
        judged: What ``NoveltyDetector.judge`` found.
        differences: What ``explain`` found for each; without it there is no picture.
        out: The ``.html`` file, which needs no other file.

    Returns:
        The path.
    """
    parts, novel = [], {True: "novel", False: "not novel", None: ""}
    for at in furthest(judged)[:_MOST]:
        each, difference = judged[at], differences[at]
        name = each.recording + (f", person {each.person}" if each.person > 0 else "")
        cells = [
            f"{each.score:.4f}",
            novel[each.novel],
            escape(each.label),
            f"{each.start} to {each.end}",
            escape(short_text(each.reference, 60)),
        ]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        parts.append(
            f"<h2>{escape(short_text(name, 80))}</h2><table><tr><th>distance</th><th></th>"
            f"<th>label</th><th>frames</th><th>nearest reference</th></tr><tr>{row}</tr></table>"
        )
        if difference is not None:
            figure = picture_difference(each, difference)
            parts.append(_image(figure, "the recording and its nearest reference"))
    if len(judged) > _MOST:
        parts.append(f"<p>The {_MOST} of {len(judged)} that are furthest from the references.</p>")
    return _write_page(Path(out), "Distance from the references", parts)


def _image(figure: Figure, name: str) -> str:
    """A figure as an element of a page."""
    figure.savefig(picture := BytesIO(), format="png", dpi=90)
    data = b64encode(picture.getvalue()).decode()
    return f'<img alt="{name}" src="data:image/png;base64,{data}">'


def _write_page(out: Path, title: str, parts: Sequence[str]) -> Path:
    page = _PAGE.replace("TITLE", title).replace("PARTS", "\n".join(parts))
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return out


def _frames(
    store: Store, index: int, start: int, end: int, skeleton: Skeleton, alike: bool
) -> NDArray[np.float32]:
    """Evenly spaced frames of a recording as a clip (C, T, V, M), upright, with these joints."""
    places = np.linspace(start, end - 1, _FRAMES).round().astype(np.int64)
    if not alike:
        formed = BodyForm(store, skeleton).frames(index)[places]
        return formed.transpose(3, 0, 2, 1)
    order = [store.skeleton.joints.index(joint) for joint in skeleton.joints]
    frames = store.upright(store.stored(index)[places])[:, :, order]
    return frames.transpose(3, 0, 2, 1).astype(np.float32)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>TITLE</title>
<style>
body { margin: 0 auto; max-width: 60em; font-family: sans-serif; }
img { width: 100%; }
td, th { padding: 0 1em 0 0; text-align: left; }
</style></head><body>
<h1>TITLE</h1>
PARTS
</body></html>
"""
