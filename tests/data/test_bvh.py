from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcm3.data.readers.bvh import detect, read_bvh
from pcm3.errors import SkeletonFormatError

# name, children; offsets follow from the position in the tree
_LEFT, _RIGHT = [(f"{side}Arm", [(f"{side}Hand", [None])]) for side in ("Left", "Right")]
_LEGS = [(f"{side}UpLeg", [(f"{side}Foot", [None])]) for side in ("Left", "Right")]
TREE = ("Hips", [("Spine", [("Head", [None]), _LEFT, _RIGHT]), *_LEGS])


class Body:
    """A hierarchy with its own, slow forward kinematics."""

    def __init__(self, order="ZXY", seed=0, tree=TREE, prefix=""):
        self.rng = np.random.default_rng(seed)
        self.order = order
        self.names, self.parents, self.offsets, self.lines = [], [], [], ["HIERARCHY"]
        self.prefix = prefix
        self._add(tree, -1, 0)
        self.channels = 6 + 3 * (sum("_end" not in name for name in self.names) - 1)

    def _add(self, node, parent, depth):
        name, children = node or (f"{self.names[parent]}_end", [])
        name = name if node is None else self.prefix + name
        if node is None and name in self.names:
            name += str(1 + sum(each.startswith(name) for each in self.names))
        index, pad = len(self.names), "\t" * depth
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append(self.rng.uniform(-30, 30, 3).round(3) if parent >= 0 else np.zeros(3))
        title = "End Site" if node is None else f"{'ROOT' if parent < 0 else 'JOINT'} {name}"
        values = " ".join(map(str, self.offsets[-1]))
        self.lines += [pad + title, pad + "{", f"{pad}\tOFFSET {values}"]
        turns = " ".join(f"{axis}rotation" for axis in self.order)
        if parent < 0:
            self.lines.append(f"\tCHANNELS 6 Xposition Yposition Zposition {turns}")
        elif node is not None:
            self.lines.append(f"{pad}\tCHANNELS 3 {turns}")
        for child in children:
            self._add(child, index, depth + 1)
        self.lines.append(pad + "}")

    def text(self, motion, frame_time=0.0333333):
        rows = [" ".join(f"{value:.6f}" for value in row) for row in motion]
        head = ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {frame_time}"]
        return "\n".join([*self.lines, *head, *rows]) + "\n"

    def motion(self, frames):
        return self.rng.uniform(-90, 90, (frames, self.channels)).round(6)

    def positions(self, row):
        column, world = 0, []
        for index, parent in enumerate(self.parents):
            matrix, shift = np.eye(4), self.offsets[index]
            if parent < 0:
                shift, column = row[:3], 3
            if "_end" not in self.names[index]:
                for axis in self.order:
                    matrix = matrix @ turn(axis, row[column])
                    column += 1
            matrix[:3, 3] = shift
            world.append(matrix if parent < 0 else world[parent] @ matrix)
        return np.array([matrix[:3, 3] for matrix in world])


def turn(axis, degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[axis]
    matrix = np.eye(4)
    matrix[a, a] = matrix[b, b] = cos
    matrix[a, b], matrix[b, a] = -sin, sin
    return matrix


@given(order=st.permutations("XYZ").map("".join), seed=st.integers(0, 99), frames=st.integers(1, 4))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_forward_kinematics(tmp_path, order, seed, frames):
    body = Body(order, seed)
    motion = body.motion(frames)
    (tmp_path / "walk.bvh").write_text(body.text(motion))
    source = pickle.loads(pickle.dumps(read_bvh(tmp_path / "walk.bvh")))
    (recording,) = source
    assert recording.frames.shape == (frames, 1, len(body.names), 3)
    for found, row in zip(recording.frames[:, 0], motion, strict=True):
        np.testing.assert_allclose(found, body.positions(row) / 100, atol=1e-5)
    assert (recording.name, recording.label, recording.columns) == ("walk", -1, {})
    assert source.skeleton.joints == tuple(body.names)
    assert source.skeleton.parents == tuple(body.parents)
    assert source.fps == 30.0


def chain(*names, then=(None,)):
    """Joints each below the one before, the last with these children."""
    node = (names[-1], list(then))
    for name in names[-2::-1]:
        node = (name, [node])
    return node


def cmu():
    """The joints of CMU's motion-capture library, as its BVH files have them."""
    legs, arms = [], []
    for side in ("Left", "Right"):
        foot = (f"{side}UpLeg", f"{side}Leg", f"{side}Foot", f"{side}ToeBase")
        legs.append(chain(f"{side[0]}HipJoint", *foot))
        fingers = [chain(f"{side}FingerBase", f"{side}HandIndex1"), chain(f"{side[0]}Thumb")]
        hand = (f"{side}Shoulder", f"{side}Arm", f"{side}ForeArm", f"{side}Hand")
        arms.append(chain(*hand, then=fingers))
    neck = chain("Neck", "Neck1", "Head")
    return ("Hips", [*legs, chain("LowerBack", "Spine", "Spine1", then=[neck, *arms])])


def mixamo():
    """Mixamo's, with all fingers."""
    legs, arms = [], []
    for side in ("Left", "Right"):
        legs.append(chain(*(f"{side}{name}" for name in ("UpLeg", "Leg", "Foot", "ToeBase"))))
        fingers = [
            chain(*(f"{side}Hand{finger}{joint}" for joint in (1, 2, 3, 4)))
            for finger in ("Thumb", "Index", "Middle", "Ring", "Pinky")
        ]
        hand = (f"{side}Shoulder", f"{side}Arm", f"{side}ForeArm", f"{side}Hand")
        arms.append(chain(*hand, then=fingers))
    neck = chain("Neck", "Head", "HeadTop_End")
    return ("Hips", [chain("Spine", "Spine1", "Spine2", then=[neck, *arms]), *legs])


@pytest.mark.parametrize(
    ("tree", "prefix", "trunk", "arm", "leg"),
    [(cmu(), "", 8, 9, 6), (mixamo(), "mixamorig:", 8, 29, 5)],
    ids=["cmu", "mixamo"],
)
def test_skeletons_of_motion_capture_tools(tmp_path, tree, prefix, trunk, arm, leg):
    body = Body(tree=tree, prefix=prefix)
    (tmp_path / "walk.bvh").write_text(body.text(body.motion(1)))
    skeleton = read_bvh(tmp_path).skeleton
    assert skeleton.joints == tuple(body.names)
    sizes = {name: len(part) for name, part in skeleton.parts.items()}
    assert sizes == {
        "trunk": trunk,
        "left_arm": arm,
        "right_arm": arm,
        "left_leg": leg,
        "right_leg": leg,
    }
    names = [name.removeprefix(prefix) for name in body.names]
    ends = {"arm": ("Shoulder", "Hand"), "leg": ("UpLeg", "ToeBase_end")}
    for side, limb in [(side, limb) for side in ("left", "right") for limb in ends]:
        part = {names[joint] for joint in skeleton.parts[f"{side}_{limb}"]}
        assert {side.title() + end for end in ends[limb]} <= part
        assert all(name.startswith(side[0].upper()) for name in part)
    for joint, other in enumerate(skeleton.mirror):
        swapped = names[joint].replace("Left", "Right").replace("LHip", "RHip")
        swapped = swapped.replace("LThumb", "RThumb")
        if swapped != names[joint] or joint in skeleton.parts["trunk"]:
            assert names[other] == swapped
    assert names[skeleton.center] == "Spine"
    assert "Head" in {names[joint] for joint in skeleton.parts["trunk"]}


def test_one_turn_by_hand(tmp_path):
    body = Body()
    motion = np.zeros((1, body.channels))
    motion[0, :4] = 1, 2, 3, 90  # the root turns a quarter about z
    (tmp_path / "a.bvh").write_text(body.text(motion))
    (recording,) = read_bvh(tmp_path, unit_scale=1)
    x, y, z = body.offsets[1]
    np.testing.assert_allclose(recording.frames[0, 0, 1], [1 - y, 2 + x, 3 + z], rtol=1e-5)


def test_joints_at_the_origin_are_seen(tmp_path):
    body = Body(seed=4)
    motion = body.motion(5)
    moved = motion.copy()
    motion[:, :3], moved[:, :3] = 0, 100
    for name, numbers in (("still", motion), ("moved", moved)):
        (tmp_path / f"{name}.bvh").write_text(body.text(numbers))
    moved, still = read_bvh(tmp_path)
    assert still.frames.any(-1).all()
    np.testing.assert_allclose(still.frames, moved.frames - moved.frames[:, :, :1], atol=1e-5)


def test_folder(tmp_path):
    body = Body()
    (tmp_path / "b").mkdir()
    for name, time in (("z.bvh", 0.01), ("b/a.BVH", 0.02)):
        (tmp_path / name).write_text(body.text(body.motion(2), time).replace("\n", "\r\n"))
    source = read_bvh(tmp_path)
    assert source.fps is None
    assert source.rates == {50: "a.BVH", 100: "z.bvh"}
    assert [(recording.name, recording.fps) for recording in source] == [("a", 50), ("z", 100)]
    assert source.skeleton.parts["left_arm"] == (4, 5, 6)
    (tmp_path / "b" / "a.BVH").write_text(body.text(body.motion(2)).replace("Head", "Skull"))
    with pytest.raises(SkeletonFormatError, match=r"its joints differ from those of .*a.BVH"):
        list(read_bvh(tmp_path))


def test_positions_of_joints_replace_offsets(tmp_path):
    body = Body()
    motion = np.zeros((1, body.channels))
    text = body.text(motion).replace("CHANNELS 3", "CHANNELS 4 Yposition", 1)
    (tmp_path / "a.bvh").write_text(
        text.rstrip().rpartition("\n")[0] + "\n" + "0 " * 6 + "7 " + "0 " * (body.channels - 6)
    )
    (recording,) = read_bvh(tmp_path, unit_scale=1)
    x, _, z = body.offsets[1]
    np.testing.assert_allclose(recording.frames[0, 0, 1], [x, 7, z], rtol=1e-5)


GOOD = Body().text(Body().motion(2))
HEAD, _, ROWS = GOOD.partition("Frames: 2")
CHAIN = (
    "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\nEnd Site\n{\nOFFSET 0 0 0\n}\n}\n"
)
CHAIN += "MOTION\nFrames: 1\nFrame Time: 1\n0\n"
LAST = GOOD.count("\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1.*MOTION"),
        ("MOTION\nFrames: 1\n", r"line 1.*HIERARCHY.*ROOT"),
        ("HIERARCHY\nJOINT a\n", "line 2: JOINT"),
        ("HIERARCHY\nROOT a\n{\nROOT b\n", "line 4: ROOT"),
        ("HIERARCHY\nROOT a\n{\nJOINT\n", "line 4: JOINT"),
        ("HIERARCHY\nROOT a\n{\n}\n", r"line 4.*OFFSET"),
        ("HIERARCHY\nROOT a\n{\nOFFSET 1 2\n", r"line 4.*3.*'1 2 '"),
        ("HIERARCHY\nROOT a\n{\nOFFSET 1 2 nan\n", r"line 4.*3"),
        (
            "HIERARCHY\nROOT a\n{\nCHANNELS 2 Xposition\n",
            r"line 4.*Xposition.*2",
        ),
        (
            "HIERARCHY\nROOT a\n{\nCHANNELS x Xposition\n",
            "line 4: expected the number of channels, ",
        ),
        ("HIERARCHY\nROOT a\n{\nCHANNELS 1 Wposition\n", r"line 4.*1.*'Wposition'"),
        ("HIERARCHY\nROOT a\n{\nSCALE 1\n", r"line 4.*'SCALE 1'.*HIERARCHY"),
        ("HIERARCHY\n}\n", r"line 2.*'}'.*HIERARCHY"),
        ("HIERARCHY\nROOT a\n}\n", r"line 3.*ROOT"),
        ("HIERARCHY\nROOT a\nOFFSET 1 2 3\n{\n", r"line 3.*ROOT"),
        ("HIERARCHY\nROOT a {\nOFFSET 1 2 3 }\nMOTION", r"line 4.*CHANNELS.*none"),
        ("HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nMOTION\n", r"line 5.*HIERARCHY"),
        (HEAD, "'the end'"),
        (HEAD + "Frames: 2\nFrame Time: 1 0 0\n", "first frame .*'0 0'"),
        (HEAD + "Frames: 2\nFrame Time: 0.000001\n", "expected frames and a frame time, got 2.0"),
        (HEAD + "Frames: 2\nFrame Time: 1e9\n", "expected frames and a frame time, got 2.0 and"),
        (HEAD + "Frames: 0\nFrame Time: 1\n", r"0.0 and 1.0"),
        (HEAD + "Frames: 2\nTime: 1\n", "expected frame time:, got 'Time 1'"),
        (HEAD + "Frames: 3" + ROWS, f"line {LAST}: expected 3 frames, got 2"),
        (GOOD + "1 2 3\n", f"line {LAST + 1}: expected 36 numbers, .*, got 3"),
        (GOOD + " 1" * 36, f"line {LAST + 1}: .*2 frames.* 3.*--count-rows"),
        (GOOD + " x" * 36, f"line {LAST + 1}: expected finite numbers, got 'x'"),
        (GOOD.replace("Left", "Right"), r"skeleton 'bvh': expected unique joint names"),
        (CHAIN, "skeleton 'bvh': "),
    ],
)
def test_says_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "a.bvh"
    file.write_text(text)
    with pytest.raises(SkeletonFormatError, match=message) as caught:
        list(read_bvh(file))
    assert str(caught.value).startswith(f"{file}: ")


def as_it_is(text):
    return text


def braces_behind_names(text):
    return re.sub(r"\n\s*\{", " {", text)


def one_line_of_hierarchy(text):
    head, motion, rest = text.partition("MOTION")
    return " ".join(head.split()) + " " + motion + rest


def upper_case(text):
    for word in ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation"):
        text = text.replace(word, word.upper())
    return text.replace("OFFSET", "offset").replace("End Site", "END SITE")


def colons(text):
    return text.replace("Frames:", "Frames :").replace("Frame Time:", "frame  time:")


def wrapped(text):
    head, time, rows = text.partition("Frame Time: 0.0333333\n")
    words = rows.split()
    lines = [" ".join(words[at : at + 7]) for at in range(0, len(words), 7)]
    return head + time + "\n\n".join(lines)


@pytest.mark.parametrize(
    "change",
    [as_it_is, braces_behind_names, one_line_of_hierarchy, upper_case, colons, wrapped],
)
def test_files_as_others_write_them(tmp_path, change):
    """Names with a blank and a colon in them stay as they are."""
    body = Body(prefix="my rig:")
    motion = body.motion(3)
    (tmp_path / "a.bvh").write_text(change(body.text(motion)))
    source = read_bvh(tmp_path)
    (recording,) = source
    assert source.skeleton.joints == tuple(body.names)
    assert source.fps == 30
    for found, row in zip(recording.frames[:, 0], motion, strict=True):
        np.testing.assert_allclose(found, body.positions(row) / 100, atol=1e-5)


def test_several_end_sites(tmp_path):
    children = [("Head", [None, None, None]), _LEFT, _RIGHT]
    body = Body(tree=("Hips", [("Spine", children), *_LEGS]))
    motion = body.motion(2)
    (tmp_path / "a.bvh").write_text(body.text(motion))
    source = read_bvh(tmp_path)
    ends = [name for name in source.skeleton.joints if name.startswith("Head")]
    assert ends == ["Head", "Head_end", "Head_end2", "Head_end3"]
    (recording,) = source
    for found, row in zip(recording.frames[:, 0], motion, strict=True):
        np.testing.assert_allclose(found, body.positions(row) / 100, atol=1e-5)


def test_names_the_first_row_of_another_width(tmp_path):
    body = Body()
    first = len(body.lines) + 4
    rows = body.motion(12)
    # all rows are cut: 12 rows of 33 numbers are also 11 frames of 36
    (tmp_path / "a.bvh").write_text(body.text(rows[:, :33]))
    for count_rows in (False, True):
        with pytest.raises(SkeletonFormatError, match=rf"line {first}: expected 36 .* got 33$"):
            list(read_bvh(tmp_path, count_rows=count_rows))
    # one row is cut, and the header gives another number of frames
    text = body.text(rows).splitlines()
    text[first + 3] = text[first + 3].rpartition(" ")[0]
    (tmp_path / "a.bvh").write_text("\n".join(text).replace("Frames: 12", "Frames: 13"))
    with pytest.raises(SkeletonFormatError, match=rf"line {first + 4}: expected 36 .* got 35$"):
        list(read_bvh(tmp_path))
    # frames that are not one in each row: no row is to blame
    numbers = " ".join(body.text(rows).splitlines()[first - 1 :]).split()[:-1]
    lines = [" ".join(numbers[at : at + 50]) for at in range(0, len(numbers), 50)]
    start = "\n".join(body.text(rows).splitlines()[: first - 1])
    (tmp_path / "a.bvh").write_text(start + "\n" + "\n".join(lines))
    with pytest.raises(SkeletonFormatError, match="35 after 11 frames"):
        list(read_bvh(tmp_path))


@pytest.mark.parametrize("said", [1, 2, 4])
def test_other_numbers_of_rows_than_said(tmp_path, said):
    body = Body()
    motion = body.motion(3)
    (tmp_path / "a.bvh").write_text(body.text(motion).replace("Frames: 3", f"Frames: {said}"))
    with pytest.raises(SkeletonFormatError, match=f"expected {said} frames, got 3; --count-rows"):
        list(read_bvh(tmp_path))
    (recording,) = read_bvh(tmp_path, count_rows=True)
    np.testing.assert_allclose(recording.frames[2, 0], body.positions(motion[2]) / 100, atol=1e-5)
    assert (len(recording.frames), len(recording.notes)) == (3, 1)
    (tmp_path / "a.bvh").write_text(body.text(motion) + "1 2 3")
    with pytest.raises(SkeletonFormatError, match=r"expected 36 numbers.*got 3"):
        list(read_bvh(tmp_path, count_rows=True))
    (tmp_path / "a.bvh").write_text(body.text([]).replace("Frames: 0", "Frames: 1"))
    with pytest.raises(SkeletonFormatError, match=r"expected 1 frames, got 0$"):
        list(read_bvh(tmp_path, count_rows=True))


@pytest.mark.parametrize(
    ("time", "fps"),
    [
        ("0.0333333", 30),
        ("0.03333", 30),
        (".00833333", 120),
        ("0.008333", 120),
        ("1", 1),
        ("0.033367", 29.97),
        ("0.0417083", 23.976),
    ],
)
def test_frame_rates_are_rounded_as_frame_times_are(tmp_path, time, fps):
    body = Body()
    (tmp_path / "a.bvh").write_text(body.text(body.motion(2), time))
    assert read_bvh(tmp_path).fps == pytest.approx(fps, abs=6e-4)


def test_many_joints_take_no_time(tmp_path):
    """Two megabytes of them."""
    deep = "".join(f"JOINT j{n}\n{{\nOFFSET 0 0 0\n" for n in range(60_000))
    (tmp_path / "a.bvh").write_text(f"HIERARCHY\nROOT a\n{{\nOFFSET 0 0 0\n{deep}")
    with pytest.raises(SkeletonFormatError, match=r"line 3003.*1,000"):
        read_bvh(tmp_path)


def test_options(tmp_path):
    with pytest.raises(ValueError, match=r"unit_scale > 0.*0"):
        read_bvh(tmp_path, unit_scale=0)
    with pytest.raises(SkeletonFormatError, match=r"expected .bvh files, found none"):
        read_bvh(tmp_path)
    assert not detect(tmp_path)
    (tmp_path / "a.bvh").write_text(GOOD)
    assert detect(tmp_path)
    assert detect(tmp_path / "a.bvh")
    assert not detect(tmp_path / "b.bvh")


@pytest.mark.parametrize(
    "bad", ["", HEAD, GOOD.replace("Head", "Skull"), GOOD.replace("Xrotation", "Wrotation", 1)]
)
def test_other_files_go_on(tmp_path, bad):
    (tmp_path / "a.bvh").write_text(bad if "Skull" not in bad else GOOD)
    (tmp_path / "b.bvh").write_text(GOOD if "Skull" not in bad else bad)
    (tmp_path / "c.bvh").write_text(GOOD)
    (tmp_path / "d.bvh").symlink_to(tmp_path / "gone.bvh")
    source = read_bvh(tmp_path)
    good, errors = [], []
    for unit in source.units:
        try:
            good += [recording.name for recording in source.read(unit)]
        except SkeletonFormatError as error:
            errors.append(str(error).startswith(f"{unit}: "))
    assert errors == [True, True]
    assert good in (["b", "c"], ["a", "c"])
    assert len(source.units) == 4


def test_no_good_file(tmp_path):
    (tmp_path / "a.bvh").write_text("")
    with pytest.raises(SkeletonFormatError, match=r"a.bvh: line 1.*MOTION"):
        read_bvh(tmp_path)
