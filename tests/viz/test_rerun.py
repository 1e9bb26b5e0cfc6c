"""Sequences in the rerun viewer: what is logged, with a stand-in and with rerun itself."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.skeleton import COCO17, SBU15
from pcm3.viz import show_in_rerun


def make_clip() -> torch.Tensor:
    clip = 1 + torch.rand(3, 5, len(SBU15), 2, generator=torch.Generator().manual_seed(0))
    clip[:, :, SBU15.joints.index("left_elbow"), 1] = 0
    return clip


class Recording:
    """Notes what it is told."""

    def __init__(self, name: str) -> None:
        self.logged: list[tuple[Any, ...]] = []
        self.time: dict[str, float] = {}
        self.file: Path | None = None
        self.spawned = False
        made.append(self)

    def spawn(self) -> None:
        self.spawned = True

    def save(self, path: Path) -> None:
        self.file = path
        path.write_text("rrd")

    def set_time(self, name: str, **value: float) -> None:
        self.time[name] = next(iter(value.values()))

    def log(self, path: list[str], what: Any, static: bool = False) -> None:
        self.logged.append((tuple(path), dict(self.time), what))

    def disconnect(self) -> None:
        pass


made: list[Recording] = []


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    monkeypatch.setitem(
        sys.modules,
        "rerun",
        SimpleNamespace(
            RecordingStream=Recording,
            Points3D=lambda xyz, **rest: ("points", np.asarray(xyz), rest),
            LineStrips3D=lambda xyz, **rest: ("lines", np.asarray(xyz), rest),
            Radius=SimpleNamespace(ui_points=float),
            ViewCoordinates=SimpleNamespace(RIGHT_HAND_Y_UP="y up", RIGHT_HAND_Z_UP="z up"),
        ),
    )


@pytest.mark.usefixtures("stand_in")
def test_every_joint_and_bone_that_is_there(tmp_path: Path) -> None:
    clip = make_clip()
    show_in_rerun(clip, SBU15, 20, tmp_path / "clip.rrd", "a/b")
    (recording,) = made
    assert recording.logged[0] == (("a/b",), {}, "y up")
    assert len(recording.logged) == 1 + 5 * 2 * 2
    for path, time, (kind, xyz, rest) in recording.logged[1:]:
        frame, person = int(time["frame"]), int(path[1].removeprefix("person_"))
        assert time["time"] == frame / 20
        there = clip[:, frame, :, person].T.numpy()
        if kind == "points":
            wanted = there[there.any(axis=1)]
            np.testing.assert_array_equal(xyz, wanted)
            assert len(rest["labels"]) == len(rest["colors"]) == len(wanted)
            assert ("left_elbow" in rest["labels"]) == (person == 0)
        else:
            pairs = [(j, p) for j, p in enumerate(SBU15.parents) if p >= 0]
            pairs = [(j, p) for j, p in pairs if there[j].any() and there[p].any()]
            np.testing.assert_array_equal(xyz, [[there[j], there[p]] for j, p in pairs])
            assert len(pairs) == (14 if person == 0 else 12)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.rrd"]
    assert not recording.spawned


@pytest.mark.usefixtures("stand_in")
def test_a_torso_without_a_spine_has_shoulders_and_hips(tmp_path: Path) -> None:
    clip = 1 + np.random.default_rng(0).random((3, 1, 17, 1)).astype(np.float32)
    show_in_rerun(clip, COCO17, path=tmp_path / "clip.rrd")
    (lines,) = [what for _, _, what in made[0].logged[1:] if what[0] == "lines"]
    for pair in ([5, 6], [11, 12]):
        assert any(np.array_equal(bone, clip[:, 0, pair, 0].T) for bone in lines[1])
    assert len(lines[1]) == len(lines[2]["colors"]) == 18


@pytest.mark.usefixtures("stand_in")
def test_without_a_file_the_viewer_opens() -> None:
    show_in_rerun(make_clip(), SBU15, axes=(0, 2))
    (recording,) = made
    assert recording.spawned
    assert recording.file is None
    assert recording.logged[0][2] == "z up"


def test_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ImportError, match=r"'pcm3\[rerun\]'"):
        show_in_rerun(make_clip(), SBU15, path=tmp_path / "clip.rrd")
    assert list(tmp_path.iterdir()) == []


def test_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="fps > 0, got 0"):
        show_in_rerun(make_clip(), SBU15, fps=0)
    with pytest.raises(ValueError, match="one clip"):
        show_in_rerun(make_clip()[None], SBU15)


def test_a_real_file(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs pip install 'pcm3[rerun]'")
    show_in_rerun(make_clip(), SBU15, path=tmp_path / "clip.rrd")
    assert (tmp_path / "clip.rrd").read_bytes().startswith(b"RRF2")
    assert len(list(tmp_path.iterdir())) == 1
