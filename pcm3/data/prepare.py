"""Raw files in, a store out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from pcm3.data.normalize import Normalization, normalize
from pcm3.data.readers import Recordings, read_packed
from pcm3.data.store import Store, StoreDtype
from pcm3.data.writer import StoreWriter

__all__ = ["Format", "prepare"]

Format = Literal["packed"]


def prepare(
    format: Format,
    source: str | Path,
    out: str | Path,
    *,
    normalization: Normalization = "center",
    dtype: StoreDtype = "float32",
    min_frames: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Turn raw files into a store, in constant memory; nothing appears unless it all went well.

    Args:
        format: What the files are: ``"packed"``.
        source: The file or folder to read.
        out: The store to write.
        normalization: Recipe for the coordinates, see ``normalize``.
        dtype: Type of the stored coordinates.
        min_frames: Shorter sequences are dropped.
        overwrite: Replace a store that is already there.
        progress: Called after every sequence with how many are done and how many there are.

    Returns:
        The report, also kept as ``report.json`` in the store: settings, ``read``, ``kept``,
        ``dropped`` (index and reason of each) and, not in the file, ``Store.summary()`` as
        ``summary``. Bit-identical copies stay in, see ``Store.columns["duplicate_of"]``.

    Raises:
        SkeletonFormatError: If a file does not hold what its format promises.
        ValueError: If ``out`` exists, an option is unknown, or no sequence is left.
    """
    recordings = _read(format, source)
    dropped: list[dict[str, Any]] = []
    with StoreWriter(
        out,
        recordings.skeleton,
        class_names=recordings.class_names,
        dtype=dtype,
        fps=recordings.fps,
        unit=recordings.unit,
        source=recordings.source,
        licence=recordings.licence,
        normalization=normalization,
        overwrite=overwrite,
    ) as writer:
        for index, recording in enumerate(recordings):
            persons = recording.frames.shape[1]
            frames = normalize(recording.frames, recordings.skeleton, normalization, persons)
            if recording.frame_labels is not None and len(frames) != len(recording.frames):
                raise ValueError(
                    f"normalization {normalization!r} drops frames, so that frame labels would no "
                    "longer fit; expected 'center' or 'none' for untrimmed recordings"
                )
            if len(frames) < min_frames:
                dropped.append({"index": index, "reason": f"{len(frames)} frames"})
            elif not frames.any():
                dropped.append({"index": index, "reason": "all coordinates are zero"})
            else:
                writer.add(
                    frames,
                    recording.label,
                    frame_labels=recording.frame_labels,
                    segments=recording.segments,
                    **recording.columns,
                )
            if progress is not None:
                progress(index + 1, len(recordings))
        report: dict[str, Any] = {
            "format": format,
            "source": Path(source).name,
            "normalization": normalization,
            "dtype": dtype,
            "min_frames": min_frames,
            "read": len(recordings),
            "kept": len(writer),
            "dropped": dropped,
        }
        writer.report = report
    return report | {"summary": Store(out).summary()}


def _read(format: Format, source: str | Path) -> Recordings:
    if format == "packed":
        return read_packed(source)
    raise ValueError(f"expected a format among {get_args(Format)}, got {format!r}")
