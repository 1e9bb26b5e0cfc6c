"""Maps between joint layouts: which joint is made of which, and what coordinates become."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcm3.skeleton import (
    BLAZEPOSE33,
    COCO17,
    COMMON15,
    KINECT20,
    NTU25,
    PARTS,
    SBU15,
    SKELETONS,
    UIPRMD22,
    JointMap,
    Skeleton,
    joint_map,
)
from pcm3.skeleton.anatomy import anatomical_names


def layout(name: str, joints: str, parents: list[int]) -> Skeleton:
    return Skeleton.from_parents(joints.split(), parents, name)


MIXAMO = layout(
    "mixamo",
    "m:Hips m:Spine m:Spine1 m:Spine2 m:Neck m:Head m:HeadTop_End m:LeftShoulder m:LeftArm "
    "m:LeftForeArm m:LeftHand m:RightShoulder m:RightArm m:RightForeArm m:RightHand m:LeftUpLeg "
    "m:LeftLeg m:LeftFoot m:LeftToeBase m:RightUpLeg m:RightLeg m:RightFoot m:RightToeBase".replace(
        "m:", "mixamorig:"
    ),
    [-1, 0, 1, 2, 3, 4, 5, 3, 7, 8, 9, 3, 11, 12, 13, 0, 15, 16, 17, 0, 19, 20, 21],
)
SMPL = layout(
    "smpl24",
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle "
    "spine3 left_foot right_foot neck left_collar right_collar head left_shoulder "
    "right_shoulder left_elbow right_elbow left_wrist right_wrist left_hand right_hand",
    [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21],
)
OPENSIM = layout(
    "opensim",
    "pelvis femur_r tibia_r talus_r calcn_r toes_r femur_l tibia_l talus_l calcn_l toes_l "
    "torso humerus_r ulna_r radius_r hand_r humerus_l ulna_l radius_l hand_l head",
    [-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 11, 16, 17, 18, 11],
)
CGSPEED = layout(
    "cgspeed",
    "Hips LHipJoint LeftUpLeg LeftLeg LeftFoot LeftToeBase RHipJoint RightUpLeg RightLeg "
    "RightFoot RightToeBase LowerBack Spine Spine1 Neck Neck1 Head LeftShoulder LeftArm "
    "LeftForeArm LeftHand RightShoulder RightArm RightForeArm RightHand",
    [-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 15, 13, 17, 18, 19, 13, 21, 22, 23],
)
OTHERS = (MIXAMO, SMPL, OPENSIM, CGSPEED)
ALL = (*SKELETONS.values(), *OTHERS)

# To which built-in layouts each one can be mapped, beside itself and common15.
POSSIBLE = {
    "ntu25": {"kinect20", "sbu15", "human36m17"},
    "kinect20": {"sbu15", "human36m17"},
    "sbu15": {"human36m17"},
    "coco17": {"sbu15", "openpose18", "human36m17"},
    "blazepose33": {"kinect20", "sbu15", "coco17", "openpose18", "human36m17"},
    "uiprmd22": {"sbu15", "human36m17"},
    "openpose18": {"sbu15", "coco17", "human36m17"},
    "openpose25": {"sbu15", "coco17", "openpose18", "halpe26", "human36m17"},
    "halpe26": {"sbu15", "coco17", "openpose18", "openpose25", "human36m17"},
    "azure32": {"ntu25", "kinect20", "sbu15", "coco17", "openpose18", "human36m17"},
    "smpl22": {"sbu15", "human36m17"},
    "smpl24": {"kinect20", "sbu15", "smpl22", "human36m17"},
    "human36m17": {"sbu15"},
    "human36m32": {"sbu15", "human36m17"},
    "common15": {"sbu15", "human36m17"},
}


def derived(source: Skeleton, target: Skeleton) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = joint_map(source, target).report()["derived"]
    return found


def exact(source: Skeleton, target: Skeleton) -> dict[str, str]:
    found: dict[str, str] = joint_map(source, target).report()["exact"]
    return found


def clip(skeleton: Skeleton, seed: int, absent: float = 0.0, channels: int = 3) -> np.ndarray:
    """Random coordinates (5, 2, V, C), of which some joints are not there."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(5, 2, len(skeleton), channels)).astype(np.float32)
    frames[rng.random(frames.shape[:3]) < absent] = 0
    return frames


def slow(mapping: JointMap, frames: np.ndarray) -> np.ndarray:
    """Frame by frame, person by person, joint by joint."""
    times, persons, _, channels = frames.shape
    mapped = np.zeros((times, persons, len(mapping.target), channels))
    for time in range(times):
        for person in range(persons):
            for joint, weights in enumerate(mapping.sources):
                points = [frames[time, person, source] for source in weights]
                if all(point.any() for point in points):
                    pairs = zip(points, weights.values(), strict=True)
                    mapped[time, person, joint] = sum(p.astype(float) * w for p, w in pairs)
    return mapped


PAIRS = [(one, other) for one in ALL for other in ALL]
MAPS = []
for _one, _other in PAIRS:
    try:
        MAPS.append(joint_map(_one, _other))
    except ValueError:
        continue
maps = st.sampled_from(MAPS)


class TestCommon15:
    def test_is_what_its_names_and_tree_say(self) -> None:
        assert Skeleton.from_parents(COMMON15.joints, COMMON15.parents, "common15") == COMMON15
        assert len(COMMON15) == 15
        assert COMMON15.joints[COMMON15.center] == "mid_hip"

    @pytest.mark.parametrize("source", ALL, ids=lambda skeleton: skeleton.name)
    def test_every_body_maps_to_it(self, source: Skeleton) -> None:
        assert joint_map(source, COMMON15).target is COMMON15

    def test_of_kinect_v2(self) -> None:
        assert derived(NTU25, COMMON15) == {}
        found = exact(NTU25, COMMON15)
        assert found.pop("mid_hip") == "spine_base"
        assert all(joint == source for joint, source in found.items())

    def test_of_kinect_v1(self) -> None:
        assert derived(KINECT20, COMMON15) == {"neck": {"shoulder_center": 1.0}}

    def test_of_openni(self) -> None:
        assert derived(SBU15, COMMON15) == {
            "mid_hip": {"left_hip": 0.5, "right_hip": 0.5},
            "left_wrist": {"left_hand": 1.0},
            "right_wrist": {"right_hand": 1.0},
            "left_ankle": {"left_foot": 1.0},
            "right_ankle": {"right_foot": 1.0},
        }

    @pytest.mark.parametrize("source", [COCO17, BLAZEPOSE33], ids=lambda s: s.name)
    def test_of_key_points(self, source: Skeleton) -> None:
        assert derived(source, COMMON15) == {
            "mid_hip": {"left_hip": 0.5, "right_hip": 0.5},
            "neck": {"left_shoulder": 0.5, "right_shoulder": 0.5},
            "head": {"left_ear": 0.5, "right_ear": 0.5},
        }

    def test_of_a_rig_whose_joints_are_named_by_bones(self) -> None:
        assert derived(UIPRMD22, COMMON15) == {}
        assert exact(UIPRMD22, COMMON15) == {
            "mid_hip": "waist",
            "neck": "neck",
            "head": "head",
            "left_shoulder": "left_upper_arm",
            "left_elbow": "left_forearm",
            "left_wrist": "left_hand",
            "right_shoulder": "right_upper_arm",
            "right_elbow": "right_forearm",
            "right_wrist": "right_hand",
            "left_hip": "left_upper_leg",
            "left_knee": "left_lower_leg",
            "left_ankle": "left_foot",
            "right_hip": "right_upper_leg",
            "right_knee": "right_lower_leg",
            "right_ankle": "right_foot",
        }

    @pytest.mark.parametrize("source", [MIXAMO, CGSPEED], ids=lambda s: s.name)
    def test_of_rigs_for_animation(self, source: Skeleton) -> None:
        found = exact(source, COMMON15)
        of = "Hips Neck Head LeftArm LeftForeArm LeftHand LeftUpLeg LeftLeg LeftFoot"
        left = [joint for joint in COMMON15.joints if not joint.startswith("right")]
        assert [found[joint].removeprefix("mixamorig:") for joint in left] == of.split()

    def test_of_bones_of_the_hand(self) -> None:
        """Beside a hand, which begins at the wrist, carpal bones are of the palm."""
        joints = "hip neck head lShldr lForearm lHand lCarpal1 rShldr rForearm rHand rCarpal1 "
        joints += "lThigh lShin lFoot rThigh rShin rFoot"
        body = layout("d", joints, [-1, 0, 1, 1, 3, 4, 5, 1, 7, 8, 9, 0, 11, 12, 0, 14, 15])
        assert exact(body, COMMON15)["left_wrist"] == "lHand"

    def test_of_smpl(self) -> None:
        found = exact(SMPL, COMMON15)
        assert found.pop("mid_hip") == "pelvis"
        assert len(found) == 14
        assert all(joint == source for joint, source in found.items())

    def test_of_bones_by_their_latin_names(self) -> None:
        found = exact(OPENSIM, COMMON15)
        assert found["left_elbow"] == "ulna_l"
        assert found["left_wrist"] == "hand_l"
        assert found["right_ankle"] == "talus_r"
        assert derived(OPENSIM, COMMON15) == {"neck": {"humerus_l": 0.5, "humerus_r": 0.5}}


class TestAnatomicalNames:
    @pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)
    def test_are_different(self, skeleton: Skeleton) -> None:
        assert len(set(anatomical_names(skeleton))) == len(skeleton)

    @pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)
    def test_of_the_other_side(self, skeleton: Skeleton) -> None:
        names = anatomical_names(skeleton)
        swap = {"left": "right", "right": "left"}
        for joint, other in enumerate(skeleton.mirror):
            if other != joint and not names[joint].startswith("="):
                side, _, rest = names[joint].partition("_")
                assert names[other] == f"{swap[side]}_{rest}"

    def test_the_middle_of_a_long_spine(self) -> None:
        named = dict(zip(anatomical_names(SMPL), SMPL.joints, strict=True))
        assert named["spine"] == "spine2"
        assert named["chest"] == "spine3"
        assert dict(zip(anatomical_names(NTU25), NTU25.joints, strict=True))["spine"] == "spine_mid"

    def test_go_by_the_parts_that_the_skeleton_gives(self) -> None:
        names = ["Hips", "Spine", "Neck", "Arm1", "Elbow1", "Arm2", "Elbow2", "Hip1", "Hip2"]
        parts = dict(zip(PARTS, ([0, 1, 2], [5, 6], [3, 4], [7], [8]), strict=True))
        parents = [-1, 0, 1, 2, 3, 2, 5, 0, 0]
        body = Skeleton.from_parents(names, parents, parts=parts)
        found = dict(zip(body.joints, anatomical_names(body), strict=True))
        assert found["Elbow1"] == "right_elbow"
        assert found["Elbow2"] == "left_elbow"


class TestAllPairs:
    @pytest.mark.parametrize("source", SKELETONS.values(), ids=SKELETONS)
    @pytest.mark.parametrize("target", SKELETONS.values(), ids=SKELETONS)
    def test_only_where_anatomy_allows(self, source: Skeleton, target: Skeleton) -> None:
        if target.name in POSSIBLE[source.name] | {source.name, "common15"}:
            joint_map(source, target)
            return
        with pytest.raises(ValueError, match=f"'{source.name}' lacks .*'{target.name}'") as error:
            joint_map(source, target)
        said = str(error.value)
        missing = said.partition("made of: ")[2].partition("; it has")[0]
        lacking = {joint.split(" ")[0] for joint in missing.split(", ")} & set(target.joints)
        assert lacking
        assert all(joint in said for joint in source.joints)

    def test_the_message_names_what_is_needed(self) -> None:
        with pytest.raises(ValueError, match=r"hand_left \(of left_hand, or left_wrist and left_"):
            joint_map(COCO17, KINECT20)

    def test_no_joint_stands_in_for_two(self) -> None:
        for mapping in MAPS:
            alone = [next(iter(w)) for w in mapping.sources if len(w) == 1]
            assert len(alone) == len(set(alone))

    def test_a_hand_maps_to_no_body(self) -> None:
        names = ["wrist", *(f"{finger}_{n}" for finger in ("thumb", "index", "ring") for n in "12")]
        hand = Skeleton.from_parents(names, [-1, 0, 1, 0, 3, 0, 5])
        with pytest.raises(ValueError, match="lacks what these joints of 'common15'"):
            joint_map(hand, COMMON15)

    def test_joints_between_others(self) -> None:
        assert derived(COCO17, SBU15)["torso"] == dict.fromkeys(
            ("left_hip", "right_hip", "left_shoulder", "right_shoulder"), 0.25
        )
        found = derived(BLAZEPOSE33, KINECT20)
        assert found["hand_left"] == {"left_wrist": 0.5, "left_index": 0.25, "left_pinky": 0.25}
        assert found["foot_right"] == {"right_foot_index": 1.0}
        assert exact(NTU25, KINECT20)["shoulder_center"] == "spine_shoulder"

    def test_a_neck_between_shoulders_and_head(self) -> None:
        both = Skeleton.from_parents(
            [*KINECT20.joints, "neck"], [*KINECT20.parents, KINECT20.joints.index("head")]
        )
        assert derived(KINECT20, both) == {"neck": {"shoulder_center": 0.5, "head": 0.5}}


class TestApply:
    @pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)
    def test_the_same_layout_is_the_identity(self, skeleton: Skeleton) -> None:
        frames = clip(skeleton, 0, absent=0.3)
        np.testing.assert_array_equal(joint_map(skeleton, skeleton).apply(frames), frames)
        back = skeleton.reordered(skeleton.joints[::-1])
        turned = joint_map(skeleton, back)
        np.testing.assert_array_equal(turned.apply(frames), frames[:, :, ::-1])
        assert all(turned.exact)

    def test_by_hand(self) -> None:
        frames = np.zeros((1, 1, 17, 2), np.float32)
        for joint, point in (
            ("left_shoulder", (1, 4)),
            ("right_shoulder", (3, 5)),
            ("left_hip", (1, 1)),
            ("right_hip", (2, 1)),
            ("left_ear", (2, 6)),
            ("left_wrist", (0, 3)),
        ):
            frames[0, 0, COCO17.joints.index(joint)] = point
        mapped = joint_map(COCO17, SBU15).apply(frames)[0, 0]
        found = {joint: mapped[i].tolist() for i, joint in enumerate(SBU15.joints)}
        assert found["neck"] == [2, 4.5]
        assert found["torso"] == [(1 + 2 + 1 + 3) / 4, (1 + 1 + 4 + 5) / 4]
        assert found["left_hand"] == [0, 3]
        assert found["left_shoulder"] == [1, 4]
        assert found["head"] == [0, 0]  # one ear is not seen
        assert found["right_hand"] == [0, 0]

    @given(mapping=maps, seed=st.integers(0, 99), channels=st.sampled_from([2, 3]))
    def test_as_joint_by_joint(self, mapping: JointMap, seed: int, channels: int) -> None:
        frames = clip(mapping.source, seed, absent=0.2, channels=channels)
        frames[3, 1] = 0  # nobody
        mapped = mapping.apply(frames)
        assert mapped.dtype == np.float32
        np.testing.assert_allclose(mapped, slow(mapping, frames), atol=1e-6)
        np.testing.assert_array_equal(mapped.any(-1), slow(mapping, frames).any(-1))
        whole = clip(mapping.source, seed)
        np.testing.assert_allclose(mapping.apply(whole), mapping.weights @ whole, atol=1e-6)

    @given(mapping=maps, seed=st.integers(0, 99))
    def test_commutes_with_turning_and_moving(self, mapping: JointMap, seed: int) -> None:
        rng = np.random.default_rng(seed)
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        frames, move = clip(mapping.source, seed).astype(np.float64), rng.normal(size=3)
        np.testing.assert_allclose(mapping.weights.sum(1), 1)
        np.testing.assert_allclose(
            mapping.apply(frames @ turn + move), mapping.apply(frames) @ turn + move, atol=1e-9
        )

    @given(mapping=maps, seed=st.integers(0, 99))
    def test_commutes_with_mirroring(self, mapping: JointMap, seed: int) -> None:
        frames = clip(mapping.source, seed, absent=0.2)
        flip = np.array([-1, 1, 1], np.float32)
        first = mapping.apply(frames[:, :, list(mapping.source.mirror)] * flip)
        last = mapping.apply(frames)[:, :, list(mapping.target.mirror)] * flip
        np.testing.assert_allclose(first, last, atol=1e-6)

    def test_a_mean_at_the_origin_is_there(self) -> None:
        frames = np.zeros((1, 17, 3), np.float32)
        frames[0, COCO17.joints.index("left_hip")] = (0.1, 0.2, 0)
        frames[0, COCO17.joints.index("right_hip")] = (-0.1, -0.2, 0)
        mapped = joint_map(COCO17, COMMON15).apply(frames)
        assert mapped[0, 0].any()
        assert np.abs(mapped[0, 0]).max() < 1e-30

    def test_other_joints_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"V=25, C\) of skeleton 'ntu25', got \(4, 2, 20, 3\)"):
            joint_map(NTU25, COMMON15).apply(np.zeros((4, 2, 20, 3)))
        with pytest.raises(ValueError, match="expected a Skeleton"):
            joint_map(NTU25, "common15")  # type: ignore[arg-type]


def test_names_alone_decide() -> None:
    """The same body with other names and another order of joints is the same map."""
    other = replace(NTU25, name="other", joints=tuple(j.title() for j in NTU25.joints))
    other = other.reordered(other.joints[::-1])
    frames = clip(NTU25, 0)
    np.testing.assert_array_equal(
        joint_map(other, COMMON15).apply(frames[:, :, ::-1]),
        joint_map(NTU25, COMMON15).apply(frames),
    )
