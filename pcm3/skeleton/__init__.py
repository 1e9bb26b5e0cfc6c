"""Joint layouts of human bodies, maps between them, and the three input streams."""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.skeleton.layouts import (
    AZURE32,
    BLAZEPOSE33,
    COCO17,
    COMMON15,
    HALPE26,
    HUMAN36M17,
    HUMAN36M32,
    KINECT20,
    NTU25,
    OPENPOSE18,
    OPENPOSE25,
    SBU15,
    SKELETONS,
    SMPL22,
    SMPL24,
    UIPRMD22,
    find_skeleton,
)
from pcm3.skeleton.mapping import JointMap, joint_map
from pcm3.skeleton.skeleton import (
    MOST_PERSONS,
    Skeleton,
    Stream,
    check_skeleton,
    joint_count,
    to_stream,
)
from pcm3.skeleton.tree import PARTS

__all__ = [
    "AZURE32",
    "BLAZEPOSE33",
    "COCO17",
    "COMMON15",
    "HALPE26",
    "HUMAN36M17",
    "HUMAN36M32",
    "KINECT20",
    "MOST_PERSONS",
    "NTU25",
    "OPENPOSE18",
    "OPENPOSE25",
    "PARTS",
    "SBU15",
    "SKELETONS",
    "SMPL22",
    "SMPL24",
    "UIPRMD22",
    "JointMap",
    "Skeleton",
    "Stream",
    "check_skeleton",
    "find_skeleton",
    "joint_count",
    "joint_map",
    "to_stream",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
