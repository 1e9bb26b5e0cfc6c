from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_mediapipe import clip

from pcm3.data import prepare
from pcm3.data.readers import open_source
from pcm3.data.readers.csv import detect, read_csv
from pcm3.data.store import Store
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import BLAZEPOSE33, COCO17, COMMON15, KINECT20, PARTS, SBU15


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


def with_column(rows: Any, name: str, cells: Any) -> Any:
    return [[*row, cell] for row, cell in zip(rows, [name, *cells], strict=True)]


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


@pytest.mark.parametrize(
    "style",
    [
        *("{name}_Pos{axis}", "{name}_Position_{axis}", "{name} {axis}", "{name}.{axis}"),
        *("{axis}_{name}", "{axis} {name}"),
    ],
)
def test_spellings_of_headers(tmp_path: Path, style: str) -> None:
    points = clip(3)[:, 0, :15, :3]
    rows = wide(points, [joint.title() for joint in SBU15.joints], "XYZ", style)
    write(tmp_path / "a.csv", with_column(rows, "x_center", ["1"] * 3))
    (recording,) = source = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames[:, 0], points.astype(np.float32))
    assert (source.skeleton, source.unit) == (SBU15, "metres")
    assert recording.notes == ["columns that are not read: x_center"]


def test_header_of_two_styles(tmp_path: Path) -> None:
    rows = [["nose_x", "nose_y", "x_neck", "y_neck"], ["1", "2", "3", "4"]]
    write(tmp_path / "a.csv", rows)
    with pytest.raises(SkeletonFormatError, match=r"line 1: .*nose_x.*x_neck"):
        open_source(tmp_path)


def test_units_in_headers(tmp_path: Path) -> None:
    points = clip(3)[:, 0, :15, :3]
    for name in ("a", "b"):
        write(tmp_path / f"{name}.csv", wide(points, SBU15.joints, style="{name} {axis} (mm)"))
    source = open_source(tmp_path)
    assert (source.unit, source.skeleton) == ("millimetres", SBU15)
    for recording in source:
        np.testing.assert_array_equal(recording.frames[:, 0], points.astype(np.float32))
    assert open_source(tmp_path, unit="millimetres").unit == "millimetres"
    assert open_source(tmp_path, unit="mm").unit_told is False
    assert source.unit_told
    (recording, _) = other = open_source(tmp_path, unit="cm")  # the names are wrong
    assert other.unit == "centimetres"
    np.testing.assert_array_equal(recording.frames[:, 0], points.astype(np.float32))
    (note,) = recording.notes
    assert "millimetres" in note
    assert "centimetres" in note
    (recording, _) = open_source(tmp_path, unit="mm")
    assert recording.notes == []
    with pytest.raises(SkeletonFormatError, match=r"line 1: .*\(mm\)"):
        open_source(tmp_path, image_size=(640, 480))
    write(tmp_path / "b.csv", wide(points, SBU15.joints))
    with pytest.raises(SkeletonFormatError, match=r"b.csv: expected millimetres"):
        list(open_source(tmp_path))
    rows = wide(points, SBU15.joints)
    rows[0] = [f"{name} [{'cm' if at else 'm'}]" for at, name in enumerate(rows[0])]
    write(tmp_path / "b.csv", rows)
    with pytest.raises(SkeletonFormatError, match=r"b.csv: line 1: expected one unit"):
        list(open_source(tmp_path))


def kinect(points: Any, step: float = 1 / 30) -> list[Any]:
    """A long table as programs for Kinect write it, of persons (T, M, 20, 3)."""
    rows: list[Any] = [["Time", "BodyID", "JointType", "X", "Y", "Z", "TrackingState"]]
    for at, people in enumerate(points):
        for person, joints in enumerate(people):
            for name, point in zip(KINECT20.joints, joints, strict=True):
                numbers = map(repr, map(float, point[:3]))
                rows.append([f"{at * step:.3f}", 7000 + person, name, *numbers, "Tracked"])
    return rows


def test_long_tables_of_kinect(tmp_path: Path) -> None:
    points = clip(5, 2)[:, :, :20]
    write(tmp_path / "a.csv", kinect(points))
    (recording,) = source = open_source(tmp_path)
    assert (source.skeleton, source.persons, source.fps) == (KINECT20, 2, 30.0)
    np.testing.assert_array_equal(recording.frames, points[..., :3].astype(np.float32))
    numbers = [[*row] for row in kinect(points[:, :1])]
    for row in numbers[1:]:
        row[2] = KINECT20.joints.index(row[2])
    write(tmp_path / "a.csv", numbers)
    with pytest.raises(SkeletonFormatError, match="JointType"):
        open_source(tmp_path)
    (recording,) = open_source(tmp_path, skeleton="kinect20")
    np.testing.assert_array_equal(recording.frames, points[:, :1, :, :3].astype(np.float32))


def rate_of(tmp_path: Path, name: str, times: Any, frames: Any = None) -> Any:
    """The frame rate and the notes of a recording with these times."""
    rows = with_column(wide(clip(len(times))[:, 0, :15], SBU15.joints), name, times)
    if frames is not None:
        rows = with_column(rows, "frame", frames)
    write(tmp_path / "a.csv", rows)
    (recording,) = source = open_source(tmp_path)
    assert recording.fps == source.fps
    (note,) = recording.notes
    assert name in note
    return recording.fps


@pytest.mark.parametrize(
    ("name", "times", "rate"),
    [
        ("Timestamp", ["0.000", "0.033", "0.067", "0.100"], 30),  # only seconds are plausible
        ("time", [1000, 1033, 1067, 1100], 30),  # only milliseconds are
        ("time_s", [0, 2, 4, 6], 0.5),
        ("t (ms)", [0, 0.5, 1, 1.5], 2000),
        ("Time [us]", [0, 16667, 33333, 50000], 60),
        ("timestamp_ns", [1700000000000000000 + at * 40_000_000 for at in range(4)], 25),
        ("time", ["10:00:00.00", "10:00:00.50", "10:00:01.00", "10:00:01.50"], 2),
        ("time", [f"2024-01-05 23:59:59.9{at}" for at in range(4)], 100),
        ("time", [0, 2000, 4000, 6000], None),  # neither unit is plausible
        ("time", [7, 8, 9, 10], None),  # numbers of frames
        ("time_ms", [7, 8, 9, 10], 1000),
        ("time", [0, 0, 0, 0], None),
        ("time", [3, 2, 1, 0], None),
        ("time", ["0", "", "0.1", "0.15"], None),
        ("time", ["0.00", "0.05", "0.15", "0.20"], None),  # a frame is left out
        ("time", ["0.00", "0.03", "0.07", "0.10", "0.13", "0.17", "0.20"], 30),
        ("time_s", ["0.000", "0.033", "0.067", "0.100", "0.1"], None),
        ("time_s", [0, 1, 2, 3, 4, 5.4, 6.8, 8.2, 9.6], None),  # slower from the middle on
        ("time_ms", [0, 0.001, 0.002, 0.003], None),  # faster than any camera
    ],
)
def test_frame_rate_of_times(tmp_path: Path, name: str, times: Any, rate: float | None) -> None:
    assert rate_of(tmp_path, name, times) == rate


@pytest.mark.parametrize(
    ("name", "step", "unit"),
    [
        ("time_s", 33.333, "milliseconds, not seconds"),
        ("time_ms", 0.033333, "seconds, not milliseconds"),
        ("time_s", 1, ""),
        ("time_ms", 0.5, ""),
    ],
)
def test_times_in_another_unit_than_their_name_says(
    tmp_path: Path, name: str, step: float, unit: str
) -> None:
    times = [f"{at * step:.6f}" for at in range(4)]
    write(tmp_path / "a.csv", with_column(wide(clip(4)[:, 0, :15], SBU15.joints), name, times))
    (recording,) = open_source(tmp_path)
    (note,) = recording.notes
    assert ("probably" in note) == bool(unit)
    assert unit in note
    if name == "time_s" and unit:
        with pytest.raises(ValueError, match=unit):
            prepare(tmp_path, tmp_path / "store", fps=30, workers=1)


def test_times_of_numbered_frames(tmp_path: Path) -> None:
    assert rate_of(tmp_path, "time", ["0.00", "0.05", "0.15", "0.20"], [0, 1, 3, 4]) == 20
    steps = with_column(wide(clip(3)[:, 0, :15], SBU15.joints), "time", ["0", "0.1", "0.2"])
    write(tmp_path / "a.csv", with_column(steps, "frame", [0, 3, 6]))
    (recording,) = open_source(tmp_path)
    assert (recording.fps, len(recording.frames)) == (10, 3)


def test_times_tell_frames_of_persons(tmp_path: Path) -> None:
    points = clip(2, 2)[:, :, :15]
    rows = wide(points.reshape(4, 15, -1), SBU15.joints)
    rows = with_column(with_column(rows, "time", ["0", "0", "0.1", "0.1"]), "person", [1, 2, 1, 2])
    write(tmp_path / "a.csv", rows)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames, points[..., :3].astype(np.float32))
    assert recording.fps == 10


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas(tmp_path: Path, delimiter: str) -> None:
    points = clip(3)[:, 0, :15]
    rows = with_column(wide(points, SBU15.joints), "time_s", ["0", "0.04", "0.08"])
    write(tmp_path / "a.csv", [[cell.replace(".", ",") for cell in row] for row in rows], delimiter)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames[:, 0], points[..., :3].astype(np.float32))
    assert recording.fps == 25
    rows[1][0] = rows[1][0].replace(".", ",")
    write(tmp_path / "a.csv", rows, delimiter)
    with pytest.raises(SkeletonFormatError, match="line 2: expected either decimal"):
        open_source(tmp_path)


def test_decimal_commas_between_commas(tmp_path: Path) -> None:
    rows = wide(clip(3)[:, 0, :15], SBU15.joints)
    commas = [rows[0], *([cell.replace(".", ",") for cell in row] for row in rows[1:])]
    write(tmp_path / "a.csv", commas)  # in quotes
    with pytest.raises(SkeletonFormatError, match=r"line 2: .*decimal comma"):
        open_source(tmp_path)
    (tmp_path / "a.csv").write_text("\n".join(map(",".join, commas)))
    with pytest.raises(SkeletonFormatError, match=r"line 2: expected 45 cells, got 90.*decimal"):
        open_source(tmp_path)


@pytest.mark.parametrize("missing", ["NaN", "nan", "NA", ""])
def test_cells_that_are_missing(tmp_path: Path, missing: str) -> None:
    points = clip(3)[:, 0, :15]
    rows = wide(points, SBU15.joints)
    rows[2][3:6] = [missing] * 3
    write(tmp_path / "a.csv", rows)
    (recording,) = open_source(tmp_path)
    expected = points[..., :3].astype(np.float32)
    expected[1, 1] = 0
    np.testing.assert_array_equal(recording.frames[:, 0], expected)


WIDE = wide(clip(2)[:, 0, :15], SBU15.joints)
LONG = long(clip(2)[:, :, :15], SBU15.joints)


def with_cell(rows: Any, row: int, column: int, cell: Any) -> Any:
    copy = [list(each) for each in rows]
    copy[row][column] = cell
    return copy


def renamed_wide() -> Any:
    return wide(clip(2)[:, 0, :15], [f"p{number}" for number in range(15)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[name.replace("neck", "nekc") for name in WIDE[0]], *WIDE[1:]], "without neck and with"),
        (renamed_wide(), "one of .*sbu15.*got 15 joints: p0, p1, "),
    ],
)
def test_the_nearest_layout_is_named(tmp_path: Path, rows: Any, message: str) -> None:
    write(tmp_path / "a.csv", rows)
    with pytest.raises(SkeletonFormatError, match=message):
        open_source(tmp_path)


def test_a_body_without_a_built_in_layout_is_connected(tmp_path: Path) -> None:
    """The joints of trackers that give neither neck nor hip centre, as they stand."""
    places = {"head": (0, 0), "shoulder": (20, 30), "elbow": (25, 60), "wrist": (27, 90)}
    places |= {"hip": (12, 100), "knee": (13, 150), "ankle": (14, 200)}
    names = ["head", *(f"{side}_{name}" for name in list(places)[1:] for side in ("left", "right"))]
    points = []
    for name in names:
        side, _, joint = name.rpartition("_")
        x, y = places[joint]
        points.append((300 + (x if side == "left" else -x), 100 + y))
    still = np.repeat(np.array([points], float), 4, axis=0)
    write(tmp_path / "a.csv", wide(still, names, axes="xy"))
    source = open_source(tmp_path)
    tree = source.skeleton.parents
    for side in ("left", "right"):
        for child, parent in (("elbow", "shoulder"), ("wrist", "elbow"), ("ankle", "knee")):
            above = tree[names.index(f"{side}_{child}")]
            assert names[above] == f"{side}_{parent}"
        assert names[tree[names.index(f"{side}_knee")]] == f"{side}_hip"
    assert set(source.skeleton.parts) == set(PARTS)
    assert any("connected as a tree" in note for note in source.notes)
    store = prepare(tmp_path, tmp_path / "store", to="common15")
    assert store["kept"] == 1
    assert Store(tmp_path / "store").skeleton.joints == COMMON15.joints


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", "b"], ["1", "2"]], "line 1: expected columns NAME_x, NAME_y"),
        (WIDE[:1], "line 2: expected rows"),
        ([*WIDE[:2], WIDE[2][:-1]], "line 3: expected 45 cells, got 44"),
        (with_cell(WIDE, 0, 1, "head_x"), "line 1: expected columns of different names"),
        (with_cell(WIDE, 0, 2, "other"), "line 1: expected z of all joints or of none.*head$"),
        (with_cell(WIDE, 2, 4, "1_0"), "line 3: expected finite.*got '1_0' in the column 'neck_y'"),
        (with_cell(WIDE, 2, 4, "nan"), "line 3: expected finite numbers.*'neck_y'; a joint"),
        (with_cell(LONG, 2, 4, "abc"), "line 3: expected finite numbers.*'abc' in the column 'y'"),
        ([row[3:] for row in WIDE], "got 14 joints of 3 coordinates, without head;"),
        (with_cell(WIDE, 2, 4, ""), "line 3: expected finite numbers"),
        (with_cell(WIDE, 2, 4, "1e300"), "too large for 32 bits"),
        (with_column(WIDE, "frame", ["1", "1"]), "frame 1: expected one row; a column person"),
        (with_column(WIDE, "frame", ["1", "x"]), "line 3: expected a number of the frame"),
        (with_column(WIDE, "frame", ["1.0", "2.5"]), "line 3: expected a number of the frame"),
        (with_cell(with_cell(WIDE, 0, 0, "tail_x"), 0, 1, "tail_y"), "expected z of all"),
        (
            [[name.replace("head", "tail") for name in WIDE[0]], *WIDE[1:]],
            "without head, with tail;",
        ),
        (with_cell(LONG, 2, 2, "head"), "line 3: expected a joint once in a frame, got 'head'"),
        (with_cell(LONG, 2, 2, ""), "line 3: expected a joint once in a frame"),
        ([row[1:] for row in LONG], "line 1: expected a column frame or time"),
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
    with pytest.raises(SkeletonFormatError, match=r"a\.csv: line 2: "):
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
