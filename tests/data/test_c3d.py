from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data.readers import open_source
from pcm3.data.readers.c3d import detect, read_c3d
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import SBU15

INTEL, DEC, MIPS = 84, 85, 86
NAMES = SBU15.joints


def clip(frames: int, points: int = 15, seed: int = 0) -> NDArray[np.float64]:
    """Points (T, V, 3) in millimetres; multiples of 0.125, which integers with that scale hold."""
    rng = np.random.default_rng(seed)
    return rng.integers(-8000, 8000, size=(frames, points, 3)) * 0.125


def number(value: float, processor: int) -> bytes:
    """A float as a processor writes it."""
    if processor == MIPS:
        return struct.pack(">f", value)
    if processor == DEC:  # an exponent larger by two, and the two words changed
        raw = struct.pack("<f", 4 * value)
        return raw[2:] + raw[:2]
    return struct.pack("<f", value)


def c3d(
    points: NDArray[np.float64],
    names: Sequence[str] = NAMES,
    processor: int = INTEL,
    integers: bool = False,
    unit: str = "mm",
    analog: int = 0,
    rate: float = 100.0,
    **more: list[str],
) -> bytes:
    """A file, NaN where a point is not seen; analog numbers per frame follow its points."""
    order = ">" if processor == MIPS else "<"
    scale = 0.125 if integers else -0.125

    def parameter(name: str, group: int, kind: int, shape: Sequence[int], raw: bytes) -> bytes:
        head = struct.pack("bb", len(name), group) + name.encode()
        rest = struct.pack("bB", kind, len(shape)) + bytes(shape) + raw + b"\0"
        return head + struct.pack(order + "h", 2 + len(rest)) + rest

    def words(name: str, texts: Sequence[str]) -> bytes:
        width = max(map(len, texts))
        raw = "".join(text.ljust(width) for text in texts).encode()
        return parameter(name, 1, -1, (width, len(texts)), raw)

    section = b"\xff".replace(b"\xff", struct.pack("bb", 5, -1) + b"POINT")
    section += struct.pack(order + "h", 3) + b"\0"
    count = points.shape[1]
    section += parameter("USED", 1, 2, (), struct.pack(order + "h", count))
    section += parameter("FRAMES", 1, 2, (), struct.pack(order + "h", len(points)))
    section += parameter("RATE", 1, 4, (), number(rate, processor))
    section += words("LABELS", names) + words("UNITS", [unit])
    for name, texts in more.items():
        section += words(name, texts)
    blocks = -(-(4 + len(section) + 2) // 512)
    section = bytes([1, 80, blocks, processor]) + section
    section = section.ljust(512 * blocks, b"\0")
    start = 2 + blocks
    head = struct.pack(order + "6H", count, analog, 1, len(points), 10, 0)[:10]
    header = bytes([2, 80]) + head + number(scale, processor)
    header += struct.pack(order + "2H", start, 1 if analog else 0) + number(rate, processor)
    data = b""
    for frame in points:
        for point in frame:
            unseen = bool(np.isnan(point).any())
            four = [0.0, 0.0, 0.0, -1.0] if unseen else [*point, 0.0]
            if integers:
                data += struct.pack(
                    order + "4h", *(round(v / 0.125) for v in four[:3]), int(four[3])
                )
            else:
                data += b"".join(number(value, processor) for value in four)
        for at in range(analog):
            data += struct.pack(order + "h", at) if integers else number(at, processor)
    return (header.ljust(512, b"\0") + section + data).ljust(512, b"\0")


@pytest.mark.parametrize("processor", [INTEL, DEC, MIPS])
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("analog", [0, 6])
def test_reads_all_kinds(tmp_path: Path, processor: int, integers: bool, analog: int) -> None:
    points = clip(4)
    points[1, 2] = points[3] = np.nan
    file = tmp_path / "a.c3d"
    file.write_bytes(c3d(points, processor=processor, integers=integers, analog=analog))
    source = pickle.loads(pickle.dumps(open_source(tmp_path)))
    assert (source.format, source.unit, source.fps) == ("c3d", "metres", 100)
    assert source.skeleton.parents == SBU15.parents
    (recording,) = source
    wanted = np.nan_to_num(points / 1000).astype(np.float32)
    np.testing.assert_array_equal(recording.frames[:, 0], wanted)


def test_reads_markers_alone(tmp_path: Path) -> None:
    """Names of persons are cut; points without a name, and angles, are left out."""
    points = clip(3, 18)
    names = [f"Anna:{name}" for name in NAMES] + ["*12", "LKneeAngles", ""]
    (tmp_path / "a.c3d").write_bytes(c3d(points, names, ANGLES=["LKneeAngles"]))
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(recording.frames[:, 0], (points[:, :15] / 1000).astype("f4"))
    assert sorted(note.partition(" ")[0] for note in recording.notes) == ["1", "2"]


def edited(at: int, new: bytes) -> Any:
    return lambda data: data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited(1, b"\0"), "second byte"),
        (edited(0, b"\xff"), "processor"),
        (edited(512 + 3, b"\x07"), "processor of type 84, 85 or 86, got 7"),
        (edited(2, b"\x00\x00"), "header: expected points"),
        (edited(2, b"\x0e\x00"), "POINT:USED: expected 14 points"),
        (edited(12, struct.pack("<f", 0)), "header: expected points"),
        (edited(16, b"\xff\xff"), "data: expected 3 frames"),
        (edited(20, struct.pack("<f", 0)), "header: expected a frame rate above 0"),
        (lambda data: data[:1600], "data: expected 3 frames"),
        (lambda data: data.replace(b"mm", b"xx"), "POINT:UNITS: expected a unit"),
        (lambda data: data.replace(b"neck", b"head"), "POINT:LABELS: .*'head' twice"),
        (lambda data: data[:300], "second byte"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, edit: Any, message: str) -> None:
    file = tmp_path / "a.c3d"
    file.write_bytes(edit(c3d(clip(3))))
    with pytest.raises(SkeletonFormatError, match=message):
        list(read_c3d(tmp_path))


def test_more_frames_than_16_bits_hold(tmp_path: Path) -> None:
    """Their number is then in two words of a parameter; the header has 65,535."""
    from pcm3.io.c3d import _frames  # a file would have 66 MB

    words = {
        "TRIAL:ACTUAL_START_FIELD": np.array([1, 0], "<i2"),
        "TRIAL:ACTUAL_END_FIELD": np.array([70_000 - 65_536, 1], "<i2"),
    }
    assert _frames(words | {"POINT:FRAMES": np.array(-1, "<i2")}, 1, 65_535) == 70_000
    assert _frames({}, 1, 300) == 300


def test_detect(tmp_path: Path) -> None:
    assert not detect(tmp_path)
    (tmp_path / "a.c3d").write_bytes(b"no")
    assert not detect(tmp_path)
    (tmp_path / "a.c3d").write_bytes(c3d(clip(1)))
    assert detect(tmp_path)
    assert detect(tmp_path / "a.c3d")
