"""Parts on their own under ``torch.compile``, for any batch size, and where there are no values."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from pcm3 import NTU25, MemoryQueue, augment, encoders, heads, losses, prompts
from pcm3.augment import Compose, OneOf, Shear, TemporalClip, TemporalCropResize
from pcm3.augment import functional as f
from pcm3.ema import MomentumTwin
from pcm3.skeleton import to_stream

Inputs = tuple[Tensor, ...]
FRAMES = 16
CROP = TemporalCropResize(8, min_frames=4)


def clips(samples: int) -> Inputs:
    return (torch.randn(samples, 3, FRAMES, 25, 2),)


def lengths(samples: int) -> Inputs:
    return (*clips(samples), torch.arange(samples) % FRAMES + 1)


def masked(samples: int) -> Inputs:
    mask = torch.arange(samples * FRAMES * 25 * 2).reshape(samples, FRAMES, 25, 2) % 3 == 0
    return (*clips(samples), *clips(samples), mask)


def embeddings(samples: int) -> Inputs:
    return tuple(F.normalize(torch.randn(size, 8), dim=1) for size in (samples, samples, 12))


def frames(samples: int) -> Inputs:
    return (torch.randn(samples, FRAMES, 8),)


def features(samples: int) -> Inputs:
    return (torch.randn(samples, 8),)


class Filling(nn.Module):
    """A queue, and the keys it has."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = MemoryQueue(size=12, dim=8, generator=torch.Generator().manual_seed(0))

    def forward(self, keys: Tensor) -> Tensor:
        self.queue.enqueue(keys)
        return self.queue.anchors


class Following(nn.Module):
    """A network and its twin."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.source = nn.Linear(8, 8).to(dtype)
        self.twin = MomentumTwin(nn.Linear(8, 8).to(dtype), 0.9)

    def forward(self, inputs: Tensor) -> Tensor:
        self.twin.update(self.source)
        output: Tensor = self.twin(inputs.to(self.source.weight.dtype))
        return output


class SomeJoints(nn.Module):
    """The graph encoder without some of its joints."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoders.STGCNEncoder(NTU25, channels=4, layers=(1, 1), out_features=8)

    def forward(self, inputs: Tensor, joints: Tensor) -> Tensor:
        return self.encoder.encode_joints(inputs, joints)


class Unrolled(heads.StateDecoder):
    """A decoder of clips of four frames."""

    def __init__(self) -> None:
        super().__init__(8)

    def forward(self, features: Tensor, first: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(features, first, 4)


TRANSFORMS: dict[str, list[tuple[Callable[..., Any], Callable[[int], Inputs]]]] = {
    "TemporalCropResize": [(CROP, clips), (CROP, lengths)],
    "ReflectCrop": [(augment.ReflectCrop(8), lengths)],
    "MotionFrameDrop": [(augment.MotionFrameDrop(), clips)],
    "TimeFlip": [(augment.TimeFlip(), clips)],
    "GaussianNoise": [(augment.GaussianNoise(), clips)],
    "GaussianBlur": [(augment.GaussianBlur(taps=5), clips)],
    "TemporalClip": [(TemporalClip(), lengths), (TemporalClip(mode="crop"), clips)],
    "Shear": [(Shear(), clips), (Shear(same_on_batch=True), clips)],
    "JointJitter": [(augment.JointJitter(), clips)],
    "Rotate": [(augment.Rotate(), clips)],
    "MainAxisRotate": [(augment.MainAxisRotate(), clips)],
    "AxisMask": [(augment.AxisMask(same_on_batch=True), clips)],
    "Flip": [(augment.Flip(NTU25, negate=False), clips)],
    "SegmentShuffle": [
        (augment.SegmentShuffle(), lengths),
        (augment.SegmentShuffle(4).with_order, clips),
    ],
    "OneOf": [(OneOf(Shear(), augment.JointJitter()), clips)],
    "Compose": [(Compose(TemporalClip(), CROP, Shear()), lengths)],
    "TopologyMask": [(augment.TopologyMask(NTU25), lengths)],
    "RandomMask": [(augment.RandomMask(same_on_batch=True), clips)],
    "DegreeJointDrop": [(augment.DegreeJointDrop(NTU25), clips)],
    "MotionAwareMask": [(augment.MotionAwareMask(), clips)],
    "TubeMask": [(augment.TubeMask(), clips)],
    "CutMix": [(augment.CutMix(NTU25), clips), (augment.CutMix(NTU25), lengths)],
    "ResizeMix": [(augment.ResizeMix(NTU25), lengths)],
    "Mixup": [(augment.Mixup(), lengths)],
    "RandomMix": [(augment.RandomMix(NTU25, same_on_batch=True), lengths)],
}
OTHERS: dict[str, tuple[Callable[..., Any], Callable[[int], Inputs]]] = {
    "center_crop_resize": (f.center_crop_resize, lengths),
    "mirror": (lambda x: f.mirror(x, NTU25), clips),
    "apply_mask": (lambda x, _, mask: f.apply_mask(x, mask), masked),
    "bone": (lambda x: to_stream(x, NTU25, "bone"), clips),
    "motion": (lambda x: to_stream(x, NTU25, "motion"), clips),
    "InfoNCE": (losses.InfoNCE(), embeddings),
    "RelationalKL": (losses.RelationalKL(), embeddings),
    "BarlowTwins": (losses.BarlowTwins(), lambda n: embeddings(n)[:2]),
    "VICReg": (losses.VICReg(), lambda n: embeddings(n)[:2]),
    "key_and_queue_logits": (losses.key_and_queue_logits, embeddings),
    "distribution_ce": (losses.distribution_ce, lambda n: embeddings(n)[:2]),
    "multi_positive_info_nce": (
        lambda x: losses.multi_positive_info_nce(x, x > 0.5 * x.amax(dim=1, keepdim=True)),
        features,
    ),
    "topk_relational_kl": (
        lambda x, y: losses.topk_relational_kl(x, y, 3),
        lambda n: embeddings(n)[:2],
    ),
    "MaskedMSE": (losses.MaskedMSE(), masked),
    "MemoryQueue": (Filling(), lambda samples: embeddings(samples)[:1]),
    "MomentumTwin": (Following(torch.float32), features),
    "MomentumTwin in bfloat16": (Following(torch.bfloat16), features),
    "DomainPrompt": (prompts.DomainPrompt(NTU25), clips),
    "TaskPrompt": (prompts.TaskPrompt(8, 2, 4), lambda n: (*features(n), torch.tensor(1))),
    "Projector": (heads.Projector(8, 4), features),
    "ExpanderHead": (heads.ExpanderHead(8, 4, 2), features),
    "attention_drop": (heads.attention_drop, lambda n: (torch.randn(n, 2, 4, 25, 8),)),
    "Classifier": (heads.Classifier(8, 4), features),
    "ProbeHead": (heads.ProbeHead(8, 4), features),
    "FinetuneHead": (
        heads.FinetuneHead(8, 25, 5, hidden=4, dropout=0),
        lambda n: (torch.randn(n, 2, 4, 25, 8),),
    ),
    "OrderHead": (heads.OrderHead(8, hidden=4), features),
    "StateDecoder": (
        Unrolled(),
        lambda n: (*features(n), torch.randn(n, 3, 25, 2)),
    ),
    "gradient_reversal": (heads.gradient_reversal, features),
    "STGCNEncoder": (
        encoders.STGCNEncoder(NTU25, channels=4, layers=(1, 1), out_features=8),
        clips,
    ),
    "joints of STGCNEncoder": (
        SomeJoints(),
        lambda n: (*clips(n), torch.arange(9).repeat(n, 1)),
    ),
    "TransformerEncoder": (
        encoders.TransformerEncoder(NTU25, frames=FRAMES, width=8, depth=1, heads=2),
        clips,
    ),
}
RECURRENT: dict[str, tuple[nn.Module, Callable[[int], Inputs]]] = {
    "MaskedMotionDecoder": (heads.MaskedMotionDecoder(8, hidden=4), frames),
    "GRUEncoder": (encoders.GRUEncoder(NTU25, hidden=4, layers=1), clips),
}
"""These torch itself breaks the graph at."""
CASES = {
    **{
        f"{name} {i}": case
        for name, several in TRANSFORMS.items()
        for i, case in enumerate(several)
    },
    **OTHERS,
    **RECURRENT,
}


@contextlib.contextmanager
def counting() -> Iterator[tuple[list[int], Callable[..., Any]]]:
    """Graphs that were compiled so far, and a backend that runs them as they are."""
    made: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        made.append(len(made))
        return graph.forward

    torch._dynamo.reset()
    yield made, backend
    torch._dynamo.reset()


def test_every_transform_is_among_them() -> None:
    assert TRANSFORMS.keys() == set(augment.__all__) - {"MixedClips", "functional"}


@pytest.mark.parametrize("name", CASES)
def test_compiled_parts_give_the_same_for_every_batch_size(name: str) -> None:
    part, make = CASES[name]
    twin = copy.deepcopy(part)
    with counting() as (made, backend):
        compiled = torch.compile(part, backend=backend, fullgraph=name not in RECURRENT)
        graphs = {}
        for samples in (12, 20, 31):
            torch.manual_seed(samples)
            inputs = make(samples)
            results = []
            for call in (compiled, twin):
                torch.manual_seed(0)
                results.append(tree_map(torch.clone, call(*inputs)))
            torch.testing.assert_close(*results)
            graphs[samples] = len(made)
    assert graphs[31] == graphs[20] > 0  # the graph of the second batch size does for all others


@pytest.mark.parametrize("name", CASES)
def test_parts_know_the_shapes_of_what_has_no_values(name: str) -> None:
    part, make = CASES[name]
    torch.manual_seed(0)
    inputs = make(4)
    expected = part(*inputs)
    if isinstance(part, nn.Module):
        part = copy.deepcopy(part).to("meta")
    found = part(*(each.to("meta") for each in inputs))
    pairs = zip(tree_leaves(found), tree_leaves(expected), strict=True)
    for its, wanted in pairs:
        assert its.device.type == "meta"
        assert (its.shape, its.dtype) == (wanted.shape, wanted.dtype)


@pytest.mark.parametrize("name", ["Shear", "TemporalClip", "TopologyMask", "Mixup"])
def test_compiled_transforms_take_a_generator(name: str) -> None:
    part, make = TRANSFORMS[name][0]
    with counting() as (_, backend):
        compiled = torch.compile(part, backend=backend)
        for samples in (4, 6):
            inputs = make(samples)
            found, expected = (
                call(*inputs, generator=torch.Generator().manual_seed(samples))
                for call in (compiled, part)
            )
            torch.testing.assert_close(found, expected)
