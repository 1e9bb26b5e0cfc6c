from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from pcm3.data.protocols import NTU60_PROTOCOLS, NTU120_PROTOCOLS
from pcm3.data.readers.agcn import detect, read_agcn
from pcm3.data.readers.ntu import NTU_ACTIONS
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import NTU25

NAMES = {
    "train": ["S001C002P003R002A013.skeleton", "S001C001P001R001A060.skeleton"],
    "val": ["S017C003P040R001A001.skeleton"],
}
LABELS = {"train": [12, 59], "val": [0]}
LENGTHS = {"train": [4, 2], "val": [6]}


def data(part):
    rng = np.random.default_rng(len(part))
    array = np.zeros((len(LABELS[part]), 3, 6, 25, 2), np.float32)
    for row, length in zip(array, LENGTHS[part], strict=True):
        row[:, :length] = rng.normal(size=(3, length, 25, 2))
    return array


@pytest.fixture
def folder(tmp_path):
    for part, names in NAMES.items():
        np.save(tmp_path / f"{part}_data_joint.npy", data(part))
        np.save(tmp_path / f"{part}_num_frame.npy", np.array(LENGTHS[part]))
        labels = (names, LABELS[part])
        (tmp_path / f"{part}_label.pkl").write_bytes(pickle.dumps(labels))
    return tmp_path


@pytest.mark.parametrize("with_lengths", [True, False])
def test_reads_everything(folder, with_lengths):
    if not with_lengths:
        for part in NAMES:
            (folder / f"{part}_num_frame.npy").unlink()
    source = pickle.loads(pickle.dumps(read_agcn(folder)))
    assert (source.format, source.skeleton, source.persons) == ("agcn", NTU25, 2)
    assert source.class_names == NTU_ACTIONS[:60]
    recordings = list(source)
    wanted = [(part, row) for part in NAMES for row in range(len(NAMES[part]))]
    for recording, (part, row) in zip(recordings, wanted, strict=True):
        length = LENGTHS[part][row]
        assert recording.frames.shape == (length, 2, 25, 3)
        for person in range(2):
            for axis in range(3):
                np.testing.assert_array_equal(
                    recording.frames[:, person, :, axis], data(part)[row, axis, :length, :, person]
                )
        assert recording.label == LABELS[part][row]
        assert recording.name == NAMES[part][row]
    ntu = {"setups": 1, "views": 2, "subjects": 3, "replications": 2}
    assert recordings[0].columns == {"train": 1} | ntu
    assert [recording.columns["train"] for recording in recordings] == [1, 1, 0]
    assert source.protocols == NTU60_PROTOCOLS | {"split": ("train", (1,), (0,))}


def test_units_are_ranges(tmp_path):
    array = np.random.default_rng(0).normal(size=(300, 3, 1, 25, 1))
    np.save(tmp_path / "val_data_joint.npy", array)
    names = [f"video {index}" for index in range(300)]
    labels = np.arange(300) % 7
    (tmp_path / "val_label.pkl").write_bytes(pickle.dumps((names, labels), 2))
    source = read_agcn(tmp_path)
    assert [(unit.file.name, unit.start, unit.end) for unit in source.units] == [
        ("val_data_joint.npy", 0, 256),
        ("val_data_joint.npy", 256, 300),
    ]
    assert list(source.protocols) == ["split"]
    assert source.class_names == tuple("0123456")
    last = list(source.read(source.units[1]))
    assert [recording.name for recording in last] == names[256:]
    assert last[0].columns == {"train": 0}
    np.testing.assert_array_equal(last[3].frames[0, 0], array[259, :, 0, :, 0].T.astype(np.float32))


def test_protocols_of_120(folder):
    names = ["S018C001P041R001A061.skeleton"]
    (folder / "val_label.pkl").write_bytes(pickle.dumps((names, [60])))
    source = read_agcn(folder)
    assert source.protocols == NTU120_PROTOCOLS | {"split": ("train", (1,), (0,))}
    assert source.class_names == NTU_ACTIONS


def test_empty_sequences_keep_a_frame(folder):
    np.save(folder / "val_data_joint.npy", np.zeros((1, 3, 6, 25, 2), np.float32))
    np.save(folder / "val_num_frame.npy", np.array([0]))
    assert list(read_agcn(folder))[-1].frames.shape == (1, 2, 25, 3)
    (folder / "val_num_frame.npy").unlink()
    assert list(read_agcn(folder))[-1].frames.shape == (1, 2, 25, 3)


def _with_nan():
    array = data("train")
    array[1, 2, 1, 5, 1] = np.nan
    return array


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_joint.npy", np.zeros((2, 3, 6, 25)), r"floats \(N, 3, T, 25, M\).*float64 \(2"),
        ("data_joint.npy", np.zeros((2, 2, 6, 25, 2)), r"float64 \(2, 2, 6, 25, 2\)"),
        ("data_joint.npy", np.zeros((2, 3, 6, 25, 2), int), r"expected floats .*got int64"),
        (
            "data_joint.npy",
            _with_nan(),
            r"NaN.*sequence 1, frame 1, person 1, joint 5",
        ),
        ("data_joint.npy", np.array([None]), "not a readable .npy of numbers"),
        ("num_frame.npy", np.array([1]), r"integers \(2,\).*int64 \(1,\)"),
        ("num_frame.npy", np.array([1.0, 2]), r"integers \(2,\).*float64"),
        ("num_frame.npy", np.array([1, -7]), r"sequence 1.*0.*-7"),
        ("label.pkl", [1, 2, 3], "expected a pair of names and labels, got list"),
        ("label.pkl", (["a"], [1, 2]), "2 names.*1"),
        ("label.pkl", (["a", "b"], [1]), "2 labels.*1"),
        ("label.pkl", (["a", "b"], 3), "2 labels.*0"),
        ("label.pkl", (["a", 3], [1, 2]), r"sequence 1.*3"),
        ("label.pkl", (["a", "b"], [1, -1]), r"sequence 1.*0.*-1"),
        ("label.pkl", (["a", "b"], [1, Evil()]), r"refused \w+.system"),
    ],
)
def test_says_what_is_wrong(folder, name, content, message):
    file = folder / f"train_{name}"
    if name.endswith(".npy"):
        np.save(file, content)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_agcn(folder))
    assert str(caught.value).startswith(f"{file}: ")


def test_missing_files(folder, tmp_path):
    (folder / "train_label.pkl").unlink()
    with pytest.raises(SkeletonFormatError, match=r"train_label.pkl"):
        read_agcn(folder)
    with pytest.raises(SkeletonFormatError, match=r"train_data_joint.npy.*val_data"):
        read_agcn(tmp_path / "nowhere")


def test_detect(folder):
    assert detect(folder)
    assert not detect(folder / "train_label.pkl")
    assert not detect(folder / "nowhere")


def test_other_sequences_go_on(folder):
    file = folder / "train_label.pkl"
    for label, message in (
        (
            99,
            "sequence 1: expected the action of its name S001C001P001R001A060.skeleton, got label",
        ),
        (20_000_000, "sequence 1: expected a class index from 0, below 10,000, got 20000000"),
        ("x", "sequence 1: expected a label from 0, got 'x'"),
    ):
        file.write_bytes(pickle.dumps((NAMES["train"], [12, label])))
        source = pickle.loads(pickle.dumps(read_agcn(folder)))
        first, error, last = (item for unit in source.units for item in source.read(unit))
        assert (first.name, last.name) == (NAMES["train"][0], NAMES["val"][0])
        assert str(error).startswith(f"{file}: {message}")
        assert source.class_names == NTU_ACTIONS[:60]
        with pytest.raises(SkeletonFormatError, match="sequence 1"):
            list(source)


def test_all_labels_are_bad(folder):
    (folder / "val_data_joint.npy").unlink()
    (folder / "train_label.pkl").write_bytes(pickle.dumps((NAMES["train"], [-1, -1])))
    with pytest.raises(SkeletonFormatError, match=r"sequence 0.*0.*-1"):
        read_agcn(folder)


def test_no_frames_is_no_body(folder):
    np.save(folder / "val_num_frame.npy", np.array([0]))
    assert not list(read_agcn(folder))[-1].frames.any()


@pytest.mark.parametrize(
    "name", ["train_num_frame.npy", "val_data_joint.npy", "val_label.pkl", "val_num_frame.npy"]
)
def test_links_to_nothing_are_not_passed_over(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to(folder / "gone")
    with pytest.raises(SkeletonFormatError, match=f"{name}: "):
        read_agcn(folder)


def test_takes_no_table(folder):
    (folder / "labels.csv").write_text("file,label\n")
    with pytest.raises(SkeletonFormatError, match=r"labels.csv"):
        read_agcn(folder)


def test_persons_in_the_place_of_frames(folder):
    np.save(folder / "train_data_joint.npy", data("train").transpose(0, 1, 4, 3, 2))
    with pytest.raises(SkeletonFormatError, match=r"\(2, 3, 2, 25, 6\) .*6.*in 2"):
        read_agcn(folder)
