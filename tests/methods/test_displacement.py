"""Displacement: classes, losses and heads against slow recomputations."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from pcm3.augment import Compose, Shear, TemporalCropResize
from pcm3.data import SkeletonDataset, generate
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.methods import Displacement
from pcm3.methods.displacement import (
    ABSENT,
    DisplacementHead,
    DisplacementViews,
    class_loss,
    displacement_classes,
)
from pcm3.skeleton import COCO17, KINECT20, NTU25, SBU15, to_stream

STILL = {"crop": lambda clips, lengths, generator: clips, "spatial": Compose()}


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def clips(samples: int = 3, frames: int = 12, channels: int = 3) -> Tensor:
    """Paths on a grid, on which joints stand still at times; no second person in the first."""
    moves = torch.randint(-1, 2, (samples, channels, frames, 15, 2), generator=seeded(1))
    found = moves.cumsum(dim=2) * 0.0078125
    found[0, ..., 1] = 0
    return found


def encoders() -> list[Encoder]:
    torch.manual_seed(0)
    return [
        GRUEncoder(SBU15, hidden=4, layers=1),
        STGCNEncoder(SBU15, channels=4, layers=(1, 1), out_features=8),
        TransformerEncoder(SBU15, frames=12, width=8, depth=1, heads=2, patch=3),
    ]


def tiny(encoder: Encoder | None = None, **changes: object) -> Displacement:
    torch.manual_seed(0)
    encoder = encoder or GRUEncoder(SBU15, hidden=4, layers=1)
    return Displacement(encoder, SBU15, **{"frames": 12, "intervals": (1, 3), **changes})


@pytest.mark.parametrize(("channels", "interval", "step"), [(3, 1, 0.01), (3, 4, 0.002), (2, 2, 1)])
def test_classes_are_those_of_each_joint_and_frame(
    channels: int, interval: int, step: float
) -> None:
    given = clips(channels=channels)
    direction, magnitude = displacement_classes(given, interval, step)
    kinds = set()
    for n, m in ((n, m) for n in range(3) for m in range(2)):
        for t in range(12):
            for v in range(15):
                then = given[n, :, max(t - interval, 0), v, m].tolist()
                now = given[n, :, t, v, m].tolist()
                moved = [a - b for a, b in zip(then, now, strict=True)]
                signs = [0 if d < 0 else 1 if d == 0 else 2 for d in moved]
                assert direction[n, t, v, m] == sum(s * 3**c for c, s in enumerate(signs))
                length = math.sqrt(sum(d * d for d in moved))
                wanted = 0 if length == 0 else min(1 + math.floor(length / step), 14)
                wanted = ABSENT if (n, m) == (0, 1) else wanted
                assert magnitude[n, t, v, m] == wanted
                kinds.add(wanted)
    assert len(kinds) > 2


def test_a_person_who_comes_late_counts() -> None:
    given = clips()
    given[0, :, 6:, :, 1] = 0.5
    assert not (displacement_classes(given, 1).magnitude == ABSENT).any()


@pytest.mark.parametrize("absent", ["ignore", "class"])
@pytest.mark.parametrize("kind", range(3))
def test_the_loss_is_the_mean_cross_entropy(kind: int, absent: str) -> None:
    model = tiny(encoders()[kind], absent=absent, global_weight=0.3, **STILL)
    views = model.make_views(clips())
    output = model.loss(views)
    encoder, center = model.encoder, SBU15.center
    if isinstance(encoder, TransformerEncoder):
        features = encoder.tokens(views.clips)  # (N, M, T / 3, V, D)
    else:
        features = encoder(views.clips)
    sums: dict[str, list[Tensor]] = {"direction": [], "magnitude": [], "global": []}
    paths: dict[str, list[Tensor]] = {"direction": [], "magnitude": []}
    for name, size in (("direction", 27), ("magnitude", 16)):
        layer = getattr(model.head, name)
        for r, interval in enumerate((1, 3)):
            classes = getattr(displacement_classes(clips(), interval), name)
            for n, t, v, m in torch.cartesian_prod(*map(torch.arange, (3, 12, 15, 2))).tolist():
                if (n, m) == (0, 1) and absent == "ignore":
                    continue
                if kind == 2:
                    rows = layer(features[n, m, t // 3, v]).view(3, 2, size)
                    scores = rows[t % 3, r]
                else:  # features of fewer frames are resized
                    row = torch.nn.functional.interpolate(features[n].T[None], 12, mode="linear")
                    scores = layer(row[0, :, t]).view(2, 15, 2, size)[r, v, m]
                loss = torch.logsumexp(scores, 0) - scores[classes[n, t, v, m]]
                (paths[name] if v == center else sums[name]).append(loss.detach())
    wanted = {name: torch.stack(sums[name]).mean() for name in ("direction", "magnitude")}
    wanted["global"] = sum(torch.stack(each).mean() for each in paths.values())  # type: ignore[assignment]
    assert output.terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(output.terms[name], value, rtol=1e-4, atol=1e-5)
    total = wanted["direction"] + wanted["magnitude"] + 0.3 * wanted["global"]
    torch.testing.assert_close(output.total.detach(), total, rtol=1e-4, atol=1e-5)


def test_without_weight_the_centre_teaches_nothing() -> None:
    model = tiny(global_weight=0.0)
    views = model.make_views(clips())
    other = views.direction.clone()
    other[:, :, :, SBU15.center] = (other[:, :, :, SBU15.center] + 1) % 27
    changed = model.loss(views._replace(direction=other))
    assert torch.equal(model.loss(views).total, changed.total)
    assert list(changed.terms) == ["direction", "magnitude"]


def test_classes_are_those_of_the_augmented_joints() -> None:
    for stream in ("joint", "bone", "motion"):
        model = tiny(stream=stream, mask_ratio=0.4)
        views = model.make_views(clips(frames=20), generator=seeded(3))
        plain = tiny(spatial=Shear(0.3)).make_views(clips(frames=20), generator=seeded(3))
        for r, interval in enumerate((1, 3)):
            found = displacement_classes(plain.clips, interval)
            assert torch.equal(views.direction[:, :, r], found.direction)
            assert torch.equal(views.magnitude[:, :, r], found.magnitude)
        expected = to_stream(plain.clips, SBU15, stream)  # type: ignore[arg-type]
        seen = views.clips != 0
        assert torch.equal(views.clips[seen], expected[seen])
        hidden = (views.clips == 0).all(dim=1)[1:]  # of samples with both persons
        assert float(hidden.float().mean()) >= 0.4
        assert bool(hidden.sum(dim=2).ge(6).all())


def test_defaults() -> None:
    model = tiny()
    assert repr(model.crop) == repr(TemporalCropResize(12, (0.5, 1.0), 64))
    assert repr(model.spatial) == repr(Shear(0.3))
    assert model.masking is None
    assert model.static
    assert Displacement(GRUEncoder(NTU25, hidden=4)).settings.intervals == (1, 5, 10)


def test_a_generator_decides_everything_random() -> None:
    model = tiny(mask_ratio=0.4)
    state = torch.get_rng_state()
    lengths = torch.tensor([12, 5, 1])
    first, again, other = (model.make_views(clips(), lengths, seeded(s)) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.clips, other.clips)


@pytest.mark.parametrize("kind", range(3))
def test_every_parameter_learns(kind: int) -> None:
    model = tiny(encoders()[kind])
    model(clips()).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or name.endswith("qkv.bias"), name


def test_the_loss_falls() -> None:
    model = tiny(GRUEncoder(SBU15, hidden=16, layers=1, pool="mean"))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        output = model(clips(8), generator=seeded(step))
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.total.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_half_precision_regions_keep_the_loss_in_float32() -> None:
    model = tiny()
    views = model.make_views(clips(), generator=seeded(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.loss(views)
    assert output.total.dtype == torch.float32
    torch.testing.assert_close(output.total, model.loss(views).total, rtol=0.02, atol=0)


def test_two_coordinates() -> None:
    model = Displacement(GRUEncoder(COCO17, 2, 1, hidden=4), COCO17, frames=12)
    output = model(torch.randn(2, 2, 20, 17, 1))
    output.total.backward()
    assert model.head.direction.out_features == 3 * 17 * 9


def test_fit(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=16, subjects=4, views=1, classes=2)
    sizes = {"hidden": 4, "frames": 8}
    model = Displacement.from_preset("small-displacement", store.skeleton, store.persons, **sizes)
    options = {"epochs": 1, "batch_size": 4, "accumulate": 2, "knn_every": 0, "quiet": True}
    model.fit(SkeletonDataset(store), accelerator="cpu", **options)
    assert model.features(SkeletonDataset(store).batch([0, 1]).clips).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intervals": ()}, "intervals"),
        ({"intervals": (0, 1)}, "intervals >= 1, got 0"),
        ({"intervals": (3, 1)}, "increasing intervals"),
        ({"step": 0.0}, "step > 0"),
        ({"global_weight": -1.0}, "global_weight >= 0"),
        ({"absent": "skip"}, "absent.*'skip'"),
        ({"mask_ratio": 2.0}, "mask_ratio"),
    ],
)
def test_settings_out_of_range(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"interval >= 1"):
        displacement_classes(clips(), 0)
    with pytest.raises(ValueError, match="step"):
        displacement_classes(clips(), 1, step=-1.0)
    with pytest.raises(ValueError, match=r"\(N, C, T, V, M\)"):
        displacement_classes(clips()[0], 1)
    with pytest.raises(ValueError, match=r"V=15"):
        tiny()(torch.zeros(2, 3, 12, 20, 2))
    head = DisplacementHead(8, joints=15)
    with pytest.raises(ValueError, match=r"\(N, 12, 8\), got \(3, 12, 7\)"):
        head(torch.zeros(3, 12, 7), 12)
    with pytest.raises(ValueError, match=r"joints >= 1"):
        DisplacementHead(8, joints=0)
    views = tiny().make_views(clips())
    with pytest.raises(ValueError, match="classes"):
        tiny().loss(DisplacementViews(views.clips, views.direction[:, :6], views.magnitude))
    with pytest.raises(ValueError, match="classes"):
        class_loss(torch.zeros(2, 3, 27), torch.zeros(2, 4).long(), torch.ones(2, 3).bool())
    with pytest.raises(ValueError, match="20 joints"):
        Displacement(GRUEncoder(NTU25, hidden=4), KINECT20)


def test_settings_of_a_preset_are_its_own() -> None:
    preset = Displacement.presets["small-displacement"].model
    model = replace(preset, hidden=8).build(NTU25, 2)
    assert model.settings.intervals == (1, 2, 4)
    assert model.encoder.pooling == "mean"
