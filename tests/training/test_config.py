"""Settings and presets."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch

from pcm3 import PCM3
from pcm3.augment import (
    MotionAwareMask,
    RandomMask,
    Rotate,
    TemporalClip,
    TemporalCropResize,
    TopologyMask,
)
from pcm3.data import generate
from pcm3.encoders import GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.methods import SimCLRSettings
from pcm3.methods.catalog import PRESETS, RunSettings, get_preset
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run, comparable
from pcm3.skeleton import KINECT20, NTU25
from pcm3.training.pretrain import pretrain


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = get_preset(name)
    assert RunSettings.from_json(config.to_json()) == config


def test_json_round_trip_of_changed_settings() -> None:
    config = RunSettings(
        PCM3Settings(positives=("intra",), crop_scale=(0.2, 0.3), stream="bone"),
        TrainSettings(epochs=3, warmup_epochs=0.5),
        protocol="fold:2",
    )
    again = RunSettings.from_json(config.to_json())
    assert again == config
    assert again.model.positives == ("intra",)


def test_settings_of_mamp_survive() -> None:
    config = RunSettings(
        MAMPSettings(target="coordinates", crop_scale=(0.6, 1.0)), protocol="xview"
    )
    again = RunSettings.from_json(config.to_json())
    assert again == config
    assert (again.method, RunSettings().method) == ("mamp", "pcm3")
    with pytest.raises(ValueError, match=r"MAMPSettings: .*hidden"):
        RunSettings.from_json(RunSettings(protocol="xsub").to_json().replace('"pcm3"', '"mamp"'))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *(("train", "lr", "0.1"), ("train", "epochs", 1.5), ("train", "compile", 1)),
        *(("train", "optimizer", "lion"), ("train", "betas", [0.9]), ("train", "seed", True)),
        *(("model", "positives", "intra"), ("model", "crop_scale", None), ("model", "hidden", [])),
    ],
)
def test_settings_of_another_type(part: str, name: str, value: object) -> None:
    raw = {"method": "pcm3", **asdict(RunSettings())}
    raw[part][name] = value
    with pytest.raises(ValueError, match=name):
        RunSettings.from_json(json.dumps(raw))


@pytest.mark.parametrize("part", ["method", "model", "train", "protocol"])
def test_settings_that_are_missing(part: str) -> None:
    raw = {"method": "pcm3", **asdict(RunSettings())}
    for changed in ({**raw, part: 3}, {key: raw[key] for key in raw if key != part}):
        with pytest.raises(ValueError, match=f"expected {part}"):
            RunSettings.from_json(json.dumps(changed))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_settings_are_finite(value: float) -> None:
    for build, name in (
        (TrainSettings, "clip_norm"),
        (PCM3Settings, "jitter"),
        (MAMPSettings, "rotation"),
    ):
        with pytest.raises(ValueError, match=f"finite {name}"):
            build(**{name: value})
    with pytest.raises(ValueError, match="finite betas"):
        TrainSettings(betas=(0.9, value))


@pytest.mark.parametrize("part", ["model", "train"])
def test_unknown_settings(part: str) -> None:
    raw = {"method": "pcm3", **asdict(RunSettings())}
    raw[part]["colour"] = "red"
    with pytest.raises(ValueError, match="Settings: colour"):
        RunSettings.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": {}, "train": {}}'])
def test_text_that_is_no_configuration(text: str) -> None:
    with pytest.raises(ValueError):
        RunSettings.from_json(text)


def test_unknown_arguments_of_a_method_are_answered_by_all_names() -> None:
    with pytest.raises(ValueError, match="unknown PCM3Settings: temprature") as caught:
        PCM3(GRUEncoder(25, hidden=4), NTU25, temprature=0.1)
    assert all(field.name in str(caught.value) for field in fields(PCM3Settings))


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match=r"'ntu60-xsubb'.* ntu60-xsub "):
        get_preset("ntu60-xsubb")
    with pytest.raises(ValueError, match="'ntu61'"):
        PCM3.from_preset("ntu61")


@pytest.mark.parametrize(
    ("setting", "value"),
    {
        "epochs": -1,
        "batch_size": 1,
        "accumulate": 0,
        "checkpoint_every": 0,
        "knn_every": -1,
        "workers": -1,
        "lr": 0.0,
    }.items(),
)
def test_settings_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{setting} >=? ?\d.*{value}"):
        replace(TrainSettings(), **{setting: value})


def test_kept_epochs() -> None:
    train = TrainSettings(epochs=400, keep_epochs=(300, 20))
    again = RunSettings.from_json(RunSettings(train=train).to_json())
    assert again.train == train
    assert train.scaled_to(40).keep_epochs == (30, 2)
    assert train.scaled_to(2).keep_epochs == (2, 1)
    assert replace(train, keep_epochs=(399, 400)).scaled_to(4).keep_epochs == (4,)
    assert train.scaled_to(0).keep_epochs == ()
    for wrong in ((0,), (401,), (5, 5)):
        with pytest.raises(ValueError, match="keep_epochs"):
            replace(train, keep_epochs=wrong)


def test_papers_preset_is_the_published_recipe() -> None:
    train = get_preset("ntu60-xsub").train
    assert (train.epochs, train.drop_epoch, train.batch_size) == (451, 351, 128)
    assert (train.optimizer, train.lr, train.weight_decay) == ("sgd", 0.02, 1e-4)
    with torch.device("meta"):
        model = PCM3.from_preset("ntu60-xsub")
    assert sum(p.numel() for p in model.parameters()) == 103_457_862
    assert (model.mask_weight, model.kl_weight, model.semantic_guidance) == (40, 1, True)
    assert (model.info_nce.temperature, model.key_encoder.momentum) == (0.07, 0.999)
    assert model.prompt_position == "pre_norm"
    assert (model.encoder.pooling, model.frames) == ("last", 64)


def test_every_setting_reaches_the_model() -> None:
    config = PCM3Settings(
        stream="motion",
        hidden=4,
        layers=1,
        direction="forward",
        pool="mean",
        frames=24,
        embedding=6,
        decoder_hidden=5,
        queue_size=10,
        momentum=0.5,
        temperature=0.2,
        student_temperature=0.3,
        teacher_temperature=0.4,
        positives=("mask", "intra"),
        mask_weight=2.0,
        kl_weight=3.0,
        semantic_guidance=False,
        domain_prompts=False,
        task_prompts=False,
        prompt_position="post_norm",
        crop_scale=(0.3, 0.6),
        crop_min_frames=7,
        shear=0.2,
        jitter=0.1,
        mask_ratio=0.4,
        mask_clip_length=3,
        same_on_batch=False,
    )
    model = config.build(KINECT20, persons=1)
    assert model.stream == "motion"
    assert model.encoder.arguments == {
        "skeleton_or_joints": 20,
        "in_channels": 3,
        "persons": 1,
        "hidden": 4,
        "layers": 1,
        "direction": "forward",
        "pool": "mean",
    }
    assert model.frames == 24
    assert tuple(model.queue.anchors.shape) == (10, 6)
    assert model.decoder.gru.hidden_size == 5
    assert model.key_encoder.momentum == model.key_projector.momentum == 0.5
    assert model.info_nce.temperature == 0.2
    assert model.relational_kl.student_temperature == 0.3
    assert model.relational_kl.teacher_temperature == 0.4
    assert model.positives == ("mask", "intra")
    assert (model.mask_weight, model.kl_weight) == (2, 3)
    assert not model.semantic_guidance
    assert not [*model.domain_prompts, *model.task_prompts]
    assert model.prompt_position == "post_norm"
    crop, spatial = "size=24, scale=(0.3, 0.6), min_frames=7", "amplitude=0.2"
    assert crop in repr(model.crop)
    assert spatial in repr(model.source_spatial)
    assert spatial in repr(model.spatial)
    assert "amplitude=0.1" in repr(model.spatial)
    masking = model.masking
    assert isinstance(masking, TopologyMask)
    assert (masking.ratio, masking.clip_length, masking.same_on_batch) == (0.4, 3, False)
    assert "same_on_batch=False" in repr(model.mixing)


def test_every_setting_of_pcm3pp_reaches_the_model() -> None:
    options = {"hidden": 4, "queue_size": 8, "decoder_hidden": 4, "result": "key"}
    config = PCM3Settings(**options, info_nce_weight=2.0, clip_ratio=(0.1, 0.2), clip_mode="crop")
    model = config.build(NTU25, persons=2)
    assert (model.result, model.info_nce_weight) == ("key", 2)
    assert repr(model.clipping) == repr(TemporalClip((0.1, 0.2), "crop"))


def test_every_setting_of_mamp_reaches_the_model() -> None:
    config = MAMPSettings(
        stream="bone",
        frames=16,
        patch=2,
        width=12,
        depth=2,
        heads=3,
        decoder_depth=1,
        mask_ratio=0.7,
        motion_temperature=0.4,
        target="coordinates",
        motion_stride=2,
        normalize_target=False,
        skip_absent=True,
        crop_scale=(0.6, 0.9),
        crop_min_frames=5,
        rotation=0.1,
    )
    model = config.build(KINECT20, persons=1, in_channels=3)
    wanted = TransformerEncoder(20, 3, 1, 16, 2, 12, 2, 3, skip_absent=True)
    assert model.encoder.arguments == wanted.arguments
    assert len(model.decoder.blocks) == 1
    assert (model.stream, model.frames, model.skip_absent) == ("bone", 16, True)
    assert (model.target, model.motion_stride, model.normalize_target) == ("coordinates", 2, False)
    assert repr(model.masking) == repr(MotionAwareMask(0.7, 0.4, 2))
    assert repr(model.crop) == repr(TemporalCropResize(16, (0.6, 0.9), 5))
    assert repr(model.rotate) == repr(Rotate(math.degrees(0.1)))
    clips = torch.randn(2, 3, 8, 20, 1)
    assert replace(config, rotation=0.0).build(KINECT20, persons=1).rotate(clips) is clips


def test_masking_of_single_joints() -> None:
    masking = PCM3Settings(hidden=4, masking="random").build(NTU25, 2).masking
    assert isinstance(masking, RandomMask)
    assert (masking.ratio, masking.clip_length, masking.same_on_batch) == (0.6, 1, True)
    for kind, given, wanted in (("topology", None, 8), ("topology", 4, 4), ("random", 8, 8)):
        config = PCM3Settings(hidden=4, masking=kind, mask_clip_length=given)  # type: ignore[arg-type]
        assert config.build(NTU25, 2).masking.clip_length == wanted


def test_settings_that_an_encoder_does_not_have() -> None:
    for encoder, name, value in (
        ("transformer", "direction", "forward"),
        ("stgcn", "direction", "bidirectional"),
        ("stgcn", "layers", 7),
    ):
        with pytest.raises(ValueError, match=f"{name}.* {encoder}: "):
            PCM3Settings(encoder=encoder, **{name: value})
        PCM3Settings(**{name: value})
    assert (
        len(PCM3Settings(encoder="transformer", hidden=16, layers=2).build(NTU25, 1).encoder.blocks)
        == 2
    )


def test_from_preset_takes_changes() -> None:
    model = PCM3.from_preset("small", KINECT20, persons=1, hidden=4, positives=())
    assert model.encoder.out_features == 8
    assert (model.encoder.joints, model.encoder.persons) == (20, 1)
    assert model.positives == ()
    assert model.encoder.pooling == "mean"


def test_run_folders_of_earlier_versions_are_read_and_continued(tmp_path: Path) -> None:
    """Their settings had another name, and one less."""
    config = RunSettings(
        PCM3Settings(hidden=4, layers=1, frames=8, decoder_hidden=4, queue_size=8, momentum=0.5),
        TrainSettings(epochs=1, batch_size=2, accelerator="cpu"),
    )
    store = generate(tmp_path / "store", sequences=8, subjects=2, views=1, classes=2)
    pretrain(config, store, tmp_path / "run", quiet=True)
    file = tmp_path / "run" / "config.json"
    settings = json.loads(file.read_text())
    settings["model"]["key_momentum"] = settings["model"].pop("momentum")
    del settings["model"]["encoder_arguments"]
    file.write_text(json.dumps(settings))
    assert Run(tmp_path / "run").load_config() == config
    (record,) = pretrain(config, store, tmp_path / "run", quiet=True)
    assert record["epoch"] == 1
    other = replace(config, model=replace(config.model, momentum=0.6))
    with pytest.raises(ValueError, match=r"momentum is 0\.5 there and 0\.6 here"):
        pretrain(other, store, tmp_path / "run", quiet=True)


def test_further_arguments_of_the_graph_encoder() -> None:
    settings = SimCLRSettings(encoder="stgcn", hidden=6, pool="mean")
    arguments = ("channels=4", "layers=[1, 1]", "last_channels=6", "graph=code")
    encoder = settings.changed({"encoder_arguments": arguments}).build_encoder(NTU25, 1)
    assert isinstance(encoder, STGCNEncoder)
    assert (len(encoder.blocks), encoder.arguments["graph"]) == (2, "code")
    for argument in ("depth=3", "out_feature=4"):
        with pytest.raises(ValueError, match=argument.partition("=")[0]):
            settings.changed({"encoder_arguments": (argument,)}).build_encoder(NTU25, 1)
    with pytest.raises(ValueError, match="encoder_arguments"):
        settings.changed({"encoder": "gru", "encoder_arguments": arguments})
    with pytest.raises(ValueError, match="graph"):
        settings.changed({"encoder_arguments": ("graph",)})


def test_a_run_of_mamp_with_the_switch_of_earlier_versions(tmp_path: Path) -> None:
    """Their ``normalize_target`` was true or false."""
    sizes = {"frames": 8, "width": 8, "depth": 1, "heads": 1, "decoder_depth": 1}
    store = generate(tmp_path / "store", sequences=8, subjects=2, views=1, classes=2)
    train = TrainSettings(epochs=1, batch_size=2, accelerator="cpu")
    for former, present in ((True, "patch"), (False, False)):
        run = Run(tmp_path / f"run-{former}")
        config = RunSettings(MAMPSettings(**sizes, normalize_target=present), train)
        pretrain(config, store, run.path, quiet=True)
        settings = json.loads(run.config.read_text())
        assert settings["model"]["normalize_target"] == present
        settings["model"]["normalize_target"] = former
        run.config.write_text(json.dumps(settings))
        assert run.load_config() == config
        (record,) = pretrain(config, store, run.path, quiet=True)
        assert record["epoch"] == 1
        other = replace(config, model=replace(config.model, normalize_target="time"))
        with pytest.raises(ValueError, match=f"normalize_target is {present!r} there"):
            pretrain(other, store, run.path, quiet=True)
    settings["model"]["normalize_target"] = 0
    with pytest.raises(ValueError, match=r"normalize_target.*'patch' or 'time' or False, got 0"):
        RunSettings.from_json(json.dumps(settings))


def test_the_preset_is_recorded_and_parts_no_runs() -> None:
    settings = json.loads(get_preset("small-mae").to_json())
    assert settings["preset"] == "small-mae"
    former = {name: value for name, value in settings.items() if name != "preset"}
    assert comparable(former) == comparable(settings)
    assert RunSettings.from_json(json.dumps(former)).preset is None
