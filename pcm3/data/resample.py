"""Recordings at another frame rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Recording, Source

__all__ = ["note_on_rate", "rate_of_store", "resample", "with_rate"]

_MOST_TIMES = 100


def resample(recording: Recording, rate: float, fps: float) -> Recording:
    """A recording of another number of frames per second, over the same time.

    New frame i lies at time ``i / fps``; the last one no later than the recording's last. A joint
    is interpolated linearly between the two frames around it where it is seen in both, and is
    absent (0) where it is not seen in one of them; a new frame that falls on an old one is a copy
    of it. Nothing is smoothed. A frame's label is that of the nearest old frame, of two equally
    near the later one, and a segment holds the frames whose nearest old frame it held; one that
    holds none is left out, which a note says.

    Args:
        recording: (T, B, V, C).
        rate: Its frames per second.
        fps: Those of the result.

    Returns:
        (T', B, V, C), T' = floor((T - 1) * fps / rate) + 1.

    Raises:
        ValueError: If there would be more than 100 times as many frames.
    """
    if fps > _MOST_TIMES * rate:
        raise ValueError(
            f"{recording.name}: expected at most {_MOST_TIMES} times as many frames, got "
            f"{rate:g} frames per second and {fps:g} to make of them"
        )
    length, step = len(recording.frames), rate / fps
    count = int(np.floor((length - 1) / step + _NEAR)) + 1
    places = np.arange(count, dtype=np.float64) * step
    at_frame = np.abs(places - np.round(places)) < _NEAR
    places[at_frame] = np.round(places[at_frame])
    nearest = np.minimum(np.floor(places + 0.5).astype(np.int64), length - 1)
    labels, segments, notes = recording.frame_labels, recording.segments, list(recording.notes)
    if labels is not None:
        labels = labels[nearest]
    if segments is not None:
        ends = np.searchsorted(nearest, segments[:, :2])
        kept = ends[:, 0] < ends[:, 1]
        notes += ["segments too short for a frame, left out"] * int((~kept).sum())
        segments = np.concatenate([ends, segments[:, 2:]], axis=1)[kept]
    frames = _interpolated(recording.frames, places)
    return replace(
        recording, frames=frames, frame_labels=labels, segments=segments, fps=fps, notes=notes
    )


_NEAR = 1e-6  # of a frame


def _interpolated(frames: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Between the frames before and behind these places, counted in frames."""
    before = np.floor(places).astype(np.int64)
    behind = np.ceil(places).astype(np.int64)
    seen = np.asarray(frames.any(-1, keepdims=True))
    weight = (places - before).astype(np.float32)[:, None, None, None]
    between = frames[before] * (1 - weight) + frames[behind] * weight
    return np.asarray(between * (seen[before] & seen[behind]), dtype=np.float32)


def with_rate(source: Source, fps: float | None) -> Source:
    """The source, and the frame rate of recordings that do not say theirs.

    Raises:
        ValueError: If they do.
    """
    if fps is None:
        return source
    if source.rates or source.fps is not None:
        said = " and ".join(f"{rate:g}" for rate in source.rates or [source.fps or 0])
        raise ValueError(
            f"source_fps is for files that do not say their frame rate; these say {said}: fps "
            "(--fps) is that of the store"
        )
    return replace(source, fps=fps)


def rate_of_store(source: Source, fps: float | None) -> float | None:
    """Frames per second of a store, where known: those asked for, or else those of the source.

    Raises:
        ValueError: If they are several and none is asked for.
    """
    if fps is None and len(source.rates) > 1:
        rates = ", ".join(f"{rate:g} ({name})" for rate, name in source.rates.items())
        raise ValueError(
            f"expected recordings of one frame rate, got {rates}; fps resamples them to one, "
            f"--fps {min(source.rates):g} say"
        )
    return fps or source.fps or next(iter(source.rates), None)


def note_on_rate(source: Source, fps: float | None) -> list[str]:
    """What to say where recordings cannot be resampled to what was asked for."""
    if fps is None or source.rates or source.fps is not None:
        return []
    return [f"nothing says the recordings' frame rate: taken for the store's, {fps:g}"]


MOST_FPS = 100_000
"""Frames per second, far above any camera's."""


def check_rate(name: str, value: float) -> float:
    """Frames per second.

    Raises:
        ValueError: If it is not a number above 0, or more than 100,000.
    """
    if not 0 < value <= MOST_FPS:
        raise ValueError(f"expected {name} above 0, at most {MOST_FPS:,}, got {value}")
    return float(value)


def group_rates(rates: Iterable[tuple[float, str]]) -> dict[float, str]:
    """Different frame rates, each with the first name that has it.

    Rates within half a per cent are one: files round the time between their frames.
    """
    found: dict[float, str] = {}
    for rate, name in rates:
        if not any(is_same_rate(rate, other) for other in found):
            found[rate] = name
    return found


def is_same_rate(one: float, other: float) -> bool:
    """Whether two frame rates differ by less than half a per cent."""
    return abs(one - other) < 0.005 * max(one, other)
