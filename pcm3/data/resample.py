"""Resampling of recordings to another frame rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pcm3.data.readers.base import Recording, Source

SLOWEST, FASTEST = 5.0, 1000.0
"""Plausible frames per second."""
_MOST_TIMES = 100


def resample(recording: Recording, rate: float, fps: float) -> Recording:
    """Resample a recording to another number of frames per second, over the same time.

    New frame i lies at time ``i / fps``, the last one not after the recording's last frame. A
    joint is interpolated linearly between the two frames around it if it is seen in both;
    otherwise it is absent (0). A new frame at the time of an old one is a copy of it. Nothing is
    smoothed. The label of a frame is that of the nearest old frame, or of the later of two equally
    near ones. A segment holds the frames whose nearest old frame was in it; a segment without
    frames is left out, and a note says so.

    Args:
        recording: The recording (T, B, V, C).
        rate: Frames per second of the recording.
        fps: Frames per second of the result.

    Returns:
        The recording (T', B, V, C) with T' = floor((T - 1) * fps / rate) + 1.

    Raises:
        ValueError: If the result would have more than 100 times as many frames.
    """
    if fps > _MOST_TIMES * rate:
        raise ValueError(
            f"{recording.name}: expected at most {_MOST_TIMES} times as many frames, got "
            f"{rate:g} frames per second to resample to {fps:g}{other_unit(rate)}"
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


_NEAR = 1e-6  # fraction of a frame


def _interpolated(frames: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate values at these places, counted in frames, between the frames around them."""
    before = np.floor(places).astype(np.int64)
    after = np.ceil(places).astype(np.int64)
    seen = np.asarray(frames.any(-1, keepdims=True))
    weight = (places - before).astype(np.float32)[:, None, None, None]
    between = frames[before] * (1 - weight) + frames[after] * weight
    return np.asarray(between * (seen[before] & seen[after]), dtype=np.float32)


def with_rate(source: Source, fps: float | None) -> Source:
    """Give a source a frame rate for recordings whose files give none.

    Raises:
        ValueError: If the files give one.
    """
    if fps is None:
        return source
    if source.rates or source.fps is not None:
        rates = " and ".join(f"{rate:g}" for rate in source.rates or [source.fps or 0])
        raise ValueError(
            f"source_fps is for files without a frame rate, but these have {rates}; fps (--fps) is "
            "the frame rate of the store"
        )
    return replace(source, fps=fps)


def rate_of_store(source: Source, fps: float | None) -> float | None:
    """Return the frame rate of a store: ``fps`` if given, else the source's; None if unknown.

    Raises:
        ValueError: If the source has several frame rates and ``fps`` is not given.
    """
    if fps is None and len(source.rates) > 1:
        rates = ", ".join(f"{rate:g} ({name})" for rate, name in source.rates.items())
        raise ValueError(
            f"expected recordings of one frame rate, got {rates}; fps resamples them to one, "
            f"such as --fps {min(source.rates):g}"
        )
    return fps or source.fps or next(iter(source.rates), None)


def note_on_rate(source: Source, fps: float | None) -> list[str]:
    """Return a note if recordings cannot be resampled because their frame rate is unknown."""
    if fps is None or source.rates or source.fps is not None:
        return []
    return [f"the frame rate of the recordings is unknown: assumed to be the store's, {fps:g}"]


def other_unit(rate: float) -> str:
    """Say in which unit the times of an implausible frame rate may be; empty if it is plausible.

    Args:
        rate: Frames per second, by times in a unit that the files give.

    Example:
        >>> other_unit(0.03), other_unit(30)
        ('; the times are probably milliseconds, not seconds', '')
    """
    if not rate < SLOWEST / 10 and not rate > FASTEST:
        return ""
    for factor, units in ((1e3, "milliseconds, not seconds"), (1e-3, "seconds, not milliseconds")):
        if SLOWEST <= rate * factor <= FASTEST:
            return f"; the times are probably {units}"
    return ""


MOST_FPS = 100_000
"""Largest number of frames per second, far above that of any camera."""


def check_rate(name: str, value: float) -> float:
    """Require a valid number of frames per second, and return it.

    Raises:
        ValueError: If the value is not a number above 0, or above 100,000.
    """
    if not 0 < value <= MOST_FPS:
        raise ValueError(f"expected {name} above 0, at most {MOST_FPS:,}, got {value}")
    return float(value)


def group_rates(rates: Iterable[tuple[float, str]]) -> dict[float, str]:
    """Return the different frame rates, each with the first name that has it.

    Rates within half a percent of each other count as one, because files round the time between
    frames.
    """
    named: dict[float, str] = {}
    for rate, name in rates:
        if not any(is_same_rate(rate, other) for other in named):
            named[rate] = name
    return named


def is_same_rate(one: float, other: float) -> bool:
    """Return whether two frame rates differ by less than half a percent."""
    return abs(one - other) < 0.005 * max(one, other)
