"""Augmentations as pure functions of clips and given values.

Every function takes a batch of clips ``(N, C, T, V, M)`` and values with one entry per sample along
their first axis, or one clip ``(C, T, V, M)``, C at most 3 and M at most 2, and values without that
axis. Results keep the device and dtype of the clips; arithmetic is float32 or wider. All functions
are differentiable with respect to the clips and to continuous values (``matrix``, ``lam``).
"""

from pcm3.augment.functional.mask import apply_mask, motion_aware_mask, motion_intensity
from pcm3.augment.functional.mix import mixup, paste, shrink_frames
from pcm3.augment.functional.spatial import linear_map, mirror, rotation_matrix, transform_joints
from pcm3.augment.functional.temporal import (
    center_crop_resize,
    crop_resize,
    drop_frames,
    gaussian_blur,
    keep_frames,
    reflect_crop,
    shuffle_segments,
)

__all__ = [
    "apply_mask",
    "center_crop_resize",
    "crop_resize",
    "drop_frames",
    "gaussian_blur",
    "keep_frames",
    "linear_map",
    "mirror",
    "mixup",
    "motion_aware_mask",
    "motion_intensity",
    "paste",
    "reflect_crop",
    "rotation_matrix",
    "shrink_frames",
    "shuffle_segments",
    "transform_joints",
]
