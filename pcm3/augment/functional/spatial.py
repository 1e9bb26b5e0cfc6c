"""Pure functions of the coordinates: linear maps and the mirror image."""

from __future__ import annotations

import torch
from torch import Tensor

from pcm3._torch import index_tensor
from pcm3.augment import kernels
from pcm3.checks import check_clips, check_tensor, check_values
from pcm3.skeleton import Skeleton, check_skeleton


def linear_map(clips: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of every joint, ``x' = S x``, equally in all frames and persons.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        matrix: ``(N, C, C)`` or ``(C, C)``.

    Raises:
        ValueError: If the shape of ``clips`` or ``matrix`` is wrong.

    Example:
        >>> linear_map(torch.ones(1, 3, 64, 25, 2), 2 * torch.eye(3)[None])[0, :, 0, 0, 0].tolist()
        [2.0, 2.0, 2.0]
    """
    check_clips(clips, unbatched=True)
    channels = clips.shape[-4]
    check_values("matrix", matrix, clips, channels, channels)
    return kernels.linear_map(clips, matrix)


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotations ``R = Rz Ry Rx`` from angles about the fixed x, y and z axes.

    Args:
        angles: Radians ``(..., 3)``, counter-clockwise when looking against the axis.

    Returns:
        Matrices ``(..., 3, 3)``.

    Raises:
        ValueError: If the last axis of ``angles`` is not 3 long.

    Example:
        >>> quarter = rotation_matrix(torch.tensor([0, 0, torch.pi / 2]))  # x becomes y
        >>> round(quarter[1, 0].item(), 3)
        1.0
    """
    check_tensor("angles", angles)
    if angles.ndim == 0 or angles.shape[-1] != 3:
        raise ValueError(f"expected angles (..., 3), got {tuple(angles.shape)}")
    return kernels.rotation_matrix(angles)


def transform_joints(clips: Tensor, joints: Tensor, matrix: Tensor) -> Tensor:
    """Map the coordinates of some joints, ``x' = S x``, and leave the others.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        joints: Which joints to map, boolean ``(N, V)``.
        matrix: ``(N, C, C)`` or ``(C, C)``; zeros erase the joints.

    Raises:
        ValueError: If a shape or dtype is wrong.

    Example:
        >>> joints, erase = torch.tensor([[True, False]]), torch.zeros(1, 3, 3)
        >>> transform_joints(torch.ones(1, 3, 1, 2, 1), joints, erase)[0, 0].flatten().tolist()
        [0.0, 1.0]
    """
    check_clips(clips, unbatched=True)
    channels = clips.shape[-4]
    check_values("matrix", matrix, clips, channels, channels)
    check_values("joints", joints, clips, clips.shape[-2], dtype=torch.bool)
    return kernels.transform_joints(clips, joints, matrix)


def mirror(clips: Tensor, skeleton: Skeleton, negate: bool = True) -> Tensor:
    """Swap left and right: exchange the mirrored joints and negate the first coordinate.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``, x first and centred on the body.
        skeleton: The layout of the joint axis.
        negate: Whether to negate the first coordinate; AimCLR only exchanges the joints.

    Raises:
        ValueError: If the joint axis is not the skeleton's.

    Example:
        >>> from pcm3.skeleton import NTU25
        >>> clips = torch.randn(2, 3, 64, 25, 2)
        >>> torch.equal(mirror(mirror(clips, NTU25), NTU25), clips)
        True
    """
    check_skeleton(skeleton)
    check_clips(clips, joints=len(skeleton), unbatched=True)
    swapped = clips.index_select(-2, index_tensor(skeleton.mirror, clips.device))
    if not negate:
        return swapped
    return torch.cat([-swapped[..., :1, :, :, :], swapped[..., 1:, :, :, :]], dim=-4)
