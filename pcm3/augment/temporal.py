"""Transforms of the time axis."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor

from pcm3.augment.base import Draw, Transform, share_of
from pcm3.augment.functional.temporal import check_segments, check_taps
from pcm3.augment.kernels import (
    crop_resize,
    drop_frames,
    gaussian_blur,
    keep_frames,
    reflect_crop,
    reverse_frames,
    shuffle_segments,
)
from pcm3.checks import (
    check_at_least,
    check_clips,
    check_count,
    check_flag,
    check_positive,
    check_range,
    check_share,
    shorten,
)

__all__ = [
    "GaussianBlur",
    "GaussianNoise",
    "MotionFrameDrop",
    "ReflectCrop",
    "SegmentShuffle",
    "TemporalClip",
    "TemporalCropResize",
    "TimeFlip",
]


class TemporalCropResize(Transform):
    """Cut a random range of valid frames and resize it linearly (PCM3 Sec. 3.1).

    Of ``n`` valid frames ``min(max(floor(n * ratio), min_frames), n)`` are kept, with
    ``ratio ~ U(scale)`` and a uniform start.

    Args:
        size: Frames of the result.
        scale: Range of the kept share, within [0, 1].
        min_frames: Smallest number of frames to keep: clips of at most ``min_frames`` valid frames
            are never cropped, only resized. By default the smaller of ``size`` and the published
            64.
        same_on_batch: Draw one ratio and one relative start for the whole batch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, and optionally their lengths,
        ``(N, C, size, V, M)`` or ``(C, size, V, M)``.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> crop, clips = TemporalCropResize(size=32), torch.randn(2, 3, 64, 25, 2)
        >>> generator = torch.manual_seed(0)
        >>> view, other = crop(clips, generator=generator), crop(clips, generator=generator)
        >>> view.shape, torch.equal(view, other)
        (torch.Size([2, 3, 32, 25, 2]), False)
    """

    takes_lengths = True

    def __init__(
        self,
        size: int = 64,
        scale: tuple[float, float] = (0.1, 1.0),
        min_frames: int | None = None,
        same_on_batch: bool = False,
    ) -> None:
        check_positive("size", size)
        check_range("scale", scale, 0, 1)
        min_frames = min(64, size) if min_frames is None else min_frames
        check_positive("min_frames", min_frames)
        self.size = size
        self.scale = scale
        self.min_frames = min_frames
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        valid = draw.valid
        ratio = draw.uniform(low=self.scale[0], high=self.scale[1])
        kept = (valid * ratio).long().clamp(min=self.min_frames).minimum(valid)
        return crop_resize(clips, draw.integers(0, valid - kept), kept, self.size)


class ReflectCrop(Transform):
    """Resize the valid frames, then shift them within their mirror images (SkeletonCLR).

    The valid frames are resized linearly to T' = ``size``. ``int(T' * ratio)`` frames are added at
    each end, as the mirror image of the frames there, and T' frames are cut out at a uniform start.

    Args:
        size: Frames of the result.
        ratio: Share of the frames that is added at each end, within [0, 1].
        same_on_batch: Draw one start for the whole batch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, and optionally their lengths,
        ``(N, C, size, V, M)`` or ``(C, size, V, M)``.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Temporal crop of SkeletonCLR and CrosSCLR (Li et al., CVPR 2021) and of AimCLR.

    Example:
        >>> import torch
        >>> ReflectCrop(size=50)(torch.randn(2, 3, 300, 25, 2)).shape
        torch.Size([2, 3, 50, 25, 2])
    """

    takes_lengths = True

    def __init__(self, size: int = 50, ratio: float = 1 / 6, same_on_batch: bool = False) -> None:
        check_count("size", size)
        check_share("ratio", ratio)
        check_flag("same_on_batch", same_on_batch)
        self.size = size
        self.ratio = ratio
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        valid = draw.valid
        resized = crop_resize(clips, torch.zeros_like(valid), valid, self.size)
        padding = share_of(self.size, self.ratio)
        return reflect_crop(resized, draw.integers(0, 2 * padding), padding)


ClipMode = Literal["mask", "crop"]


class TemporalClip(Transform):
    """Keep one short contiguous clip of the sequence: the query view of PCM3++'s clip contrast.

    It has ``round(n * r)`` of ``n`` valid frames, with ``r ~ U(ratio)`` and a uniform start. The
    paper does not give the range; a quarter to a half is this library's choice.

    Args:
        ratio: Range of the kept share of the frames, within (0, 1].
        mode: ``"mask"`` zeroes the frames outside, ``"crop"`` resizes the clip to T frames, all of
            them valid.
        same_on_batch: Draw one clip for the whole batch.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> clip = TemporalClip(ratio=(0.25, 0.25))(torch.ones(3, 64, 25, 2))
        >>> int(clip[0, :, 0, 0].sum())
        16
    """

    takes_lengths = True

    def __init__(
        self,
        ratio: tuple[float, float] = (0.25, 0.5),
        mode: ClipMode = "mask",
        same_on_batch: bool = False,
    ) -> None:
        check_range("ratio", ratio, 0, 1)
        check_positive("ratio", ratio[0])
        if mode not in get_args(ClipMode):
            raise ValueError(f"expected a mode among {get_args(ClipMode)}, got {shorten(mode)}")
        self.ratio = ratio
        self.mode = mode
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        valid = draw.valid
        share = draw.uniform(low=self.ratio[0], high=self.ratio[1])
        kept = (valid * share).round().long().clamp(min=1)
        starts = draw.integers(0, valid - kept)
        if self.mode == "mask":
            return keep_frames(clips, starts, kept)
        return crop_resize(clips, starts, kept, clips.shape[2])

    @property
    def keeps_lengths(self) -> bool:
        """Whether frames keep their positions, so that the lengths hold for the result too."""
        return self.mode == "mask"


class MotionFrameDrop(Transform):
    """Remove the fastest frames, and of the others some at random (PSTL).

    Of T frames, ``int(T * fastest)`` with the largest motion are removed, see
    :func:`pcm3.augment.functional.drop_frames`, then ``int(T * others)`` of the rest. The frames
    that are left keep their order. All frames count as valid: crop padded clips first.

    Args:
        fastest: Share of the frames to remove by their motion, within [0, 1].
        others: Share of the frames to remove at random, within [0, 1].
        same_on_batch: Remove the frames of the same rank among the rest in the whole batch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, clips with fewer frames.

    Raises:
        ValueError: If an argument is out of range, or no frame would be left.

    Source:
        Zhou et al.: Self-supervised Action Representation Learning from Partial Spatio-Temporal
        Skeleton Sequences, AAAI 2023.

    Example:
        >>> import torch
        >>> MotionFrameDrop()(torch.randn(2, 3, 50, 25, 2)).shape
        torch.Size([2, 3, 30, 25, 2])
    """

    def __init__(
        self, fastest: float = 0.2, others: float = 0.2, same_on_batch: bool = False
    ) -> None:
        check_share("fastest", fastest)
        check_share("others", others)
        check_flag("same_on_batch", same_on_batch)
        self.fastest = fastest
        self.others = others
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        frames = clips.shape[2]
        fastest, others = share_of(frames, self.fastest), share_of(frames, self.others)
        rest = frames - fastest
        if rest <= others:
            raise ValueError(
                f"expected shares that leave one of {frames} frames, got {fastest + others} to drop"
            )
        dropped = draw.subset(rest, count=others)
        kept = dropped.byte().argsort(dim=1, stable=True)[:, : rest - others]
        return drop_frames(clips, fastest, kept)


class TimeFlip(Transform):
    """Reverse the order of the valid frames of clips ``(N, C, T, V, M)``. Nothing is drawn.

    Frames after the valid ones stay. ``OneOf(Compose(), TimeFlip())`` reverses half of the samples.

    Example:
        >>> import torch
        >>> clips = torch.tensor([1.0, 2.0, 3.0, 0.0]).view(1, 1, 4, 1, 1)
        >>> TimeFlip()(clips, lengths=torch.tensor([3])).flatten().tolist()
        [3.0, 2.0, 1.0, 0.0]
    """

    takes_lengths = True
    keeps_lengths = True
    same_on_batch = False

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        return reverse_frames(clips, draw.valid)


class GaussianNoise(Transform):
    """Add independent Gaussian noise to every coordinate of clips ``(N, C, T, V, M)`` (AimCLR).

    As published, the zeros of padded frames and of absent persons get noise too, so that an absent
    person counts as present. ``noisy.masked_fill(clips == 0, 0)`` keeps the zeros.

    Args:
        std: Standard deviation, in the unit of the coordinates, at least 0.
        same_on_batch: Draw the noise once for the whole batch.

    Raises:
        ValueError: If the deviation is negative.

    Example:
        >>> import torch
        >>> clips = torch.zeros(2, 3, 64, 25, 2)
        >>> noisy = GaussianNoise(std=0.1)(clips, generator=torch.manual_seed(0))
        >>> noisy.shape, round(noisy.std().item(), 2)
        (torch.Size([2, 3, 64, 25, 2]), 0.1)
    """

    def __init__(self, std: float = 0.01, same_on_batch: bool = False) -> None:
        check_at_least("std", std, 0)
        check_flag("same_on_batch", same_on_batch)
        self.std = std
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        noise = self.std * draw.normal(*clips.shape[1:])
        return (clips + noise).to(clips.dtype)


class GaussianBlur(Transform):
    """Blur clips ``(N, C, T, V, M)`` along time with a Gaussian of random width (AimCLR).

    All coordinates of a sample have one standard deviation. Frames outside the clip count as 0, see
    :func:`pcm3.augment.functional.gaussian_blur`.

    Args:
        sigma: Range of the standard deviation in frames, above 0.
        taps: Number of weights; odd.
        normalize: Whether to divide the weights by their sum; AimCLR does not.
        same_on_batch: Draw one standard deviation for the whole batch.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> impulse = torch.eye(5)[2].view(1, 1, 5, 1, 1)
        >>> blurred = GaussianBlur(sigma=(1.0, 1.0), taps=3)(impulse)
        >>> [round(value, 2) for value in blurred.flatten().tolist()]
        [0.0, 0.27, 0.45, 0.27, 0.0]
    """

    def __init__(
        self,
        sigma: tuple[float, float] = (0.1, 2.0),
        taps: int = 15,
        normalize: bool = True,
        same_on_batch: bool = False,
    ) -> None:
        check_range("sigma", sigma, 0, float("inf"))
        check_positive("sigma", sigma[0])
        check_taps(taps)
        check_flag("normalize", normalize)
        check_flag("same_on_batch", same_on_batch)
        self.sigma = sigma
        self.taps = taps
        self.normalize = normalize
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        sigma = draw.uniform(low=self.sigma[0], high=self.sigma[1])
        return gaussian_blur(clips, sigma, self.taps, self.normalize)


class ShuffledClips(NamedTuple):
    """Clips whose segments are in another order, and the index of this order."""

    clips: Tensor
    """Shuffled clips ``(N, C, T, V, M)``."""
    order: Tensor
    """Index of each clip's order in the lexicographic list of all orders, long ``(N,)``."""


class SegmentShuffle(Transform):
    """Cut the valid frames into equal segments and put them into a random order (MS2L).

    A segment has ``n // segments`` of n valid frames. All orders are equally probable, the present
    one among them. Frames after the last segment stay.

    Args:
        segments: Number of segments, from 2 to 6.
        same_on_batch: Draw one order for the whole batch.

    Attributes:
        orders: Number of orders, ``segments!``.

    Raises:
        ValueError: If ``segments`` is out of range.

    Example:
        >>> import torch
        >>> clips = torch.arange(6.0).view(1, 1, 6, 1, 1)
        >>> shuffled, order = SegmentShuffle(3).with_order(clips, generator=torch.manual_seed(2))
        >>> shuffled.flatten().tolist(), order.tolist()
        ([2.0, 3.0, 4.0, 5.0, 0.0, 1.0], [3])
    """

    takes_lengths = True
    keeps_lengths = True

    def __init__(self, segments: int = 3, same_on_batch: bool = False) -> None:
        check_segments(segments)
        self.segments = segments
        self.orders = math.factorial(segments)
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def with_order(
        self,
        clips: Tensor,
        lengths: Tensor | None = None,
        generator: Generator | None = None,
    ) -> ShuffledClips:
        """Shuffle the segments of a batch, and return the order too.

        Args:
            clips: ``(N, C, T, V, M)``.
            lengths: Valid frames ``(N,)``, integers in [1, T]; T by default.
            generator: Source of the random numbers, on the device of the clips.

        Raises:
            ValueError: If clips, lengths or generator do not fit.
        """
        check_clips(clips)
        return self._shuffle(clips, Draw(clips, generator, self.same_on_batch, lengths))

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        return self._shuffle(clips, draw).clips

    def _shuffle(self, clips: Tensor, draw: Draw) -> ShuffledClips:
        order = draw.integers(0, self.orders - 1)
        return ShuffledClips(shuffle_segments(clips, order, self.segments, draw.valid), order)
