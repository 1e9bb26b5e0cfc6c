"""``prepare``, which turns raw files into a store: parallel, resumable, in constant memory."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, get_args

from pcm3.data.axes import Up, check_up
from pcm3.data.normalize import Normalization
from pcm3.data.readers import READERS, Format, Source, open_source
from pcm3.data.readers.base import file_of, kind_of
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.data.resample import check_rate, note_on_rate, rate_of_store, with_rate
from pcm3.data.resumable import cut, partial_folder, read_shards, writing_to
from pcm3.data.shards import Shard, append_shards, total
from pcm3.data.store import Store, StoreDtype
from pcm3.data.store.writer import StoreWriter
from pcm3.data.tally import (
    limit_of_jumps,
    note_on_directions,
    note_on_marks,
    note_on_size,
    probable_unit,
)
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import JointMap, Skeleton, joint_map

_BY_BODY = (
    "pixels divided by the length of the bodies, the median of each recording; --keep-pixels "
    "leaves them"
)
_SEE = "(pcm3 prepare --help-all)"
_TURNED = "{} pointed up: turned so that y does"
_SEVERAL_IN_A_FILE = ("pyskl", "videopose3d")
"""Formats of which a file is read at once although it has many sequences."""


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    format: Format | None = None,
    to: str | Path | Skeleton | None = None,
    normalization: Normalization | None = None,
    duplicate_single: bool = False,
    persons: int | None = None,
    associate: bool = False,
    up: Up | None = None,
    fps: float | None = None,
    source_fps: float | None = None,
    keep_pixels: bool = False,
    dtype: StoreDtype = "float32",
    min_frames: int = 1,
    skip_bad: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Turn raw files into a store.

    The work is split into shards that are kept next to the store until it is complete. If the
    process is killed, the same call continues where it stopped.

    Args:
        source: The file or folder to read.
        out: The store to write; it appears only when it is complete.
        format: Format of the files, by default detected from the path.
        to: Layout of the store, if not that of the recordings: a skeleton, the name of a built-in
            one, or a ``skeleton.json``. Joints are mapped by ``skeleton.joint_map``, before
            anything is normalised.
        normalization: Recipe for the coordinates, see ``normalize``. By default ``"center"``, or
            the recipe that was already applied to the recordings, which is not applied again.
        duplicate_single: Option of the recipe ``"sgn"``, see ``normalize``.
        persons: Number of persons M of the store, by default that of the format.
        associate: Give every person one slot by position, whatever the files say, see
            ``associate.associate``. This is done before anything else.
        up: The axis of the recordings that points up; they are turned so that y does, see
            ``axes.turn_up``. By default axes stay as they are.
        fps: Frames per second of the store. Recordings with another rate are resampled, see
            ``resample.resample``. Recordings with an unknown rate are assumed to have this one.
        source_fps: Frames per second of recordings whose files do not give a rate.
        keep_pixels: Keep coordinates in pixels. By default the coordinates of each recording are
            divided by the length of its bodies, ``tally.body_length``, so that training does not
            depend on the size of the image; the unit of the store is then ``"body lengths"``.
        dtype: Type of the stored coordinates.
        min_frames: Drop sequences that are shorter than this.
        skip_bad: Count and skip files that do not follow their format, instead of stopping.
        workers: Number of processes that read, by default one per core.
        overwrite: Replace an existing store.
        progress: Called with the number of units (usually files) that are done and their total.
        options: Options of the reader, such as ``untrimmed=True`` for PKU-MMD, and ``skeleton``,
            see ``open_source``. ``bodies`` of NTU RGB+D is ``"place"`` by default if the recipe
            is ``"isc"``.

    Returns:
        The report, which is also ``report.json`` in the store: the settings, ``skeleton``
        (``Skeleton.summary``), ``units`` (files, or parts of a large file), ``left_out`` files
        with the reason, ``read`` sequences, everything in ``Tally.report`` (what was kept,
        dropped, bad or resampled, which bodies jump, and in how many frames persons are missing),
        ``held`` (the recipe that the format says was applied already), ``notes`` (how often each
        applies), ``warnings`` and ``label_notes`` (on labels and columns), which are shown
        last, ``unit_is`` (``"file"``, ``"recording"`` of several files, or ``"part of a file"``),
        ``mapping``
        (``JointMap.report``, only where joints were mapped), ``rounding`` (the largest
        error of ``"float16"``) and, not in the file, ``Store.summary()`` as ``summary``.

    Raises:
        SkeletonFormatError: If a file does not follow its format.
        ValueError: If ``out`` exists, an option is unknown, the recipe does not suit the
            recordings, their joints do not give those of ``to``, recordings have several frame
            rates and ``fps`` is not given, or no sequence is left.
        ChildProcessError: If a process that reads files is killed. The same call continues with
            the rest.
    """
    for name, rate in (("fps", fps), ("source_fps", source_fps)):
        if rate is not None:
            check_rate(name, rate)
    for name, value in (("workers", workers), ("min_frames", min_frames), ("persons", persons)):
        if value is not None and value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}")
    defaults = {"bodies": "place"} if normalization == "isc" else {}
    opened = open_source(Path(source), format, defaults=defaults, **options)
    opened = replace(with_rate(opened, source_fps), persons=persons or opened.persons)
    rate = rate_of_store(opened, fps)
    by_body = opened.unit == "pixels" and not keep_pixels
    normalization = _settle(opened, normalization, duplicate_single)
    mapping = None if to is None else _mapping(opened, to, normalization)
    skeleton = opened.skeleton if mapping is None else mapping.target
    if up is not None and opened.normalization == "isc":
        raise ValueError(f"{opened.format!r} recordings are already turned by 'isc', got up={up!r}")
    if up is not None:
        check_up(up, 3)
    if opened.bodies is not None:
        options["bodies"] = opened.bodies
    settings = {
        "format": opened.format,
        "source": Path(source).resolve().name,
        "options": {name: _plain(value) for name, value in options.items()},
        "normalization": normalization,
        "held": opened.normalization,
        "duplicate_single": duplicate_single,
        "persons": opened.persons,
        "associate": associate,
        "up": up,
        "fps": rate,
        "source_fps": source_fps,
        "keep_pixels": keep_pixels,
        "min_frames": min_frames,
        "skeleton": skeleton.summary(),
    }
    if mapping is not None:
        settings["mapping"] = mapping.report()
    writer = StoreWriter(  # first, because it refuses a bad target
        out,
        skeleton,
        class_names=opened.class_names,
        dtype=dtype,
        fps=rate,
        unit="body lengths" if by_body else opened.unit,
        source=opened.about,
        licence=opened.licence,
        normalization=normalization,
        bodies=opened.bodies,
        mapping=None if mapping is None else mapping.report(),
        protocols=opened.protocols,
        overwrite=overwrite,
    )
    with (
        writing_to(Path(out)),
        partial_folder(Path(out), Path(source), opened, skeleton, settings) as partial,
    ):
        whole = Shard(
            partial,
            replace(opened, units=()),  # not pickled again for every shard
            mapping,
            opened.units,
            normalization,
            duplicate_single,
            associate,
            up,
            fps,
            by_body,
            min_frames,
            skip_bad,
        )
        shards, done = cut(whole), 0
        try:
            for shard in read_shards(shards, workers or os.cpu_count() or 1):
                done += len(shard.units)
                if progress is not None:
                    progress(done, len(opened.units))
        except SkeletonFormatError as error:
            raise SkeletonFormatError(f"{error}{_advice_on_bad(opened, str(error))}") from None
        notes = (
            [_BY_BODY] * by_body
            + [_TURNED.format(up)] * (up not in (None, "y"))
            + [*opened.notes, *_note_on_folders(opened), *note_on_rate(opened, fps)]
        )
        report = _report(opened, shards, settings | {"dtype": dtype}, notes)
        if not report["kept"]:
            shutil.rmtree(partial)
            raise ValueError(_why_nothing(report))
        with writer:
            append_shards(shards, writer)
            writer.report = report = report | {"rounding": writer.rounding}
        shutil.rmtree(partial)
    return report | {"summary": Store(out).summary()}


def _settle(
    source: Source, requested: Normalization | None, duplicate_single: bool = False
) -> Normalization:
    """Choose the recipe that the store will have: the requested one, or the one already applied.

    Recordings to which a recipe was already applied are not changed if no recipe, ``"none"`` or
    the same recipe is requested. Another recipe may follow ``"sgn"``, which selects bodies and
    moves them once, but none may follow ``"isc"``, which rotates them.

    Raises:
        ValueError: If the recipe is unknown, or does not suit the recordings.
    """
    if requested is not None and requested not in get_args(Normalization):
        expected = ", ".join(get_args(Normalization))
        raise ValueError(f"expected a normalization among {expected}, got {requested!r}")
    held = source.normalization
    recipe = requested or ("center" if held == "none" else held)
    if recipe == "none":
        recipe = held
    if duplicate_single and recipe != "sgn":
        raise ValueError(f"duplicate_single belongs to normalization 'sgn', got {recipe!r}")
    if duplicate_single and held == "sgn":
        what = f"was already applied to {source.format!r} recordings"
        raise ValueError(f"duplicate_single is a step of normalization 'sgn', which {what}")
    if recipe == held:
        return recipe
    if held == "isc":
        raise ValueError(
            f"{source.format!r} recordings are already normalised by 'isc', which turns them, so "
            f"{recipe!r} cannot follow; --normalization isc leaves them as they are"
        )
    if recipe == "sgn" and source.bodies == "place":
        raise ValueError(
            "'sgn' needs bodies 'tracked' by their ids, got 'place'; give --bodies tracked, or "
            "leave it out"
        )
    if recipe in ("isc", "sgn") and source.untrimmed:
        raise ValueError(
            f"{recipe!r} drops frames and moves bodies in time, so frame labels of untrimmed "
            "recordings would no longer fit; give --normalization none, as in the published "
            "detection, or center"
        )
    return recipe


def _mapping(
    source: Source, to: str | Path | Skeleton, normalization: Normalization
) -> JointMap | None:
    """Find the map to another layout; None if it is that of the recordings.

    Raises:
        ValueError: If the layout has joints that the recordings do not give, or the recordings
            went through a recipe, which used their own joints.
    """
    target = choose_layout(to)
    if target == source.skeleton:
        return None
    if normalization == source.normalization != "none":
        center = source.skeleton.joints[source.skeleton.center]
        remedy = "; --normalization center follows" if normalization == "sgn" else ""
        raise ValueError(
            f"{source.format!r} recordings are already normalised by {normalization!r}, with "
            f"{center} as their centre, so they cannot be mapped to {target.name!r}{remedy}"
        )
    return joint_map(source.skeleton, target)


def _report(
    opened: Source, shards: Sequence[Shard], settings: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    """What was asked for, read, kept and left out, and notes; the rounding is not known yet."""
    report = settings | {
        "units": len(opened.units),
        "unit_is": kind_of(opened.units),
        "left_out": opened.left_out,
        "left_out_why": opened.left_out_why,
    }
    report |= total(shards)
    sizes = report.pop("sizes")
    report["warnings"] = [
        *note_on_size(opened, sizes, _remedy(opened.format, sizes)),
        *note_on_marks(report["marks"]),
        *note_on_directions(report["directions"]),
    ]
    report["label_notes"] = list(opened.label_notes)
    report["notes"] = dict.fromkeys(notes, 1) | report["notes"]
    report["jumps"]["limit"] = limit_of_jumps(opened)
    return report


def _plain(value: Any) -> Any:
    """Return a value for JSON, without folders of this machine."""
    return value.name if isinstance(value, Path | Skeleton) else value


def _remedy(format: str, sizes: Sequence[float]) -> str:
    """Say how recordings of a format, of bodies of these sizes, get their unit."""
    options = READERS[format].options
    if "unit" in options:
        unit = probable_unit(median(sizes)) if sizes else None
        return f"--unit says which, such as --unit {unit or 'millimetres'} {_SEE}"
    if format in ("c3d", "trc"):
        return "the files give it, and need to be corrected"
    if "unit_scale" in options:
        return f"--unit-scale gives the metres in one, such as --unit-scale 0.001 {_SEE}"
    if format == "packed":
        return "the array unit says which"
    return f"{format} files are expected to have metres"


def _advice_on_bad(opened: Source, message: str) -> str:
    """Advise to skip bad files, unless none would be left or the message advises something."""
    alone = len(opened.units) == 1 and file_of(opened.units[0]) is not None
    alone = alone and opened.format not in _SEVERAL_IN_A_FILE
    return "" if alone or message.endswith("?") else "; --skip-bad counts bad files and continues"


def _note_on_folders(opened: Source) -> list[str]:
    """Note from how many folders files were read, if from several."""
    files = [file for unit in opened.units if (file := file_of(unit)) is not None]
    folders = len({file.parent for file in files})
    return [f"the files of {folders:,} folders were read"] if folders > 1 else []


def _why_nothing(report: dict[str, Any]) -> str:
    reasons = Counter(entry["reason"] for entry in report["dropped"]).most_common()
    why = [f"{count} {reason}" for reason, count in reasons]
    why += [f"{len(report['bad'])} bad, {report['bad'][0]}"] if report["bad"] else []
    return f"none of {report['read']} sequences is left: {'; '.join(why)}"
