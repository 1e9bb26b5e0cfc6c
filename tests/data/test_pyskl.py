from __future__ import annotations

import os
import pickle
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcm3.data import Store, prepare, split
from pcm3.data.protocols import NTU60_PROTOCOLS, NTU120_PROTOCOLS
from pcm3.data.readers.ntu import NTU_ACTIONS
from pcm3.data.readers.pyskl import HAND21, detect, read_pyskl
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, NTU25, OPENPOSE18

NAMES = ["S001C002P003R002A013", "S001C001P001R001A060", "S017C003P040R001A001"]


def annotation(name, label, points):
    return {
        "frame_dir": name,
        "label": label,
        "keypoint": points,
        "total_frames": points.shape[1],
    }


def three_d(dtype=np.float16):
    rng = np.random.default_rng(0)
    shapes = [(1, 4, 25, 3), (2, 3, 25, 3), (1, 2, 25, 3)]
    points = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    labels = [12, 59, 0]
    return {
        "split": {
            "xsub_train": NAMES[:1],
            "xsub_val": [*NAMES[1:], "S001C001P001R001A002"],
            "xview_val": NAMES[:1],
            "xview_train": NAMES[1:2],
            "other": NAMES,
        },
        "annotations": [annotation(*row) for row in zip(NAMES, labels, points, strict=True)],
    }


def two_d():
    rng = np.random.default_rng(1)
    samples = []
    for index, bodies in enumerate([3, 1]):
        points = rng.uniform(0, 1000, size=(bodies, 5, 17, 2)).astype(np.float32)
        samples.append(
            annotation(f"v_{index}", np.int64(index), points)
            | {"keypoint_score": np.ones((bodies, 5, 17), np.float16), "img_shape": (1080, 1920)}
        )
    splits = {"train": np.array(["v_0"]), "val": ["v_1"], "train2": ["v_1"], "test2": ["v_0"]}
    return {"split": splits, "annotations": samples}


@pytest.fixture
def write(tmp_path):
    def dump(contents):
        file = tmp_path / "ntu60_3danno.pkl"
        file.write_bytes(pickle.dumps(contents, 4))
        return file

    return dump


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_three_d(write, dtype):
    contents = three_d(dtype)
    source = read_pyskl(write(contents))
    assert (source.format, source.skeleton, source.persons) == ("pyskl", NTU25, 2)
    assert (source.fps, source.unit) == (30.0, "metres")
    assert source.class_names == NTU_ACTIONS[:60]
    recordings = list(pickle.loads(pickle.dumps(source)))
    for recording, wanted in zip(recordings, contents["annotations"], strict=True):
        assert recording.frames.dtype == np.float32
        np.testing.assert_array_equal(
            recording.frames, wanted["keypoint"].transpose(1, 0, 2, 3).astype(np.float32)
        )
    assert [recording.label for recording in recordings] == [12, 59, 0]
    assert [recording.name for recording in recordings] == NAMES
    ntu = {"setups": 1, "views": 2, "subjects": 3, "replications": 2}
    assert recordings[0].columns == ntu | {"xsub": 1, "xview": 0}
    assert [recording.columns["xsub"] for recording in recordings] == [1, 0, 0]
    assert [recording.columns["xview"] for recording in recordings] == [0, 1, -1]


def test_protocols(write, tmp_path):
    file = write(three_d())
    prepare(file, tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert {name: rule.column for name, rule in store.protocols.items()} == {
        "xsub": "xsub",
        "xview": "xview",
    }
    assert [part.tolist() for part in split(store, "xsub")] == [[0], [1, 2]]
    assert [part.tolist() for part in split(store, "xview")] == [[1], [0]]  # 2 is in neither
    # A file without splits has the data set's own, told by the names.
    assert read_pyskl(write(three_d() | {"split": {}})).protocols == NTU60_PROTOCOLS
    contents = three_d() | {"split": {"xsub_train": NAMES[:1], "xsub_val": NAMES[1:]}}
    contents["annotations"][2]["frame_dir"] = "S018C003P040R001A061"
    protocols = {"xsub": ("xsub", (1,), (0,)), "xset": NTU120_PROTOCOLS["xset"]}
    assert read_pyskl(write(contents)).protocols == protocols


def test_two_d(write):
    contents = two_d()
    source = read_pyskl(write(contents))
    assert (source.skeleton, source.persons, source.unit) == (COCO17, 2, "pixels")
    assert source.fps is None
    assert "joint scores dropped" in source.about
    assert source.class_names == ("0", "1")
    first, second = source
    np.testing.assert_array_equal(
        first.frames, contents["annotations"][0]["keypoint"].transpose(1, 0, 2, 3)
    )
    assert first.columns == {"split": 1, "split2": 0}
    assert second.columns == {"split": 0, "split2": 1}
    assert source.protocols == {name: (name, (1,), (0,)) for name in ("split", "split2")}


def test_labels_of_their_own(write):
    contents = three_d()
    for annotation, label in zip(contents["annotations"], (2, 1, 0), strict=True):
        annotation["label"] = label
    source = read_pyskl(write(contents))
    assert source.class_names == ("0", "1", "2")
    assert [recording.label for recording in source] == [2, 1, 0]


def give(source):
    """What a source gives: names of recordings, messages of errors."""
    items = [item for unit in source.units for item in source.read(unit)]
    return [str(item) if isinstance(item, SkeletonFormatError) else item.name for item in items]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 77}, r"label.*77"),
        (
            {"label": 20_000_000},
            r"label.*0, below 10,000.*20000000",
        ),
        ({"label": None}, r"label.*0.*None"),
        ({"frame_dir": NAMES[0]}, r"frame_dir.*annotation 0"),
        ({"keypoint": np.zeros((1, 2, 17, 2))}, r"keypoint.*\(M, T, 25, 3\)"),
        ({"total_frames": np.zeros(3)}, r"annotation 1.*ValueError"),
    ],
)
def test_other_samples_go_on(write, change, message):
    contents = three_d()
    contents["annotations"][1] |= change
    if "keypoint" in change:
        contents["annotations"][1]["total_frames"] = 2
    source = read_pyskl(write(contents))
    first, error, last = give(source)
    assert (first, last) == (NAMES[0], NAMES[2])
    assert re.search(message, error)
    assert source.class_names == NTU_ACTIONS[:60]
    with pytest.raises(SkeletonFormatError, match=message):
        list(source)


def test_all_samples_are_bad(write):
    contents = three_d()
    for annotation in contents["annotations"]:
        del annotation["label"]
    with pytest.raises(SkeletonFormatError, match="annotation 0"):
        read_pyskl(write(contents))


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=4
    )
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_sizes(write, sizes):
    rng = np.random.default_rng(len(sizes))
    points = [rng.normal(size=(m, t, 25, 3)).astype(np.float32) for m, t, _ in sizes]
    labels = [label for _, _, label in sizes]
    rows = [annotation(str(i), labels[i], points[i]) for i in range(len(sizes))]
    source = read_pyskl(write({"split": {}, "annotations": rows}))
    assert len(source.class_names) == max(labels) + 1
    for recording, wanted, label in zip(source, points, labels, strict=True):
        np.testing.assert_array_equal(recording.frames, wanted.transpose(1, 0, 2, 3))
        assert (recording.label, recording.columns) == (label, {})


def _with_nan():
    points = three_d()["annotations"][1]["keypoint"]
    points[1, 2, 7, 0] = np.nan
    return points


LIST = np.zeros((1, 4, 25, 3)).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": -1}, r"annotation 1 \(S001C001P001R001A060\): label.*0.*-1"),
        ({"label": "drink"}, r"annotation 1 \(S0.*\): label.*0.*'dri"),
        ({"frame_dir": 7.5}, r"annotation 1: frame_dir.*7.5"),
        ({"frame_dir": b"\xff"}, r"annotation 1: frame_dir.*b'"),
        ({"frame_dir": True}, r"annotation 1: frame_dir.*True"),
        ({"total_frames": 9}, r"keypoint.*9.*total_frames.*\(2, 3, 25, 3\)"),
        ({"keypoint": np.zeros((3, 25, 3))}, r"floats \(M, T, V, C\).*float64 \(3, 2"),
        (
            {"keypoint": np.zeros((2, 3, 25, 3), int)},
            r"floats \(M, T, V, C\).*int64 \(2, 3, 25",
        ),
        ({"keypoint": LIST}, r"keypoint.*floats \(M, T, V, C\).*list"),
        ({"keypoint": np.zeros((2, 3, 17, 2))}, r"\(M, T, 25, 3\).*\(2, 3, 17, 2\)"),
        (
            {"keypoint": _with_nan()},
            r"A060.: keypoint: NaN.*frame 2, person 1, joint 7",
        ),
    ],
)
def test_says_which_annotation_is_wrong(write, change, message):
    contents = three_d()
    contents["annotations"][1] |= change
    file = write(contents)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_pyskl(file))
    assert str(caught.value).startswith(f"{file}: annotation 1")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([1], "expected a dict of annotations and split, or annotations, got \\[1\\]"),
        (
            {"split": {}, "data": []},
            r"\['split', 'data'\]",
        ),
        ({"split": {}, "annotations": []}, "annotations"),
        ({"split": {}, "annotations": [3]}, r"annotation 0.*int"),
        (
            {"split": {}, "annotations": [{"label": 1}]},
            r"annotation 0: frame_dir.*\['label'\]",
        ),
        (
            {"split": {}, "annotations": [annotation("a", 0, np.zeros((1, 2, 19, 2)))]},
            r"annotation 0 \(a\): keypoint.*\(M, T, V of 17, 18, 21, 25, C of 2.*3\)",
        ),
        (three_d() | {"split": []}, r"split.*list"),
        (
            three_d() | {"split": {"xsub_train": NAMES, "xsub_val": NAMES[1:]}},
            r"split: S001C001P001R001A060.*xsub_train.*xsub_val",
        ),
        (
            three_d() | {"split": {"xsub_train": [1.5, 2], "xsub_val": []}},
            "xsub_train",
        ),
    ],
)
def test_says_what_is_wrong(write, contents, message):
    with pytest.raises(SkeletonFormatError, match=message):
        read_pyskl(write(contents))


@pytest.mark.parametrize(
    ("joints", "channels", "skeleton", "unit"),
    [
        (17, 2, COCO17, "pixels"),
        (17, 3, COCO17, "metres"),
        (18, 2, OPENPOSE18, "pixels"),
        (18, 3, OPENPOSE18, "metres"),
        (21, 2, HAND21, "pixels"),
        (21, 3, HAND21, "metres"),
        (25, 2, NTU25, "pixels"),
        (25, 3, NTU25, "metres"),
    ],
)
def test_layouts(write, tmp_path, joints, channels, skeleton, unit):
    points = np.random.default_rng(0).normal(size=(1, 4, joints, channels)).astype(np.float32)
    file = write({"annotations": [annotation("a", 0, points)]})
    source = read_pyskl(file)
    assert (source.skeleton, source.unit) == (skeleton, unit)
    assert source.notes == [
        f"the layout of {joints} joints is taken to be {skeleton.name}, as in PYSKL"
    ]
    np.testing.assert_array_equal(next(iter(source)).frames, points.transpose(1, 0, 2, 3))
    prepare(file, tmp_path / "s", workers=1)
    assert Store(tmp_path / "s").skeleton == skeleton


def test_layouts_are_pyskls():
    names = OPENPOSE18.joints
    tree = {name: names[parent] for name, parent in zip(names, OPENPOSE18.parents, strict=True)}
    assert tree["left_hip"] == "left_shoulder"
    assert tree["right_ear"] == "right_eye"
    assert {names[joint] for joint in OPENPOSE18.parts["left_arm"]} == {
        "left_shoulder", "left_elbow", "left_wrist"
    }  # fmt: skip
    assert [names[OPENPOSE18.mirror[joint]] for joint in (2, 10, 14)] == [
        "left_shoulder", "left_ankle", "left_eye"
    ]  # fmt: skip
    bones = [(joint, parent) for joint, parent in enumerate(HAND21.parents) if joint]
    wanted = [(4 * finger + 1, 0) for finger in range(5)]
    wanted += [(4 * finger + at, 4 * finger + at - 1) for finger in range(5) for at in (2, 3, 4)]
    assert bones == sorted(wanted)


@pytest.mark.parametrize("joints", [17, 18, 21, 25])
def test_a_third_value_that_is_a_score(write, joints):
    rng = np.random.default_rng(0)
    samples = []
    for name in ("a", "b"):
        points = rng.uniform(0, 1, size=(1, 4, joints, 3)) * [1920, 1080, 1]
        samples.append(annotation(name, 0, points.astype(np.float32)))
    source = read_pyskl(write(samples))
    assert source.unit == "pixels"
    assert "joint scores dropped" in source.about
    for recording, sample in zip(source, samples, strict=True):
        wanted = sample["keypoint"][..., :2].transpose(1, 0, 2, 3)
        np.testing.assert_array_equal(recording.frames, wanted)
    samples[1]["keypoint"][0, 0, 0, 2] = 1.5
    assert read_pyskl(write(samples)).unit == "metres"
    for sample in samples:
        sample["keypoint"] = rng.uniform(0, 1, size=(1, 4, joints, 3))
    if joints == 25:
        assert read_pyskl(write(samples)).unit == "metres"
    else:
        with pytest.raises(SkeletonFormatError, match=r"keypoint.*z\?"):
            read_pyskl(write(samples))


@pytest.mark.parametrize(
    "form", [lambda samples: samples, lambda samples: {"annotations": samples}]
)
def test_annotations_alone(write, form):
    contents = three_d()
    source = read_pyskl(write(form(contents["annotations"])))
    assert [recording.name for recording in source] == NAMES
    assert source.protocols == NTU60_PROTOCOLS
    assert detect(write(form(contents["annotations"])))


def test_names_that_are_numbers_or_bytes(write):
    contents = two_d()
    for at, name in enumerate((7, b"b\xc3\xa4")):
        contents["annotations"][at]["frame_dir"] = name
    contents["split"] = {"train": np.array([7]), "val": [b"b\xc3\xa4"]}
    first, second = read_pyskl(write(contents))
    assert (first.name, second.name) == ("7", "b\u00e4")
    assert (first.columns, second.columns) == ({"split": 1}, {"split": 0})


def test_more_bodies_than_frames_may_be_frames(write):
    points = np.ones((40, 1, 17, 2))
    sample = annotation("a", 0, points)
    assert next(iter(read_pyskl(write([sample])))).frames.shape == (1, 40, 17, 2)
    del sample["total_frames"]
    with pytest.raises(SkeletonFormatError, match=r"40 bodies in 1 frames.*total_frames"):
        read_pyskl(write([sample]))


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def test_runs_nothing(write):
    with pytest.raises(SkeletonFormatError, match=r"refused \w+.system"):
        read_pyskl(write(three_d() | {"more": Evil()}))


def test_detect(write, tmp_path):
    assert detect(write(three_d()))
    (tmp_path / "label.pkl").write_bytes(pickle.dumps((["a"], [0])))
    assert not detect(tmp_path / "label.pkl")
    assert not detect(tmp_path / "missing.pkl")
    assert not detect(tmp_path)
