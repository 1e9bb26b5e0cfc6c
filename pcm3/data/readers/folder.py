"""A folder of plain ``.npy`` files, one recording each, such as the output of pose estimators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Recording, Source, not_finite
from pcm3.data.readers.freemocap import is_freemocap
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.readers.shared.orders import COORDINATES, ORDER, crowded, fitting_orders
from pcm3.data.readers.shared.table import TABLE, named_files, with_table
from pcm3.data.readers.shared.third import Coordinates, Third, find_third
from pcm3.data.units import read_unit
from pcm3.errors import SkeletonFormatError
from pcm3.io.reading import MOST_BYTES, check_room, fail, files_below, is_there, kinds_of, open_npy
from pcm3.skeleton import SKELETONS, Skeleton

_LAYOUT = "skeleton.json"


class _First(NamedTuple):
    """The first file and its number of coordinates, which all files must have."""

    file: Path
    channels: int


def detect(path: Path) -> bool:
    """Return whether this folder has ``.npy`` files and a ``labels.csv`` or ``skeleton.json``.

    Those of FreeMoCap have a format of their own.
    """
    if not any(is_there(path / name) for name in (TABLE, _LAYOUT)):
        return False
    arrays = [file for file in files_below(path) if file.suffix == ".npy"]
    return bool(arrays) and not any(map(is_freemocap, arrays))


@with_table
def read_folder(
    path: str | Path,
    *,
    skeleton: str | Path | Skeleton | None = None,
    unit: str | None = None,
    axes: str | None = None,
    coordinates: Coordinates = None,
) -> Source:
    """Read a folder of ``.npy`` files, one recording each.

    A file holds numbers (T, M, V, C), or (T, V, C) for one person, with C of 2 or 3; 0 for a
    person or joint that is not seen. ``labels.csv`` gives labels and columns, see ``with_table``;
    without it every file is read, without labels. ``skeleton.json`` names the joints in the order
    of the files, see ``choose_layout``.

    Args:
        path: The folder.
        skeleton: A skeleton, the name of a built-in one (``"coco17"``, ``"blazepose33"``,
            ``"ntu25"``, ...), or a ``skeleton.json`` in place of the folder's.
        unit: Unit of the coordinates: metres, centimetres, millimetres, inches, feet, pixels, body
            lengths, image heights or image widths, or m, cm, mm, in, ft or px for short; by default
            metres, or pixels for 2D.
        axes: Order of the axes, such as MTVC, by default TMVC. Files with three axes leave out M.
            In the default order, a file with more persons than frames is refused.
        coordinates: As in ``read_packed``.

    Raises:
        ValueError: If no skeleton has the name, ``axes`` has other letters, or the unit
            is unknown.
        SkeletonFormatError: If a file is wrong; the message names it and the line, key or shape.
            A bad or missing ``.npy`` file raises only when it is read.
    """
    folder = Path(path)
    unit = None if unit is None else read_unit(unit)
    if not folder.is_dir():
        what = "got a file; give the folder that it is in" if folder.exists() else "no such folder"
        fail(folder, f"expected a folder of .npy files: {what}")
    if axes is not None and sorted(axes) not in (sorted("TMVC"), sorted("TVC")):
        raise ValueError(f"expected axes T, V, C and maybe M in any order, got {axes!r}")
    layout = _find_layout(folder, skeleton)
    arrays = (file for file in files_below(folder) if file.suffix == ".npy")
    files = sorted(arrays, key=lambda file: file.relative_to(folder).as_posix())
    if not files:
        fail(folder, f"expected .npy files, found {kinds_of(folder)}")
    units = named_files(folder, files)
    persons, first = _survey(units, layout, axes)
    third = None
    if first and first.channels == 3:
        third = _third(units, layout, axes, coordinates, unit)
    if coordinates == 3 and third is None:
        raise ValueError("expected recordings of 3 numbers per joint for 3 coordinates, got 2")
    flat = first is not None and (third.coordinates if third else first.channels) == 2
    return Source(
        format="folder",
        skeleton=layout,
        class_names=(),
        units=files,
        read=partial(_read_unit, folder, layout, axes, first, third),
        persons=persons,
        unit=unit or ("pixels" if flat else "metres"),
        about=f"folder {folder.resolve().name}",
        notes=third.notes if third else (),
    )


def _find_layout(folder: Path, given: str | Path | Skeleton | None) -> Skeleton:
    if given is None and not (folder / _LAYOUT).is_file():
        what = f"expected a {_LAYOUT} with joints and parents; --skeleton gives another one, or one"
        fail(folder, f"{what} of {', '.join(SKELETONS)}")
    return choose_layout(folder / _LAYOUT if given is None else given)


def _open(file: Path, skeleton: Skeleton, axes: str | None) -> NDArray[Any]:
    """Open the array (T, M, V, C), memory-mapped."""
    array = open_npy(file)
    letters = [letter for letter in axes or ORDER if letter != "M" or array.ndim == 4]
    if array.ndim not in (3, 4) or len(letters) != array.ndim or array.dtype.kind not in "fiu":
        what = f"expected numbers ({', '.join(axes)})" if axes else _EXPECTED
        fail(file, f"{what}, got {array.dtype} {array.shape}")
    size = dict(zip(letters, array.shape, strict=True))
    wrong = None
    if size["T"] == 0:
        wrong = f"has no frames, got {array.shape}"
    elif size["C"] not in COORDINATES or 0 in array.shape:
        wrong = f"{_EXPECTED}, got {array.dtype} {array.shape}"
    elif size["V"] != len(skeleton):
        what = f"expected {len(skeleton)} joints, as skeleton {skeleton.name!r} has"
        wrong = f"{what}, got {size['V']} in {array.shape}; --skeleton gives another layout"
    elif axes is None and crowded(array.shape):
        wrong = f"{size['M']} persons in {size['T']} frames, read as (T, M, V, C) {array.shape}"
    if wrong:
        fail(file, wrong + (_advice(array.shape, len(skeleton)) if axes is None else ""))
    room = 4 * array.size  # as float32
    if room > MOST_BYTES:
        fail(file, f"expected a recording of at most {MOST_BYTES:,} bytes, got {room:,}")
    check_room(file, room, f"{array.dtype} {array.shape}")
    ordered = array.transpose([letters.index(letter) for letter in ORDER if letter in letters])
    return np.asarray(ordered if array.ndim == 4 else ordered[:, None])


_EXPECTED = "expected numbers (T, M, V, C of 2 or 3) or (T, V, C)"


def _advice(shape: tuple[int, ...], joints: int) -> str:
    """Suggest the orders of the axes that the shape would fit, if any."""
    fitting = fitting_orders(shape, joints)
    return f"; --axes gives the order, {' or '.join(fitting)}" if fitting else ""


def _survey(
    files: Sequence[Path], skeleton: Skeleton, axes: str | None
) -> tuple[int, _First | None]:
    """Return the most persons of any file, and the first file; bad files raise when read."""
    persons, first = 1, None
    for file in files:
        with suppress(SkeletonFormatError):
            _, bodies, _, channels = _open(file, skeleton, axes).shape
            persons = max(persons, bodies)
            first = first or _First(file, channels)
    return persons, first


def _third(
    files: Sequence[Path],
    skeleton: Skeleton,
    axes: str | None,
    given: Coordinates,
    unit: str | None,
) -> Third:
    def frames(file: Path) -> NDArray[np.float32]:
        with suppress(SkeletonFormatError):
            return _frames(file, skeleton, axes)
        return np.zeros((0, 1, 1, 3), np.float32)

    return find_third(((file.name, partial(frames, file)) for file in files), given, unit)


def _frames(file: Path, skeleton: Skeleton, axes: str | None) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return _open(file, skeleton, axes).astype(np.float32, order="C")


def _read_unit(
    folder: Path,
    skeleton: Skeleton,
    axes: str | None,
    first: _First | None,
    third: Third | None,
    file: Path,
) -> Iterator[Recording]:
    frames = _frames(file, skeleton, axes)
    if first and frames.shape[3] != first.channels:
        what = f"expected {first.channels} coordinates per joint, as in {first.file.name}"
        fail(file, f"{what}, got {frames.shape[3]}")
    if where := not_finite(frames):
        fail(file, where, "NaN or infinity; write 0 where a joint is not seen")
    if third is not None:
        frames = third.take(frames, file, str(frames.shape))
    yield Recording(frames, name=file.relative_to(folder).as_posix())
