"""A store with labels of several kinds, an untrained encoder, and classifiers of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.cli import main
from pcm3.data.normalize import normalize
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.hub import Pretrained
from pcm3.inference.classifier import Classifier, How
from pcm3.inference.fit import fit_classifier
from pcm3.skeleton import NTU25

Call = Callable[..., dict[str, Any]]

EPOCHS = FinetuneSettings(epochs=3)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """96 sequences of 4 classes and 4 subjects, some without a label, and further columns.

    ``arms`` has words, ``quality`` integers; both are missing in places.
    """
    out = tmp_path_factory.mktemp("inference") / "store"
    source = synthetic_sequences(sequences=96, classes=4, subjects=4, frames=(10, 40))
    with StoreWriter(
        out, NTU25, class_names=source.class_names, fps=30, normalization="center"
    ) as writer:
        for number, recording in enumerate(source):
            label = -1 if number % 12 == 0 else recording.label
            writer.add(
                normalize(recording.frames, NTU25, "center"),
                label,
                name=f"recording-{number}.npy",
                arms=["", "low", "high"][(number // 4) % 3],
                quality=[7, 3, -1][(number // 2) % 3],
                subjects=int(recording.columns["subjects"]),
            )
    return Store(out)


@pytest.fixture(scope="session")
def training(store: Store) -> np.ndarray:
    return split(store, "xsub")[0]


@pytest.fixture(scope="session")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=1, hidden=8, layers=1, pool="mean").eval()
    return Pretrained(encoder, NTU25, "joint", 16, "center")


@pytest.fixture(scope="session")
def fitted(
    store: Store, training: np.ndarray, pretrained: Pretrained
) -> Callable[[How], Classifier]:
    """The classifier of each kind."""
    known: dict[How, Classifier] = {}

    def get(how: How = "linear") -> Classifier:
        if how not in known:
            known[how] = fit_classifier(pretrained, store, training, how=how, settings=EPOCHS)
        return known[how]

    return get


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command with --json and return what it says last."""

    def run(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
        said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return said

    return run
