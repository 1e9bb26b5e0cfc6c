"""Recordings for an encoder: a store, or files that are prepared as its training data were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.body import form_of
from pcm3.data.dataset import describe_form
from pcm3.data.normalize import Normalization, normalize
from pcm3.data.prepare import prepare
from pcm3.data.readers import detect_format
from pcm3.data.readers.shared.header import normal_unit
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.errors import SkeletonFormatError
from pcm3.inference.intake import Intake
from pcm3.io.reading import fail, files_below, is_file, is_store

_BY_PERSON = ("none", "center")
"""Recipes that give each person of a recording what they give a person alone."""


class Recordings(NamedTuple):
    """Recordings as an encoder takes them.

    Attributes:
        store: The recordings, with all persons.
        clips: What the encoder reads: the same store, or one in which every person is a sequence.
        indices: The recording in ``store`` of each sequence of ``clips``.
        persons: The person in the recording of each sequence of ``clips``; -1 if several are
            taken together.
        notes: What results should be read with.
    """

    store: Store
    clips: Store
    indices: NDArray[np.int64]
    persons: NDArray[np.int64]
    notes: list[str]


@contextmanager
def open_recordings(
    source: str | Path, intake: Intake, source_fps: float | None = None
) -> Iterator[Recordings]:
    """Open a store, or prepare files for the time of the ``with`` block.

    Files get the normalisation and the frame rate of the training recordings, and, if they
    do not name their joints, its joints. A file that is one recording of a folder format may be
    given alone. An encoder of one person takes every person of a recording alone.

    Args:
        source: A store, or anything that ``prepare`` reads without further options.
        intake: The encoder and what it takes, such as a ``Classifier``.
        source_fps: Frames per second of recordings whose files do not give a rate; by default that
            of the training recordings.

    Raises:
        SkeletonFormatError: If files do not follow their format.
        ValueError: If the recordings do not fit the encoder, or their rate is given twice.
    """
    source = Path(source)
    with TemporaryDirectory(prefix="pcm3-") as folder:
        if is_store(source):
            if source_fps is not None:
                raise ValueError(
                    f"source_fps is for files without a frame rate, but {source} is a store"
                )
            yield _separated(Store(source), intake, Path(folder), [])
            return
        target, files = Path(folder) / "store", Path(folder) / _FILES
        try:
            notes = _prepare(source, target, intake, source_fps)
            yield _separated(Store(target), intake, Path(folder), notes)
        except (SkeletonFormatError, ValueError) as error:
            message = str(error)
            for temporary in (target, files / source.name, files):
                message = message.replace(str(temporary), str(source))
            if "--" in message or "give the format" in message:  # options of prepare
                what = (
                    f"folder {source.parent}" if source.suffix == ".npy" else f"[FORMAT] {source}"
                )
                message += f"; for options, first run: pcm3 prepare {what} STORE"
            raise type(error)(message) from None


_FILES = "files"


def _prepare(source: Path, target: Path, intake: Intake, source_fps: float | None) -> list[str]:
    """Prepare files as the training recordings were; return notes on how."""
    options: dict[str, Any] = {}
    format, path = _find_format(source, target.with_name(_FILES))
    if format == "folder" and not (path / "skeleton.json").is_file():
        options["skeleton"] = intake.layout
    normalization: Any = intake.pretrained.normalization
    if form_of(normalization) is not None:
        normalization = None  # any will do
    together = intake.persons > 1 or normalization not in (None, *_BY_PERSON)
    report = prepare(
        path,
        target,
        format=format,
        normalization=normalization,
        persons=intake.persons if together else None,
        fps=intake.fps,
        source_fps=source_fps,
        workers=1,
        **options,
    )
    notes = [*report["notes"], *report["warnings"]]
    if count := report["left_out"]:
        notes.append(f"{count} file{'s' * (count > 1)} left out: {report['left_out_why']}")
    reasons = Counter(entry["reason"] for entry in report["dropped"])
    notes += [f"{count} left out: {reason}" for reason, count in reasons.most_common()]
    return [f"{source.name} ({format}): {note}" for note in notes]


def _find_format(source: Path, folder: Path) -> tuple[Any, Path]:
    """The format of files, and the path to read: a folder with a link to a single file.

    Raises:
        SkeletonFormatError: If the files have no known format.
    """
    try:
        return detect_format(source), source
    except SkeletonFormatError as error:
        if not source.exists():
            fail(source, "no such file or folder")
        path = source
        if is_file(source):
            folder.mkdir()
            path = folder
            (path / source.name).symlink_to(source.resolve())
        elif not any(file.suffix == ".npy" for file in files_below(source)):
            raise
        try:
            return detect_format(path), path
        except SkeletonFormatError:
            if not any(file.suffix == ".npy" for file in files_below(path)):
                raise error from None
            return "folder", path


def _separated(store: Store, intake: Intake, folder: Path, notes: list[str]) -> Recordings:
    """The recordings of a store, with every person as a sequence where persons come alone.

    Raises:
        ValueError: If the recordings do not fit the encoder.
    """
    unit = store.meta["unit"]
    if normal_unit(unit) != normal_unit(intake.unit):
        notes = [*notes, f"the training recordings are in {intake.unit}, these are in {unit}"]
    normalization: Normalization = store.meta["normalization"]
    alone = intake.persons == 1 and store.persons > 1 and normalization in _BY_PERSON
    if not alone:
        notes = [*notes, *describe_form(intake.clips(store))]
        together = np.where(store.slots > 1, -1, 0)
        return Recordings(store, store, np.arange(len(store)), together, notes)
    indices, persons = [], []
    target = folder / "persons"
    with StoreWriter(
        target,
        store.skeleton,
        class_names=(),
        fps=store.meta["fps"],
        unit=unit,
        normalization=normalization,
    ) as writer:
        for index in range(len(store)):
            stored = store.stored(index)
            seen = np.flatnonzero(stored.any(axis=(0, 2, 3))).tolist() or [0]
            for person in seen:
                frames = normalize(stored[:, person : person + 1], store.skeleton, normalization)
                writer.add(frames, name=store.names[index])
                indices.append(index)
                persons.append(person)
    clips = Store(target)
    notes = [*notes, *describe_form(intake.clips(clips))]
    return Recordings(store, clips, np.array(indices), np.array(persons), notes)
