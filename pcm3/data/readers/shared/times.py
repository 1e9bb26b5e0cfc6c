"""Frame rates that follow from a column of times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

import numpy as np

from pcm3.data.resample import FASTEST, MOST_FPS, SLOWEST

_FARTHEST = 0.3  # of a frame, from even spacing
_LONGEST = 1.5  # times the median step
_CLOCK = re.compile(
    r"(?:(\d{4}-\d\d-\d\d)[T ])?(\d{1,2}):(\d\d):(\d\d(?:\.\d+)?)(?:Z|[+-]\d\d:?\d\d)?", re.ASCII
)


def read_clock(text: str) -> float:
    """Read a time of day, maybe with an ISO date before it, in seconds.

    Raises:
        ValueError: If the text is none.
    """
    if not (match := _CLOCK.fullmatch(text)):
        raise ValueError(f"expected a time, got {text:.40}")
    day = date.fromisoformat(match[1]).toordinal() if match[1] else 0
    return ((day * 24 + int(match[2])) * 60 + int(match[3])) * 60 + float(match[4])


def find_rate(times: Mapping[int, float], per_second: float | None) -> tuple[float | None, str]:
    """Find the frame rate of a recording from the times of its frames.

    Times are regular if none is farther from even spacing than 0.3 frames, and no step is longer
    than 1.5 times the median step, as it is where a frame is left out. The rate is that of the
    even spacing, which rounded times leave as it is; a rate next to a whole number is that number.

    Args:
        times: Time of each frame by its number.
        per_second: Units of the time in a second; None tries seconds and milliseconds, and takes
            the one that gives 5 to 1000 frames a second. Whole numbers one after the other then
            are no times, but count the frames.

    Returns:
        The rate, or None and the reason why there is none.
    """
    if len(times) < 2:
        return None, "there is one frame"
    numbers, values = np.array(sorted(times.items()), dtype=np.float64).T
    numbers -= numbers[0]
    numbers /= np.gcd.reduce(numbers.astype(np.int64))
    step = float(values[-1] - values[0]) / float(numbers[-1])
    steps = np.diff(values) / np.diff(numbers)
    if not (np.isfinite(step) and step > 0 and steps.min() > 0):
        return None, "the times do not increase"
    off = float(np.abs(values - values[0] - step * numbers).max()) / step
    if off > _FARTHEST or steps.max() > _LONGEST * np.median(steps):
        return None, "the times are not regular"
    if per_second is None and step == 1 and not np.mod(values, 1).any():
        return None, "the times count the frames"
    rates = [unit / step for unit in ((1.0, 1e3) if per_second is None else (per_second,))]
    if per_second is None:
        rates = [rate for rate in rates if SLOWEST <= rate <= FASTEST]
    if len(rates) != 1 or rates[0] > MOST_FPS:
        return None, "the unit of the times is unknown"
    (rate,) = rates
    whole = round(rate)
    rounded = max(5e-4, off / float(numbers[-1]))
    return (float(whole) if abs(rate - whole) < rounded * rate else round(rate, 3)), ""
