"""Colours, animations, and ``save``, which writes figures and animations."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pcm3.io.files import replacing

PALETTE = ("#000000", "#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442")
"""Okabe and Ito's colours, which colour-blind readers can distinguish. In the order of the body
parts: trunk black, left blue, right orange, arms dark, legs light."""

_DPI, _MOVIE_DPI = 150, 100
_COLORS = 64  # colours of a frame of an animation; lines on white need no more


@dataclass(frozen=True)
class Animation:
    """A figure that changes over time; ``pcm3.viz.save`` writes it.

    Attributes:
        figure: The figure, which shows one frame at a time.
        draw: Function that makes the figure show the frame with this number.
        moving: The artists that ``draw`` changes; all others are drawn once.
        frames: The frames of the clip to show, in order.
        fps: Number of these frames to show per second.
    """

    figure: Figure
    draw: Callable[[int], None]
    moving: tuple[Artist, ...]
    frames: tuple[int, ...]
    fps: float


def save(picture: Figure | Animation, path: str | Path, dpi: int | None = None) -> Path:
    """Write a figure or an animation, completely or not at all, in the format of the suffix.

    Args:
        picture: The figure or animation.
        path: The file to write; its folder is created if needed. Figures are written as ``.png``,
            ``.pdf``, ``.svg`` or any other format of matplotlib; animations as ``.gif``, ``.mp4``
            (needs the program ffmpeg) or ``.html`` (one file that plays offline in any browser,
            also frame by frame).
        dpi: Pixels per inch of pixel formats, by default 150 for figures, 100 for animations.

    Returns:
        The path.

    Raises:
        ValueError: If the picture cannot be written in this format.
        OSError: If ffmpeg is missing or fails.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    with replacing(path) as file:
        if isinstance(picture, Animation):
            if suffix not in _WRITERS:
                raise ValueError(
                    f"expected an animation to end in {', '.join(_WRITERS)}, got {path.name}"
                )
            _WRITERS[suffix](picture, file, dpi or _MOVIE_DPI)
        else:
            if not suffix:
                raise ValueError(f"expected a file name with a suffix, like .png, got {path.name}")
            picture.savefig(file, dpi=dpi or _DPI, format=suffix[1:])
    return path


def _pictures(animation: Animation, dpi: int) -> Iterator[Image.Image]:
    figure, usual = animation.figure, animation.figure.dpi
    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)  # only partly annotated
    for artist in animation.moving:
        artist.set_animated(True)  # not part of the background, which is drawn once
    try:
        canvas.draw()
        still = canvas.copy_from_bbox(figure.bbox)
        for frame in animation.frames:
            animation.draw(frame)
            canvas.restore_region(still)
            for artist in animation.moving:
                artist.draw(canvas.get_renderer())
            picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
            yield picture.quantize(
                _COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
            )
    finally:
        figure.set_dpi(usual)
        for artist in animation.moving:
            artist.set_animated(False)


def _write_gif(animation: Animation, file: Path, dpi: int) -> None:
    # GIF durations are hundredths of a second, rounded so that their sum is right
    ends = [round(100 * at / animation.fps) for at in range(len(animation.frames) + 1)]
    durations = [10 * (end - start) for start, end in pairwise(ends)]
    first, *rest = _pictures(animation, dpi)
    endless = {"loop": 0, "disposal": 1}
    first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, **endless)


def _write_mp4(animation: Animation, file: Path, dpi: int) -> None:
    if not FFMpegWriter.isAvailable():
        raise FileNotFoundError(
            "writing .mp4 needs the program ffmpeg; install it (apt install ffmpeg, brew install "
            "ffmpeg, conda install ffmpeg), or write .gif or .html"
        )
    # the temporary file has another suffix
    writer = FFMpegWriter(fps=animation.fps, extra_args=["-f", "mp4"])  # type: ignore[arg-type]
    try:
        with writer.saving(animation.figure, str(file), dpi):
            for frame in animation.frames:
                animation.draw(frame)
                writer.grab_frame()
    except CalledProcessError as error:
        last = str(error.stderr or "").strip().splitlines()[-1:]
        raise OSError(f"ffmpeg failed: {''.join(last) or error}") from None


def _write_html(animation: Animation, file: Path, dpi: int) -> None:
    pictures = []
    for picture in _pictures(animation, dpi):
        picture.save(buffer := BytesIO(), format="PNG", optimize=True)
        pictures.append(f'"{b64encode(buffer.getvalue()).decode()}"')
    page = _PAGE.replace("FPS", f"{animation.fps:.6g}").replace("PICTURES", ",\n".join(pictures))
    file.write_text(page, encoding="utf-8")


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Skeleton sequence</title>
<style>
body { margin: 0 auto; max-width: 32em; font-family: sans-serif; }
img { width: 100%; }
div { display: flex; gap: 0.5em; padding: 0 1em 1em; }
input { flex: 1; }
button { width: 5em; }
</style></head><body>
<img id="picture" alt="a moving skeleton">
<div><button id="button">pause</button>
<input id="frame" type="range" min="0" value="0" aria-label="frame"></div>
<script>
const pictures = [
PICTURES
].map(data => "data:image/png;base64," + data);
const [picture, button, frame] = ["picture", "button", "frame"].map(
  id => document.getElementById(id));
let playing = true, start = performance.now();
frame.max = pictures.length - 1;
function show(at) { frame.value = at; picture.src = pictures[at]; }
function play(on) {
  playing = on;
  button.textContent = on ? "pause" : "play";
  start = performance.now() - 1000 * frame.value / FPS;
}
function tick(now) {
  if (playing) {
    const at = Math.max(0, Math.floor((now - start) * FPS / 1000)) % pictures.length;
    if (at != frame.value) show(at);
  }
  requestAnimationFrame(tick);
}
button.onclick = () => play(!playing);
frame.oninput = () => { play(false); show(+frame.value); };
show(0);
requestAnimationFrame(tick);
</script></body></html>
"""

_WRITERS: dict[str, Callable[[Animation, Path, int], None]] = {
    ".gif": _write_gif,
    ".mp4": _write_mp4,
    ".html": _write_html,
}
