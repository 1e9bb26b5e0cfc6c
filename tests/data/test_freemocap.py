from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data.readers import open_source
from pcm3.data.readers.freemocap import detect, read_freemocap
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import BLAZEPOSE33

BODY, ALL = "mediapipe_body_3d_xyz.npy", "mediapipe_skeleton_3d.npy"


def clip(frames: int, points: int = 33, seed: int = 0) -> NDArray[np.float64]:
    """Points (T, V, 3) in millimetres."""
    return np.random.default_rng(seed).normal(scale=500, size=(frames, points, 3))


def write(file: Path, points: NDArray[np.float64]) -> Path:
    """A recording: FreeMoCap writes these files and others into its folder output_data."""
    folder = file / "output_data"
    (folder / "center_of_mass").mkdir(parents=True)
    np.save(folder / BODY, points[:, :33])
    np.save(folder / ALL, points)
    np.save(folder / "center_of_mass" / "mediapipe_total_body_com.npy", points[:, 0])
    return folder


def test_reads_one_recording_of_each_folder(tmp_path: Path) -> None:
    one, two = clip(4, 553, 1), clip(3, 553, 2)
    one[1, 5] = np.nan
    one[2] = np.nan
    write(tmp_path / "walk", one)
    write(tmp_path / "wave", two)
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.skeleton, source.unit) == ("freemocap", BLAZEPOSE33, "metres")
    walk, wave = source
    assert walk.name == f"walk/output_data/{BODY}"
    wanted = np.nan_to_num(one[:, :33]) / 1000
    np.testing.assert_array_equal(walk.frames[:, 0], wanted.astype(np.float32))
    np.testing.assert_array_equal(wave.frames[:, 0], (two[:, :33] / 1000).astype(np.float32))


@pytest.mark.parametrize("name", [ALL, "mediaPipeSkel_3d_body_hands_face.npy"])
@pytest.mark.parametrize("points", [33, 75, 543, 553])
def test_reads_the_body_of_all_points(tmp_path: Path, name: str, points: int) -> None:
    frames = clip(2, points)
    np.save(tmp_path / name, frames)
    (recording,) = open_source(tmp_path / name)
    np.testing.assert_array_equal(recording.frames[:, 0], (frames[:, :33] / 1000).astype("f4"))


def test_a_table_gives_labels(tmp_path: Path) -> None:
    write(tmp_path / "walk", clip(3))
    (tmp_path / "labels.csv").write_text(f"file,label\nwalk/output_data/{BODY},walk\n")
    source = open_source(tmp_path)
    assert (source.format, source.class_names) == ("freemocap", ("walk",))


@pytest.mark.parametrize(
    "points",
    [clip(2, 32), clip(2)[..., :2], clip(2)[0], clip(0), np.full((2, 33, 3), np.inf)],
    ids=["joints", "coordinates", "axes", "no frame", "infinite"],
)
def test_says_what_is_wrong(tmp_path: Path, points: NDArray[np.float64]) -> None:
    file = tmp_path / BODY
    np.save(file, points)
    with pytest.raises(SkeletonFormatError, match=BODY):
        read_freemocap(file)


def test_a_point_without_one_coordinate_is_refused(tmp_path: Path) -> None:
    points = clip(3)
    points[1, 7, 2] = np.nan
    np.save(tmp_path / BODY, points)
    with pytest.raises(SkeletonFormatError, match="frame 1, joint 7"):
        read_freemocap(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    np.save(tmp_path / "other.npy", clip(2))
    assert not detect(tmp_path)
    with pytest.raises(SkeletonFormatError, match="found 1"):
        read_freemocap(tmp_path)
