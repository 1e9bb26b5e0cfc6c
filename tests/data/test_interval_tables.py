from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcm3.data import Store, prepare
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError

LENGTHS = {"a.npy": 20, "more/b.npy": 12, "c.npy": 5}
TABLE = """recording,start,end,label
more/b.npy,0,12,wave
a.npy,9,15,bow
a.npy,2,9,wave
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    for at, (name, length) in enumerate(LENGTHS.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        points = np.random.default_rng(at).normal(size=(length, 15, 3))
        np.save(root / name, points.astype(np.float32))
    return root


def opened(folder: Path, table: str) -> Any:
    (folder / "intervals.csv").write_text(table)
    return open_source(folder, "folder", skeleton="sbu15")


def slow(length: int, rows: list[tuple[int, int, int]]) -> list[int]:
    frames = [-1] * length
    for start, end, label in rows:
        for frame in range(start, end):
            frames[frame] = label
    return frames


WANTED = {
    "a.npy": [(2, 9, 1), (9, 15, 0)],
    "more/b.npy": [(0, 12, 1)],
    "c.npy": [],
}


def test_labels_every_frame(folder: Path) -> None:
    source = opened(folder, TABLE)
    assert (source.class_names, source.untrimmed) == (("bow", "wave"), True)
    found = {recording.name: recording for recording in source}
    for name, rows in WANTED.items():
        assert found[name].frame_labels.tolist() == slow(LENGTHS[name], rows)
        assert found[name].segments.tolist() == [list(row) for row in rows]
        assert found[name].label == -1
    assert any("1 recording:" in note for note in source.label_notes)


def test_prepares_an_untrimmed_store(folder: Path) -> None:
    (folder / "intervals.csv").write_text(TABLE)
    (folder / "labels.csv").write_text("file,subjects\nmore/b.npy,2\na.npy,1\n")
    prepare(folder, folder.parent / "store", format="folder", skeleton="sbu15", workers=1)
    store = Store(folder.parent / "store")
    assert list(store.names) == ["a.npy", "more/b.npy"]
    assert store.columns["subjects"].tolist() == [1, 2]
    assert store.segments is not None
    assert store.segments.tolist() == [[0, 2, 9, 1], [0, 9, 15, 0], [1, 0, 12, 1]]


def test_beside_csv_recordings(tmp_path: Path) -> None:
    """The table is no recording."""
    rows = ["head_x,head_y,neck_x,neck_y", *(f"{at}9,{at}8,7{at},6{at}" for at in range(9))]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    (tmp_path / "skeleton.json").write_text(
        '{"parents": [-1, 0], "parts": {"all": [0, 1]}, "center": 0}'
    )
    (tmp_path / "intervals.csv").write_text("recording;start;end;label\na.csv;1;3;0\n")
    source = open_source(tmp_path, skeleton=tmp_path / "skeleton.json")
    (recording,) = source
    assert source.format == "csv"
    assert recording.segments.tolist() == [[1, 3, 0]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("recording,start,end\na.npy,0,1\n", "line 1: expected a header with columns recording"),
        ("recording,start,end,label,x\na.npy,0,1,w,1\n", "line 1: expected the columns .*also x"),
        (TABLE + "d.npy,0,1,wave\n", "line 5: expected a file of format folder.*'d.npy'"),
        (TABLE + "c.npy,0,6,wave\n", "line 5: expected an end of at most 5.*c.npy.*got 6"),
        (
            TABLE + "c.npy,3,3,wave\n",
            "line 5: expected a start from 0 and a later end.*'3' and '3'",
        ),
        (TABLE + "c.npy,-1,3,wave\n", "line 5: expected a start from 0"),
        (TABLE + "c.npy,0.5,3,wave\n", "line 5: expected a start from 0"),
        (TABLE + "c.npy,0,3,\n", "line 5: expected a label"),
        (TABLE + "c.npy,0,3,-1\n", "line 5"),
        (TABLE + "a.npy,14,16,wave\n", "line 5: overlaps the interval of line 3 of a.npy"),
        (TABLE + "../a.npy,0,3,wave\n", "line 5: expected a file"),
    ],
)
def test_says_what_is_wrong(folder: Path, table: str, message: str) -> None:
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(opened(folder, table))
    assert str(caught.value).startswith(str(folder / "intervals.csv"))


def test_labels_of_whole_recordings_beside_it(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,label\na.npy,wave\nmore/b.npy,wave\n")
    with pytest.raises(SkeletonFormatError, match=r"labels.csv: line 1: column label"):
        opened(folder, TABLE)


def test_a_recording_that_the_other_table_leaves_out(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,subjects\na.npy,1\n")
    with pytest.raises(SkeletonFormatError, match=r"line 2: labels.csv leaves out more/b.npy"):
        opened(folder, TABLE)
