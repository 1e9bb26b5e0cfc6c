"""Small files that unpack to much, or say the same over and over, are refused."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_ctrgcn
import test_packed
from scipy.io import savemat

from pcm3.data import Store, StoreWriter
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError
from pcm3.io.reading import most_bytes
from pcm3.skeleton import COCO17, SBU15

FREE = 1 << 26  # bytes that any file may ask for


def holes(file: Path, shape: tuple[int, ...]) -> None:
    """An array whose numbers are holes, but for the first and the last."""
    data = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    data.flat[0] = data.flat[-1] = -1


def ctrgcn(folder: Path, **arrays: Any) -> Path:
    np.savez_compressed(folder / "a.npz", **(test_ctrgcn.arrays(((5,), (1,)))[0] | arrays))
    return folder / "a.npz"


def packed(folder: Path, **arrays: Any) -> Path:
    np.savez_compressed(folder / "a.npz", **(test_packed.packed() | arrays))
    return folder / "a.npz"


def long_sequence(folder: Path, size: int) -> Path:
    return ctrgcn(folder, x_train=np.ones((1, size // 600, 150), np.float32))


def columns(folder: Path, size: int) -> Path:
    count = len(test_packed.packed()["lengths"])
    words = np.zeros(count, f"<U{size // 12 // count}")
    return packed(folder, **{f"word{number}": words for number in range(3)})


def sequences(folder: Path, size: int) -> Path:
    joints, count = np.zeros((1, 1, 15, 3), np.float32), size // 512
    some = {"labels": np.zeros(count, int), "joints": np.repeat(joints, count, axis=0)}
    arrays = test_packed.packed() | some | {"lengths": np.ones(count, int)}
    known = ("joints", "lengths", "labels", "joint_names", "parents", "class_names")
    np.savez_compressed(folder / "a.npz", **{key: arrays[key] for key in known})
    return folder / "a.npz"


def classes(folder: Path, size: int) -> Path:
    return packed(folder, class_names=np.arange(size // 512).astype("U"))


def overlapping(folder: Path, size: int) -> Path:
    for name in ("skeleton", "label"):
        (folder / name).mkdir()
    (folder / "skeleton" / "0002-L.txt").write_text((" ".join(["1"] * 150) + "\n") * 1000)
    (folder / "label" / "0002-L.txt").write_text("1,0,1000,1\n" * (size // 600_000))
    return folder


def one_array(folder: Path, size: int) -> Path:
    points = np.ones((1, 1000, 17, 2), np.float16)
    count = size // (4 * points.size)
    each = [{"frame_dir": n, "label": 0, "keypoint": points} for n in range(count)]
    (folder / "a.pkl").write_bytes(pickle.dumps({"split": {}, "annotations": each}, 4))
    return folder / "a.pkl"


def padded(folder: Path, size: int) -> Path:
    holes(folder / "train_data_joint.npy", (1, 3, size // 300, 25, 1))
    (folder / "train_label.pkl").write_bytes(pickle.dumps((["a"], [0])))
    return folder


def npy(folder: Path, size: int) -> Path:
    holes(folder / "a.npy", (size // 204, 17, 3))
    (folder / "skeleton.json").write_text(json.dumps(COCO17.to_dict()))
    return folder


def mat(folder: Path, size: int) -> Path:
    values = {"d_skel": np.ones((20, 3, size // 240), np.int8)}
    savemat(folder / "a1_s1_t1_skeleton.mat", values, do_compression=True)
    return folder


WRITERS: list[Callable[[Path, int], Path]] = [
    *(long_sequence, columns, sequences, classes, overlapping, one_array, padded, npy, mat)
]


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_read_is_in_proportion(write: Callable[[Path, int], Path], tmp_path: Path) -> None:
    for name, size in (("most", FREE * 9 // 10), ("more", FREE * 11 // 10)):
        (tmp_path / name).mkdir()
        source = write(tmp_path / name, size)
        files = [file.stat() for file in tmp_path.rglob("*") if file.is_file()]
        assert max(512 * file.st_blocks for file in files) < FREE // 16
        if name == "most":
            assert next(iter(open_source(source))).frames.any() or write is sequences
            continue
        with pytest.raises(SkeletonFormatError, match="expected at most"):
            next(iter(open_source(source)))


def test_one_hot_rows_have_not_very_many_classes(tmp_path: Path) -> None:
    for classes, right in ((10_000, True), (10_001, False)):
        one_hot = np.eye(1, classes, dtype=np.int8)
        file = ctrgcn(tmp_path, y_train=one_hot, y_test=one_hot)
        if right:
            assert len(open_source(file).class_names) == classes
            continue
        with pytest.raises(SkeletonFormatError, match="1 to 10,000 classes"):
            open_source(file)


def test_tables_have_not_very_many_columns(tmp_path: Path) -> None:
    count = len(test_packed.packed()["lengths"])
    some = dict.fromkeys((f"c{number}" for number in range(1001)), np.zeros(count, int))
    with pytest.raises(SkeletonFormatError, match="at most 1,000 columns"):
        open_source(packed(tmp_path, **some))
    folder = npy(tmp_path, 204_000)
    for columns, right in ((999, True), (1000, False)):
        header = ",".join(["file", *(f"c{number}" for number in range(columns))])
        (folder / "labels.csv").write_text(f"{header}\na.npy{',1' * columns}\n")
        if right:
            (recording,) = open_source(folder, "folder")
            assert len(recording.columns) == columns
            continue
        with pytest.raises(SkeletonFormatError, match="at most 1,000 columns"):
            open_source(folder, "folder")


def test_large_files_may_ask_for_much_and_holes_for_little(tmp_path: Path) -> None:
    large, hollow = tmp_path / "large", tmp_path / "hollow"
    large.write_bytes(bytes(10_000_000))
    hollow.touch()
    os.truncate(hollow, 10**10)
    assert most_bytes(large) == 160_000_000
    assert most_bytes(hollow) in (FREE, 16 * 10**10)  # where the file system does not tell holes


def test_a_store_has_not_very_much_more_room_than_persons(tmp_path: Path) -> None:
    frames = FREE // (100 * 15 * 3 * 4)
    for length, right in ((frames, True), (frames + 1, False)):
        path = tmp_path / str(right)
        with StoreWriter(path, SBU15, class_names=["a"]) as writer:
            writer.add(np.ones((length, 2, 15, 3)), 0)
        meta = json.loads((path / "meta.json").read_text())
        del meta["checksum"], meta["checksums"]
        table = dict(np.load(path / "table.npz"))
        bodies = np.load(path / "bodies.npy").reshape(length, 2, 15, 3)[:, 0]
        np.save(path / "bodies.npy", bodies)
        np.savez(path / "table.npz", **(table | {"slots": np.array([1])}))
        meta |= {"persons": 100, "rows": length}
        (path / "meta.json").write_text(json.dumps(meta))
        if right:
            assert Store(path).sequence(0).shape[1] == 100
            continue
        with pytest.raises(SkeletonFormatError, match="persons in proportion"):
            Store(path)
    alone = np.zeros((frames + 1, 100, 15, 3), np.float32)
    alone[:, 0] = 1
    with (
        pytest.raises(ValueError, match="persons in proportion"),
        StoreWriter(tmp_path / "new", SBU15, class_names=["a"]) as writer,
    ):
        writer.add(alone, 0)
    assert not (tmp_path / "new").exists()


def test_many_classes_are_counted_soon(tmp_path: Path) -> None:
    names = [str(number) for number in range(500)]
    with StoreWriter(tmp_path / "store", SBU15, class_names=names) as writer:
        for label in (3, 499, 3, -1):
            writer.add(np.ones((1, 1, 15, 3)), label)
    summary = Store(tmp_path / "store").summary()
    wanted = dict.fromkeys(names, 0) | {"3": 2, "499": 1}
    assert (summary["labelled"], summary["unlabelled"]) == (wanted, 1)
