"""Checks that many public entry points share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate, synthetic_sequences
from pcm3.demo import demo
from pcm3.evaluation.alterations import occlusion_masks, with_noise
from pcm3.evaluation.evaluate import evaluate_all, evaluate_runs
from pcm3.evaluation.probes import ProbeSettings
from pcm3.evaluation.tasks.detection.detection import DetectionSettings
from pcm3.evaluation.tasks.fewshot import FewShotSettings
from pcm3.evaluation.tasks.finetune import FinetuneSettings, draw_labelled
from pcm3.evaluation.tasks.knn import KnnSettings
from pcm3.evaluation.tasks.occlusion import OcclusionSettings
from pcm3.evaluation.tasks.prediction.prediction import PredictionSettings
from pcm3.evaluation.tasks.robustness import RobustnessSettings
from pcm3.evaluation.tasks.semi import SemiSettings
from pcm3.methods.catalog import RunSettings
from pcm3.methods.settings import TrainSettings
from pcm3.training.pretrain import pretrain
from pcm3.viz.maps import embedding_map


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=4, classes=2, subjects=2, frames=(4, 6))


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize(
    "use",
    [
        *(
            DetectionSettings,
            FewShotSettings,
            FinetuneSettings,
            OcclusionSettings,
            PredictionSettings,
            KnnSettings,
            RobustnessSettings,
            SemiSettings,
        ),
        *(ProbeSettings, TrainSettings, synthetic_sequences),
        lambda seed: draw_labelled([0, 1], 0.5, seed=seed),
        lambda seed: embedding_map(np.eye(5), np.arange(5), seed=seed),
    ],
)
def test_seeds_out_of_range(use: Callable[..., Any], seed: int) -> None:
    with pytest.raises(ValueError, match=rf"^expected seed in \[0, 2\*\*32\), got {seed}$"):
        use(seed=seed)


def test_seeds_of_altered_recordings(store: Store) -> None:
    data = SkeletonDataset(store)
    for use in (
        lambda: occlusion_masks(data, "spatial", seed=-1),
        lambda: with_noise(data, 0.1, seed=-1),
    ):
        with pytest.raises(ValueError, match=r"seed in \[0, 2\*\*32\).*-1"):
            use()


def test_a_seed_of_the_demo(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seed in \[0, 2\*\*32\).*-1"):
        demo(tmp_path / "demo", epochs=1, seed=-1)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_seed_is_good_for_all_three_generators() -> None:
    layout = embedding_map(np.eye(5), np.arange(5), seed=2**32 - 1)
    assert layout is not None
    assert len(layout["tsne"]) == 5


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (FewShotSettings, "shots"),
        (FewShotSettings, "classifiers"),
        (PredictionSettings, "horizons"),
        (KnnSettings, "recall_at"),
        (SemiSettings, "fractions"),
    ],
)
def test_settings_that_need_a_value(settings: type[Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^expected at least one of {name}, got none$"):
        settings(**{name: ()})


def test_no_runs_and_no_stores(store: Store, tmp_path: Path) -> None:
    for use in (lambda: evaluate_runs("knn", [], store), lambda: evaluate_all([], store)):
        with pytest.raises(ValueError, match="expected at least one of runs, got none"):
            use()
    with pytest.raises(ValueError, match="expected at least one of stores, got none"):
        pretrain(RunSettings(), [], tmp_path / "run")


def test_evaluating_several_runs_is_for_linear_alone(store: Store) -> None:
    for use in (lambda two: evaluate_runs("knn", two, store), lambda two: evaluate_all(two, store)):
        with pytest.raises(ValueError, match=r"(knn|all) evaluates one run, got 2"):
            use([Path("a"), Path("b")])
