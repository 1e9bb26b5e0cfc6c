"""MAMP against recorded numbers and slow recomputations, its switches and errors."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from pcm3.augment import Compose, MotionAwareMask, Rotate, TemporalCropResize
from pcm3.encoders import GRUEncoder, TransformerEncoder
from pcm3.methods import MAMP, PCM3, MAMPViews
from pcm3.methods.mamp import frame_motion, normalize_patches, normalize_times
from pcm3.skeleton import KINECT20, NTU25, SBU15, Skeleton


def tiny(skeleton: Skeleton = NTU25, persons: int = 2, channels: int = 3, **options: Any) -> MAMP:
    torch.manual_seed(0)
    sizes = {"frames": 16, "width": 16, "depth": 2, "heads": 2, **options.pop("encoder", {})}
    encoder = TransformerEncoder(skeleton, channels, persons, **sizes)
    return MAMP(encoder, skeleton, **{"decoder_depth": 1, **options})


def clips_for(model: MAMP, samples: int = 4, frames: int = 24, seed: int = 1) -> Tensor:
    shape = (samples, model.encoder.in_channels, frames, len(model.skeleton), model.encoder.persons)
    return torch.randn(shape, generator=seeded(seed)).cumsum(dim=2)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def views_of(model: MAMP, samples: int = 4) -> MAMPViews:
    return model.make_views(clips_for(model, samples), generator=seeded(2))


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "count"), [(3, 8_789_004), (5, 10_368_524)])
@pytest.mark.parametrize("target", ["motion", "coordinates"])
def test_published_parameter_counts(depth: int, count: int, target: Any) -> None:
    with torch.device("meta"):
        model = MAMP(TransformerEncoder(NTU25), decoder_depth=depth, target=target)
    assert sum(p.numel() for p in model.parameters()) == count
    assert model.frames == 120
    assert model.masking.visible(750) == 74


# --- the loss, recomputed -------------------------------------------------------------------------


def slow_target(model: MAMP, clip: Tensor) -> Tensor:
    """One clip ``(C, T, V, M)``, frame by frame and patch by patch."""
    _, frames, joints, persons = clip.shape
    target = torch.zeros_like(clip) if model.target == "motion" else clip.clone()
    if model.target == "motion":
        for t in range(frames - model.motion_stride):
            target[:, t] = clip[:, t + model.motion_stride] - clip[:, t]
    patch = model.encoder.patch
    if model.normalize_target == "time":
        for c, v, m in product(range(len(clip)), range(joints), range(persons)):
            line = target[c, :, v, m]
            mean = line.sum() / frames
            var = ((line - mean) ** 2).sum() / (frames - 1)
            target[c, :, v, m] = (line - mean) / (var + 1e-6) ** 0.5
    if model.normalize_target == "patch":
        for start in range(0, frames, patch):
            for v in range(joints):
                for m in range(persons):
                    part = target[:, start : start + patch, v, m]
                    mean = part.sum() / part.numel()
                    var = ((part - mean) ** 2).sum() / (part.numel() - 1)
                    target[:, start : start + patch, v, m] = (part - mean) / (var + 1e-6) ** 0.5
    return target


def slow_prediction(model: MAMP, clip: Tensor, mask: Tensor) -> Tensor:
    """One clip ``(C, T, V, M)``, one person and one patch after the other."""
    encoder, decoder = model.encoder, model.decoder
    channels, frames, joints, persons = clip.shape
    patch, prediction = encoder.patch, torch.zeros_like(clip)
    places = [(t, v) for t in range(frames // patch) for v in range(joints)]
    for m in range(persons):
        seen, tokens = [], []
        for t, v in places:
            if not mask[t * patch, v, m]:
                numbers = [
                    clip[c, t * patch + p, v, m] for p in range(patch) for c in range(channels)
                ]
                position = encoder.positions.time[0, t, 0] + encoder.positions.joint[0, 0, v]
                seen.append((t, v))
                tokens.append(encoder.tokenizer(torch.stack(numbers)) + position)
        latent = torch.stack(tokens)[None]
        for block in encoder.blocks:
            latent = block(latent)
        known = dict(zip(seen, decoder.embed(encoder.norm(latent))[0], strict=True))
        everything = [
            known.get((t, v), decoder.mask_token[0, 0])
            + decoder.positions.time[0, t, 0]
            + decoder.positions.joint[0, 0, v]
            for t, v in places
        ]
        outputs = decoder.output(decoder.norm(decoder.blocks(torch.stack(everything)[None])))[0]
        for (t, v), numbers in zip(places, outputs, strict=True):
            for p in range(patch):
                for c in range(channels):
                    prediction[c, t * patch + p, v, m] = numbers[p * channels + c]
    return prediction


@pytest.mark.parametrize(
    ("skeleton", "persons", "channels", "options"),
    [
        (NTU25, 2, 3, {}),
        (KINECT20, 1, 2, {"motion_stride": 3, "encoder": {"patch": 2, "frames": 10}}),
        (SBU15, 2, 3, {"target": "coordinates", "motion_temperature": 0}),
        (SBU15, 1, 3, {"normalize_target": False, "mask_ratio": 0.5}),
        (SBU15, 2, 3, {"target": "coordinates", "normalize_target": "time"}),
    ],
)
def test_prediction_and_loss_equal_their_definitions(
    skeleton: Skeleton, persons: int, channels: int, options: dict[str, Any]
) -> None:
    model = tiny(skeleton, persons, channels, **options)
    views = views_of(model, samples=2)
    with torch.no_grad():
        output = model.loss(views)
        expected = torch.stack(
            [slow_prediction(model, c, m) for c, m in zip(views.clips, views.mask, strict=True)]
        )
    torch.testing.assert_close(output.prediction, expected, rtol=1e-4, atol=1e-5)
    target = torch.stack([slow_target(model, clip) for clip in views.clips])
    hidden = views.mask[:, None].expand_as(target)
    error = (expected - target)[hidden].square().mean()
    assert float(output.total) == pytest.approx(float(error), rel=1e-4)


def test_what_is_hidden_is_not_seen_and_what_is_visible_is_not_scored() -> None:
    model = tiny()
    views = views_of(model)
    hidden = views.mask[:, None].expand_as(views.clips)
    changed = replace(views, clips=views.clips.masked_fill(hidden, 3.0))
    output = model.loss(views)
    prediction = output.prediction
    torch.testing.assert_close(model.loss(changed).prediction, prediction)
    prediction.retain_grad()
    output.total.backward()
    assert prediction.grad is not None
    assert torch.equal(prediction.grad != 0, hidden)


def test_the_target_of_an_empty_body_is_zero() -> None:
    assert not normalize_patches(frame_motion(torch.zeros(2, 3, 8, 25, 2)), 4).any()
    assert not normalize_patches(torch.zeros(2, 3, 8, 25, 2), 4).any()
    assert not normalize_times(torch.zeros(2, 3, 8, 25, 2)).any()


def test_every_parameter_learns() -> None:
    model = tiny()
    model(clips_for(model)).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


# --- absent persons -------------------------------------------------------------------------------


def some_absent(model: MAMP) -> MAMPViews:
    """Persons 1 of samples 0 and 2 and everybody of sample 3 are absent."""
    views = views_of(model)
    clips = views.clips.clone()
    clips[0, ..., 1] = clips[2, ..., 1] = clips[3] = 0
    return replace(views, clips=clips)


def test_skipping_absent_persons_equals_a_batch_without_them() -> None:
    model = tiny(skip_absent=True)
    views = some_absent(model)
    output = model.loss(views)
    output.total.backward()
    # each person as a sample of its own; of nobody, the first stays
    there = [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
    alone = tiny(persons=1)
    alone.load_state_dict(model.state_dict())
    clips = torch.stack([views.clips[n, ..., m : m + 1] for n, m in there])
    masks = torch.stack([views.mask[n, ..., m : m + 1] for n, m in there])
    expected = alone.loss(MAMPViews(clips, masks))
    expected.total.backward()
    torch.testing.assert_close(output.total, expected.total)
    for (n, m), wanted in zip(there, expected.prediction, strict=True):
        torch.testing.assert_close(output.prediction[n, ..., m], wanted[..., 0])
    for n, m in [(0, 1), (2, 1), (3, 1)]:
        assert not output.prediction[n, ..., m].any()
    for own, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert own.grad is not None
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_absent_persons_count_by_default_with_a_target_of_zero() -> None:
    model = tiny()
    views = some_absent(model)
    output = model.loss(views)
    hidden = views.mask[3, None].expand_as(views.clips[3])
    alone = model.loss(MAMPViews(views.clips[3:], views.mask[3:]))
    zero = output.prediction[3][hidden].square().mean()
    torch.testing.assert_close(alone.total, zero)


def test_absent_persons_are_left_out_if_encoder_or_settings_say_so() -> None:
    assert tiny(encoder={"skip_absent": True}).skip_absent
    assert tiny(skip_absent=True).skip_absent
    assert not tiny().skip_absent


# --- views ----------------------------------------------------------------------------------------


def test_default_transforms_are_the_published_ones() -> None:
    with torch.device("meta"):
        model = MAMP(TransformerEncoder())
    assert repr(model.crop) == repr(TemporalCropResize(size=120, scale=(0.5, 1.0), min_frames=64))
    assert isinstance(model.rotate, Rotate)
    assert model.rotate.degrees == pytest.approx(math.degrees(0.3))
    assert repr(model.masking) == repr(MotionAwareMask(0.9, 0.8, 4))


def test_one_rotation_a_sequence_for_both_persons() -> None:
    frames = 16
    model = tiny(crop=lambda clips, lengths, generator: clips)
    clips = clips_for(model, frames=frames)
    rotated = model.make_views(clips, generator=seeded(0)).clips
    angles = []
    for before, after in zip(clips, rotated, strict=True):
        points = before.flatten(1).double(), after.flatten(1).double()
        matrix = torch.linalg.lstsq(points[0].T, points[1].T).solution.T  # after = matrix before
        torch.testing.assert_close(matrix @ points[0], points[1], rtol=1e-4, atol=1e-4)
        # of Rz Ry Rx the last row is (-sin y, cos y sin x, cos y cos x)
        angles.append(
            (
                math.atan2(matrix[2, 1], matrix[2, 2]),
                -math.asin(matrix[2, 0]),
                math.atan2(matrix[1, 0], matrix[0, 0]),
            )
        )
    assert all(abs(angle) <= 0.3 for each in angles for angle in each)
    assert len({round(angle, 6) for each in angles for angle in each}) == 12


def test_views_without_augmentation() -> None:
    model = tiny(crop=lambda clips, lengths, generator: clips, rotate=Compose())
    clips = clips_for(model, frames=16)
    views = model.make_views(clips)
    assert torch.equal(views.clips, clips)
    assert views.mask.shape == (4, 16, 25, 2)
    assert (~views.mask).sum(dim=(1, 2)).unique().tolist() == [4 * model.masking.visible(100)]


@pytest.mark.parametrize("stream", ["joint", "bone", "motion"])
def test_streams_are_derived_after_augmentation(stream: Any) -> None:
    model = tiny(stream=stream, crop=lambda clips, lengths, generator: clips, rotate=Compose())
    clips = clips_for(model, frames=16)
    expected = torch.zeros_like(clips)
    for joint, parent in enumerate(NTU25.parents):
        if stream == "joint":
            expected[:, :, :, joint] = clips[:, :, :, joint]
        elif stream == "bone" and parent >= 0:
            expected[:, :, :, joint] = clips[:, :, :, joint] - clips[:, :, :, parent]
    if stream == "motion":
        expected[:, :, :-1] = clips[:, :, 1:] - clips[:, :, :-1]
    assert torch.equal(model.make_views(clips).clips, expected)


def test_a_generator_decides_everything_random() -> None:
    model = tiny()
    clips, lengths = clips_for(model, frames=80), torch.tensor([80, 70, 40, 1])
    state = torch.get_rng_state()
    first, again, other = (model.make_views(clips, lengths, seeded(s)) for s in (3, 3, 4))
    outputs = [model(clips, lengths, seeded(3)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("clips", "mask"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))
    assert torch.equal(outputs[0].total, outputs[1].total)


def test_frames_beyond_the_length_are_never_seen() -> None:
    model = tiny()
    clips, lengths = clips_for(model, frames=40), torch.tensor([40, 30, 5, 1])
    spoiled = clips.clone()
    for clip, length in zip(spoiled, lengths.tolist(), strict=True):
        clip[:, length:] = 99
    first, second = (model.make_views(c, lengths, seeded(0)) for c in (clips, spoiled))
    assert torch.equal(first.clips, second.clips)
    assert torch.equal(first.mask, second.mask)


# --- features -------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_features_are_the_encoders_on_the_centre(training: bool) -> None:
    model = tiny(encoder={"drop_path": 0.5}).train(training)
    clips = clips_for(model, frames=16)
    features = model.features(clips)
    assert all(module.training == training for module in model.modules())
    assert not features.requires_grad
    # int(0.05 * 16 / 2) = 0 frames go at either end, so nothing is resized.
    expected = model.encoder.eval()(clips).mean(dim=1)
    torch.testing.assert_close(features, expected)
    assert model.trained_encoder is model.encoder


def test_features_do_not_depend_on_batch_or_padding() -> None:
    model = tiny()
    clips, lengths = clips_for(model, frames=40), torch.tensor([40, 23, 7, 1])
    together = model.features(clips, lengths)
    padded = torch.cat([clips, torch.full((4, 3, 9, 25, 2), 5.0)], dim=2)
    torch.testing.assert_close(model.features(padded, lengths), together, rtol=1e-4, atol=1e-6)
    for row, (clip, length) in enumerate(zip(clips, lengths.tolist(), strict=True)):
        alone = model.features(clip[None, :, :length])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-6)


# --- other data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skeleton", "persons", "channels"), [(KINECT20, 1, 3), (SBU15, 2, 2), (NTU25, 1, 2)]
)
def test_other_skeletons_persons_and_channels(
    skeleton: Skeleton, persons: int, channels: int
) -> None:
    model = tiny(skeleton, persons, channels)
    clips = clips_for(model)
    output = model(clips)
    output.total.backward()
    assert output.prediction.shape == (4, channels, 16, len(skeleton), persons)
    assert model.features(clips).shape == (4, 16)


def test_clips_longer_than_the_embeddings() -> None:
    model = tiny(crop=TemporalCropResize(size=24))
    assert model(clips_for(model)).prediction.shape == (4, 3, 24, 25, 2)


def test_half_precision_regions_keep_the_loss_in_float32() -> None:
    model = tiny(skip_absent=True)
    views = some_absent(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.loss(views)
    assert output.total.dtype == torch.float32
    torch.testing.assert_close(output.total, model.loss(views).total, rtol=0.02, atol=0)
    output.total.backward()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["forward", "features"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3, 20, 20, 2), r"V=25.*got \(4, 3, 20, 20, 2\)"),
        ((4, 3, 20, 25, 1), r"M=2\), got \(4, 3, 20, 25, 1\)"),
        ((4, 2, 20, 25, 2), r"C=3.*got \(4, 2, 20, 25, 2\)"),
        ((3, 20, 25, 2), r"\(N, C.*\(3, 20, 25, 2\)"),
    ],
)
def test_clips_that_do_not_fit(entry: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(tiny(), entry)(torch.zeros(shape))


@pytest.mark.parametrize("entry", ["forward", "features"])
def test_coordinates_that_are_no_numbers(entry: str) -> None:
    model = tiny()
    clips = clips_for(model)
    clips[2, 1, 3, 4, 1] = float("nan")
    with pytest.raises(ValueError, match="sample 2, frame 3, joint 4, person 1"):
        getattr(model, entry)(clips)
    with pytest.raises(ValueError, match=r"lengths \(N=4,\).*\(2,\)"):
        getattr(model, entry)(clips_for(model), torch.tensor([9, 9]))


def test_views_that_do_not_fit() -> None:
    model = tiny()
    views = views_of(model)
    broken, fewer = views.mask.clone(), views.mask.clone()
    broken[0, 1, 2, 1] ^= True
    fewer[0, :4, :, 1] = True
    for mask, message in (
        (views.mask[:, ::4], r"mask.*\(4, 16, 25, 2\).*torch.bool \(4, 4, 25, 2\)"),
        (views.mask.float(), r"boolean mask.*torch.float32 \(4, 16, 25, 2\)"),
        (broken, "patches of 4 frames"),
        (torch.ones_like(fewer), r"9 visible.*\[0\]"),
        (fewer, "9 visible"),
    ):
        with pytest.raises(ValueError, match=message):
            model.loss(replace(views, mask=mask))
    with pytest.raises(ValueError, match=r"patch=4.*T=15"):
        model.loss(MAMPViews(views.clips[:, :, :15], views.mask[:, :15]))
    with pytest.raises(ValueError, match=r"V=25, M=2\), got \(4, 3, 16, 24, 2\)"):
        model.loss(replace(views, clips=views.clips[:, :, :, :24]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_depth": 0}, "decoder_depth >= 1, got 0"),
        ({"mask_ratio": 1.0}, r"ratio in \(0, 1\), got 1.0"),
        ({"mask_ratio": 0.999}, "100 patches.*0.999"),
        ({"target": "joints"}, "target.*motion.*'joints'"),
        ({"motion_stride": 0}, r"motion_stride in \[1, 16\), got 0"),
        ({"motion_stride": 16}, r"motion_stride in \[1, 16\), got 16"),
        ({"channels": 1, "encoder": {"patch": 1}}, "patch.*C = 1"),
        ({"normalize_target": True}, "normalize_target.*'patch', 'time', False.*True"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_encoders_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"20 joints.*'kinect20'.*25"):
        MAMP(TransformerEncoder(25, width=8, depth=1), KINECT20)
    other: Any = GRUEncoder(25, hidden=4)
    with pytest.raises(ValueError, match=r"TransformerEncoder.*GRUEncoder"):
        MAMP(other)


# --- it learns ------------------------------------------------------------------------------------


def test_the_loss_falls() -> None:
    model = tiny(SBU15, 1, mask_ratio=0.6)
    time = torch.arange(24) / 24 * 6.28
    wave = torch.sin(torch.arange(1, 9)[:, None] * time / 2)[:, None, :, None, None]
    clips = wave * torch.randn(8, 3, 1, 15, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    losses, generator = [], seeded(0)
    for _ in range(40):
        output = model(clips, generator=generator)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.total.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize(
    ("patch", "options"),
    [(1, {}), (4, {"positives": ("intra", "inter"), "mask_weight": 0})],
)
def test_pcm3_trains_the_same_encoder(patch: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(SBU15, frames=16, patch=patch, width=16, depth=2, heads=2)
    small = {"embedding": 8, "queue_size": 32, "decoder_hidden": 8}
    options = {"prompt_position": "post_norm", **small, **options}
    model = PCM3(encoder, SBU15, frames=encoder.frames, **options)
    output = model(torch.randn(4, 3, 24, 15, 2))
    output.total.backward()
    assert torch.isfinite(output.total)
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_clips_of_another_dtype_are_named() -> None:
    encoder = TransformerEncoder(NTU25, frames=16, width=8, depth=1, heads=2)
    model = MAMP(encoder, NTU25, decoder_depth=1)
    with pytest.raises(ValueError, match=r"torch\.float32.*torch\.float64"):
        model(torch.randn(2, 3, 16, 25, 2).double())
