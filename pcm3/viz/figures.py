"""What the pictures share: colours and writing to a file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from pcm3.io.files import replacing
from pcm3.viz.movies import WRITERS, Animation

__all__ = ["PALETTE", "save"]

PALETTE = ("#000000", "#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442")
"""Okabe and Ito's colours, told apart by colour-blind readers. In the order of the body parts:
trunk black, left blue, right orange, arms dark, legs light."""

_DPI, _MOVIE_DPI = 150, 100


def save(picture: Figure | Animation, path: str | Path, dpi: int | None = None) -> Path:
    """Write a figure or an animation, whole or not at all, in the format that the suffix names.

    Args:
        picture: What to write.
        path: Where to; its folder is made where it lacks. A figure as ``.png``, ``.pdf``, ``.svg``
            and what else matplotlib writes; an animation as ``.gif``, ``.mp4`` (needs the program
            ffmpeg) or ``.html`` (one file that plays anywhere, offline, frame by frame, too).
        dpi: Pixels per inch of pixel formats; 150 by default, 100 of an animation.

    Returns:
        The path.

    Raises:
        ValueError: If that is no format of such a picture.
        OSError: If ffmpeg is missing or fails.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    with replacing(path) as file:
        if isinstance(picture, Animation):
            if suffix not in WRITERS:
                raise ValueError(
                    f"expected an animation's file to end in {', '.join(WRITERS)}, got {path.name}"
                )
            WRITERS[suffix](picture, file, dpi or _MOVIE_DPI)
        else:
            if not suffix:
                raise ValueError(f"expected a picture's file to end in .png, say, got {path.name}")
            picture.savefig(file, dpi=dpi or _DPI, format=suffix[1:])
    return path
