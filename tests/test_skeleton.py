"""Joint layouts: the facts of the built-in ones, derived ones, and the streams."""

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pcm3.skeleton as skeletons
from pcm3.skeleton import (
    AZURE32,
    COCO17,
    HALPE26,
    HUMAN36M17,
    HUMAN36M32,
    KINECT20,
    NTU25,
    OPENPOSE18,
    OPENPOSE25,
    PARTS,
    SBU15,
    SKELETONS,
    SMPL22,
    SMPL24,
    UIPRMD22,
    Skeleton,
    find_skeleton,
    to_stream,
)

BUILT_IN = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)

# The bones of the reference code, 1-based (joint, parent).
NTU_BONES = (
    "1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 "
    "19-18 20-19 21-21 22-23 23-8 24-25 25-12"
)
NTU_PARTS = {
    "trunk": {4, 3, 21, 2, 1},
    "right_arm": {9, 10, 11, 12, 24, 25},
    "left_arm": {5, 6, 7, 8, 22, 23},
    "right_leg": {17, 18, 19, 20},
    "left_leg": {13, 14, 15, 16},
}


def swapped(name: str) -> str:
    return name.replace("left", "#").replace("right", "left").replace("#", "right")


def names_of(skeleton: Skeleton, part: str) -> list[str]:
    return [skeleton.joints[index] for index in skeleton.parts[part]]


def without_names(skeleton: Skeleton) -> Skeleton:
    return Skeleton.from_parents([str(index) for index in range(len(skeleton))], skeleton.parents)


class TestBuiltIn:
    def test_ntu_bones_are_those_of_the_reference_code(self) -> None:
        for bone in NTU_BONES.split():
            joint, parent = (int(number) - 1 for number in bone.split("-"))
            assert NTU25.parents[joint] == (-1 if parent == joint else parent)

    def test_ntu_parts_are_those_of_the_reference_code(self) -> None:
        assert {part: {j + 1 for j in ids} for part, ids in NTU25.parts.items()} == NTU_PARTS

    def test_ntu_centre_and_order(self) -> None:
        assert NTU25.center == 1
        assert [NTU25.joints[i] for i in (0, 1, 4, 8)] == [
            "spine_base",
            "spine_mid",
            "left_shoulder",
            "right_shoulder",
        ]

    @pytest.mark.parametrize(
        ("skeleton", "count"),
        [
            (NTU25, 25),
            (KINECT20, 20),
            (SBU15, 15),
            (COCO17, 17),
            (UIPRMD22, 22),
            (OPENPOSE18, 18),
            (OPENPOSE25, 25),
            (HALPE26, 26),
            (AZURE32, 32),
            (SMPL22, 22),
            (SMPL24, 24),
            (HUMAN36M17, 17),
            (HUMAN36M32, 32),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_joint_counts(self, skeleton: Skeleton, count: int) -> None:
        assert len(skeleton) == len(skeleton.joints) == count

    def test_smpl_is_that_of_its_other_names(self) -> None:
        other = from_tree(SMPL)
        assert SMPL24.parents == other.parents
        assert SMPL24.mirror == other.mirror
        assert SMPL24.parts == other.parts
        assert SMPL22.joints == SMPL24.joints[:22]

    def test_facts_of_the_estimators_layouts(self) -> None:
        """From their documentation: numbers of joints, and bones that are drawn."""
        body = OPENPOSE25.joints
        assert [body[at] for at in (0, 1, 8, 9, 12, 15, 19, 21, 22, 24)] == [
            "nose",
            "neck",
            "mid_hip",
            "right_hip",
            "left_hip",
            "right_eye",
            "left_big_toe",
            "left_heel",
            "right_big_toe",
            "right_heel",
        ]
        drawn = "1-8 1-2 1-5 2-3 3-4 5-6 6-7 8-9 9-10 10-11 8-12 12-13 13-14 1-0 0-15 15-17 0-16 "
        drawn += "16-18 14-19 19-20 14-21 11-22 22-23 11-24"
        pairs = {frozenset(map(int, bone.split("-"))) for bone in drawn.split()}
        assert pairs == {frozenset(bone) for bone in OPENPOSE25.bones}
        azure = AZURE32.joints
        assert [azure[at] for at in (4, 10, 11, 17, 18, 22, 26, 27, 31)] == [
            "clavicle_left",
            "thumb_left",
            "clavicle_right",
            "thumb_right",
            "hip_left",
            "hip_right",
            "head",
            "nose",
            "ear_right",
        ]
        tree = {name: azure[at] for name, at in zip(azure, AZURE32.parents, strict=True) if at >= 0}
        assert tree["clavicle_left"] == tree["neck"] == "spine_chest"
        assert (tree["thumb_left"], tree["handtip_left"]) == ("wrist_left", "hand_left")
        assert tree["nose"] == tree["ear_left"] == "head"

    @BUILT_IN
    def test_shoulders_and_hips_are_connected(self, skeleton: Skeleton) -> None:
        """Pictures have a torso."""
        near: dict[int, set[int]] = {joint: {joint} for joint in range(len(skeleton))}
        for one, other in skeleton.bones:
            near[one].add(other)
            near[other].add(one)
        starts = skeleton.starts
        assert starts is not None
        for pair in (starts.shoulders, starts.hips):
            assert pair[1] in near[pair[0]] or len(near[pair[0]] & near[pair[1]] - {*pair}) > 0
        assert all(len(skeleton.parts[part]) > 2 for part in skeleton.parts)

    @BUILT_IN
    def test_the_documentation_lists_the_joints_in_order(self, skeleton: Skeleton) -> None:
        page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
        center = skeleton.joints[skeleton.center]
        ends = f"| `{center}` | {', '.join(skeleton.joints)} |"
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{skeleton.name}` |")]
        assert row.endswith(ends)

    @BUILT_IN
    def test_has_the_five_parts(self, skeleton: Skeleton) -> None:
        assert tuple(skeleton.parts) == PARTS
        assert sorted(j for ids in skeleton.parts.values() for j in ids) == list(
            range(len(skeleton))
        )
        for side in ("left", "right"):
            for limb in ("arm", "leg"):
                assert all(side in name for name in names_of(skeleton, f"{side}_{limb}"))

    @BUILT_IN
    def test_mirror_swaps_the_names_of_the_sides(self, skeleton: Skeleton) -> None:
        mirrored = [skeleton.joints[index] for index in skeleton.mirror]
        assert mirrored == [swapped(name) for name in skeleton.joints]
        assert [mirrored[index] for index in skeleton.mirror] == list(skeleton.joints)
        for part in PARTS:
            other = {skeleton.mirror[index] for index in skeleton.parts[part]}
            assert other == set(skeleton.parts[swapped(part)])

    @BUILT_IN
    def test_mirror_pairs_cover_the_sided_joints_once(self, skeleton: Skeleton) -> None:
        flat = [index for pair in skeleton.mirror_pairs for index in pair]
        assert sorted(flat) == [i for i, j in enumerate(skeleton.joints) if swapped(j) != j]


class TestValidation:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"joints": ("a", "a", "c")}, "unique joint names"),
            ({"joints": ()}, "unique joint names"),
            ({"parents": (-1, 0)}, "3 parents.* 2"),
            ({"parents": (-1, -1, 0)}, "exactly one root"),
            ({"parents": (1, 2, 0)}, "exactly one root"),
            ({"parents": (-1, 3, 0)}, r"parents in \[-1, 3\)"),
            ({"parents": (-1, 2, 1)}, r"joint 1 \(b\) is its own ancestor"),
            ({"parts": {"trunk": (0, 1)}}, "every joint in exactly one part"),
            ({"parts": {"trunk": (0, 1, 2), "left_arm": (2,)}}, "every joint in exactly one part"),
            ({"mirror": (0, 1)}, "own inverse"),
            ({"mirror": (1, 2, 0)}, "own inverse"),
            ({"mirror": (0, 1, 3)}, "own inverse"),
            ({"center": 3}, r"center in \[0, 3\), got 3"),
        ],
    )
    def test_says_what_is_wrong(self, change: dict[str, Any], message: str) -> None:
        good = Skeleton("toy", ("a", "b", "c"), (-1, 0, 0), {"trunk": (0, 1, 2)}, (0, 2, 1), 0)
        with pytest.raises(ValueError, match="skeleton 'toy': .*" + message):
            replace(good, **change)

    def test_is_frozen(self) -> None:
        with pytest.raises(FrozenInstanceError):
            NTU25.center = 0  # type: ignore[misc]


class TestReordered:
    @settings(deadline=None)
    @given(st.permutations(range(25)), st.sampled_from(["bone", "motion", "joint"]))
    def test_streams_commute_with_reordering(self, order: list[int], stream: Any) -> None:
        clips = torch.randn(1, 3, 4, 25, 2)
        other = NTU25.reordered([NTU25.joints[index] for index in order])
        expected = to_stream(clips, NTU25, stream)[..., order, :]
        torch.testing.assert_close(to_stream(clips[..., order, :], other, stream), expected)

    @settings(deadline=None)
    @given(st.permutations(range(25)))
    def test_keeps_every_meaning_and_goes_back(self, order: list[int]) -> None:
        other = NTU25.reordered([NTU25.joints[index] for index in order])
        assert other.joints[other.center] == "spine_mid"
        for part in PARTS:
            assert set(names_of(other, part)) == set(names_of(NTU25, part))
        assert [other.joints[i] for i in other.mirror] == [swapped(j) for j in other.joints]
        assert other.reordered(NTU25.joints) == NTU25

    def test_case_and_separators_do_not_count(self) -> None:
        names = ["".join(w.title() for w in joint.split("_")) for joint in KINECT20.joints[::-1]]
        assert KINECT20.reordered(names).joints == KINECT20.joints[::-1]

    def test_names_missing_and_unknown_joints(self) -> None:
        with pytest.raises(ValueError, match=r"missing \['head'\], unknown \['tail'\]"):
            SBU15.reordered(["tail", *SBU15.joints[1:]])
        with pytest.raises(ValueError, match=r"missing \['head'\]"):
            SBU15.reordered(["neck", *SBU15.joints[1:]])


MIXAMO = {
    "Hips": None,
    "Spine": "Hips",
    "Spine1": "Spine",
    "Neck": "Spine1",
    "Head": "Neck",
    "LeftShoulder": "Spine1",
    "LeftArm": "LeftShoulder",
    "LeftForeArm": "LeftArm",
    "LeftHand": "LeftForeArm",
    "LeftHandThumb1": "LeftHand",
    "RightShoulder": "Spine1",
    "RightArm": "RightShoulder",
    "RightForeArm": "RightArm",
    "RightHand": "RightForeArm",
    "RightHandThumb1": "RightHand",
    "LeftUpLeg": "Hips",
    "LeftLeg": "LeftUpLeg",
    "LeftFoot": "LeftLeg",
    "LeftToeBase": "LeftFoot",
    "RightUpLeg": "Hips",
    "RightLeg": "RightUpLeg",
    "RightFoot": "RightLeg",
    "RightToeBase": "RightFoot",
}
SMPL = {
    "Pelvis": None,
    "L_Hip": "Pelvis",
    "R_Hip": "Pelvis",
    "Spine1": "Pelvis",
    "L_Knee": "L_Hip",
    "R_Knee": "R_Hip",
    "Spine2": "Spine1",
    "L_Ankle": "L_Knee",
    "R_Ankle": "R_Knee",
    "Spine3": "Spine2",
    "L_Foot": "L_Ankle",
    "R_Foot": "R_Ankle",
    "Neck": "Spine3",
    "L_Collar": "Spine3",
    "R_Collar": "Spine3",
    "Head": "Neck",
    "L_Shoulder": "L_Collar",
    "R_Shoulder": "R_Collar",
    "L_Elbow": "L_Shoulder",
    "R_Elbow": "R_Shoulder",
    "L_Wrist": "L_Elbow",
    "R_Wrist": "R_Elbow",
    "L_Hand": "L_Wrist",
    "R_Hand": "R_Wrist",
}
HUMAN36M = {
    "Hip": None,
    "RHip": "Hip",
    "RKnee": "RHip",
    "RFoot": "RKnee",
    "LHip": "Hip",
    "LKnee": "LHip",
    "LFoot": "LKnee",
    "Spine": "Hip",
    "Thorax": "Spine",
    "Head": "Thorax",
    "LShoulder": "Thorax",
    "LElbow": "LShoulder",
    "LWrist": "LElbow",
    "RShoulder": "Thorax",
    "RElbow": "RShoulder",
    "RWrist": "RElbow",
}
BLENDER = {
    "hips": None,
    "spine": "hips",
    "head": "spine",
    "upper_arm.L": "spine",
    "forearm.L": "upper_arm.L",
    "upper_arm.R": "spine",
    "forearm.R": "upper_arm.R",
    "thigh.L": "hips",
    "shin.L": "thigh.L",
    "thigh.R": "hips",
    "shin.R": "thigh.R",
}
BLAZEPOSE_LIKE = {
    "nose": None,
    "left_eye_inner": "nose",
    "right_eye_inner": "nose",
    "mouth_left": "nose",
    "mouth_right": "nose",
    "left_shoulder": "nose",
    "right_shoulder": "nose",
    "left_wrist": "left_shoulder",
    "right_wrist": "right_shoulder",
    "left_pinky": "left_wrist",
    "right_pinky": "right_wrist",
    "left_index": "left_wrist",
    "right_index": "right_wrist",
    "left_hip": "left_shoulder",
    "right_hip": "right_shoulder",
    "left_heel": "left_hip",
    "right_heel": "right_hip",
    "left_foot_index": "left_heel",
    "right_foot_index": "right_heel",
}


def from_tree(tree: dict[str, str | None], prefix: str = "") -> Skeleton:
    names = list(tree)
    parents = [-1 if parent is None else names.index(parent) for parent in tree.values()]
    return Skeleton.from_parents([prefix + name for name in names], parents)


class TestFromParents:
    @BUILT_IN
    def test_equals_the_built_in_by_names(self, skeleton: Skeleton) -> None:
        derived = Skeleton.from_parents(skeleton.joints, skeleton.parents, name=skeleton.name)
        assert derived == skeleton

    @pytest.mark.parametrize(
        ("tree", "centre", "arm", "leg"),
        [
            (
                MIXAMO,
                "Spine",
                "LeftShoulder LeftArm LeftForeArm LeftHand LeftHandThumb1",
                "LeftUpLeg LeftLeg LeftFoot LeftToeBase",
            ),
            (
                SMPL,
                "Spine1",
                "L_Collar L_Shoulder L_Elbow L_Wrist L_Hand",
                "L_Hip L_Knee L_Ankle L_Foot",
            ),
            (HUMAN36M, "Spine", "LShoulder LElbow LWrist", "LHip LKnee LFoot"),
            (BLENDER, "spine", "upper_arm.L forearm.L", "thigh.L shin.L"),
            (
                BLAZEPOSE_LIKE,
                "nose",
                "left_shoulder left_wrist left_pinky left_index",
                "left_hip left_heel left_foot_index",
            ),
        ],
        ids=["mixamo", "smpl", "human36m", "blender", "blazepose"],
    )
    def test_other_naming_styles(
        self, tree: dict[str, str | None], centre: str, arm: str, leg: str
    ) -> None:
        skeleton = from_tree(tree)
        assert skeleton.joints[skeleton.center] == centre
        assert names_of(skeleton, "left_arm") == arm.split()
        assert names_of(skeleton, "left_leg") == leg.split()
        for part in PARTS:  # the right side is the mirror image of the left
            assert {skeleton.mirror[j] for j in skeleton.parts[part]} == set(
                skeleton.parts[swapped(part)]
            )
        trunk = skeleton.parts["trunk"]
        sided = [j for j in trunk if skeleton.mirror[j] != j]
        assert all("left" in skeleton.joints[j] or "right" in skeleton.joints[j] for j in sided)

    def test_a_rig_prefix_does_not_matter(self) -> None:
        plain, prefixed = from_tree(MIXAMO), from_tree(MIXAMO, prefix="mixamorig:")
        assert prefixed.parts == plain.parts
        assert prefixed.mirror == plain.mirror
        assert prefixed.center == plain.center

    @pytest.mark.parametrize(
        ("left", "right"),
        [("l_{}", "r_{}"), ("{}Left", "{}Right"), ("left{}", "right{}"), ("l{}", "r{}")],
    )
    def test_ways_to_name_a_side(self, left: str, right: str) -> None:
        def renamed(joint: str) -> str:
            for side, style in (("left_", left), ("right_", right)):
                if joint.startswith(side):
                    return style.format(joint.removeprefix(side))
            return joint

        derived = Skeleton.from_parents([renamed(j) for j in SBU15.joints], SBU15.parents)
        assert derived.parts == SBU15.parts
        assert derived.mirror == SBU15.mirror

    @pytest.mark.parametrize("style", ["left_{} right_{}", "L{} R{}", "l{} r{}", "{}_l {}_r"])
    def test_seven_joints_are_enough(self, style: str) -> None:
        sides = [side.format(limb) for limb in ("hand", "foot") for side in style.split()]
        derived = Skeleton.from_parents(["root", "spine", "head", *sides], [-1, 0, 1, 1, 1, 0, 0])
        assert list(derived.parts.values()) == [(0, 1, 2), (3,), (4,), (5,), (6,)]
        assert derived.mirror == (0, 1, 2, 4, 3, 6, 5)

    def test_a_first_letter_is_no_side_by_itself(self) -> None:
        derived = Skeleton.from_parents(
            ["leg_root", "lowerspine", "ribs", "lhand", "rhand", "lfoot", "rfoot"], [-1, *6 * [0]]
        )
        assert derived.mirror == (0, 1, 2, 4, 3, 6, 5)

    @pytest.mark.parametrize(
        "skeleton", [NTU25, KINECT20, SBU15, UIPRMD22], ids=lambda skeleton: skeleton.name
    )
    def test_without_names_goes_by_shape(self, skeleton: Skeleton) -> None:
        derived = without_names(skeleton)
        assert derived.parts == skeleton.parts
        assert derived.mirror == skeleton.mirror
        assert derived.center == skeleton.center

    def test_shape_ignores_fingers_within_an_arm(self) -> None:
        names, parents = [str(i) for i in range(20)], list(KINECT20.parents)
        for hand in (7, 11):  # two fingers a hand, as long as the legs
            for _ in range(2):
                for bone in range(4):
                    parents.append(hand if bone == 0 else len(names) - 1)
                    names.append(str(len(names)))
        derived = Skeleton.from_parents(names, parents)
        assert derived.parts["left_leg"] == KINECT20.parts["left_leg"]
        assert derived.parts["left_arm"] == (4, 5, 6, 7, *range(20, 28))

    def test_shape_does_not_guess(self) -> None:
        advice = r"no joint name has a side.*name the joints.*or give parts, mirror and center"
        with pytest.raises(ValueError, match=advice):
            without_names(COCO17)  # eyes and shoulders hang from one joint
        with pytest.raises(ValueError, match=advice):
            Skeleton.from_parents(["a", "b", "c"], [-1, 0, 1])
        with pytest.raises(ValueError, match=advice):  # two pairs alike: which are the legs?
            Skeleton.from_parents([*"abcdefghij"], [-1, 0, 1, 2, 1, 4, 0, 6, 0, 8])

    def test_names_the_parts_it_did_not_find(self) -> None:
        with pytest.raises(ValueError, match="left_leg, right_leg"):
            Skeleton.from_parents(["spine", "left_hand", "right_hand"], [-1, 0, 0])

    @pytest.mark.parametrize("center", [3, "head"])
    def test_centre_by_index_or_name(self, center: int | str) -> None:
        skeleton = Skeleton.from_parents(KINECT20.joints, KINECT20.parents, center=center)
        assert skeleton.center == 3

    def test_unknown_centre(self) -> None:
        with pytest.raises(ValueError, match=r"hip_center.*.*'tail'"):
            Skeleton.from_parents(KINECT20.joints, KINECT20.parents, center="tail")


class TestFindSkeleton:
    @BUILT_IN
    def test_finds_the_built_in_in_any_order(self, skeleton: Skeleton) -> None:
        names = [joint.upper() for joint in reversed(skeleton.joints)]
        assert find_skeleton(names) == skeleton.reordered(names)

    def test_derives_others_from_their_parents(self) -> None:
        names = list(SMPL)
        parents = [-1 if parent is None else names.index(parent) for parent in SMPL.values()]
        assert find_skeleton(names, parents) == from_tree(SMPL)
        with pytest.raises(ValueError, match=r"ntu25, kinect20.*or parents.*got 24 joints: Pelvis"):
            find_skeleton(names)


class TestToStream:
    @BUILT_IN
    @pytest.mark.parametrize("batched", [True, False])
    def test_against_slow_loops(self, skeleton: Skeleton, batched: bool) -> None:
        clips = torch.randn(2, 3, 5, len(skeleton), 2, dtype=torch.float64)
        bone, motion = torch.zeros_like(clips), torch.zeros_like(clips)
        for joint, parent in enumerate(skeleton.parents):
            if parent >= 0:
                bone[:, :, :, joint] = clips[:, :, :, joint] - clips[:, :, :, parent]
        for frame in range(4):
            motion[:, :, frame] = clips[:, :, frame + 1] - clips[:, :, frame]
        if not batched:
            clips, bone, motion = clips[0], bone[0], motion[0]
        assert to_stream(clips, skeleton, "joint") is clips
        torch.testing.assert_close(to_stream(clips, skeleton, "bone"), bone, rtol=0, atol=0)
        torch.testing.assert_close(to_stream(clips, skeleton, "motion"), motion, rtol=0, atol=0)

    def test_one_frame_has_no_motion(self) -> None:
        assert not to_stream(torch.randn(2, 3, 1, 25, 1), NTU25, "motion").any()

    @pytest.mark.parametrize("stream", ["bone", "motion"])
    def test_is_differentiable(self, stream: Any) -> None:
        clips = torch.randn(1, 2, 3, 15, 1, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: to_stream(x, SBU15, stream), clips)

    @pytest.mark.parametrize(
        "shape", [(2, 3, 8, 20, 1), (3, 8, 25), (1, 2, 3, 8, 25, 1), (4, 3, 25, 25)]
    )
    def test_wrong_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"V=25, M\).*of.*'ntu25'.*\(") as error:
            to_stream(torch.zeros(shape), NTU25, "bone")
        assert str(shape) in str(error.value)

    def test_numpy_clips(self) -> None:
        with pytest.raises(ValueError, match=r"numpy\.ndarray"):
            to_stream(torch.zeros(1, 3, 2, 25, 1).numpy(), NTU25, "bone")  # type: ignore[arg-type]

    def test_unknown_stream(self) -> None:
        with pytest.raises(ValueError, match=r"\('joint', 'bone', 'motion'\).*'speed'"):
            to_stream(torch.zeros(1, 3, 2, 25, 1), NTU25, "speed")  # type: ignore[arg-type]


class TestExchange:
    @BUILT_IN
    def test_dict_round_trip_through_json_types(self, skeleton: Skeleton) -> None:
        description = skeleton.to_dict()
        assert type(description["joints"]) is type(description["parts"]["trunk"]) is list
        assert Skeleton.from_dict(description) == skeleton

    def test_lacking_key(self) -> None:
        description = NTU25.to_dict()
        del description["mirror"]
        with pytest.raises(ValueError, match="'mirror'"):
            Skeleton.from_dict(description)

    @BUILT_IN
    def test_hash_and_pickle(self, skeleton: Skeleton) -> None:
        assert skeleton.mirror_pairs  # a cached value must not change equality
        copy = pickle.loads(pickle.dumps(skeleton))
        assert copy == skeleton
        assert len({copy, skeleton}) == 1
        assert replace(skeleton, name="other") != skeleton

    def test_public_names_exist(self) -> None:
        assert all(hasattr(skeletons, name) for name in skeletons.__all__)


@BUILT_IN
def test_the_repr_is_one_short_line(skeleton: Skeleton) -> None:
    shown = repr(skeleton)
    assert len(shown) < 80
    assert "\n" not in shown
    assert repr(skeleton.name) in shown
    assert f"{len(skeleton.joints)} joints" in shown
