"""The encoder that comes with the package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pcm3
from pcm3.cli import main
from pcm3.data import Store, generate
from pcm3.encoders import GRUEncoder
from pcm3.encoders.files import encoder_file
from pcm3.evaluation.features import dataset_for, extract_features
from pcm3.evaluation.tasks.knn import evaluate_knn
from pcm3.hub import Pretrained
from pcm3.inference.estimators import PretrainedEncoder
from pcm3.runs.folder import Run
from pcm3.skeleton import COCO17, COMMON15, KINECT20

Call = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("shipped")
    return generate(folder / "store", sequences=96, classes=8, subjects=6, skeleton=KINECT20)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], store: Store) -> Call:
    def run(*arguments: object) -> dict[str, Any]:
        words = [*map(str, arguments), "--run", "pretrained", "--data", str(store.path)]
        assert main([*words, "--json"]) == 0, capsys.readouterr().err
        said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return said

    return run


def test_what_it_is() -> None:
    shipped = pcm3.load_pretrained()
    assert isinstance(shipped.encoder, GRUEncoder)
    assert not shipped.encoder.training
    assert (shipped.skeleton, shipped.normalization) == (COMMON15, "body")
    assert shipped.encoder.persons == 2
    file = encoder_file("pretrained")
    assert file.stat().st_size < 4_000_000
    about = json.loads(file.with_suffix(".json").read_text())
    assert "--data synthetic" in about["command"]
    assert "with changes" not in about["environment"]["commit"]


def test_it_tells_actions_apart_that_it_never_saw(store: Store) -> None:
    """Better than random weights and much better than chance, for subjects without labels."""
    subjects = store.columns["subjects"]
    parts = [np.flatnonzero(subjects % 2 == odd) for odd in (1, 0)]
    shipped = pcm3.load_pretrained()
    torch.manual_seed(0)
    network = GRUEncoder(COMMON15, persons=2, hidden=64, pool="mean").eval()
    untrained = Pretrained(network, COMMON15, "joint", shipped.frames, "body")
    trained, new = (
        evaluate_knn(each, *(dataset_for(each, store, part) for part in parts))["top1"]
        for each in (shipped, untrained)
    )
    assert trained > 4 / 8
    assert trained > new - 0.05


def test_the_word_is_an_encoder_everywhere(call: Call, tmp_path: Path, store: Store) -> None:
    top1 = call("evaluate", "knn", "--protocol", "xsub")["metrics"]["top1"]
    assert 0.5 < top1 <= 1
    call("features", "--out", tmp_path / "features.npz")
    expected = extract_features(pcm3.load_pretrained(), dataset_for(pcm3.load_pretrained(), store))
    with np.load(tmp_path / "features.npz") as file:
        np.testing.assert_allclose(file["features"], expected.values, atol=1e-5)
    call("classifier", "--out", tmp_path / "classifier.safetensors")
    assert call("search", "--query", "0", "-k", "3")["matches"]
    assert call("novelty", "--reference", "subjects:1")["recordings"]
    call("evaluate", "finetune", "--protocol", "xsub", "--epochs", "1")
    assert main(["export", "--run", "pretrained", "--out", str(tmp_path / "encoder.pt2")]) == 0


def test_its_results_stand_beside_those_of_runs(
    call: Call, tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    knn, shipped = ["evaluate", "knn", "--protocol", "xsub"], tmp_path / "shipped"
    found = call(*knn, "--out", shipped)["metrics"]["top1"]
    ours, other = ["--data", str(store.path), "--out"], tmp_path / "run"
    small = ["--train.epochs", "0", "--model.hidden", "4", "--model.layers", "1"]
    assert main(["pretrain", *small, *ours, str(other)]) == 0
    assert main([*knn, "--run", str(other), "--data", str(store.path)]) == 0
    report = ["report", str(other), str(shipped), "--out", str(tmp_path / "report"), "--json"]
    capsys.readouterr()
    assert main(report) == 0
    columns = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    assert list(columns) == ["run", "shipped"]
    assert found in columns["shipped"].values()
    for encoder, folder in (
        (other, tmp_path / "new"),  # has a run folder
        ("pretrained", other),
        ("pretrained", store.path),
        (shutil.copy(other / "encoder.safetensors", tmp_path), shipped),  # is another encoder
    ):
        assert main([*knn, "--run", str(encoder), *ours, str(folder)]) == 2
    assert not (tmp_path / "new").exists()
    assert main(["report", "pretrained"]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
    every = ["evaluate", "all", "--run", "pretrained", "--protocol", "xsub", *ours]
    assert main([*every, str(other)]) == 2


def test_training_begins_with_it(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["pretrain", "--from", "pretrained", "--data", str(store.path), "--train.epochs", "1"]
    start += ["--train.batch-size", "8", "--train.lr", "1e-9"]
    capsys.readouterr()
    assert main([*start, "--out", str(tmp_path / "run")]) == 0
    assert "--from pretrained takes recordings of any layout" in capsys.readouterr().err
    assert Run(tmp_path / "run").load_config().any_layout
    settings = Run(tmp_path / "run").settings()
    assert settings["start"] == "pretrained"
    assert len(settings["seen"]) == 1  # the encoder saw no recording before
    trained = pcm3.hub.load_encoder(tmp_path / "run").encoder.state_dict()
    for name, weight in pcm3.load_pretrained().encoder.state_dict().items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(trained[name], weight, atol=1e-6, rtol=0)
    longer = ["pretrain", "--from", str(tmp_path / "run"), *start[3:]]
    assert main([*longer, "--out", str(tmp_path / "longer")]) == 0
    assert Run(tmp_path / "longer").load_config().any_layout
    motion = ["pretrain", "--from", "pretrained", "--data", "synthetic", "--dry-run"]
    assert main([*motion, "--out", str(tmp_path / "motion")]) == 2
    assert "--motion.normalization body" in capsys.readouterr().err


def test_arrays_of_another_layout() -> None:
    keypoints = [np.random.default_rng(n).uniform(1, 400, (30, 17, 2)) for n in range(2)]
    transformer = PretrainedEncoder("pretrained", skeleton=COCO17)
    assert transformer.fit(keypoints).transform(keypoints).shape == (2, 128)


def test_a_folder_of_this_name_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = encoder_file("pretrained")
    Path("pretrained").mkdir()
    assert main(["export", "--run", "pretrained", "--out", "encoder.pt2"]) == 2
    assert "pretrained/encoder.safetensors" in capsys.readouterr().err
    shutil.copyfile(shipped, "pretrained/encoder.safetensors")
    assert encoder_file("pretrained") == Path("pretrained/encoder.safetensors")
