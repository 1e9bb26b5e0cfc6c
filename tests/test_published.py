"""What papers, data sets and reference code publish, written down a second time."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcm3.augment import TopologyMask
from pcm3.data.normalize import normalize
from pcm3.data.protocols import (
    NTU60_PROTOCOLS,
    NTU120_PROTOCOLS,
    PKU1_PROTOCOLS,
    PKU2_PROTOCOLS,
    published_split,
)
from pcm3.data.readers import open_source
from pcm3.evaluation.classification import STREAM_WEIGHTS
from pcm3.evaluation.tasks.fewshot import NTU120_UNSEEN_CLASSES
from pcm3.evaluation.tasks.finetune_recipes import RECIPES
from pcm3.methods.catalog import PRESETS
from pcm3.skeleton import NTU25

# --- who trains -----------------------------------------------------------------------------------

NTU60_SUBJECTS = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
NTU120_SUBJECTS = (
    *(1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38, 45, 46, 47, 49),
    *(50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93),
    *(94, 95, 97, 98, 100, 103),
)
EVEN_SETUPS = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32)


def test_protocols_of_ntu_and_pku() -> None:
    assert (len(NTU60_SUBJECTS), len(NTU120_SUBJECTS)) == (20, 53)
    assert NTU60_PROTOCOLS == {
        "xsub": ("subjects", NTU60_SUBJECTS, None),
        "xview": ("views", (2, 3), None),
    }
    assert NTU120_PROTOCOLS == {
        "xsub": ("subjects", NTU120_SUBJECTS, None),
        "xset": ("setups", EVEN_SETUPS, None),
    }
    assert PKU1_PROTOCOLS == {"xview": ("views", (2, 3), (1,))}
    assert PKU2_PROTOCOLS == {
        "xsub": ("subjects", (1, 4, 5, 6, 8, 9, 10, 11, 12, 13), (2, 3, 7)),
        "xview": ("views", (2, 3), (1,)),
    }
    assert published_split("train") == ("train", (1,), (0,))


@pytest.mark.parametrize(
    ("file", "protocols"),
    [
        ("S001C001P001R001A001.skeleton", NTU60_PROTOCOLS),
        ("S018C001P001R001A061.skeleton", NTU120_PROTOCOLS),
        ("a1_s1_t1_skeleton.mat", {"xsub": ("subjects", (1, 3, 5, 7), None)}),
        ("a01_s01_e01_v01.json", {"xview": ("views", (1, 2), None)}),
        ("a01_s01_e01_skeleton3D.txt", {"xsub": ("subjects", (1, 3, 5, 7, 9), None)}),
    ],
)
def test_protocols_of_readers(tmp_path: Path, file: str, protocols: dict[str, Any]) -> None:
    (tmp_path / file).touch()
    assert open_source(tmp_path, None).protocols == protocols


# --- evaluation -----------------------------------------------------------------------------------


def test_classes_of_few_shot_episodes() -> None:
    assert list(NTU120_UNSEEN_CLASSES) == [
        *(60, 61, 66, 69, 72, 78, 79, 80, 84, 90, 91, 95),
        *(96, 98, 99, 100, 102, 106, 108, 111, 113, 114, 115),
    ]


def test_weights_of_joint_bone_and_motion() -> None:
    assert STREAM_WEIGHTS == (0.6, 0.6, 0.4)


def test_recipes_of_fine_tuning() -> None:
    names = ("epochs", "batch_size", "lr", "weight_decay", "warmup_epochs", "label_smoothing")
    cmd, mamp = (RECIPES[name]._asdict() for name in ("cmd", "mamp"))
    assert tuple(cmd[name] for name in names) == (80, 64, 0.01, 0, 0, 0)
    assert tuple(mamp[name] for name in names) == (100, 48, 3e-4, 0.05, 5, 0.1)
    assert (mamp["layer_decay"], mamp["drop_path"]) == (0.8, 0.3)
    assert (cmd["rotation"], np.radians(mamp["rotation"])) == (0, pytest.approx(0.3))


# --- normalisation --------------------------------------------------------------------------------


def body(frames: int, width: NDArray[np.float64] | float = 0.4) -> NDArray[np.float32]:
    """One body (T, 25, 3), a metre high and so wide, that moves."""
    body = np.zeros((frames, len(NTU25), 3))
    body[:, ::2, 0] = np.reshape(width, (-1, 1))
    body[:, 12:, 1] = 1
    body[..., 2] = np.linspace(2, 3, frames)[:, None]
    return body.astype(np.float32)


def persons_left(*bodies: NDArray[np.float32]) -> int:
    """Of bodies that all come in the first frame."""
    length = max(map(len, bodies))
    padded = [np.pad(each, ((0, length - len(each)), (0, 0), (0, 0))) for each in bodies]
    return int(normalize(np.stack(padded, axis=1), NTU25, "sgn").any(axis=(0, 2, 3)).sum())


@pytest.mark.parametrize(("frames", "persons"), [(11, 1), (12, 2)])
def test_sgn_drops_bodies_of_fewer_than_12_frames(frames: int, persons: int) -> None:
    assert persons_left(body(40), body(frames)) == persons


@pytest.mark.parametrize(("width", "persons"), [(0.79, 2), (0.81, 1)])
def test_sgn_drops_bodies_wider_than_0_8_of_their_height(width: float, persons: int) -> None:
    assert persons_left(body(40), body(40, width)) == persons


@pytest.mark.parametrize(("wide", "persons"), [(697, 2), (698, 1)])
def test_sgn_drops_bodies_that_are_wide_in_0_69754_of_their_frames(wide: int, persons: int) -> None:
    assert persons_left(body(1000), body(1000, np.where(np.arange(1000) < wide, 2, 0.4))) == persons


def test_isc_looks_at_4_bodies_and_300_frames() -> None:
    bodies = np.stack([body(310) * (1 + number) for number in range(5)], axis=1)
    found = normalize(bodies, NTU25, "isc", 2)
    assert found.shape == (300, 2, 25, 3)
    np.testing.assert_array_equal(found, normalize(bodies[:300, :4], NTU25, "isc", 2))
    assert not np.array_equal(found, normalize(bodies[:300, 1:], NTU25, "isc", 2))


# --- presets --------------------------------------------------------------------------------------

PCM3 = {
    "stream": "joint",
    "encoder": "gru",
    "hidden": 1024,
    "layers": 3,
    "direction": "causal_pair",
    "pool": "last",
    "frames": 64,
    "embedding": 128,
    "decoder_hidden": 512,
    "queue_size": 16384,
    "momentum": 0.999,
    "temperature": 0.07,
    "student_temperature": 0.1,
    "teacher_temperature": 0.05,
    "positives": ("intra", "inter", "mask", "predict"),
    "info_nce_weight": 1.0,
    "mask_weight": 40.0,
    "kl_weight": 1.0,
    "semantic_guidance": True,
    "domain_prompts": True,
    "task_prompts": True,
    "prompt_position": "pre_norm",
    "crop_scale": (0.1, 1.0),
    "crop_min_frames": 64,
    "shear": 1.0,
    "jitter": 1.0,
    "masking": "topology",
    "mask_ratio": 0.6,
    "same_on_batch": True,
    "result": "query",
}
PLUS_PLUS = PCM3 | {
    "positives": ("intra", "inter", "mask", "predict", "clip"),
    "task_prompts": False,
    "prompt_position": "post_norm",
    "clip_ratio": (0.25, 0.5),
    "clip_mode": "mask",
}
OTHER_STREAM = {
    "domain_prompts": False,
    "task_prompts": False,
    "kl_weight": 0.0,
    "semantic_guidance": False,
}
MAMP = {
    "stream": "joint",
    "frames": 120,
    "patch": 4,
    "width": 256,
    "depth": 8,
    "heads": 8,
    "decoder_depth": 3,
    "mask_ratio": 0.9,
    "motion_temperature": 0.8,
    "target": "motion",
    "motion_stride": 1,
    "normalize_target": "patch",
    "skip_absent": False,
    "crop_scale": (0.5, 1.0),
    "crop_min_frames": 64,
    "rotation": 0.3,
}
MAE = {"target": "coordinates", "motion_temperature": 0}
SGD = {
    "epochs": 451,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.02,
    "weight_decay": 1e-4,
    "decay_vectors": True,
    "schedule": "step",
    "drop_epoch": 351,
    "warmup_epochs": 0.0,
    "keep_epochs": (),
}
ADAMW = {
    "epochs": 400,
    "batch_size": 128,
    "optimizer": "adamw",
    "lr": 1e-3,
    "betas": (0.9, 0.95),
    "weight_decay": 0.05,
    "decay_vectors": False,
    "schedule": "cosine",
    "min_lr": 5e-4,
    "warmup_epochs": 20,
}
EVERYWHERE = {
    "clip_norm": 0.0,
    "accumulate": 1,
    "precision": "fp32",
    "devices": 1,
    "nodes": 1,
    "sync_norm": False,
}
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "": (PCM3, SGD),
    "-bone": (PCM3 | OTHER_STREAM | {"stream": "bone"}, SGD),
    "-motion": (PCM3 | OTHER_STREAM | {"stream": "motion"}, SGD),
    "-pp": (PLUS_PLUS, SGD),
    "-pp-bone": (PLUS_PLUS | OTHER_STREAM | {"stream": "bone"}, SGD),
    "-pp-motion": (PLUS_PLUS | OTHER_STREAM | {"stream": "motion"}, SGD),
    "-mamp": (MAMP, ADAMW),
    "-mae": (MAMP, ADAMW),
}
"""Ending of a preset's name to model and training on NTU RGB+D 60."""
ELSEWHERE = {
    "ntu60": {"decoder_depth": 3, "motion_temperature": 0.8, "keep_epochs": ()},
    "ntu120": {"decoder_depth": 5, "motion_temperature": 0.75, "keep_epochs": ()},
    "pku1": {"decoder_depth": 5, "motion_temperature": 0.8, "keep_epochs": (300,)},
    "pku2": {"decoder_depth": 5, "motion_temperature": 0.8, "keep_epochs": (300,)},
}
"""What differs by data set, of MAMP alone."""
PLACES = ("ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset", "pku1-xsub", "pku2-xsub")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", PLACES)
def test_presets(place: str, method: str) -> None:
    """Their accuracies are tested in tests/training/test_presets.py."""
    data, _, protocol = place.partition("-")
    model, train = METHODS[method]
    wanted = model | train | EVERYWHERE
    if model is MAMP:
        wanted |= ELSEWHERE[data] | (MAE if method == "-mae" else {})
    preset = PRESETS[place + method]
    found = asdict(preset.train) | asdict(preset.model)
    assert not asdict(preset.train).keys() & asdict(preset.model).keys()
    assert {field: found[field] for field in wanted} == wanted
    assert preset.protocol == protocol
    if model is not MAMP:
        with torch.device("meta"):
            masking: Any = preset.model.build(NTU25, persons=2).masking  # type: ignore[union-attr]
        assert (type(masking), masking.clip_length) == (TopologyMask, 8)


def test_the_preset_of_nat_differs_from_maes_in_one_setting() -> None:
    mae, nat = PRESETS["ntu60-xsub-mae"], PRESETS["ntu60-xsub-nat"]
    assert nat.model == replace(mae.model, normalize_target="time")  # type: ignore[call-arg]
    assert nat._replace(model=mae.model, text=mae.text) == mae


SGD = {"optimizer": "sgd", "weight_decay": 1e-4, "schedule": "step"}
GRAPH = {"frames": 50, "encoder": "stgcn", "hidden": 256, "pool": "mean", "batch_size": 128}
MOCO = {
    "queue_size": 32_768,
    "momentum": 0.999,
    "temperature": 0.07,
    "shear": 0.5,
    "embedding": 128,
}
AT_250 = SGD | {"lr": 0.1, "epochs": 300, "drop_epoch": 250}
CONTRASTIVE: dict[str, dict[str, Any]] = {
    "skeletonclr": GRAPH | MOCO | AT_250 | {"positives": ("intra",), "reflect": 1 / 6},
    "aimclr": GRAPH | MOCO | AT_250 | {"rotation": 30.0, "noise": 0.01, "mining_start": 0.5},
    "pstl": GRAPH
    | {"shear": 1.0, "expander": 6144, "off_diagonal": 2e-4, "fastest": 0.2, "others": 0.2}
    | {"optimizer": "adam", "lr": 5e-3, "weight_decay": 1e-5, "epochs": 150, "warmup_epochs": 10},
    "cmd": SGD
    | {"lr": 0.01, "epochs": 451, "drop_epoch": 351, "batch_size": 64, "frames": 64}
    | {"encoder": "gru", "hidden": 1024, "layers": 3, "queue_size": 16_384, "topk": 8192}
    | {"student_temperature": 0.1, "teacher_temperature": 0.05, "temperature": 0.07},
}
"""The recipes of other contrastive methods on NTU RGB+D 60."""


@pytest.mark.parametrize("method", CONTRASTIVE)
def test_recipes_of_other_contrastive_methods(method: str) -> None:
    for protocol in ("xsub", "xview"):
        preset = PRESETS[f"ntu60-{protocol}-{method}"]
        found = asdict(preset.train) | asdict(preset.model)
        wanted = CONTRASTIVE[method]
        assert {field: found[field] for field in wanted} == wanted
        assert preset.protocol == protocol


def test_every_preset_of_a_paper_is_tested() -> None:
    tested = {place + method for place in PLACES for method in METHODS} | {"ntu60-xsub-nat"}
    tested |= {f"ntu60-{protocol}-{name}" for protocol in ("xsub", "xview") for name in CONTRASTIVE}
    assert tested == {name for name in PRESETS if not name.startswith("small")}
