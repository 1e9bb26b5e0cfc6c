"""Settings without an effect under other settings: they change no step, and are refused by name."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Generator, Tensor

from pcm3.cli import main
from pcm3.data.synthetic import generate
from pcm3.errors import SkeletonFormatError
from pcm3.methods import PCM3, Method
from pcm3.methods.aimclr import AimCLR
from pcm3.methods.autoencoder import AutoEncoder
from pcm3.methods.catalog import METHODS
from pcm3.methods.cmd import CMD
from pcm3.methods.decorrelation import Decorrelation
from pcm3.methods.latent import LatentPrediction
from pcm3.methods.mamp import MAMP
from pcm3.methods.ms2l import MS2L
from pcm3.methods.settings import MethodSettings, TrainSettings
from pcm3.schedules import learning_rate, make_optimizer
from pcm3.skeleton import SBU15
from pcm3.sweep.file import read_sweep

CLIPS = torch.randn(4, 3, 40, 15, 1, generator=Generator().manual_seed(0))

GRU = {"hidden": 8, "layers": 1, "frames": 16, "crop_min_frames": 16}
CONTRAST = {**GRU, "embedding": 8, "queue_size": 16}
TOKENS = {"frames": 16, "patch": 4, "width": 16, "depth": 1, "heads": 2, "crop_min_frames": 16}
MASKED_ONLY = {**CONTRAST, "decoder_hidden": 8, "positives": ()}
MASKING = ("masking", "mask_ratio", "mask_clip_length")
CLIP = ("clip_mode", "clip_ratio")
TEMPERATURES = ("student_temperature", "teacher_temperature")
OF_CONTRAST = ("temperature", "momentum")
CASES: list[tuple[type[Method], dict[str, Any], tuple[str, ...]]] = [
    (PCM3, CONTRAST, CLIP),
    (
        PCM3,
        {**CONTRAST, "positives": ("intra",), "mask_weight": 0.0, "kl_weight": 0.0},
        (*MASKING, *CLIP, *TEMPERATURES, "decoder_hidden", "same_on_batch", "semantic_guidance"),
    ),
    (
        PCM3,
        {**CONTRAST, "positives": ("inter", "mask"), "mask_weight": 0.0, "domain_prompts": False},
        (*CLIP, "decoder_hidden", "semantic_guidance", "prompt_position"),
    ),
    (
        PCM3,
        MASKED_ONLY,
        (*CLIP, *TEMPERATURES, *OF_CONTRAST, "semantic_guidance"),
    ),
    (PCM3, {**CONTRAST, "info_nce_weight": 0.0}, (*CLIP, "temperature")),
    (PCM3, {**CONTRAST, "reflect": 0.1}, (*CLIP, "crop_scale", "crop_min_frames")),
    (
        PCM3,
        {**CONTRAST, "encoder": "transformer", "hidden": 32},
        (*CLIP, "direction", "pool"),
    ),
    (PCM3, {**CONTRAST, "positives": ("intra", "clip")}, ("semantic_guidance",)),
    (MAMP, {**TOKENS, "decoder_depth": 1, "target": "coordinates"}, ("motion_stride",)),
    (MAMP, {**TOKENS, "decoder_depth": 1}, ()),
    (
        LatentPrediction,
        {**TOKENS, "decoder_depth": 1, "top_blocks": 1},
        ("motion_temperature",),
    ),
    (
        LatentPrediction,
        {**TOKENS, "decoder_depth": 1, "top_blocks": 1, "masking": "motion"},
        ("tube",),
    ),
    (CMD, {**CONTRAST, "topk": 8, "distill_weight": 0.0}, (*TEMPERATURES, "topk")),
    (
        AimCLR,
        {"hidden": 8, "layers": 1, "frames": 16, "embedding": 8, "queue_size": 16, "drop": False},
        ("drop_threshold",),
    ),
    (
        Decorrelation,
        {"hidden": 8, "layers": 1, "frames": 16, "expander": 8, "partners": ("plain",)}
        | {"loss": "vicreg"},
        ("fastest", "others", "joint_ratio", "off_diagonal"),
    ),
    (
        MS2L,
        {**GRU, "embedding": 8, "head_hidden": 8, "decoder_hidden": 8, "contrast_weight": 0.0}
        | {"jigsaw_weight": 0.0},
        ("temperature", "embedding", "head_hidden"),
    ),
    (
        MS2L,
        {**GRU, "embedding": 8, "head_hidden": 8, "decoder_hidden": 8, "motion_weight": 0.0},
        ("decoder_hidden",),
    ),
    (AutoEncoder, GRU, ("view_axis",)),
]


def build(kind: type[Method], values: dict[str, Any]) -> Method:
    torch.manual_seed(0)
    model: Method = kind.Settings(**values).build(SBU15, 1)
    return model


def step(model: Method) -> tuple[Tensor, list[Tensor]]:
    """The loss of a second step, and the gradient of the encoder."""
    for seed in (1, 2):
        torch.manual_seed(seed)
        model.zero_grad()
        total = model(CLIPS, generator=Generator().manual_seed(seed)).total
        total.backward()
    gradients = [p.grad for p in model.encoder.parameters() if p.grad is not None]
    return total.detach(), gradients


def another(settings: MethodSettings, name: str) -> Any:
    """Another valid value of a setting."""
    value = getattr(settings, name)
    choices = get_args(get_type_hints(type(settings))[name])
    if isinstance(value, str):
        return next(word for word in choices if word != value)
    if isinstance(value, bool):
        return not value
    if value is None:
        return 2
    if isinstance(value, tuple):
        return (0.6, 0.7)
    return value + 1 if isinstance(value, int) else value / 2


@pytest.mark.parametrize(("kind", "values", "names"), CASES)
def test_settings_without_effect_change_no_step(
    kind: type[Method], values: dict[str, Any], names: tuple[str, ...]
) -> None:
    model = build(kind, values)
    unused = model.settings.without_effect()
    assert {*names} == {*unused}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    total, gradients = step(model)
    for name in unused:
        if name in ("layers", "direction"):  # other values are refused anyway
            continue
        changed = build(kind, {**values, name: another(model.settings, name)})
        own = changed.state_dict()
        alike = {key: value for key, value in weights.items() if own[key].shape == value.shape}
        changed.load_state_dict(own | alike)
        found, of_encoder = step(changed)
        assert torch.equal(found, total), name
        assert all(map(torch.equal, of_encoder, gradients)), name


def test_names_without_effect_are_settings() -> None:
    for kind in METHODS.values():
        known = {field.name for field in fields(kind.Settings)}
        assert known >= {*kind.Settings().without_effect()}


def test_settings_of_training_without_effect() -> None:
    step_, cosine = TrainSettings(), TrainSettings(schedule="cosine", optimizer="adam")
    assert {*step_.without_effect()} == {"betas", "min_lr"}
    assert {*cosine.without_effect()} == {"drop_epoch"}
    for epoch in (0.5, 200.0, 400.0):
        assert learning_rate(step_, epoch) == learning_rate(step_.changed({"min_lr": 1e-3}), epoch)
        other = cosine.changed({"drop_epoch": 1})
        assert learning_rate(cosine, epoch) == learning_rate(other, epoch)
    groups = make_optimizer(torch.nn.Linear(1, 1), step_).param_groups
    assert "betas" not in groups[0]


def test_named_settings_without_effect_are_refused() -> None:
    reason = "mask_weight is 0 and neither mask nor predict is among the positives"
    with pytest.raises(ValueError, match=f"^mask_ratio has no effect: {reason}$"):
        PCM3.from_preset("small-skeletonclr", mask_ratio=0.3)
    PCM3.from_preset("small-skeletonclr", mask_ratio=0.3, mask_weight=1.0)
    with pytest.raises(ValueError, match="drop_epoch has no effect"):
        MAMP.from_preset("small-mamp").fit([], drop_epoch=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        ["--model.mask-ratio", "0.3"],
        ["--model.mask_ratio=0.3"],
        ["--model.no-same-on-batch"],
        ["--train.min-lr", "1e-4"],
        ["--preset", "small-mae", "--model.motion-stride", "2"],
    ],
)
def test_the_command_refuses_them(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = generate(tmp_path / "store", sequences=24, classes=2, subjects=2, skeleton=SBU15)
    common = ["--data", str(store.path), "--out", f"{tmp_path}/run", "--train.epochs", "0"]
    preset = [] if "--preset" in options else ["--preset", "small-skeletonclr"]
    assert main(["pretrain", *preset, *options, *common]) == 2
    assert "has no effect" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_sweep_refuses_them(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    common = '[common]\ndata = "store"\npreset = "small-skeletonclr"\n'
    for axis in ("mask_ratio = [0.3, 0.6]", "teacher_temperature = [0.05, 0.1]"):
        file.write_text(f"{common}[axes]\nmodel.{axis}\n")
        with pytest.raises(SkeletonFormatError, match=r"axes.* has no effect"):
            read_sweep(file)
    file.write_text(f"{common}model.mask_ratio = 0.3\n[axes]\nmodel.shear = [0.1, 0.2]\n")
    with pytest.raises(SkeletonFormatError, match="common: mask_ratio has no effect"):
        read_sweep(file)
    # a common setting needs an effect on one variation only
    file.write_text(f"{common}model.mask_ratio = 0.3\n[axes]\nmodel.mask_weight = [0.0, 1.0]\n")
    assert len(read_sweep(file).variations) == 2
