"""CTR-GCN, SGN and MAMP: NTU RGB+D or PKU-MMD in one ``.npz``, padded to 300 frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.protocols import published_split
from pcm3.data.readers.base import MOST_CLASSES, Recording, Source, not_finite, or_error, unpadded
from pcm3.data.readers.pku import PKU_ACTIONS
from pcm3.data.readers.shared.names import NTU_ACTIONS
from pcm3.errors import SkeletonFormatError
from pcm3.io.npz import NpzArray, load_npz, npz_keys
from pcm3.io.reading import SEQUENCE_BYTES, Range, check_room, fail, parsing
from pcm3.skeleton import NTU25

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_PERSONS, _JOINTS = 2, len(NTU25)
_VALUES = _PERSONS * _JOINTS * 3
_NAME = re.compile(r"(?:ntu60|ntu120|pkuv[12])_[cx](s|sub|v|view|set)", re.IGNORECASE)
_PROTOCOLS = {"s": "xsub", "sub": "xsub", "v": "xview", "view": "xview", "set": "xset"}


class _Part(NamedTuple):
    """``x_train`` or ``x_test`` with its labels."""

    array: NpzArray
    labels: NDArray[np.int64]  # -1 if the row is not one-hot
    classes: int
    trains: int


def detect(path: Path) -> bool:
    """Return whether this is an ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``."""
    return set(_KEYS) <= set(npz_keys(path))


def read_ctrgcn(path: str | Path) -> Source:
    """Read ``NTU60_CS.npz``, ``NTU60_XSub.npz`` and similar files, one sequence at a time.

    ``x_train`` and ``x_test`` are (N, T, 150): person, joint, xyz, with zeros after the last
    frame, which are cut. ``y_train`` and ``y_test`` (N, classes) are one-hot. The column ``train``
    is 1 or 0. The protocol ``split`` uses it, and so does the protocol in the name of the file:
    ``xsub`` for ``NTU60_CS``, ``NTU60_XSub`` and ``PKUv2_XSub``, ``xset`` for ``NTU120_CSet`` and
    ``NTU120_XSet``. 60 or 120 classes are the actions of NTU RGB+D, normalised by ``"sgn"``; 51
    classes are those of PKU-MMD, as recorded; other classes are named A001, A002, ... In files of
    NTU RGB+D 120, the second person of a recording with one person is a copy of the first, not
    zeros. A sequence without any coordinate keeps one frame. Files of ``np.savez`` can be read by
    several processes, compressed files only from the beginning.

    Raises:
        SkeletonFormatError: If an array is wrong; the message names it. A sequence with NaN
            coordinates or without a class raises only when it is read.
    """
    file = Path(path)
    arrays, heads = load_npz(file, _KEYS, ("x_train", "x_test"))
    parts = {key: _part(arrays[f"y{key[1:]}"], heads[key]) for key in heads}
    classes, others = parts["x_train"].classes, parts["x_test"].classes
    if classes != others:
        fail(file, "y_test", f"expected {classes} classes, as y_train has, got {others}")
    protocols = {"split": published_split("train")}
    if name := _NAME.fullmatch(file.stem):
        protocols[_PROTOCOLS[name[1].lower()]] = protocols["split"]
    ntu, pku = classes in (60, 120), classes == len(PKU_ACTIONS)
    codes = tuple(f"A{number:03d}" for number in range(1, classes + 1))
    return Source(
        format="ctrgcn",
        skeleton=NTU25,
        class_names=NTU_ACTIONS[:classes] if ntu else PKU_ACTIONS if pku else codes,
        units=[unit for part in parts.values() for unit in part.array.units(len(part.labels))],
        read=partial(_read_unit, parts),
        persons=_PERSONS,
        keep_order=pku,
        normalization="sgn" if ntu else "none",
        protocols=protocols,
        fps=30.0,
        about=f"{'PKU-MMD' if pku else 'NTU RGB+D'}, in the manner of CTR-GCN: {file.name}",
    )


def _part(one_hot: NDArray[Any], array: NpzArray) -> _Part:
    file, shape, dtype, key = array.file, array.shape, array.dtype, f"y{array.key[1:]}"
    if len(shape) != 3 or shape[2] != _VALUES or shape[1] == 0 or dtype.kind != "f":
        fail(file, array.key, f"expected floats (N, T, {_VALUES}), got {dtype} {shape}")
    check_room(file, SEQUENCE_BYTES * shape[0], array.key, f"{shape[0]:,} sequences")
    if one_hot.ndim != 2 or one_hot.dtype.kind not in "fiub":
        fail(file, key, f"expected one-hot (N, classes), got {one_hot.dtype} {one_hot.shape}")
    if len(one_hot) != shape[0]:
        fail(file, key, f"expected {shape[0]} rows, as {array.key} has, got {len(one_hot)}")
    if not 0 < one_hot.shape[1] <= MOST_CLASSES:
        what = f"expected one-hot (N, classes), 1 to {MOST_CLASSES:,} classes"
        fail(file, key, f"{what}, got {one_hot.shape}")
    wrong = ((one_hot != 0) & (one_hot != 1)).any(1) | ((one_hot != 0).sum(1) != 1)
    labels = np.where(wrong, -1, one_hot.argmax(1)).astype(np.int64)
    return _Part(array, labels, one_hot.shape[1], int(key == "y_train"))


def _read_unit(
    parts: Mapping[str, _Part], unit: Range
) -> Iterator[Recording | SkeletonFormatError]:
    part = parts[unit.key]
    sequences = part.array.sequences(np.ones(len(part.labels), np.int64), unit)
    for index, rows in enumerate(sequences, unit.start):
        yield or_error(_recording, part, index, rows[0])


def _recording(part: _Part, index: int, padded: NDArray[Any]) -> Recording:
    file, key, label = part.array.file, part.array.key, int(part.labels[index])
    if label < 0:
        fail(file, f"y{key[1:]}", f"row {index} is not one-hot")
    with parsing(file, key, f"sequence {index}"), np.errstate(over="ignore", invalid="ignore"):
        frames = unpadded(padded).reshape(-1, _PERSONS, _JOINTS, 3).astype(np.float32)
    if where := not_finite(frames):
        fail(file, key, f"NaN or infinity in sequence {index}, {where}")
    return Recording(frames, label, {"train": part.trains}, name=f"{key}[{index}]")
