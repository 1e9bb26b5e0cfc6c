"""The autoencoder against slow recomputations: both decoders, reversal, the view term."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from pcm3.augment import TemporalCropResize
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.methods import AutoEncoder
from pcm3.methods.autoencoder import RotatedClips
from pcm3.skeleton import COCO17, NTU25, SBU15, to_stream


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def clips(samples: int = 4, frames: int = 20, channels: int = 3) -> Tensor:
    shape = (samples, channels, frames, 15, 2)
    return torch.randn(shape, generator=seeded(1)).cumsum(dim=2) / 5


def encoders() -> list[Encoder]:
    torch.manual_seed(0)
    return [
        GRUEncoder(SBU15, hidden=4, layers=1, pool="mean"),
        STGCNEncoder(SBU15, channels=4, layers=(1, 1), out_features=8),
        TransformerEncoder(SBU15, frames=12, width=8, depth=1, heads=2, patch=3),
    ]


def tiny(encoder: Encoder | None = None, **changes: Any) -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(encoder or encoders()[0], SBU15, **{"frames": 12, **changes})


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mode", ["fixed_state", "fixed_weights"])
@pytest.mark.parametrize("kind", range(3))
def test_the_loss_is_its_definition(kind: int, mode: str, reverse: bool) -> None:
    model = tiny(encoders()[kind], decoder=mode, reverse=reverse, view_weight=0.3)
    views = model.make_views(clips(), generator=seeded(0))
    output = model.loss(views)
    state = model.encoder.pool(model.encoder(views.clips))
    order = range(11, -1, -1) if reverse else range(12)
    last, hidden, errors = views.clips[:, :, order[0]].flatten(1), state, []
    restored = {order[0]: last}
    if mode == "fixed_weights":
        last = torch.zeros_like(last)
    for t in order[1:] if mode == "fixed_state" else order:
        if mode == "fixed_state":
            last = last + model.decoder.output(model.decoder.cell(last, state))
        else:
            hidden = model.decoder.cell(last, hidden)
            last = model.decoder.output(hidden)
        restored[t] = last
        errors.append((last - views.clips[:, :, t].flatten(1)).abs().sum(dim=1))
    l1 = torch.stack(errors).mean()
    torch.testing.assert_close(output.terms["l1"], l1.detach())
    assert output.prediction is not None
    for t, frame in restored.items():
        torch.testing.assert_close(output.prediction[:, :, t].flatten(1), frame)
    view = 0.0
    for guess, angle in zip(model.view_head(state).tolist(), views.angle.tolist(), strict=True):
        view += abs(guess[0] - math.sin(angle)) + abs(guess[1] - math.cos(angle))
    assert float(output.terms["view"]) == pytest.approx(view / 8, rel=1e-4)
    total = float(l1.detach()) + 0.3 * view / 8
    assert float(output.total.detach()) == pytest.approx(total, rel=1e-4)


def test_clips_are_rotated_by_their_angle() -> None:
    for at, axis in enumerate("xyz"):
        model = tiny(view_weight=1.0, view_axis=axis)
        views = model.make_views(clips(500), generator=seeded(2))
        plain = tiny().make_views(clips(500), generator=seeded(2))
        assert not plain.angle.any()
        a, b = [other for other in range(3) if other != at]
        if axis == "y":
            a, b = b, a  # from z to x
        torch.testing.assert_close(views.clips[:, at], plain.clips[:, at])
        cos, sin = (f(views.angle)[:, None, None, None] for f in (torch.cos, torch.sin))
        first, second = plain.clips[:, a], plain.clips[:, b]
        torch.testing.assert_close(views.clips[:, a], cos * first - sin * second, atol=1e-5, rtol=0)
        torch.testing.assert_close(views.clips[:, b], sin * first + cos * second, atol=1e-5, rtol=0)
        turns = views.angle / (2 * math.pi)
        assert bool(((turns >= 0) & (turns <= 1)).all())
        assert float(turns.mean()) == pytest.approx(0.5, abs=0.05)
        assert float(turns.std()) == pytest.approx(12**-0.5, abs=0.02)


def test_the_encoder_unlearns_the_view_that_the_head_learns() -> None:
    model = tiny(view_weight=0.5)
    views = model.make_views(clips(), generator=seeded(0))
    weight = model.encoder.layers[0][0].weight_ih_l0

    def gradients(loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, [weight, model.view_head.weight], allow_unused=True)

    state = model.encoder.pool(model.encoder(views.clips))
    truth = torch.stack([views.angle.sin(), views.angle.cos()], dim=1)
    body, head = gradients((model.view_head(state) - truth).abs().mean())
    whole, learnt = gradients(model.loss(views).total)
    plain = tiny()
    plain.load_state_dict(model.state_dict(), strict=False)
    (restoring,) = torch.autograd.grad(
        plain.loss(views).total, [plain.encoder.layers[0][0].weight_ih_l0]
    )
    torch.testing.assert_close(whole, restoring - 0.5 * body, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(learnt, 0.5 * head)


def test_streams_and_defaults() -> None:
    model = tiny(stream="bone")
    cropped = TemporalCropResize(12, (1.0, 1.0), 64)(clips(), generator=seeded(3))
    found = model.make_views(clips(), generator=seeded(3)).clips
    assert torch.equal(found, to_stream(cropped, SBU15, "bone"))
    assert model.static
    assert model.view_head is None
    assert list(model(clips()).terms) == ["l1"]


def test_a_generator_decides_everything_random() -> None:
    model = tiny(view_weight=1.0, crop_scale=(0.5, 1.0), crop_min_frames=4)
    state = torch.get_rng_state()
    lengths = torch.tensor([20, 5, 1, 9])
    first, again, other = (model.make_views(clips(), lengths, seeded(s)) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.angle, other.angle)


@pytest.mark.parametrize("mode", ["fixed_state", "fixed_weights"])
def test_all_learn_but_fixed_weights(mode: str) -> None:
    encoder = GRUEncoder(SBU15, hidden=16, layers=1, pool="mean")
    model = tiny(encoder, decoder=mode, view_weight=0.1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for step in range(40):
        output = model(clips(8), generator=seeded(step))
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.terms["l1"]))
    share = 0.9 if mode == "fixed_state" else 0.99
    assert sum(losses[-5:]) < share * sum(losses[:5])
    for name, value in model.named_parameters():
        fixed = mode == "fixed_weights" and name.startswith("decoder")
        assert torch.equal(value, before[name]) == fixed, name


def test_half_precision_regions_keep_the_loss_in_float32() -> None:
    model = tiny(view_weight=0.1)
    views = model.make_views(clips(), generator=seeded(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.loss(views)
    assert output.total.dtype == torch.float32
    torch.testing.assert_close(output.total, model.loss(views).total, rtol=0.03, atol=0)


@pytest.mark.parametrize("mode", ["fixed_state", "fixed_weights"])
def test_fit(mode: str, tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=16, subjects=4, views=1, classes=2)
    sizes = {"hidden": 4, "frames": 8, "decoder": mode, "view_weight": 0.1}
    model = AutoEncoder.from_preset("small-autoencoder", store.skeleton, store.persons, **sizes)
    options = {"epochs": 1, "batch_size": 4, "accumulate": 2, "knn_every": 0, "quiet": True}
    model.fit(SkeletonDataset(store), accelerator="cpu", **options)
    assert model.features(SkeletonDataset(store).batch([0, 1]).clips).isfinite().all()


def test_two_coordinates_turn_in_their_plane() -> None:
    encoder = GRUEncoder(COCO17, 2, 1, hidden=4)
    model = AutoEncoder(encoder, COCO17, frames=12, view_weight=0.1)
    given = torch.randn(3, 2, 12, 17, 1)
    views = model.make_views(given)
    torch.testing.assert_close(views.clips.norm(dim=1), given.norm(dim=1))
    assert not torch.equal(views.clips, given)
    with pytest.raises(ValueError, match="of 2 about z, got 2"):
        AutoEncoder(encoder, COCO17, view_weight=0.1, view_axis="y")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "free"}, "decoder.*'free'"),
        ({"view_weight": -1.0}, "view_weight >= 0"),
        ({"view_axis": "up"}, "view_axis.*'up'"),
        ({"frames": 1}, "frames >= 2"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="V=15"):
        tiny()(torch.zeros(2, 3, 12, 20, 2))
    with pytest.raises(ValueError, match="V=15"):
        tiny().loss(RotatedClips(torch.zeros(2, 3, 12, 20, 2), torch.zeros(2)))
    with pytest.raises(ValueError, match="15 joints"):
        AutoEncoder(GRUEncoder(NTU25, hidden=4), SBU15)
