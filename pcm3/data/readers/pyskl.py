"""PYSKL and MMAction2: one pickle of annotations and splits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.protocols import published_split
from pcm3.data.readers._files import fail, not_finite
from pcm3.data.readers._names import NtuName, ntu_class_names, ntu_edition, ntu_names, ntu_protocols
from pcm3.data.readers._pickle import load_plain_pickle
from pcm3.data.readers.base import Recording, Source
from pcm3.skeleton import COCO17, NTU25, Skeleton

__all__ = ["detect", "read_pyskl"]

_LAYOUTS: dict[tuple[int, int], Skeleton] = {(25, 3): NTU25, (17, 2): COCO17}
_RESERVED = ("labels", "lengths", "duplicate_of", "label", "frame_labels", "segments")


class _Contents(NamedTuple):
    annotations: list[Mapping[str, Any]]
    labels: list[int]
    columns: list[dict[str, int]]
    splits: list[str]
    skeleton: Skeleton
    ntu_names: list[NtuName] | None


def detect(path: Path) -> bool:
    """Whether this is a pickle that begins with splits or annotations."""
    if path.suffix not in (".pkl", ".pickle"):
        return False
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError:
        return False
    return b"annotations" in start or b"split" in start


def read_pyskl(path: str | Path) -> Source:
    """Read a PYSKL pickle: 3D skeletons of NTU RGB+D, or 2D ones with COCO's 17 joints.

    It is a dict of ``split`` (name to sample names) and ``annotations``, a list of dicts with
    ``frame_dir`` (sample name), ``label`` (from 0), ``total_frames`` T and ``keypoint``
    (M, T, 25, 3) in metres or (M, T, 17, 2) in pixels. Scores of 2D joints are not kept.

    Every pair of splits ``NAME_train`` and ``NAME_val`` becomes the column ``NAME``: 1 trains,
    0 validates, -1 is in neither; a pair without name, ``train`` and ``val``, the column
    ``split``; ``train1`` and ``test1``, ``split1``. The protocol of the column's name goes by it.
    Where all samples are named like NTU RGB+D's, there are also the columns ``subjects``,
    ``views``, ``setups`` and ``replications`` and, unless the file has its own of these names,
    the data set's protocols.

    The pickle is read by an unpickler that runs nothing. It has to be in memory whole, once here
    and once more while the recordings are read, so it is a single unit.

    Raises:
        SkeletonFormatError: Naming the key and the sample that is wrong; NaN coordinates only
            when they are read.
    """
    file = Path(path)
    contents = _load(file)
    bodies = max(len(annotation["keypoint"]) for annotation in contents.annotations)
    flat = contents.skeleton is COCO17
    ntu = contents.ntu_names
    protocols = ntu_protocols(ntu_edition(ntu)) if ntu else {}
    protocols |= {column: published_split(column) for column in contents.splits}
    return Source(
        format="pyskl",
        skeleton=contents.skeleton,
        class_names=ntu_class_names(contents.labels, ntu),
        units=[file],
        read=_read_unit,
        persons=min(max(bodies, 1), 2),
        protocols=protocols,
        fps=30.0 if ntu else None,
        unit="pixels" if flat else "metres",
        about=f"PYSKL annotations {file.name}" + (", joint scores dropped" if flat else ""),
    )


def _load(file: Path) -> _Contents:
    loaded = load_plain_pickle(file)
    if not isinstance(loaded, Mapping) or not {"annotations", "split"} <= loaded.keys():
        found = ", ".join(map(str, loaded)) if isinstance(loaded, Mapping) else type(loaded)
        fail(file, f"expected a dict of annotations and split, got {found}")
    annotations = loaded["annotations"]
    if not isinstance(annotations, list) or not annotations:
        fail(file, "annotations", "expected a list with at least one sample")
    for index, annotation in enumerate(annotations):
        _check_keys(file, index, annotation)
    skeleton = _check_keypoints(file, annotations)
    names = [annotation["frame_dir"] for annotation in annotations]
    labels = [int(annotation["label"]) for annotation in annotations]
    parsed = ntu_names(names)
    columns = [name.columns for name in parsed] if parsed else [{} for _ in names]
    splits = _add_splits(file, loaded["split"], names, columns)
    return _Contents(annotations, labels, columns, splits, skeleton, parsed)


def _check_keys(file: Path, index: int, annotation: Any) -> None:
    if not isinstance(annotation, Mapping):
        fail(file, f"annotation {index}", f"expected a dict, got {type(annotation).__name__}")
    wanted = ("frame_dir", "label", "keypoint")
    if missing := [key for key in wanted if key not in annotation]:
        there = ", ".join(map(str, annotation))
        fail(file, f"annotation {index}", f"{', '.join(missing)} missing; there are {there}")
    name, label, points = (annotation[key] for key in wanted)
    if not isinstance(name, str):
        fail(file, f"annotation {index}", f"frame_dir: expected a name, got {name!r}")
    place = f"annotation {index} ({name})"
    if not isinstance(label, (int, np.integer)) or label < 0:
        fail(file, place, f"label: expected an integer from 0, got {label!r}")
    if not isinstance(points, np.ndarray) or points.ndim != 4 or points.dtype.kind != "f":
        kind = points.dtype if isinstance(points, np.ndarray) else type(points).__name__
        fail(file, place, f"keypoint: expected floats (M, T, V, C), got {kind} {np.shape(points)}")
    frames = annotation.get("total_frames", points.shape[1])
    if frames != points.shape[1]:
        fail(
            file, place, f"keypoint: expected {frames} frames, as total_frames, got {points.shape}"
        )


def _check_keypoints(file: Path, annotations: list[Mapping[str, Any]]) -> Skeleton:
    layout = annotations[0]["keypoint"].shape[2:]
    for index, annotation in enumerate(annotations):
        shape = annotation["keypoint"].shape
        if shape[2:] not in _LAYOUTS or shape[2:] != layout or shape[1] == 0:
            wanted = (
                "(M, T, 25, 3) or (M, T, 17, 2)"
                if index == 0
                else f"(M, T, {layout[0]}, {layout[1]})"
            )
            place = f"annotation {index} ({annotation['frame_dir']})"
            fail(file, place, f"keypoint: expected {wanted}, got {shape}")
    return _LAYOUTS[layout]


def _add_splits(
    file: Path, splits: Any, names: list[str], columns: list[dict[str, int]]
) -> list[str]:
    """Add a column for every pair of splits; their names."""
    added = []
    if not isinstance(splits, Mapping):
        fail(file, "split", f"expected a dict of lists of names, got {type(splits).__name__}")
    for key in splits:
        match = re.fullmatch(r"(?:(\w+)_)?train(\d*)", str(key))
        if match is None:
            continue
        prefix = f"{match[1]}_" if match[1] else ""
        others = [f"{prefix}{part}{match[2]}" for part in ("val", "test")]
        other = next((name for name in others if name in splits), None)
        if other is None:
            continue
        column = (match[1] or "split") + match[2]
        if column in (*_RESERVED, *NtuName._fields):
            column += "_split"
        train, validation = (_name_set(file, splits, part) for part in (key, other))
        if both := sorted(train & validation):
            fail(file, "split", f"{both[0]} is in both {key} and {other}")
        for name, row in zip(names, columns, strict=True):
            row[column] = 1 if name in train else 0 if name in validation else -1
        added.append(column)
    return added


def _name_set(file: Path, splits: Mapping[str, Any], key: str) -> frozenset[str]:
    names = splits[key]
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if not isinstance(names, (list, tuple, set)) or not all(isinstance(n, str) for n in names):
        fail(file, f"split {key}", "expected a list of sample names")
    return frozenset(names)


def _read_unit(file: Path) -> Iterator[Recording]:
    contents = _load(file)
    rows = zip(contents.annotations, contents.labels, contents.columns, strict=True)
    for index, (annotation, label, columns) in enumerate(rows):
        points: NDArray[Any] = annotation["keypoint"]
        frames = np.ascontiguousarray(points.transpose(1, 0, 2, 3), dtype=np.float32)
        if where := not_finite(frames):
            place = f"annotation {index} ({annotation['frame_dir']})"
            fail(file, place, f"keypoint: NaN or infinity in {where}")
        yield Recording(frames, label, columns, name=annotation["frame_dir"])
