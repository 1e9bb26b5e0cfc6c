from __future__ import annotations

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcm3.data.readers import READERS, open_source
from pcm3.data.readers.folder import detect, read_folder
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import BLAZEPOSE33, COCO17, SBU15, SKELETONS, UIPRMD22

RNG = np.random.default_rng(0)
CLIPS = {
    "b.npy": RNG.normal(size=(4, 2, 17, 3)).astype(np.float32),
    "a.npy": RNG.normal(size=(3, 17, 3)),
    "more/c.npy": RNG.integers(1, 9, size=(2, 1, 17, 3)).astype(np.int16),
}


@pytest.fixture
def folder(tmp_path):
    for name, clip in CLIPS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, clip)
    return tmp_path


def check_frames(source):
    for recording, name in zip(source, sorted(CLIPS), strict=True):
        wanted = CLIPS[name] if CLIPS[name].ndim == 4 else CLIPS[name][:, None]
        assert recording.frames.dtype == np.float32
        np.testing.assert_array_equal(recording.frames, wanted.astype(np.float32))
        assert recording.name == name


def test_without_labels(folder):
    source = read_folder(folder, skeleton="coco17", unit="pixels")
    assert (source.format, source.skeleton, source.persons) == ("folder", COCO17, 2)
    assert (source.fps, source.unit, source.class_names) == (None, "pixels", ())
    check_frames(pickle.loads(pickle.dumps(source)))
    assert [recording.label for recording in source] == [-1, -1, -1]


def test_coordinates_of_images_are_in_pixels_unless_told(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 17, 2)))
    assert read_folder(tmp_path, skeleton="coco17").unit == "pixels"
    assert read_folder(tmp_path, skeleton="coco17", unit="image widths").unit == "image widths"
    np.save(tmp_path / "a.npy", np.ones((2, 17, 3)))
    assert read_folder(tmp_path, skeleton="coco17").unit == "metres"


def test_labels_by_name(folder):
    (folder / "labels.csv").write_text(
        "\ufefffile, label ,subjects,camera\nb.npy,wave,3,side\n\n"
        '"more/c.npy",bow,,front\na.npy,,1,"front"\n',
        encoding="utf-8",
    )
    source = read_folder(folder, skeleton="coco17")
    check_frames(source)
    assert source.class_names == ("bow", "wave")
    assert source.about == f"folder {folder.name}"
    assert [(recording.label, recording.columns) for recording in source] == [
        (-1, {"subjects": 1, "camera": "front"}),
        (1, {"subjects": 3, "camera": "side"}),
        (0, {"subjects": -1, "camera": "front"}),
    ]


def test_labels_by_number(folder):
    (folder / "labels.csv").write_text("label,file\n2,b.npy\n-1,a.npy\n")
    source = read_folder(folder, skeleton="coco17")
    assert source.class_names == ("0", "1", "2")
    assert [(recording.name, recording.label) for recording in source] == [
        ("a.npy", -1),
        ("b.npy", 2),
    ]
    (folder / "labels.csv").write_text("file\nb.npy\n")
    assert read_folder(folder, skeleton="coco17").class_names == ()


def test_a_table_of_semicolons(folder):
    (folder / "labels.csv").write_text("file;label;weight\na.npy;wave, twice;61\nb.npy;bow;60\n")
    source = read_folder(folder, skeleton="coco17")
    assert source.class_names == ("bow", "wave, twice")
    assert [recording.columns["weight"] for recording in source] == [61, 60]


def test_skeleton_file(folder):
    description = COCO17.to_dict() | {"name": "mine", "center": 5}
    (folder / "skeleton.json").write_text(json.dumps(description))
    skeleton = read_folder(folder).skeleton
    assert (skeleton.name, skeleton.center, skeleton.parents) == ("mine", 5, COCO17.parents)
    named = {"joints": COCO17.joints, "parents": COCO17.parents}
    (folder / "skeleton.json").write_text(json.dumps(named))
    assert read_folder(folder).skeleton == COCO17
    other = {"joints": [f"{name}_x" for name in COCO17.joints], "parents": COCO17.parents}
    (folder / "skeleton.json").write_text(json.dumps(other))
    assert read_folder(folder).skeleton.parts == COCO17.parts


@pytest.mark.parametrize("name", ["smpl22", "smpl24", "human36m17"])
def test_joints_of_motion_data(tmp_path, name):
    """As HumanML3D's ``new_joints``: one person without an axis for it."""
    joints = RNG.normal(size=(4, len(SKELETONS[name]), 3)).astype(np.float32)
    np.save(tmp_path / "000021.npy", joints)
    source = read_folder(tmp_path, skeleton=name)
    (recording,) = source
    assert (source.skeleton, source.unit) == (SKELETONS[name], "metres")
    np.testing.assert_array_equal(recording.frames[:, 0], joints)


def test_blazepose(tmp_path):
    names = BLAZEPOSE33.joints
    assert (len(names), names[0], names[10], names[16]) == (
        33,
        "nose",
        "mouth_right",
        "right_wrist",
    )
    assert names[23:25] == ("left_hip", "right_hip")
    assert names[29:] == ("left_heel", "right_heel", "left_foot_index", "right_foot_index")
    assert BLAZEPOSE33.parts == {
        "trunk": tuple(range(11)),
        "left_arm": (11, 13, 15, 17, 19, 21),
        "right_arm": (12, 14, 16, 18, 20, 22),
        "left_leg": (23, 25, 27, 29, 31),
        "right_leg": (24, 26, 28, 30, 32),
    }
    assert BLAZEPOSE33.mirror[:11] == (0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9)
    assert all(BLAZEPOSE33.mirror[j] == j + (1 if j % 2 else -1) for j in range(11, 33))
    parent = {joint: names[p] for joint, p in zip(names, BLAZEPOSE33.parents, strict=True)}
    assert parent["left_elbow"] == "left_shoulder"
    assert parent["right_pinky"] == "right_wrist"
    assert parent["left_hip"] == "left_shoulder"
    assert parent["right_foot_index"] == "right_ankle"
    np.save(tmp_path / "x.npy", np.ones((2, 33, 3)))
    (source,) = read_folder(tmp_path, skeleton="blazepose33")
    assert source.frames.shape == (2, 1, 33, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv: the file is empty"),
        ("\n", r"labels.csv: line 1.*nothing"),
        ("name,label\na.npy,1\n", r"labels.csv: line 1.*name, label"),
        ("file,label\n", r"labels.csv: line 1.*file, label"),
        ("file,label,my col\na.npy,1,2\n", r"line 1.*'my col'"),
        ("file,labels\na.npy,1\n", r"line 1.*'labels'"),
        ("file,x,x\na.npy,1,2\n", r"line 1.*'x'"),
        ("file,label\na.npy,1\n\nb.npy\n", r"labels.csv: line 4.*2.*1"),
        ("file\na.npy\nb.npy\na.npy\n", r"labels.csv: line 4: a.npy.*line 2"),
        ("file,label\na.npy,0\nb.npy,-2\n", r"line 3.*0.*-2"),
        (b"file,label\na.npy,\xff\n", r"labels.csv: line 2: .*CSV UTF-8"),
        ("file,label\na.npy,a\n".encode("utf-16"), r"labels.csv: .*UTF-16; .*CSV UTF-8"),
        (
            "file,subjects\na.npy,3\nb.npy,x3\n",
            r"line 3.*subjects.*'3'.*line 2 is, got 'x3'.*all integers or all words",
        ),
        (
            "file,label\na.npy,1\nb.npy,wave\nc.npy,bow\n",
            r"line 2: column label: .*'wave' in line 3 is, got '1'; labels are",
        ),
        (
            "file,label\na.npy,wave\nb.npy,1\n",
            r"line 2.*label.*'1'.*line 3.*'wave'",
        ),
    ],
)
def test_says_what_is_wrong_with_the_table(folder, text, message):
    (folder / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SkeletonFormatError, match=message):
        read_folder(folder, skeleton="coco17")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"skeleton.json: .*Expecting"),
        ("[1]", r"skeleton.json"),
        ('{"joints": ["a", "b"]}', r"skeleton.json"),
        ('{"joints": ["a", "b"], "parents": [0, 0]}', r"skeleton.json"),
        ('{"parts": {}}', r"skeleton.json"),
        ('{"joints": 3}', r"skeleton.json.*3"),
        (
            json.dumps(SBU15.to_dict()),
            r"a.npy.*15.*'sbu15'.*17",
        ),
    ],
)
def test_says_what_is_wrong_with_the_skeleton(folder, text, message):
    (folder / "skeleton.json").write_text(text)
    with pytest.raises(SkeletonFormatError, match=message):
        list(read_folder(folder))


def test_skeleton_is_needed(folder):
    with pytest.raises(SkeletonFormatError, match=r"skeleton.json .*blazepose33"):
        read_folder(folder)
    with pytest.raises(ValueError, match=r"coco17.*'stick'"):
        read_folder(folder, skeleton="stick")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 17)),
            r"b.npy.*numbers \(T, M, V, C of 2.*3\).* float64 \(3, 17\)",
        ),
        (np.zeros((3, 17, 4)), r"b.npy.*float64 \(3, 17, 4\)"),
        (np.zeros((0, 17, 3)), r"b.npy.*\(0, 17, 3\)"),
        (np.zeros((3, 17, 3), bool), r"b.npy.*bool \(3, 17, 3\)"),
        (np.zeros((3, 18, 3)), r"b.npy.*17.*'coco17'.*18"),
        (np.zeros((3, 17, 2)), r"b.npy.*3.*a.npy.*2"),
        (np.full((3, 17, 3), np.inf), r"b.npy: frame 0, person 0, joint 0: NaN.*0"),
        (np.array([None]), r"b.npy.*Python"),
    ],
)
def test_says_what_is_wrong_with_a_file(folder, array, message):
    np.save(folder / "b.npy", array)
    with pytest.raises(SkeletonFormatError, match=message):
        list(read_folder(folder, skeleton="coco17"))


def test_damaged_file(folder):
    (folder / "b.npy").write_bytes((folder / "b.npy").read_bytes()[:-9])
    with pytest.raises(SkeletonFormatError, match=r"b.npy: not a readable .npy"):
        list(read_folder(folder, skeleton="coco17"))


def test_no_files(tmp_path):
    with pytest.raises(SkeletonFormatError, match=r"expected .npy files, found none"):
        read_folder(tmp_path, skeleton="coco17")
    with pytest.raises(SkeletonFormatError, match="nowhere"):
        read_folder(tmp_path / "nowhere", skeleton="coco17")


def test_detect(folder, tmp_path):
    assert not detect(folder)
    (folder / "labels.csv").write_text("file\n")
    assert detect(folder)
    assert not detect(folder / "a.npy")
    assert not detect(folder / "nowhere")


words = st.text(st.characters(codec="utf-8", categories=["L", "P"]), min_size=1, max_size=6)


@given(st.lists(st.one_of(words, st.just("")), min_size=3, max_size=3))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_class_names(folder, labels):
    quoted = [label.replace('"', '""') for label in labels]
    rows = [f'{name},"{label}"' for name, label in zip(sorted(CLIPS), quoted, strict=True)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    source = read_folder(folder, skeleton="coco17")
    named = [source.class_names[r.label] if r.label >= 0 else "" for r in source]
    assert named == labels


def test_real_recordings(shared, tmp_path):
    with np.load(shared / "data" / "uiprmd_kinect.npz", allow_pickle=False) as arrays:
        length = int(arrays["lengths"][0])
        joints = arrays["joints"][:length]
    np.save(tmp_path / "one.npy", joints)
    (recording,) = read_folder(tmp_path, skeleton=UIPRMD22.name)
    np.testing.assert_array_equal(recording.frames, joints)


@pytest.mark.parametrize(
    "name", ["a.zip", "nturgbd.tar.gz", "Skeleton.RAR", "data.7z", "b.tgz", "walk.bvh.gz"]
)
@pytest.mark.parametrize("format", [None, "ntu"])
def test_archives_are_refused(tmp_path, name, format):
    (tmp_path / name).write_bytes(b"any")
    with pytest.raises(SkeletonFormatError, match=rf"{name}: .*archive"):
        open_source(tmp_path / name, format)


def test_a_folder_called_like_an_archive(folder):
    named = folder.rename(folder.with_name("clips.zip"))
    assert len(open_source(named, "folder", skeleton="coco17").units) == 3
    (named / "labels.csv").write_text("file\nb.npy\n")
    assert open_source(named, skeleton="coco17").format == "folder"


def odd_paths(root):
    """Paths that are not what a format expects."""
    names = ["train_data_joint.npy", "labels.csv", "a01_s01_e01_v01.json", "0002-L.txt"]
    names += ["S001C002P003R002A013.skeleton", "walk.bvh", "data.npz", "data.pkl", "none"]
    for name in names:
        (root / f"folder-{name}").mkdir()
        (root / f"in-{name}" / name).mkdir(parents=True)
        (root / f"link-{name}").symlink_to(root / "gone")
        if not name.endswith((".skeleton", ".bvh")):  # they are told by their names
            (root / f"empty-{name}").write_bytes(b"")
    with zipfile.ZipFile(root / "damaged.npz", "w") as archive:
        archive.writestr("x_train.npy", b"")
    content = (root / "damaged.npz").read_bytes()
    (root / "damaged.npz").write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
    (root / "loop").mkdir()
    (root / "loop" / "again").symlink_to(root / "loop")
    return sorted(root.iterdir())


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
def test_detect_takes_any_path(tmp_path, reader):
    for path in [*odd_paths(tmp_path), tmp_path / "nowhere", tmp_path / "empty-none" / "below"]:
        assert not reader.detect(path), path


def test_no_permission(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    np.save(locked / "train_data_joint.npy", np.zeros(3))
    (locked / "0002-L.txt").write_text("1")
    try:
        for mode in (0o000, 0o400, 0o300):
            locked.chmod(mode)
            if os.access(locked, os.R_OK | os.X_OK):
                pytest.skip("this user may read everything")
            for reader in READERS.values():
                reader.detect(locked)
                assert not reader.detect(locked / "below")
            with pytest.raises(SkeletonFormatError, match="locked"):
                open_source(locked)
            assert not READERS["pku"].detect(tmp_path)
    finally:
        locked.chmod(0o700)
    (locked / "0002-L.txt").chmod(0)
    assert not READERS["pku"].detect(locked)
    with pytest.raises(SkeletonFormatError, match=r"0002-L.txt"):
        open_source(locked / "0002-L.txt")


def test_other_rows_go_on(folder):
    (folder / "labels.csv").write_text(
        f"file,label\n./a.npy,0\nz.npy,1\nmore/b.txt,0\n{folder}/y.npy,0\nb.npy,1\n"
    )
    source = read_folder(folder, skeleton="coco17")
    assert (source.left_out, source.left_out_why) == (1, "not in labels.csv: more/c.npy")
    names, errors = [], []
    for unit in source.units:
        try:
            names += [recording.name for recording in source.read(unit)]
        except SkeletonFormatError as error:
            errors.append(str(error))
    assert names == ["a.npy", "b.npy"]
    file = folder / "labels.csv"
    assert f"{file}: line 3: expected a file of format folder in {folder}, got 'z.npy'" in errors
    assert len(errors) == 3
    (folder / "labels.csv").unlink()
    assert (read_folder(folder, skeleton="coco17").left_out_why) == ""


def test_codes_are_no_labels(folder):
    (folder / "labels.csv").write_text("file,label\na.npy,1\nb.npy,20000000\n")
    message = r"labels.csv: line 3: expected class indices from 0, got 20000000; write names if"
    with pytest.raises(SkeletonFormatError, match=message):
        read_folder(folder, skeleton="coco17")


def test_numbers_that_no_column_holds(folder):
    for number in (str(10**30), "1.5", "1e-3", "-9223372036854775809"):
        (folder / "labels.csv").write_text(f"file,camera\na.npy,7\nb.npy,{number}\n")
        message = f"line 3: column camera: expected an integer of 64 bits, got '{number[:9]}"
        with pytest.raises(SkeletonFormatError, match=message):
            read_folder(folder, skeleton="coco17")


AXES = {"TMVC": (6, 2, 17, 3), "MTVC": (2, 6, 17, 3), "CTVM": (3, 6, 17, 2), "VCMT": (17, 3, 2, 6)}


@pytest.mark.parametrize("axes", AXES)
def test_other_orders_of_axes(tmp_path, axes):
    clip = RNG.normal(size=AXES["TMVC"]).astype(np.float32)
    array = np.ascontiguousarray(clip.transpose(["TMVC".index(axis) for axis in axes]))
    assert array.shape == AXES[axes]
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", array[(slice(None),) * axes.index("M") + (0,)])  # one person
    first, second = read_folder(tmp_path, skeleton="coco17", axes=axes)
    np.testing.assert_array_equal(first.frames, clip)
    np.testing.assert_array_equal(second.frames, clip[:, :1])
    if axes != "TMVC":
        with pytest.raises(SkeletonFormatError, match=f"a.npy: .*.*--axes .*{axes}"):
            list(read_folder(tmp_path, skeleton="coco17"))


def test_more_persons_than_frames_may_be_frames(tmp_path):
    """One frame of 40 persons, or 40 frames of one."""
    np.save(tmp_path / "a.npy", np.ones((1, 40, 17, 3)))
    message = r"a.npy: 40 persons in 1 frames, read as .*--axes .* TMVC or MTVC$"
    with pytest.raises(SkeletonFormatError, match=message):
        list(read_folder(tmp_path, skeleton="coco17"))
    for axes, shape in (("MTVC", (40, 1, 17, 3)), ("TMVC", (1, 40, 17, 3))):
        source = read_folder(tmp_path, skeleton="coco17", axes=axes)
        assert (source.persons, next(iter(source)).frames.shape) == (shape[1], shape)


@pytest.mark.parametrize("axes", ["TVMM", "TV", "", "tmvc", "NCTVM"])
def test_axes_are_checked(tmp_path, axes):
    np.save(tmp_path / "a.npy", np.ones((2, 1, 17, 3)))
    with pytest.raises(ValueError, match=f"expected axes T, V, C and maybe M .*got '{axes}'"):
        read_folder(tmp_path, skeleton="coco17", axes=axes)


def test_folders_behind_links(tmp_path):
    """All files once, by the shortest way without links, however links run."""
    inside, outside = tmp_path / "files", tmp_path / "outside"
    for place in (inside / "sub", outside / "deep"):
        place.mkdir(parents=True)
    for file in (inside / "a.npy", inside / "sub" / "b.npy", outside / "c.npy"):
        np.save(file, np.ones((2, 17, 3)))
    np.save(outside / "deep" / "d.npy", np.ones((2, 17, 3)))
    (inside / "again").symlink_to(inside / "sub")
    (inside / "link").symlink_to(outside)
    (inside / "other").symlink_to(outside)
    (inside / "sub" / "loop").symlink_to(inside)
    (outside / "deep" / "up").symlink_to(outside)
    names = [recording.name for recording in read_folder(inside, skeleton="coco17")]
    assert names == ["a.npy", "link/c.npy", "link/deep/d.npy", "sub/b.npy"]
    (inside / "labels.csv").write_text("file,label\nother/deep/d.npy,5\nagain/b.npy,3\n")
    source = read_folder(inside, skeleton="coco17")
    assert [recording.label for recording in source] == [5, 3]
    assert source.left_out == 2


def test_scores_are_no_coordinates(tmp_path):
    clip = np.random.default_rng(0).uniform(0, 1, size=(3, 17, 3))
    np.save(tmp_path / "a.npy", clip - 0.5)
    assert len(list(read_folder(tmp_path, skeleton="coco17"))) == 1  # metres
    np.save(tmp_path / "a.npy", clip * [640, 480, 1])
    with pytest.raises(SkeletonFormatError, match=r"a.npy: .* looks like x, y, score"):
        list(read_folder(tmp_path, skeleton="coco17"))
    with pytest.raises(SkeletonFormatError, match="looks like x, y, score"):
        list(read_folder(tmp_path, skeleton="coco17", unit="pixels"))
    [found] = read_folder(tmp_path, skeleton="coco17", unit="metres")  # so z is a length too
    assert found.frames.shape[3] == 3
    np.save(tmp_path / "a.npy", clip * [640, 480, 0])
    assert len(list(read_folder(tmp_path, skeleton="coco17"))) == 1


def test_stores_and_hidden_files_are_no_recordings(folder):
    for name in ("store", ".store.0123.shards"):
        (folder / name).mkdir()
        np.save(folder / name / "joints.npy", np.ones((3, 17, 3)))
    (folder / "store" / "meta.json").write_text('{"format": "pcm3-store"}')
    (folder / ".hidden.npy").write_bytes(b"")
    assert len(read_folder(folder, skeleton="coco17").units) == 3
    with pytest.raises(SkeletonFormatError, match=r"store: .* a store"):
        open_source(folder / "store")


def test_says_why_a_path_is_no_format(folder):
    def fails(path, message):
        with pytest.raises(SkeletonFormatError, match=message):
            open_source(path)

    fails(folder, "prepare folder .*skeleton.json")
    fails(folder / "a.npy", "a .npy file; .*prepare folder")
    (folder / "cut.npz").write_bytes(b"PK\x03\x04")
    fails(folder / "cut.npz", r"cut.npz: ")
    np.savez(folder / "other.npz", data=np.zeros(3))
    fails(folder / "other.npz", r"other.npz: an .npz with data; expected x_train.*\(packed\)")
    (folder / "cut.pkl").write_bytes(pickle.dumps(list(range(99)))[:-9])
    fails(folder / "cut.pkl", r"cut.pkl: ")
    (folder / "other.pkl").write_bytes(pickle.dumps([1]))
    fails(folder / "other.pkl", r"other.pkl: .* annotations and split")
    (folder / "notes.md").write_text("notes")
    fails(folder / "notes.md", r"notes.md: a \.md file; expected .*\.csv")


def test_several_formats(folder):
    (folder / "labels.csv").write_text("file\na.npy\n")
    (folder / "more" / "walk.bvh").write_text("HIERARCHY")
    with pytest.raises(SkeletonFormatError, match="bvh, folder"):
        open_source(folder)
    assert open_source(folder, "folder", skeleton="coco17").format == "folder"
