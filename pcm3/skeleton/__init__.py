"""Joint layouts of human bodies, maps between them, and the three input streams."""

from pcm3.skeleton.layouts import (
    BLAZEPOSE33,
    COCO17,
    COMMON15,
    KINECT20,
    NTU25,
    SBU15,
    SKELETONS,
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
    "BLAZEPOSE33",
    "COCO17",
    "COMMON15",
    "KINECT20",
    "MOST_PERSONS",
    "NTU25",
    "PARTS",
    "SBU15",
    "SKELETONS",
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
