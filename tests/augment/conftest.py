from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from pcm3.augment import (
    AxisMask,
    Compose,
    CutMix,
    DegreeJointDrop,
    Flip,
    GaussianBlur,
    GaussianNoise,
    JointJitter,
    MainAxisRotate,
    Mixup,
    MotionAwareMask,
    OneOf,
    RandomMask,
    RandomMix,
    ReflectCrop,
    ResizeMix,
    Rotate,
    SegmentShuffle,
    Shear,
    TemporalClip,
    TemporalCropResize,
    TimeFlip,
    TopologyMask,
    TubeMask,
)
from pcm3.skeleton import NTU25

COORDINATES = [
    TemporalCropResize(size=16, min_frames=4),
    TemporalClip(),
    ReflectCrop(size=16),
    TemporalClip(mode="crop"),
    Shear(),
    JointJitter(),
    Rotate(30),
    MainAxisRotate(),
    AxisMask(),
    GaussianNoise(),
    GaussianBlur(),
    SegmentShuffle(4),
    OneOf(Compose(), Flip(NTU25), TimeFlip()),
    OneOf(JointJitter(), Shear()),
    Compose(Shear(), Rotate(20), JointJitter()),
]
MASKS = [
    TopologyMask(NTU25),
    RandomMask(),
    MotionAwareMask(),
    DegreeJointDrop(NTU25),
    TubeMask(),
]
MIXES = [CutMix(NTU25), ResizeMix(NTU25), Mixup(), RandomMix(NTU25)]


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(6, 3, 64, 25, 2, generator=seeded(1))


@pytest.fixture
def generator() -> Callable[[int], Generator]:
    return seeded


@pytest.fixture(params=COORDINATES, ids=repr)
def coordinate_transform(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(params=MASKS, ids=repr)
def mask_transform(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(params=MIXES, ids=repr)
def mix_transform(request: pytest.FixtureRequest) -> object:
    return request.param
