"""What all methods share."""

from __future__ import annotations

import pytest
import torch

from pcm3 import MAMP, NTU25, PCM3
from pcm3.training.presets import PRESETS, get_preset

SMALL = {"hidden": 4, "decoder_hidden": 4, "queue_size": 8}


def test_presets_build_their_method() -> None:
    for name in PRESETS:
        kind = MAMP if name.endswith(("-mamp", "-mae")) else PCM3
        with torch.device("meta"):
            model = get_preset(name).model.build(NTU25, persons=2)
        assert type(model) is kind, name


def test_a_preset_of_another_method() -> None:
    with pytest.raises(ValueError, match="expected a preset of MAMP, but 'small' is one of PCM3"):
        MAMP.from_preset("small")
    model = MAMP.from_preset("small-mamp", width=8, heads=2)
    assert model.encoder.out_features == 8


def test_presets_of_pcm3pp_and_streams() -> None:
    plus = PCM3.from_preset("small-pp", **SMALL)
    assert plus.positives[-1] == "clip"
    assert set(plus.domain_prompts) == {"intra", "inter", "mask", "predict", "clip"}
    assert not plus.task_prompts
    with torch.device("meta"):
        bone = PCM3.from_preset("ntu60-xsub-bone")
    assert (bone.stream, bone.kl_weight, bone.semantic_guidance) == ("bone", 0, False)
    assert not bone.domain_prompts
    assert not bone.task_prompts


def test_published_recipe_of_mamp() -> None:
    config = get_preset("ntu120-xset-mamp")
    assert config.protocol == "xset"
    assert (config.model.decoder_depth, config.model.motion_temperature) == (5, 0.75)
    train = config.train
    assert (train.epochs, train.batch_size, train.lr, train.min_lr) == (400, 128, 1e-3, 5e-4)
    assert (train.betas, train.weight_decay, train.decay_vectors) == ((0.9, 0.95), 0.05, False)


def test_options_that_fit_does_not_know() -> None:
    model = PCM3.from_preset("small", **SMALL)
    with pytest.raises(ValueError, match=r"expected fields of TrainConfig, .*epoch"):
        model.fit(None, epoch=3)  # type: ignore[arg-type]
