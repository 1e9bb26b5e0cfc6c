"""``prepare --to``: recordings of one layout as a store of another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcm3.cli import main
from pcm3.data import Store, prepare
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.hybrid import HybridDataset
from pcm3.data.normalize import is_isc, normalize
from pcm3.data.report import describe, read_report
from pcm3.data.store.meta import checksum_of
from pcm3.data.synthetic import synthetic_sequences
from pcm3.errors import SkeletonFormatError
from pcm3.runs.folder import Run
from pcm3.skeleton import COCO17, COMMON15, KINECT20, NTU25, SBU15, Skeleton, joint_map

Capture = pytest.CaptureFixture[str]
SMALL = [
    *("--preset", "small", "--model.hidden", "8", "--model.layers", "1", "--model.frames", "16"),
    *("--model.queue-size", "16", "--model.decoder-hidden", "8", "--model.embedding", "8"),
    *("--train.epochs", "1", "--train.batch-size", "4", "--train.knn-every", "0"),
    *("--train.accelerator", "cpu"),
]


def packed(file: Path, skeleton: Skeleton, *, flat: bool = False, **changes: Any) -> list[Any]:
    """Write a packed file; return the coordinates of its sequences."""
    data = synthetic_sequences(
        sequences=12, classes=3, subjects=4, views=2, skeleton=skeleton, frames=(12, 30)
    )
    rows = list(data)
    frames = [row.frames[..., :2] * 100 if flat else row.frames for row in rows]
    arrays = {
        "joints": np.concatenate(frames),
        "lengths": np.array([len(row.frames) for row in rows]),
        "labels": np.array([row.label for row in rows]),
        "class_names": np.array(data.class_names),
        "joint_names": np.array(skeleton.joints),
        "parents": np.array(skeleton.parents),
        "subjects": np.array([row.columns["subjects"] for row in rows]),
    }
    np.savez(file, **{**arrays, **changes})
    return frames


def test_maps_then_normalises(tmp_path: Path) -> None:
    frames = packed(tmp_path / "a.npz", SBU15)
    for recipe in ("none", "center", "isc", "sgn"):
        out = tmp_path / recipe
        report = prepare(tmp_path / "a.npz", out, to="common15", normalization=recipe, workers=1)
        store = Store(out)
        assert store.skeleton == COMMON15
        assert report["mapping"] == store.meta["mapping"]
        for index, own in enumerate(frames):
            mapped = joint_map(SBU15, COMMON15).apply(own)
            wanted = normalize(mapped, COMMON15, recipe, store.persons)
            np.testing.assert_array_equal(store.sequence(index), wanted)


def test_the_store_and_the_report_say_so(tmp_path: Path) -> None:
    packed(tmp_path / "a.npz", COCO17, flat=True)
    report = prepare(tmp_path / "a.npz", tmp_path / "s", to=COMMON15, workers=1)
    wanted = joint_map(COCO17, COMMON15).report()
    store = Store(tmp_path / "s")
    assert report["mapping"] == store.meta["mapping"] == store.summary()["mapping"] == wanted
    written = read_report(store)
    assert written is not None
    assert written["mapping"] == wanted
    assert written["skeleton"] == COMMON15.summary()
    said = describe(store)
    assert "mapped from coco17: 12 joints exact, 3 derived" in said
    assert "neck: 0.5 left_shoulder + 0.5 right_shoulder" in said


def test_the_lengths_of_mapped_bodies_are_the_unit(tmp_path: Path) -> None:
    packed(tmp_path / "a.npz", COCO17, flat=True)
    prepare(tmp_path / "a.npz", tmp_path / "s", to="sbu15", normalization="none", workers=1)
    store = Store(tmp_path / "s")
    assert store.meta["unit"] == "body lengths"
    frames = store.sequence(0)
    sides = np.where(frames.any(-1)[..., None], frames, np.nan)
    sides = np.nanmax(sides, 2) - np.nanmin(sides, 2)
    np.testing.assert_allclose(np.nanmedian(sides.max(-1)), 1, rtol=1e-5)


def test_other_joints_and_a_file_as_target(tmp_path: Path) -> None:
    frames = packed(tmp_path / "a.npz", KINECT20)
    arms = {
        "name": "arms",
        "joints": ["neck", "l_hand", "r_hand"],
        "parents": [-1, 0, 0],
        "parts": {"trunk": [0], "left_arm": [1], "right_arm": [2]},
        "center": "neck",
    }
    (tmp_path / "arms.json").write_text(json.dumps(arms))
    prepare(
        tmp_path / "a.npz", tmp_path / "s", to=tmp_path / "arms.json", normalization="none",
        workers=1,
    )  # fmt: skip
    names = ["shoulder_center", "hand_left", "hand_right"]
    joints = [KINECT20.joints.index(name) for name in names]
    np.testing.assert_array_equal(Store(tmp_path / "s").sequence(0), frames[0][:, :, joints])


def test_the_layout_of_the_recordings_changes_nothing(tmp_path: Path) -> None:
    packed(tmp_path / "a.npz", SBU15)
    prepare(tmp_path / "a.npz", tmp_path / "plain", workers=1)
    report = prepare(tmp_path / "a.npz", tmp_path / "same", to="sbu15", workers=1)
    assert "mapping" not in report
    assert "mapping" not in Store(tmp_path / "plain").summary()
    assert Store(tmp_path / "plain").meta == Store(tmp_path / "same").meta


def test_several_processes_do_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        np.save(folder / f"{index}.npy", rng.normal(size=(6, 17, 3)).astype(np.float32))
    for workers in (1, 2):
        prepare(
            folder, tmp_path / f"s{workers}", format="folder", skeleton="coco17", to="common15",
            workers=workers,
        )  # fmt: skip
    one, two = Store(tmp_path / "s1"), Store(tmp_path / "s2")
    assert one.fingerprint == two.fingerprint
    np.testing.assert_array_equal(one.bodies, two.bodies)


def test_another_target_does_not_go_on_with_the_parts_of_the_last(tmp_path: Path) -> None:
    """Finished parts of a preparation that stopped are of its own target."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for index in range(3):
        body = np.random.default_rng(index).normal(size=(6, 17, 3))
        np.save(folder / f"{index}.npy", body.astype(np.float32))
    np.save(folder / "9.npy", np.ones((6, 16, 3), np.float32))
    options: dict[str, Any] = {"format": "folder", "skeleton": "coco17", "workers": 1}
    options["normalization"] = "isc"
    with pytest.raises(SkeletonFormatError, match=r"9\.npy"):
        prepare(folder, tmp_path / "s", to="common15", **options)
    assert (tmp_path / ".s.shards").is_dir()
    parents = list(COMMON15.parents)
    for shoulder in COMMON15.starts.shoulders:  # type: ignore[union-attr]
        parents[shoulder] = COMMON15.joints.index("head")
    other = Skeleton.from_parents(COMMON15.joints, parents, "common15", center="mid_hip")
    for name in ("s", "anew"):
        prepare(folder, tmp_path / name, to=other, skip_bad=True, **options)
    assert Store(tmp_path / "s").skeleton == other
    np.testing.assert_array_equal(Store(tmp_path / "s").bodies, Store(tmp_path / "anew").bodies)


def test_recordings_without_the_needed_joints_are_dropped(tmp_path: Path) -> None:
    frames = packed(tmp_path / "a.npz", COCO17)
    lengths = [len(sequence) for sequence in frames]
    joints = np.concatenate(frames)
    only = [COCO17.joints.index(name) for name in ("nose", "left_eye", "right_eye")]
    joints[: lengths[0]] *= np.isin(np.arange(17), only)[:, None]
    packed(tmp_path / "a.npz", COCO17, joints=joints)
    report = prepare(tmp_path / "a.npz", tmp_path / "s", to="common15", workers=1)
    assert report["kept"] == 11
    (dropped,) = report["dropped"]
    assert "common15" in dropped["reason"]


def test_refuses_joints_that_are_not_there(tmp_path: Path) -> None:
    packed(tmp_path / "a.npz", SBU15)
    with pytest.raises(ValueError, match=r"'sbu15' lacks .*'ntu25'.*left_hand_tip"):
        prepare(tmp_path / "a.npz", tmp_path / "s", to="ntu25", workers=1)
    with pytest.raises(SkeletonFormatError, match="expected a skeleton among"):
        prepare(tmp_path / "a.npz", tmp_path / "s", to="common16", workers=1)
    assert not (tmp_path / "s").exists()


def test_refuses_what_was_normalised_by_other_joints(tmp_path: Path) -> None:
    for recipe, remedy in (("isc", False), ("sgn", True), ("center", False)):
        packed(tmp_path / "a.npz", NTU25, normalization=np.array(recipe))
        with pytest.raises(ValueError, match=f"already normalised by '{recipe}'") as error:
            prepare(tmp_path / "a.npz", tmp_path / "s", to="common15", workers=1)
        assert ("--normalization center" in str(error.value)) == remedy
    packed(tmp_path / "a.npz", NTU25, normalization=np.array("sgn"))
    prepare(tmp_path / "a.npz", tmp_path / "s", to="common15", normalization="center", workers=1)
    assert not Store(tmp_path / "s").sequence(0)[:, 0, COMMON15.center].any()


def test_refuses_recordings_that_are_isc_by_their_coordinates(tmp_path: Path) -> None:
    frames = packed(tmp_path / "a.npz", NTU25)
    turned = [normalize(sequence, NTU25, "isc") for sequence in frames]
    packed(tmp_path / "a.npz", NTU25, joints=np.concatenate(turned))
    with pytest.raises(ValueError, match="already normalised by 'isc'"):
        prepare(tmp_path / "a.npz", tmp_path / "s", to="common15", normalization="isc", workers=1)
    prepare(tmp_path / "a.npz", tmp_path / "s", to="common15", workers=1)


def test_isc_turns_bodies_whose_centre_is_the_pelvis() -> None:
    """The neck is above the mid-hip and shoulders lie along x, however the camera was turned."""
    data = synthetic_sequences(
        sequences=1, classes=1, subjects=1, views=1, skeleton=NTU25, frames=(12, 30), missing=0
    )
    frames = joint_map(NTU25, COMMON15).apply(next(iter(data)).frames)
    wanted = normalize(frames, COMMON15, "isc")
    neck, left, right = (
        wanted[0, 0, COMMON15.joints.index(joint)]
        for joint in ("neck", "left_shoulder", "right_shoulder")
    )
    assert neck[2] > 0.9 * np.linalg.norm(neck)
    np.testing.assert_allclose((right - left)[1:], 0, atol=1e-5)
    assert is_isc(wanted, COMMON15)
    for angle in (0.5, 2, -1.2):
        turn = np.eye(3)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        found = normalize((frames @ turn).astype(np.float32), COMMON15, "isc")
        assert found[0, 0, 1, 2] > 0.9 * np.linalg.norm(neck)


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    packed(tmp_path / "a.npz", SBU15)
    prepare(tmp_path / "a.npz", tmp_path / "s", to="common15", workers=1)
    file = tmp_path / "s" / "meta.json"
    meta = json.loads(file.read_text())
    for wrong in (3, {"source": "x"}, meta["mapping"] | {"derived": {"neck": ["a"]}}):
        meta["mapping"] = wrong
        meta["checksum"] = checksum_of(meta)
        file.write_text(json.dumps(meta))
        with pytest.raises(SkeletonFormatError, match="mapping"):
            Store(tmp_path / "s")


def test_stores_of_two_layouts_train_together(tmp_path: Path, capsys: Capture) -> None:
    stores = []
    for skeleton in (NTU25, SBU15):
        file = tmp_path / f"{skeleton.name}.npz"
        packed(file, skeleton)
        stores.append(str(tmp_path / skeleton.name))
        command = ["prepare", str(file), stores[-1], "--to", "common15", "--workers", "1"]
        assert main([*command, "--json"]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert json.loads(shown[-1])["report"]["mapping"]["source"] == skeleton.name
        assert any(f"mapped from {skeleton.name}" in line for line in shown)
        assert main(["show", stores[-1]]) == 0
        assert f"mapped from {skeleton.name}" in capsys.readouterr().out
    both = HybridDataset([SkeletonDataset(Store(store)) for store in stores])
    assert both.skeleton == COMMON15
    assert len(both) == 24
    run = tmp_path / "run"
    command = ["pretrain", "--data", *stores, "--out", str(run), "--protocol", "all", *SMALL]
    assert main(command) == 0
    assert json.loads(Run(run).config.read_text())["data"]["sequences"] == 24
    for number, store in enumerate(stores):
        out = tmp_path / f"features-{number}.npz"
        assert main(["features", "--run", str(run), "--data", store, "--out", str(out)]) == 0
        assert np.isfinite(np.load(out)["features"]).all()


def test_real_recordings_keep_their_bones(shared: Path, tmp_path: Path) -> None:
    """Kinect v1, Kinect v2 and OpenNI: the bones of common15 have the lengths of a person's."""
    low = {"neck": 0.3, "head": 0.1, "elbow": 0.18, "wrist": 0.15, "knee": 0.25, "ankle": 0.25}
    high = {"neck": 0.75, "head": 0.3, "elbow": 0.4, "wrist": 0.4, "knee": 0.6, "ankle": 0.5}
    for name in ("gtu_action3d", "utd_mhad", "sbu_interaction"):
        out = tmp_path / name
        prepare(shared / "data" / f"{name}.npz", out, to="common15", workers=1)
        bodies = np.asarray(Store(out).bodies[::9])
        for joint, parent in enumerate(COMMON15.parents):
            kind = COMMON15.joints[joint].rpartition("_")[2]
            if kind in low:
                bone = np.linalg.norm(bodies[:, joint] - bodies[:, parent], axis=-1)
                assert low[kind] < np.median(bone) < high[kind], (name, COMMON15.joints[joint])
