"""A small store, an untrained encoder and both parts, for tests that have none of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.evaluation.alterations import AlteredDataset
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.metrics import accuracy
from pcm3.evaluation.probes import fit_logistic
from pcm3.hub import Pretrained


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=96, classes=4, subjects=4, frames=(10, 40))


@pytest.fixture(scope="module")
def parts(store: Store) -> tuple[SkeletonDataset, SkeletonDataset]:
    training, test = split(store, "xsub")
    return SkeletonDataset(store, training), SkeletonDataset(store, test)


@pytest.fixture(scope="module")
def probed(pretrained: Pretrained) -> Callable[[Features, AlteredDataset], float]:
    """Accuracy of a linear probe, computed from its parts."""

    def probe(training: Features, test: AlteredDataset) -> float:
        features = extract_features(pretrained, test)
        return accuracy(fit_logistic(training, 4)(features.values).argmax(1), features.labels)

    return probe
