"""What ``prepare`` says at its end, and its advice on bad files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_bvh import Body
from test_csv import WIDE, wide, write

from pcm3.data import Store, prepare
from pcm3.data.report import describe
from pcm3.data.store.writer import StoreWriter
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import KINECT20, SBU15


def standing(folder: Path, names: list[str], scale: float = 1.0) -> None:
    for at, name in enumerate(names):
        points = np.random.default_rng(at).uniform(-0.8, 0.8, size=(9, 15, 3)) * scale
        write(folder / name, wide(points, SBU15.joints))


def test_warnings_come_last(tmp_path: Path) -> None:
    files = tmp_path / "files"
    standing(files, ["a.csv", "b.csv"], 1000)
    rows = [["file", "label", "client"], ["a.csv", "Squat", "1"], ["b.csv", "squat", "2"]]
    write(files / "labels.csv", rows)
    report = prepare(files, tmp_path / "s", workers=1)
    (size,) = report["warnings"]
    said = describe(Store(tmp_path / "s")).splitlines()
    last = [line.strip() for line in said[-3:]]
    assert all(line.startswith("warning: ") for line in last)
    assert last[-1] == f"warning: {size}"
    assert "'Squat' and 'squat'" in last[0]
    assert "subjects" in last[1]
    assert not any("warning: " in line for line in said[:-3])


def test_says_what_was_read(tmp_path: Path) -> None:
    standing(tmp_path / "files", ["a.csv", "one/a.csv", "two/a.csv"])
    report = prepare(tmp_path / "files", tmp_path / "s", workers=1)
    assert report["unit_is"] == "file"
    assert any("3 folders" in note for note in report["notes"])
    said = describe(Store(tmp_path / "s"))
    assert "3 files with 3 sequences" in said
    assert "0 bad files skipped" in said
    joints = np.random.default_rng(0).normal(size=(9, 15, 3))
    np.savez(
        tmp_path / "packed.npz",
        joints=np.repeat(joints, 2, axis=0)[None].reshape(18, 1, 15, 3),
        lengths=np.array([9, 9]),
        joint_names=np.array(SBU15.joints),
        parents=np.array(SBU15.parents),
    )
    report = prepare(tmp_path / "packed.npz", tmp_path / "p", workers=1)
    assert (report["unit_is"], report["units"], report["read"]) == ("part of a file", 1, 2)
    assert not any("folders" in note for note in report["notes"])
    assert "1 part of a file with 2 sequences" in describe(Store(tmp_path / "p"))


@pytest.mark.parametrize("files", [1, 2])
def test_advice_to_skip_bad_files(tmp_path: Path, files: int) -> None:
    body = Body()
    for at in range(files):
        text = body.text(body.motion(3)[:, : body.channels - at * 3 - (files == 1)])
        (tmp_path / f"{at}.bvh").write_text(text)
    source = tmp_path if files > 1 else tmp_path / "0.bvh"
    with pytest.raises(SkeletonFormatError) as caught:
        prepare(source, tmp_path / "s", workers=1)
    assert ("--skip-bad" in str(caught.value)) == (files > 1)


def test_no_advice_to_skip_what_has_a_better_remedy(tmp_path: Path) -> None:
    standing(tmp_path / "files", ["client_1.csv", "client_2.csv"])
    rows = [["file"], ["client_1.csv"], ["Client_2.csv"]]
    write(tmp_path / "files" / "labels.csv", rows)
    with pytest.raises(SkeletonFormatError, match="did you mean") as caught:
        prepare(tmp_path / "files", tmp_path / "s", workers=1)
    assert "--skip-bad" not in str(caught.value)


def test_layouts_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", WIDE)
    write(tmp_path / "b.csv", wide(2 * np.ones((2, 20, 3)), KINECT20.joints))
    for to in (None, "common15"):
        with pytest.raises(SkeletonFormatError, match=r"b\.csv: .*each layout"):
            prepare(tmp_path, tmp_path / "s", to=to, workers=1)


def test_the_order_of_joints_is_shown_if_it_is_not_the_built_in_one(tmp_path: Path) -> None:
    turned = KINECT20.reordered(KINECT20.joints[::-1])
    other = replace(KINECT20, name="own")
    for number, skeleton in enumerate((KINECT20, turned, other)):
        path = tmp_path / str(number)
        with StoreWriter(path, skeleton, class_names=["wave"]) as writer:
            writer.add(np.ones((2, 1, len(skeleton), 3), np.float32), label=0)
        words = " ".join(describe(Store(path)).split())
        shown = f": {', '.join(skeleton.joints)}"
        assert (shown in words) == (skeleton is not KINECT20)
        note = "joint order, not that of the built-in layout kinect20"
        assert (note + shown in words) == (skeleton is turned)
