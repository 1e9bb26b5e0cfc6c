"""2s-AGCN, ISC and CMD: NTU RGB+D or PKU-MMD as padded ``.npy`` arrays with pickled labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.protocols import published_split
from pcm3.data.readers.base import MOST_CLASSES, Recording, Source, not_finite, or_error, unpadded
from pcm3.data.readers.shared.names import (
    NtuName,
    at_odds,
    ntu_class_names,
    ntu_edition,
    ntu_names,
    ntu_protocols,
)
from pcm3.data.readers.shared.table import refuse_table
from pcm3.errors import SkeletonFormatError
from pcm3.io.pickles import load_plain_pickle
from pcm3.io.reading import (
    MOST_BYTES,
    Range,
    check_room,
    fail,
    format_error,
    is_there,
    open_npy,
    ranges,
    shown,
)
from pcm3.skeleton import NTU25

_DATA_FILES = ("train_data_joint.npy", "val_data_joint.npy")


class _Part(NamedTuple):
    """A data file with its labels and lengths; ``bad`` maps bad sequences to their errors."""

    shape: tuple[int, ...]
    lengths: NDArray[np.int64] | None
    names: list[str]
    labels: list[int]
    bad: dict[int, SkeletonFormatError]
    trains: int


def detect(path: Path) -> bool:
    """Return whether this is a folder with ``train_data_joint.npy`` or ``val_data_joint.npy``."""
    return any(is_there(path / name) for name in _DATA_FILES)


def read_agcn(path: str | Path) -> Source:
    """Read ``{train,val}_data_joint.npy``, memory-mapped.

    The arrays are (N, 3, T, 25, M). ``{train,val}_label.pkl`` is a pair of sample names and labels
    from 0, read by an unpickler that runs no code. ``{train,val}_num_frame.npy`` (N,) gives the
    lengths, limited to T; without it, zero frames at the end are cut. The programs that write such
    files apply ``"isc"``. One of the two parts may be absent. The column ``train`` is 1 for train
    and 0 for val, and the protocol ``split`` uses it. If all samples are named like those of NTU
    RGB+D, there are also the columns ``subjects``, ``views``, ``setups`` and ``replications`` and
    the protocols of the data set. A sequence without any coordinate keeps one frame. If at least
    half of the labels are the actions in NTU RGB+D names, all labels must be.

    Raises:
        SkeletonFormatError: If a file is wrong; the message names the file and the sequence. A
            single bad sequence raises only when it is read.
    """
    folder = Path(path)
    refuse_table(folder, "agcn")
    files = [folder / name for name in _DATA_FILES]
    parts = {file: _read_part(file) for file in files if is_there(file)}
    if not parts:
        fail(folder, f"expected {' or '.join(_DATA_FILES)}, found neither")
    places = [
        (file, part, at)
        for file, part in parts.items()
        for at in range(len(part.labels))
        if at not in part.bad
    ]
    if not places:
        raise next(error for part in parts.values() for error in part.bad.values())
    names = ntu_names(part.names[at] for _, part, at in places)
    labels = [part.labels[at] for _, part, at in places]
    odd = at_odds(labels, names)
    for file, part, at in (places[index] for index in odd):
        what = f"expected the action of its name {part.names[at]}"
        part.bad[at] = _error(_labels_file(file), at, f"{what}, got label {part.labels[at]}")
    labels = [label for index, label in enumerate(labels) if index not in odd]
    right = names and [name for index, name in enumerate(names) if index not in odd]
    protocols = ntu_protocols(ntu_edition(names)) if names else {}
    return Source(
        format="agcn",
        skeleton=NTU25,
        class_names=ntu_class_names(labels, right),
        units=[unit for file, part in parts.items() for unit in ranges(file, len(part.labels))],
        read=partial(_read_unit, parts, names is not None),
        persons=max(part.shape[4] for part in parts.values()),
        normalization="isc",
        protocols=protocols | {"split": published_split("train")},
        fps=30.0,
        about=f"arrays in the manner of 2s-AGCN, folder {folder.resolve().name}",
    )


def _read_part(file: Path) -> _Part:
    """Read everything but the coordinates."""
    data = open_npy(file)
    wrong_shape = data.ndim != 5 or (data.shape[1], data.shape[3]) != (3, 25) or 0 in data.shape
    if wrong_shape or data.dtype.kind != "f":
        fail(file, f"expected floats (N, 3, T, 25, M), got {data.dtype} {data.shape}")
    if data.shape[4] > data.shape[2]:
        what = f"{data.shape[4]} persons in {data.shape[2]} frames"
        fail(file, f"expected (N, 3, T, 25, M), but {data.shape} would have {what}")
    check_room(file, data.nbytes, f"{data.dtype} {data.shape}")
    if (size := 4 * math.prod(data.shape[1:])) > MOST_BYTES:
        fail(file, f"expected sequences of at most {MOST_BYTES:,} bytes, got {size:,}")
    part = file.name.partition("_")[0]
    names, labels, bad = _read_labels(_labels_file(file), len(data))
    lengths_file, lengths = file.with_name(f"{part}_num_frame.npy"), None
    if is_there(lengths_file):
        lengths = _read_lengths(lengths_file, data.shape, bad)
    return _Part(data.shape, lengths, names, labels, bad, int(part == "train"))


def _labels_file(data: Path) -> Path:
    return data.with_name(f"{data.name.partition('_')[0]}_label.pkl")


def _error(file: Path, sequence: int, what: str) -> SkeletonFormatError:
    return format_error(file, f"sequence {sequence}", what)


def _read_lengths(
    file: Path, shape: tuple[int, ...], bad: dict[int, SkeletonFormatError]
) -> NDArray[np.int64]:
    """Read the lengths; impossible ones are added to ``bad``."""
    lengths = open_npy(file)
    if lengths.shape != shape[:1] or lengths.dtype.kind not in "iu":
        fail(file, f"expected integers ({shape[0]},), got {lengths.dtype} {lengths.shape}")
    for at in np.flatnonzero(lengths < 0).tolist():
        bad[at] = _error(file, at, f"expected 0 frames or more, got {lengths[at]}")
    # published lengths are those of the raw recordings, which the arrays may cut
    return np.array(np.minimum(lengths, shape[2]), dtype=np.int64)


def _read_labels(
    file: Path, count: int
) -> tuple[list[str], list[int], dict[int, SkeletonFormatError]]:
    """Read names and labels, with an error for each bad one."""
    pair = load_plain_pickle(file)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        fail(file, f"expected a pair of names and labels, got {type(pair).__name__}")
    names, labels = (_as_list(column) for column in pair)
    for what, values in (("names", names), ("labels", labels)):
        if len(values) != count:
            fail(file, f"expected {count} {what}, one per sequence, got {len(values)}")
    bad: dict[int, SkeletonFormatError] = {}
    for index, (name, label) in enumerate(zip(names, labels, strict=True)):
        if not isinstance(name, str):
            bad[index] = _error(file, index, f"expected a name, got {shown(name)}")
        elif not _is_whole(label) or label < 0:
            bad[index] = _error(file, index, f"expected a label from 0, got {shown(label)}")
        elif label >= MOST_CLASSES:
            what = f"expected a class index from 0, below {MOST_CLASSES:,}, got {shown(label)}"
            bad[index] = _error(file, index, what)
    names = ["" if at in bad else str(name) for at, name in enumerate(names)]
    return names, [-1 if at in bad else int(label) for at, label in enumerate(labels)], bad


def _is_whole(label: Any) -> bool:
    """Return whether this is an integer, or a float with an integer value as in PKU-MMD's files."""
    whole = isinstance(label, (float, np.floating)) and float(label).is_integer()
    return whole or isinstance(label, (int, np.integer))


def _as_list(column: Any) -> list[Any]:
    if isinstance(column, np.ndarray):
        return list(column) if column.ndim == 1 else []
    return list(column) if isinstance(column, (list, tuple)) else []


def _read_unit(
    parts: Mapping[Path, _Part], ntu: bool, unit: Range
) -> Iterator[Recording | SkeletonFormatError]:
    data = open_npy(unit.file)
    for index in range(unit.start, unit.end):
        yield or_error(_recording, unit.file, parts[unit.file], data, index, ntu)


def _recording(file: Path, part: _Part, data: NDArray[Any], index: int, ntu: bool) -> Recording:
    if index in part.bad:
        raise part.bad[index]
    sequence, name = _sequence(data, part, index), part.names[index]
    if where := not_finite(sequence):
        fail(file, f"NaN or infinity in sequence {index}, {where}")
    known = NtuName.parse(name) if ntu else None
    columns = {"train": part.trains} | (known.columns if known else {})
    return Recording(sequence, part.labels[index], columns, name=name)


def _sequence(data: NDArray[Any], part: _Part, index: int) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        frames = np.array(data[index].transpose(1, 3, 2, 0), dtype=np.float32, order="C")
    if part.lengths is None:
        return unpadded(frames)
    length = int(part.lengths[index])
    return frames[:length] if length else np.zeros_like(frames[:1])
