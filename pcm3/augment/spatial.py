"""Transforms of the coordinates, which are equal in all frames of a sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pcm3.augment.base import Draw, Transform, share_of
from pcm3.augment.functional import mirror
from pcm3.augment.kernels import linear_map, rotation_matrix, transform_joints
from pcm3.checks import check_at_least, check_flag, check_number, check_share
from pcm3.skeleton import Skeleton, check_skeleton

__all__ = ["AxisMask", "Flip", "JointJitter", "MainAxisRotate", "Rotate", "Shear"]


class Shear(Transform):
    """Shear the body: ``x' = S x`` with ones on the diagonal of S (PCM3 Sec. 3.1).

    The other entries are uniform in [-amplitude, amplitude]; all frames, joints and persons of a
    sample share one matrix. Any number of channels.

    Args:
        amplitude: Largest off-diagonal entry, at least 0 (0: identity).
        same_on_batch: Draw one matrix for the whole batch.

    Raises:
        ValueError: If ``amplitude`` is negative.

    Example:
        >>> import torch
        >>> Shear(amplitude=0.5)
        Shear(amplitude=0.5, same_on_batch=False)
        >>> Shear()(torch.randn(2, 3, 64, 25, 2)).shape
        torch.Size([2, 3, 64, 25, 2])
    """

    def __init__(self, amplitude: float = 1.0, same_on_batch: bool = False) -> None:
        _check_amplitude(amplitude)
        self.amplitude = amplitude
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        channels = clips.shape[1]
        slant = draw.uniform(channels, channels, low=-self.amplitude, high=self.amplitude)
        unit = torch.eye(channels, device=clips.device)
        return linear_map(clips, torch.where(unit == 1, unit, slant))


class JointJitter(Transform):
    """Erase or distort some joints (PCM3 Sec. 3.1).

    ``int(V * ratio)`` joints, the same in all frames and persons of a sample, are set to zero or
    mapped by a random matrix with entries uniform in [-amplitude, amplitude].

    Args:
        ratio: Share of the joints, in [0, 1] (0: identity).
        amplitude: Largest entry of the matrix, at least 0.
        zero_probability: Probability of zeros instead of the matrix, in [0, 1].
        same_on_batch: Draw joints and matrix once for the whole batch.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> erased = JointJitter(zero_probability=1)(torch.ones(3, 64, 25, 2))
        >>> int((erased == 0).all(dim=1)[0, :, 0].sum())
        15
    """

    def __init__(
        self,
        ratio: float = 0.6,
        amplitude: float = 1.0,
        zero_probability: float = 0.5,
        same_on_batch: bool = False,
    ) -> None:
        check_share("ratio", ratio)
        _check_amplitude(amplitude)
        check_share("zero_probability", zero_probability)
        self.ratio = ratio
        self.amplitude = amplitude
        self.zero_probability = zero_probability
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        channels, joints = clips.shape[1], clips.shape[3]
        chosen = draw.subset(joints, count=share_of(joints, self.ratio))
        matrix = draw.uniform(channels, channels, low=-self.amplitude, high=self.amplitude)
        erase = draw.uniform() < self.zero_probability
        return transform_joints(clips, chosen, matrix.masked_fill(erase[:, None, None], 0))


class Rotate(Transform):
    """Rotate the body by random angles about x, then y, then z: ``R = Rz Ry Rx``.

    Clips of two channels rotate in their plane, by angles in the range for z.

    Args:
        degrees: Largest angle about each axis, ``(x, y, z)`` or one number for all, at least 0;
            angles are uniform in [-degrees, degrees] (0: identity).
        same_on_batch: Draw one rotation for the whole batch.

    Raises:
        ValueError: If a range is negative, or clips have neither two nor three channels.

    Example:
        >>> import torch
        >>> Rotate(degrees=(0, 30, 0))
        Rotate(degrees=(0, 30, 0), same_on_batch=False)
        >>> Rotate(degrees=10)(torch.randn(2, 3, 64, 25, 2)).shape
        torch.Size([2, 3, 64, 25, 2])
    """

    def __init__(
        self, degrees: float | tuple[float, float, float] = 30.0, same_on_batch: bool = False
    ) -> None:
        each = degrees if isinstance(degrees, (tuple, list)) else (degrees,) * 3
        for limit in each:
            check_number("degrees", limit)
        if len(each) != 3 or not all(limit >= 0 for limit in each):
            raise ValueError(f"expected degrees >= 0, one number or (x, y, z), got {degrees}")
        self.degrees = degrees
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch
        self._radians = [math.radians(limit) for limit in each]

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        channels = clips.shape[1]
        _check_rotatable(channels)
        x, y, z = (draw.uniform(low=-limit, high=limit) for limit in self._radians)
        if channels == 2:
            x, y = torch.zeros_like(z), torch.zeros_like(z)
        matrix = rotation_matrix(torch.stack([x, y, z], dim=-1))
        return linear_map(clips, matrix[:, :channels, :channels])


class MainAxisRotate(Transform):
    """Rotate the body mostly about one axis, drawn from x, y and z (AimCLR).

    The angle about that axis is uniform in [0, degrees), those about the two others in
    [0, others). The body turns clockwise when looking against the axis, first about x, then y, then
    z. Clips of two channels turn in their plane, by an angle in [0, degrees).

    Args:
        degrees: Largest angle about the main axis, at least 0.
        others: Largest angle about the others, at least 0.
        same_on_batch: Draw one rotation for the whole batch.

    Raises:
        ValueError: If an angle is negative, or clips have neither two nor three channels.

    Example:
        >>> import torch
        >>> MainAxisRotate()(torch.randn(2, 3, 64, 25, 2)).shape
        torch.Size([2, 3, 64, 25, 2])
    """

    def __init__(
        self, degrees: float = 30.0, others: float = 1.0, same_on_batch: bool = False
    ) -> None:
        check_at_least("degrees", degrees, 0)
        check_at_least("others", others, 0)
        check_flag("same_on_batch", same_on_batch)
        self.degrees = degrees
        self.others = others
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        channels = clips.shape[1]
        _check_rotatable(channels)
        axes = torch.arange(3, device=clips.device)
        main = draw.choice((1 / 3,) * 3)[:, None] == axes
        unit = draw.uniform(3)
        degrees = torch.where(main, unit * self.degrees, unit * self.others)
        if channels == 2:
            degrees = (axes == 2) * unit * self.degrees
        return linear_map(clips, main_axis_matrix(degrees)[:, :channels, :channels])


def main_axis_matrix(degrees: Tensor) -> Tensor:
    """Rotations ``(N, 3, 3)`` of AimCLR from angles ``(N, 3)`` about x, y and z, in degrees."""
    return rotation_matrix(-degrees.deg2rad())


class AxisMask(Transform):
    """Set one coordinate of all joints to zero, drawn for each sample (AimCLR).

    Args:
        same_on_batch: Draw one coordinate for the whole batch.

    Example:
        >>> import torch
        >>> masked = AxisMask()(torch.ones(3, 64, 25, 2))
        >>> int(masked[:, 0, 0, 0].sum())
        2
    """

    def __init__(self, same_on_batch: bool = False) -> None:
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        channels = clips.shape[1]
        chosen = draw.choice((1 / channels,) * channels)
        hidden = chosen[:, None] == torch.arange(channels, device=clips.device)
        return clips.masked_fill(hidden[:, :, None, None, None], 0)


class Flip(Transform):
    """Exchange the joints of both sides in clips ``(N, C, T, V, M)``. Nothing is drawn.

    ``OneOf(Compose(), Flip(skeleton))`` flips half of the samples.

    Args:
        skeleton: The layout of the joint axis.
        negate: Whether to negate the first coordinate, so that the body is mirrored. AimCLR and
            PSTL do not: the sides change places where they are.

    Raises:
        ValueError: If clips lack the joints.

    Example:
        >>> import torch
        >>> from pcm3.skeleton import NTU25
        >>> left, right = NTU25.joints.index("left_hand"), NTU25.joints.index("right_hand")
        >>> clips = torch.zeros(2, 3, 64, 25, 2)
        >>> clips[:, :, :, left] = 1
        >>> Flip(NTU25)(clips)[0, :, 0, right, 0].tolist()
        [-1.0, 1.0, 1.0]
    """

    same_on_batch = False
    skeleton: Skeleton

    def __init__(self, skeleton: Skeleton, negate: bool = True) -> None:
        check_skeleton(skeleton)
        check_flag("negate", negate)
        self.skeleton = skeleton
        self.negate = negate

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:  # noqa: ARG002
        return mirror(clips, self.skeleton, self.negate)


def _check_rotatable(channels: int) -> None:
    if channels not in (2, 3):
        raise ValueError(f"expected clips with C=2 or C=3, got C={channels}")


def _check_amplitude(amplitude: float) -> None:
    check_at_least("amplitude", amplitude, 0)
