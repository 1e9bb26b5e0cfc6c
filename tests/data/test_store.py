from __future__ import annotations

import json
import pickle
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from old_stores import edit_meta

from pcm3.data import SkeletonDataset, Store, StoreWriter
from pcm3.data.report import sequence_summary
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import NTU25, SBU15


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    persons=st.integers(1, 3),
    channels=st.sampled_from([2, 3]),
    seed=st.integers(0, 1000),
)
def test_round_trip_is_exact(make_store, make_sequences, lengths, persons, channels, seed):
    sequences = make_sequences(lengths, persons, channels, seed)
    store = make_store(sequences, {"trial": range(len(lengths))}, overwrite=True)
    assert len(store) == len(lengths)
    assert store.persons == persons
    assert store.lengths.tolist() == lengths
    assert store.columns["trial"].tolist() == list(range(len(lengths)))
    assert store.labels.tolist() == [i % 3 for i in range(len(lengths))]
    for i, sequence in enumerate(sequences):
        assert store.sequence(i).tobytes() == sequence.tobytes()
        assert store.sequence(i).shape == sequence.shape


def test_describes_itself(make_store, make_sequences):
    columns = {"subjects": [1, 1, 2], "views": [3, 3, 3]}
    about = {"fps": 15.0, "source": "somewhere", "licence": "free", "normalization": "center"}
    store = make_store(make_sequences([4, 2, 6]), columns, **about)
    assert store.skeleton == SBU15
    assert store.class_names == ("a", "b", "c")
    assert about.items() <= store.meta.items()
    assert not store.bodies.flags.writeable
    summary = store.summary()
    json.dumps(summary)
    assert summary["sequences"] == 3
    assert summary["frames"] == 12
    assert summary["subjects"] == 2
    assert summary["views"] == 1
    assert summary["lengths"] == {"min": 2, "q25": 3, "median": 4, "q75": 5, "max": 6}
    assert "3 sequences, 12 frames, sbu15" in repr(store)
    with pytest.raises(IndexError, match=r"\[0, 3\), got 3"):
        store.sequence(3)


@pytest.mark.parametrize("index", [-1, 2])
def test_no_summary_of_a_sequence_that_is_not_there(make_store, make_sequences, index):
    store = make_store(make_sequences([4, 5]))
    assert sequence_summary(store, 1)["frames"] == 5
    with pytest.raises(ValueError, match=rf"expected an index in \[0, 2\) of .*, got {index}"):
        sequence_summary(store, index)


def test_absent_persons_take_no_room(make_store, make_sequences):
    sequences = make_sequences([4, 3, 5, 2], persons=3)
    sequences[0][:, 1:] = 0
    sequences[1][:, :2] = 0  # only the last is there
    sequences[3][:] = 0
    store = make_store(sequences, name="ragged")
    assert store.slots.tolist() == [1, 3, 3, 1]
    assert store.bodies.shape == (4 + 9 + 15 + 2, 15, 3)
    assert store.stored(0).shape == (4, 1, 15, 3)
    assert store.persons == 3
    for index, sequence in enumerate(sequences):
        np.testing.assert_array_equal(store.sequence(index), sequence)
    clips, lengths, _, _ = SkeletonDataset(store).batch([3, 1, 0])
    for row, index in enumerate((3, 1, 0)):
        clip = clips[row, :, : lengths[row]].permute(1, 3, 2, 0).numpy()
        np.testing.assert_array_equal(clip, sequences[index])


def test_float16_is_close(make_store, make_sequences):
    sequences = make_sequences([50])
    store = make_store(sequences, dtype="float16")
    assert store.bodies.dtype == np.float16
    np.testing.assert_allclose(store.sequence(0), sequences[0], rtol=1e-3, atol=1e-6)


def test_float16_refuses_what_does_not_fit(make_store, make_sequences):
    with pytest.raises(ValueError, match=r"sequence 0.*1e\+06"):
        make_store([np.full_like(make_sequences([2])[0], 1e6)], dtype="float16")


def test_pickles_as_a_path(make_store, make_sequences):
    store = make_store(make_sequences([1000]))
    pickled = pickle.dumps(store)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled).bodies, store.bodies)


def test_flags_bit_identical_sequences(make_store, make_sequences):
    a, b, c = make_sequences([3, 3, 4])
    nearly = a + np.float32(1e-6)
    store = make_store([a, b, a, nearly, c, b, a])
    assert store.columns["duplicate_of"].tolist() == [-1, -1, 0, -1, -1, 1, 0]
    assert store.summary()["duplicates"] == 3


def test_untrimmed(tmp_path, make_sequences):
    sequences = make_sequences([5, 4])
    with StoreWriter(tmp_path / "s", SBU15, class_names=["a", "b"]) as writer:
        writer.add(sequences[0], frame_labels=[-1, 0, 0, 1, -1], segments=[[1, 3, 0], [3, 4, 1]])
        writer.add(sequences[1], frame_labels=[-1, -1, 1, 1], segments=[(2, 4, 1)])
    store = Store(tmp_path / "s")
    assert store.labels.tolist() == [-1, -1]
    assert store.frame_labels.tolist() == [-1, 0, 0, 1, -1, -1, -1, 1, 1]
    assert store.segments.tolist() == [[0, 1, 3, 0], [0, 3, 4, 1], [1, 2, 4, 1]]
    assert store.starts.tolist() == [0, 5]


def test_exception_leaves_nothing(tmp_path, make_sequences):
    def interrupted():
        with StoreWriter(tmp_path / "s", SBU15, class_names=["a"]) as writer:
            writer.add(make_sequences([3])[0], 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_unfinished_folder_is_no_store(tmp_path, make_sequences):
    with StoreWriter(tmp_path / "s", SBU15, class_names=["a"]) as writer:
        writer.add(make_sequences([3])[0], 0)
        (partial,) = tmp_path.iterdir()
        assert partial != tmp_path / "s"
        with pytest.raises(SkeletonFormatError, match=r"meta.json"):
            Store(partial)


def test_writes_in_constant_memory(tmp_path, make_sequences):
    (sequence,) = make_sequences([300])
    tracemalloc.start()
    with StoreWriter(tmp_path / "s", SBU15, class_names=["a"]) as writer:
        for i in range(100):
            sequence[0, 0, 0, 0] = i
            writer.add(sequence, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * sequence.nbytes < Store(tmp_path / "s").bodies.nbytes


def test_overwrite(tmp_path, make_store, make_sequences):
    make_store(make_sequences([3]))
    with pytest.raises(ValueError, match=r"store: .*--overwrite"):
        make_store(make_sequences([5]))
    with pytest.raises(ValueError, match="no sequences were added"):
        make_store([], overwrite=True)
    assert Store(tmp_path / "store").lengths.tolist() == [3]
    make_store(make_sequences([5]), overwrite=True)
    assert Store(tmp_path / "store").lengths.tolist() == [5]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_overwrite_spares_what_is_not_a_store(tmp_path, make_store, make_sequences):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ValueError, match="not a store"):
        make_store(make_sequences([3]), overwrite=True)
    assert (tmp_path / "store" / "thesis.txt").is_file()


NAN = np.zeros((4, 2, 15, 3), np.float32)
NAN[2, 1, 7, 0] = np.nan
GOOD = np.ones((4, 2, 15, 3), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": GOOD[0]}, r"sequence 1.*\(2, 15, 3\)"),
        ({"sequence": GOOD[:, :1]}, r"coordinates \(T, 2, 15, 3\).*\(4, 1, 15, 3\)"),
        ({"sequence": GOOD[:0]}, r"got \(0, 2, 15, 3\)"),
        ({"sequence": NAN}, r"NaN.*frame 2, person 1, joint 7"),
        ({"label": 2}, r"label in \[-1, 2\).*2"),
        (
            {"views": 1},
            r"columns \['lengths', 'labels', 'slots', 'subjects', .*'views'",
        ),
        ({"frame_labels": [0] * 4}, "for all sequences or for none"),
        ({"segments": [[0, 1, 0]]}, "frame_labels"),
    ],
)
def test_add_says_what_is_wrong(tmp_path, change, message):
    def write():
        with StoreWriter(tmp_path / "s", SBU15, class_names=["a", "b"]) as writer:
            writer.add(GOOD, 0, subjects=1)
            writer.add(**{"sequence": GOOD, "label": 0, "subjects": 1, **change})

    with pytest.raises(ValueError, match=message):
        write()


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"frame_labels": [0, 0, 0]}, r"frame_labels \(4,\) in \[-1, 2\)"),
        ({"frame_labels": [0, 0, 0, 2]}, r"frame_labels \(4,\) in \[-1, 2\)"),
        ({"frame_labels": [0] * 4, "segments": [[1, 5, 0]]}, "start 1, end 5, class 0"),
        ({"frame_labels": [0] * 4, "segments": [[2, 2, 0]]}, "start 2, end 2, class 0"),
    ],
)
def test_annotation_says_what_is_wrong(tmp_path, annotation, message):
    def write():
        with StoreWriter(tmp_path / "s", SBU15, class_names=["a", "b"]) as writer:
            writer.add(GOOD, **annotation)

    with pytest.raises(ValueError, match=message):
        write()


def test_first_sequence_must_fit_the_skeleton(make_store):
    message = r"expected coordinates \(T, M, V=15, C of 2 or 3\), got \(4, 2, 14, 3\)"
    with pytest.raises(ValueError, match=message):
        make_store([GOOD[:, :, :14]])


def test_writer_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"expected a dtype among .*got 'int8'"):
        StoreWriter(tmp_path / "s", SBU15, class_names=[], dtype="int8")
    with pytest.raises(ValueError, match="StoreWriter"):
        StoreWriter(tmp_path / "s", SBU15, class_names=[]).add(GOOD)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _edit(*without: str, **changes: object):
    return lambda store: edit_meta(store, *without, **changes)


COLUMNS = ["lengths", "labels", "slots", "duplicate_of"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: _cut(s / "bodies.npy"), r"bodies.npy"),
        (lambda s: (s / "bodies.npy").unlink(), r"bodies.npy"),
        (
            lambda s: (s / "bodies.npy").write_bytes(b""),
            r"bodies.npy",
        ),
        (lambda s: _cut(s / "table.npz"), r"table.npz"),
        (lambda s: (s / "table.npz").unlink(), r"table.npz"),
        (lambda s: (s / "meta.json").unlink(), r"meta.json"),
        (lambda s: _cut(s / "meta.json"), r"meta.json.*JSON"),
        (_edit("skeleton"), r"meta.json"),
        (_edit(version=1), r"version 2.*1"),
        (_edit(format="zarr"), "'pcm3-store'"),
        (_edit(rows=16), r"bodies \(16, 15, 3\).*meta.json.*\(14, 15"),
        (_edit(sequences=3), r"lengths \(3,\).*found \(2,\)"),
        (_edit(dtype="float16"), r"float16.*float32"),
        (_edit(columns=["lengths", "labels", "slots"]), "duplicate_of"),
        (_edit(columns=[*COLUMNS, "fold"]), r"table.npz: fold"),
        (_edit(frames=8), r"8.*14.*7 and 14"),
        (_edit(skeleton=NTU25.to_dict()), "expected 25 joints, as the skeleton has, found 15"),
        (_edit(skeleton={"name": "x"}), r"meta.json"),
    ],
)
def test_damage_is_reported(make_store, make_sequences, damage, message):
    path = make_store(make_sequences([3, 4])).path
    damage(path)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        Store(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lengths_must_add_up(make_store, make_sequences):
    path = make_store(make_sequences([3, 4])).path
    with np.load(path / "table.npz") as table:
        columns = dict(table)
    np.savez(path / "table.npz", **columns | {"lengths": np.array([3, 3])})
    with pytest.raises(SkeletonFormatError, match="add up to 7 frames and 14 bodies, found 6"):
        Store(path)


def test_columns_are_of_one_type(make_store, make_sequences):
    path = make_store(make_sequences([3, 4])).path
    with np.load(path / "table.npz") as table:
        columns = dict(table)
    np.savez(path / "table.npz", **columns | {"labels": columns["labels"].astype(np.int32)})
    with pytest.raises(SkeletonFormatError, match=r"int64.*int32"):
        Store(path)


@pytest.mark.parametrize("slots", [[0, 2], [3, 2]])
def test_slots_must_fit(make_store, make_sequences, slots):
    path = make_store(make_sequences([3, 4])).path
    with np.load(path / "table.npz") as table:
        columns = dict(table)
    np.savez(path / "table.npz", **columns | {"slots": np.array(slots)})
    with pytest.raises(SkeletonFormatError, match="slots from 1 to 2"):
        Store(path)


def test_missing_path(tmp_path):
    with pytest.raises(SkeletonFormatError, match="nowhere"):
        Store(tmp_path / "nowhere")


def contents(path: Path) -> list[object]:
    """All that a store says, read in full."""
    store = Store(path)
    arrays = [store.lengths, store.labels, *store.columns.values()]
    arrays += [store.sequence(index) for index in range(len(store))]
    arrays += [each for each in (store.frame_labels, store.segments) if each is not None]
    about = {key: value for key, value in store.meta.items() if key != "checksum"}
    return [about, store.names, [(each.shape, each.tobytes()) for each in arrays]]


@pytest.mark.parametrize("untrimmed", [False, True])
def test_no_flipped_bit_goes_unnoticed(make_store, make_sequences, tmp_path, untrimmed):
    annotation = {"frame_labels": [0, 0, -1], "segments": [[0, 2, 0]]} if untrimmed else {}
    with StoreWriter(tmp_path / "s", SBU15, class_names=["wave", "bow"]) as writer:
        for index in range(3):
            frames = np.random.default_rng(index).normal(size=(3, 2, 15, 3))
            writer.add(
                frames, 0 if not untrimmed else -1, name=f"é {index}", subjects=4, **annotation
            )
    good = contents(tmp_path / "s")
    random, unnoticed, files = np.random.default_rng(0), 0, sorted((tmp_path / "s").iterdir())
    assert len(files) == (7 if untrimmed else 5)
    for file in files:
        content = file.read_bytes()
        for bit in random.integers(8 * len(content), size=60).tolist():
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            with suppress(SkeletonFormatError):
                assert contents(tmp_path / "s") == good, (file.name, bit)  # white space, say
                unnoticed += 1
        file.write_bytes(content)
    assert unnoticed < 60
    assert contents(tmp_path / "s") == good


def test_a_store_without_checksums_opens(make_store, make_sequences):
    store = make_store(make_sequences([3, 4]))
    good = contents(store.path)[1:]
    _edit()(store.path)
    (store.path / "checksums.npy").unlink()
    assert contents(store.path)[1:] == good
    assert Store(store.path).checksums is None


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    def write(name: str, scale: float = 1.0, label: int = 0, word: str = "wave") -> str:
        with StoreWriter(tmp_path / name, SBU15, class_names=[word, "bow"]) as writer:
            for index in range(40):
                frames = np.random.default_rng(index).normal(size=(3, 2, 15, 3))
                writer.add(frames * (scale if index == 17 else 1), label if index == 17 else 0)
        return Store(tmp_path / name).fingerprint

    same = [write("a"), write("b")]
    others = [write("c", scale=1.001), write("d", label=1), write("e", word="hello")]
    assert same[0] == same[1]
    assert len({*same, *others}) == 4
