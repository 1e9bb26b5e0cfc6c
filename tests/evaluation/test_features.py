"""Features of data sets: their order, none, and ones that are no numbers."""

from __future__ import annotations

import pytest
import torch

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.alterations import with_noise
from pcm3.evaluation.features import extract_features, extract_random_crops
from pcm3.hub import Pretrained


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=36, classes=3, subjects=4, frames=(10, 30))


def test_features_are_in_the_data_sets_order(store: Store, pretrained: Pretrained) -> None:
    order = [7, 3, 30, 12]
    some = extract_features(pretrained, SkeletonDataset(store, order), batch_size=3)
    every = extract_features(pretrained, SkeletonDataset(store))
    assert some.labels.tolist() == store.labels[order].tolist()
    torch.testing.assert_close(some.values, every.values[order], rtol=1e-4, atol=1e-6)


def test_features_of_nothing(store: Store, pretrained: Pretrained) -> None:
    found = extract_features(pretrained, SkeletonDataset(store, []))
    assert (found.values.shape, found.labels.shape) == ((0, 16), (0,))
    assert (found.values.dtype, found.labels.dtype) == (torch.float32, torch.int64)


def test_an_encoder_that_gives_no_numbers(store: Store, pretrained: Pretrained) -> None:
    class Broken(GRUEncoder):
        def pool(self, frames: torch.Tensor) -> torch.Tensor:
            features = super().pool(frames).clone()
            features[1, 3] = torch.nan
            return features

    broken = Broken(25, persons=1, hidden=8, layers=1).eval()
    data = SkeletonDataset(store, [5, 9, 2])
    for dataset in (data, with_noise(data, 0.1)):
        with pytest.raises(ValueError, match=r"\b1 of .*\b3\b.*\b9 of .*st"):
            extract_features(pretrained._replace(encoder=broken), dataset)


def test_random_crops_restore_the_mode_of_the_encoder(store: Store) -> None:
    """The checks during training look at an encoder that goes on training."""
    encoder = GRUEncoder(25, persons=1, hidden=4, layers=1).train()
    pretrained = Pretrained(encoder, store.skeleton, "joint", 8)
    seen: list[bool] = []
    encoder.register_forward_hook(lambda module, *_: seen.append(module.training))
    extract_random_crops(pretrained, SkeletonDataset(store), torch.Generator())
    assert seen == [False]
    assert encoder.training
