from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

from pcm3.data import Store, prepare
from pcm3.data.readers.packed import read_packed
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import SBU15

LENGTHS = [3, 5, 2]


def packed(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "joints": rng.normal(size=(sum(LENGTHS), 2, 15, 3)).astype(np.float32),
        "lengths": np.array(LENGTHS, np.int32),
        "labels": np.array([0, 1, -1], np.int32),
        "subjects": np.array([1, 2, 3], np.int32),
        "views": np.array([-1, -1, -1], np.int32),
        "correct": np.array([True, False, True]),
        "weight": np.array([60.0, 70.0, 80.0]),
        "class_names": np.array(["wave", "bow"]),
        "joint_names": np.array(SBU15.joints),
        "parents": np.array(SBU15.parents, np.int32),
        "fps": np.float32(15),
        "unit": np.array("metres"),
        "source": np.array("a test"),
        "licence": np.array("CC0"),
    }


def untrimmed() -> dict[str, np.ndarray]:
    return packed() | {
        "frame_labels": np.array([-1, 0, 0, 1, 1, -1, -1, 0, -1, -1], np.int16),
        "segments": np.array([[0, 1, 3, 0], [1, 0, 2, 1], [1, 4, 5, 0]], np.int32),
    }


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data.npz"


def test_a_unit_of_length_says_that_no_number_is_a_score(file):
    arrays = packed()
    arrays["joints"] = arrays["joints"] * [9, 9, 0] + np.linspace(0.1, 0.9, 15)[:, None] * [0, 0, 1]
    np.savez(file, **arrays)
    [first, *_] = read_packed(file)
    np.testing.assert_allclose(first.frames, arrays["joints"][:3], rtol=1e-6)
    for unit in ({}, {"unit": np.array("pixels")}):
        np.savez(file, **{k: v for k, v in arrays.items() if k != "unit"} | unit)
        with pytest.raises(SkeletonFormatError, match=r"sequence 0.*x, y, score"):
            list(read_packed(file))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_everything(file, save):
    arrays = packed()
    save(file, **arrays)
    source = pickle.loads(pickle.dumps(read_packed(file)))
    assert (source.format, source.skeleton, source.persons) == ("packed", SBU15, 2)
    assert source.class_names == ("wave", "bow")
    assert (source.fps, source.unit) == (15.0, "metres")
    assert (source.about, source.licence) == ("a test", "CC0")
    sequences = list(source)
    assert [recording.name for recording in sequences] == [f"sequence {i}" for i in range(3)]
    joints = np.concatenate([recording.frames for recording in sequences])
    assert joints.tobytes() == arrays["joints"].tobytes()
    assert [len(recording.frames) for recording in sequences] == LENGTHS
    assert [recording.label for recording in sequences] == [0, 1, -1]
    assert sequences[1].columns == {"subjects": 2, "views": -1, "correct": 0, "weight": 70}
    assert sequences[0].frame_labels is None


@pytest.mark.parametrize(
    ("save", "units"),
    [(np.savez, [(0, 256), (256, 512), (512, 600)]), (np.savez_compressed, [(0, 600)])],
)
def test_units(file, save, units):
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 4, 600)
    total = int(lengths.sum())
    arrays = packed() | {
        "joints": rng.normal(size=(total, 2, 15, 3)).astype(np.float32),
        "lengths": lengths,
        "labels": np.arange(600) % 2,
        "subjects": np.arange(600),
        "views": np.arange(600) % 3,
        "frame_labels": np.full(total, -1),
        "segments": np.array([[599, 0, 1, 0], [300, 0, 1, 1]]),
    }
    starts = np.cumsum(lengths) - lengths
    arrays["frame_labels"][starts[[300, 599]]] = 1, 0
    save(file, **arrays)
    source = read_packed(file)
    assert [unit[1:3] for unit in source.units] == units
    assert len(pickle.dumps(source.units[0])) < 300
    parts = [list(source.read(unit)) for unit in reversed(source.units)]  # in any order
    recordings = [recording for part in reversed(parts) for recording in part]
    assert [recording.columns["subjects"] for recording in recordings] == list(range(600))
    assert [recording.label for recording in recordings] == arrays["labels"].tolist()
    assert [len(recording.frames) for recording in recordings] == lengths.tolist()
    joints = np.concatenate([recording.frames for recording in recordings])
    assert joints.tobytes() == arrays["joints"].tobytes()
    frame_labels = np.concatenate([recording.frame_labels for recording in recordings])
    assert frame_labels.tolist() == arrays["frame_labels"].tolist()
    assert recordings[300].segments.tolist() == [[0, 1, 1]]
    assert sum(len(recording.segments) for recording in recordings) == 2


def test_doubles_become_floats(file):
    arrays = packed()
    np.savez(file, **arrays | {"joints": arrays["joints"].astype(np.float64)})
    frames = next(iter(read_packed(file))).frames
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, arrays["joints"][:3])


def test_untrimmed(file, tmp_path):
    np.savez(file, **untrimmed())
    prepare(file, tmp_path / "s", min_frames=3, workers=1)
    store = Store(tmp_path / "s")
    assert store.lengths.tolist() == [3, 5]
    assert store.frame_labels.tolist() == [-1, 0, 0, 1, 1, -1, -1, 0]
    assert store.segments.tolist() == untrimmed()["segments"].tolist()


def test_unknown_skeleton_is_derived(file):
    names = ["root", "chest", "head", "l_arm", "l_hand", "r_arm", "r_hand"]
    names += ["l_thigh", "l_foot", "r_thigh", "r_foot"]
    parents = [-1, 0, 1, 1, 3, 1, 5, 0, 7, 0, 9]
    arrays = packed() | {"joint_names": np.array(names), "parents": np.array(parents)}
    np.savez(file, **arrays | {"joints": arrays["joints"][:, :, :11]})
    skeleton = read_packed(file).skeleton
    assert skeleton.joints == tuple(names)
    assert skeleton.parts["left_leg"] == (7, 8)


def _with_nan() -> np.ndarray:
    joints = packed()["joints"]
    joints[3 + 4, 1, 6, 2] = np.nan
    return joints


JOINTS = packed()["joints"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": JOINTS[0]}, r"joints.*\(sum.*T, M, V, C of 2.*3\).*\(2, 15"),
        ({"joints": JOINTS.astype(int)}, r"joints.*int64"),
        ({"joints": np.asfortranarray(JOINTS)}, r"joints.*C"),
        ({"joints": JOINTS[:, :, :14]}, r"joint_names.*14.*15"),
        ({"joints": JOINTS[:9]}, r"lengths.*10.*has 9"),
        ({"joints": _with_nan()}, r"joints: NaN.*sequence 1, frame 4, person 1"),
        ({"lengths": np.array([3, 7, 0])}, "lengths: sequence 2"),
        ({"lengths": np.array([3.0, 5.0, 2.0])}, r"lengths.*integers \(3,\).*float64"),
        ({"labels": np.array([0, 1])}, r"labels.*integers \(3,\).*int64 \(2,\)"),
        ({"subjects": np.array([1, 2])}, r"subjects.*words \(3,\)"),
        ({"subjects": np.array(["a", "b"])}, r"subjects.*<U1 \(2,\)"),
        ({"views": np.ones((3, 1), int)}, r"views.*\(3,\).*int64 \(3, 1\)"),
        ({"fold": np.array([1, 1.5, 1])}, r"fold: sequence 1.*1.5"),
        ({"fold": np.array([1, np.nan, 1])}, r"fold: sequence 1.*nan"),
        ({"fold": np.array([1, np.inf, 1])}, r"fold: sequence 1.*inf"),
        (
            {"camera": np.array(["1", "b", "3"])},
            r"camera.*1 of sequence 0 and 'b' of seq.* 1",
        ),
        ({"camera": np.array(["1", "2.5", "3"])}, r"camera: sequence 1: .*64.*'2.5'"),
        (
            {"camera": np.array([b"\xff", b"b", b"c"])},
            r"camera: sequence 0.*UTF-8",
        ),
        (
            {"camera": np.array([2**63, 1, 1], np.uint64)},
            r"camera: sequence 0.*64.*92233",
        ),
        (
            {"labels": np.array([2**64 - 1, 1, 1], np.uint64)},
            r"labels.*64.*1844674407370",
        ),
        ({"labels": np.array([0, 2, 1])}, r"labels.*\[-1, 2\), sequence 1 has 2"),
        ({"labels": np.array([0, None, 1])}, r"labels.*allow_pickle"),
        ({"parents": np.full(11, -1), "joint_names": np.arange(11)}, r"joint_names.*15"),
        ({"joint_names": np.arange(15), "parents": np.zeros(15, int)}, "parents"),
        ({"frame_labels": np.zeros(9, int)}, r"frame_labels.*\(10,\).*int64 \(9"),
        ({"frame_labels": np.full(10, 2)}, r"frame_labels.*\[-1, 2\), frame 0 has 2"),
        ({"segments": np.zeros((2, 3), int)}, r"segments.*integers \(S, 4\).*int64"),
        ({"segments": np.array([[1, 2, 6, 0]])}, r"segments: row 0 \(1, 2, 6, 0\)"),
        ({"segments": np.array([[3, 0, 1, 0]])}, r"segments: row 0 \(3, 0, 1, 0\)"),
        ({"segments": np.array([[0, 0, 1, 2]])}, r"segments: row 0 \(0, 0, 1, 2\)"),
    ],
)
def test_says_what_is_wrong(file, change, message):
    np.savez(file, **untrimmed() | change)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_packed(file))
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize("key", ["joints", "lengths", "parents", "joint_names"])
def test_missing_key(file, key):
    arrays = packed()
    del arrays[key]
    np.savez(file, **arrays)
    with pytest.raises(SkeletonFormatError, match=rf"{key}: missing; the file has .*labels"):
        read_packed(file)


def test_size_and_head_at_odds(file, tmp_path):
    np.savez(file, **packed())
    joints = tmp_path / "joints.npy"
    np.save(joints, packed()["joints"])
    joints.write_bytes(joints.read_bytes().replace(b"(10, 2, 15, 3)", b"(11, 2, 15, 3)"))
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in (members | {"joints.npy": joints.read_bytes()}).items():
            archive.writestr(name, member)
    with pytest.raises(SkeletonFormatError, match=r"joints.*\d+.*float32 \(11"):
        read_packed(file)


def test_optional_keys(file):
    keys = ("joints", "lengths", "joint_names", "parents")
    np.savez(file, **{key: packed()[key] for key in keys})
    source = read_packed(file)
    assert (source.fps, source.class_names, source.about) == (None, (), "data.npz")
    assert [(each.label, each.columns) for each in source] == [(-1, {})] * 3
    np.savez(file, **{key: packed()[key] for key in (*keys, "labels")})
    assert read_packed(file).class_names == ("0", "1")


def test_columns_of_words_keep_their_names(file):
    words = {
        "subjects": np.array(["ben", "anna ", ""]),
        "camera": np.array([b"b", b"\xc3\xa4", b""]),
    }
    np.savez(file, **packed() | words)
    source = read_packed(file)
    assert [each.columns["subjects"] for each in source] == ["ben", "anna", -1]
    assert [each.columns["camera"] for each in source] == ["b", "\u00e4", -1]
    assert source.about == "a test"


@pytest.mark.parametrize(
    "column",
    [np.array([1.0, 2.0, 10.0]), np.array(["1.0", "2", "10"]), np.array([b"1", b"2", b"1e1"])],
)
@pytest.mark.parametrize("key", ["subjects", "camera"])
def test_columns_of_numbers_are_numbers(file, key, column):
    np.savez(file, **packed() | {key: column})
    assert [each.columns[key] for each in read_packed(file)] == [1, 2, 10]


def test_what_python_takes_for_numbers_are_words(file):
    np.savez(file, **packed() | {"subjects": np.array(["1_11", "11_1", "\uff11"])})
    assert [each.columns["subjects"] for each in read_packed(file)] == ["1_11", "11_1", "\uff11"]


def test_arrays_that_mean_nothing_are_ignored_with_a_word(file):
    others = {
        "subject_names": np.array(["ben", "anna"]),
        "weight": np.array([60.5, 70, 80]),
        "version": np.array(2),
    }
    np.savez(file, **packed() | others)
    source = read_packed(file)
    assert next(iter(source)).columns.keys() == {"subjects", "views", "correct"}
    (note,) = source.notes
    assert all(f"'{key}' " in note for key in others)


def test_names_of_bytes(file):
    names = {
        key: np.array(packed()[key]).astype("S") for key in ("joint_names", "class_names", "unit")
    }
    np.savez(file, **packed() | names | {"source": np.array(["a test"])})
    source = read_packed(file)
    assert (source.skeleton, source.class_names) == (SBU15, ("wave", "bow"))
    assert (source.unit, source.about) == ("metres", "a test")
    for key, value in (("class_names", np.array([b"\xff", b"a"])), ("unit", np.array(["a", "b"]))):
        np.savez(file, **packed() | {key: value})
        with pytest.raises(SkeletonFormatError, match=f"{key}: expected "):
            read_packed(file)


def test_frame_labels_alone(file, tmp_path):
    arrays = untrimmed()
    del arrays["segments"]
    np.savez(file, **arrays)
    prepare(file, tmp_path / "s", workers=1)
    wanted = [[0, 1, 3, 0], [1, 0, 2, 1], [1, 4, 5, 0]]
    assert Store(tmp_path / "s").segments.tolist() == wanted


def test_segments_alone(file, tmp_path):
    """Where they overlap, the last one labels the frame."""
    arrays = untrimmed() | {"segments": np.array([[1, 0, 4, 0], [0, 1, 3, 0], [1, 2, 5, 1]])}
    del arrays["frame_labels"]
    np.savez(file, **arrays)
    prepare(file, tmp_path / "s", workers=1)
    store = Store(tmp_path / "s")
    assert store.frame_labels.tolist() == [-1, 0, 0, 0, 0, 1, 1, 1, -1, -1]
    assert store.segments.tolist() == [[0, 1, 3, 0], [1, 0, 4, 0], [1, 2, 5, 1]]


def test_frame_labels_that_contradict_segments(file):
    arrays = untrimmed()
    arrays["frame_labels"][4] = 0
    np.savez(file, **arrays)
    source = read_packed(file)
    first, error, last = source.read(source.units[0])
    assert (first.name, last.name) == ("sequence 0", "sequence 2")
    assert str(error).endswith(
        "frame_labels, segments: sequence 1: frame 1 is labelled 0, but segments give it class 1"
    )


def test_a_second_member_of_the_same_name(file):
    """NumPy reads the member ``labels`` instead of ``labels.npy``."""
    np.savez(file, **packed())
    with zipfile.ZipFile(file, "a") as archive:
        other = io.BytesIO()
        np.save(other, np.array([1, 1, 1]))
        archive.writestr("labels", other.getvalue())
    assert [each.label for each in read_packed(file)] == [0, 1, -1]
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("labels.npy", other.getvalue())
    with pytest.raises(SkeletonFormatError, match="labels"):
        read_packed(file)


def test_no_npz(file):
    with pytest.raises(SkeletonFormatError, match=r"data.npz"):
        read_packed(file)
    file.write_bytes(b"something else")
    with pytest.raises(SkeletonFormatError, match=r"not a readable .npz"):
        read_packed(file)
    np.save(file.with_suffix(".npy"), np.zeros(3))
    with pytest.raises(SkeletonFormatError, match=r"not a readable .npz"):
        read_packed(file.with_suffix(".npy"))
    np.savez(file, **packed())
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(SkeletonFormatError, match=r"not a readable .npz"):
        read_packed(file)


@pytest.mark.parametrize(
    ("name", "sequences", "skeleton", "persons", "classes", "subjects"),
    [
        ("utd_mhad", 861, "kinect20", 1, 27, 8),
        ("nw_ucla", 1484, "kinect20", 1, 10, 10),
        ("sbu_interaction", 282, "sbu15", 2, 8, 7),
        ("uiprmd_kinect", 2000, "uiprmd22", 1, 10, 10),
        ("precog2016", 70, "kinect20", 1, 8, 12),
    ],
)
def test_real_recordings(shared, tmp_path, name, sequences, skeleton, persons, classes, subjects):
    file = shared / "data" / f"{name}.npz"
    report = prepare(file, tmp_path / "s", normalization="none", workers=1)
    assert report["dropped"] == []
    summary = report["summary"]
    assert summary["sequences"] == sequences
    assert (summary["skeleton"], summary["persons"]) == (skeleton, persons)
    assert (summary["classes"], summary["subjects"]) == (classes, subjects)
    assert summary["duplicates"] == (95 if name == "nw_ucla" else 0)
    assert summary["segments"] == (353 if name == "precog2016" else None)
    store = Store(tmp_path / "s")
    with np.load(file, allow_pickle=False) as arrays:
        assert list(store.skeleton.parents) == arrays["parents"].tolist()
        joints = np.concatenate([store.sequence(index) for index in range(len(store))])
        assert joints.tobytes() == arrays["joints"].tobytes()


def test_other_sequences_go_on(file):
    np.savez(file, **packed() | {"joints": _with_nan()})
    source = read_packed(file)
    first, error, last = source.read(source.units[0])
    assert (first.name, last.name) == ("sequence 0", "sequence 2")
    assert "NaN or infinity in sequence 1" in str(error)


def test_checksum(file):
    np.savez(file, **packed())
    joints = packed()["joints"].tobytes()
    content = bytearray(file.read_bytes())
    content[content.index(joints) + 1000] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(SkeletonFormatError, match=r"data.npz: joints.*Bad CRC-32"):
        read_packed(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 20_000_000, 1]), "class_names": None}, r"sequence 1.*class_n"),
        ({"parents": SBU15.parents[:3]}, r"parents.*integers \(15,\)"),
        ({"parents": np.array(SBU15.parents) * 1.0}, r"parents.*float64"),
        ({"parents": (1, 0, -1, *SBU15.parents[3:])}, "joint_names, parents"),
        ({"joint_names": np.array("a")}, r"joint_names.*<U1 \(\)"),
        ({"lengths": np.array(10)}, r"lengths.*int64 \(\)"),
        ({"fps": np.array([1.0, 2])}, r"fps.*float64 \(2,\)"),
        ({"fps": np.array(0)}, r"above 0.*100,000.*0"),
        ({"fps": np.array(np.nan)}, r"above 0.*100,000.*nan"),
        ({"class_names": np.array("wave")}, "class_names"),
    ],
)
def test_says_what_is_wrong_with_the_rest(file, change, message):
    arrays = {key: value for key, value in (packed() | change).items() if value is not None}
    np.savez(file, **arrays)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        read_packed(file)
    assert str(caught.value).startswith(str(file))


def test_another_tree_of_known_joints(file):
    parents = list(SBU15.parents)
    parents[0], parents[1], parents[2] = 1, -1, 1  # from the neck
    np.savez(file, **packed() | {"parents": np.array(parents)})
    skeleton = read_packed(file).skeleton
    assert (skeleton.joints, skeleton.parents) == (SBU15.joints, tuple(parents))
