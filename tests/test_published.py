"""What papers, data sets and reference code publish, written down a second time."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.data.normalize import normalize
from pcm3.data.protocols import (
    NTU60_PROTOCOLS,
    NTU120_PROTOCOLS,
    PKU1_PROTOCOLS,
    PKU2_PROTOCOLS,
    published_split,
)
from pcm3.data.readers import open_source
from pcm3.evaluation.fewshot import NTU120_UNSEEN_CLASSES
from pcm3.evaluation.finetune import RECIPES
from pcm3.evaluation.fusion import STREAM_WEIGHTS
from pcm3.skeleton import NTU25
from pcm3.training.presets import ABOUT, PRESETS

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
    "key_momentum": 0.999,
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
    "mask_clip_length": 8,
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
WITHOUT_PROMPTS = PCM3 | {
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
    "normalize_target": True,
    "skip_absent": False,
    "crop_scale": (0.5, 1.0),
    "crop_min_frames": 64,
    "rotation": 0.3,
}
DEEPER = MAMP | {"decoder_depth": 5}
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
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any], str, list[float]]] = {
    "ntu60-xsub": (PCM3, SGD, "xsub", [83.9]),
    "ntu60-xview": (PCM3, SGD, "xview", [90.4]),
    "ntu60-xsub-bone": (WITHOUT_PROMPTS | {"stream": "bone"}, SGD, "xsub", [87.4]),
    "ntu60-xview-bone": (WITHOUT_PROMPTS | {"stream": "bone"}, SGD, "xview", [93.1]),
    "ntu60-xsub-motion": (WITHOUT_PROMPTS | {"stream": "motion"}, SGD, "xsub", []),
    "ntu60-xview-motion": (WITHOUT_PROMPTS | {"stream": "motion"}, SGD, "xview", []),
    "ntu60-xsub-pp": (PLUS_PLUS, SGD, "xsub", [84.1, 84.8]),
    "ntu60-xview-pp": (PLUS_PLUS, SGD, "xview", [90.8, 91.0]),
    "ntu60-xsub-mamp": (MAMP, ADAMW, "xsub", [85.0]),
    "ntu60-xview-mamp": (MAMP, ADAMW, "xview", [89.0]),
    "ntu120-xsub-mamp": (DEEPER | {"motion_temperature": 0.75}, ADAMW, "xsub", [78.1]),
    "ntu120-xset-mamp": (DEEPER | {"motion_temperature": 0.75}, ADAMW, "xset", [79.5]),
    "pku-xsub-mamp": (DEEPER, ADAMW, "xsub", []),
}
"""Of each preset the model, the training, the protocol and the accuracies of the linear probe."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets(name: str) -> None:
    model, train, protocol, accuracies = PUBLISHED[name]
    preset = PRESETS[name]
    for wanted, settings in ((model, preset.model), (train | EVERYWHERE, preset.train)):
        found = asdict(settings)
        assert {field: found[field] for field in wanted} == wanted
    assert preset.protocol == protocol
    assert [float(each) for each in re.findall(r"([\d.]+) %", ABOUT[name].text)] == accuracies
