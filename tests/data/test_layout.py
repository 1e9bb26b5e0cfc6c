"""``--skeleton`` of every reader: what is given wins, the rest is derived, joints must fit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from fuzzing import CASES

from pcm3.cli import main
from pcm3.data import Store, prepare
from pcm3.data.readers import Format, open_source
from pcm3.data.report import describe
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, NTU25, SBU15, Skeleton

FILES = {"pyskl": "*.pkl", "ctrgcn": "*.npz", "packed": "*.npz", "videopose3d": "*.npz"}
"""Formats whose source is a file."""


@pytest.fixture(params=get_args(Format))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Format, Path]:
    """A format and a small corpus of it."""
    folder = tmp_path / "source"
    folder.mkdir()
    CASES[request.param].write(folder)
    pattern = FILES.get(request.param)
    return request.param, next(folder.glob(pattern)) if pattern else folder


def halves(skeleton: Skeleton) -> dict[str, Any]:
    """Another skeleton of the same joints: two parts by name, no mirror, another centre."""
    joints = list(skeleton.joints)
    middle = len(joints) // 2
    return {
        "name": "halves",
        "joints": joints,
        "parents": list(skeleton.parents),
        "parts": {"first": joints[:middle], "second": joints[middle:]},
        "mirror": list(range(len(joints))),
        "center": joints[-1],
    }


def write(file: Path, description: dict[str, Any]) -> Path:
    file.write_text(json.dumps(description))
    return file


def test_every_reader_takes_parts_mirror_and_centre(
    source: tuple[Format, Path], tmp_path: Path
) -> None:
    format, path = source
    own = open_source(path, format).skeleton
    given = write(tmp_path / "mine.json", halves(own))
    opened = open_source(path, format, skeleton=given)
    expected = Skeleton.from_parents(
        own.joints,
        own.parents,
        **{key: value for key, value in halves(own).items() if key not in ("joints", "parents")},
    )
    assert opened.skeleton == expected
    assert opened.skeleton == open_source(path, format, skeleton=expected).skeleton
    for found, before in zip(opened, open_source(path, format), strict=True):
        np.testing.assert_array_equal(found.frames, before.frames)  # only the meaning changes


def test_names_count_where_recordings_have_them(
    source: tuple[Format, Path], tmp_path: Path
) -> None:
    format, path = source
    own = open_source(path, format).skeleton
    order = random.Random(0).sample(range(len(own)), len(own))
    shuffled = Skeleton.from_parents(
        own.joints,
        own.parents,
        **{key: value for key, value in halves(own).items() if key not in ("joints", "parents")},
    ).reordered([own.joints[joint] for joint in order])
    given = write(tmp_path / "mine.json", shuffled.to_dict())
    found = open_source(path, format, skeleton=given).skeleton
    if format == "folder":  # nothing but the order says which joint is which
        assert found == shuffled
    else:
        assert found == shuffled.reordered(own.joints)
    other = [f"joint {joint}" for joint in range(len(own))]
    write(given, halves(own) | {"joints": other, "parts": {"all": other}, "center": 0})
    if format == "folder":
        assert open_source(path, format, skeleton=given).skeleton.joints == tuple(other)
        return
    with pytest.raises(
        ValueError, match=f"'halves' has the joints joint 0.*unknown.*{own.joints[0].lower()[:3]}"
    ):
        open_source(path, format, skeleton=given)


def test_part_of_it_is_enough(source: tuple[Format, Path], tmp_path: Path) -> None:
    format, path = source
    own = open_source(path, format).skeleton
    given = write(tmp_path / "mine.json", {"center": own.joints[3]})
    if format == "folder":
        with pytest.raises(SkeletonFormatError, match=r"mine.json"):
            open_source(path, format, skeleton=given)
        write(given, {"joints": own.joints, "parents": own.parents, "center": own.joints[3]})
    found = open_source(path, format, skeleton=given).skeleton
    assert (found.center, found.joints, found.parents) == (3, own.joints, own.parents)
    derived = Skeleton.from_parents(own.joints, own.parents)
    assert (found.parts, found.mirror) == (derived.parts, derived.mirror)


def test_number_of_joints(source: tuple[Format, Path]) -> None:
    format, path = source
    joints = ["hips", "spine", *(f"{s}_{j}" for s in ("left", "right") for j in ("hand", "foot"))]
    other = Skeleton.from_parents(joints, [-1, 0, 1, 0, 1, 0], name="six")
    with pytest.raises(ValueError, match=r"'six' has the joints hips|6 joints, as skeleton 'six'"):
        list(open_source(path, format, skeleton=other))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (
            {"joint": []},
            "joints, parents, .*got 'joint'",
        ),
        ({"name": 3}, "name .*got 3"),
        ({"joints": "abc"}, "joints .*got 'abc'"),
        ({"joints": [0]}, r"joints\[0\] .*got 0"),
        ({"parents": [None]}, r"parents\[0\] .*got None"),
        ({"parts": [[0]]}, r"parts .*got \[\[0\]\]"),
        ({"parts": {"all": [0.5]}}, r"parts.all\[0\] .*got 0.5"),
        ({"mirror": {}}, "mirror .*got {}"),
        ({"center": True}, "center .*got True"),
        ({"center": "tail"}, "expected a joint among .*head.*, got 'tail'"),
        ({"parts": {"all": ["head"]}}, "every joint in exactly one part, not so neck, torso"),
        ({"joints": ["head", "neck"]}, 'missing .*unknown|skeleton "the data\'s" has the joints'),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, description: dict[str, Any], message: str) -> None:
    CASES["packed"].write(tmp_path)
    given = write(tmp_path / "mine.json", description)
    with pytest.raises(SkeletonFormatError, match=f"mine.json: .*({message})"):
        open_source(next(tmp_path.glob("*.npz")), skeleton=given)


def hand(file: Path, joints: list[str] | None = None) -> Path:
    """A packed file of a body whose names tell nothing."""
    joints = joints or [f"point {joint}" for joint in range(6)]
    rng = np.random.default_rng(0)
    np.savez(
        file,
        joints=rng.normal(size=(9, 1, len(joints), 3)).astype(np.float32),
        lengths=np.array([4, 5]),
        joint_names=np.array(joints),
        parents=np.array([-1, 0, 1, 0, 3, 0]),
    )
    return file


def test_where_names_tell_nothing_a_file_helps(tmp_path: Path) -> None:
    file = hand(tmp_path / "hand.npz")
    with pytest.raises(SkeletonFormatError, match=r"hand.npz: .*--skeleton FILE"):
        open_source(file)
    parts = {"palm": [0], "thumb": ["point 1", "point 2"], "rest": [3, 4, 5]}
    given = write(tmp_path / "skeleton.json", {"parts": parts})
    report = prepare(file, tmp_path / "store", skeleton=given, workers=1)
    store = Store(tmp_path / "store")
    assert store.skeleton.parts == {"palm": (0,), "thumb": (1, 2), "rest": (3, 4, 5)}
    assert (store.skeleton.mirror, store.skeleton.center) == ((0, 1, 2, 3, 4, 5), 0)
    assert report["options"] == {"skeleton": "skeleton.json"}
    assert report["skeleton"]["parts"]["thumb"] == ["point 1", "point 2"]


def test_the_command_takes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = hand(tmp_path / "hand.npz")
    given = write(tmp_path / "mine.json", {"parts": {"all": list(range(6))}, "center": "point 2"})
    command = ["prepare", "packed", str(file), str(tmp_path / "store"), "--workers", "1"]
    assert main(command) == 2
    assert "--skeleton FILE" in capsys.readouterr().err
    assert main([*command, "--skeleton", str(given)]) == 0
    assert "    centre: point 2" in capsys.readouterr().out.splitlines()
    assert main([*command, "--skeleton", "ntu25", "--overwrite"]) == 2
    assert "skeleton 'ntu25' has the joints" in capsys.readouterr().err
    assert main([*command, "--skeleton", "stick", "--overwrite"]) == 2
    assert "or a skeleton.json, got 'stick'" in capsys.readouterr().err


def test_bvh_names_the_remedy(tmp_path: Path) -> None:
    CASES["bvh"].write(tmp_path)
    for file in tmp_path.rglob("*.bvh"):
        file.write_text(file.read_text().replace("Hand", "Knee"))
    with pytest.raises(SkeletonFormatError, match=r"\.bvh: .*Knee.*--skeleton FILE"):
        open_source(tmp_path)


def test_another_skeleton_is_read_anew(tmp_path: Path) -> None:
    """Shards that a stopped command left were normalised by the skeleton as it was then."""
    file = hand(tmp_path / "hand.npz")
    given = write(tmp_path / "skeleton.json", {"parts": {"all": list(range(6))}, "center": 1})
    read = open_source(file, skeleton=given)
    (first,) = {recording.frames.shape for recording in list(read)[:1]}
    assert first == (4, 1, 6, 3)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(file, tmp_path / "store", skeleton=given, workers=1, progress=stop)
    write(given, {"parts": {"all": list(range(6))}, "center": 2})
    prepare(file, tmp_path / "store", skeleton=given, workers=1)
    for recording in (Store(tmp_path / "store").sequence(at) for at in range(2)):
        assert not recording[:, 0, 2].any()
        assert recording[:, 0, 1].any()


def test_parts_are_shown(tmp_path: Path) -> None:
    joints = ["hips", "spine", "l_hand", "r_hand", "l_foot", "r_foot"]
    file = tmp_path / "x.npz"
    arrays = {"lengths": np.array([3]), "joint_names": np.array([*joints, "r_prop"])}
    arrays |= {
        "joints": np.random.default_rng(0).normal(size=(3, 1, 7, 3)),
        "parents": np.array([-1, 0, 1, 1, 0, 0, 3]),
    }
    np.savez(file, **arrays)  # type: ignore[arg-type]
    report = prepare(file, tmp_path / "store", workers=1)
    assert report["skeleton"] == {
        "parts": {
            "trunk": ["hips", "spine"],
            "left_arm": ["l_hand"],
            "right_arm": ["r_hand", "r_prop"],
            "left_leg": ["l_foot"],
            "right_leg": ["r_foot"],
        },
        "mirror": [["l_hand", "r_hand"], ["l_foot", "r_foot"]],
        "alone": ["r_prop"],
        "center": "spine",
        "sides_named": True,
    }
    store = Store(tmp_path / "store")
    assert json.loads((store.path / "report.json").read_text())["skeleton"] == report["skeleton"]
    assert store.summary()["parts"] == report["skeleton"]["parts"]
    said = describe(store).splitlines()
    for line in (
        "    trunk: hips, spine",
        "    right_arm: r_hand, r_prop",
        "    centre: spine",
        "    2 mirrored pairs: l_hand/r_hand, l_foot/r_foot",
        "    without a counterpart: r_prop",
    ):
        assert line in said


def test_a_guess_of_the_sides_is_shown(tmp_path: Path) -> None:
    joints = [str(joint) for joint in range(15)]
    arrays = {"lengths": np.array([3]), "joint_names": np.array(joints)}
    arrays |= {
        "joints": np.random.default_rng(0).normal(size=(3, 1, 15, 3)),
        "parents": np.array(SBU15.parents),
    }
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    prepare(tmp_path / "x.npz", tmp_path / "store", workers=1)
    assert "no joint name gives a side" in describe(Store(tmp_path / "store"))


def test_long_parts_are_cut(tmp_path: Path) -> None:
    arrays = {"lengths": np.array([3]), "joint_names": np.array(COCO17.joints)}
    arrays |= {
        "joints": np.random.default_rng(0).normal(size=(3, 1, 17, 3)),
        "parents": np.array(COCO17.parents),
    }
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    everything = Skeleton.from_parents(
        COCO17.joints, COCO17.parents, parts={"all": range(17)}, mirror=range(17)
    )
    prepare(tmp_path / "x.npz", tmp_path / "store", workers=1, skeleton=everything)
    said = describe(Store(tmp_path / "store"))
    assert "left_elbow and 9 more" in said
    assert "mirrored" not in said


def test_options_of_a_format_name_the_skeleton(tmp_path: Path) -> None:
    CASES["utd"].write(tmp_path)
    with pytest.raises(ValueError, match=r"'utd'.*speed"):
        open_source(tmp_path, speed=1)
    assert open_source(tmp_path).skeleton != NTU25
