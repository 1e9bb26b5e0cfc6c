"""Parts, mirror and centre of joint trees as tools and data sets name them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conventions import CONVENTIONS, HANDS, Convention
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.augment import CutMix, TopologyMask
from pcm3.cli import main
from pcm3.data.normalize import normalize
from pcm3.data.synthetic import synthetic_sequences
from pcm3.skeleton import (
    AZURE32,
    BLAZEPOSE33,
    COMMON15,
    HUMAN36M17,
    HUMAN36M32,
    KINECT20,
    NTU25,
    PARTS,
    SBU15,
    SKELETONS,
    SMPL22,
    SMPL24,
    UIPRMD22,
    Skeleton,
    joint_map,
)

ALL = CONVENTIONS | HANDS
EACH = pytest.mark.parametrize("name", ALL)


def derived(convention: Convention) -> Skeleton:
    return Skeleton.from_parents(convention.joints, convention.parents)


def parts_of(skeleton: Skeleton) -> dict[str, set[str]]:
    return {name: {skeleton.joints[j] for j in part} for name, part in skeleton.parts.items()}


class TestConventions:
    @EACH
    def test_every_joint_is_in_its_part(self, name: str) -> None:
        assert parts_of(derived(ALL[name])) == ALL[name].parts

    @EACH
    def test_every_joint_has_its_counterpart(self, name: str) -> None:
        skeleton = derived(ALL[name])
        found = {
            joint: skeleton.joints[skeleton.mirror[j]] for j, joint in enumerate(ALL[name].joints)
        }
        assert found == {joint: ALL[name].mirrored(joint) for joint in ALL[name].joints}

    @EACH
    def test_centre(self, name: str) -> None:
        skeleton = derived(ALL[name])
        assert skeleton.joints[skeleton.center] == ALL[name].center

    def test_bodies_have_five_parts_in_their_order(self) -> None:
        for convention in CONVENTIONS.values():
            assert tuple(derived(convention).parts) == PARTS

    def test_hands_have_the_palm_first_and_their_fingers_in_order(self) -> None:
        fingers = ["palm", "thumb", "index", "middle", "ring", "little"]
        assert list(derived(HANDS["mano"]).parts) == fingers
        assert list(derived(HANDS["both hands"]).parts) == [
            "palm",
            *(f"{side}_{part}" for side in ("left", "right") for part in fingers[:4]),
        ]

    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
    def test_the_built_in_ones(self, skeleton: Skeleton) -> None:
        found = Skeleton.from_parents(skeleton.joints, skeleton.parents, name=skeleton.name)
        assert found == skeleton

    @EACH
    @settings(max_examples=10, deadline=None)
    @given(data=st.data())
    def test_the_order_of_the_joints_does_not_matter(self, name: str, data: st.DataObject) -> None:
        joints, parents = ALL[name].joints, ALL[name].parents
        order = data.draw(st.permutations(range(len(joints))))
        place = {joint: at for at, joint in enumerate(order)} | {-1: -1}
        other = Skeleton.from_parents(
            [joints[j] for j in order], [place[parents[j]] for j in order]
        )
        expected = derived(ALL[name]).reordered([joints[j] for j in order])
        assert parts_of(other) == parts_of(expected)
        assert (other.mirror, other.center) == (expected.mirror, expected.center)

    @pytest.mark.parametrize("prefix", ["mixamorig:", "Character1_", "Bip01 ", "rig_", "sim"])
    def test_prefixes_of_rigs_do_not_matter(self, prefix: str) -> None:
        for name in ("unreal", "lafan1", "kinect v2", "rigify", "poser"):
            plain = derived(CONVENTIONS[name])
            names = [f"{prefix}{joint}" for joint in plain.joints]
            if prefix == "sim":
                names = [f"{prefix}{joint[0].upper()}{joint[1:]}" for joint in plain.joints]
            other = Skeleton.from_parents(names, plain.parents)
            assert (other.parts, other.mirror) == (plain.parts, plain.mirror)
            assert other.center == plain.center


NOT_COMMON = {
    "opensim": "head",  # without one
    "opensim joints": "head",
    "plug-in gait markers": "mid_hip",  # markers lie on the skin, beside the joints
    "optitrack": "left_elbow",
    "tracked points, all below the pelvis": "left_shoulder",
    "sides in several ways": "left_elbow",
    "a prop, and joints named alike on both sides": "left_wrist",
    **dict.fromkeys(HANDS, "mid_hip|neck"),
}
"""Conventions that lack joints of ``COMMON15``, and one that is missing."""


@EACH
def test_bodies_have_the_common_joints(name: str) -> None:
    skeleton = derived(ALL[name])
    if name in NOT_COMMON:
        with pytest.raises(ValueError, match=NOT_COMMON[name]):
            joint_map(skeleton, COMMON15)
        return
    mapping = joint_map(skeleton, COMMON15)
    mirrored = dict(enumerate(skeleton.mirror))
    for joint, other in enumerate(COMMON15.mirror):
        swapped = {mirrored[source]: share for source, share in mapping.sources[joint].items()}
        assert swapped == mapping.sources[other]


# One body, 21 joints, in the words of several conventions.
WAYS = {
    "kinect": (
        "spine_base spine_mid spine_shoulder neck head",
        "SIDE_clavicle SIDE_shoulder SIDE_elbow SIDE_wrist",
        "SIDE_hip SIDE_knee SIDE_ankle SIDE_foot",
    ),
    "cmu": (
        "root lowerback thorax upperneck head",
        "Sclavicle Shumerus Sradius Shand",
        "Sfemur Stibia Sfoot Stoes",
    ),
    "mixamo": (
        "mixamorig:Hips mixamorig:Spine mixamorig:Spine1 mixamorig:Neck mixamorig:Head",
        "mixamorig:SideShoulder mixamorig:SideArm mixamorig:SideForeArm mixamorig:SideHand",
        "mixamorig:SideUpLeg mixamorig:SideLeg mixamorig:SideFoot mixamorig:SideToeBase",
    ),
    "unreal": (
        "pelvis spine_01 spine_02 neck_01 head",
        "clavicle_s upperarm_s lowerarm_s hand_s",
        "thigh_s calf_s foot_s ball_s",
    ),
    "poser": (
        "hip abdomen chest neck head",
        "sCollar sShldr sForeArm sHand",
        "sThigh sShin sFoot sToe",
    ),
    "smpl": (
        "Pelvis Spine1 Spine2 Neck Head",
        "S_Collar S_Shoulder S_Elbow S_Wrist",
        "S_Hip S_Knee S_Ankle S_Foot",
    ),
    "xsens": (
        "Pelvis L5 T8 Neck Head",
        "SideShoulder SideUpperArm SideForeArm SideHand",
        "SideUpperLeg SideLowerLeg SideFoot SideToe",
    ),
    "biped": (
        "Bip01_Pelvis Bip01_Spine Bip01_Spine1 Bip01_Neck Bip01_Head",
        "Bip01_S_Clavicle Bip01_S_UpperArm Bip01_S_Forearm Bip01_S_Hand",
        "Bip01_S_Thigh Bip01_S_Calf Bip01_S_Foot Bip01_S_Toe0",
    ),
    "bones": (
        "sacrum waist sternum cervical skull",
        "clavicle_s humerus_s ulna_s carpals_s",
        "femur_s tibia_s talus_s toes_s",
    ),
}
TREE = (-1, 0, 1, 2, 3, 2, 5, 6, 7, 2, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)


def in_words(way: str) -> list[str]:
    """The joints of the body: trunk, left and right arm, left and right leg."""
    trunk, arm, leg = WAYS[way]
    names = trunk.split()
    for limb in (arm, leg):
        for side in ("left", "right"):
            for joint in limb.split():
                swaps = (("SIDE", side), ("Side", side.title()), ("S_", side[0].upper() + "_"))
                swaps += (("_S_", f"_{side[0].upper()}_"), ("_s", f"_{side[0]}"))
                name = joint
                for old, new in swaps:
                    name = name.replace(old, new)
                if way in ("cmu", "poser"):
                    name = side[0] + joint[1:]
                names.append(name)
    return names


class TestOneBodyInManyWords:
    @given(first=st.sampled_from(sorted(WAYS)), second=st.sampled_from(sorted(WAYS)))
    @settings(max_examples=40, deadline=None)
    def test_words_do_not_change_the_body(self, first: str, second: str) -> None:
        one, other = (Skeleton.from_parents(in_words(way), TREE) for way in (first, second))
        assert one.parts == other.parts
        assert (one.mirror, one.center, one.bones) == (other.mirror, other.center, other.bones)

    def test_words_do_not_change_the_common_joints(self) -> None:
        joints = [0, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14, 15, 17, 18, 19]
        for way in WAYS.keys() - {"kinect"}:  # whose shoulders ``in_words`` spells wrongly
            mapping = joint_map(Skeleton.from_parents(in_words(way), TREE), COMMON15)
            assert mapping.sources == tuple({joint: 1.0} for joint in joints), way

    @pytest.mark.parametrize("recipe", ["none", "center", "isc", "sgn"])
    def test_words_do_not_change_what_is_stored(self, recipe: str) -> None:
        clip = np.random.default_rng(0).normal(size=(20, 2, len(TREE), 3)).astype(np.float32)
        results = [
            normalize(clip, Skeleton.from_parents(in_words(way), TREE), recipe)  # type: ignore[arg-type]
            for way in sorted(WAYS)
        ]
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])
        assert recipe == "none" or (results[0] != clip).any()

    def test_isc_stands_a_cmu_body_upright(self) -> None:
        body = CONVENTIONS["cmu"]
        skeleton = derived(body)
        heights = {"root": 1.0, "upperback": 1.2, "head": 1.7, "lfoot": 0.1}
        heights |= {"lowerback": 1.0, "lhipjoint": 1.0, "rhipjoint": 1.0}  # as CMU's files have it
        clip = np.zeros((1, 1, len(skeleton), 3))
        clip[..., 1] = [heights.get(joint, 1.4) for joint in skeleton.joints]
        for left, right in skeleton.mirror_pairs:
            clip[..., left, 0], clip[..., right, 0] = -0.2, 0.2
        found = normalize(clip.astype(np.float32), skeleton, "isc")[0, 0]
        up = found[skeleton.joints.index("head")] - found[skeleton.joints.index("root")]
        assert up[2] == pytest.approx(0.7, abs=1e-5)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_isc_of_the_built_in_ones_goes_by_the_joints_it_always_went_by(skeleton: Skeleton) -> None:
    assert skeleton.starts is not None
    pelvis = dict.fromkeys(
        (NTU25, KINECT20, UIPRMD22, AZURE32, SMPL22, SMPL24, HUMAN36M17, HUMAN36M32), 0
    )
    named = pelvis.get(skeleton)
    if named is not None:
        assert skeleton.starts.pelvis == named
    else:  # the mean of the hips: there is no pelvis, or it is the centre
        assert skeleton.starts.pelvis in (None, skeleton.center)
    for side, joint in zip(("left", "right"), skeleton.starts.shoulders, strict=True):
        assert {side, "shoulder", "collar", "clavicle"} > set(skeleton.joints[joint].split("_"))
    for side, joint in zip(("left", "right"), skeleton.starts.hips, strict=True):
        assert skeleton.joints[joint] in {f"{side}_hip", f"hip_{side}", f"{side}_upper_leg"}


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(1, 12)))
def test_of_loose_joints_those_nearest_to_the_body_are_the_start_of_a_limb(
    order: list[int],
) -> None:
    joints = CONVENTIONS["tracked points, all below the pelvis"].joints
    names = [joints[0], *(joints[j] for j in order)]
    starts = Skeleton.from_parents(names, [-1, *[0] * (len(names) - 1)]).starts
    assert starts is not None
    assert [names[j] for j in starts.shoulders] == ["left_elbow", "right_elbow"]
    assert [names[j] for j in starts.hips] == ["left_knee", "right_knee"]
    assert (starts.chest, starts.pelvis) == (0, 0)


def changed(name: str, **swaps: str) -> tuple[list[str], tuple[int, ...]]:
    """A convention with other names for some joints."""
    joints = CONVENTIONS[name].joints
    return [swaps.get(joint, joint) for joint in joints], CONVENTIONS[name].parents


REMEDY = r"name the joints by side and limb .* parts, mirror and center .*--skeleton FILE"


class TestRefusals:
    @pytest.mark.parametrize(
        ("joints", "message"),
        [
            # a joint of one side inside a limb of the other
            (changed("lafan1", RightForeArm="LeftForeArm2"), "LeftForeArm2.*left arm.*RightArm"),
            (
                changed("lafan1", LeftForeArm="RightForeArm", RightForeArm="LeftForeArm"),
                "Left.*below RightArm|Right.*below LeftArm",
            ),
            (changed("lafan1", RightHand="LeftWidget"), "LeftWidget is named left.* right arm"),
            # a word of one limb inside another
            (changed("lafan1", LeftLeg="LeftElbow"), "LeftElbow .*left arm.*LeftUpLeg"),
            (changed("lafan1", LeftToe="LeftFinger"), "LeftFinger .*left arm.*LeftFoot"),
            (changed("lafan1", RightForeArm="knee"), "knee .*right leg.*RightArm"),
            (changed("lafan1", LeftHand="Skull"), "Skull .*trunk.*LeftForeArm"),
            (
                changed("lafan1", LeftShoulder="RightWidget"),
                "RightWidget is named right.* left arm",
            ),
            (
                (
                    ["hips", "r_arm", "r_elbow", "l_hand", "l_leg", "r_leg"],
                    (-1, 0, 1, 2, 0, 0),
                ),
                "l_hand .*left arm.* r_elbow",
            ),
            # nothing tells
            (
                changed("smpl-x", head="head_l", jaw="knee"),
                "knee .*leg.* neither",
            ),
            (changed("lafan1", Head="ankle"), "ankle .*leg.* neither"),
            (
                changed(
                    "lafan1",
                    **{
                        f"{side}{old}": f"{side}Bone{at}"
                        for side in ("Left", "Right")
                        for at, old in enumerate(("UpLeg", "Leg", "Foot", "Toe"))
                    },
                ),
                "found no joints for left_leg, right_leg among LeftBone0, LeftBone1",
            ),
            (
                changed("tracked points, all below the pelvis", left_knee="left_thing"),
                "part of left_thing",
            ),
            (
                (["Spine", "LeftHand", "RightHand"], (-1, 0, 0)),
                "found no joints for left_leg, right_leg",
            ),
            ((["a", "b", "c"], (-1, 0, 1)), "no joint name has a side, and the tree alone"),
            (
                (["hips", "arm1", "arm2", "arm3", "leg1", "leg2"], (-1, 0, 0, 0, 0, 0)),
                "no joint name has a side; expected two arms, got arm1, arm2, arm3",
            ),
            (
                (
                    [*"abc", "d_l", "e_l", "d_r", "e_r", "f_l", "g_l", "f_r", "left_h"],
                    (-1, 0, 1, 1, 3, 1, 5, 0, 7, 0, 9),
                ),
                "f_l, g_l, f_r, left_h",
            ),
        ],
    )
    def test_contradictions_and_what_nothing_tells(
        self, joints: tuple[list[str], tuple[int, ...]], message: str
    ) -> None:
        with pytest.raises(ValueError, match=f"({message}).*{REMEDY}"):
            Skeleton.from_parents(*joints)

    def test_a_limb_that_only_its_collar_is_known_of(self) -> None:
        joints = ["hips", "chest", "head"]
        joints += [f"{side}_{joint}" for side in "lr" for joint in ("collar", "bone1", "bone2")]
        joints += [f"{side}_{joint}" for side in "lr" for joint in ("thigh", "foot")]
        parents = [-1, 0, 1, 1, 1, 4, 1, 1, 7, 0, 9, 0, 11]
        with pytest.raises(ValueError, match=f"l_bone1, l_bone2.*{REMEDY}"):
            Skeleton.from_parents(joints, parents)
        hung = [-1, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 0, 11]  # in one chain they are of the arm
        assert Skeleton.from_parents(joints, hung).parts["left_arm"] == (3, 4, 5)

    def test_counterparts_in_other_limbs(self) -> None:
        joints, parents = changed("lafan1", LeftHand="L_Tip", RightToe="R_Tip")
        with pytest.raises(ValueError, match=f"R_Tip .*right leg.*L_Tip .*left arm.*{REMEDY}"):
            Skeleton.from_parents(joints, parents)

    def test_a_face_has_no_limbs(self) -> None:
        joints = ["head", "jaw", *(f"{side}_brow{at}" for side in "lr" for at in range(4))]
        with pytest.raises(ValueError, match="no joints for left_arm, right_arm, left_leg"):
            Skeleton.from_parents(joints, [-1, 0, 0, 2, 3, 4, 0, 6, 7, 8])


class TestWithoutWords:
    def test_sides_in_the_names_outrank_the_order(self) -> None:
        joints = ["a", "b", "c", "d_r", "e_r", "d_l", "e_l", "f_l", "g_l", "f_r", "g_r"]
        skeleton = Skeleton.from_parents(joints, [-1, 0, 1, 1, 3, 1, 5, 0, 7, 0, 9])
        assert skeleton.parts["left_arm"] == (5, 6)
        assert skeleton.parts["right_arm"] == (3, 4)
        assert skeleton.parts["left_leg"] == (7, 8)

    def test_words_without_sides_go_by_the_order(self) -> None:
        joints = ["pelvis", "spine", "head", "hip1", "knee1", "foot1", "hip2", "knee2", "foot2"]
        joints += ["shoulder1", "elbow1", "shoulder2", "elbow2"]
        skeleton = Skeleton.from_parents(joints, [-1, 0, 1, 0, 3, 4, 0, 6, 7, 1, 9, 1, 11])
        assert list(skeleton.parts.values()) == [
            (0, 1, 2), (9, 10), (11, 12), (3, 4, 5), (6, 7, 8),
        ]  # fmt: skip
        assert skeleton.mirror == (0, 1, 2, 6, 7, 8, 3, 4, 5, 11, 12, 9, 10)

    def test_long_names_take_no_time(self) -> None:
        joints = ["lowback" * 2000, *("toes" * 9 + str(at) for at in range(5))]
        with pytest.raises(ValueError, match="expected two arms"):
            Skeleton.from_parents(joints, [-1, 0, 0, 0, 0, 0])


class TestGiven:
    def test_what_is_given_wins_and_the_rest_is_derived(self) -> None:
        joints, parents = SBU15.joints, SBU15.parents
        upper = {"left": (3, 4, 5, 9, 10, 11), "right": (6, 7, 8, 12, 13, 14), "middle": (0, 1, 2)}
        skeleton = Skeleton.from_parents(joints, parents, parts=upper)
        assert skeleton.parts == upper
        assert skeleton.mirror == SBU15.mirror
        own = tuple(range(15))
        skeleton = Skeleton.from_parents(joints, parents, mirror=own, center="neck")
        assert (skeleton.mirror, skeleton.center, skeleton.parts) == (own, 1, SBU15.parts)

    def test_joints_by_name(self) -> None:
        names = {part: [SBU15.joints[j] for j in own] for part, own in SBU15.parts.items()}
        mirror = [SBU15.joints[j] for j in SBU15.mirror]
        given = {"parts": names, "mirror": mirror, "center": "torso"}
        assert Skeleton.from_parents(SBU15.joints, SBU15.parents, "sbu15", **given) == SBU15  # type: ignore[arg-type]

    def test_a_mirror_is_derived_for_given_parts_without_words(self) -> None:
        joints, parents = [*"abcdefg"], [-1, 0, 1, 2, 0, 4, 5]
        parts = {"left_x": (1, 2, 3), "right_x": (4, 5, 6), "middle": (0,)}
        assert Skeleton.from_parents(joints, parents, parts=parts).mirror == (0, 4, 5, 6, 1, 2, 3)

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            ({"all": ["head", "tail"]}, "expected a joint among head, neck, .*, got 'tail'"),
            ({"all": range(14)}, "right_foot"),
            ({"all": range(15), "more": [0, 99]}, "in exactly one part, not so head, 99"),
        ],
    )
    def test_wrong_parts(self, parts: dict[str, list[str | int]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Skeleton.from_parents(SBU15.joints, SBU15.parents, parts=parts)


class TestOtherParts:
    def test_masks_and_mixes_go_by_the_fingers_of_a_hand(self) -> None:
        hand = derived(HANDS["shrec"])
        clips = torch.randn(6, 3, 16, len(hand), 1)
        mask = TopologyMask(hand)(clips)
        fingers = list(hand.parts.values())
        for part in fingers:  # whole parts, three of six
            assert (mask[:, :, list(part)] == mask[:, :, list(part[:1])]).all()
        assert (torch.stack([mask[:, :, part[0]] for part in fingers]).sum(dim=0) == 3).all()
        mixed = CutMix(hand)(clips)
        differs = (mixed.clips != clips).any(dim=1)
        for part in fingers:
            assert (differs[:, :, list(part)] == differs[:, :, list(part[:1])]).all()

    def test_isc_says_what_it_needs(self) -> None:
        hand = derived(HANDS["shrec"])
        clip = np.ones((4, 1, len(hand), 3), np.float32)
        with pytest.raises(ValueError, match=r"left_arm.*thumb.*'center'"):
            normalize(clip, hand, "isc")
        assert normalize(clip, hand, "center").shape == clip.shape

    def test_a_hand_is_pretrained_and_evaluated(self, tmp_path: Path) -> None:
        hand, rng = derived(HANDS["shrec"]), np.random.default_rng(0)
        labels = np.arange(24) % 3
        clips = labels[:, None, None, None, None] + rng.normal(size=(24, 16, 1, len(hand), 3))
        np.savez(
            tmp_path / "hands.npz",
            joints=clips.reshape(-1, 1, len(hand), 3),
            lengths=np.full(24, 16),
            labels=labels,
            subjects=np.arange(24) // 3 % 4,
            joint_names=np.array(hand.joints),
            parents=np.array(hand.parents),
        )
        store, run = str(tmp_path / "store"), str(tmp_path / "run")
        assert main(["prepare", str(tmp_path / "hands.npz"), store, "--workers", "1"]) == 0
        small = ["--model.hidden", "8", "--model.frames", "16", "--model.queue-size", "16"]
        small += ["--model.decoder-hidden", "8", "--model.embedding", "8", "--train.epochs", "1"]
        small += ["--train.batch-size", "4", "--train.knn-every", "0", "--train.accelerator", "cpu"]
        pretrain = ["pretrain", "--preset", "small", "--data", store, "--out", run, *small]
        assert main([*pretrain, "--protocol", "subjects:0,1"]) == 0
        for task in ("knn", "occlusion", "prediction"):
            more = (
                ["--observed", "6", "--predicted", "10", "--epochs", "1"]
                if task == "prediction"
                else []
            )
            assert main(["evaluate", task, "--run", run, "--data", store, *more]) == 0
        occluded = json.loads(next(Path(run, "results").glob("occlusion*.json")).read_text())
        sizes = [len(part) / len(hand) for part in hand.parts.values()]
        least, most = 0.3, 0.7 + max(sizes)
        for share in occluded["details"]["hidden"]["spatial"]:  # of whole fingers
            assert least <= share <= most
            assert any(
                abs(share - (at * 4 + palm * 2) / 22) < 1e-9 for at in range(6) for palm in (0, 1)
            )
        assert main(["report", run, "--out", str(tmp_path / "report")]) == 0
        for suffix in ("png", "gif"):
            assert main(["show", store, "--out", str(tmp_path / f"hand.{suffix}")]) == 0

    def test_puppets_are_of_bodies(self) -> None:
        with pytest.raises(ValueError, match="left_arm"):
            next(iter(synthetic_sequences(sequences=1, skeleton=derived(HANDS["shrec"]))))


def test_layouts_whose_hips_hang_from_the_shoulders_are_drawn_with_a_torso() -> None:
    for skeleton in SKELETONS.values():
        tree = [(joint, parent) for joint, parent in enumerate(skeleton.parents) if parent >= 0]
        extra = [tuple(skeleton.joints[j] for j in bone) for bone in skeleton.bones[len(tree) :]]
        assert list(skeleton.bones[: len(tree)]) == tree
        torso = [("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")]
        assert extra == (torso if skeleton.name in ("coco17", "blazepose33", "openpose18") else [])
    assert derived(CONVENTIONS["penn action"]).bones[-2:] == ((1, 4), (7, 10))
    assert BLAZEPOSE33.starts is not None


def test_real_recordings_have_parts_that_make_sense(shared: Path) -> None:
    files = sorted((shared / "data").glob("*.npz"))
    assert files
    for file in files:
        with np.load(file) as arrays:
            joints, parents = (
                [str(name) for name in arrays["joint_names"]],
                arrays["parents"].tolist(),
            )
        skeleton = Skeleton.from_parents(joints, parents)
        if "hands" in file.name:
            assert skeleton.parts["thumb"] == (2, 3, 4, 5)
            continue
        for part, own in skeleton.parts.items():
            for joint in own:
                name = joints[joint].lower()
                assert ("left" in name, "right" in name) == ("left" in part, "right" in part), file
                arms = ("shoulder", "collar", "arm", "elbow", "wrist", "hand", "thumb")
                legs = ("hip", "leg", "knee", "ankle", "foot", "toe")
                if part != "trunk":
                    assert any(word in name for word in (arms if "arm" in part else legs)), file
        assert all(
            joints[b].lower().replace("right", "left") == joints[a].lower().replace("right", "left")
            for a, b in skeleton.mirror_pairs
        )
        assert sum(
            len(part) for name, part in skeleton.parts.items() if name != "trunk"
        ) == 2 * len(skeleton.mirror_pairs)
