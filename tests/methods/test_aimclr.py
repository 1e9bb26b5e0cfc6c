"""AimCLR: its terms against loops, mining, and how it follows training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pcm3.augment import Compose
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.heads import attention_drop
from pcm3.losses import distribution_ce, info_nce, key_and_queue_logits, multi_positive_info_nce
from pcm3.methods import AimCLR, AimCLRSettings
from pcm3.skeleton import KINECT20, NTU25


def tiny(**changes: Any) -> AimCLR:
    torch.manual_seed(0)
    encoder = STGCNEncoder(KINECT20, persons=1, channels=4, layers=(1, 1), out_features=6)
    sizes = {"frames": 12, "embedding": 5, "queue_size": 16, "momentum": 0.5, **changes}
    return AimCLR(encoder, KINECT20, **sizes)


def clips(samples: int = 4) -> Tensor:
    return torch.randn(samples, 3, 20, 20, 1, generator=torch.Generator().manual_seed(1))


def unit(*shape: int, seed: int = 0) -> Tensor:
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


# --- parts ----------------------------------------------------------------------------------------


def test_losses_equal_their_definitions() -> None:
    query, key, anchors = unit(3, 4), unit(3, 4, seed=1), unit(6, 4, seed=2)
    logits = key_and_queue_logits(query, key, anchors, 0.2)
    for n in range(3):
        expected = [float(query[n] @ other) / 0.2 for other in (key[n], *anchors)]
        assert logits[n].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    alone = torch.zeros(3, 7, dtype=torch.bool)
    alone[:, 0] = True
    torch.testing.assert_close(
        multi_positive_info_nce(logits, alone), info_nce(query, key, anchors, 0.2)
    )
    positives = alone.clone()
    positives[0, 3] = positives[0, 5] = positives[2, 1] = True
    total = 0.0
    for n in range(3):
        logs = logits[n].softmax(0).log()
        chosen = [float(logs[j]) for j in range(7) if positives[n, j]]
        total -= sum(chosen) / len(chosen) / 3
    assert float(multi_positive_info_nce(logits, positives)) == pytest.approx(total, rel=1e-5)
    student, teacher = torch.randn(2, 3, 7, requires_grad=True).unbind()
    cross = -(teacher.softmax(1) * student.log_softmax(1)).sum() / 3
    found = distribution_ce(student, teacher)
    torch.testing.assert_close(found, cross)
    (gradient,) = torch.autograd.grad(found, teacher, allow_unused=True)
    assert gradient is None


def test_losses_refuse() -> None:
    one = unit(3, 4)
    for wrong, word in (
        (lambda: key_and_queue_logits(one, one[:2], one), "key"),
        (lambda: key_and_queue_logits(one, one, one, 0.0), "temperature"),
        (lambda: key_and_queue_logits(one, one, unit(5, 3)), "anchors"),
        (lambda: distribution_ce(one, one[:2]), "teacher"),
        (lambda: multi_positive_info_nce(one, one), "boolean"),
        (lambda: multi_positive_info_nce(one, one[:2] > 0), r"\(3, 4\)"),
    ):
        with pytest.raises(ValueError, match=word):
            wrong()


def test_attention_drop_equals_a_loop() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 2, 5, 6, 3)
    maps[0, 1, :, 2] *= 8  # a joint that stands out
    attention = torch.zeros_like(maps)
    for n in range(2):
        for m in range(2):
            for d in range(3):
                x = maps[n, m, :, :, d]
                energy = (x - x.mean()) ** 2
                spread = energy.sum() / 29
                attention[n, m, :, :, d] = torch.sigmoid(energy / (4 * (spread + 1e-4)) + 0.5)
    expected = maps.clone()
    gone = 0
    for n in range(2):
        for m in range(2):
            for v in range(6):
                if attention[n, m, :, v].mean() >= 0.7:
                    expected[n, m, :, v] = 0
                    gone += 1
    assert 0 < gone < 24
    expected *= 24 / (24 - gone)
    expected[attention >= 0.7] = 0
    expected *= attention.numel() / int((attention < 0.7).sum())
    torch.testing.assert_close(attention_drop(maps), expected)
    assert torch.equal(attention_drop(maps, 0.5), torch.zeros_like(maps))
    torch.testing.assert_close(attention_drop(maps, 1.0), maps)
    with pytest.raises(ValueError, match="maps"):
        attention_drop(maps[0])


# --- the method -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mining", [False, True])
@pytest.mark.parametrize("drop", [False, True])
def test_terms_and_mined_positives(mining: bool, drop: bool) -> None:
    model = tiny(drop=drop, neighbours=2)
    views = model.make_views(clips())
    model.progress(int(mining), 2, 0)
    anchors = model.queue.anchors
    output = model.loss(views)  # the twins were copies, and so moved nowhere

    def embed(frames: Tensor) -> Tensor:
        return torch.nn.functional.normalize(model.projector(frames.mean(dim=1)), dim=1)

    key = embed(model.encoder(views.key))
    queries = [embed(model.encoder(views.query)), embed(model.encoder(views.extreme))]
    if drop:
        dropped = attention_drop(model.encoder.maps(views.extreme), 0.7)
        queries.append(embed(dropped.mean(dim=(1, 3))))
    logits = [key_and_queue_logits(query, key, anchors) for query in queries]
    total = 0.0
    for n in range(4):
        chosen = {0}
        for each in logits if mining else ():
            order = each[n, 1:].argsort(descending=True)
            chosen |= {1 + int(place) for place in order[:2]}
        logs = logits[0][n].log_softmax(0)
        total -= sum(logs[place].item() for place in chosen) / len(chosen) / 4
    assert float(output.terms["info_nce"]) == pytest.approx(total, rel=1e-4)
    ddm = [distribution_ce(each, logits[0]) for each in logits[1:]]
    assert list(output.terms) == ["info_nce", "ddm/extreme", "ddm/drop"][: 2 + drop]
    expected = total + sum(each.item() for each in ddm) / len(ddm)
    assert output.total.item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(model.queue.anchors[:4], key)


def test_twins_and_queue_wait_for_the_last_batch_of_a_step() -> None:
    model = tiny()
    model.accumulate(2)
    twin = next(model.key_encoder.parameters())
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1.0)
    before = twin.clone()
    model(clips())
    moved = twin.clone()
    assert not torch.equal(moved, before)
    assert int(model.queue.position) == 0
    model(clips())
    assert torch.equal(twin, moved)
    assert int(model.queue.position) == 8
    model.eval()(clips())
    assert int(model.queue.position) == 8


def test_views() -> None:
    def still(clips: Tensor, *_: Any, **__: Any) -> Tensor:
        return clips

    views = tiny(crop=still, spatial=Compose()).make_views(clips())
    assert torch.equal(views.query, clips())
    assert torch.equal(views.key, clips())
    assert not torch.equal(views.extreme, clips())
    again = [tiny().make_views(clips(), generator=torch.Generator().manual_seed(2)) for _ in "ab"]
    assert all(torch.equal(*pair) for pair in zip(*again, strict=True))
    assert not torch.equal(again[0].query, again[0].key)
    masked = tiny(axis_mask=1.0, noise=0.0).make_views(clips()).extreme
    assert bool(((masked == 0).all(dim=(2, 3, 4)).sum(dim=1) == 1).all())


@pytest.mark.parametrize("encoder", ["gru", "stgcn", "transformer"])
def test_it_trains_any_encoder(encoder: str) -> None:
    sizes: dict[str, Any] = {"layers": 1, "drop": False} if encoder == "gru" else {}
    sizes |= {"hidden": 8, "frames": 8, "embedding": 4, "queue_size": 8}
    model = AimCLRSettings(encoder=encoder, **sizes).build(NTU25, persons=2)
    assert type(model.encoder) in (GRUEncoder, STGCNEncoder, TransformerEncoder)
    assert model.static
    model(torch.randn(3, 3, 10, 25, 2)).total.backward()
    trained = [model.encoder, model.projector]
    assert all(p.grad is not None for part in trained for p in part.parameters())


def test_training_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a stop: epoch, epochs and optimiser steps follow from the position alone."""
    seen: list[tuple[int, int, int, bool]] = []

    def progress(model: AimCLR, epoch: int, epochs: int, step: int) -> None:
        original(model, epoch, epochs, step)
        seen.append((epoch, epochs, step, bool(model.mining)))

    original = AimCLR.progress
    monkeypatch.setattr(AimCLR, "progress", progress)
    store = generate(tmp_path / "store", sequences=16, subjects=4, views=1, classes=2)
    data = SkeletonDataset(store)
    model = AimCLR.from_preset("small-aimclr", store.skeleton, store.persons, hidden=4)
    train = {"epochs": 3, "batch_size": 4, "accumulate": 2, "accelerator": "cpu", "knn_every": 0}
    model.fit(data, **train, quiet=True)
    assert seen == [
        (epoch, 3, 2 * epoch + half, epoch == 2) for epoch in range(3) for half in (0, 1)
    ]
    assert "mining" not in model.state_dict()
    batch = data.batch([0, 1])
    assert model.features(batch.clips, batch.lengths).shape == (2, 8)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"maps.*drop=False.*GRUEncoder"):
        AimCLR(GRUEncoder(NTU25, hidden=4), NTU25)
    for changes, word in (
        ({"neighbours": 0}, "neighbours"),
        ({"neighbours": 17}, "neighbours"),
        ({"mining_start": 1.5}, "mining_start"),
        ({"axis_mask": -0.1}, "axis_mask"),
    ):
        with pytest.raises(ValueError, match=word):
            tiny(**changes)
