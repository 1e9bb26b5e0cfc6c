"""Maps of features keep what is near together and repeat."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3.viz.maps import embedding_map


def clusters(each: int = 12, classes: int = 3) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    return np.eye(8)[labels] + 0.05 * rng.normal(size=(len(labels), 8)), labels


@pytest.mark.parametrize("name", ["pca", "tsne"])
def test_neighbours_in_the_map_are_of_one_cluster(name: str) -> None:
    features, labels = clusters()
    layout = embedding_map(features, labels)
    assert layout is not None
    points = np.array(layout[name])
    distances = np.linalg.norm(points[:, None] - points, axis=2) + np.diag([np.inf] * len(points))
    assert (labels[distances.argmin(axis=1)] == labels).all()


def test_features_that_are_no_numbers() -> None:
    features, labels = clusters()
    features[17, 2] = np.nan
    with pytest.raises(ValueError, match="finite features, got NaN or infinity in row 17"):
        embedding_map(features, labels)


def test_length_does_not_count() -> None:
    features, labels = clusters()
    lengths = np.random.default_rng(1).uniform(0.1, 9, (len(features), 1))
    one, other = embedding_map(features, labels), embedding_map(lengths * features, labels)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one["pca"], other["pca"], atol=2e-4)


def test_of_many_some_are_drawn_by_seed() -> None:
    features, labels = clusters()
    layouts = [embedding_map(features, labels, limit=10, seed=seed) for seed in (0, 0, 1)]
    first, again, other = layouts
    assert first == again
    assert first is not None
    assert other is not None
    assert first["rows"] != other["rows"]
    assert first["rows"] == sorted(set(first["rows"]))
    assert first["labels"] == labels[first["rows"]].tolist()
    assert np.shape(first["pca"]) == np.shape(first["tsne"]) == (10, 2)
    json.dumps(first)


def test_features_that_are_all_the_same_are_in_one_place() -> None:
    layout = embedding_map(np.ones((6, 3)), np.zeros(6, int))
    assert layout is not None
    assert layout["pca"] == layout["tsne"] == [[0, 0]] * 6


@pytest.mark.parametrize(("shape", "there"), [((3, 5), False), ((5, 1), False), ((4, 2), True)])
def test_too_little_for_a_map(shape: tuple[int, int], there: bool) -> None:
    features = np.random.default_rng(0).normal(size=shape)
    assert (embedding_map(features, np.zeros(len(features))) is not None) == there


def test_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"labels \(N,\), got \(4, 2\) and \(3,\)"):
        embedding_map(np.zeros((4, 2)), np.zeros(3))
