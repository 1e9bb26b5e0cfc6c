"""Masks of joints and frames; True means masked."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from pcm3._torch import index_tensor
from pcm3.augment.base import Draw, Transform, share_of
from pcm3.augment.functional.mask import patch_count
from pcm3.augment.kernels import motion_aware_mask, window
from pcm3.checks import (
    check_count,
    check_flag,
    check_number,
    check_positive,
    check_share,
    shorten,
)
from pcm3.skeleton import Skeleton, check_skeleton

__all__ = ["DegreeJointDrop", "MotionAwareMask", "RandomMask", "TopologyMask", "TubeMask"]


class TopologyMask(Transform):
    """Mask whole body parts in clips of consecutive frames (PCM3 Sec. 3.2).

    In every clip of ``clip_length`` frames ``int(parts * ratio)`` parts are masked. The last clip
    is shorter if T is not a multiple. Frames that are not valid stay visible.

    The default masks the first person only, as published. With ``persons=(0, 1)`` an absent second
    person, all zeros, is masked too, and counts in :class:`~pcm3.losses.MaskedMSE`. To leave absent
    persons out: ``mask & clips.flatten(1, 3).any(dim=1)[:, None, None]``.

    Args:
        skeleton: The layout of the joint axis, with its body parts.
        ratio: Share of the parts, in (0, 1].
        clip_length: Frames that share their masked parts.
        persons: Indices of the persons to mask; the others stay visible.
        same_on_batch: Draw one mask for the whole batch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, and optionally their lengths, a
        boolean mask ``(N, T, V, M)`` or ``(T, V, M)``.

    Raises:
        ValueError: If an argument is out of range, the ratio masks no part, or clips lack the
            joints or the persons.

    Example:
        >>> import torch
        >>> from pcm3.skeleton import NTU25
        >>> mask = TopologyMask(NTU25)(torch.randn(2, 3, 64, 25, 2))
        >>> mask.shape, mask.dtype, bool(mask[..., 1].any())
        (torch.Size([2, 64, 25, 2]), torch.bool, False)
        >>> clips = torch.ones(2, 3, 64, 25, 2)
        >>> clips[1, ..., 1] = 0  # the second clip has one person
        >>> mask = TopologyMask(NTU25, persons=(0, 1))(clips)
        >>> mask.any(dim=2).any(dim=1).tolist()
        [[True, True], [True, True]]
        >>> mask &= clips.flatten(1, 3).any(dim=1)[:, None, None]
        >>> mask.any(dim=2).any(dim=1).tolist()
        [[True, True], [True, False]]
    """

    skeleton: Skeleton
    takes_lengths = True

    def __init__(
        self,
        skeleton: Skeleton,
        ratio: float = 0.6,
        clip_length: int = 8,
        persons: Sequence[int] = (0,),
        same_on_batch: bool = False,
    ) -> None:
        check_skeleton(skeleton)
        _check_mask(ratio, clip_length, persons)
        if share_of(len(skeleton.parts), ratio) == 0:
            raise ValueError(
                f"TopologyMask: expected ratio >= 1/{len(skeleton.parts)}, to mask at least one of "
                f"the {len(skeleton.parts)} parts of skeleton {skeleton.name!r}, got {ratio}"
            )
        self.skeleton = skeleton
        self.ratio = ratio
        self.clip_length = clip_length
        self.persons = tuple(persons)
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch
        self._part_of = part_of_joint(skeleton)

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        parts = len(self.skeleton.parts)
        count = share_of(parts, self.ratio)
        chosen = draw.subset(_clip_count(clips, self.clip_length), parts, count=count)
        joints = chosen[..., index_tensor(self._part_of, clips.device)]
        return _spread(joints, clips, draw.valid, self.clip_length, self.persons)


class RandomMask(Transform):
    """Mask random joints, drawn again for every clip of ``clip_length`` frames.

    Frames that are not valid stay visible. Persons are treated as in :class:`TopologyMask`.

    Args:
        ratio: Share of the joints, in (0, 1]; ``int(V * ratio)`` are masked.
        clip_length: Frames that share their masked joints.
        persons: Indices of the persons to mask; the others stay visible.
        same_on_batch: Draw one mask for the whole batch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, and optionally their lengths, a
        boolean mask ``(N, T, V, M)`` or ``(T, V, M)``.

    Raises:
        ValueError: If an argument is out of range, the ratio masks no joint, or clips lack the
            persons.

    Example:
        >>> import torch
        >>> mask = RandomMask(ratio=0.4)(torch.randn(2, 3, 64, 25, 1))
        >>> mask.sum(dim=(2, 3)).unique().tolist()
        [10]
    """

    takes_lengths = True

    def __init__(
        self,
        ratio: float = 0.6,
        clip_length: int = 1,
        persons: Sequence[int] = (0,),
        same_on_batch: bool = False,
    ) -> None:
        _check_mask(ratio, clip_length, persons)
        self.ratio = ratio
        self.clip_length = clip_length
        self.persons = tuple(persons)
        check_flag("same_on_batch", same_on_batch)
        self.same_on_batch = same_on_batch

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        joints = clips.shape[3]
        count = share_of(joints, self.ratio)
        if count == 0:
            raise ValueError(
                f"expected a ratio that masks at least one of {joints} joints, got {self.ratio}"
            )
        chosen = draw.subset(_clip_count(clips, self.clip_length), joints, count=count)
        return _spread(chosen, clips, draw.valid, self.clip_length, self.persons)


class DegreeJointDrop(Transform):
    """Mask joints in all frames and persons, those of many bones more often (PSTL).

    ``int(V * ratio)`` joints are drawn one by one. A joint is the likelier to come next, the more
    bones it has. The published code draws 8 of the 48 ends of bones of NTU RGB+D, which are often
    fewer than 8 different joints; this class goes on until they are as many.

    Args:
        skeleton: The joint tree.
        ratio: Share of the joints, in (0, 1).
        same_on_batch: Draw one mask for the whole batch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, a boolean mask ``(N, T, V, M)`` or
        ``(T, V, M)``, equal in all frames and persons.

    Raises:
        ValueError: If the ratio is out of range or masks no joint, or clips lack the joints.

    Source:
        Zhou et al.: Self-supervised Action Representation Learning from Partial Spatio-Temporal
        Skeleton Sequences, AAAI 2023.

    Example:
        >>> import torch
        >>> from pcm3.skeleton import NTU25
        >>> mask = DegreeJointDrop(NTU25)(torch.randn(2, 3, 64, 25, 2))
        >>> mask.shape, mask[:, 0, :, 0].sum(dim=1).tolist()
        (torch.Size([2, 64, 25, 2]), [8, 8])
    """

    skeleton: Skeleton

    def __init__(
        self, skeleton: Skeleton, ratio: float = 0.32, same_on_batch: bool = False
    ) -> None:
        check_skeleton(skeleton)
        check_share("ratio", ratio)
        check_flag("same_on_batch", same_on_batch)
        if not 1 <= share_of(len(skeleton), ratio) < len(skeleton):
            raise ValueError(
                f"expected a ratio that masks at least one of {len(skeleton)} joints and leaves "
                f"one, got {ratio}"
            )
        self.skeleton = skeleton
        self.ratio = ratio
        self.same_on_batch = same_on_batch
        ends = [joint for bone in enumerate(skeleton.parents) if bone[1] >= 0 for joint in bone]
        self._bones = tuple(ends.count(joint) for joint in range(len(skeleton)))

    @property
    def dropped(self) -> int:
        """The number of joints that are masked."""
        return share_of(len(self.skeleton), self.ratio)

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        bones = index_tensor(self._bones, clips.device)
        # the first of several exponential waiting times, each with its own rate
        waiting = -torch.log1p(-draw.uniform(len(self._bones))) / bones
        hidden = waiting.argsort(dim=1).argsort(dim=1) < self.dropped
        return hidden[:, None, :, None].expand(-1, clips.shape[2], -1, clips.shape[4]).clone()


class MotionAwareMask(Transform):
    """Mask most patches of every person, moving ones more often (MAMP).

    A patch is one joint during ``patch`` frames. Of L patches ``int(L * (1 - ratio))`` stay
    visible, drawn for each sample and person. The others are drawn one by one, and a patch is at
    most ``exp(1 / temperature)`` times as likely to come next as another. A body that stands still
    is masked uniformly. All frames count as valid: crop padded clips first.

    Args:
        ratio: Share of the patches, in (0, 1).
        temperature: The lower, the more motion counts; 0 or less masks uniformly.
        patch: Frames of a patch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, a boolean mask ``(N, T, V, M)`` or
        ``(T, V, M)``, constant within each patch.

    Raises:
        ValueError: If an argument is out of range, or clips have T not a multiple of ``patch``, or
            so few patches that none stays visible.

    Example:
        >>> import torch
        >>> mask = MotionAwareMask()(torch.randn(2, 3, 120, 25, 2))
        >>> (~mask[:, ::4]).sum(dim=(1, 2)).tolist()
        [[74, 74], [74, 74]]
    """

    same_on_batch = False

    def __init__(self, ratio: float = 0.9, temperature: float = 0.8, patch: int = 4) -> None:
        _check_inner_share(ratio)
        check_number("temperature", temperature)
        if math.isnan(temperature):
            raise ValueError(f"expected temperature to be a number, got {temperature}")
        check_positive("patch", patch)
        self.ratio = ratio
        self.temperature = temperature
        self.patch = patch

    def visible(self, patches: int) -> int:
        """The number of a person's patches that stay visible.

        Raises:
            ValueError: If no patch would stay visible.
        """
        # with the rounding error of the published code: 74 of 750 at a ratio of 0.9, not 75
        count = int(patches * (1 - self.ratio))
        if count == 0:
            raise ValueError(
                f"expected a ratio that leaves one of {patches} patches visible, got {self.ratio}"
            )
        return count

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        steps = patch_count(clips, self.patch)
        joints, persons = clips.shape[3:]
        uniform = draw.uniform(steps, joints, persons)
        visible = self.visible(steps * joints)
        return motion_aware_mask(clips, uniform, visible, self.temperature, self.patch)


class TubeMask(Transform):
    """Mask most joints of every person in tubes: the same joints for several patches of time.

    A patch is ``patch`` frames, a tube ``tube`` consecutive patches; the last one is shorter if
    they do not divide T. In each tube ``int(V * (1 - ratio))`` joints stay visible, drawn uniformly
    for each sample and person. All frames count as valid: crop padded clips first.

    Args:
        ratio: Share of the joints, in (0, 1).
        tube: Patches of a tube.
        patch: Frames of a patch.

    Returns:
        Called on clips ``(N, C, T, V, M)`` or ``(C, T, V, M)``, a boolean mask ``(N, T, V, M)`` or
        ``(T, V, M)``.

    Raises:
        ValueError: If an argument is out of range, or clips have T not a multiple of ``patch``, or
            so few joints that none stays visible.

    Source:
        Skeleton2vec (Xu et al., arXiv 2401.00921), as its code has it.

    Example:
        >>> import torch
        >>> mask = TubeMask()(torch.randn(2, 3, 120, 25, 2))
        >>> (~mask).sum(dim=2).unique().tolist()
        [2]
    """

    same_on_batch = False

    def __init__(self, ratio: float = 0.9, tube: int = 5, patch: int = 4) -> None:
        _check_inner_share(ratio)
        check_count("tube", tube)
        check_positive("patch", patch)
        self.ratio = ratio
        self.tube = tube
        self.patch = patch

    def visible(self, joints: int) -> int:
        """The number of a person's joints that stay visible in each patch of time.

        Raises:
            ValueError: If no joint would stay visible.
        """
        count = share_of(joints, 1 - self.ratio)
        if count == 0:
            raise ValueError(
                f"expected a ratio that leaves one of {joints} joints visible, got {self.ratio}"
            )
        return count

    def _transform(self, clips: Tensor, draw: Draw) -> Tensor:
        steps, (joints, persons) = patch_count(clips, self.patch), clips.shape[3:]
        tubes = -(-steps // self.tube)
        hidden = ~draw.subset(tubes, persons, joints, count=self.visible(joints))
        hidden = hidden.repeat_interleave(self.tube * self.patch, dim=1)[:, : clips.shape[2]]
        return hidden.transpose(2, 3)


def part_of_joint(skeleton: Skeleton) -> tuple[int, ...]:
    """The index of the part of each joint."""
    part_of = {j: index for index, part in enumerate(skeleton.parts.values()) for j in part}
    return tuple(part_of[joint] for joint in range(len(skeleton)))


def _clip_count(clips: Tensor, clip_length: int) -> int:
    return -(-clips.shape[2] // clip_length)


def _spread(
    joints: Tensor, clips: Tensor, valid: Tensor, clip_length: int, persons: tuple[int, ...]
) -> Tensor:
    """Mask ``(N, T, V, M)`` of the valid frames from the masked joints ``(N, clips, V)``."""
    frames, total = clips.shape[2], clips.shape[4]
    if max(persons) >= total:
        raise ValueError(f"expected clips with persons {persons}, got M={total}")
    everybody = torch.arange(total, device=clips.device)
    shown = (everybody[:, None] == index_tensor(persons, clips.device)).any(dim=1)
    hidden = joints.repeat_interleave(clip_length, dim=1)[:, :frames]
    hidden = hidden & window(frames, torch.zeros_like(valid), valid)[..., None]
    return hidden[..., None] & shown


def _check_mask(ratio: float, clip_length: int, persons: Sequence[int]) -> None:
    check_share("ratio", ratio)
    check_positive("ratio", ratio)
    check_positive("clip_length", clip_length)
    if not isinstance(persons, Collection):
        raise ValueError(f"expected persons as indices (0, 1), got {shorten(persons)}")
    for person in persons:
        check_number("a person", person)
    if len(persons) == 0 or min(persons) < 0:
        raise ValueError(f"expected at least one person index >= 0, got {tuple(persons)}")


def _check_inner_share(ratio: float) -> None:
    check_number("ratio", ratio)
    if not 0 < ratio < 1:
        raise ValueError(f"expected ratio in (0, 1), got {ratio}")
