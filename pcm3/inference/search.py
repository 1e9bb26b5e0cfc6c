"""Search: the recordings of a store that are most similar to a query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pcm3.checks import check_at_least
from pcm3.data.dataset import LONGEST
from pcm3.data.report import find_sequence
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained, fingerprint
from pcm3.evaluation.features import extract_features
from pcm3.inference.clips import Clips, window_starts
from pcm3.inference.intake import Intake
from pcm3.inference.recordings import open_recordings
from pcm3.inference.tables import SECONDS, in_seconds, write_table
from pcm3.io.files import replacing
from pcm3.io.npz import load_npz
from pcm3.runs.folder import find_run

_SHORTEST = 8  # frames of a window
_MOST_WINDOWS = 200_000


@dataclass(frozen=True)
class Match:
    """A recording, or a window of a long one, that is similar to a query.

    Attributes:
        query: Name of the query.
        rank: Place among its matches, from 1.
        recording: Name of the recording in its store.
        index: Number of the recording in its store.
        start: First frame.
        end: Frame after the last one.
        label: Class of the recording, or of the middle frame of a window; empty if unknown.
        similarity: Cosine similarity of the features, in [-1, 1].
    """

    query: str
    rank: int
    recording: str
    index: int
    start: int
    end: int
    label: str
    similarity: float

    def to_json(self, fps: float | None) -> dict[str, Any]:
        """As JSON, with seconds where the frame rate is known."""
        return asdict(self) | in_seconds(self.start, self.end, fps)


@dataclass(frozen=True)
class Gallery:
    """Features of all recordings of a store, or of windows of them.

    Attributes:
        store: The store.
        values: The features ``(G, D)``.
        indices: Recording of each feature ``(G,)``, ascending.
        starts: First frame of each feature ``(G,)``.
        ends: Frame after the last one of each feature ``(G,)``.
    """

    store: Store
    values: Tensor
    indices: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def make_gallery(
    path: Path, pretrained: Pretrained, store: Store, window: int | None = None
) -> Gallery:
    """Encode the recordings of a store, or read their features from an earlier search.

    Args:
        path: The run folder or the file of the encoder. A run folder keeps the features, in
            ``features/``, for this encoder and content of the store.
        pretrained: The encoder.
        store: The recordings.
        window: Frames of the windows that recordings are cut into, a quarter of a window apart; by
            default recordings are taken whole.

    Raises:
        ValueError: If the recordings do not fit the encoder.
    """
    file = _cache(path, store, window)
    spans = _spans(store, window)
    values = _kept(file, len(spans[0]), pretrained)
    if values is not None:
        return Gallery(store, values, *spans)
    gallery = encode(pretrained, store, window)
    if file is not None:
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, features=gallery.values.numpy())
    return gallery


def encode(pretrained: Pretrained, store: Store, window: int | None = None) -> Gallery:
    """Encode the recordings of a store.

    Args:
        pretrained: The encoder.
        store: The recordings.
        window: As in ``make_gallery``.

    Raises:
        ValueError: If the recordings do not fit the encoder.
    """
    indices, starts, ends = _spans(store, window)
    clips = Clips(pretrained, store, indices, offsets=starts, lengths=ends - starts)
    return Gallery(store, extract_features(pretrained, clips).values, indices, starts, ends)


def _spans(store: Store, window: int | None) -> tuple[NDArray[np.int64], ...]:
    """Recording, first frame and frame after the last one of each feature."""
    if window is None:
        return np.arange(len(store)), np.zeros(len(store), np.int64), store.lengths
    check_at_least("window", window, 1)
    step = max(1, window // 4, int(store.lengths.sum()) // _MOST_WINDOWS)
    rows = []
    for index, length in enumerate(store.lengths.tolist()):
        starts = np.unique(window_starts(length, window, step)[1])
        ends = np.minimum(starts + window, length)
        rows.append(np.stack([np.full_like(starts, index), starts, ends]))
    indices, starts, ends = np.concatenate(rows, axis=1)
    return indices, starts, ends


def _cache(path: Path, store: Store, window: int | None) -> Path | None:
    """Where a run folder keeps the features; None without a run folder."""
    run, _ = find_run(path)
    if run is None:
        return None
    key = blake2b(f"{fingerprint(path)} {store.fingerprint} {window}".encode(), digest_size=8)
    return run.path / "features" / f"{store.path.resolve().name}-{key.hexdigest()}.npz"


def _kept(file: Path | None, count: int, pretrained: Pretrained) -> Tensor | None:
    """Features that an earlier search kept; None if they are missing or damaged."""
    if file is None or not file.is_file():
        return None
    try:
        arrays, _ = load_npz(file, ("features",), ())
    except ValueError:
        return None
    values = torch.from_numpy(np.array(arrays["features"]))
    size = (count, pretrained.encoder.out_features)
    good = values.dtype == torch.float32 and values.shape == size and bool(values.isfinite().all())
    return values if good else None


def window_for(store: Store, lengths: NDArray[np.int64]) -> int | None:
    """The window for queries of these lengths: their median if the store has long recordings.

    Recordings of more than 300 frames are long. The window has 8 to 300 frames.
    """
    if int(store.lengths.max()) <= LONGEST:
        return None
    return int(np.clip(np.median(lengths), _SHORTEST, LONGEST))


@dataclass(frozen=True)
class Queries:
    """Recordings to which similar ones are searched.

    Attributes:
        store: The recordings.
        indices: The recording in ``store`` of each query (Q,).
        clips: The queries as clips.
        names: Names of the queries (Q,).
        persons: The person of each query (Q,), from 0; -1 if several are taken together.
        own: The recording of the searched store that each query is itself (Q,); -1 if none is.
        notes: What matches should be read with.
    """

    store: Store
    indices: NDArray[np.int64]
    clips: Clips
    names: list[str]
    persons: NDArray[np.int64]
    own: list[int]
    notes: list[str]

    def features(self) -> Tensor:
        """Features of the queries ``(Q, D)``."""
        return extract_features(self.clips.pretrained, self.clips).values


def _find(store: Store, query: str) -> int:
    try:
        return find_sequence(store, query)
    except ValueError as error:
        if query.isdecimal() or query in store.names:
            raise
        raise ValueError(f"{error}; there is no file or folder {query} either") from None


@contextmanager
def open_queries(
    query: str | None, pretrained: Pretrained, store: Store, source_fps: float | None = None
) -> Iterator[Queries]:
    """Open queries for the time of the ``with`` block.

    Args:
        query: The number of a recording of the store; or a path that ``open_recordings`` takes; or
            the name of a recording of the store. None for all recordings of the store.
        pretrained: The encoder.
        store: The store that is searched.
        source_fps: As of ``open_recordings``.

    Raises:
        SkeletonFormatError: If files do not follow their format.
        ValueError: If there is no such recording, the recordings do not fit the encoder, or their
            rate is given twice.
    """
    if query is None or query.isdecimal() or not Path(query).exists():
        if source_fps is not None:
            what = "all recordings are" if query is None else f"{query} is"
            raise ValueError(
                f"source_fps is for files without a frame rate, but {what} of the store"
            )
        indices = np.arange(len(store)) if query is None else np.array([_find(store, query)])
        clips = Clips(pretrained, store, indices)
        names = [store.names[index] for index in indices.tolist()]
        persons = np.where(store.slots[indices] > 1, -1, 0)
        yield Queries(store, indices, clips, names, persons, indices.tolist(), [])
        return
    intake = Intake.like(store, pretrained)
    with open_recordings(query, intake, source_fps) as recordings:
        same = recordings.clips.fingerprint == store.fingerprint
        names = [
            recordings.store.names[index] + (f", person {person}" if person > 0 else "")
            for index, person in zip(recordings.indices, recordings.persons, strict=True)
        ]
        yield Queries(
            recordings.store,
            recordings.indices,
            intake.clips(recordings.clips),
            names,
            recordings.persons,
            recordings.indices.tolist() if same else [-1] * len(names),
            recordings.notes,
        )


def search(
    gallery: Gallery,
    queries: Tensor,
    names: Sequence[str],
    k: int = 5,
    own: Sequence[int] | None = None,
    other_subjects: bool = False,
) -> list[Match]:
    """The places of a gallery with the highest cosine similarity to each query.

    Exact. A place is a recording, or a window of one. A window that overlaps a better place of the
    same recording by more than half is left out (non-maximum suppression); of equal ones the first
    counts.

    Args:
        gallery: The recordings.
        queries: Features of the queries ``(Q, D)``.
        names: Names of the queries (Q,).
        k: Matches of each query, at most.
        own: For each query the recording of the gallery that it is itself, which is left out; -1
            for none. By default none is.
        other_subjects: Leave out all recordings of the query's own subject too.

    Returns:
        Query by query, the most similar place first.

    Raises:
        ValueError: If ``k`` is below 1; or for other subjects, if a query is not of the gallery,
            or the subject of a recording is unknown.
    """
    check_at_least("k", k, 1)
    own = [-1] * len(names) if own is None else own
    people = _subjects(gallery.store, own) if other_subjects else np.arange(len(gallery.store))
    matches = []
    for row, values in enumerate(similarities(gallery, queries)):
        order = np.argsort(-values, kind="stable")
        if own[row] >= 0:
            order = order[people[gallery.indices[order]] != people[own[row]]]
        for rank, place in enumerate(_apart(gallery, order, k), start=1):
            matches.append(_match(gallery, names[row], rank, place, float(values[place])))
    return matches


def similarities(gallery: Gallery, queries: Tensor) -> Iterator[NDArray[np.float64]]:
    """Yield the cosine similarity of each query ``(Q, D)`` to all features of a gallery (G,)."""
    wide = F.normalize(gallery.values.double(), dim=1)
    for query in F.normalize(queries.double(), dim=1):
        yield (wide @ query).numpy().clip(-1, 1)


def _subjects(store: Store, own: Sequence[int]) -> NDArray[np.int64]:
    """The subject of each recording.

    Raises:
        ValueError: If one is unknown, or a query is not of the store.
    """
    subjects = store.columns.get("subjects")
    if subjects is None:
        raise ValueError(f"{store.path}: expected a column subjects for other subjects, got none")
    if (subjects < 0).any():
        name = store.names[int(np.flatnonzero(subjects < 0)[0])]
        raise ValueError(
            f"{store.path}: expected recordings of known subjects, but that of {name!r} is "
            "unknown (-1)"
        )
    if min(own, default=0) < 0:
        raise ValueError(
            f"expected a query that is a recording of {store.path}, whose subject is known, for "
            "other subjects, got other recordings"
        )
    return subjects


def _apart(gallery: Gallery, order: NDArray[np.int64], k: int) -> list[int]:
    """The first k places in this order, without those that mostly overlap an earlier one."""
    found: list[int] = []
    spans: dict[int, list[tuple[int, int]]] = {}  # of the places found, by recording
    for place in order.tolist():
        if len(found) == k:
            break
        start, end = int(gallery.starts[place]), int(gallery.ends[place])
        taken = spans.setdefault(int(gallery.indices[place]), [])
        if all(2 * (min(end, b) - max(start, a)) <= end - start for a, b in taken):
            found.append(place)
            taken.append((start, end))
    return found


def _match(gallery: Gallery, query: str, rank: int, place: int, similarity: float) -> Match:
    store, index = gallery.store, int(gallery.indices[place])
    start, end = int(gallery.starts[place]), int(gallery.ends[place])
    label = int(store.labels[index])
    if store.frame_labels is not None:
        label = int(store.frame_labels[int(store.starts[index]) + (start + end) // 2])
    word = store.class_names[label] if label >= 0 else ""
    return Match(query, rank, store.names[index], index, start, end, word, similarity)


def write_matches(file: str | Path, matches: Sequence[Match], fps: float | None = None) -> None:
    """Write matches as a table, whole or not at all.

    The columns are the attributes of ``Match`` and, if the frame rate is known, ``start_seconds,
    end_seconds``.

    Args:
        file: The file.
        matches: The matches.
        fps: Frames per second of the store that was searched; None if unknown.
    """
    rows = []
    for each in matches:
        row = asdict(each) | {"similarity": f"{each.similarity:.6f}"}
        seconds = in_seconds(each.start, each.end, fps).values()
        rows.append([*row.values(), *(f"{second:.3f}" for second in seconds)])
    write_table(file, [*Match.__annotations__, *(SECONDS if fps is not None else ())], rows)
