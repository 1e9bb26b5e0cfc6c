"""PYSKL and MMAction2: one pickle of annotations and splits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.protocols import published_split
from pcm3.data.readers.base import MOST_CLASSES, Recording, Source, not_finite, or_error
from pcm3.data.readers.shared.names import (
    NtuName,
    at_odds,
    ntu_class_names,
    ntu_edition,
    ntu_names,
    ntu_protocols,
)
from pcm3.data.store.meta import is_column
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.pickles import load_plain_pickle
from pcm3.io.reading import check_room, fail, format_error, parsing, shown
from pcm3.skeleton import COCO17, NTU25, OPENPOSE18, Skeleton

_FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND21 = Skeleton(
    "hand21",
    ("wrist", *(f"{finger}{joint}" for finger in _FINGERS for joint in (1, 2, 3, 4))),
    (-1, *(0 if joint % 4 == 1 else joint - 1 for joint in range(1, 21))),
    {"palm": (0,)}
    | {finger: tuple(range(4 * at + 1, 4 * at + 5)) for at, finger in enumerate(_FINGERS)},
    tuple(range(21)),
    0,
)
"""A hand: the wrist, and each finger from its root to its tip."""

_LAYOUTS = {17: COCO17, 18: OPENPOSE18, 21: HAND21, 25: NTU25}


class _Sample(NamedTuple):
    """The content of one annotation."""

    name: str
    label: int
    points: NDArray[Any]
    columns: dict[str, int]


class _Contents(NamedTuple):
    """The content of a file, with an error in place of each bad annotation.

    Attributes:
        channels: Number of coordinates of a joint, without a score.
    """

    samples: list[_Sample | SkeletonFormatError]
    good: list[_Sample]
    splits: list[str]
    skeleton: Skeleton
    channels: int
    ntu_names: list[NtuName] | None


def detect(path: Path) -> bool:
    """Return whether this is a pickle that begins with splits or annotations."""
    if path.suffix not in (".pkl", ".pickle"):
        return False
    try:
        with regular(path).open("rb") as stream:
            start = stream.read(4096)
    except (OSError, SkeletonFormatError):
        return False
    return any(word in start for word in (b"annotations", b"split", b"frame_dir"))


def read_pyskl(path: str | Path) -> Source:
    """Read a PYSKL or MMAction2 pickle of 2D or 3D skeletons.

    The file is a dict of ``split`` (sample names by name of the split; may be missing) and
    ``annotations``, or the annotations alone: a list of dicts with ``frame_dir`` (sample name, may
    be a number), ``label`` (from 0), ``total_frames`` T and ``keypoint`` (M, T, V, C), with C of 2
    in pixels or 3 in metres. The number of joints determines the layout, as in PYSKL: 17 joints
    are COCO's, 18 OpenPose's, 21 those of a hand, 25 NTU RGB+D's. If the third coordinate of all
    joints is from 0 to 1 and the others are not small, it is considered a score. Scores are not
    kept.

    Every pair of splits ``NAME_train`` and ``NAME_val`` becomes the column ``NAME``: 1 for
    training, 0 for validation, -1 for neither. The pair ``train`` and ``val`` becomes the column
    ``split``, ``train1`` and ``test1`` become ``split1``. The protocol with the same name uses the
    column. If all samples are named like those of NTU RGB+D, there are also the columns
    ``subjects``, ``views``, ``setups`` and ``replications`` and the protocols of the data set,
    except those that the file itself has.

    The pickle is read by an unpickler that runs no code. It is loaded as a whole, here and again
    when the recordings are read, so it is a single unit. If at least half of the labels are the
    actions in NTU RGB+D names, all labels must be.

    Raises:
        SkeletonFormatError: If the file is wrong; the message names key and sample. A single bad
            sample raises only when it is read.
    """
    file = Path(path)
    contents = _load(file)
    bodies = max(len(sample.points) for sample in contents.good)
    labels = [sample.label for sample in contents.good]
    flat, layout = contents.channels == 2, contents.skeleton
    ntu = contents.ntu_names
    protocols = ntu_protocols(ntu_edition(ntu)) if ntu else {}
    parsed = ntu_names(sample.name for sample in contents.good) if ntu else None
    protocols |= {column: published_split(column) for column in contents.splits}
    return Source(
        format="pyskl",
        skeleton=layout,
        class_names=ntu_class_names(labels, parsed),
        units=[file],
        read=_read_unit,
        persons=min(max(bodies, 1), 2),
        protocols=protocols,
        fps=30.0 if ntu else None,
        unit="pixels" if flat else "metres",
        about=f"PYSKL annotations {file.name}" + (", joint scores dropped" if flat else ""),
        notes=[f"the layout of {len(layout)} joints is taken to be {layout.name}, as in PYSKL"],
    )


def _load(file: Path) -> _Contents:
    loaded = load_plain_pickle(file)
    if isinstance(loaded, list) and loaded and isinstance(loaded[0], Mapping):
        loaded = {"annotations": loaded}
    if not isinstance(loaded, Mapping) or "annotations" not in loaded:
        got = shown(list(loaded) if isinstance(loaded, Mapping) else loaded)
        fail(file, f"expected a dict of annotations and split, or annotations, got {got}")
    annotations = loaded["annotations"]
    if not isinstance(annotations, list) or not annotations:
        fail(file, "annotations", "expected a list with at least one sample")
    samples: list[_Sample | SkeletonFormatError] = []
    seen: dict[str, int] = {}
    layout = None
    for index, annotation in enumerate(annotations):
        try:
            with parsing(file, f"annotation {index}"):
                sample = _check(file, index, annotation, layout)
            if sample.name in seen:
                place = f"annotation {index} ({sample.name:.60})"
                fail(file, place, f"frame_dir: is already that of annotation {seen[sample.name]}")
        except SkeletonFormatError as error:
            samples.append(error.with_traceback(None))  # tracebacks take more memory than the file
        else:
            samples.append(sample)
            seen[sample.name] = index
            layout = layout or (sample.points.shape[2], sample.points.shape[3])
    if layout is None:
        raise next(sample for sample in samples if isinstance(sample, SkeletonFormatError))
    good = [sample for sample in samples if isinstance(sample, _Sample)]
    size = sum(4 * sample.points.size for sample in good)  # samples may share an array
    check_room(file, size, f"keypoints of {len(good):,} annotations")
    parsed = ntu_names(seen)
    for sample, name in zip(good, parsed or [], strict=bool(parsed)):
        sample.columns.update(name.columns)
    splits = _add_splits(file, loaded.get("split", {}), good)
    odd = [good[at] for at in sorted(at_odds([sample.label for sample in good], parsed))]
    for sample in odd:
        place = f"annotation {seen[sample.name]} ({sample.name:.60})"
        what = f"label: expected the action of its name, got {sample.label}"
        samples[seen[sample.name]] = format_error(file, place, what)
    good = [sample for sample in samples if isinstance(sample, _Sample)]
    joints, channels = layout
    channels -= channels == 3 and _has_scores(file, good, joints)
    return _Contents(samples, good, splits, _LAYOUTS[joints], channels, parsed)


def _has_scores(file: Path, samples: list[_Sample], joints: int) -> bool:
    """Return whether the third values of all samples are scores."""
    third = [sample.points[..., 2] for sample in samples if sample.points.size]
    if any(points.min() < 0 or points.max() > 1 for points in third) or not any(map(np.any, third)):
        return False
    if any(np.abs(sample.points[..., :2]).max() > 2 for sample in samples if sample.points.size):
        return True
    if joints != len(NTU25):
        fail(file, "keypoint: x, y and score, or x, y and z? keep only x and y if it is a score")
    return False


def _check(file: Path, index: int, annotation: Any, layout: tuple[int, int] | None) -> _Sample:
    """Check an annotation against a layout of joints and axes; None allows any known layout."""
    place = f"annotation {index}"
    if not isinstance(annotation, Mapping):
        fail(file, place, f"expected a dict, got {type(annotation).__name__}")
    required = ("frame_dir", "label", "keypoint")
    if missing := [key for key in required if key not in annotation]:
        keys = shown(list(annotation))
        fail(file, place, f"{', '.join(missing)} missing; got {keys}")
    name, label, points = (annotation[key] for key in required)
    if (name := _name(name)) is None:
        fail(file, place, f"frame_dir: expected a name, got {shown(annotation['frame_dir'])}")
    place = f"{place} ({name:.60})"
    if not isinstance(label, (int, np.integer)) or label < 0:
        fail(file, place, f"label: expected an integer from 0, got {shown(label)}")
    if label >= MOST_CLASSES:
        what = f"expected a class index from 0, below {MOST_CLASSES:,}, got {shown(label)}"
        fail(file, place, f"label: {what}")
    if not isinstance(points, np.ndarray) or points.ndim != 4 or points.dtype.kind != "f":
        array = isinstance(points, np.ndarray)
        got = f"{points.dtype} {points.shape}" if array else type(points).__name__
        fail(file, place, f"keypoint: expected floats (M, T, V, C), got {got}")
    frames = annotation.get("total_frames", points.shape[1])
    if frames != points.shape[1]:
        what = f"expected {shown(frames)} frames, as total_frames, got {points.shape}"
        fail(file, place, f"keypoint: {what}")
    joints = points.shape[2:]
    known = joints[0] in _LAYOUTS and joints[1] in (2, 3)
    if not known or joints != (layout or joints) or points.shape[1] == 0:
        expected = f"(M, T, {layout[0]}, {layout[1]})" if layout else _KNOWN
        fail(file, place, f"keypoint: expected {expected}, got {points.shape}")
    if len(points) > points.shape[1] and "total_frames" not in annotation:
        what = f"got {len(points)} bodies in {points.shape[1]} frames; add total_frames if correct"
        fail(file, place, f"keypoint: expected (M, T, V, C), {what}")
    return _Sample(name, int(label), points, {})


_KNOWN = f"(M, T, V of {', '.join(map(str, _LAYOUTS))}, C of 2 or 3)"


def _name(value: Any) -> str | None:
    """Return the name of a sample as text; None if it is neither text nor a number."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(value) if abs(int(value)) < 2**63 else None
    return str(value) if isinstance(value, str) else None


def _add_splits(file: Path, splits: Any, samples: list[_Sample]) -> list[str]:
    """Add a column for every pair of splits; return the names of the columns."""
    added = []
    if not isinstance(splits, Mapping):
        fail(file, "split", f"expected a dict of lists of names, got {type(splits).__name__}")
    for key in splits:
        match = re.fullmatch(r"(?:(\w{1,64})_)?train([0-9]{0,9})", str(key))
        if match is None:
            continue
        prefix = f"{match[1]}_" if match[1] else ""
        others = [f"{prefix}{part}{match[2]}" for part in ("val", "test")]
        other = next((name for name in others if name in splits), None)
        if other is None:
            continue
        column = (match[1] or "split") + match[2]
        if column in NtuName._fields or not is_column(column):
            column = f"{column}_split" if column.isidentifier() else f"split_{column}"
        if column in added:
            fail(file, "split", f"a second pair of splits called {column}")
        train, validation = (_name_set(file, splits, part) for part in (key, other))
        if both := sorted(train & validation):
            fail(file, "split", f"{both[0]:.60} is in both {key} and {other}")
        for sample in samples:
            inside = 1 if sample.name in train else 0 if sample.name in validation else -1
            sample.columns[column] = inside
        added.append(column)
    return added


def _name_set(file: Path, splits: Mapping[str, Any], key: str) -> frozenset[str]:
    names = splits[key]
    if isinstance(names, np.ndarray):
        names = names.tolist()
    texts = {_name(name) for name in names} if isinstance(names, (list, tuple, set)) else {None}
    if None in texts:
        fail(file, f"split {key}", "expected a list of sample names")
    return frozenset(name for name in texts if name is not None)


def _read_unit(file: Path) -> Iterator[Recording | SkeletonFormatError]:
    contents = _load(file)
    for index, sample in enumerate(contents.samples):
        yield or_error(_recording, file, index, sample, contents.channels)


def _recording(
    file: Path, index: int, sample: _Sample | SkeletonFormatError, channels: int
) -> Recording:
    if isinstance(sample, SkeletonFormatError):
        raise sample
    with np.errstate(over="ignore", invalid="ignore"):
        points = sample.points[..., :channels].transpose(1, 0, 2, 3)
        frames = np.ascontiguousarray(points, dtype=np.float32)
    if where := not_finite(frames):
        place = f"annotation {index} ({sample.name:.60})"
        fail(file, place, f"keypoint: NaN or infinity in {where}")
    return Recording(frames, sample.label, sample.columns, name=sample.name)
