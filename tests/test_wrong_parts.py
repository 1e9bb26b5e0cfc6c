"""What does not fit a part that stands alone is named, with what was expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pcm3 import NTU25
from pcm3.augment import functional as f
from pcm3.data import HybridDataset, SkeletonDataset, Store, generate
from pcm3.data.dataset import collate
from pcm3.encoders import GRUEncoder, STGCNEncoder
from pcm3.evaluation.recognizer import Recognizer
from pcm3.heads import FinetuneHead, MaskedMotionDecoder, Projector
from pcm3.losses import info_nce, masked_mse
from pcm3.prompts import TaskPrompt
from pcm3.queue import MemoryQueue
from pcm3.skeleton import to_stream

CLIPS = torch.zeros(4, 3, 20, 25, 1)
META, FIRST = CLIPS.to("meta"), torch.zeros(4, dtype=torch.long)
MASK = torch.ones(4, 20, 25, 1, dtype=torch.bool)
Z = torch.eye(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TaskPrompt(NTU25), r"whole number.*Skeleton"),
        (lambda: TaskPrompt(8, blocks=0), r"blocks >= 1.*0"),
        (lambda: TaskPrompt(8)(Z[:, :3], torch.tensor(0)), r"\(\.\.\., D=8\), got \(4, 3\)"),
        (lambda: TaskPrompt(8)(np.zeros((4, 8)), torch.tensor(0)), "features"),
        (lambda: TaskPrompt(4)(Z, 0), r"offset.*int"),
        (lambda: TaskPrompt(4)(Z, torch.tensor(3)), r"offset in \[0, 3\).*3"),
        (lambda: TaskPrompt(4)(Z, torch.tensor([0])), r"offset.*\(1,\)"),
        (lambda: Projector(NTU25), "in_features"),
        (lambda: Projector(8)(Z), r"features \(N, D\).*D=8.*\(4, 4\)"),
        (lambda: MaskedMotionDecoder(8, NTU25), "joints to be a whole number"),
        (lambda: MaskedMotionDecoder(8, layers=0), r"layers >= 1.*0"),
        (lambda: MaskedMotionDecoder(4, hidden=4)(Z), r"\(N, T, D\).*D=4.*\(4, 4\)"),
        (lambda: MaskedMotionDecoder(8, hidden=4)(Z[None]), r"with D=8, got \(1, 4, 4\)"),
        (lambda: GRUEncoder(25, NTU25), "in_channels"),
        (lambda: GRUEncoder(25, hidden=8.5), r"hidden to be a whole number, got 8\.5"),
        (lambda: STGCNEncoder(NTU25, channels=4.0), r"channels to be a whole number, got 4\.0"),
        (lambda: MemoryQueue(size=4, dim=8, generator=7), r"torch\.Generator.*int"),
        (lambda: info_nce(Z, Z.to("meta"), Z), "key on cpu, like query, got meta"),
        (lambda: info_nce(Z, Z, Z.to("meta")), "negatives on cpu, like the embeddings, got meta"),
        (lambda: masked_mse(CLIPS, CLIPS, MASK.to("meta")), "mask on cpu, like prediction"),
        (lambda: to_stream(CLIPS, 25, "bone"), r"Skeleton .*pcm3\.NTU25.*25"),
        (lambda: f.mirror(CLIPS, 25), r"Skeleton .*pcm3\.NTU25.*25"),
        (lambda: f.rotation_matrix([0, 0, 0]), r"angles.*list"),
        (lambda: f.center_crop_resize(CLIPS, None, NTU25), "size to be a whole number"),
        (lambda: f.keep_frames(META, FIRST, FIRST + 1), "starts on meta"),
        (lambda: f.apply_mask(META, MASK), "mask on meta.* cpu"),
        (
            lambda: f.shrink_frames(CLIPS, FIRST, FIRST + 1, FIRST + 21),
            r"lengths in \[1, T=20\].*21 in sample 0",
        ),
        (
            lambda: Recognizer(GRUEncoder(25, hidden=8), FinetuneHead(16, 25, 3)),
            r"tokens under a FinetuneHead, .*, got .*GRUEncoder",
        ),
        (lambda: collate([CLIPS[0]] * 3), r"clip \(C, T, V, M\).*torch\.Tensor"),
        (lambda: collate([(CLIPS[0],)] * 3), "tuple of 1"),
        (lambda: collate([(CLIPS[0].numpy(), 1)]), r"clip.*numpy"),
        (lambda: collate([(CLIPS[0], "walk")]), "labels that are whole numbers, got 'walk'"),
        (lambda: collate([(CLIPS[0], 1.5)]), r"labels that are whole numbers, got 1\.5"),
    ],
)
def test_what_does_not_fit(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_of_any_kind_of_whole_number() -> None:
    labels = [3, np.int32(3), torch.tensor(3), np.array(3, np.uint8)]
    assert collate([(CLIPS[0], label) for label in labels]).labels.tolist() == [3] * 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return generate(tmp_path_factory.mktemp("data") / "store", sequences=4, classes=2, subjects=2)


def test_arguments_of_data_sets(store: Store) -> None:
    for build, message in (
        (lambda: SkeletonDataset(store.path), r"a Store, as Store\(path\) opens it, got .*Path"),
        (lambda: SkeletonDataset(store, [True, False, True, True]), "expected indices, got a mask"),
        (lambda: SkeletonDataset(store, skeleton="ntu25"), r"a Skeleton .*, got 'ntu25'"),
        (lambda: SkeletonDataset(store, persons="2"), "persons to be a whole number, got '2'"),
        (lambda: SkeletonDataset(store, window=8.0), r"window to be a whole number, got 8\.0"),
        (lambda: HybridDataset(SkeletonDataset(store)), "a list of SkeletonDataset, got .*Dataset"),
        (lambda: HybridDataset([store]), r"SkeletonDataset, got .*Store"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
