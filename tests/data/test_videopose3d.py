from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data import Store, prepare
from pcm3.data.readers import open_source
from pcm3.data.readers.videopose3d import detect, read_videopose3d
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, HUMAN36M17, HUMAN36M32, joint_map

H36M = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [[4, 5, 6], [1, 2, 3]]}
COCO = {"layout_name": "coco", "num_joints": 17, "keypoints_symmetry": [[1, 3], [2, 4]]}


def clip(frames: int, joints: int, channels: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(frames, joints, channels)).astype(np.float32)


def human36m() -> dict[str, dict[str, NDArray[np.float32]]]:
    """As in data_3d_h36m.npz."""
    return {
        "S1": {"Walking 1": clip(4, 32, 3, 1), "Walking": clip(3, 32, 3, 2)},
        "S11": {"Photo": clip(2, 32, 3, 3), "WalkTogether 1": clip(2, 32, 3, 4)},
    }


def flat(joints: int = 17) -> dict[str, dict[str, list[NDArray[np.float32]]]]:
    """As in data_2d_h36m_gt.npz: one array for each camera."""
    return {"S9": {"Eating 1": [clip(3, joints, 2, 1), clip(3, joints, 2, 2)]}}


def write(file: Path, **arrays: Any) -> Path:
    np.savez_compressed(file, **arrays)
    return file


def test_reads_human36m_in_3d(tmp_path: Path) -> None:
    people = human36m()
    file = write(tmp_path / "data_3d_h36m.npz", positions_3d=people)
    source = pickle.loads(pickle.dumps(open_source(file)))
    assert (source.format, source.unit, source.fps) == ("videopose3d", "metres", 50)
    assert source.skeleton == HUMAN36M32
    assert source.class_names == ("Photo", "WalkTogether", "Walking")
    found = {recording.name: recording for recording in source}
    wanted = {f"{who} {what}": a for who, each in people.items() for what, a in each.items()}
    assert list(found) == list(wanted)
    for name, points in wanted.items():
        np.testing.assert_array_equal(found[name].frames, points[:, None])
        assert found[name].columns == {"subjects": int(name.split()[0][1:])}
        assert source.class_names[found[name].label] == name.split()[1]


def test_reads_human36m_in_2d_with_its_cameras(tmp_path: Path) -> None:
    people = flat()
    file = write(tmp_path / "data_2d_h36m_gt.npz", positions_2d=people, metadata=H36M)
    source = open_source(file)
    assert (source.unit, source.skeleton) == ("pixels", HUMAN36M17)
    one, other = source
    assert [one.name, other.name] == ["S9 Eating 1 view 1", "S9 Eating 1 view 2"]
    assert [one.columns["views"], other.columns["views"]] == [1, 2]
    np.testing.assert_array_equal(other.frames[:, 0], people["S9"]["Eating 1"][1])


def test_videos_of_ones_own_have_no_label(tmp_path: Path) -> None:
    videos = {"anna.mp4": {"custom": [clip(3, 17, 2)]}, "ben.mp4": {"custom": [clip(2, 17, 2)]}}
    file = write(tmp_path / "data_2d_custom_mine.npz", positions_2d=videos, metadata=COCO)
    source = open_source(file)
    assert (source.skeleton, source.class_names, source.fps) == (COCO17, (), None)
    assert source.protocols == {}
    assert [each.columns["subjects"] for each in source] == ["anna.mp4", "ben.mp4"]
    assert {each.label for each in source} == {-1}


def test_prepares_with_its_protocol(tmp_path: Path) -> None:
    file = write(tmp_path / "data_3d_h36m.npz", positions_3d=human36m())
    prepare(file, tmp_path / "store", to="human36m17", normalization="none", workers=1)
    store = Store(tmp_path / "store")
    assert store.protocols["xsub"].test == (9, 11)
    assert store.skeleton == HUMAN36M17
    # the 17 joints that VideoPose3D keeps
    kept = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    wanted = human36m()["S1"]["Walking 1"][:, kept]
    np.testing.assert_array_equal(store.sequence(0)[:, 0], wanted)
    assert all(joint_map(HUMAN36M32, HUMAN36M17).exact)


def test_a_skeleton_for_other_layouts(tmp_path: Path) -> None:
    file = write(tmp_path / "a.npz", positions_3d={"Train/S1": {"Box 1 chunk0": clip(2, 15, 3)}})
    with pytest.raises(SkeletonFormatError, match=r"order of 15 joints.*--skeleton"):
        read_videopose3d(file)
    source = read_videopose3d(file, skeleton="sbu15")
    (recording,) = source
    assert (source.class_names, recording.columns["subjects"]) == (("Box",), "Train/S1")
    with pytest.raises(SkeletonFormatError, match=r"expected 17 joints.*got 15"):
        read_videopose3d(file, skeleton="coco17")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"positions_3d": [1]}, "positions_3d: expected a dict"),
        ({"positions_3d": {}}, "positions_3d: expected recordings"),
        ({"positions_3d": {"S1": 3}}, "positions_3d, S1: expected a dict"),
        ({"positions_3d": {1: {}}}, "positions_3d: expected a dict by names"),
        ({"positions_3d": {"S1": {"a": clip(2, 32, 2)}}}, "expected 3 coordinates, got 2"),
        ({"positions_2d": {"S1": {"a": clip(2, 17, 2)}}}, "S1, a: expected a list of cameras"),
        ({"positions_2d": flat(), "metadata": [1]}, "metadata: expected a dict"),
        ({"positions_3d": {"1": {"a": clip(1, 32, 3)}, "x": {"a": clip(1, 32, 3)}}}, "all numbers"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    wrapped = {key: np.array(value, dtype=object) for key, value in arrays.items()}
    if arrays.get("positions_3d") == [1]:
        wrapped = {"positions_3d": np.array([1])}
    if arrays.get("metadata") == [1]:
        wrapped["metadata"] = np.array("h36m")
    file = write(tmp_path / "a.npz", **wrapped)
    with pytest.raises(SkeletonFormatError, match=message):
        read_videopose3d(file)


@pytest.mark.parametrize(
    "wrong", [clip(2, 17, 3), clip(0, 32, 3), [1, 2], np.full((2, 32, 3), np.nan)]
)
def test_a_bad_recording_does_not_stop_the_others(tmp_path: Path, wrong: Any) -> None:
    people = human36m()
    people["S1"]["Walking"] = wrong
    source = read_videopose3d(write(tmp_path / "a.npz", positions_3d=people))
    (unit,) = source.units
    found = list(source.read(unit))
    assert [isinstance(each, SkeletonFormatError) for each in found] == [False, True, False, False]
    assert "S1 Walking" in str(found[1])


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people: Any = human36m()
    people["S1"]["Walking"] = Evil()
    file = write(tmp_path / "a.npz", positions_3d=people)
    with pytest.raises(SkeletonFormatError, match=r"positions_3d: refused builtins\.print"):
        read_videopose3d(file)
    assert "executed" not in capsys.readouterr().out


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    assert not detect(write(tmp_path / "b.npz", joints=np.zeros(3)))
    assert detect(write(tmp_path / "a.npz", positions_3d=human36m()))
