"""Masks as pure functions, and the motion that they depend on."""

from __future__ import annotations

import torch
from torch import Tensor

from pcm3.augment import kernels
from pcm3.checks import check_clips, check_values


def apply_mask(clips: Tensor, mask: Tensor, value: float | Tensor = 0.0) -> Tensor:
    """Set the masked coordinates of clips ``(N, C, T, V, M)`` to a value.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        mask: Boolean ``(N, T, V, M)`` or ``(T, V, M)``, True where masked.
        value: The value: a number, or a zero-dimensional tensor (such as a learnt value).

    Returns:
        New clips of the shape and dtype of ``clips``.

    Raises:
        ValueError: If a shape or dtype is wrong.

    Example:
        >>> mask = torch.tensor([True, False]).view(1, 1, 2, 1)
        >>> apply_mask(torch.ones(1, 3, 1, 2, 1), mask).flatten().tolist()
        [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    """
    check_clips(clips, unbatched=True)
    check_values("mask", mask, clips, *clips.shape[-3:], dtype=torch.bool)
    return clips.masked_fill(mask.unsqueeze(-4), value)


def motion_intensity(clips: Tensor, patch: int = 4) -> Tensor:
    """Motion of every joint from one patch of frames to the next (MAMP).

    It is the mean of ``|x[t] - x[t - patch]|`` over the coordinates and frames of a patch. The
    first patch, which has none before it, gets the value of the second; a single patch gets 0.

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        patch: Frames of a patch, at least 1; must divide T.

    Returns:
        ``(N, T / patch, V, M)`` or ``(T / patch, V, M)``, float32 or wider.

    Raises:
        ValueError: If T is not a multiple of ``patch``, or the shape of the clips is wrong.

    Example:
        >>> motion_intensity(torch.randn(2, 3, 120, 25, 2)).shape
        torch.Size([2, 30, 25, 2])
    """
    check_clips(clips, unbatched=True)
    patch_count(clips, patch)
    return kernels.motion_intensity(clips, patch)


def motion_aware_mask(
    clips: Tensor, uniform: Tensor, visible: int, temperature: float = 0.8, patch: int = 4
) -> Tensor:
    r"""Hide all but ``visible`` patches of every person, moving ones more often (MAMP).

    Patches are drawn without replacement by the Gumbel trick. With the intensities I of one
    person's patches and uniform numbers u, those with the lowest scores stay visible:

    .. math::
        \log \mathrm{softmax}\left(\frac{I}{\tau \max I}\right) - \log(-\log u)

    Args:
        clips: ``(N, C, T, V, M)`` or ``(C, T, V, M)``.
        uniform: Uniform numbers in [0, 1), one for each patch: ``(N, T / patch, V, M)``.
        visible: Number of patches of each person that stay visible.
        temperature: tau; the lower, the more motion counts. At 0 or below, it does not count.
        patch: Frames of a patch.

    Returns:
        Boolean ``(N, T, V, M)`` or ``(T, V, M)``, True where masked.

    Raises:
        ValueError: If ``visible`` is not in [1, patches of a person], or a shape is wrong.

    Example:
        >>> clips, uniform = torch.randn(2, 3, 120, 25, 2), torch.rand(2, 30, 25, 2)
        >>> mask = motion_aware_mask(clips, uniform, visible=75)
        >>> (~mask[:, ::4]).sum(dim=(1, 2)).tolist()
        [[75, 75], [75, 75]]
    """
    check_clips(clips, unbatched=True)
    steps, joints, persons = patch_count(clips, patch), *clips.shape[-2:]
    check_values("uniform", uniform, clips, steps, joints, persons)
    if not 1 <= visible <= steps * joints:
        raise ValueError(f"expected visible in [1, {steps * joints}] patches, got {visible}")
    return kernels.motion_aware_mask(clips, uniform, visible, temperature, patch)


def patch_count(clips: Tensor, patch: int) -> int:
    """The number of patches in time, T / patch.

    Raises:
        ValueError: If T is not a multiple of ``patch``.
    """
    frames = clips.shape[-3]
    if patch < 1 or frames % patch:
        raise ValueError(f"expected clips with T a multiple of patch={patch}, got T={frames}")
    return frames // patch
