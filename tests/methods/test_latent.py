"""Latent prediction against a slow recomputation; its teacher, its schedule, its masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from pcm3.augment import MotionAwareMask, TubeMask
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import GRUEncoder, TransformerEncoder
from pcm3.methods import LatentPrediction, MAMPViews
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import SBU15
from pcm3.training.trainer import fit


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def clips(samples: int = 4, frames: int = 24) -> Tensor:
    return torch.randn(samples, 3, frames, 15, 2, generator=seeded(1)).cumsum(dim=2) / 3


def tiny(**changes: Any) -> LatentPrediction:
    torch.manual_seed(0)
    sizes = {"frames": 16, "width": 16, "depth": 3, "heads": 2, **changes.pop("encoder", {})}
    encoder = TransformerEncoder(SBU15, 3, 2, **sizes)
    options = {"decoder_depth": 1, "mask_ratio": 0.6, "tube": 2, "top_blocks": 2, **changes}
    return LatentPrediction(encoder, SBU15, **options)


def norm(row: Tensor) -> Tensor:
    centred = row - row.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt()


def slow_targets(model: LatentPrediction, views: MAMPViews) -> dict[tuple[int, ...], Tensor]:
    """The target of each hidden patch, by sample, person, time and joint."""
    teacher = model.teacher.module
    targets = {}
    for n in range(len(views.clips)):
        for m in range(2):
            clip = views.clips[n, ..., m]  # (C, T, V)
            places = [(t, v) for t in range(4) for v in range(15)]
            rows = []
            for t, v in places:
                patch = clip[:, 4 * t : 4 * t + 4, v].T.flatten()
                position = teacher.positions.time[0, t, 0] + teacher.positions.joint[0, 0, v]
                rows.append(teacher.tokenizer(patch) + position)
            tokens, outputs = torch.stack(rows)[None], []
            for block in teacher.blocks:
                tokens = block(tokens)
                outputs.append(tokens[0])
            for row, (t, v) in enumerate(places):
                if views.mask[n, 4 * t, v, m]:
                    mean = (norm(outputs[1][row]) + norm(outputs[2][row])) / 2
                    targets[n, m, t, v] = norm(mean).detach()
    return targets


@pytest.mark.parametrize("masking", ["tube", "motion"])
@pytest.mark.parametrize("skip", [False, True])
def test_the_loss_is_its_definition(masking: str, skip: bool) -> None:
    model = tiny(masking=masking, skip_absent=skip)
    with torch.no_grad():  # a teacher that differs
        for weight in model.teacher.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=seeded(7)))
    model.eval()
    given = clips(3)
    given[1, ..., 1] = 0
    views = model.make_views(given, generator=seeded(2))
    output = model.loss(views)
    targets = slow_targets(model, views)
    if skip:
        targets = {at: target for at, target in targets.items() if at[:2] != (1, 1)}
    tokens = model.predict(views)[0].view(3, 2, 4, 15, 16)
    errors = [(tokens[at] - target).square().mean() for at, target in targets.items()]
    expected = torch.stack(errors).mean()
    torch.testing.assert_close(output.total, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(output.terms["latent_mse"], expected.detach(), rtol=1e-4, atol=1e-6)
    deviation = torch.stack([*targets.values()]).std(dim=0, unbiased=False).mean()
    torch.testing.assert_close(output.terms["target_std"], deviation, rtol=1e-4, atol=1e-6)


def test_what_is_hidden_is_seen_by_the_teacher_alone() -> None:
    model = tiny().eval()
    views = model.make_views(clips(), generator=seeded(2))
    changed = replace(views, clips=views.clips.masked_fill(views.mask[:, None], 2.0))
    torch.testing.assert_close(model.predict(changed)[0], model.predict(views)[0])
    assert not torch.allclose(model.loss(changed).total, model.loss(views).total)


def test_the_teacher_follows_before_each_optimiser_step() -> None:
    model = tiny(momentum=0.5, last_momentum=0.9, momentum_steps=4)
    model.accumulate(2)
    weight, copy = model.encoder.tokenizer.weight, model.teacher.module.tokenizer.weight
    views = model.make_views(clips(), generator=seeded(0))
    expected = copy.clone()
    for step, momentum in enumerate((0.5, 0.6, 0.7, 0.8, 0.9, 0.9)):
        with torch.no_grad():
            weight.add_(1.0)
        model.progress(0, 10, step)
        expected = momentum * expected + (1 - momentum) * weight.detach()
        for _ in range(2):
            model.loss(views)
            torch.testing.assert_close(copy, expected)
    model.progress(0, 10, 0)
    model.loss(views)  # of a step that is undone
    model.accumulate(2)
    before = copy.clone()
    model.eval()
    model.loss(views)
    assert torch.equal(copy, before)
    model.train()
    model.loss(views)
    assert not torch.equal(copy, before)


def test_the_teacher_stays_in_evaluation_mode_without_gradients() -> None:
    model = tiny(encoder={"drop_path": 0.5})
    for mode in (True, False, True):
        model.train(mode)
        assert model.encoder.training == mode
        assert not any(module.training for module in model.teacher.modules())
    views = model.make_views(clips(), generator=seeded(0))
    model.loss(views).total.backward()
    assert all(weight.grad is None for weight in model.teacher.parameters())
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.any(), name
    assert model.trained_encoder is model.encoder


def test_masks_of_the_settings() -> None:
    tube, motion = tiny(), tiny(masking="motion", motion_temperature=0.5)
    assert repr(tube.masking) == repr(TubeMask(0.6, 2, 4))
    assert repr(motion.masking) == repr(MotionAwareMask(0.6, 0.5, 4))
    assert tube.static
    assert not tiny(skip_absent=True).static
    state = torch.get_rng_state()
    first, again, other = (tube.make_views(clips(), generator=seeded(s)) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.mask, again.mask)
    assert not torch.equal(first.mask, other.mask)


def test_training_tells_the_position_of_each_step(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=17, subjects=4, views=1, classes=2)
    data = SkeletonDataset(store)
    told: list[tuple[int, int, int]] = []

    class Told(LatentPrediction):
        def progress(self, epoch: int, epochs: int, step: int) -> None:
            told.append((epoch, epochs, step))
            super().progress(epoch, epochs, step)

    settings = replace(
        LatentPrediction.presets["small-latent"].model,
        **{"width": 8, "heads": 2, "frames": 8, "momentum": 0.5, "momentum_steps": 8},
    )
    config = TrainSettings(
        epochs=2, batch_size=4, accumulate=2, optimizer="adamw", lr=1e-3, accelerator="cpu"
    )
    model = Told(settings.build_encoder(store.skeleton, store.persons), store.skeleton, settings)
    records = fit(model, data, config, quiet=True)
    assert told == [(0, 2, 0), (0, 2, 1), (1, 2, 2), (1, 2, 3)]
    assert float(model.momentum) == pytest.approx(0.5 + 3 / 8 * 0.499)
    assert {"latent_mse", "target_std"} <= records[-1].keys()


def test_half_precision_regions_keep_the_loss_in_float32() -> None:
    model = tiny()
    views = model.make_views(clips(), generator=seeded(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.loss(views)
    assert output.total.dtype == torch.float32
    torch.testing.assert_close(output.total, model.loss(views).total, rtol=0.03, atol=0)


def test_the_loss_falls() -> None:
    model = tiny(momentum=0.99, last_momentum=0.999)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(40):
        output = model(clips(), generator=seeded(step))
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.total.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert float(output.terms["target_std"]) > 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_blocks": 4}, "top_blocks <= 3, the blocks of the encoder, got 4"),
        ({"top_blocks": 9}, "top_blocks <= depth=8, got 9"),
        ({"top_blocks": 0}, "top_blocks >= 1"),
        ({"tube": 0}, "tube >= 1"),
        ({"momentum": 1.5}, "momentum in"),
        ({"last_momentum": -0.1}, "last_momentum in"),
        ({"momentum_steps": 0}, "momentum_steps >= 1"),
        ({"masking": "parts"}, "masking.*'parts'"),
        ({"mask_ratio": 0.95}, "15 joints visible, got 0.95"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_refusals() -> None:
    other: Any = GRUEncoder(SBU15, hidden=4)
    with pytest.raises(ValueError, match=r"TransformerEncoder.*GRUEncoder"):
        LatentPrediction(other, SBU15)
    with pytest.raises(ValueError, match="V=15"):
        tiny()(torch.zeros(2, 3, 16, 20, 2))
    views = tiny().make_views(clips())
    with pytest.raises(ValueError, match="24 visible patches"):
        tiny().loss(replace(views, mask=torch.ones_like(views.mask)))
