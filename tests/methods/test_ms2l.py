"""MS2L: its three terms against slow recomputations, each alone and all together."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pcm3.augment import TemporalCropResize
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.methods import MS2L, MS2LSettings
from pcm3.skeleton import NTU25, SBU15, to_stream

WEIGHTS = ("motion_weight", "jigsaw_weight", "contrast_weight")


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def clips(samples: int = 5, frames: int = 20) -> Tensor:
    return torch.randn(samples, 3, frames, 15, 2, generator=seeded(1)).cumsum(dim=2) / 5


def encoders() -> list[Encoder]:
    torch.manual_seed(0)
    return [
        GRUEncoder(SBU15, hidden=4, layers=1, pool="mean"),
        STGCNEncoder(SBU15, channels=4, layers=(1, 1), out_features=8),
        TransformerEncoder(SBU15, frames=12, width=8, depth=1, heads=2, patch=3),
    ]


def tiny(encoder: Encoder | None = None, **changes: object) -> MS2L:
    torch.manual_seed(0)
    encoder = encoder or encoders()[0]
    sizes = {"frames": 12, "head_hidden": 7, "embedding": 6, "decoder_hidden": 5}
    return MS2L(encoder, SBU15, **{**sizes, **changes})


def only(name: str, weight: float = 1.0) -> dict[str, float]:
    return dict.fromkeys(WEIGHTS, 0.0) | {f"{name}_weight": weight}


def test_views_are_one_crop_in_three_forms() -> None:
    model = tiny(segments=4, kept_share=0.7, stream="bone")
    views = model.make_views(clips(), generator=seeded(3))
    cropped = TemporalCropResize(12, (0.5, 1.0), 64)(clips(), generator=seeded(3))
    assert torch.equal(views.whole, to_stream(cropped, SBU15, "bone"))
    assert torch.equal(views.masked[:, :, :9], views.whole[:, :, :9])  # 0.7 * 12 = 8.4
    assert not views.masked[:, :, 9:].any()
    for whole, shuffled, order in zip(views.whole, views.shuffled, views.order, strict=True):
        pieces = whole.split(3, dim=1)
        orders = list(permutations(range(4)))
        assert torch.equal(shuffled, torch.cat([pieces[j] for j in orders[order]], dim=1))
    exact = tiny(kept_share=0.75).make_views(clips())
    assert exact.masked[:, :, 8].any()
    assert not exact.masked[:, :, 9:].any()


def test_a_generator_decides_everything_random() -> None:
    model = tiny()
    state = torch.get_rng_state()
    lengths = torch.tensor([20, 5, 1, 9, 3])
    first, again, other = (model.make_views(clips(), lengths, seeded(s)) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.order, other.order)


@pytest.mark.parametrize("kind", range(3))
def test_terms_are_their_definitions(kind: int) -> None:
    model = tiny(encoders()[kind], motion_weight=2.0, jigsaw_weight=0.5, contrast_weight=3.0)
    views = model.make_views(clips(), generator=seeded(0))
    output = model.loss(views)
    encoder = model.encoder
    frames = [encoder(each) for each in views[:3]]
    features = [encoder.pool(each) for each in frames]
    stretched = F.interpolate(frames[1].mT, 12, mode="linear").mT
    prediction = model.decoder(stretched)
    torch.testing.assert_close(output.prediction, prediction)
    motion = ((prediction - views.whole) ** 2).mean()
    scores = model.order_head(features[2]).log_softmax(dim=1)
    jigsaw = -sum(row[order] for row, order in zip(scores, views.order, strict=True)) / 5
    embeddings = [model.projector(each) for each in features]
    mean = sum(embeddings) / 3
    losses = []
    for each in embeddings:
        both = [row / row.norm() for row in (*each, *mean)]
        for i in range(10):
            similar = torch.stack([both[i] @ other for other in both])
            similar[i] = -1
            losses.append(-(similar / 0.9).log_softmax(0)[(i + 5) % 10])
    contrast = torch.stack(losses).mean()
    for name, term in (("motion", motion), ("jigsaw", jigsaw), ("contrast", contrast)):
        torch.testing.assert_close(output.terms[name], term.detach(), rtol=1e-4, atol=1e-6)
    total = 2 * motion + 0.5 * jigsaw + 3 * contrast
    torch.testing.assert_close(output.total, total, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "views"),
    [
        ("motion", ("masked",)),
        ("jigsaw", ("shuffled",)),
        ("contrast", ("whole", "masked", "shuffled")),
    ],
)
def test_a_term_alone_needs_its_head_and_views_alone(name: str, views: tuple[str, ...]) -> None:
    model = tiny(**only(name, 2.0))
    encoded: list[Tensor] = []
    given = model.make_views(clips(), generator=seeded(0))
    encode = model.encoder.encode_views
    model.encoder.encode_views = lambda v, p: encoded.extend(v) or encode(v, p)  # type: ignore[func-returns-value]
    output = model.loss(given)
    assert [id(each) for each in encoded] == [id(getattr(given, view)) for view in views]
    assert list(output.terms) == [name]
    assert float(output.total.detach()) == pytest.approx(2 * float(output.terms[name]))
    heads = [each for each in (model.decoder, model.order_head, model.projector) if each]
    assert len(heads) == 1
    both = tiny()
    both.load_state_dict(model.state_dict(), strict=False)
    assert float(both.loss(given).terms[name]) == pytest.approx(float(output.terms[name]), rel=1e-5)


def test_the_frames_after_the_kept_ones_are_not_seen_but_predicted() -> None:
    model = tiny(**only("motion"))
    views = model.make_views(clips(), generator=seeded(0))
    later = views.whole.clone()
    later[:, :, 9:] += 1
    output = model.loss(views._replace(whole=later))
    torch.testing.assert_close(output.prediction, model.loss(views).prediction)
    assert not torch.equal(output.total, model.loss(views).total)


@pytest.mark.parametrize("kind", range(3))
def test_every_parameter_learns(kind: int) -> None:
    model = tiny(encoders()[kind])
    model(clips(8)).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("name", ["motion", "jigsaw", "contrast"])
def test_each_loss_falls(name: str) -> None:
    encoder = GRUEncoder(SBU15, hidden=16, layers=1, pool="mean")
    model = tiny(encoder, **only(name), head_hidden=32, temperature=0.2)
    time = torch.linspace(-1, 1, 20)[:, None, None]
    ramps = clips(8)[:, :, :1] + time * torch.randn(3, 1, 15, 2, generator=seeded(5)) * 3
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(60):
        output = model(ramps, generator=seeded(step))
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.total.detach()))
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


def test_half_precision_regions_keep_the_loss_in_float32() -> None:
    model = tiny()
    views = model.make_views(clips(8), generator=seeded(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.loss(views)
    assert output.total.dtype == torch.float32
    torch.testing.assert_close(output.total, model.loss(views).total, rtol=0.03, atol=0)


@pytest.mark.parametrize("preset", ["small-ms2l", "small-jigsaw"])
def test_fit(preset: str, tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=16, subjects=4, views=1, classes=2)
    model = MS2L.from_preset(preset, store.skeleton, store.persons, hidden=4, frames=8)
    options = {"epochs": 1, "batch_size": 4, "accumulate": 2, "knn_every": 0, "quiet": True}
    model.fit(SkeletonDataset(store), accelerator="cpu", **options)
    assert model.features(SkeletonDataset(store).batch([0, 1]).clips).isfinite().all()
    assert model.static
    assert (model.settings.segments, model.decoder is None) == (
        (4, True) if preset == "small-jigsaw" else (3, False)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict.fromkeys(WEIGHTS, 0.0), "weight above 0.*motion_weight"),
        ({"motion_weight": -1.0}, "motion_weight >= 0"),
        ({"kept_share": 1.5}, r"kept_share in \[0, 1\]"),
        ({"kept_share": 0.0}, "kept_share > 0"),
        ({"segments": 7}, r"segments in \[2, 6\]"),
        ({"segments": 4, "frames": 3}, "segments <= frames=3, got 4"),
        ({"embedding": 0}, "embedding >= 1"),
        ({"head_hidden": 0}, "head_hidden >= 1"),
        ({"decoder_hidden": 0}, "hidden >= 1"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_settings_out_of_range(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="V=15"):
        tiny()(torch.zeros(2, 3, 12, 20, 2))
    with pytest.raises(ValueError, match="15 joints"):
        MS2L(GRUEncoder(NTU25, hidden=4), SBU15)
    with pytest.raises(ValueError, match="MS2LSettings"):
        MS2LSettings().changed({"lengths": 3})
