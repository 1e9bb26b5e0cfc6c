"""Recordings for an encoder: a store, or files that are prepared as its training data were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
from pcm3.data.readers import READERS, detect_format
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.tally import body_length, can_be_body
from pcm3.data.units import full_name, metres_in, three_digits
from pcm3.errors import SkeletonFormatError
from pcm3.inference.intake import Intake
from pcm3.io.reading import fail, files_below, is_file, is_store
from pcm3.skeleton import SKELETONS, Skeleton

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
def open_store(source: str | Path) -> Iterator[tuple[Store, list[str]]]:
    """Open a store, or prepare files for the time of the ``with`` block.

    Args:
        source: A store, or anything that ``prepare`` reads without further options.

    Returns:
        The store, and notes on the files.

    Raises:
        SkeletonFormatError: If files do not follow their format.
        ValueError: If they need options.
    """
    source = Path(source)
    if is_store(source):
        yield Store(source), []
        return
    with TemporaryDirectory(prefix="pcm3-") as folder, _named(source, Path(folder)):
        with _hinted(source):
            format, path = _find_format(source, Path(folder) / _FILES)
            report = prepare(path, Path(folder) / _STORE, format=format, workers=1)
        yield Store(Path(folder) / _STORE), _notes(source, format, report)


@contextmanager
def open_recordings(
    source: str | Path, intake: Intake, source_fps: float | None = None
) -> Iterator[Recordings]:
    """Open a store, or prepare files for the time of the ``with`` block.

    Files get the normalisation and the frame rate of the training recordings. They also get their
    layout if they have the same joints, or do not name them. A file that is one recording of a
    folder format may be given alone. An encoder of one person takes every person of a recording
    alone. Recordings in another unit of length are converted to that of the training recordings.
    Files that do not give a unit are in metres, unless only the unit of the training recordings
    makes bodies of them.

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
    if is_store(source) and source_fps is not None:
        raise ValueError(f"source_fps is for files without a frame rate, but {source} is a store")
    with TemporaryDirectory(prefix="pcm3-") as folder, _named(source, Path(folder)):
        if is_store(source):
            recordings = _separated(Store(source), intake, Path(folder), [])
        else:
            target = Path(folder) / _STORE
            with _hinted(source):
                notes = _prepare(source, target, intake, source_fps)
                recordings = _separated(Store(target), intake, Path(folder), notes)
        yield recordings


_STORE, _FILES, _CONVERTED, _PERSONS = "store", "files", "converted", "persons"


@contextmanager
def _named(source: Path, folder: Path) -> Iterator[None]:
    """Let errors name the recordings instead of temporary ones."""
    try:
        yield
    except (SkeletonFormatError, ValueError) as error:
        message, files = str(error), folder / _FILES
        stores = (folder / name for name in (_STORE, _CONVERTED, _PERSONS))
        for temporary in (*stores, files / source.name, files):
            message = message.replace(str(temporary), str(source))
        raise _alike(error)(message) from None


@contextmanager
def _hinted(source: Path) -> Iterator[None]:
    """Let errors of files that need options of ``prepare`` say how to give them."""
    try:
        yield
    except (SkeletonFormatError, ValueError) as error:
        message = str(error)
        needed = "--" in message or "give the format" in message
        if needed and "pcm3 prepare" not in message:
            what = f"folder {source.parent}" if source.suffix == ".npy" else f"[FORMAT] {source}"
            message += f"; for options, first run: pcm3 prepare {what} STORE"
        raise _alike(error)(message) from None


def _alike(error: ValueError) -> type[ValueError]:
    """The class of an error with a new message; other classes may need more than a message."""
    return SkeletonFormatError if isinstance(error, SkeletonFormatError) else ValueError


def _prepare(source: Path, target: Path, intake: Intake, source_fps: float | None) -> list[str]:
    """Prepare files as the training recordings were; return notes on how."""
    options: dict[str, Any] = {}
    assumed: list[str] = []
    format, path = _find_format(source, target.with_name(_FILES))
    own = path.is_dir() and (path / "skeleton.json").is_file()
    layout = None if own or "skeleton" not in READERS[format].options else intake.layout
    if format == "folder" and layout is not None:
        built_in = SKELETONS.get(layout.name)
        if built_in is not None and built_in.joints != layout.joints:
            assumed.append(
                "arrays do not name their joints: taken to have the order of the training "
                f"recordings, {', '.join(layout.joints)}, which is not that of {layout.name}"
            )
    normalization: Any = intake.pretrained.normalization
    if form_of(normalization) is not None:
        normalization = None  # any will do
    together = intake.persons > 1 or normalization not in (None, *_BY_PERSON)
    options |= {
        "format": format,
        "normalization": normalization,
        "persons": intake.persons if together else None,
        "fps": intake.fps,
        "source_fps": source_fps,
        "workers": 1,
    }
    report, options = _prepare_as(layout, path, target, options)
    if "unit" in READERS[format].options and (size := _misread(Store(target), intake.unit)):
        report = prepare(path, target, unit=intake.unit, overwrite=True, **options)
        assumed.append(
            f"the unit of the coordinates is unknown: assumed to be {full_name(intake.unit)}, as "
            f"bodies would measure {size} metres"
        )
    return _notes(source, format, report, assumed)


def _prepare_as(
    layout: Skeleton | None, path: Path, target: Path, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prepare files with a layout, or with their own if they have other joints.

    Returns:
        The report, and the options that were used.
    """
    if layout is None:
        return prepare(path, target, **options), options
    same = options | {"skeleton": layout}
    try:
        return prepare(path, target, **same), same
    except ValueError as error:
        try:
            return prepare(path, target, overwrite=True, **options), options
        except ValueError:
            raise error from None


def _notes(
    source: Path, format: str, report: dict[str, Any], more: Sequence[str] = ()
) -> list[str]:
    """Notes on files that were prepared."""
    notes = [*report["notes"], *report["warnings"], *more]
    if count := report["left_out"]:
        notes.append(f"{count} file{'s' * (count > 1)} left out: {report['left_out_why']}")
    reasons = Counter(entry["reason"] for entry in report["dropped"])
    notes += [f"{count} left out: {reason}" for reason, count in reasons.most_common()]
    return [f"{source.name} ({format}): {note}" for note in notes]


def _misread(store: Store, unit: str) -> str | None:
    """The size of bodies that are too large or small in metres, but not in another unit."""
    size = metres_in(unit)
    if store.meta["unit"] != "metres" or size in (None, 1.0):
        return None
    some = np.unique(np.linspace(0, len(store) - 1, _SIZED).astype(int)).tolist()
    length = float(np.median([body_length(store.stored(index)) for index in some]))
    misread = not can_be_body(length) and can_be_body(length * (size or 1.0))
    return three_digits(length) if misread else None


_SIZED = 20  # recordings that show how large bodies are


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
    unit, wanted = store.meta["unit"], intake.unit
    if full_name(unit) != full_name(wanted):
        ours, theirs = metres_in(unit), metres_in(wanted)
        if ours is not None and theirs is not None:
            store = _converted(store, wanted, ours / theirs, folder / _CONVERTED)
            notes = [*notes, f"converted from {unit} to {full_name(wanted)}"]
        elif form_of(intake.pretrained.normalization) is None:
            notes = [
                *notes,
                f"expected recordings in {wanted}, these are in {unit}, which cannot be converted: "
                "bodies seem to have another size, so the results may be wrong",
            ]
    normalization: Normalization = store.meta["normalization"]
    taken = intake.with_axes(store)
    notes, store = [*notes, *intake.describe(store, taken)], taken
    alone = intake.persons == 1 and store.persons > 1 and normalization in _BY_PERSON
    if not alone:
        notes = [*notes, *describe_form(intake.clips(store))]
        together = np.where(store.slots > 1, -1, 0)
        return Recordings(store, store, np.arange(len(store)), together, notes)
    indices, persons = [], []
    target = folder / _PERSONS
    with StoreWriter(
        target,
        store.skeleton,
        class_names=(),
        fps=store.meta["fps"],
        unit=store.meta["unit"],
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
    clips = Store(target, up=store.up, left_handed=store.known_left_handed)
    notes = [*notes, *describe_form(intake.clips(clips))]
    return Recordings(store, clips, np.array(indices), np.array(persons), notes)


def _converted(store: Store, unit: str, factor: float, target: Path) -> Store:
    """A copy of a store in another unit, whose coordinates are multiplied by a factor."""
    columns = {
        name: store.values(name).tolist() for name in store.columns if name != "duplicate_of"
    }
    labels, ends = store.frame_labels, np.cumsum(store.lengths)
    with StoreWriter(
        target,
        store.skeleton,
        class_names=store.class_names,
        fps=store.meta["fps"],
        unit=unit,
        normalization=store.meta["normalization"],
    ) as writer:
        for index, (end, length) in enumerate(zip(ends, store.lengths, strict=True)):
            writer.add(
                store.sequence(index).astype(np.float32) * np.float32(factor),
                int(store.labels[index]),
                name=store.names[index],
                frame_labels=None if labels is None else labels[end - length : end],
                **{name: values[index] for name, values in columns.items()},
            )
    return Store(target)
