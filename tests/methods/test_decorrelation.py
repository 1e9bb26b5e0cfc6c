"""PSTL, SkeletonBT and VICReg as one method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pcm3.augment import Compose
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import GRUEncoder
from pcm3.losses import barlow_twins, vicreg
from pcm3.methods import Decorrelation, DecorrelationSettings
from pcm3.methods.decorrelation import DecorrelationViews
from pcm3.skeleton import KINECT20, NTU25


def tiny(**changes: Any) -> Decorrelation:
    torch.manual_seed(0)
    encoder = GRUEncoder(KINECT20, persons=1, hidden=4, layers=1, pool="mean")
    changes = {"frames": 20, "expander": 6, "off_diagonal": 0.1, **changes}
    return Decorrelation(encoder, KINECT20, **changes)


def clips(samples: int = 5) -> Tensor:
    return torch.randn(samples, 3, 30, 20, 1, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("loss", ["barlow", "vicreg"])
@pytest.mark.parametrize("partners", [("plain",), ("temporal", "spatial")])
def test_terms_are_losses_of_pairs(loss: Any, partners: Any) -> None:
    model = tiny(loss=loss, partners=partners)
    views = model.make_views(clips())

    def embed(view: Tensor) -> Tensor:
        return model.head(model.encoder(view).mean(dim=1))

    seen = dict(views.partners)
    if views.joints is not None:
        erased = torch.zeros_like(seen["spatial"])
        for n, kept in enumerate(views.joints):
            erased[n, :, :, kept] = seen["spatial"][n, :, :, kept]
        seen["spatial"] = erased
    output = model.loss(views)
    for name in partners:
        one, other = embed(views.anchor), embed(seen[name])
        expected = barlow_twins(one, other, 0.1) if loss == "barlow" else vicreg(one, other)
        torch.testing.assert_close(output.terms[f"{loss}/{name}"], expected.detach())
    total = sum(output.terms.values())
    torch.testing.assert_close(output.total.detach(), total)
    assert list(output.terms) == [f"{loss}/{name}" for name in partners]


def test_views() -> None:
    model = tiny(same_on_batch=False)
    views = model.make_views(clips(), generator=torch.Generator().manual_seed(3))
    again = model.make_views(clips(), generator=torch.Generator().manual_seed(3))
    assert views.anchor.shape == views.partners["spatial"].shape == (5, 3, 20, 20, 1)
    assert views.partners["temporal"].shape == (5, 3, 12, 20, 1)  # less 4 and 4
    assert views.joints is not None
    assert views.joints.shape == (5, 14)  # less int(20 * 0.32)
    assert bool((views.joints.diff(dim=1) > 0).all())
    assert len(views.joints.unique(dim=0)) > 1
    assert torch.equal(views.anchor, again.anchor)
    assert torch.equal(views.joints, again.joints)
    together = tiny().make_views(clips()[:1].expand(5, -1, -1, -1, -1))
    for view in (together.anchor, *together.partners.values(), together.joints):
        assert bool((view == view[:1]).all())
    plain = tiny(
        partners=("plain",), crop=lambda clips, lengths, generator: clips, spatial=Compose()
    )
    views = plain.make_views(clips())
    assert views.joints is None
    assert torch.equal(views.partners["plain"], clips())


@pytest.mark.parametrize("encoder", ["gru", "stgcn", "transformer"])
def test_it_trains_any_encoder(encoder: str) -> None:
    sizes = {"layers": 1} if encoder == "gru" else {}
    settings = DecorrelationSettings(encoder=encoder, hidden=8, frames=20, expander=4, **sizes)
    model = settings.build(NTU25, persons=2)
    assert model.static
    model(torch.randn(3, 3, 30, 25, 2)).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_it_learns() -> None:
    model = tiny(same_on_batch=False, shear=0.1, rotation=5.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        output = model(clips(16), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(output.total.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_fit_and_features(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=16, subjects=4, views=1, classes=2)
    model = Decorrelation.from_preset("small-pstl", store.skeleton, store.persons, hidden=4)
    data = SkeletonDataset(store)
    model.fit(data, epochs=1, batch_size=4, accelerator="cpu", knn_every=0, quiet=True)
    batch = data.batch([0, 1])
    assert model.features(batch.clips, batch.lengths).shape == (2, 8)


def test_refusals() -> None:
    views = tiny().make_views(clips())
    for wrong in (clips(), DecorrelationViews(views.anchor, {"plain": views.anchor})):
        with pytest.raises(ValueError, match="DecorrelationViews"):
            tiny().loss(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two clips"):
        tiny().eval()(clips(1))
    for changes, word in (
        ({"partners": ()}, "partners"),
        ({"partners": ("plain", "plain")}, "partners"),
        ({"partners": ("whole",)}, "partners"),
        ({"joint_ratio": 0.0}, "ratio"),
        ({"fastest": 0.7, "others": 0.3}, "leave"),
        ({"expander": 0}, "width"),
        ({"loss": "nothing"}, "loss"),
    ):
        with pytest.raises(ValueError, match=word):
            tiny(**changes)(clips())
