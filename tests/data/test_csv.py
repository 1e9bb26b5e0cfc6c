from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_mediapipe import clip

from pcm3.data.readers import open_source
from pcm3.data.readers.csv import detect, read_csv
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import BLAZEPOSE33, COCO17, KINECT20, SBU15


def write(file: Path, rows: Any, delimiter: str = ",") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)


def wide(points: Any, names: Any, axes: str = "xyz", style: str = "{name}_{axis}") -> list[Any]:
    """A header, and a row for each frame of one person (T, V, C)."""
    head = [style.format(name=name, axis=axis) for name in names for axis in axes]
    rows = [[repr(float(value)) for value in frame.ravel()] for frame in points[..., : len(axes)]]
    return [head, *rows]


def long(points: Any, names: Any, axes: str = "xyz") -> list[Any]:
    """A header, and a row for each joint of persons (T, M, V, C)."""
    rows: list[Any] = [["frame", "person", "joint", *axes]]
    for at, people in enumerate(points):
        for person, joints in enumerate(people):
            for name, point in zip(names, joints, strict=True):
                rows.append([at, f"p{person}", name, *map(float, point[: len(axes)])])
    return rows


def test_wide(tmp_path: Path) -> None:
    points = clip(3)[:, 0, :20]
    write(tmp_path / "a.csv", wide(points, KINECT20.joints))
    write(tmp_path / "b.csv", wide(points[:, ::-1], KINECT20.joints[::-1], style="{name}.{axis}"))
    write(tmp_path / "labels.csv", [["file", "label"], ["a.csv", "wave"], ["b.csv", ""]])
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.skeleton, source.unit) == ("csv", KINECT20, "metres")
    for recording in source:
        np.testing.assert_array_equal(recording.frames[:, 0], points[..., :3].astype(np.float32))
    assert [each.label for each in source] == [0, -1]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("style", ["{axis}_{name}", "{axis}{name}", "{name}_{axis}"])
def test_dumps_of_mediapipe(tmp_path: Path, first: int, style: str) -> None:
    points = clip(3)[:, 0]
    rows = wide(points, range(first, first + 33), "xyzv", style)
    rows = [["class", *rows[0]], *(["wave", *row] for row in rows[1:])]
    write(tmp_path / "a.csv", rows, ";")
    source = open_source(tmp_path, min_score=0.4)
    (recording,) = source
    assert source.skeleton == BLAZEPOSE33
    seen = np.where(points[..., 3:] < 0.4, 0, points[..., :3])
    np.testing.assert_array_equal(recording.frames[:, 0], seen.astype(np.float32))
    assert recording.notes == ["columns that are not read: class"]


def test_shares_of_an_image(tmp_path: Path) -> None:
    points = clip(3)[:, 0] / 10 + 0.5
    write(tmp_path / "a.csv", wide(points, range(33)))
    with pytest.raises(SkeletonFormatError, match="--image-size WIDTH HEIGHT"):
        open_source(tmp_path)
    source = open_source(tmp_path, image_size=(640, 480))
    (recording,) = source
    assert source.unit == "pixels"
    pixels = (points[..., :2] * [640, 480]).astype(np.float32)
    np.testing.assert_array_equal(recording.frames[:, 0], pixels)
    source = open_source(tmp_path, unit="metres")
    (recording,) = source
    np.testing.assert_array_equal(recording.frames[:, 0], points[..., :3].astype(np.float32))


def test_long_with_persons(tmp_path: Path) -> None:
    points = clip(4, 2)[:, :, :17] * 100
    rows = long(points, COCO17.joints, "xy")
    order = np.random.default_rng(0).permutation(len(rows) - 1)
    write(tmp_path / "a.csv", [rows[0], *(rows[1 + at] for at in sorted(order))], "\t")
    source = open_source(tmp_path / "a.csv")
    (recording,) = source
    assert (source.skeleton, source.unit, source.persons) == (COCO17, "pixels", 2)
    np.testing.assert_array_equal(recording.frames, points[..., :2].astype(np.float32))
    shuffled = [rows[0], *rows[1:18], *(rows[1 + at] for at in order if at > 16)]
    write(tmp_path / "a.csv", shuffled)
    (recording,) = open_source(tmp_path / "a.csv")
    slot = int(not np.array_equal(recording.frames[0, 0], points[0, 0, :, :2].astype(np.float32)))
    np.testing.assert_array_equal(
        recording.frames[:, [slot, 1 - slot]], points[..., :2].astype(np.float32)
    )


def test_long_by_number(tmp_path: Path) -> None:
    points = clip(3)
    rows = [[row[0], *row[2:]] for row in long(points, range(33))]
    rows[0][1] = "landmark"
    write(tmp_path / "a.csv", rows)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames, points[..., :3].astype(np.float32))


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    points = clip(4)[:, 0, :15]
    rows = wide(points, SBU15.joints)
    rows[1][:3] = [""] * 3
    rows[3] = [""] * 45
    rows = [["frame", *rows[0]], *([at, *row] for at, row in enumerate(rows[1:]))]
    del rows[2]
    write(tmp_path / "a.csv", rows)
    (recording,) = open_source(tmp_path)
    expected = points[..., :3].astype(np.float32)
    expected[0, 0] = expected[1] = expected[2] = 0
    np.testing.assert_array_equal(recording.frames[:, 0], expected)
    rows = long(points[:, None], SBU15.joints)
    del rows[3]
    write(tmp_path / "a.csv", rows)
    (recording,) = open_source(tmp_path)
    expected = points[..., :3].astype(np.float32)
    expected[0, 2] = 0
    order = [SBU15.joints.index(joint) for joint in open_source(tmp_path).skeleton.joints]
    np.testing.assert_array_equal(recording.frames[:, 0], expected[:, order])


WIDE = wide(clip(2)[:, 0, :15], SBU15.joints)
LONG = long(clip(2)[:, :, :15], SBU15.joints)


def with_cell(rows: Any, row: int, column: int, cell: Any) -> Any:
    copy = [list(each) for each in rows]
    copy[row][column] = cell
    return copy


def with_column(rows: Any, name: str, cells: Any) -> Any:
    return [[*row, cell] for row, cell in zip(rows, [name, *cells], strict=True)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", "b"], ["1", "2"]], "line 1: expected columns NAME_x, NAME_y"),
        (WIDE[:1], "line 2: expected rows"),
        ([*WIDE[:2], WIDE[2][:-1]], "line 3: expected 45 cells, got 44"),
        (with_cell(WIDE, 0, 1, "head_x"), "line 1: expected columns of different names"),
        (with_cell(WIDE, 0, 2, "other"), "line 1: expected z of all joints or of none"),
        (with_cell(WIDE, 2, 4, "1_0"), "line 3: expected finite numbers"),
        (with_cell(WIDE, 2, 4, "nan"), "line 3: expected finite numbers"),
        (with_cell(WIDE, 2, 4, ""), "line 3: expected finite numbers"),
        (with_cell(WIDE, 2, 4, "1e300"), "too large for 32 bits"),
        (with_column(WIDE, "frame", ["1", "1"]), "frame 1: expected one row; a column person"),
        (with_column(WIDE, "frame", ["1", "x"]), "line 3: expected a number of the frame"),
        (with_column(WIDE, "frame", ["1.0", "2.5"]), "line 3: expected a number of the frame"),
        (with_cell(with_cell(WIDE, 0, 0, "tail_x"), 0, 1, "tail_y"), "expected z of all"),
        ([[name.replace("head", "tail") for name in WIDE[0]], *WIDE[1:]], "head, tail"),
        (with_cell(LONG, 2, 2, "head"), "line 3: expected a joint once in a frame, got 'head'"),
        (with_cell(LONG, 2, 2, ""), "line 3: expected a joint once in a frame"),
        ([row[1:] for row in LONG], "line 1: expected a column frame"),
        (wide(clip(2)[:, 0], [*range(32), 40]), "numbered from 0 or 1 without gaps"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, rows: Any, message: str) -> None:
    write(tmp_path / "a.csv", WIDE)
    write(tmp_path / "b.csv", rows)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_csv(tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "b.csv"))


def test_quotes_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"frame,nose_x,nose_y\n1,\xff,3\n")
    with pytest.raises(SkeletonFormatError, match="cannot be read"):
        read_csv(tmp_path)
    (tmp_path / "a.csv").write_text('frame,nose_x,nose_y\n1,"2,3\n')
    with pytest.raises(SkeletonFormatError, match="cannot be read"):
        read_csv(tmp_path)


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    write(tmp_path / "labels.csv", WIDE)
    assert not detect(tmp_path)
    write(tmp_path / "a.csv", [["a", "b_x"], ["1", "2"]])
    assert not detect(tmp_path)
    write(tmp_path / "a.csv", WIDE)
    assert detect(tmp_path)
    assert detect(tmp_path / "a.csv")
