"""Slow and obvious: what the steps are measured against.

The encoder takes one frame at a time and every view in turn, augmentation goes through the samples
one by one in numpy, attention writes its whole matrix out. Weights and results are those of the
library; tests compare them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from pcm3 import PCM3
from pcm3.augment import MixedClips
from pcm3.encoders import Encoder, GRUEncoder
from pcm3.encoders.transformer import Block
from pcm3.methods import Views
from pcm3.skeleton import Skeleton

Array = NDArray[np.float32]


class FrameByFrame(GRUEncoder):
    """The recurrent encoder fed frame by frame, its state carried along; one view after another."""

    encode_views = Encoder.encode_views

    def _recur(self, frames: Tensor) -> Tensor:
        states: list[Tensor | None] = [None] * (self.feature_blocks * len(self.layers))
        features = []
        for frame in frames.split(1, dim=1):
            fed, number = frame, 0
            for pair in self.layers:
                outputs = []
                for gru in pair:
                    output, states[number] = gru(fed, states[number])
                    outputs.append(output)
                    number += 1
                fed = torch.cat(outputs, dim=-1)
            features.append(fed)
        return torch.cat(features, dim=1)


class UnfusedBlock(Block):
    """Attention as its formula reads."""

    def _attention(self, tokens: Tensor) -> Tensor:
        query, key, value = rearrange(
            self.qkv(tokens), "b l (s h d) -> s b h l d", s=3, h=self.heads
        )
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
        projected: Tensor = self.proj(rearrange(weights @ value, "b h l d -> b l (h d)"))
        return projected


def slow(model: nn.Module) -> nn.Module:
    """A copy of a model with the same weights that computes the slow way."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if type(module) is GRUEncoder:
            module.__class__ = FrameByFrame
        elif type(module) is Block:
            module.__class__ = UnfusedBlock
    return twin


def pcm3_views(
    model: PCM3, clips: Array, lengths: NDArray[np.int64], rng: np.random.Generator
) -> Views:
    """The views of PCM3 for clips ``(N, C, T, V, M)``, a sample after the other."""
    crop = model.crop
    intra, key, source = [], [], []
    for clip, length in zip(clips, lengths.tolist(), strict=True):
        for views, jitters in ((intra, True), (key, True), (source, False)):
            kept = min(max(int(length * rng.uniform(*crop.scale)), crop.min_frames), length)
            start = int(rng.integers(0, length - kept, endpoint=True))
            view = crop_resize(clip, start, kept, crop.size)
            if jitters and rng.random() < 0.5:
                joints = rng.permutation(clip.shape[2])[: int(clip.shape[2] * 0.6)]
                matrix = rng.uniform(-1, 1, (3, 3)) * (rng.random() < 0.5)
                view = transform_joints(view, joints, matrix)
            else:
                matrix = np.where(np.eye(3) == 1, 1, rng.uniform(-1, 1, (3, 3)))
                view = transform_joints(view, np.arange(clip.shape[2]), matrix)
            views.append(view)
    mixed = mix(np.stack(intra), model.skeleton, rng)
    mask = topology_mask(np.stack(source), model.skeleton, rng)
    stacked = [torch.from_numpy(np.stack(views)) for views in (intra, key, source)]
    offsets = model._draw_offsets(torch.device("cpu"), None)
    clip = None
    if "clip" in model.positives:
        clip = torch.from_numpy(np.stack([short_clip(view, rng) for view in key]))
    return Views(*stacked, mixed, torch.from_numpy(mask), offsets, clip)


def short_clip(clip: Array, rng: np.random.Generator) -> Array:
    """A clip ``(C, T, V, M)`` with zeros outside a quarter to a half of its frames."""
    frames = clip.shape[1]
    kept = round(frames * rng.uniform(0.25, 0.5))
    start = int(rng.integers(0, frames - kept, endpoint=True))
    result = np.zeros_like(clip)
    result[:, start : start + kept] = clip[:, start : start + kept]
    return result


def crop_resize(clip: Array, start: int, length: int, size: int) -> Array:
    """A range of the frames of a clip ``(C, T, V, M)``, resized linearly."""
    cropped = clip[:, start : start + length]
    result = np.empty((clip.shape[0], size, *clip.shape[2:]), np.float32)
    for frame in range(size):
        position = max((frame + 0.5) * length / size - 0.5, 0)
        before = min(int(position), length - 1)
        after = min(before + 1, length - 1)
        weight = position - before
        result[:, frame] = (1 - weight) * cropped[:, before] + weight * cropped[:, after]
    return result


def transform_joints(
    clip: Array, joints: Sequence[int] | NDArray[np.int64], matrix: Array
) -> Array:
    """The coordinates of some joints of a clip ``(C, T, V, M)``, mapped by a matrix."""
    result = clip.copy()
    for joint in joints:
        result[:, :, joint] = np.einsum("ij,jtm->itm", matrix, clip[:, :, joint])
    return result


def topology_mask(
    clips: Array, skeleton: Skeleton, rng: np.random.Generator, parts: int = 3, length: int = 8
) -> NDArray[np.bool_]:
    """Hide whole body parts of the first person, others every few frames."""
    mask = np.zeros((len(clips), *clips.shape[2:]), bool)
    for start in range(0, clips.shape[2], length):
        for part in rng.permutation(list(skeleton.parts))[:parts]:
            for joint in skeleton.parts[part]:
                mask[:, start : start + length, joint, 0] = True
    return mask


def mix(clips: Array, skeleton: Skeleton, rng: np.random.Generator) -> MixedClips:
    """Paste body parts of another sample over a range of frames, the same for all samples."""
    samples, _, frames, joints, _ = clips.shape
    partner = (np.arange(samples) + rng.integers(1, samples - 1)) % samples
    cell = frames // 16
    extent = int(rng.integers(7, 11, endpoint=True))
    start = int(rng.integers(0, 16 - extent, endpoint=True)) * cell
    mixed, pasted = clips.copy(), 0
    for part in rng.permutation(list(skeleton.parts))[: rng.integers(2, 3, endpoint=True)]:
        for joint in skeleton.parts[part]:
            for sample in range(samples):
                frames_there = slice(start, start + extent * cell)
                mixed[sample, :, frames_there, joint] = clips[
                    partner[sample], :, frames_there, joint
                ]
            pasted += extent * cell
    lam = torch.full((samples,), pasted / (frames * joints))
    return MixedClips(torch.from_numpy(mixed), torch.from_numpy(partner), lam)
