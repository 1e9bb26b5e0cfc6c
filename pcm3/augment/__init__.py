"""Augmentations of skeleton clips ``(N, C, T, V, M)``.

Classes hold ranges, draw values for each sample and take ``generator=``; the functions in
``pcm3.augment.functional`` apply given values. None loops over samples or waits for the device.
All except the mixes also take one unbatched clip ``(C, T, V, M)`` of at most 3 channels and 2
persons.
"""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.augment import functional
from pcm3.augment.compose import Compose, OneOf
from pcm3.augment.mask import DegreeJointDrop, MotionAwareMask, RandomMask, TopologyMask, TubeMask
from pcm3.augment.mix import CutMix, MixedClips, Mixup, RandomMix, ResizeMix
from pcm3.augment.spatial import AxisMask, Flip, JointJitter, MainAxisRotate, Rotate, Shear
from pcm3.augment.temporal import (
    GaussianBlur,
    GaussianNoise,
    MotionFrameDrop,
    ReflectCrop,
    SegmentShuffle,
    TemporalClip,
    TemporalCropResize,
    TimeFlip,
)

__all__ = [
    "AxisMask",
    "Compose",
    "CutMix",
    "DegreeJointDrop",
    "Flip",
    "GaussianBlur",
    "GaussianNoise",
    "JointJitter",
    "MainAxisRotate",
    "MixedClips",
    "Mixup",
    "MotionAwareMask",
    "MotionFrameDrop",
    "OneOf",
    "RandomMask",
    "RandomMix",
    "ReflectCrop",
    "ResizeMix",
    "Rotate",
    "SegmentShuffle",
    "Shear",
    "TemporalClip",
    "TemporalCropResize",
    "TimeFlip",
    "TopologyMask",
    "TubeMask",
    "functional",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
