"""What is said of paths that look like no format."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pcm3.data import Store
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import SKELETONS


def refusal(path: Path) -> str:
    """The message on a path, without its name."""
    with pytest.raises(SkeletonFormatError) as caught:
        open_source(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "azure, csv, " not in str(caught.value)  # no list of all formats
    return str(caught.value).removeprefix(f"{path}: ")


def test_empty_folder(tmp_path: Path) -> None:
    assert "an empty folder" in refusal(tmp_path)
    (tmp_path / "sub").mkdir()
    assert "an empty folder" in refusal(tmp_path)


def test_folder_of_other_files(tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx", "c.XLSX", "note.docx"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    message = refusal(tmp_path)
    assert "3 .xlsx files, 1 .docx file" in message
    assert "CSV UTF-8" in message
    assert "3 .xlsx" not in refusal(tmp_path / "a.xlsx")
    assert ".docx" in refusal(tmp_path / "note.docx")


def test_csv_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,angle_knee,angle_hip\n0,10,20\n")
    for message in (refusal(tmp_path), refusal(tmp_path / "a.csv")):
        assert "time, angle_knee, angle_hip" in message
        assert "NAME_x" in message
    (tmp_path / "a.csv").write_text("1,2.5,-3e-2\n4,5,6\n")
    assert "3 numbers" in refusal(tmp_path / "a.csv")
    names = [f"angle_{at}" for at in range(300)]
    (tmp_path / "a.csv").write_text(",".join(names))
    assert len(refusal(tmp_path / "a.csv")) < 500


@pytest.mark.parametrize("content", [{"time": 1, "bodies": []}, [{"time": 1, "bodies": []}]])
def test_json_of_something_else(tmp_path: Path, content: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert "keys time, bodies" in refusal(tmp_path / "a.json")
    assert "keys time, bodies" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["[1, 2]", "[]", "null", "{", '{"a": NaN}'])
def test_json_without_keys(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert refusal(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (np.random.default_rng(0).bytes(3000), "not text"),
        ("head_x,head_y\n1,2\n".encode("utf-16"), "UTF-16"),
    ],
)
@pytest.mark.parametrize("format", [None, "csv"])
def test_damaged_csv(tmp_path: Path, content: bytes, what: str, format: str | None) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(SkeletonFormatError, match=re.escape(str(file)) + f": .*{what}"):
        open_source(file, format)


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("head_x,head_y,Ort\n1,2,da\n1,2,drüben\n".encode("cp1252"))
    with pytest.raises(SkeletonFormatError, match=r"line 3: .*CSV UTF-8"):
        open_source(file)


@pytest.mark.parametrize(("joints", "layout"), [(22, None), (17, None), (26, "halpe26"), (5, None)])
def test_arrays_get_the_whole_command(tmp_path: Path, joints: int, layout: str | None) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, joints, 3)))
    command = f"pcm3 prepare folder {tmp_path} STORE --skeleton "
    fitting = [name for name, skeleton in SKELETONS.items() if len(skeleton) == joints]
    for path in (tmp_path, tmp_path / "a.npy"):
        message = refusal(path)
        assert command + (layout or "LAYOUT") in message
        assert "skeleton.json" in message
        assert all(name in message for name in fitting or SKELETONS)
    with pytest.raises(SkeletonFormatError, match="expected a folder"):
        open_source(tmp_path / "a.npy", "folder")


def test_counts_what_was_found_instead(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("head_x,head_y\n1,2\n")
    for format in ("azure", "bvh", "trc", "openpose", "msr", "freemocap"):
        with pytest.raises(SkeletonFormatError, match=r"1 \.csv file"):
            open_source(tmp_path, format)
    with pytest.raises(SkeletonFormatError, match=r"\.json.*1 \.csv file"):
        open_source(tmp_path / "a.csv", "azure")


def test_raw_folder_as_a_store(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("head_x,head_y\n1,2\n")
    with pytest.raises(SkeletonFormatError, match=r"not a store .*pcm3 prepare"):
        Store(tmp_path)


def test_damaged_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", joints=np.zeros(3))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: len(content) // 2])
    assert "joint_names" in refusal(tmp_path / "a.npz")
    with pytest.raises(SkeletonFormatError, match="zip archive"):
        open_source(tmp_path / "a.npz", "packed")
