from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
from scipy.io import savemat

from pcm3.data import Store, prepare, split
from pcm3.data.readers.utd import UTD20, detect, read_utd
from pcm3.errors import SkeletonFormatError


def clip(length, seed=0):
    return np.random.default_rng(seed).normal(size=(20, 3, length))


def test_reads_everything(tmp_path):
    savemat(tmp_path / "a10_s2_t3_skeleton.mat", {"d_skel": clip(4, 1)})
    savemat(tmp_path / "a2_s8_t1_skeleton.mat", {"d_skel": clip(1, 2), "other": 3})
    source = pickle.loads(pickle.dumps(read_utd(tmp_path)))
    assert (source.format, source.skeleton, source.persons) == ("utd", UTD20, 1)
    assert len(source.class_names) == 27
    first, second = source  # by number, not by name
    for recording, wanted in ((first, clip(1, 2)), (second, clip(4, 1))):
        assert recording.frames.dtype == np.float32
        for joint in range(20):
            np.testing.assert_array_equal(
                recording.frames[:, 0, joint], wanted[joint].T.astype(np.float32)
            )
    assert (first.label, first.columns) == (1, {"subjects": 8, "trials": 1})
    assert (second.label, second.name) == (9, "a10_s2_t3_skeleton")
    assert source.class_names[9] == "draw circle counter-clockwise"
    assert source.protocols == {"xsub": ("subjects", (1, 3, 5, 7), None)}


def test_cross_subject(tmp_path):
    (tmp_path / "raw").mkdir()
    for subject in range(1, 9):
        name = f"a1_s{subject}_t1_skeleton.mat"
        savemat(tmp_path / "raw" / name, {"d_skel": clip(2, subject)})
    prepare(tmp_path / "raw", tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    train, test = split(store, "xsub")
    assert store.columns["subjects"][train].tolist() == [1, 3, 5, 7]
    assert store.columns["subjects"][test].tolist() == [2, 4, 6, 8]


def _with_nan():
    array = clip(3)
    array[5, 1, 2] = np.nan
    return array


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"skel": clip(2)}, "d_skel: missing"),
        (
            {"d_skel": clip(2)[:19]},
            r"d_skel.*numbers \(20, 3, T\).*float64 \(19, 3, 2\)",
        ),
        (
            {"d_skel": "text"},
            r"MATLAB 5.*d_skel",
        ),
        ({"d_skel": clip(0)}, r"d_skel.*\(T, 20, 3\).*\(0, 20, 3\)"),
        ({"d_skel": _with_nan()}, r"d_skel: NaN.*frame 2, person 0, joint 5"),
    ],
)
def test_says_what_is_wrong(tmp_path, variables, message):
    file = tmp_path / "a1_s1_t1_skeleton.mat"
    savemat(file, variables)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_utd(tmp_path))
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("size", [0, 60, 132, 200, 300])
def test_damaged_file(tmp_path, size):
    file = tmp_path / "a1_s1_t1_skeleton.mat"
    savemat(file, {"d_skel": clip(9)})
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(SkeletonFormatError, match="MATLAB 5"):
        list(read_utd(tmp_path))


def test_head_of_an_array_cut_short(tmp_path):
    file = tmp_path / "a1_s1_t1_skeleton.mat"
    savemat(file, {"d_skel": clip(9)})
    content = bytearray(file.read_bytes())
    at = content.index(struct.pack("<2I", 6, 8))  # the flags' tag
    content[at : at + 8] = struct.pack("<2I", 6, 2)  # fills up to 8 bytes: the rest stays readable
    file.write_bytes(content)
    with pytest.raises(SkeletonFormatError, match=r"MATLAB 5.*unpack_from"):
        list(read_utd(tmp_path))


def test_head_of_an_array_in_another_order(tmp_path):
    file = tmp_path / "a1_s1_t1_skeleton.mat"
    savemat(file, {"d_skel": clip(9)})
    content = bytearray(file.read_bytes())
    at = content.index(struct.pack("<2I", 6, 8))
    content[at] = 4
    file.write_bytes(content)
    with pytest.raises(SkeletonFormatError, match="expected flags, dimensions and name at the"):
        list(read_utd(tmp_path))


def test_damaged_compression(tmp_path):
    file = tmp_path / "a1_s1_t1_skeleton.mat"
    savemat(file, {"d_skel": clip(9)}, do_compression=True)
    content = bytearray(file.read_bytes())
    content[140] ^= 255
    file.write_bytes(content)
    with pytest.raises(SkeletonFormatError, match="MATLAB 5"):
        list(read_utd(tmp_path))


def test_names(tmp_path):
    with pytest.raises(SkeletonFormatError, match=r"aA_sS_tT_skeleton.mat"):
        read_utd(tmp_path)
    assert not detect(tmp_path)
    savemat(tmp_path / "a28_s1_t1_skeleton.mat", {"d_skel": clip(2)})
    assert detect(tmp_path)
    with pytest.raises(SkeletonFormatError, match=r"among 1.*27.*28"):
        list(read_utd(tmp_path))


def test_real_recordings(shared, tmp_path):
    with np.load(shared / "data" / "utd_mhad.npz", allow_pickle=False) as arrays:
        joints = arrays["joints"][: int(arrays["lengths"][0])]
        assert UTD20.reordered(arrays["joint_names"].tolist()) == UTD20
        names = tuple(arrays["class_names"].tolist())
    savemat(tmp_path / "a1_s1_t1_skeleton.mat", {"d_skel": joints[:, 0].transpose(1, 2, 0)})
    source = read_utd(tmp_path)
    assert source.class_names == names
    np.testing.assert_array_equal(next(iter(source)).frames, joints)
