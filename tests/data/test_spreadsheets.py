"""``labels.csv`` as spreadsheets and people write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcm3.data.readers import Source, open_source
from pcm3.errors import SkeletonFormatError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("client01_rec001", "client01_rec002", "client02_rec001"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(4, 17, 2)))
    return tmp_path


def read(folder: Path, table: str | bytes = "", encoding: str = "utf-8") -> Source:
    if table:
        content = table if isinstance(table, bytes) else table.encode(encoding)
        (folder / "labels.csv").write_bytes(content)
    return open_source(folder, "folder", skeleton="coco17")


TABLE = """File,Label,take
client01_rec001.npy,Übung,1
client01_rec002.npy,Kniebeuge,2
"""


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_capitals(folder: Path, delimiter: str, encoding: str) -> None:
    source = read(folder, TABLE.replace(",", delimiter).replace("\n", "\r\n"), encoding)
    assert source.class_names == ("Kniebeuge", "Übung")
    one, other = source
    assert ([one.label, other.label], one.columns, other.columns) == (
        [1, 0],
        {"take": 1},
        {"take": 2},
    )


def test_two_columns_that_differ_in_capitals(folder: Path) -> None:
    table = "file,label,Label\nclient01_rec001.npy,a,b\n"
    (recording,) = read(folder, table)
    assert recording.columns == {"Label": "b"}
    with pytest.raises(SkeletonFormatError, match=r"line 1: .*'file'"):
        read(folder, "File,FILE\na,b\n")


@pytest.mark.parametrize(
    ("encoding", "place"), [("cp1252", "line 2: "), ("utf-16", ""), ("utf-16-be", "")]
)
def test_other_encodings(folder: Path, encoding: str, place: str) -> None:
    with pytest.raises(SkeletonFormatError, match=f"labels.csv: {place}"):
        read(folder, TABLE, encoding)


def test_capitals_in_intervals(folder: Path) -> None:
    table = "Recording;Start;End;Label\nclient01_rec001.npy;0;2;wave\n"
    (folder / "intervals.csv").write_text(table)
    segments = [recording.segments for recording in read(folder)]
    assert [each.tolist() for each in segments if each is not None] == [[[0, 2, 0]], [], []]
    (folder / "intervals.csv").write_text(table.replace("client01_rec001", "Client01_rec01"))
    with pytest.raises(SkeletonFormatError, match=r"line 2: .*did you mean 'client01_rec001.npy'"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("client01_rec02.npy", "client01_rec002.npy"),
        ("Client02_Rec001.npy", "client02_rec001.npy"),
        ("somebody.npy", None),
    ],
)
def test_a_row_of_an_absent_file(folder: Path, name: str, meant: str | None) -> None:
    for others in ("", "client01_rec001.npy,a\n"):  # alone it is found out sooner
        with pytest.raises(SkeletonFormatError, match=r"labels\.csv: line 2") as caught:
            list(read(folder, f"file,label\n{name},b\n{others}"))
        assert name in str(caught.value)
        assert ("did you mean" in str(caught.value)) == (meant is not None)
        assert meant is None or f"did you mean {meant!r}?" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "line"),
    [(("a", "b", "3"), 4), (("1", "b", "c"), 2), (("1", "2", "c"), 4), (("", "1", "b"), 4)],
)
def test_blames_the_odd_label(folder: Path, labels: tuple[str, ...], line: int) -> None:
    names = ("client01_rec001", "client01_rec002", "client02_rec001")
    rows = [f"{name}.npy,{label}" for name, label in zip(names, labels, strict=True)]
    with pytest.raises(SkeletonFormatError, match=rf"labels.csv: line {line}: column label: "):
        read(folder, "\n".join(["file,label", *rows]))


@pytest.mark.parametrize("name", ["labels.txt", "Labels.csv", "labels.xlsx", "label.csv"])
def test_tables_of_another_name(folder: Path, name: str) -> None:
    assert not [note for note in read(folder).label_notes if name in note]
    (folder / name).write_text(TABLE)
    (note,) = [note for note in read(folder).label_notes if name in note]
    assert "labels.csv" in note


def test_a_table_of_another_name_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("frame,nose_x,nose_y\n")
    (tmp_path / "Labels.csv").write_text("file,label\na.csv,b\n")
    with pytest.raises(SkeletonFormatError, match=r"a\.csv"):
        open_source(tmp_path)


def test_a_column_called_name(folder: Path) -> None:
    with pytest.raises(SkeletonFormatError, match=r"line 1: .*'name'.*subjects"):
        read(folder, "file,name\nclient01_rec001.npy,anna\n")
