"""Joint layouts of human bodies, and the three input streams derived from them."""

from pcm3.skeleton.skeleton import (
    BLAZEPOSE33,
    COCO17,
    KINECT20,
    MOST_PERSONS,
    NTU25,
    PARTS,
    SBU15,
    SKELETONS,
    UIPRMD22,
    Skeleton,
    Stream,
    check_skeleton,
    find_skeleton,
    joint_count,
    to_stream,
)

__all__ = [
    "BLAZEPOSE33",
    "COCO17",
    "KINECT20",
    "MOST_PERSONS",
    "NTU25",
    "PARTS",
    "SBU15",
    "SKELETONS",
    "UIPRMD22",
    "Skeleton",
    "Stream",
    "check_skeleton",
    "find_skeleton",
    "joint_count",
    "to_stream",
]
