from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcm3.data import Store, prepare, split
from pcm3.data.readers.pku import PKU_ACTIONS, detect, read_pku
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import NTU25

LABELS = "2,1,4,2\n51,6,8,1\n"


def video(length: int = 9, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(length, 2, 25, 3)).astype(np.float32)


def format_pku(frames: NDArray[np.float32]) -> str:
    """The text of a skeleton file of frames (T, 2, 25, 3)."""
    rows = frames.reshape(len(frames), 150)
    return "".join(" ".join(f"{value:.9g}" for value in row) + "\n" for row in rows)


def write(root: Path, names: list[str], labels: str = LABELS, folders=("skeleton", "Label_v2")):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (root / folders[0] / f"{name}.txt").write_text(format_pku(video(seed=seed)))
        (root / folders[1] / f"{name}.txt").write_text(labels)


PHASE1 = ["0002-L", "0002-M", "0003-R"]
PHASE2 = ["A01N01-L", "A01N02-M", "A02N01-R"]


def test_layout():
    frames = np.arange(150, dtype=np.float32).reshape(1, 2, 25, 3)
    assert format_pku(frames) == " ".join(map(str, range(150))) + "\n"


def test_instances(tmp_path):
    write(tmp_path / "PKU", PHASE1, folders=("PKU_Skeleton_Renew", "Train_Label_PKU_final"))
    source = read_pku(tmp_path)
    assert (source.format, source.persons, source.fps) == ("pku", 2, 30)
    assert source.skeleton == NTU25
    assert source.class_names == PKU_ACTIONS
    assert len(set(PKU_ACTIONS)) == 51
    assert source.about == "PKU-MMD, Phase I"
    recordings = list(source)
    assert [recording.label for recording in recordings] == [1, 50] * 3
    for index in range(3):
        first, second = recordings[2 * index : 2 * index + 2]
        np.testing.assert_array_equal(first.frames, video(seed=index)[1:4])
        np.testing.assert_array_equal(second.frames, video(seed=index)[6:8])
    assert recordings[2].columns == {"videos": 1, "views": 2}
    assert recordings[3].name == "0002-M label line 2"
    assert recordings[0].frame_labels is None
    again = pickle.loads(pickle.dumps(source))
    assert [len(r.frames) for r in again.read(again.units[2])] == [3, 2]


def test_untrimmed(tmp_path):
    write(tmp_path, PHASE2, "2,1,4,2\n\n51,3,8,1\n")
    source = read_pku(tmp_path, untrimmed=True)
    assert source.about == "PKU-MMD, Phase II"
    recordings = list(source)
    assert [recording.name for recording in recordings] == PHASE2
    assert [recording.columns for recording in recordings] == [
        {"videos": 0, "views": 1, "subjects": 1},
        {"videos": 1, "views": 2, "subjects": 2},
        {"videos": 2, "views": 3, "subjects": 1},
    ]
    recording = recordings[1]
    np.testing.assert_array_equal(recording.frames, video(seed=1))
    assert recording.label == -1
    assert recording.frame_labels.tolist() == [-1, 1, 1, 50, 50, 50, 50, 50, -1]
    assert recording.segments.tolist() == [[1, 4, 1], [3, 8, 50]]
    (tmp_path / "Label_v2" / "A01N01-L.txt").write_text("")
    assert next(iter(source)).segments.shape == (0, 3)


def test_published_subjects_where_no_file_splits(tmp_path):
    write(tmp_path, PHASE2)
    xsub = read_pku(tmp_path).protocols["xsub"]
    assert (xsub.column, xsub.test) == ("subjects", (2, 3, 7))
    assert sorted((*xsub.train, *xsub.test)) == list(range(1, 14))
    prepare(tmp_path, tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    subjects = [store.columns["subjects"][part].tolist() for part in split(store, "xsub")]
    assert [set(part) for part in subjects] == [{1}, {2}]


def test_splits(tmp_path):
    write(tmp_path, PHASE2)
    (tmp_path / "cross_subject_v2.txt").write_text(
        "Training videos:\nA01N01-L, A02N01-R,\nValidataion videos:\nA01N02-M, A09N09-L\n"
    )
    (tmp_path / "cross-subject.txt").write_text("Training:\n0002-L\nValidation:\n0003-L")
    (tmp_path / "split").mkdir()
    view = tmp_path / "split" / "cross-view.txt"
    view.write_text("Training videos:\nA01N02-M,A02N01-R\nValidation videos:\nA01N01-L\n")
    columns = [recording.columns for recording in read_pku(tmp_path, untrimmed=True)]
    assert [row["xsub"] for row in columns] == [1, 0, 1]
    assert [row["xview"] for row in columns] == [0, 1, 1]
    prepare(tmp_path, tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert list(store.protocols) == ["xsub", "xview"]
    videos = store.columns["videos"]  # two instances of each
    assert [videos[part].tolist() for part in split(store, "xsub")] == [[0, 0, 2, 2], [1, 1]]
    assert [videos[part].tolist() for part in split(store, "xview")] == [[1, 1, 2, 2], [0, 0]]

    def fails(text: str, message: str) -> None:
        view.write_text(text)
        with pytest.raises(SkeletonFormatError, match=f"cross-view.txt: .*{message}"):
            read_pku(tmp_path)

    fails("t\nA01N02-M\n", "line 2 ")
    fails("t\nA01N02-M\nv\nx7", "line 4: .*'x7'")
    fails("t\nA01N02-M\nv\nA01N02-M", "line 4: A01N02-M is also in line 2")
    fails("t\nA01N02-M\nv\nA01N01-L", "A02N01-R")
    view.unlink()
    protocols = read_pku(tmp_path).protocols  # of cameras without a file: L validates
    assert protocols["xsub"].column == "xsub"
    assert protocols["xview"] == ("views", (2, 3), (1,))
    (tmp_path / "split" / "cross-subject-2.txt").write_text("t\nA01N02-M\nv\nA01N01-L,A02N01-R")
    with pytest.raises(SkeletonFormatError, match=r"a second file .*xsub"):
        read_pku(tmp_path)


def test_both_phases(tmp_path):
    write(tmp_path / "one", PHASE1)
    write(tmp_path / "two", PHASE2)
    with pytest.raises(SkeletonFormatError, match=r"phase=1.*phase=2"):
        read_pku(tmp_path)
    assert [r.name for r in read_pku(tmp_path, untrimmed=True, phase=1)] == PHASE1
    assert [r.name for r in read_pku(tmp_path, untrimmed=True, phase=2)] == PHASE2
    with pytest.raises(SkeletonFormatError, match=r"phase 2.*0 and 0"):
        read_pku(tmp_path / "one", phase=2)
    with pytest.raises(ValueError, match=r"phase 1.*2.*3"):
        read_pku(tmp_path, phase=3)


def test_detect(tmp_path):
    assert not detect(tmp_path)
    assert not detect(tmp_path / "nowhere")
    write(tmp_path, PHASE1)
    assert detect(tmp_path)
    assert detect(tmp_path / "skeleton")
    assert not detect(tmp_path / "Label_v2")
    assert not detect(tmp_path / "skeleton" / "0002-L.txt")


def test_detect_opens_one_file_of_a_folder(tmp_path, monkeypatch):
    write(tmp_path, [f"{number:04d}-L" for number in range(2, 40)])
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda *a, **k: opened.append(a[0]) or real(*a, **k))
    assert detect(tmp_path)
    assert not detect(tmp_path / "Label_v2")
    assert len(opened) <= 3


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(SkeletonFormatError, match=r"expected skeleton files .* found 0 and 0"):
        read_pku(tmp_path)
    write(tmp_path, PHASE1)
    (tmp_path / "notes.txt").write_text("not of the data set")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0002-L.txt").write_text("neither")
    assert len(read_pku(tmp_path).units) == 3
    with pytest.raises(SkeletonFormatError, match="found 3 and 0"):
        read_pku(tmp_path / "skeleton")
    (tmp_path / "other" / "0002-L.txt").write_text(LABELS)
    with pytest.raises(SkeletonFormatError, match=r"of 0002-L.*Label_v2"):
        read_pku(tmp_path)
    (tmp_path / "other" / "0002-L.txt").unlink()
    (tmp_path / "Label_v2" / "0003-R.txt").unlink()
    with pytest.raises(SkeletonFormatError, match=r"0003-R.txt.*no labels of this video"):
        list(read_pku(tmp_path))
    (tmp_path / "skeleton" / "0003-R.txt").unlink()
    (tmp_path / "skeleton" / "0002-M.txt").unlink()
    with pytest.raises(SkeletonFormatError, match=r"0002-M.txt.*no skeletons of this video"):
        list(read_pku(tmp_path))
    (tmp_path / "skeleton" / "0002-L.txt").rename(tmp_path / "skeleton" / "0009-L.txt")
    with pytest.raises(SkeletonFormatError, match="no skeleton file"):
        read_pku(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("1,2,3,1\n1,2\n", "line 2: .*'1,2'"),
        ("1,2,,3,1\n", "line 1: .*'1,2,,3,1'"),
        ("1,2,3,1,,\n", "line 1: .*'1,2,3,1,,"),
        ("1,2 3,1\n", "line 1: .*'1,2 3,1'"),
        ("1,2,3,x\n", "line 1: .*'1,2,3,x'"),
        ("1,2,3.5,1\n", "line 1: .*'1,2,3.5,1'"),
        ("1,-1,3,1\n", "line 1: .*'1,-1,3,1'"),
        ("0,2,3,1\n", "line 1: .*1 to 51.* 0"),
        ("\n52,2,3,1\n", "line 2: .*1 to 51.* 52"),
        ("1,3,3,1\n", "line 1: .*3 to 3"),
        ("1,8,2,1\n", "line 1: .*8 to 2"),
        ("1,9,12,1\n", "line 1: frames 9 to 12 .* 9 "),
    ],
)
def test_wrong_labels(tmp_path, labels, message):
    write(tmp_path, PHASE1)
    (tmp_path / "Label_v2" / "0002-M.txt").write_text(labels)
    with pytest.raises(SkeletonFormatError, match=f"0002-M.txt: {message}"):
        list(read_pku(tmp_path))


@pytest.mark.parametrize(
    "labels",
    ["2,1,4\n51,6,8\n", "2,1,4,2,\n51,6,8,1,\n", "2 1 4 2\n51\t6  8 1\n", " 2 , 1,4 \n51,6,8,\n"],
)
def test_labels_as_others_write_them(tmp_path, labels):
    write(tmp_path, PHASE1[:1], labels)
    first, second = read_pku(tmp_path)
    assert (first.label, second.label) == (1, 50)
    np.testing.assert_array_equal(first.frames, video()[1:4])
    np.testing.assert_array_equal(second.frames, video()[6:8])


def test_files_that_are_neither_are_named(tmp_path):
    write(tmp_path, PHASE1[:1], "drink;1;4\n")
    file = tmp_path / "Label_v2" / "0002-L.txt"
    with pytest.raises(SkeletonFormatError, match=f"found 1 and 0; {file} is neither"):
        read_pku(tmp_path)


def test_label_that_runs_over_the_end(tmp_path):
    write(tmp_path, PHASE1[:1], "1,5,11,1\n")
    for untrimmed, frames in ((False, video()[5:]), (True, video())):
        (recording,) = read_pku(tmp_path, untrimmed=untrimmed)
        np.testing.assert_array_equal(recording.frames, frames)
        assert recording.notes == ["actions that end after the last frame, cut there"]


GOOD = format_pku(video()).splitlines()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file is empty"),
        ([*GOOD[:3], GOOD[3].rsplit(" ", 1)[0], *GOOD[4:]], "line 4: expected 150 values, got 149"),
        ([*GOOD[:3], "", GOOD[3] + " 1"], "line 5: expected 150 values, got 151"),
        ([line + " 1" for line in GOOD], "line 1: expected 150 values, got 151"),
        ([*GOOD[:8], "x" + GOOD[8]], "line 9: expected a finite number, got 'x"),
        (
            [*GOOD[:8], "nan " + GOOD[8].split(" ", 1)[1]],
            "line 9: expected a finite number, got 'na",
        ),
        (
            [*GOOD[:8], "1e39 " + GOOD[8].split(" ", 1)[1]],
            "line 9: expected a finite number, got '1e",
        ),
    ],
)
def test_wrong_frames(tmp_path, lines, message):
    write(tmp_path, PHASE1)
    (tmp_path / "skeleton" / "0002-M.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(SkeletonFormatError, match=f"0002-M.txt: {message}"):
        list(read_pku(tmp_path))


def test_file_that_is_gone(tmp_path):
    write(tmp_path, PHASE1)
    source = read_pku(tmp_path)
    (tmp_path / "Label_v2" / "0002-L.txt").unlink()
    with pytest.raises(SkeletonFormatError, match=r"0002-L.txt"):
        list(source)
    (tmp_path / "skeleton" / "0002-L.txt").unlink()
    with pytest.raises(SkeletonFormatError, match=r"0002-L.txt"):
        list(source)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=150, max_size=150)
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_any_numbers_round_trip(tmp_path_factory, values):
    root = tmp_path_factory.mktemp("pku")
    write(root, PHASE1[:1], "1,0,1,1")
    frames = np.array(values, np.float32).reshape(1, 2, 25, 3)
    (root / "skeleton" / "0002-L.txt").write_text(format_pku(frames))
    (recording,) = read_pku(root)
    assert recording.frames.tobytes() == frames.tobytes()


def test_other_instances_go_on(tmp_path):
    write(tmp_path, PHASE1)
    (tmp_path / "Label_v2" / "0002-M.txt").write_text("1,0,2,1\n99,0,2,1\n2,4,6,1\n")
    (tmp_path / "Label_v2" / "0003-R.txt").unlink()
    source = read_pku(tmp_path)
    first, error, last = source.read(source.units[1])
    assert (first.name, last.name) == ("0002-M label line 1", "0002-M label line 3")
    assert str(error).endswith("0002-M.txt: line 2: expected a class from 1 to 51, got 99")
    with pytest.raises(SkeletonFormatError, match=r"0003-R.txt.*no labels of this video"):
        list(source.read(source.units[2]))
    whole = read_pku(tmp_path, untrimmed=True)
    assert [recording.name for recording in whole.read(whole.units[0])] == ["0002-L"]
    with pytest.raises(SkeletonFormatError, match=r"line 2.*1.*51.*99"):
        list(whole.read(whole.units[1]))


def test_no_action_at_all(tmp_path):
    write(tmp_path, PHASE1[:2])
    (tmp_path / "Label_v2" / "0002-M.txt").write_text("")
    assert [recording.name[:6] for recording in read_pku(tmp_path)] == ["0002-L"] * 2
    (tmp_path / "skeleton" / "0002-L.txt").unlink()
    with pytest.raises(SkeletonFormatError, match="untrimmed=True"):
        read_pku(tmp_path)
    source = read_pku(tmp_path, untrimmed=True)
    (recording,) = source.read(source.units[1])
    assert recording.segments.shape == (0, 3)
