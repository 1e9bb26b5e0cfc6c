"""2s-AGCN, ISC and CMD: NTU RGB+D or PKU-MMD as padded ``.npy`` arrays with pickled labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.protocols import published_split
from pcm3.data.readers._files import Range, fail, is_file, not_finite, open_npy, ranges, unpadded
from pcm3.data.readers._names import NtuName, ntu_class_names, ntu_edition, ntu_names, ntu_protocols
from pcm3.data.readers._pickle import load_plain_pickle
from pcm3.data.readers.base import Recording, Source
from pcm3.skeleton import NTU25

__all__ = ["detect", "read_agcn"]

_DATA_FILES = ("train_data_joint.npy", "val_data_joint.npy")


class _Part(NamedTuple):
    """What belongs to one of the data files."""

    shape: tuple[int, ...]
    lengths: NDArray[np.int64] | None
    names: list[str]
    labels: list[int]
    trains: int


def detect(path: Path) -> bool:
    """Whether this is a folder with ``train_data_joint.npy`` or ``val_data_joint.npy``."""
    return any(is_file(path / name) for name in _DATA_FILES)


def read_agcn(path: str | Path) -> Source:
    """Read ``{train,val}_data_joint.npy``; they are memory-mapped.

    The arrays are (N, 3, T, 25, M); ``{train,val}_label.pkl`` is the pair of sample names and
    labels from 0, read by an unpickler that runs nothing; ``{train,val}_num_frame.npy`` (N,), if
    there, gives the lengths, otherwise frames after the last that is not zero are cut. One of
    the two parts may be absent. The column ``train`` is 1 for train and 0 for val, the protocol
    ``split`` goes by it; where all samples are named like NTU RGB+D's, there are also
    ``subjects``, ``views``, ``setups`` and ``replications`` and the data set's protocols. A
    sequence without any coordinate keeps one frame.

    Raises:
        SkeletonFormatError: Naming the file and the sequence that is wrong; NaN coordinates only
            when they are read.
    """
    folder = Path(path)
    files = [folder / name for name in _DATA_FILES]
    parts = {file: _read_part(file) for file in files if file.is_file()}
    if not parts:
        fail(folder, f"expected {' or '.join(_DATA_FILES)}, found neither")
    labels = [label for part in parts.values() for label in part.labels]
    names = ntu_names(name for part in parts.values() for name in part.names)
    protocols = ntu_protocols(ntu_edition(names)) if names else {}
    return Source(
        format="agcn",
        skeleton=NTU25,
        class_names=ntu_class_names(labels, names),
        units=[unit for file, part in parts.items() for unit in ranges(file, len(part.labels))],
        read=partial(_read_unit, parts, names is not None),
        persons=max(part.shape[4] for part in parts.values()),
        protocols=protocols | {"split": published_split("train")},
        fps=30.0,
        about=f"arrays in the manner of 2s-AGCN, folder {folder.resolve().name}",
    )


def _read_part(file: Path) -> _Part:
    """All but the coordinates."""
    data = open_npy(file)
    wrong_shape = data.ndim != 5 or (data.shape[1], data.shape[3]) != (3, 25) or 0 in data.shape
    if wrong_shape or data.dtype.kind != "f":
        fail(file, f"expected floats (N, 3, T, 25, M), got {data.dtype} {data.shape}")
    part = file.name.partition("_")[0]
    names, labels = _read_labels(file.with_name(f"{part}_label.pkl"), len(data))
    lengths_file = file.with_name(f"{part}_num_frame.npy")
    lengths = _read_lengths(lengths_file, data.shape) if lengths_file.is_file() else None
    return _Part(data.shape, lengths, names, labels, int(part == "train"))


def _read_lengths(file: Path, shape: tuple[int, ...]) -> NDArray[np.int64]:
    lengths = open_npy(file)
    if lengths.shape != shape[:1] or lengths.dtype.kind not in "iu":
        fail(file, f"expected integers ({shape[0]},), got {lengths.dtype} {lengths.shape}")
    wrong = (lengths < 0) | (lengths > shape[2])
    if wrong.any():
        at = int(np.argmax(wrong))
        fail(file, f"sequence {at}: expected 0 to {shape[2]} frames, got {lengths[at]}")
    return np.array(lengths, dtype=np.int64)


def _read_labels(file: Path, count: int) -> tuple[list[str], list[int]]:
    pair = load_plain_pickle(file)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        fail(file, f"expected a pair of names and labels, got {type(pair).__name__}")
    names, labels = (list(column) if np.ndim(column) == 1 else [] for column in pair)
    for what, values in (("names", names), ("labels", labels)):
        if len(values) != count:
            fail(file, f"expected {count} {what}, one a sequence, got {len(values)}")
    for index, (name, label) in enumerate(zip(names, labels, strict=True)):
        if not isinstance(name, str):
            fail(file, f"sequence {index}: expected a name, got {name!r}")
        if not isinstance(label, (int, np.integer)) or label < 0:
            fail(file, f"sequence {index}: expected a label from 0, got {label!r}")
    return [str(name) for name in names], [int(label) for label in labels]


def _read_unit(parts: Mapping[Path, _Part], ntu: bool, unit: Range) -> Iterator[Recording]:
    part, data = parts[unit.file], open_npy(unit.file)
    for index in range(unit.start, unit.end):
        name, sequence = part.names[index], _sequence(data, part, index)
        if where := not_finite(sequence):
            fail(unit.file, f"NaN or infinity in sequence {index}, {where}")
        known = NtuName.parse(name) if ntu else None
        columns = {"train": part.trains} | (known.columns if known else {})
        yield Recording(sequence, part.labels[index], columns, name=name)


def _sequence(data: NDArray[Any], part: _Part, index: int) -> NDArray[np.float32]:
    frames = np.array(data[index].transpose(1, 3, 2, 0), dtype=np.float32, order="C")
    return unpadded(frames) if part.lengths is None else frames[: max(1, part.lengths[index])]
