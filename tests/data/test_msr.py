from __future__ import annotations

import pickle

import numpy as np
import pytest

from pcm3.data import Store, prepare, split
from pcm3.data.readers.msr import MSR20, detect, read_msr
from pcm3.errors import SkeletonFormatError

LINE = " 1.5 -2.0e-01 3 1.0\n"


def write(folder, name, frames):
    rows = np.concatenate([frames, np.ones((*frames.shape[:2], 1))], -1).reshape(-1, 4)
    text = "".join("  ".join(f"{value:.9e}" for value in row) + "\n" for row in rows)
    (folder / name).write_text(text)


def clip(length, seed=0):
    return np.random.default_rng(seed).normal(size=(length, 20, 3)).astype(np.float32)


def test_reads_everything(tmp_path):
    write(tmp_path, "a20_s01_e02_skeleton3D.txt", clip(3, 1))
    write(tmp_path, "a08_s10_e03_skeleton3D.txt", clip(1, 2))
    (tmp_path / "a08_s10_e03_skeleton.txt").write_text("screen coordinates")
    source = pickle.loads(pickle.dumps(read_msr(tmp_path)))
    assert (source.format, source.skeleton, source.persons) == ("msr", MSR20, 1)
    assert len(source.class_names) == 20
    first, second = source
    np.testing.assert_array_equal(first.frames, clip(1, 2)[:, None])
    np.testing.assert_array_equal(second.frames, clip(3, 1)[:, None])
    assert (first.label, first.columns) == (7, {"subjects": 10, "trials": 3})
    assert source.class_names[second.label] == "pick up and throw"
    assert source.protocols == {"xsub": ("subjects", (1, 3, 5, 7, 9), None)}


def test_cross_subject(tmp_path):
    (tmp_path / "raw").mkdir()
    for subject in range(1, 11):
        write(tmp_path / "raw", f"a01_s{subject:02d}_e01_skeleton3D.txt", clip(2, subject))
    prepare(tmp_path / "raw", tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    train, test = split(store, "xsub")
    assert store.columns["subjects"][train].tolist() == [1, 3, 5, 7, 9]
    assert store.columns["subjects"][test].tolist() == [2, 4, 6, 8, 10]


def test_tree():
    names = MSR20.joints
    # The bones that the authors draw, counted from 1.
    bones = [(20, 3), (1, 3), (2, 3), (1, 8), (8, 10), (10, 12), (2, 9), (9, 11), (11, 13)]
    bones += [(3, 4), (4, 7), (7, 5), (7, 6), (5, 14), (14, 16), (16, 18), (6, 15), (15, 17)]
    bones += [(17, 19)]
    pairs = {
        frozenset((joint, parent)) for joint, parent in enumerate(MSR20.parents) if parent >= 0
    }
    assert pairs == {frozenset((a - 1, b - 1)) for a, b in bones}
    assert names[MSR20.center] == "spine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a multiple of 20 lines, got 0"),
        (LINE * 39, r"of 20.*39"),
        (
            LINE * 3 + "\n1 2 3\n" + LINE * 16,
            r"line 5.*'1 2 3'",
        ),
        (LINE * 3 + "1 2 3 4 5\n", "line 4: expected x, y, z and confidence"),
        ("1 b 3 4\n", r"line 1.*'1 b 3 4'"),
        (
            LINE * 22 + "nan 1 2 3\n" + LINE * 17,
            r"coordinates: NaN.*frame 1, person 0, joint 2",
        ),
        ("\u00e9", "not a readable text file"),
    ],
)
def test_says_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "a01_s01_e01_skeleton3D.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_msr(tmp_path))
    assert str(caught.value).startswith(f"{file}: ")


def test_names(tmp_path):
    with pytest.raises(SkeletonFormatError, match=r"aAA_sSS_eEE_skeleton3D.txt"):
        read_msr(tmp_path)
    assert not detect(tmp_path)
    (tmp_path / "a21_s01_e01_skeleton3D.txt").write_text(LINE * 20)
    assert detect(tmp_path)
    with pytest.raises(SkeletonFormatError, match=r"among 1.*20.*21"):
        list(read_msr(tmp_path))
