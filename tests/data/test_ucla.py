from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcm3.data import Store, prepare, split
from pcm3.data.readers.ucla import detect, read_ucla
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import KINECT20


def write(folder, name, frames, **more):
    content = {"file_name": name, "skeletons": np.asarray(frames).tolist(), **more}
    (folder / f"{name}.json").write_text(json.dumps(content))


def clip(length, seed=0):
    return np.random.default_rng(seed).normal(size=(length, 20, 3)).astype(np.float32)


def test_reads_everything(tmp_path):
    write(tmp_path, "a12_s01_e00_v03", clip(3, 1), label=10)
    write(tmp_path, "a02_s10_e05_v01", clip(1, 2), label=2)
    (tmp_path / "readme.json").write_text("other things")
    source = pickle.loads(pickle.dumps(read_ucla(tmp_path)))
    assert (source.format, source.skeleton, source.persons) == ("ucla", KINECT20, 1)
    assert len(source.class_names) == 10
    first, second = source
    np.testing.assert_array_equal(first.frames, clip(1, 2)[:, None])
    np.testing.assert_array_equal(second.frames, clip(3, 1)[:, None])
    assert first.frames.dtype == np.float32
    assert (first.label, first.name) == (1, "a02_s10_e05_v01")
    assert first.columns == {"subjects": 10, "trials": 5, "views": 1}
    assert source.class_names[second.label] == "carry"
    assert source.protocols == {"xview": ("views", (1, 2), None)}


def test_cross_view(tmp_path):
    (tmp_path / "raw").mkdir()
    for view in (1, 2, 3):
        write(tmp_path / "raw", f"a01_s01_e01_v0{view}", clip(2, view))
    prepare(tmp_path / "raw", tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    train, test = split(store, "xview")
    assert store.columns["views"][train].tolist() == [1, 2]
    assert store.columns["views"][test].tolist() == [3]


@given(action=st.sampled_from([1, 2, 3, 4, 5, 6, 8, 9, 11, 12]), length=st.integers(1, 6))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_recording(tmp_path, action, length):
    for file in tmp_path.iterdir():
        file.unlink()
    write(tmp_path, f"a{action:02d}_s01_e01_v01", clip(length, action))
    (recording,) = read_ucla(tmp_path)
    np.testing.assert_array_equal(recording.frames[:, 0], clip(length, action))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"JSON.*Expecting"),
        ("[1]", "skeletons"),
        ('{"file_name": 1, "label": 2}', r"skeletons.*file_name"),
        ('{"skeletons": [[1, 2], [3]]}', "skeletons"),
        ('{"skeletons": {"a": 1}}', "skeletons"),
        (json.dumps({"skeletons": [[[10**400] * 3] * 20]}), "skeletons"),
        ('{"\\ud800": 1}', r"\\ud800"),
        (
            json.dumps({"skeletons": [[[True, *[0.5] * 2], *[[0.5] * 3] * 19]]}),
            r"skeletons.*something else among them",
        ),
        ('{"skeletons": []}', r"skeletons.*\(T, 20, 3\).*\(0,\)"),
        (json.dumps({"skeletons": clip(2)[:, :19].tolist()}), r"20, 3\).*\(2, 19, 3\)"),
        (
            json.dumps(
                {"skeletons": np.where(clip(2) == clip(2)[1, 4, 2], np.nan, clip(2)).tolist()}
            ),
            r"skeletons: NaN.*frame 1, person 0, joint 4",
        ),
    ],
)
def test_says_what_is_wrong(tmp_path, content, message):
    file = tmp_path / "a01_s01_e01_v01.json"
    file.write_text(content)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_ucla(tmp_path))
    assert str(caught.value).startswith(f"{file}: ")


def test_names(tmp_path):
    with pytest.raises(SkeletonFormatError, match=r"aAA_sSS_eEE_vVV.json"):
        read_ucla(tmp_path)
    with pytest.raises(SkeletonFormatError, match="nowhere"):
        read_ucla(tmp_path / "nowhere")
    assert not detect(tmp_path)
    write(tmp_path, "a07_s01_e01_v01", clip(1))
    assert detect(tmp_path)
    assert not detect(tmp_path / "a07_s01_e01_v01.json")
    with pytest.raises(SkeletonFormatError, match=r"v01.json.*among 1.*7"):
        list(read_ucla(tmp_path))


def test_real_recordings(shared, tmp_path):
    with np.load(shared / "data" / "nw_ucla.npz", allow_pickle=False) as arrays:
        joints = arrays["joints"][: int(arrays["lengths"][0])]
        assert KINECT20.reordered(arrays["joint_names"].tolist()) == KINECT20
        names = tuple(arrays["class_names"].tolist())
    write(tmp_path, "a01_s01_e01_v01", joints[:, 0])
    source = read_ucla(tmp_path)
    assert source.class_names == names
    np.testing.assert_array_equal(next(iter(source)).frames, joints)
