from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcm3.data import Store, prepare, split
from pcm3.data.readers.ctrgcn import detect, read_ctrgcn
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import NTU25


def arrays(lengths=((3, 5), (5, 0, 1)), seed=0, classes=60):
    """What the files hold, and the sequences (T, 2, 25, 3) that went into it."""
    rng = np.random.default_rng(seed)
    packed, sequences = {}, []
    for part, part_lengths in zip(("train", "test"), lengths, strict=True):
        x = np.zeros((len(part_lengths), 5, 150), np.float32)
        for row, length in enumerate(part_lengths):
            frames = rng.normal(size=(length, 2, 25, 3)).astype(np.float32)
            for person in range(2):
                for joint in range(25):
                    at = person * 75 + joint * 3
                    x[row, :length, at : at + 3] = frames[:, person, joint]
            sequences.append(frames if length else np.zeros((1, 2, 25, 3), np.float32))
        packed[f"x_{part}"] = x
        packed[f"y_{part}"] = np.eye(classes)[np.arange(len(part_lengths)) + 7]
    return packed, sequences


@pytest.fixture
def file(tmp_path):
    return tmp_path / "NTU60_CS.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_everything(file, save):
    packed, sequences = arrays()
    save(file, **packed)
    source = pickle.loads(pickle.dumps(read_ctrgcn(file)))
    assert (source.format, source.skeleton, source.persons) == ("ctrgcn", NTU25, 2)
    assert len(source.class_names) == 60
    assert source.class_names[7] == "sit down"
    recordings = list(source)
    for recording, wanted in zip(recordings, sequences, strict=True):
        assert recording.frames.dtype == np.float32
        np.testing.assert_array_equal(recording.frames, wanted)
    assert [recording.label for recording in recordings] == [7, 8, 7, 8, 9]
    assert [recording.columns["train"] for recording in recordings] == [1, 1, 0, 0, 0]
    assert [r.name for r in source.read(source.units[0])] == ["x_train[0]", "x_train[1]"]


@pytest.mark.parametrize(
    ("save", "train", "test"),
    [
        (np.savez, [(0, 256), (256, 300)], [(0, 256), (256, 257)]),
        (np.savez_compressed, [(0, 300)], [(0, 257)]),
    ],
)
def test_units(file, save, train, test):
    packed, sequences = arrays(((2,) * 300, (1,) * 257), classes=310)
    save(file, **packed)
    source = read_ctrgcn(file)
    units = {key: [u[1:3] for u in source.units if u.key == key] for key in ("x_train", "x_test")}
    assert units == {"x_train": train, "x_test": test}
    assert len(pickle.dumps(source.units[0])) < 300
    last = list(source.read(source.units[len(train) - 1]))
    for recording, wanted in zip(last[-44:], sequences[256:300], strict=True):
        np.testing.assert_array_equal(recording.frames, wanted)
    assert (last[-1].name, last[-1].label) == ("x_train[299]", 306)
    assert [len(list(source.read(unit))) for unit in source.units] == [
        b - a for a, b in train + test
    ]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("NTU60_CS", "xsub"),
        ("NTU60_CV", "xview"),
        ("NTU120_CSub", "xsub"),
        ("NTU120_CSet", "xset"),
        ("NTU60_XSub", "xsub"),
        ("NTU60_XView", "xview"),
        ("NTU120_XSub", "xsub"),
        ("NTU120_XSet", "xset"),
        ("PKUv1_XSub", "xsub"),
        ("PKUv2_XView", "xview"),
        ("my_NTU60_XSub", "split"),
        ("mine", "split"),
    ],
)
def test_protocols(tmp_path, stem, name):
    np.savez(tmp_path / f"{stem}.npz", **PACKED)
    prepare(tmp_path / f"{stem}.npz", tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert store.protocols.keys() == {"split", name}
    for protocol in ("split", name):
        train, test = split(store, protocol)
        assert store.labels[train].tolist() == [7, 8]
        assert store.labels[test].tolist() == [7, 9]  # the empty sequence was dropped


@given(
    st.lists(st.integers(1, 5), max_size=4).map(tuple),
    st.lists(st.integers(1, 5), max_size=4).map(tuple),
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_lengths(file, train, test):
    packed, sequences = arrays((train, test))
    np.savez(file, **packed)
    for recording, wanted in zip(read_ctrgcn(file), sequences, strict=True):
        np.testing.assert_array_equal(recording.frames, wanted)


def test_a_gap_stays(file):
    packed, _ = arrays()
    packed["x_train"][1, 2] = 0
    np.savez(file, **packed)
    _, second, *_ = read_ctrgcn(file)
    assert len(second.frames) == 5
    assert not second.frames[2].any()


PACKED = arrays()[0]
X, Y = PACKED["x_test"], PACKED["y_test"]


def _with_nan():
    x = X.copy()
    x[2, 0, 75 + 3 * 4 + 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": X[:, :, :75]}, r"x_test.*floats \(N, T, 150\).*float32 \(3, 5, 7"),
        ({"x_test": X[0]}, r"x_test.*floats \(N, T, 150\).*float32 \(5, 150\)"),
        ({"x_test": X.astype(int)}, r"x_test.*int64 \(3, 5, 150\)"),
        ({"x_test": np.asfortranarray(X)}, r"x_test.*C"),
        ({"x_test": X[:2]}, r"y_test.*2.*x_test.*3"),
        (
            {"x_test": _with_nan()},
            r"x_test: NaN.*sequence 2, frame 0, person 1, joint 4",
        ),
        ({"y_test": Y.argmax(1)}, r"y_test.*\(N, classes\).*int64 \(3,\)"),
        ({"y_test": Y * [[1], [2], [1]]}, "y_test: row 1"),
        ({"y_test": Y * [[1], [1], [0]]}, "y_test: row 2"),
        ({"y_test": np.ones_like(Y)}, "y_test: row 0"),
        ({"y_test": Y[:, :50]}, r"y_test.*60.*y_train.*50"),
        ({"y_test": np.array([None])}, r"y_test.*allow_pickle"),
        ({"x_test": None}, "x_test: missing"),
        ({"y_train": None}, "y_train"),
    ],
)
def test_says_what_is_wrong(file, change, message):
    packed = {key: value for key, value in (PACKED | change).items() if value is not None}
    np.savez(file, **packed)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_ctrgcn(file))
    assert str(caught.value).startswith(f"{file}: ")


def test_no_npz(file):
    with pytest.raises(SkeletonFormatError, match=r"NTU60_CS.npz"):
        read_ctrgcn(file)
    file.write_bytes(b"something else")
    with pytest.raises(SkeletonFormatError, match=r"NTU60_CS.npz"):
        read_ctrgcn(file)
    np.savez(file, **PACKED)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SkeletonFormatError, match=r"NTU60_CS.npz"):
        read_ctrgcn(file)


def test_damaged_sequence(file):
    np.savez_compressed(file, **PACKED)
    with zipfile.ZipFile(file) as archive:
        end = archive.getinfo("y_test.npy").header_offset  # x_test lies before it
    content = bytearray(file.read_bytes())
    content[end - 4] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(SkeletonFormatError, match=r"x_test: sequence \d"):
        list(read_ctrgcn(file))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_file_that_changes(file, save):
    save(file, **PACKED)
    source = read_ctrgcn(file)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(SkeletonFormatError, match=r"x_train: .*(ends inside|read).*"):
        list(source)
    file.unlink()
    with pytest.raises(SkeletonFormatError, match="x_train: sequence 0"):
        list(source)


def test_detect(file):
    assert not detect(file)
    np.savez(file, **PACKED)
    assert detect(file)
    np.savez(file, joints=X)
    assert not detect(file)
    file.write_bytes(b"something else")
    assert not detect(file)
    assert not detect(file.parent)


def give(source):
    """What a source gives: names of recordings, messages of errors."""
    items = [item for unit in source.units for item in source.read(unit)]
    return [str(item) if isinstance(item, SkeletonFormatError) else item.name for item in items]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": np.where(np.arange(3)[:, None, None] == 1, np.nan, X)}, "NaN or infinity in"),
        ({"y_test": Y * [[1], [2], [1]]}, "y_test: row 1 is not one-hot"),
    ],
)
def test_other_sequences_go_on(file, change, message):
    np.savez(file, **PACKED | change)
    *others, error, last = give(read_ctrgcn(file))
    assert (others, last) == (["x_train[0]", "x_train[1]", "x_test[0]"], "x_test[2]")
    assert message in error


def test_checksum_of_stored_arrays(file):
    np.savez(file, **PACKED)
    with zipfile.ZipFile(file) as archive:
        end = archive.getinfo("y_test.npy").header_offset  # x_test lies before it
    content = bytearray(file.read_bytes())
    content[end - 4] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(SkeletonFormatError, match=r"x_test.*Bad CRC-32"):
        read_ctrgcn(file)


@pytest.mark.parametrize(("classes", "last"), [(120, "rock-paper-scissors"), (49, "A049")])
def test_class_names(file, classes, last):
    np.savez(file, **arrays(classes=classes)[0])
    assert len(read_ctrgcn(file).class_names) == classes
    assert read_ctrgcn(file).class_names[-1] == last
