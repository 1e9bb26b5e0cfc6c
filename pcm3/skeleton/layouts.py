"""The built-in joint layouts, and the search for the layout that recordings have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pcm3.skeleton.skeleton import Skeleton, check_kinds
from pcm3.skeleton.tree import PARTS
from pcm3.skeleton.words import normal_name


def _layout(
    name: str,
    joints: str,
    parents: tuple[int, ...],
    parts: Iterable[Iterable[int]],
    center: str,
) -> Skeleton:
    """Make a skeleton; the names of joints with a side contain ``left`` or ``right``.

    Args:
        name: Name of the layout.
        joints: Joint names, separated by blanks.
        parents: Parent index of every joint, -1 at the root.
        parts: Joint indices of the five ``PARTS``.
        center: Name of the centre joint.
    """
    names = joints.split()
    swap = {"left": "right", "right": "left"}
    mirrored = [re.sub("left|right", lambda side: swap[side.group()], joint) for joint in names]
    return Skeleton(
        name,
        tuple(names),
        parents,
        {part: tuple(indices) for part, indices in zip(PARTS, parts, strict=True)},
        tuple(map(names.index, mirrored)),
        names.index(center),
    )


NTU25 = _layout(
    "ntu25",
    "spine_base spine_mid neck head left_shoulder left_elbow left_wrist left_hand "
    "right_shoulder right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot "
    "right_hip right_knee right_ankle right_foot spine_shoulder left_hand_tip left_thumb "
    "right_hand_tip right_thumb",
    (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, -1, 22, 7, 24, 11),
    (
        (0, 1, 2, 3, 20),
        (4, 5, 6, 7, 21, 22),
        (8, 9, 10, 11, 23, 24),
        (12, 13, 14, 15),
        (16, 17, 18, 19),
    ),
    "spine_mid",
)
"""Kinect v2: NTU RGB+D and PKU-MMD."""

KINECT20 = _layout(
    "kinect20",
    "hip_center spine shoulder_center head shoulder_left elbow_left wrist_left hand_left "
    "shoulder_right elbow_right wrist_right hand_right hip_left knee_left ankle_left foot_left "
    "hip_right knee_right ankle_right foot_right",
    (-1, 0, 1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18),
    ((0, 1, 2, 3), range(4, 8), range(8, 12), range(12, 16), range(16, 20)),
    "spine",
)
"""Kinect v1: UTD-MHAD, NW-UCLA, MSR-Action3D. Files order these joints differently: match them
by name with ``KINECT20.reordered(names)``."""

SBU15 = _layout(
    "sbu15",
    "head neck torso left_shoulder left_elbow left_hand right_shoulder right_elbow right_hand "
    "left_hip left_knee left_foot right_hip right_knee right_foot",
    (1, 2, -1, 1, 3, 4, 1, 6, 7, 2, 9, 10, 2, 12, 13),
    ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14)),
    "torso",
)
"""OpenNI: SBU Kinect Interaction."""

COCO17 = _layout(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
    "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle",
    (-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    (range(5), (5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16)),
    "nose",
)
"""COCO key points, the output of most 2D pose estimators; shoulders are the parents of hips."""

BLAZEPOSE33 = _layout(
    "blazepose33",
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer "
    "left_ear right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_pinky right_pinky left_index right_index left_thumb right_thumb "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel "
    "left_foot_index right_foot_index",
    (
        *(-1, 0, 1, 2, 0, 4, 5, 3, 6, 0, 0),
        *(0, 0, 11, 12, 13, 14, 15, 16, 15, 16, 15, 16),
        *(11, 12, 23, 24, 25, 26, 27, 28, 27, 28),
    ),
    (range(11), range(11, 23, 2), range(12, 23, 2), range(23, 33, 2), range(24, 33, 2)),
    "nose",
)
"""MediaPipe's 33 landmarks; shoulders are the parents of hips, ankles those of heels and toes."""

UIPRMD22 = _layout(
    "uiprmd22",
    "waist spine chest neck head head_tip left_collar left_upper_arm left_forearm left_hand "
    "right_collar right_upper_arm right_forearm right_hand left_upper_leg left_lower_leg left_foot "
    "left_toes right_upper_leg right_lower_leg right_foot right_toes",
    (-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20),
    (range(6), range(6, 10), range(10, 14), range(14, 18), range(18, 22)),
    "spine",
)
"""Kinect v2 with absolute joint positions by forward kinematics: UI-PRMD."""

OPENPOSE18 = _layout(
    "openpose18",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    "right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear "
    "left_ear",
    (1, -1, 1, 2, 3, 1, 5, 6, 2, 8, 9, 5, 11, 12, 0, 0, 14, 15),
    ((0, 1, 14, 15, 16, 17), (5, 6, 7), (2, 3, 4), (11, 12, 13), (8, 9, 10)),
    "neck",
)
"""OpenPose's 18 key points (COCO); shoulders are the parents of hips, as in PYSKL."""

OPENPOSE25 = _layout(
    "openpose25",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip "
    "right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear "
    "left_ear left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel",
    (
        *(1, 8, 1, 2, 3, 1, 5, 6, -1),
        *(8, 9, 10, 8, 12, 13, 0, 0, 15, 16),
        *(14, 19, 14, 11, 22, 11),
    ),
    (
        (0, 1, 8, 15, 16, 17, 18),
        (5, 6, 7),
        (2, 3, 4),
        (12, 13, 14, 19, 20, 21),
        (9, 10, 11, 22, 23, 24),
    ),
    "mid_hip",
)
"""OpenPose's 25 key points (BODY_25)."""

HALPE26 = _layout(
    "halpe26",
    " ".join(COCO17.joints) + " head neck hip left_big_toe right_big_toe left_small_toe "
    "right_small_toe left_heel right_heel",
    (
        *(18, 0, 0, 1, 2, 18, 18, 5, 6, 7, 8, 19, 19, 11, 12, 13, 14),
        *(18, 19, -1, 15, 16, 20, 21, 15, 16),
    ),
    (
        (*range(5), 17, 18, 19),
        (5, 7, 9),
        (6, 8, 10),
        (11, 13, 15, 20, 22, 24),
        (12, 14, 16, 21, 23, 25),
    ),
    "hip",
)
"""COCO's key points with head, neck, hip and feet: models of AlphaPose and RTMPose."""

AZURE32 = _layout(
    "azure32",
    "pelvis spine_navel spine_chest neck clavicle_left shoulder_left elbow_left wrist_left "
    "hand_left handtip_left thumb_left clavicle_right shoulder_right elbow_right wrist_right "
    "hand_right handtip_right thumb_right hip_left knee_left ankle_left foot_left hip_right "
    "knee_right ankle_right foot_right head nose eye_left ear_left eye_right ear_right",
    (
        *(-1, 0, 1, 2, 2, 4, 5, 6, 7, 8, 7, 2, 11, 12, 13, 14, 15, 14),
        *(0, 18, 19, 20, 0, 22, 23, 24, 3, 26, 26, 26, 26, 26),
    ),
    (
        (0, 1, 2, 3, *range(26, 32)),
        range(4, 11),
        range(11, 18),
        range(18, 22),
        range(22, 26),
    ),
    "spine_navel",
)
"""Azure Kinect body tracking."""

SMPL24 = _layout(
    "smpl24",
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 "
    "left_foot right_foot neck left_collar right_collar head left_shoulder right_shoulder "
    "left_elbow right_elbow left_wrist right_wrist left_hand right_hand",
    (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21),
    (
        (0, 3, 6, 9, 12, 15),
        (13, 16, 18, 20, 22),
        (14, 17, 19, 21, 23),
        (1, 4, 7, 10),
        (2, 5, 8, 11),
    ),
    "spine1",
)
"""SMPL's 24 joints."""

SMPL22 = _layout(
    "smpl22",
    " ".join(SMPL24.joints[:22]),
    SMPL24.parents[:22],
    ([joint for joint in part if joint < 22] for part in SMPL24.parts.values()),
    "spine1",
)
"""SMPL without hands: HumanML3D, AMASS."""

HUMAN36M17 = _layout(
    "human36m17",
    "root right_hip right_knee right_foot left_hip left_knee left_foot spine thorax neck_base head "
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist",
    (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    ((0, 7, 8, 9, 10), (11, 12, 13), (14, 15, 16), (4, 5, 6), (1, 2, 3)),
    "spine",
)
"""Human3.6M's 17 joints, the output of most methods that lift poses to 3D; names are MMPose's."""

HUMAN36M32 = _layout(
    "human36m32",
    "root right_hip right_knee right_foot right_toe right_toe_end left_hip left_knee left_foot "
    "left_toe left_toe_end lower_back spine thorax neck_base head left_collar left_shoulder "
    "left_elbow left_wrist left_thumb left_thumb_end left_hand left_hand_end right_collar "
    "right_shoulder right_elbow right_wrist right_thumb right_thumb_end right_hand right_hand_end",
    (
        *(-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14),
        *(13, 16, 17, 18, 19, 20, 19, 22, 13, 24, 25, 26, 27, 28, 27, 30),
    ),
    ((0, *range(11, 16)), range(16, 24), range(24, 32), range(6, 11), range(1, 6)),
    "spine",
)
"""All joints of Human3.6M's files; those of ``human36m17`` have its names and tree. Several lie in
one place: ``lower_back`` on ``root``, the collars on ``thorax``, each thumb on the wrist."""

COMMON15 = _layout(
    "common15",
    "mid_hip neck head left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist "
    "left_hip left_knee left_ankle right_hip right_knee right_ankle",
    (-1, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 10, 0, 12, 13),
    ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14)),
    "mid_hip",
)
"""Joints that all layouts of bodies have, or others give: for stores of several layouts."""

SKELETONS = {
    s.name: s
    for s in (
        *(NTU25, KINECT20, SBU15, COCO17, BLAZEPOSE33, UIPRMD22),
        *(
            OPENPOSE18,
            OPENPOSE25,
            HALPE26,
            AZURE32,
            SMPL22,
            SMPL24,
            HUMAN36M17,
            HUMAN36M32,
            COMMON15,
        ),
    )
}
"""The built-in skeletons by name."""


def find_skeleton(joints: Sequence[str], parents: Sequence[int] | None = None) -> Skeleton:
    """Find the built-in skeleton with these joints, in this order, or derive one from the tree.

    Args:
        joints: Joint names in the order of the data.
        parents: Parent indices, required if no built-in skeleton has these joints. If one has
            them with another tree, the skeleton is derived from this tree.

    Raises:
        ValueError: If no built-in skeleton has these joints and ``parents`` is missing, or the
            parents do not form one tree.
    """
    check_kinds("joints", joints, str)
    if parents is not None:
        check_kinds("parents", parents, int)
    names = {normal_name(joint) for joint in joints}
    for skeleton in SKELETONS.values():
        if names == {normal_name(joint) for joint in skeleton.joints}:
            known = skeleton.reordered(joints)
            if parents is None or tuple(parents) == known.parents:
                return known
    if parents is None:
        near = _nearest(joints)
        which = "a built-in skeleton" if near else f"one of {', '.join(SKELETONS)}"
        raise ValueError(
            f"expected the joints of {which}, or parents to derive a skeleton from; got "
            f"{len(joints)} joints: {near or ', '.join(joints)}"
        )
    return Skeleton.from_parents(joints, parents)


def _nearest(joints: Sequence[str]) -> str:
    """Say how joints differ from those of the nearest skeleton; empty if none is near."""
    names = {normal_name(joint): joint for joint in joints}
    differences = []
    for skeleton in SKELETONS.values():
        own = {normal_name(joint): joint for joint in skeleton.joints}
        without = [own[name] for name in own if name not in names]
        more = [names[name] for name in names if name not in own]
        if 3 * len(without + more) <= len(own):
            parts = [f"without {', '.join(without)}"] * bool(without)
            parts += [f"with {', '.join(more)}"] * bool(more)
            said = f"those of {skeleton.name} {' and '.join(parts)}"
            differences.append((len(without + more), said))
    return min(differences, key=lambda pair: pair[0])[1] if differences else ""
