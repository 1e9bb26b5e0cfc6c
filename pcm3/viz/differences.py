"""How a recording differs from another one: two film strips, and a map of body parts over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from pcm3.skeleton import Skeleton
from pcm3.viz.clips import HIDDEN, Array, as_clip, present
from pcm3.viz.results import short_text
from pcm3.viz.skeletons import draw_figure, limits_of

_COLORS = LinearSegmentedColormap.from_list(
    "difference", ["#B8C4CC", "#D55E00", "#4A0E00"]
).with_extremes(bad="white")


def difference_figure(
    recording: ArrayLike,
    reference: ArrayLike,
    values: ArrayLike,
    parts: Mapping[str, ArrayLike],
    worst: tuple[int, int],
    skeleton: Skeleton,
    frames: int = 8,
    titles: tuple[str, str] = ("recording", "reference"),
    unit: str = "metres",
    first: int = 0,
    axes: tuple[int, int] = (0, 1),
) -> Figure:
    """Draw a recording above what it is compared with, and the difference of parts over time.

    The joints of the recording, and the bones to their parents, have the colour of their
    difference, grey for the smallest and dark red for the largest one; the reference is grey.

    Args:
        recording: Joint coordinates ``(C, T, V, M)``; 0 for missing joints.
        reference: ``(C, T, V, M)``, for each frame of the recording what it is compared with.
        values: Difference of each joint ``(T, V, M)``, NaN where there is none.
        parts: Difference of each body part in each frame (T,), by name.
        worst: First frame of the stretch that is outlined, and the frame after its last.
        skeleton: The layout of the joint axis.
        frames: Number of frames to show, T at most.
        titles: Names of recording and reference.
        unit: Unit of the differences.
        first: Number of the first frame, if the recording is a part of a longer one.
        axes: The coordinate channels that point right and up.

    Returns:
        A figure of ``2 * frames`` axes, row by row, then the map and its scale.

    Raises:
        ValueError: If shapes do not fit, ``frames`` is below 1, or there are no parts.
    """
    clip, other = as_clip(recording, skeleton), as_clip(reference, skeleton)
    values = np.asarray(values, np.float64)
    rows = {name: np.asarray(row, np.float64) for name, row in parts.items()}
    length = clip.shape[1]
    if other.shape != clip.shape or values.shape != clip.shape[1:]:
        raise ValueError(
            f"expected a recording and a reference (C, T, V, M) and values (T, V, M) for them, "
            f"got {clip.shape}, {other.shape} and {values.shape}"
        )
    if not rows or any(row.shape != (length,) for row in rows.values()) or frames < 1:
        raise ValueError(
            f"expected parts with {length} values each, and at least one frame, got "
            f"{[row.shape for row in rows.values()]} and {frames} frames"
        )
    known = values[np.isfinite(values)]
    scale = Normalize(0, float(known.max()) if known.size and known.max() > 0 else 1.0)
    shown = np.linspace(0, length - 1, min(frames, length)).round().astype(int)
    figure = Figure(figsize=(max(1.2 * len(shown) + 1.0, 5.0), 4.6), layout="constrained")
    grid = figure.add_gridspec(3, len(shown), height_ratios=(1, 1, 0.9))
    colors = np.array([HIDDEN] * len(skeleton), dtype=object)
    seen = present(clip, skeleton), present(other, skeleton)
    both = np.concatenate([clip, other], axis=1)
    limits = limits_of([both], np.concatenate(seen), axes)
    for row, (each, there, title) in enumerate(zip((clip, other), seen, titles, strict=True)):
        flat = each[list(axes)]
        for column, frame in enumerate(shown):
            axis = figure.add_subplot(grid[row, column])
            for person in range(clip.shape[-1]):
                own = colors if row else _colored(values[frame, :, person], scale)
                at, none = there[frame, :, person], np.zeros(len(skeleton), bool)
                draw_figure(axis, flat[:, frame, :, person].T, at, none, skeleton, own)
            axis.set(xlim=limits[0], ylim=limits[1], xticks=[], yticks=[], aspect="equal")
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(f"frame {first + frame}", fontsize="small")
            if column == 0:
                axis.set_ylabel(short_text(title), fontsize="small")
    axis = figure.add_subplot(grid[2, :])
    image = np.ma.masked_invalid(np.stack(list(rows.values())))
    extent = (first - 0.5, first + length - 0.5, len(rows) - 0.5, -0.5)
    axis.imshow(image, cmap=_COLORS, norm=scale, aspect="auto", interpolation="none", extent=extent)
    axis.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axis.set_xlabel("frame", fontsize="small")
    axis.tick_params(labelsize="small", length=0)
    start, end = (first + frame for frame in worst)
    style: dict[str, Any] = {"fill": False, "edgecolor": "black", "linewidth": 1.5, "gid": "worst"}
    axis.add_patch(Rectangle((start - 0.5, -0.5), end - start, len(rows), clip_on=False, **style))
    bar = figure.colorbar(ScalarMappable(scale, _COLORS), ax=axis, aspect=12)
    bar.set_label(f"difference, {unit}", fontsize="small")
    bar.ax.tick_params(labelsize="small")
    return figure


def _colored(values: Array, scale: Normalize) -> Array:
    """Colours of the differences of joints (V,); grey for those without."""
    shades = _COLORS(scale(np.nan_to_num(values)))
    colors = [to_hex(shade) for shade in shades]
    known = np.isfinite(values)
    return np.array([c if k else HIDDEN for c, k in zip(colors, known, strict=True)], dtype=object)
