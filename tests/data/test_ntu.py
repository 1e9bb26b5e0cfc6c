from __future__ import annotations

import os
import pickle
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcm3.data import Store, prepare, split
from pcm3.data.protocols import NTU60_PROTOCOLS, NTU120_PROTOCOLS
from pcm3.data.readers.ntu import NTU_ACTIONS, detect, read_ntu
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import NTU25

IDS = (72057594037931101, 72057594037931102, 72057594037931103)
NAME = "S001C002P003R002A013.skeleton"


def format_ntu(
    frames: NDArray[np.floating],
    ids: Sequence[int] = IDS,
    number: str = "{:.9g}",
    eol: str = "\r\n",
) -> str:
    """The text of a ``.skeleton`` file of frames (T, B, 25, 3); all-zero bodies are left out."""
    lines = [str(len(frames))]
    for frame in frames:
        present = [body for body in range(len(frame)) if frame[body].any()]
        lines.append(str(len(present)))
        for body in present:
            lines += [f"{ids[body]} 0 1 1 0 1 0 0.02764709 -0.05745083 2", "25"]
            for joint in frame[body]:
                position = " ".join(number.format(value) for value in joint)
                lines.append(f"{position} 277.4 NaN 1036.233 519.2 -0.2059419 0.05 0.97 -0.13 2")
    return eol.join(lines) + eol


def random_frames(length: int = 4, bodies: int = 2, seed: int = 0) -> NDArray[np.float32]:
    shape = (length, bodies, 25, 3)
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


@pytest.fixture
def read(tmp_path):
    def read(text: str | bytes, name: str = NAME):
        file = tmp_path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        source = read_ntu(file)
        return next(iter(source.read(source.units[0])))

    return read


def read_slowly(text: str) -> NDArray[np.float32]:
    """The obvious parser."""
    lines = iter(text.splitlines())
    slots: dict[str, int] = {}
    found = []
    length = int(next(lines))
    for time in range(length):
        for _ in range(int(next(lines))):
            slot = slots.setdefault(next(lines).split()[0], len(slots))
            for joint in range(int(next(lines))):
                found.append((time, slot, joint, [float(v) for v in next(lines).split()[:3]]))
    frames = np.zeros((length, len(slots), 25, 3), np.float32)
    for time, slot, joint, position in found:
        frames[time, slot, joint] = position
    return frames


def test_layout():
    frames = np.zeros((2, 1, 25, 3))
    frames[1, 0, :, 0] = 0.5
    joint = "0.5 0 0 277.4 NaN 1036.233 519.2 -0.2059419 0.05 0.97 -0.13 2\n"
    head = "2\n0\n1\n72057594037931101 0 1 1 0 1 0 0.02764709 -0.05745083 2\n25\n"
    assert format_ntu(frames, eol="\n") == head + 25 * joint


@pytest.mark.parametrize("eol", ["\n", "\r\n", " \n", "\t\r\n"])
def test_round_trip(read, eol):
    frames = random_frames(bodies=3)
    frames[0, 0] = frames[2, 1] = frames[:2, 2] = 0
    recording = read(format_ntu(frames, eol=eol))
    assert recording.frames.dtype == np.float32
    np.testing.assert_array_equal(recording.frames, frames[:, [1, 0, 2]])  # by first appearance
    assert recording.label == 12
    assert recording.name == "S001C002P003R002A013"
    columns = {"setups": 1, "views": 2, "subjects": 3, "replications": 2}
    assert recording.columns == columns


@pytest.mark.parametrize("number", ["{:.9g}", "{:.7g}", "{:f}", "{:.20f}", "{:.8e}", "{:+.3f}"])
def test_every_way_to_print_a_number(read, number):
    frames = random_frames(3) * np.float32(10.0) ** np.arange(-6, 6).repeat(25)[:150].reshape(
        2, 25, 3
    )
    text = format_ntu(frames, number=number)
    np.testing.assert_array_equal(read(text).frames, read_slowly(text))


@given(
    st.lists(
        st.one_of(
            st.decimals(-999, 999, allow_nan=False, places=7).map(str),
            st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
            st.integers(-(10**14), 10**14).map(str),
            st.sampled_from(["0", "-0", ".5", "5.", "-.5", "1e3", "-0.00000000000001", "007"]),
            st.from_regex(r"-?[0-9]{1,9}\.[0-9]{1,9}", fullmatch=True),
        ),
        min_size=75,
        max_size=75,
    )
)
@settings(max_examples=50, deadline=None)
def test_numbers_are_those_of_float(tmp_path_factory, numbers):
    file = tmp_path_factory.mktemp("ntu") / NAME
    rows = [" ".join(numbers[i : i + 3]) + " 0 0 0 0 0 0 0 0 2\n" for i in range(0, 75, 3)]
    file.write_text("1\n1\n1 0 0 0 0 0 0 0 0 2\n25\n" + "".join(rows))
    (recording,) = read_ntu(file)
    expected = np.array([float(number) for number in numbers]).astype(np.float32)
    assert recording.frames.tobytes() == expected.tobytes()


@given(st.integers(0, 5), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_any_frames_round_trip(tmp_path_factory, length, bodies, seed):
    frames = random_frames(length, bodies, seed)
    frames[np.random.default_rng(seed).random((length, bodies)) < 0.4] = 0
    file = tmp_path_factory.mktemp("ntu") / NAME
    file.write_text(text := format_ntu(frames))
    (recording,) = read_ntu(file)
    np.testing.assert_array_equal(recording.frames, read_slowly(text))
    assert recording.frames.sum() == pytest.approx(frames.sum(), abs=1e-3)


def test_trailing_blank_lines(read):
    frames = random_frames()
    np.testing.assert_array_equal(read(format_ntu(frames) + "\n \n").frames, frames)
    np.testing.assert_array_equal(read(format_ntu(frames).rstrip()).frames, frames)


def test_body_ids_are_compared_exactly(read):
    close = (72057594037931101, 72057594037931102)  # one number as float64
    assert float(close[0]) == float(close[1])
    assert read(format_ntu(random_frames(), close)).frames.shape[1] == 2


def test_no_body(read):
    assert read(format_ntu(np.zeros((3, 1, 25, 3)))).frames.shape == (3, 0, 25, 3)
    assert read("0\n").frames.shape == (0, 0, 25, 3)


def test_source(tmp_path):
    names = ["S001C001P001R001A007", "S001C001P002R001A060", "S002C003P001R002A001"]
    (tmp_path / "later").mkdir()
    for index, name in enumerate(names):
        folder = tmp_path / "later" if index == 0 else tmp_path
        (folder / f"{name}.skeleton").write_text(format_ntu(random_frames(index + 1)))
    source = read_ntu(tmp_path)
    assert (source.format, source.persons, source.fps, source.unit) == ("ntu", 2, 30, "metres")
    assert source.skeleton == NTU25
    assert source.class_names == NTU_ACTIONS[:60]
    assert source.protocols == NTU60_PROTOCOLS
    assert [recording.name for recording in source] == names
    assert [recording.label for recording in source] == [6, 59, 0]
    again = pickle.loads(pickle.dumps(source))
    assert [len(recording.frames) for recording in again] == [1, 2, 3]
    (tmp_path / "S018C001P001R001A061.skeleton").write_text("0")
    assert read_ntu(tmp_path).class_names == NTU_ACTIONS
    assert read_ntu(tmp_path).protocols == NTU120_PROTOCOLS
    assert len(set(NTU_ACTIONS)) == 120


def test_editions(tmp_path):
    sixty = ["S001C001P001R001A001", "S017C003P040R002A060"]
    more = ["S018C001P041R001A061", "S018C001P041R001A060", "S017C001P001R001A061"]
    for name in [*sixty, *more]:
        (tmp_path / f"{name}.skeleton").write_text("0")
    source = read_ntu(tmp_path, edition=60)
    assert [file.stem for file in source.units] == sixty
    assert (source.class_names, source.about) == (NTU_ACTIONS[:60], "NTU RGB+D 60")
    assert source.protocols == NTU60_PROTOCOLS
    source = read_ntu(tmp_path, edition=120)
    assert len(source.units) == 5
    assert source.protocols == NTU120_PROTOCOLS
    source = read_ntu(tmp_path / f"{sixty[0]}.skeleton", edition=120)
    assert (source.class_names, source.about) == (NTU_ACTIONS, "NTU RGB+D 120")
    with pytest.raises(SkeletonFormatError, match=r"NTU RGB\+D 60.*none"):
        read_ntu(tmp_path / f"{more[0]}.skeleton", edition=60)
    with pytest.raises(ValueError, match=r"edition 60.*120.*61"):
        read_ntu(tmp_path, edition=61)


def write_samples(folder, names):
    folder.mkdir()
    for seed, name in enumerate(names):
        (folder / f"{name}.skeleton").write_text(format_ntu(random_frames(2, 1, seed)))


@pytest.mark.parametrize(
    ("edition", "protocol", "column", "train", "test"),
    [
        (60, "xsub", "subjects", [1, 2, 4, 38], [3, 40]),
        (60, "xview", "views", [2, 3], [1]),
        (120, "xsub", "subjects", [1, 2, 4, 38, 45, 103], [3, 40, 48, 106]),
        (120, "xset", "setups", [2, 18, 32], [1, 17, 31]),
    ],
)
def test_protocols(tmp_path, edition, protocol, column, train, test):
    values = sorted(train + test)
    rest = {"setups": 1, "views": 1, "subjects": 1}
    rows = [rest | {column: value} for value in values]
    write_samples(
        tmp_path / "raw",
        [f"S{r['setups']:03}C{r['views']:03}P{r['subjects']:03}R001A001" for r in rows],
    )
    prepare(tmp_path / "raw", tmp_path / "store", workers=1, edition=edition)
    store = Store(tmp_path / "store")
    parts = [store.columns[column][part].tolist() for part in split(store, protocol)]
    assert parts == [train, test]


def test_published_numbers_of_protocols():
    sixty, larger = (p["xsub"].train for p in (NTU60_PROTOCOLS, NTU120_PROTOCOLS))
    assert len(set(sixty)) == len(sixty) == 20
    assert len(set(larger)) == len(larger) == 53
    assert set(sixty) < set(larger) <= set(range(1, 107))
    assert max(sixty) <= 40 < min(set(larger) - set(sixty))
    assert NTU60_PROTOCOLS["xview"] == ("views", (2, 3), None)
    assert NTU120_PROTOCOLS["xset"].column == "setups"
    assert NTU120_PROTOCOLS["xset"].train == tuple(range(2, 33, 2))
    assert set(NTU60_PROTOCOLS) == {"xsub", "xview"}
    assert set(NTU120_PROTOCOLS) == {"xsub", "xset"}


def test_ignore(tmp_path):
    for action in (1, 2, 3):
        (tmp_path / f"S001C001P001R001A00{action}.skeleton").write_text("0")
    ignore = tmp_path / "missing.txt"
    ignore.write_text(
        "302 samples\n# a comment\n\nS001C001P001R001A002\nS001C001P001R001A003.skeleton"
    )
    source = read_ntu(tmp_path, ignore=ignore)
    assert [file.stem for file in source.units] == ["S001C001P001R001A001"]
    assert source.notes == []
    ignore.write_text("".join(f"S001C001P001R001A00{action}\n" for action in range(2, 8)))
    (note,) = read_ntu(tmp_path, ignore=ignore).notes
    assert "4 of 6 names" in note
    ignore.write_text("S001C001P001R001A001\nS001C001P001R01A002\n")
    with pytest.raises(SkeletonFormatError, match=r"missing.txt: line 2.*A00"):
        read_ntu(tmp_path, ignore=ignore)
    ignore.write_text("nothing\n")
    with pytest.raises(SkeletonFormatError, match=r"missing.txt"):
        read_ntu(tmp_path, ignore=ignore)
    ignore.write_text("".join(f"S001C001P001R001A00{action}\n" for action in (1, 2, 3)))
    with pytest.raises(SkeletonFormatError, match=r"none besides those that .*missing.txt nam"):
        read_ntu(tmp_path, ignore=ignore)
    with pytest.raises(SkeletonFormatError, match=r"nowhere.txt"):
        read_ntu(tmp_path, ignore=tmp_path / "nowhere.txt")


def test_detect(tmp_path):
    assert not detect(tmp_path)
    assert not detect(tmp_path / NAME)
    (tmp_path / "other.skeleton").write_text("0")
    assert not detect(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    file = tmp_path / "deep" / "er" / NAME
    file.write_text("0")
    assert detect(tmp_path)
    assert detect(file)
    assert not detect(tmp_path / "other.skeleton")


def test_detect_stops_at_the_first_file(tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / NAME).write_text("0")
    listed = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or real(path))
    assert detect(tmp_path)
    assert len(listed) == 2


@pytest.mark.parametrize(
    "name",
    ["S001C001P001R001.skeleton", "S001C001P001R001A121.skeleton", "S001C000P001R001A001.skeleton"],
)
def test_wrong_name(tmp_path, name):
    (tmp_path / name).write_text("0")
    with pytest.raises(SkeletonFormatError, match=rf"{name}: expected a name SsssCcccPpppRrrrAaaa"):
        read_ntu(tmp_path)


def test_no_files(tmp_path):
    with pytest.raises(SkeletonFormatError, match=r"expected .skeleton files, found none"):
        read_ntu(tmp_path)
    (tmp_path / "notes.txt").write_text("0")
    for name in (NAME, "notes.txt"):
        with pytest.raises(SkeletonFormatError, match=rf"{name}: expected .skeleton files, found"):
            read_ntu(tmp_path / name)
    (tmp_path / NAME).write_text("0")
    source = read_ntu(tmp_path / NAME)
    (tmp_path / NAME).unlink()
    with pytest.raises(SkeletonFormatError, match=rf"{NAME}: cannot be read"):
        list(source)


GOOD = format_ntu(random_frames(), eol="\n").splitlines()  # a frame: 1 + 2 * 27 lines


def changed(line: int, text: str | None, values: slice | int | None = None) -> str:
    lines = list(GOOD)
    if text is None:
        del lines[line - 1]
    elif values is None:
        lines[line - 1] = text
    else:
        parts = lines[line - 1].split()
        parts[values] = text
        lines[line - 1] = " ".join(parts)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        ("\n".join(GOOD[:20]), "line 21: expected a joint, 12 values, but the file ends"),
        (
            "\n".join(GOOD[:3]) + "\n\n",
            "line 4: expected the number of joints, 1 value, but the fil",
        ),
        (changed(9, ""), "line 9: expected a joint, 12 values, got 1"),
        (changed(4, ""), "line 4: expected the number of joints, an integer, got ''"),
        ("\n".join(GOOD[:56]), "line 57: expected the number of bodies of frame 1, 1 value, but"),
        ("\n".join(GOOD[:20]) + "\n1 2", "line 21: expected a joint, 12 values, got 2"),
        (changed(1, "5"), "line 222: expected the number of bodies of frame 4, 1 value, but the f"),
        (changed(1, "3"), "line 167: expected the end of the file after 3 frames"),
        (changed(1, "many"), "line 1: expected the number of frames, an integer, got 'many'"),
        (changed(1, "-1"), "line 1: expected the number of frames, an integer, got '-1'"),
        (changed(2, "1"), "line 30: expected the number of bodies of frame 1, 1 value, got 10"),
        (changed(2, "3"), "line 57: expected a body of frame 0, 10 values, got 1"),
        (changed(2, "9" * 5000), "line 2: expected the number of bodies of frame 0, an integer"),
        (changed(3, "7.2e16", 0), "line 3: expected a body of frame 0, an integer, got '7.2e16'"),
        (changed(30, str(IDS[0]), 0), f"line 30: body {IDS[0]} is twice in frame 0"),
        (changed(4, "20"), "line 4: expected 25 joints, got 20"),
        (changed(4, None), "line 4: expected the number of joints, 1 value, got 12"),
        (changed(9, None), "line 29: expected a joint, 12 values, got 10"),
        (changed(9, "1  2 3"), "line 9: expected a joint, 12 values, got 3"),
        (changed(9, "x", 1), "line 9: expected a finite number, got 'x'"),
        (changed(9, "1_0", 1), "line 9: expected a finite number, got '1_0'"),
        (changed(9, "1.2.3", 0), "line 9: expected a finite number, got '1.2.3'"),
        (changed(9, "-", 0), "line 9: expected a finite number, got '-'"),
        (changed(9, "NaN", 2), "line 9: expected a finite number, got 'NaN'"),
        (changed(200, "-inf", 2), "line 200: expected a finite number, got '-inf'"),
        (changed(200, "1e39", 2), "line 200: expected a finite number, got '1e39'"),
        (changed(200, "1.2.3" * 20, 0), "line 200: expected a finite number, got '1.2.31.2.3"),
        (
            b"4\n2\n\xff\xfe\n".decode("latin1"),
            "line 3: expected a body of frame 0, 10 values, got",
        ),
    ],
)
def test_says_what_is_wrong(read, text, message):
    with pytest.raises(SkeletonFormatError, match=re.escape(message)) as caught:
        read(text)
    assert f"{NAME}: " in str(caught.value)


def test_other_files_go_on(tmp_path):
    good = "S001C001P001R001A001"
    (tmp_path / f"{good}.skeleton").write_text(format_ntu(random_frames()))
    (tmp_path / f"{good} (copy).skeleton").write_text(format_ntu(random_frames()))
    (tmp_path / "S001C001P001R001A200.skeleton").write_text(format_ntu(random_frames()))
    (tmp_path / "S001C001P001R001A002.skeleton").symlink_to(tmp_path / "gone.skeleton")
    source = read_ntu(tmp_path)
    assert len(source.units) == 4
    assert source.class_names == NTU_ACTIONS[:60]
    names, errors = [], []
    for unit in source.units:
        try:
            names += [recording.name for recording in source.read(unit)]
        except SkeletonFormatError as error:
            errors.append(str(error))
    assert names == [good]
    assert sum("expected a name SsssCcccPpppRrrrAaaa.skeleton" in error for error in errors) == 2
    assert sum("cannot be read" in error for error in errors) == 1


def test_left_out(tmp_path):
    for action in (1, 2, 61):
        (tmp_path / f"S001C001P001R001A{action:03}.skeleton").write_text("1\n0\n")
    ignore = tmp_path / "missing.txt"
    ignore.write_text("S001C001P001R001A001\nS009C001P001R001A001\n")
    source = read_ntu(tmp_path, ignore=ignore)
    assert (source.left_out, source.left_out_why) == (1, "named in missing.txt")
    source = read_ntu(tmp_path, ignore=ignore, edition=60)
    assert (source.left_out, len(source.units)) == (2, 1)
    assert source.left_out_why == "named in missing.txt or beyond NTU RGB+D 60"
    source = read_ntu(tmp_path)
    assert (source.left_out, source.left_out_why) == (0, "")
    ignore.write_text("S009C001P001R001A001\n")  # none of these: a clean subset
    assert read_ntu(tmp_path, ignore=ignore).left_out == 0


def test_errors_can_be_printed(tmp_path):
    name = os.fsdecode(b"S001C001P001R001A001\xff.skeleton")
    (tmp_path / name).write_text("1\n0\n")
    with pytest.raises(SkeletonFormatError, match="expected a name") as caught:
        list(read_ntu(tmp_path))
    assert str(caught.value).encode()
