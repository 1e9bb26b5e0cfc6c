"""SimCLR, as a method that uses nothing but what every method has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pcm3.augment import Compose
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.losses import nt_xent
from pcm3.methods import SimCLR, SimCLRSettings
from pcm3.methods.simclr import TwoViews
from pcm3.skeleton import KINECT20, NTU25


def tiny(**changes: object) -> SimCLR:
    torch.manual_seed(0)
    encoder = GRUEncoder(KINECT20, persons=1, hidden=4, layers=1, pool="mean")
    return SimCLR(encoder, KINECT20, **{"embedding": 6, "frames": 12, **changes})


def clips(samples: int = 5) -> torch.Tensor:
    return torch.randn(samples, 3, 20, 20, 1, generator=torch.Generator().manual_seed(1))


def test_the_loss_is_that_of_both_embeddings() -> None:
    model = tiny(temperature=0.3)
    views = model.make_views(clips())

    def embed(view: torch.Tensor) -> torch.Tensor:
        embedding = model.projector(model.encoder(view).mean(dim=1))
        return embedding / embedding.norm(dim=1, keepdim=True)

    # batch statistics move with each view, but do not enter the embeddings of training mode
    expected = nt_xent(embed(views.first), embed(views.second), 0.3)
    output = model.loss(views)
    assert output.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert output.terms["nt_xent"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert output.prediction is None


def test_views_are_two_draws_of_each_clip() -> None:
    model = tiny()
    views = model.make_views(clips(), generator=torch.Generator().manual_seed(3))
    again = model.make_views(clips(), generator=torch.Generator().manual_seed(3))
    assert views.first.shape == views.second.shape == (5, 3, 12, 20, 1)
    assert torch.equal(views.first, again.first)
    assert not torch.equal(views.first, views.second)
    still = tiny(crop=lambda clips, lengths, generator: clips, spatial=Compose())
    first, second = still.make_views(clips())
    assert torch.equal(first, second)
    assert torch.equal(first, clips())


def test_it_learns_to_tell_clips_apart() -> None:
    model = tiny(crop_scale=(0.9, 1.0), shear=0.1, jitter=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        output = model(clips(8), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(output.total.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [("gru", GRUEncoder), ("stgcn", STGCNEncoder), ("transformer", TransformerEncoder)],
)
def test_it_trains_any_encoder(encoder: str, kind: type) -> None:
    settings = SimCLRSettings(encoder=encoder, hidden=8, frames=8, embedding=4)
    settings = settings if encoder != "gru" else replace(settings, layers=1)
    model = settings.build(NTU25, persons=2)
    assert type(model.encoder) is kind
    model(torch.randn(3, 3, 10, 25, 2)).total.backward()
    assert all(p.grad is not None for p in model.projector.parameters())


def test_fit_and_features(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=16, subjects=4, views=1, classes=2)
    model = SimCLR.from_preset("small-simclr", store.skeleton, store.persons, hidden=4, frames=8)
    data = SkeletonDataset(store)
    model.fit(data, epochs=1, batch_size=4, accelerator="cpu", knn_every=0, quiet=True)
    batch = data.batch([0, 1])
    features = model.features(batch.clips, batch.lengths)
    assert features.shape == (2, 8)
    assert features.isfinite().all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="two clips"):
        tiny().loss(TwoViews(clips(1)[:, :, :12], clips(1)[:, :, :12]))
    with pytest.raises(ValueError, match="hidden"):
        tiny(hidden=3)  # a setting of the encoder, which is there already
    with pytest.raises(ValueError, match=r"temprature.*temperature"):
        tiny(temprature=3)
    with pytest.raises(ValueError, match="SimCLRSettings"):
        SimCLR(tiny().encoder, KINECT20, {"frames": 12})  # type: ignore[arg-type]
