"""``labels.csv``, for every format that is a folder of files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_bvh
import test_coco
import test_msr
import test_ntu
import test_openpose
import test_pku
import test_ucla
import test_utd
from scipy.io import savemat

from pcm3.data import Store, prepare, split
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError

Write = Callable[[Path], list[str]]


def write_bvh(folder: Path) -> list[str]:
    body = test_bvh.Body()
    for name in ("a.bvh", "b.bvh", "c.bvh"):
        (folder / name).write_text(body.text(body.motion(2)))
    return ["a.bvh", "b.bvh", "c.bvh"]


def write_ntu(folder: Path) -> list[str]:
    names = [f"S001C001P00{n}R001A001.skeleton" for n in (1, 2, 3)]
    for name in names:
        (folder / name).write_text(test_ntu.format_ntu(test_ntu.random_frames(2)))
    return names


def write_pku(folder: Path) -> list[str]:
    test_pku.write(folder, test_pku.PHASE1)
    return [f"skeleton/{name}.txt" for name in test_pku.PHASE1]


def write_msr(folder: Path) -> list[str]:
    names = [f"a01_s0{n}_e01_skeleton3D.txt" for n in (1, 2, 3)]
    for name in names:
        test_msr.write(folder, name, test_msr.clip(2, 1))
    return names


def write_ucla(folder: Path) -> list[str]:
    for n in (1, 2, 3):
        test_ucla.write(folder, f"a01_s0{n}_e01_v01", test_ucla.clip(2, 1), label=1)
    return [f"a01_s0{n}_e01_v01.json" for n in (1, 2, 3)]


def write_utd(folder: Path) -> list[str]:
    names = [f"a1_s{n}_t1_skeleton.mat" for n in (1, 2, 3)]
    for name in names:
        savemat(folder / name, {"d_skel": test_utd.clip(2, 1)})
    return names


def write_folder(folder: Path) -> list[str]:
    (folder / "sub").mkdir()
    names = ["a.npy", "sub/b.npy", "sub/c.npy"]
    for name in names:
        np.save(folder / name, np.ones((2, 17, 2)))
    return names


def write_coco(folder: Path) -> list[str]:
    names = ["a.json", "b.json", "sub/c.json"]
    for name in names:
        test_coco.write(folder / name, test_coco.coco(test_openpose.clip(2, joints=17)))
    return names


def write_openpose(folder: Path) -> list[str]:
    for name in ("a", "b"):
        test_openpose.write(folder, name, test_openpose.clip(2))
    test_openpose.write(folder / "sub", "c", test_openpose.clip(2))
    return ["a", "b", "sub/c"]


OWN: dict[str, Write] = {
    "ntu": write_ntu, "pku": write_pku, "msr": write_msr, "ucla": write_ucla, "utd": write_utd,
}  # fmt: skip
FREE: dict[str, Write] = {
    "bvh": write_bvh, "folder": write_folder, "coco": write_coco, "openpose": write_openpose,
}  # fmt: skip
ALL: dict[str, Write] = FREE | OWN


def read(format, folder):
    options = {"skeleton": "coco17"} if format == "folder" else {}
    return pickle.loads(pickle.dumps(open_source(folder, format, **options)))


@pytest.mark.parametrize("format", ALL)
def test_columns_travel_and_other_files_are_left_out(tmp_path, format):
    first, second, third = ALL[format](tmp_path)
    plain = [recording.frames for recording in read(format, tmp_path)]
    own = next(iter(read(format, tmp_path))).columns
    (tmp_path / "labels.csv").write_text(f"file,mood,day\n./{third},good,1.0\n{first},,2\n")
    source = read(format, tmp_path)
    assert (source.left_out, source.left_out_why) == (1, f"not in labels.csv: {second}")
    recordings = list(source)
    half = len(recordings) // 2
    assert [r.columns["mood"] for r in recordings] == [-1] * half + ["good"] * half
    assert [r.columns["day"] for r in recordings] == [2] * half + [1] * half
    assert recordings[0].columns.keys() == own.keys() | {"mood", "day"}
    for recording, frames in zip(recordings, [*plain[:half], *plain[-half:]], strict=True):
        np.testing.assert_array_equal(recording.frames, frames)


@pytest.mark.parametrize("format", FREE)
def test_labels_of_files_that_have_none(tmp_path, format):
    first, second, third = ALL[format](tmp_path)
    (tmp_path / "labels.csv").write_text(f"file,label\n{first},wave\n{second},\n{third},bow\n")
    source = read(format, tmp_path)
    assert source.class_names == ("bow", "wave")
    assert [recording.label for recording in source] == [1, -1, 0]
    assert not source.label_notes
    (tmp_path / "labels.csv").write_text(f"file,class\n{first},wave\n")
    hint, note = read(format, tmp_path).label_notes
    assert "class" in hint
    assert "file, class" in note


@pytest.mark.parametrize("format", OWN)
def test_no_second_opinion_on_labels_and_columns(tmp_path, format):
    first, *_ = OWN[format](tmp_path)
    (tmp_path / "labels.csv").write_text(f"file,label\n{first},1\n")
    message = rf"labels.csv: line 1: column label: .*format {format} "
    with pytest.raises(SkeletonFormatError, match=message):
        open_source(tmp_path, format)
    column = "views" if format == "pku" else "subjects"
    (tmp_path / "labels.csv").write_text(f"file,{column}\n{first},1\n")
    message = rf"labels.csv: line 1: column {column}: .*format {format} "
    with pytest.raises(SkeletonFormatError, match=message):
        list(open_source(tmp_path, format))


@pytest.mark.parametrize("format", ALL)
def test_rows_of_files_that_are_not_there(tmp_path, format):
    first, *_ = ALL[format](tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    ALL[format](outside)
    inside = tmp_path / "inside"
    inside.mkdir()
    ALL[format](inside)
    (inside / "labels.csv").write_text(
        f"file,x\n{first},1\nnone,2\n../outside/{first},3\n{outside / first},4\n"
    )
    errors, found = [], []
    source = read(format, inside)
    for unit in source.units:
        try:
            found += list(source.read(unit))
        except SkeletonFormatError as error:
            errors.append(str(error))
    assert {recording.columns["x"] for recording in found} == {1}
    for line, error in zip((3, 4, 5), errors, strict=True):
        assert error.startswith(f"{inside / 'labels.csv'}: line {line}: expected a file of format")


@pytest.mark.parametrize("format", ALL)
def test_names_without_their_endings(tmp_path, format):
    """A table that names no file is an error; of single names, the right one is given."""
    first, second, *_ = ALL[format](tmp_path)
    stem = first.rpartition(".")[0] or first
    (tmp_path / "labels.csv").write_text(f"file,mood\n{stem}-,good\n")
    with pytest.raises(SkeletonFormatError, match=rf"labels.csv: line 2.*got '{stem}-'"):
        list(read(format, tmp_path))
    if stem == first:
        return
    (tmp_path / "labels.csv").write_text(f"file,mood\n{second},good\n{stem},good\n")
    source = read(format, tmp_path)
    with pytest.raises(SkeletonFormatError, match=rf"line 3.*did you mean '{first}'\?"):
        [list(source.read(unit)) for unit in source.units]


def test_classes_that_differ_in_capitals_alone(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\na.npy,wave\nsub/b.npy,Wave\n")
    source = read("folder", tmp_path)
    assert source.class_names == ("Wave", "wave")
    assert "labels.csv: 'Wave' and 'wave' are two classes" in source.label_notes


def test_the_first_file_is_the_first_that_the_table_names(tmp_path):
    """Others may have other joints."""
    first, second, third = write_bvh(tmp_path)
    other = test_bvh.Body(seed=1, prefix="other:")
    (tmp_path / first).write_text(other.text(other.motion(2), frame_time=0.01))
    (tmp_path / "labels.csv").write_text(f"file\n{second}\n{third}\n")
    source = read("bvh", tmp_path)
    assert [recording.name for recording in source] == ["b", "c"]
    assert (source.fps, source.skeleton.joints[0]) == (30, "Hips")
    (tmp_path / "labels.csv").write_text("file\nd.bvh\n")
    with pytest.raises(SkeletonFormatError, match=r"labels.csv"):
        read("bvh", tmp_path)


def test_more_persons_in_a_file_that_is_left_out(tmp_path):
    write_folder(tmp_path)
    np.save(tmp_path / "a.npy", np.ones((5, 4, 17, 3)))
    assert read("folder", tmp_path).persons == 4
    (tmp_path / "labels.csv").write_text("file\nsub/b.npy\n")
    source = read("folder", tmp_path)
    assert (source.persons, source.unit, len(list(source))) == (1, "pixels", 1)


def test_a_table_in_a_subfolder_is_not_read(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "sub" / "labels.csv").write_text("file,label\nb.npy,1\n")
    source = read("folder", tmp_path)
    assert [recording.label for recording in source] == [-1, -1, -1]
    name = tmp_path.resolve().name
    assert source.notes == [f"sub/labels.csv: not read, because only a table in {name} itself is"]


def test_found_out_from_the_files(tmp_path):
    write_bvh(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\na.bvh,1\n")
    assert open_source(tmp_path).format == "bvh"


def test_two_links_to_one_file(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "x.npy").symlink_to(tmp_path / "a.npy")
    (tmp_path / "labels.csv").write_text("file,label\na.npy,1\nx.npy,2\n")
    assert [recording.label for recording in read("folder", tmp_path)] == [1, 2]


def test_a_row_that_runs_in_circles(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "loop.npy").symlink_to(tmp_path / "loop.npy")
    (tmp_path / "labels.csv").write_text("file,label\nloop.npy,1\na.npy,2\nloop.npy/x.npy,3\n")
    source, errors = read("folder", tmp_path), []
    for unit in source.units:
        try:
            assert [recording.label for recording in source.read(unit)] == [2]
        except SkeletonFormatError as error:
            errors.append(str(error))
    assert len(errors) == 2


def test_frame_rates(tmp_path):
    first, second, third = write_folder(tmp_path)
    file = tmp_path / "labels.csv"
    file.write_text(f"file,fps\n{first},120\n{second},29.97\n{third},30\n")
    source = read("folder", tmp_path)
    assert source.rates == {120: first, 29.97: second}
    assert [recording.fps for recording in source] == [120, 29.97, 30]
    assert next(iter(source)).columns == {}
    for cell in ("0", "-30", "nan", "inf", "3_0", "x", ""):
        file.write_text(f"file,fps\n{first},120\n{second},{cell}\n")
        with pytest.raises(SkeletonFormatError, match=r"labels.csv: line 3.*fps"):
            read("folder", tmp_path)


@pytest.mark.parametrize("format", ["bvh", *OWN])
def test_files_that_say_their_frame_rate(tmp_path, format):
    first, *_ = ALL[format](tmp_path)
    (tmp_path / "labels.csv").write_text(f"file,fps\n{first},50\n")
    with pytest.raises(SkeletonFormatError, match=rf"column fps: .*format {format} "):
        open_source(tmp_path, format)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('file,label\na.npy,"wave\nsub/b.npy,bow\nsub/c.npy,bow\n', 2),
        ('file,label\na.npy,wave\nsub/b.npy,"bow\nsub/c.npy,bow"\n', 3),
        ('file,label\na.npy,wave\n\n"sub/b.npy,bow\n', 4),
        ('file,label\na.npy,"wave\rbow"\n', 2),
    ],
)
def test_quotes_that_stay_open_swallow_no_rows(tmp_path, text, line):
    write_folder(tmp_path)
    (tmp_path / "labels.csv").write_bytes(text.encode())
    message = rf"labels.csv: line {line}: .*quote"
    with pytest.raises(SkeletonFormatError, match=message):
        read("folder", tmp_path)


def test_a_quote_in_the_middle(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "labels.csv").write_text('file,label\na.npy,"wa"ve\n')
    with pytest.raises(SkeletonFormatError, match=r"labels.csv: line 2.*','"):
        read("folder", tmp_path)
    (tmp_path / "labels.csv").write_text('file,label\na.npy,"wa""ve, twice"\n')
    assert read("folder", tmp_path).class_names == ('wa"ve, twice',)


@pytest.mark.parametrize("format", ALL)
def test_a_table_that_cannot_be_read(tmp_path, format):
    ALL[format](tmp_path)
    (tmp_path / "labels.csv").symlink_to(tmp_path / "gone")
    with pytest.raises(SkeletonFormatError, match=r"labels.csv"):
        read(format, tmp_path)


def test_names_reach_store_and_protocols(tmp_path):
    first, second, third = write_bvh(tmp_path)
    (tmp_path / "labels.csv").write_text(
        f'file,subjects,take\n{first},anna,1\n{second},"Smith, J. ",2\n{third},ben,3\n'
    )
    prepare(tmp_path, tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert store.words == {"subjects": ("Smith, J.", "anna", "ben")}
    assert store.values("subjects").tolist() == ["anna", "Smith, J.", "ben"]
    assert store.values("take").tolist() == [1, 2, 3]
    assert split(store, 'subjects:"Smith, J.", ben')[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("columns", "meant"),
    [
        (["label", "subject"], ["subjects"]),
        (["Labels", "Subjects"], ["label", "subjects"]),
        *((["label", word], ["subjects"]) for word in ("client", "Patient", "Name", "Participant")),
        (["label", "camera", "actor"], ["subjects", "views"]),
        (["label", "person", "subjects"], []),
        (["label", "Rate"], ["fps"]),
        (["label", "fps", "rate"], []),
        (["label", "subjects", "views", "day", "site", "trial"], []),
    ],
)
def test_asks_what_a_column_is_meant_to_be(tmp_path, columns, meant):
    first, *_ = FREE["folder"](tmp_path)
    table = f"file,{','.join(columns)}\n{first},{','.join('1' for _ in columns)}\n"
    (tmp_path / "labels.csv").write_text(table)
    hints = [note for note in read("folder", tmp_path).label_notes if "call it" in note]
    assert [hint.partition("call it ")[2].split()[0] for hint in hints] == meant
    (recording,) = read("folder", tmp_path)
    assert recording.columns.keys() == {*columns} - {"label", "fps"}
