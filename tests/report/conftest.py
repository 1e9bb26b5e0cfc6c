"""Runs with results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from written_results import result, write_run

from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.evaluate import evaluate_runs
from pcm3.evaluation.kept import result_file
from pcm3.evaluation.tasks.fewshot import FewShotSettings
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.evaluation.tasks.occlusion import OcclusionSettings
from pcm3.evaluation.tasks.prediction.prediction import PredictionSettings
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.evaluation.tasks.robustness import RobustnessSettings
from pcm3.evaluation.tasks.semi import SemiSettings
from pcm3.hub import Pretrained, save_encoder
from pcm3.runs.results import write_result
from pcm3.skeleton import SBU15


@pytest.fixture
def seeds(tmp_path: Path) -> list[Path]:
    """Three runs that differ in the seed, and one of another kind."""
    tops = {"pcm3-0": 0.8, "pcm3-1": 0.7, "pcm3-2": 0.84}
    paths = [
        write_run(tmp_path / name, result("linear", {"top1": top}, name), seed=number)
        for number, (name, top) in enumerate(tops.items())
    ]
    other = result("linear", {"top1": 0.5}, "mamp-0")
    return [*paths, write_run(tmp_path / "mamp-0", other, seed=0, method="mamp")]


SMALL: dict[str, Any] = {
    "linear": None,
    "knn": None,
    "finetune": FinetuneSettings(epochs=1),
    "semi": SemiSettings(fractions=(0.25, 0.5), draws=2, epochs=1),
    "occlusion": OcclusionSettings(),
    "robustness": RobustnessSettings(ratios=(0.5,), noise=(0.1,), strides=(2,)),
    "fewshot": FewShotSettings(ways=2, shots=(1, 2), queries=2, episodes=3),
    "prediction": PredictionSettings(observed=6, predicted=3, horizons=(2,), epochs=1),
}


DETECTION = {
    "videos": [
        {
            "name": f"video {number}",
            "frames": 100,
            "truth": [[0, 10, 20], [2, 30, 60]],
            "proposals": [[0, 12, 22, 0.9], [1, 40, 70, 0.3]],
            "predicted": [[-1, 0, 100]],
        }
        for number in range(8)
    ]
}


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds, evaluated on everything."""
    folder = tmp_path_factory.mktemp("runs")
    store = generate(
        folder / "data", sequences=24, classes=3, subjects=4, frames=(12, 20), skeleton=SBU15
    )
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        encoder = GRUEncoder(15, persons=1, hidden=4, layers=1, pool="mean").eval()
        detection = result("detection", {"map_action_voc_0.5": 0.5}, details=DETECTION)
        detection |= {"store": "data"}
        paths.append(write_run(folder / f"run-{seed}", detection))
        save_encoder(paths[-1] / "encoder.safetensors", Pretrained(encoder, SBU15, "joint", 8))
        for task, given in SMALL.items():
            settings = given or TASKS[task].settings()
            found = evaluate_runs(task, paths[-1:], Store(store.path), "xsub", settings)
            file = result_file(found, paths[-1:])
            assert file is not None
            write_result(file, found)
        config = {"method": "pcm3", "train": {"seed": seed}}
        (paths[-1] / "config.json").write_text(json.dumps(config))
    return paths
