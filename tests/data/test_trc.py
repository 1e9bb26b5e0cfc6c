from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data.readers import open_source
from pcm3.data.readers.trc import detect, read_trc
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import HALPE26, SBU15
from pcm3.skeleton.markers import join_markers

GAIT = (
    *("R.ASIS", "L.ASIS", "V.Sacral", "R.Shoulder", "L.Shoulder", "R.Elbow", "L.Elbow"),
    *("R.Wrist", "L.Wrist", "R.Knee", "L.Knee", "R.Ankle", "L.Ankle", "RMT5", "LMT5", "Top.Head"),
)
"""Markers with names as OpenSim's examples have them."""
STANDING = {
    "ASIS": (0.12, 1.0), "Shoulder": (0.2, 1.4), "Elbow": (0.25, 1.15), "Wrist": (0.27, 0.95),
    "Knee": (0.13, 0.5), "Ankle": (0.12, 0.1), "RMT5": (0.14, 0.02), "LMT5": (0.14, 0.02),
    "Sacral": (0.0, 1.02), "Head": (0.0, 1.75),
}  # fmt: skip
HANGS_ON = {
    "R.Elbow": "R.Shoulder", "L.Elbow": "L.Shoulder", "R.Wrist": "R.Elbow", "L.Wrist": "L.Elbow",
    "R.Ankle": "R.Knee", "L.Ankle": "L.Knee", "RMT5": "R.Ankle", "LMT5": "L.Ankle",
}  # fmt: skip


def clip(frames: int, markers: int, seed: int = 0) -> NDArray[np.float64]:
    """Markers (T, V, 3) in metres."""
    return np.random.default_rng(seed).normal(size=(frames, markers, 3)).round(5)


def standing(frames: int = 3) -> NDArray[np.float64]:
    """The markers of GAIT on somebody who stands, moving a little."""
    points = np.zeros((frames, len(GAIT), 3))
    for at, name in enumerate(GAIT):
        side = {"R": -1, "L": 1}.get(name[0], 0)
        x, y = STANDING[name.rpartition(".")[2]]
        points[:, at] = side * x, y, 0.01 * (at % 2)
    return (points + np.arange(frames)[:, None, None] * 0.01).round(5)


def opensim(points: Any, names: Sequence[str], unit: str = "mm", **header: Any) -> str:
    """A file as OpenSim writes it; NaN becomes an empty cell."""
    scale = {"mm": 1000, "cm": 100, "m": 1}.get(unit, 1)
    head = {"DataRate": 60.0, "CameraRate": 60.0, "NumFrames": len(points)}
    head |= {"NumMarkers": len(names), "Units": unit, "OrigDataRate": 60.0}
    head |= {"OrigDataStartFrame": 1, "OrigNumFrames": len(points)} | header
    lines = ["PathFileType\t4\t(X/Y/Z)\twalk.trc", "\t".join(head)]
    lines += ["\t".join(map(str, head.values())), "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t"]
    axes = "\t".join(f"X{at}\tY{at}\tZ{at}" for at in range(1, len(names) + 1))
    lines += [f"\t\t{axes}", ""]
    for at, frame in enumerate(points):
        cells = ["" if np.isnan(value) else f"{scale * value:.6f}" for value in frame.ravel()]
        lines.append("\t".join([str(at + 1), f"{at / 60:.6f}", *cells]))
    return "\n".join(lines) + "\n"


def pose2sim(points: Any, names: Sequence[str]) -> str:
    """A file as Pose2Sim writes it: metres, no empty line, and frames of the video."""
    lines = opensim(points, names, "m").splitlines()
    rows = [f"{100 + at}\t{row.partition('	')[2]}" for at, row in enumerate(lines[6:])]
    return "\n".join([*lines[:5], *rows]) + "\n"


@pytest.mark.parametrize("unit", ["mm", "cm", "m"])
def test_reads_metres_and_the_rate(tmp_path: Path, unit: str) -> None:
    points = clip(4, 15)
    points[1, 3] = points[2] = np.nan
    (tmp_path / "a.trc").write_text(opensim(points, SBU15.joints, unit))
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.unit, source.fps) == ("trc", "metres", 60)
    assert source.skeleton == SBU15
    (recording,) = source
    np.testing.assert_allclose(recording.frames[:, 0], np.nan_to_num(points), rtol=1e-6)
    np.testing.assert_array_equal(recording.frames[:, 0] == 0, np.nan_to_num(points) == 0)


def test_reads_what_pose2sim_writes(tmp_path: Path) -> None:
    points = clip(3, 26)
    (tmp_path / "a.trc").write_text(pose2sim(points, HALPE26.joints))
    source = open_source(tmp_path)
    (recording,) = source
    assert source.skeleton == HALPE26
    np.testing.assert_array_equal(recording.frames[:, 0], points.astype(np.float32))


def test_reads_files_that_other_programs_wrote(tmp_path: Path) -> None:
    """Doubled tabs in the header, blanks around numbers, a line of tabs, empty cells at the end."""
    points = clip(3, 15)
    lines = opensim(points, SBU15.joints).splitlines()
    lines[0] = "PathFileType  4\t(X/Y/Z) C:\\data\\"
    lines[2] = lines[2].replace("\t", "\t\t  ")
    lines[5] = "\t" * 47
    lines[6:] = [line.replace("\t", "\t ") + "\t\t" for line in lines[6:]]
    (tmp_path / "a.trc").write_text("\r\n".join(lines))
    (recording,) = open_source(tmp_path)
    np.testing.assert_allclose(recording.frames[:, 0], points, rtol=1e-6)


def test_frames_that_are_left_out_are_empty(tmp_path: Path) -> None:
    points = clip(4, 15)
    lines = opensim(points, SBU15.joints, NumFrames=3).splitlines()
    del lines[7]
    (tmp_path / "a.trc").write_text("\n".join(lines))
    (recording,) = open_source(tmp_path)
    points[1] = 0
    np.testing.assert_allclose(recording.frames[:, 0], points, rtol=1e-6)


def test_unknown_markers_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a.trc").write_text(opensim(standing(), GAIT))
    source = open_source(tmp_path)
    skeleton = source.skeleton
    assert skeleton.joints == GAIT
    parents = {
        joint: skeleton.joints[parent]
        for joint, parent in zip(skeleton.joints, skeleton.parents, strict=True)
        if parent >= 0
    }
    assert parents.items() >= HANGS_ON.items()
    pairs = {frozenset((skeleton.joints[a], skeleton.joints[b])) for a, b in skeleton.mirror_pairs}
    assert frozenset(("RMT5", "LMT5")) in pairs
    assert {skeleton.joints[at] for at in skeleton.parts["trunk"]} == {
        *("R.ASIS", "L.ASIS", "V.Sacral", "Top.Head")
    }
    assert any("--skeleton" in note for note in source.notes)


def test_markers_join_whatever_their_order_is() -> None:
    points = standing()
    wanted = join_markers(GAIT, points)
    order = np.random.default_rng(0).permutation(len(GAIT))
    found = join_markers([GAIT[at] for at in order], points[:, order])
    named = {GAIT[at]: GAIT[parent] for at, parent in enumerate(wanted) if parent >= 0}
    other = {GAIT[order[at]]: GAIT[order[parent]] for at, parent in enumerate(found) if parent >= 0}
    assert other == named


def test_a_skeleton_needs_no_tree(tmp_path: Path) -> None:
    (tmp_path / "a.trc").write_text(opensim(clip(2, 4), ["a", "b", "c", "d"]))
    with pytest.raises(SkeletonFormatError, match="--skeleton"):
        open_source(tmp_path)
    file = tmp_path / "skeleton.json"
    file.write_text(json.dumps({"parts": {"all": ["a", "b", "c", "d"]}, "center": "b"}))
    source = open_source(tmp_path, skeleton=file)
    assert (source.skeleton.joints, source.skeleton.center) == (("a", "b", "c", "d"), 1)
    assert len(source.skeleton.bones) == 3


def change(at: int, old: str, new: str) -> Any:
    def edit(lines: list[str]) -> list[str]:
        assert old in lines[at]
        return [*lines[:at], lines[at].replace(old, new, 1), *lines[at + 1 :]]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(0, "PathFileType", "Path"), "header of five lines"),
        (change(1, "Units", "Unit"), "line 2: .*missing Units"),
        (change(2, "mm", "furlongs"), "Units: expected a unit among m, cm, mm.*furlongs"),
        (change(2, "15", "16"), "line 4: expected '16' names"),
        (change(2, "60.0", "0"), "line 3: .*above 0"),
        (change(3, "neck", "head"), "line 4: .*'head' twice"),
        (change(6, "1\t", "x\t"), "line 7: expected a number of a later frame"),
        (change(7, "2\t", "1\t"), "line 8: expected a number of a later frame"),
        (lambda lines: lines[:-1], "expected '3' frames.*got 2; --count-rows"),
        (lambda lines: lines[:6], "expected '3' frames"),
        (lambda lines: [*lines[:-1], lines[-1][:60]], "line 9: expected frame, time and x, y, z"),
        (lambda lines: [*lines[:-1], lines[-1] + "\t7"], "line 9: expected frame, time"),
        (lambda lines: [*lines[:-1], lines[-1].rpartition("\t")[0] + "\t"], "frame 3, marker 15"),
        (lambda lines: [*lines[:-1], lines[-1].rpartition("\t")[0] + "\tinf"], "marker 15"),
        (lambda lines: [*lines[:-1], lines[-1].rpartition("\t")[0] + "\tx"], "line 9"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, edit: Any, message: str) -> None:
    file = tmp_path / "a.trc"
    lines = edit(opensim(clip(3, 15), SBU15.joints).splitlines())
    file.write_text("\n".join(lines))
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_trc(tmp_path))
    assert str(caught.value).startswith(str(file))


def test_count_rows(tmp_path: Path) -> None:
    lines = opensim(clip(3, 15), SBU15.joints).splitlines()
    (tmp_path / "a.trc").write_text("\n".join(lines[:-1]))
    (recording,) = read_trc(tmp_path, count_rows=True)
    assert len(recording.frames) == 2


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    (tmp_path / "a.trc").write_text(opensim(clip(1, 15), SBU15.joints))
    assert detect(tmp_path)
    assert detect(tmp_path / "a.trc")
