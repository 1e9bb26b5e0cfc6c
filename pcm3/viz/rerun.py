"""``show_in_rerun``: skeleton sequences in rerun, an interactive 3D viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike
from torch import Tensor

from pcm3.checks import check_positive
from pcm3.errors import how_to_install
from pcm3.io.files import replacing
from pcm3.skeleton import Skeleton
from pcm3.viz.clips import as_clip, part_bones, part_colors, present, space


def show_in_rerun(
    clip: Tensor | ArrayLike,
    skeleton: Skeleton,
    fps: float = 30.0,
    path: str | Path | None = None,
    name: str = "sequence",
    axes: tuple[int, int] = (0, 1),
) -> None:
    """Open one clip in the rerun viewer, or write it to a file that the viewer opens.

    Joints are points with their names, bones are line strips; both have the colour of their body
    part. Missing joints are left out, as in ``film_strip``. Needs ``pip install "pcm3[rerun]"``.

    Args:
        clip: Joint coordinates ``(C, T, V, M)``, C is 2 or 3.
        skeleton: The layout of the joint axis.
        fps: Frames per second of the clip.
        path: An ``.rrd`` file to write, whole or not at all, instead of opening the viewer.
        name: Name of the clip in the viewer.
        axes: The coordinate channels that point right and up, as in ``film_strip``.

    Raises:
        ImportError: If rerun is not installed.
        ValueError: If the shapes do not fit, or ``fps`` is not positive.
    """
    check_positive("fps", fps)
    array = as_clip(clip, skeleton)
    try:
        import rerun  # noqa: PLC0415
    except ImportError:
        raise ImportError(f"the rerun viewer needs rerun-sdk; {how_to_install('rerun')}") from None
    recording = rerun.RecordingStream("pcm3")
    frame = getattr(rerun.ViewCoordinates, f"RIGHT_HAND_{'XYZ'[axes[1]]}_UP")
    recording.log([name], frame, static=True)
    if path is None:
        recording.spawn()
        _log(rerun, recording, array, skeleton, fps, name)
        return
    with replacing(Path(path)) as file:
        recording.save(file)
        _log(rerun, recording, array, skeleton, fps, name)
        recording.disconnect()  # writes pending data


def _log(rerun: Any, recording: Any, clip: Any, skeleton: Skeleton, fps: float, name: str) -> None:
    seen, points = present(clip, skeleton), space(clip)
    palette = part_colors(skeleton)
    colors = np.zeros((len(skeleton), 3))
    for part, color in palette.items():
        colors[list(skeleton.parts[part])] = to_rgb(color)
    drawn = [(bone, part) for part, own in part_bones(skeleton).items() for bone in own]
    for frame in range(clip.shape[1]):
        recording.set_time("frame", sequence=frame)
        recording.set_time("time", duration=frame / fps)
        for person in range(clip.shape[3]):
            xyz, here = points[:, frame, :, person].T, seen[frame, :, person]
            bones = [(bone, palette[part]) for bone, part in drawn if here[bone].all()]
            body = [name, f"person_{person}"]
            recording.log(
                [*body, "joints"],
                rerun.Points3D(
                    xyz[here],
                    colors=colors[here],
                    labels=[
                        joint for joint, is_in in zip(skeleton.joints, here, strict=True) if is_in
                    ],
                    show_labels=False,
                    radii=rerun.Radius.ui_points(4),
                ),
            )
            recording.log(
                [*body, "bones"],
                rerun.LineStrips3D(
                    [xyz[bone] for bone, _ in bones],
                    colors=[to_rgb(color) for _, color in bones],
                    radii=rerun.Radius.ui_points(2),
                ),
            )
