"""Joint trees as tools and data sets name them, with the part of each joint, pairs and centre.

A line is a part and a chain of joints, each below the one before; ``JOINT < PARENT`` hangs the
first of a chain elsewhere. ``swap`` says how a name becomes the one of the other side.
"""

from __future__ import annotations

from typing import NamedTuple


class Convention(NamedTuple):
    """A joint tree and what is to be derived from it."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    parts: dict[str, set[str]]
    swap: tuple[tuple[str, str], ...]
    center: str

    def mirrored(self, joint: str) -> str:
        """The name of the counterpart, or the joint's own."""
        for left, right in self.swap:
            for one, other in ((left, right), (right, left)):
                if joint.replace(one, other, 1) in self.joints and one in joint:
                    return joint.replace(one, other, 1)
        return joint


def read(text: str, swap: str, center: str) -> Convention:
    joints: list[str] = []
    parents: list[str] = []
    parts: dict[str, set[str]] = {}
    for line in text.strip().splitlines():
        part, _, chain = line.strip().partition(": ")
        above = ""
        for item in chain.split(", "):
            joint, _, parent = item.partition(" < ")
            joints.append(joint)
            parents.append(parent or above)
            parts.setdefault(part, set()).add(joint)
            above = joint
    pairs = tuple(tuple(pair.split("/")) for pair in swap.split(", "))
    tree = tuple(joints.index(parent) if parent else -1 for parent in parents)
    return Convention(tuple(joints), tree, parts, pairs, center)


CONVENTIONS = {
    "cmu": read(
        """
        trunk: root
        left_leg: lhipjoint < root, lfemur, ltibia, lfoot, ltoes
        right_leg: rhipjoint < root, rfemur, rtibia, rfoot, rtoes
        trunk: lowerback < root, upperback, thorax, lowerneck, upperneck, head
        left_arm: lclavicle < thorax, lhumerus, lradius, lwrist, lhand, lfingers
        left_arm: lthumb < lhand
        right_arm: rclavicle < thorax, rhumerus, rradius, rwrist, rhand, rfingers
        right_arm: rthumb < rhand
        """,
        "lh/rh, lf/rf, lt/rt, lc/rc, lr/rr, lw/rw",
        "upperback",
    ),
    "cmu bvh": read(
        """
        trunk: Hips
        left_leg: LHipJoint < Hips, LeftUpLeg, LeftLeg, LeftFoot, LeftToeBase
        right_leg: RHipJoint < Hips, RightUpLeg, RightLeg, RightFoot, RightToeBase
        trunk: LowerBack < Hips, Spine, Spine1, Neck, Neck1, Head
        left_arm: LeftShoulder < Spine1, LeftArm, LeftForeArm, LeftHand, LeftFingerBase, LFingers
        left_arm: LThumb < LeftHand
        right_arm: RightShoulder < Spine1, RightArm, RightForeArm, RightHand, RightFingerBase
        right_arm: RFingers < RightFingerBase
        right_arm: RThumb < RightHand
        """,
        "Left/Right, LH/RH, LF/RF, LT/RT",
        "Spine",
    ),
    "bones without sides of the spine": read(
        """
        trunk: Hips
        left_leg: LeftFemur < Hips, LeftTibia, LeftTalus
        right_leg: RightFemur < Hips, RightTibia, RightTalus
        trunk: Spine < Hips, Chest, Neck, Skull
        left_arm: LeftClavicle < Chest, LeftHumerus, LeftRadius, LeftCarpals
        right_arm: RightClavicle < Chest, RightHumerus, RightRadius, RightCarpals
        """,
        "Left/Right",
        "Spine",
    ),
    "opensim": read(
        """
        trunk: ground, pelvis
        right_leg: femur_r < pelvis, tibia_r, talus_r, calcn_r, toes_r
        right_leg: patella_r < femur_r
        left_leg: femur_l < pelvis, tibia_l, talus_l, calcn_l, toes_l
        left_leg: patella_l < femur_l
        trunk: torso < pelvis
        right_arm: humerus_r < torso, ulna_r, radius_r, hand_r
        left_arm: humerus_l < torso, ulna_l, radius_l, hand_l
        """,
        "_l/_r",
        "pelvis",
    ),
    "opensim joints": read(
        """
        trunk: ground_pelvis
        right_leg: hip_r < ground_pelvis, knee_r, ankle_r, subtalar_r, mtp_r
        left_leg: hip_l < ground_pelvis, knee_l, ankle_l, subtalar_l, mtp_l
        trunk: back < ground_pelvis
        right_arm: acromial_r < back, elbow_r, radioulnar_r, radius_hand_r
        left_arm: acromial_l < back, elbow_l, radioulnar_l, radius_hand_l
        """,
        "_l/_r",
        "ground_pelvis",
    ),
    "vrm model": read(
        """
        trunk: Root, J_Bip_C_Hips, J_Bip_C_Spine, J_Bip_C_Chest, J_Bip_C_UpperChest
        trunk: J_Sec_L_Bust1 < J_Bip_C_UpperChest, J_Sec_L_Bust2
        trunk: J_Sec_R_Bust1 < J_Bip_C_UpperChest, J_Sec_R_Bust2
        trunk: J_Bip_C_Neck < J_Bip_C_UpperChest, J_Bip_C_Head, J_Sec_Hair1_01, J_Sec_Hair2_01
        trunk: J_Adj_L_FaceEye < J_Bip_C_Head
        trunk: J_Adj_R_FaceEye < J_Bip_C_Head
        left_arm: J_Bip_L_Shoulder < J_Bip_C_UpperChest, J_Bip_L_UpperArm, J_Bip_L_LowerArm
        left_arm: J_Bip_L_Hand < J_Bip_L_LowerArm
        left_arm: J_Bip_L_Index1 < J_Bip_L_Hand, J_Bip_L_Index2, J_Bip_L_Index3
        left_arm: J_Bip_L_Little1 < J_Bip_L_Hand, J_Bip_L_Little2
        right_arm: J_Bip_R_Shoulder < J_Bip_C_UpperChest, J_Bip_R_UpperArm, J_Bip_R_LowerArm
        right_arm: J_Bip_R_Hand < J_Bip_R_LowerArm
        right_arm: J_Bip_R_Index1 < J_Bip_R_Hand, J_Bip_R_Index2, J_Bip_R_Index3
        right_arm: J_Bip_R_Little1 < J_Bip_R_Hand, J_Bip_R_Little2
        left_leg: J_Bip_L_UpperLeg < J_Bip_C_Hips, J_Bip_L_LowerLeg, J_Bip_L_Foot, J_Bip_L_ToeBase
        right_leg: J_Bip_R_UpperLeg < J_Bip_C_Hips, J_Bip_R_LowerLeg, J_Bip_R_Foot, J_Bip_R_ToeBase
        """,
        "_L_/_R_",
        "J_Bip_C_Spine",
    ),
    "vrm humanoid": read(
        """
        trunk: hips, spine, chest, upperChest, neck, head, jaw
        trunk: leftEye < head
        trunk: rightEye < head
        left_arm: leftShoulder < upperChest, leftUpperArm, leftLowerArm, leftHand
        left_arm: leftThumbProximal < leftHand, leftThumbIntermediate, leftThumbDistal
        left_arm: leftRingProximal < leftHand, leftRingDistal
        right_arm: rightShoulder < upperChest, rightUpperArm, rightLowerArm, rightHand
        right_arm: rightThumbProximal < rightHand, rightThumbIntermediate, rightThumbDistal
        right_arm: rightRingProximal < rightHand, rightRingDistal
        left_leg: leftUpperLeg < hips, leftLowerLeg, leftFoot, leftToes
        right_leg: rightUpperLeg < hips, rightLowerLeg, rightFoot, rightToes
        """,
        "left/right",
        "spine",
    ),
    "poser": read(
        """
        trunk: hip, abdomen, chest, neck, head
        trunk: leftEye < head
        trunk: rightEye < head
        right_arm: rCollar < chest, rShldr, rForeArm, rHand, rThumb1, rThumb2
        right_arm: rMid1 < rHand, rMid2
        right_arm: rRing1 < rHand, rRing2
        left_arm: lCollar < chest, lShldr, lForeArm, lHand, lThumb1, lThumb2
        left_arm: lMid1 < lHand, lMid2
        left_arm: lRing1 < lHand, lRing2
        right_leg: rButtock < hip, rThigh, rShin, rFoot, rToe
        left_leg: lButtock < hip, lThigh, lShin, lFoot, lToe
        """,
        "left/right, lC/rC, lS/rS, lF/rF, lH/rH, lT/rT, lM/rM, lR/rR, lB/rB",
        "abdomen",
    ),
    "daz genesis 8": read(
        """
        trunk: hip, pelvis
        left_leg: lThighBend < pelvis, lThighTwist, lShin, lFoot, lMetatarsals, lToe, lBigToe
        right_leg: rThighBend < pelvis, rThighTwist, rShin, rFoot, rMetatarsals, rToe, rBigToe
        trunk: abdomenLower < hip, abdomenUpper, chestLower, chestUpper
        trunk: lPectoral < chestLower
        trunk: rPectoral < chestLower
        left_arm: lCollar < chestUpper, lShldrBend, lShldrTwist, lForearmBend, lForearmTwist, lHand
        left_arm: lThumb1 < lHand
        left_arm: lCarpal1 < lHand, lIndex1
        right_arm: rCollar < chestUpper, rShldrBend, rShldrTwist, rForearmBend, rForearmTwist, rHand
        right_arm: rThumb1 < rHand
        right_arm: rCarpal1 < rHand, rIndex1
        trunk: neckLower < chestUpper, neckUpper, head, upperTeeth
        trunk: lEye < head
        trunk: rEye < head
        """,
        "lT/rT, lS/rS, lF/rF, lM/rM, lB/rB, lP/rP, lC/rC, lH/rH, lI/rI, lE/rE",
        "abdomenUpper",
    ),
    "mixamo": read(
        """
        trunk: mixamorig:Hips, mixamorig:Spine, mixamorig:Spine1, mixamorig:Spine2, mixamorig:Neck
        trunk: mixamorig:Head < mixamorig:Neck, mixamorig:HeadTop_End
        left_arm: mixamorig:LeftShoulder < mixamorig:Spine2, mixamorig:LeftArm
        left_arm: mixamorig:LeftForeArm < mixamorig:LeftArm
        left_arm: mixamorig:LeftHand < mixamorig:LeftForeArm, mixamorig:LeftHandThumb1
        left_arm: mixamorig:LeftHandIndex1 < mixamorig:LeftHand, mixamorig:LeftHandIndex2
        right_arm: mixamorig:RightShoulder < mixamorig:Spine2, mixamorig:RightArm
        right_arm: mixamorig:RightForeArm < mixamorig:RightArm
        right_arm: mixamorig:RightHand < mixamorig:RightForeArm, mixamorig:RightHandThumb1
        right_arm: mixamorig:RightHandIndex1 < mixamorig:RightHand, mixamorig:RightHandIndex2
        left_leg: mixamorig:LeftUpLeg < mixamorig:Hips, mixamorig:LeftLeg, mixamorig:LeftFoot
        left_leg: mixamorig:LeftToeBase < mixamorig:LeftFoot, mixamorig:LeftToe_End
        right_leg: mixamorig:RightUpLeg < mixamorig:Hips, mixamorig:RightLeg, mixamorig:RightFoot
        right_leg: mixamorig:RightToeBase < mixamorig:RightFoot, mixamorig:RightToe_End
        """,
        "Left/Right",
        "mixamorig:Spine",
    ),
    "rokoko": read(
        """
        trunk: Hips, Spine1, Spine2, Spine3, Spine4, Neck, Head
        left_arm: LeftShoulder < Spine4, LeftArm, LeftForeArm, LeftHand, LeftFinger1Metacarpal
        right_arm: RightShoulder < Spine4, RightArm, RightForeArm, RightHand, RightFinger1Metacarpal
        left_leg: LeftThigh < Hips, LeftShin, LeftFoot, LeftToe, LeftToeTip
        right_leg: RightThigh < Hips, RightShin, RightFoot, RightToe, RightToeTip
        """,
        "Left/Right",
        "Spine1",
    ),
    "xsens": read(
        """
        trunk: Pelvis, L5, L3, T12, T8, Neck, Head
        right_arm: RightShoulder < T8, RightUpperArm, RightForeArm, RightHand
        left_arm: LeftShoulder < T8, LeftUpperArm, LeftForeArm, LeftHand
        right_leg: RightUpperLeg < Pelvis, RightLowerLeg, RightFoot, RightToe
        left_leg: LeftUpperLeg < Pelvis, LeftLowerLeg, LeftFoot, LeftToe
        """,
        "Left/Right",
        "L5",
    ),
    "xsens joints": read(
        """
        trunk: Pelvis, jL5S1, jL4L3, jL1T12, jT9T8, jT1C7, jC1Head
        right_arm: jRightT4Shoulder < jT9T8, jRightShoulder, jRightElbow, jRightWrist
        left_arm: jLeftT4Shoulder < jT9T8, jLeftShoulder, jLeftElbow, jLeftWrist
        right_leg: jRightHip < Pelvis, jRightKnee, jRightAnkle, jRightBallFoot
        left_leg: jLeftHip < Pelvis, jLeftKnee, jLeftAnkle, jLeftBallFoot
        """,
        "Left/Right",
        "jL5S1",
    ),
    "smpl": read(
        """
        trunk: Pelvis
        left_leg: L_Hip < Pelvis, L_Knee, L_Ankle, L_Foot
        right_leg: R_Hip < Pelvis, R_Knee, R_Ankle, R_Foot
        trunk: Spine1 < Pelvis, Spine2, Spine3, Neck, Head
        left_arm: L_Collar < Spine3, L_Shoulder, L_Elbow, L_Wrist, L_Hand
        right_arm: R_Collar < Spine3, R_Shoulder, R_Elbow, R_Wrist, R_Hand
        """,
        "L_/R_",
        "Spine1",
    ),
    "smpl-x": read(
        """
        trunk: pelvis
        left_leg: left_hip < pelvis, left_knee, left_ankle, left_foot
        right_leg: right_hip < pelvis, right_knee, right_ankle, right_foot
        trunk: spine1 < pelvis, spine2, spine3, neck, head, jaw
        trunk: left_eye_smplhf < head
        trunk: right_eye_smplhf < head
        left_arm: left_collar < spine3, left_shoulder, left_elbow, left_wrist
        left_arm: left_index1 < left_wrist, left_index2, left_index3
        left_arm: left_middle1 < left_wrist, left_middle2
        left_arm: left_thumb1 < left_wrist
        right_arm: right_collar < spine3, right_shoulder, right_elbow, right_wrist
        right_arm: right_index1 < right_wrist, right_index2, right_index3
        right_arm: right_middle1 < right_wrist, right_middle2
        right_arm: right_thumb1 < right_wrist
        """,
        "left/right",
        "spine1",
    ),
    "kinect azure": read(
        """
        trunk: PELVIS, SPINE_NAVEL, SPINE_CHEST, NECK, HEAD, NOSE
        trunk: EYE_LEFT < HEAD
        trunk: EAR_LEFT < HEAD
        trunk: EYE_RIGHT < HEAD
        trunk: EAR_RIGHT < HEAD
        left_arm: CLAVICLE_LEFT < SPINE_CHEST, SHOULDER_LEFT, ELBOW_LEFT, WRIST_LEFT, HAND_LEFT
        left_arm: HANDTIP_LEFT < HAND_LEFT
        left_arm: THUMB_LEFT < WRIST_LEFT
        right_arm: CLAVICLE_RIGHT < SPINE_CHEST, SHOULDER_RIGHT, ELBOW_RIGHT, WRIST_RIGHT
        right_arm: HAND_RIGHT < WRIST_RIGHT, HANDTIP_RIGHT
        right_arm: THUMB_RIGHT < WRIST_RIGHT
        left_leg: HIP_LEFT < PELVIS, KNEE_LEFT, ANKLE_LEFT, FOOT_LEFT
        right_leg: HIP_RIGHT < PELVIS, KNEE_RIGHT, ANKLE_RIGHT, FOOT_RIGHT
        """,
        "LEFT/RIGHT",
        "SPINE_NAVEL",
    ),
    "kinect v2": read(
        """
        trunk: SpineBase, SpineMid, SpineShoulder, Neck, Head
        left_arm: ShoulderLeft < SpineShoulder, ElbowLeft, WristLeft, HandLeft, HandTipLeft
        left_arm: ThumbLeft < WristLeft
        right_arm: ShoulderRight < SpineShoulder, ElbowRight, WristRight, HandRight, HandTipRight
        right_arm: ThumbRight < WristRight
        left_leg: HipLeft < SpineBase, KneeLeft, AnkleLeft, FootLeft
        right_leg: HipRight < SpineBase, KneeRight, AnkleRight, FootRight
        """,
        "Left/Right",
        "SpineMid",
    ),
    "openpose 25": read(
        """
        trunk: Neck, Nose
        trunk: REye < Nose, REar
        trunk: LEye < Nose, LEar
        right_arm: RShoulder < Neck, RElbow, RWrist
        left_arm: LShoulder < Neck, LElbow, LWrist
        trunk: MidHip < Neck
        right_leg: RHip < MidHip, RKnee, RAnkle, RHeel
        right_leg: RBigToe < RAnkle, RSmallToe
        left_leg: LHip < MidHip, LKnee, LAnkle, LHeel
        left_leg: LBigToe < LAnkle, LSmallToe
        """,
        "RE/LE, RS/LS, RW/LW, RH/LH, RK/LK, RA/LA, RB/LB",
        "MidHip",
    ),
    "human 3.6m": read(
        """
        trunk: Hip
        right_leg: RHip < Hip, RKnee, RFoot
        left_leg: LHip < Hip, LKnee, LFoot
        trunk: Spine < Hip, Thorax, Neck/Nose, Head
        left_arm: LShoulder < Thorax, LElbow, LWrist
        right_arm: RShoulder < Thorax, RElbow, RWrist
        """,
        "RH/LH, RK/LK, RF/LF, RS/LS, RE/LE, RW/LW",
        "Spine",
    ),
    "biped": read(
        """
        trunk: Bip01, Bip01 Footsteps
        trunk: Bip01 Pelvis < Bip01, Bip01 Spine, Bip01 Spine1, Bip01 Neck, Bip01 Head
        trunk: Bip01 HeadNub < Bip01 Head
        left_arm: Bip01 L Clavicle < Bip01 Neck, Bip01 L UpperArm, Bip01 L Forearm, Bip01 L Hand
        left_arm: Bip01 L Finger0 < Bip01 L Hand, Bip01 L Finger01, Bip01 L Finger0Nub
        right_arm: Bip01 R Clavicle < Bip01 Neck, Bip01 R UpperArm, Bip01 R Forearm, Bip01 R Hand
        right_arm: Bip01 R Finger0 < Bip01 R Hand, Bip01 R Finger01, Bip01 R Finger0Nub
        left_leg: Bip01 L Thigh < Bip01 Pelvis, Bip01 L Calf, Bip01 L Foot, Bip01 L Toe0
        left_leg: Bip01 L Toe0Nub < Bip01 L Toe0
        right_leg: Bip01 R Thigh < Bip01 Pelvis, Bip01 R Calf, Bip01 R Foot, Bip01 R Toe0
        right_leg: Bip01 R Toe0Nub < Bip01 R Toe0
        trunk: Bip01 Tail < Bip01 Pelvis
        """,
        " L/ R",
        "Bip01 Spine",
    ),
    "rigify": read(
        """
        trunk: spine, spine.001, spine.002, spine.003, spine.004, spine.005, face
        trunk: ear.L < face
        trunk: ear.R < face
        trunk: breast.L < spine.003
        trunk: breast.R < spine.003
        trunk: pelvis.L < spine
        trunk: pelvis.R < spine
        left_arm: shoulder.L < spine.003, upper_arm.L, forearm.L, hand.L
        left_arm: palm.01.L < hand.L, f_index.01.L, f_index.02.L
        left_arm: thumb.01.L < palm.01.L
        right_arm: shoulder.R < spine.003, upper_arm.R, forearm.R, hand.R
        right_arm: palm.01.R < hand.R, f_index.01.R, f_index.02.R
        right_arm: thumb.01.R < palm.01.R
        left_leg: thigh.L < spine, shin.L, foot.L, toe.L
        left_leg: heel.02.L < foot.L
        right_leg: thigh.R < spine, shin.R, foot.R, toe.R
        right_leg: heel.02.R < foot.R
        """,
        ".L/.R",
        "spine.001",
    ),
    "unreal": read(
        """
        trunk: root, pelvis, spine_01, spine_02, spine_03, neck_01, head
        left_arm: clavicle_l < spine_03, upperarm_l, lowerarm_l, hand_l, index_01_l, index_02_l
        left_arm: lowerarm_twist_01_l < lowerarm_l
        right_arm: clavicle_r < spine_03, upperarm_r, lowerarm_r, hand_r, index_01_r, index_02_r
        right_arm: lowerarm_twist_01_r < lowerarm_r
        left_leg: thigh_l < pelvis, calf_l, foot_l, ball_l
        left_leg: thigh_twist_01_l < thigh_l
        right_leg: thigh_r < pelvis, calf_r, foot_r, ball_r
        right_leg: thigh_twist_01_r < thigh_r
        trunk: squint_l < head, eye_ball_l
        trunk: squint_r < head, eye_ball_r
        trunk: ik_foot_root < root
        left_leg: ik_foot_l < ik_foot_root
        right_leg: ik_foot_r < ik_foot_root
        trunk: ik_hand_root < root, ik_hand_gun
        left_arm: ik_hand_l < ik_hand_gun
        right_arm: ik_hand_r < ik_hand_gun
        """,
        "_l/_r",
        "spine_01",
    ),
    "plug-in gait markers": read(
        """
        trunk: C7
        trunk: T10 < C7
        trunk: CLAV < C7
        trunk: STRN < C7
        trunk: RBAK < C7
        trunk: LFHD < C7
        trunk: RFHD < C7
        trunk: LBHD < C7
        trunk: RBHD < C7
        left_arm: LSHO < C7, LUPA, LELB, LFRM, LWRA, LFIN
        left_arm: LWRB < LFRM
        right_arm: RSHO < C7, RUPA, RELB, RFRM, RWRA, RFIN
        right_arm: RWRB < RFRM
        trunk: LASI < C7
        trunk: RASI < C7
        trunk: LPSI < C7
        trunk: RPSI < C7
        left_leg: LTHI < C7, LKNE, LTIB, LANK, LTOE
        left_leg: LHEE < LANK
        right_leg: RTHI < C7, RKNE, RTIB, RANK, RTOE
        right_leg: RHEE < RANK
        """,
        "LF/RF, LBH/RBH, LS/RS, LU/RU, LE/RE, LW/RW, LA/RA, LP/RP, LT/RT, LK/RK, LH/RH",
        "C7",
    ),
    "optitrack": read(
        """
        trunk: Hip, Ab, Chest, Neck, Head
        left_arm: LShoulder < Chest, LUArm, LFArm, LHand
        right_arm: RShoulder < Chest, RUArm, RFArm, RHand
        left_leg: LThigh < Hip, LShin, LFoot, LToe
        right_leg: RThigh < Hip, RShin, RFoot, RToe
        """,
        "LS/RS, LU/RU, LF/RF, LH/RH, LT/RT",
        "Ab",
    ),
    "noitom": read(
        """
        trunk: Hips
        right_leg: RightUpLeg < Hips, RightLeg, RightFoot
        left_leg: LeftUpLeg < Hips, LeftLeg, LeftFoot
        trunk: Spine < Hips, Spine1, Spine2, Spine3, Neck, Head
        right_arm: RightShoulder < Neck, RightArm, RightForeArm, RightHand, RightHandThumb1
        right_arm: RightInHandIndex < RightHand, RightHandIndex1, RightHandIndex2
        left_arm: LeftShoulder < Neck, LeftArm, LeftForeArm, LeftHand, LeftHandThumb1
        left_arm: LeftInHandIndex < LeftHand, LeftHandIndex1, LeftHandIndex2
        """,
        "Left/Right",
        "Spine",
    ),
    "lafan1": read(
        """
        trunk: Hips
        left_leg: LeftUpLeg < Hips, LeftLeg, LeftFoot, LeftToe
        right_leg: RightUpLeg < Hips, RightLeg, RightFoot, RightToe
        trunk: Spine < Hips, Spine1, Spine2, Neck, Head
        left_arm: LeftShoulder < Spine2, LeftArm, LeftForeArm, LeftHand
        right_arm: RightShoulder < Spine2, RightArm, RightForeArm, RightHand
        """,
        "Left/Right",
        "Spine",
    ),
    "biovision": read(
        """
        trunk: Hips, Chest, Neck, Head
        left_arm: LeftCollar < Chest, LeftUpArm, LeftLowArm, LeftHand
        right_arm: RightCollar < Chest, RightUpArm, RightLowArm, RightHand
        left_leg: LeftUpLeg < Hips, LeftLowLeg, LeftFoot
        right_leg: RightUpLeg < Hips, RightLowLeg, RightFoot
        """,
        "Left/Right",
        "Hips",
    ),
    "ogre": read(
        """
        trunk: Root, Waist
        left_leg: Thigh.L < Root, Calf.L, Foot.L, Toe.L
        right_leg: Thigh.R < Root, Calf.R, Foot.R, Toe.R
        trunk: Stomach < Waist, Chest, Neck, Head, Jaw
        trunk: Eye.L < Head
        trunk: Eye.R < Head
        left_arm: Clavicle.L < Chest, Humerus.L, Ulna.L, Hand.L, IndexFingerProx.L
        right_arm: Clavicle.R < Chest, Humerus.R, Ulna.R, Hand.R, IndexFingerProx.R
        """,
        ".L/.R",
        "Waist",
    ),
    "makehuman": read(
        """
        trunk: root
        left_leg: pelvis.L < root, upperleg01.L, upperleg02.L, lowerleg01.L, foot.L, toe1-1.L
        right_leg: pelvis.R < root, upperleg01.R, upperleg02.R, lowerleg01.R, foot.R, toe1-1.R
        trunk: spine05 < root, spine04, spine03, spine02, spine01, neck01, head, jaw
        trunk: special06.L < head, orbicularis03.L
        trunk: special06.R < head, orbicularis03.R
        left_arm: clavicle.L < spine01, shoulder01.L, upperarm01.L, lowerarm01.L, wrist.L
        left_arm: metacarpal1.L < wrist.L, finger2-1.L, finger2-2.L
        right_arm: clavicle.R < spine01, shoulder01.R, upperarm01.R, lowerarm01.R, wrist.R
        right_arm: metacarpal1.R < wrist.R, finger2-1.R, finger2-2.R
        """,
        ".L/.R",
        "spine05",
    ),
    "character creator": read(
        """
        trunk: CC_Base_Hip, CC_Base_Pelvis
        left_leg: CC_Base_L_Thigh < CC_Base_Pelvis, CC_Base_L_Calf, CC_Base_L_Foot
        left_leg: CC_Base_L_ToeBase < CC_Base_L_Foot
        left_leg: CC_Base_L_ThighTwist01 < CC_Base_L_Thigh
        right_leg: CC_Base_R_Thigh < CC_Base_Pelvis, CC_Base_R_Calf, CC_Base_R_Foot
        right_leg: CC_Base_R_ToeBase < CC_Base_R_Foot
        right_leg: CC_Base_R_ThighTwist01 < CC_Base_R_Thigh
        trunk: CC_Base_Waist < CC_Base_Hip, CC_Base_Spine01, CC_Base_Spine02, CC_Base_NeckTwist01
        trunk: CC_Base_Head < CC_Base_NeckTwist01
        trunk: CC_Base_L_RibsTwist < CC_Base_Spine02, CC_Base_L_Breast
        trunk: CC_Base_R_RibsTwist < CC_Base_Spine02, CC_Base_R_Breast
        left_arm: CC_Base_L_Clavicle < CC_Base_Spine02, CC_Base_L_Upperarm, CC_Base_L_Forearm
        left_arm: CC_Base_L_Hand < CC_Base_L_Forearm
        right_arm: CC_Base_R_Clavicle < CC_Base_Spine02, CC_Base_R_Upperarm, CC_Base_R_Forearm
        right_arm: CC_Base_R_Hand < CC_Base_R_Forearm
        """,
        "_L_/_R_",
        "CC_Base_Waist",
    ),
    "second life": read(
        """
        trunk: mPelvis, mTorso, mChest, mNeck, mHead, mSkull
        trunk: mEyeLeft < mHead
        trunk: mEyeRight < mHead
        left_arm: mCollarLeft < mChest, mShoulderLeft, mElbowLeft, mWristLeft
        right_arm: mCollarRight < mChest, mShoulderRight, mElbowRight, mWristRight
        right_leg: mHipRight < mPelvis, mKneeRight, mAnkleRight, mFootRight, mToeRight
        left_leg: mHipLeft < mPelvis, mKneeLeft, mAnkleLeft, mFootLeft, mToeLeft
        """,
        "Left/Right",
        "mTorso",
    ),
    "h-anim": read(
        """
        trunk: humanoid_root, sacroiliac
        left_leg: l_hip < sacroiliac, l_knee, l_talocrural, l_metatarsophalangeal_2
        right_leg: r_hip < sacroiliac, r_knee, r_talocrural, r_metatarsophalangeal_2
        trunk: vl5 < humanoid_root, vl1, vt10, vt1, vc4, skullbase
        left_arm: l_sternoclavicular < vt1, l_shoulder, l_elbow, l_radiocarpal
        right_arm: r_sternoclavicular < vt1, r_shoulder, r_elbow, r_radiocarpal
        """,
        "l_/r_",
        "vl5",
    ),
    "tracked points, all below the pelvis": read(
        """
        trunk: pelvis
        trunk: head < pelvis
        left_arm: left_hand < pelvis
        left_arm: left_elbow < pelvis
        left_arm: left_index < pelvis
        right_arm: right_index < pelvis
        right_arm: right_hand < pelvis
        right_arm: right_elbow < pelvis
        left_leg: left_knee < pelvis
        left_leg: left_heel < pelvis
        right_leg: right_knee < pelvis
        right_leg: right_heel < pelvis
        """,
        "left/right",
        "pelvis",
    ),
    "penn action": read(
        """
        trunk: head
        left_arm: left_shoulder < head, left_elbow, left_wrist
        right_arm: right_shoulder < head, right_elbow, right_wrist
        left_leg: left_hip < left_shoulder, left_knee, left_ankle
        right_leg: right_hip < right_shoulder, right_knee, right_ankle
        """,
        "left/right",
        "head",
    ),
    "sides in several ways": read(
        """
        trunk: hips, spine, head
        trunk: LeftEye < head
        trunk: r_eye < head
        left_arm: LeftArm < spine, l_hand
        right_arm: right_arm < spine, R_Hand
        left_leg: left.leg < hips, Foot_L
        right_leg: RightLeg < hips, rfoot_r
        """,
        "LeftEye/r_eye, LeftArm/right_arm, l_hand/R_Hand, left.leg/RightLeg, Foot_L/rfoot_r",
        "spine",
    ),
    "a prop, and joints named alike on both sides": read(
        """
        trunk: Hips, Chest, Chest2, Neck, Head
        left_arm: LeftCollar < Chest2, LeftShoulder, LeftElbow, Dummy07
        right_arm: RightCollar < Chest2, RightShoulder, RightElbow, Dummy12, Prop1
        left_leg: LeftHip < Hips, LeftKnee, LeftAnkle
        right_leg: RightHip < Hips, RightKnee, RightAnkle
        """,
        "Left/Right, Dummy07/Dummy12",
        "Chest",
    ),
}

HANDS = {
    "shrec": read(
        """
        palm: wrist, palm
        thumb: thumb_base < wrist, thumb_first, thumb_second, thumb_tip
        index: index_base < palm, index_first, index_second, index_tip
        middle: middle_base < palm, middle_first, middle_second, middle_tip
        ring: ring_base < palm, ring_first, ring_second, ring_tip
        little: little_base < palm, little_first, little_second, little_tip
        """,
        "left/right",
        "palm",
    ),
    "mano": read(
        """
        palm: wrist
        index: index1 < wrist, index2, index3
        middle: middle1 < wrist, middle2, middle3
        little: pinky1 < wrist, pinky2, pinky3
        ring: ring1 < wrist, ring2, ring3
        thumb: thumb1 < wrist, thumb2, thumb3
        """,
        "left/right",
        "wrist",
    ),
    "mediapipe": read(
        """
        palm: WRIST
        thumb: THUMB_CMC < WRIST, THUMB_MCP, THUMB_IP, THUMB_TIP
        index: INDEX_FINGER_MCP < WRIST, INDEX_FINGER_PIP, INDEX_FINGER_DIP, INDEX_FINGER_TIP
        middle: MIDDLE_FINGER_MCP < INDEX_FINGER_MCP, MIDDLE_FINGER_PIP, MIDDLE_FINGER_DIP
        ring: RING_FINGER_MCP < MIDDLE_FINGER_MCP, RING_FINGER_PIP, RING_FINGER_DIP
        little: PINKY_MCP < RING_FINGER_MCP, PINKY_PIP, PINKY_DIP, PINKY_TIP
        """,
        "left/right",
        "WRIST",
    ),
    "first-person hands": read(
        """
        palm: Wrist
        thumb: TMCP < Wrist, TPIP, TDIP, TTIP
        index: IMCP < Wrist, IPIP, IDIP, ITIP
        middle: MMCP < Wrist, MPIP, MDIP, MTIP
        ring: RMCP < Wrist, RPIP, RDIP, RTIP
        little: PMCP < Wrist, PPIP, PDIP, PTIP
        """,
        "left/right",
        "Wrist",
    ),
    "numbered fingers": read(
        """
        palm: lHand
        finger2: metacarpal1.l < lHand, finger2-1.l, finger2-2.l
        finger3: metacarpal2.l < lHand, finger3-1.l, finger3-2.l
        finger4: metacarpal3.l < lHand, finger4-1.l, finger4-2.l
        thumb: lthumbBase < lHand, lthumb, finger1-2.l, finger1-3.l
        """,
        "left/right",
        "lHand",
    ),
    "both hands": read(
        """
        palm: root
        left_palm: left_wrist < root
        left_thumb: left_thumb1 < left_wrist, left_thumb2
        left_index: left_index1 < left_wrist, left_index2
        left_middle: left_middle1 < left_wrist, left_middle2
        right_palm: right_wrist < root
        right_thumb: right_thumb1 < right_wrist, right_thumb2
        right_index: right_index1 < right_wrist, right_index2
        right_middle: right_middle1 < right_wrist, right_middle2
        """,
        "left/right",
        "root",
    ),
}
