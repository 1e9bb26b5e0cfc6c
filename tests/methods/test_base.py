"""What all methods share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from pcm3 import MAMP, NTU25, PCM3
from pcm3.augment import MotionAwareMask, Rotate, TemporalCropResize
from pcm3.encoders import TransformerEncoder
from pcm3.methods.catalog import METHODS, PRESETS, get_preset, post_distillation
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.schedules import learning_rate
from pcm3.training import trainer

SMALL = {"hidden": 4, "decoder_hidden": 4, "queue_size": 8}


def test_presets_build_their_method() -> None:
    kinds = {name: method for method in METHODS.values() for name in method.presets}
    assert kinds.keys() == PRESETS.keys()
    for name, method in kinds.items():
        with torch.device("meta"):
            model = get_preset(name).model.build(NTU25, persons=2)
        assert type(model) is method, name


def test_a_preset_of_another_method() -> None:
    with pytest.raises(ValueError, match=r"MAMP.*'small'.*PCM3"):
        MAMP.from_preset("small")
    model = MAMP.from_preset("small-mamp", width=8, heads=2)
    assert model.encoder.out_features == 8


def test_presets_of_pcm3pp_and_streams() -> None:
    plus = PCM3.from_preset("small-pp", **SMALL)
    assert plus.positives[-1] == "clip"
    assert set(plus.domain_prompts) == {"intra", "inter", "mask", "predict", "clip"}
    assert not plus.task_prompts
    assert plus.prompt_position == "post_norm"  # before it, nothing would be left that acts
    for stream in ("bone", "motion"):
        with torch.device("meta"):
            model = PCM3.from_preset(f"ntu60-xsub-{stream}")
        assert (model.stream, model.kl_weight, model.semantic_guidance) == (stream, 0, False)
        assert (model.info_nce_weight, model.mask_weight) == (1, 40)
        assert not model.domain_prompts
        assert not model.task_prompts


@pytest.mark.parametrize(
    ("name", "decoder_depth", "temperature"),
    [
        ("ntu60-xsub-mamp", 3, 0.8),
        ("ntu60-xview-mamp", 3, 0.8),
        ("ntu120-xsub-mamp", 5, 0.75),
        ("ntu120-xset-mamp", 5, 0.75),
        ("pku1-xsub-mamp", 5, 0.8),
        ("pku2-xsub-mamp", 5, 0.8),
    ],
)
def test_published_recipe_of_mamp(name: str, decoder_depth: int, temperature: float) -> None:
    with torch.device("meta"):
        model = MAMP.from_preset(name)
    assert (
        sum(p.numel() for p in model.parameters()) == {3: 8_789_004, 5: 10_368_524}[decoder_depth]
    )
    assert repr(model.masking) == repr(MotionAwareMask(0.9, temperature, patch=4))
    assert repr(model.crop) == repr(TemporalCropResize(120, (0.5, 1.0), min_frames=64))
    assert repr(model.rotate) == repr(Rotate(math.degrees(0.3)))
    assert (model.stream, model.target, model.motion_stride) == ("joint", "motion", 1)
    assert (model.normalize_target, model.skip_absent) == ("patch", False)
    train = get_preset(name).train
    assert (train.epochs, train.batch_size, train.warmup_epochs) == (400, 128, 20)
    assert (train.schedule, train.lr, train.min_lr) == ("cosine", 1e-3, 5e-4)
    assert (train.optimizer, train.betas) == ("adamw", (0.9, 0.95))
    assert (train.weight_decay, train.decay_vectors) == (0.05, False)
    assert (train.clip_norm, train.accumulate, train.precision) == (0, 1, "fp32")
    assert train.keep_epochs == ((300,) if name.startswith("pku") else ())
    with torch.device("meta"):
        baseline = MAMP.from_preset(name.replace("-mamp", "-mae"))
    assert repr(baseline.masking) == repr(MotionAwareMask(0.9, 0.0, patch=4))
    assert (baseline.target, len(baseline.decoder.blocks)) == ("coordinates", decoder_depth)
    assert get_preset(name.replace("-mamp", "-mae")).train == train


def test_without_a_preset_a_method_trains_by_its_own_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[TrainSettings] = []
    monkeypatch.setattr(trainer, "fit", lambda _, __, config, *___, **____: used.append(config))
    encoder = TransformerEncoder(NTU25, frames=8, width=8, depth=1, heads=1)
    MAMP(encoder, decoder_depth=1).fit(None, epochs=3)
    PCM3(encoder, queue_size=8, decoder_hidden=4).fit(None, epochs=3)
    mamp, pcm3 = (get_preset(name).train for name in ("ntu60-xsub-mamp", "ntu60-xsub"))
    assert used[0] == replace(mamp, epochs=3, drop_epoch=3, warmup_epochs=0.15)
    assert used[1] == replace(pcm3, epochs=3, drop_epoch=2)


def test_fewer_epochs_keep_the_shape_of_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[TrainSettings] = []
    monkeypatch.setattr(trainer, "fit", lambda _, __, config, *___, **____: used.append(config))
    model = PCM3.from_preset("small", **SMALL)
    model.fit(None, epochs=100)
    model.fit(None, epochs=100, drop_epoch=90)
    model.fit(None, epochs=100, warmup_epochs=3.0)
    model.fit(None, epochs=0)
    model.fit(None)
    assert [(each.epochs, each.drop_epoch, each.warmup_epochs) for each in used] == [
        (100, 80, 0), (100, 90, 0), (100, 160, 3), (0, 160, 0), (200, 160, 0)
    ]  # fmt: skip
    assert learning_rate(used[0], 79) == pytest.approx(10 * learning_rate(used[0], 80))
    short = get_preset("small-mamp").train.scaled_to(10)
    assert short.warmup_epochs == 0.25
    assert learning_rate(short, 0.25) == pytest.approx(short.lr)
    with pytest.raises(ValueError, match=r"epochs >= 0.*-1"):
        model.fit(None, epochs=-1)


def test_the_second_phase_of_pcm3pp() -> None:
    first = get_preset("ntu60-xsub-pp")
    second = post_distillation(first)
    assert second.model == replace(first.model, info_nce_weight=0.0, mask_weight=0.0, result="key")
    assert (second.train.epochs, second.protocol) == (150, "xsub")
    assert {learning_rate(second.train, epoch) for epoch in range(150)} == {0.002}
    bone = post_distillation(get_preset("ntu60-xsub-bone")).model
    assert (bone.kl_weight, bone.info_nce_weight, bone.stream) == (1.0, 0.0, "bone")
    assert post_distillation(replace(first, model=replace(first.model, kl_weight=0.5))).model == (
        replace(second.model, kl_weight=0.5)
    )
    cosine = replace(first, train=replace(first.train, schedule="cosine", min_lr=0.01))
    assert learning_rate(post_distillation(cosine).train, 150) == pytest.approx(0.001)
    warm = replace(first, train=replace(first.train, warmup_epochs=451.0))
    assert post_distillation(warm).train.warmup_epochs == pytest.approx(150)


def test_options_that_fit_does_not_know() -> None:
    model = PCM3.from_preset("small", **SMALL)
    with pytest.raises(ValueError, match=r"unknown TrainSettings: epoch,.* mean epochs"):
        model.fit(None, epoch=3)  # type: ignore[arg-type]


def test_settings_that_a_preset_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"PCM3Settings: hiden, nope.*hidden"):
        PCM3.from_preset("small", hiden=4, nope=3)
    with pytest.raises(ValueError, match=r"MAMPSettings: nope, .*mask_ratio"):
        MAMP.from_preset("small-mamp", nope=3)


@dataclass(frozen=True)
class WeightedSettings(PCM3Settings):
    """PCM3 with one more setting."""

    smooth_weight: float = 1.0
    """Weight of a further term."""


class Weighted(PCM3):
    """PCM3 with one more setting."""

    Settings = WeightedSettings


def test_methods_that_share_settings() -> None:
    class First(PCM3):
        Settings = WeightedSettings

    class Second(PCM3):
        Settings = WeightedSettings

    for kind in (Weighted, First, Second):
        assert kind.Settings.method is kind
        assert type(kind.Settings(**SMALL).build(NTU25, 2)) is kind


@dataclass(frozen=True)
class DeeperSettings(MAMPSettings):
    """MAMP with one more setting."""

    extra: int = 0
    """A number."""


class Deeper(MAMP):
    """MAMP with one more setting."""

    Settings = DeeperSettings


def test_a_preset_fills_the_settings_of_a_subclass() -> None:
    model = Weighted.from_preset("small", smooth_weight=3.0, mask_weight=2.0, **SMALL)
    assert type(model) is Weighted
    expected = replace(get_preset("small").model, mask_weight=2.0, **SMALL)
    assert model.settings == WeightedSettings(**vars(expected), smooth_weight=3.0)
    deeper = Deeper.from_preset("small-mamp", width=8, heads=2, extra=4)
    assert type(deeper.settings) is DeeperSettings
    assert (deeper.settings.width, deeper.settings.extra) == (8, 4)
    assert deeper.settings.frames == get_preset("small-mamp").model.frames
    with pytest.raises(ValueError, match=r"smooth_wight.*smooth_weight"):
        Weighted.from_preset("small", smooth_wight=3.0)
    with pytest.raises(ValueError, match="Weighted"):
        Weighted.from_preset("small-mamp")
