"""Composition and choice."""

import pytest
import torch

from pcm3.augment import (
    Compose,
    CutMix,
    JointJitter,
    Mixup,
    MotionFrameDrop,
    OneOf,
    RandomMask,
    Shear,
    TemporalClip,
    TemporalCropResize,
    TimeFlip,
    TopologyMask,
)
from pcm3.skeleton import NTU25


class Add:
    def __init__(self, amount):
        self.amount = amount

    def __call__(self, clips, generator=None):
        return clips + self.amount


class AddDrawn:
    """Adds another number to each sample."""

    def __call__(self, clips, generator=None):
        return clips + torch.rand(len(clips), 1, 1, 1, 1, generator=generator)


def scale(clips, generator=None):
    return clips * 10


def test_compose_applies_in_turn():
    clips = torch.ones(2, 3, 4, 5, 1)
    assert torch.equal(Compose(Add(1), scale)(clips), clips * 20)
    assert torch.equal(Compose(scale, Add(1))(clips), clips * 11)


def test_compose_hands_one_generator_through(generator):
    clips = torch.randn(4, 3, 8, 25, 2)
    source = generator(0)
    expected = JointJitter()(Shear()(clips, generator=source), generator=source)
    assert torch.equal(Compose(Shear(), JointJitter())(clips, generator=generator(0)), expected)


CROP = TemporalCropResize(size=16, min_frames=4)


def padded(lengths, frames=40):
    """Clips that are NaN beyond their lengths."""
    clips = torch.randn(len(lengths), 3, frames, 25, 2)
    for clip, length in zip(clips, lengths, strict=True):
        clip[:, length:] = float("nan")
    return clips


@pytest.mark.parametrize(
    "transform",
    [
        Compose(CROP, Shear()),
        Compose(Shear(), CROP, TemporalCropResize(size=16)),
        Compose(Shear(), Compose(CROP)),
        OneOf(CROP, Compose(CROP, Shear())),
        Compose(OneOf(CROP, CROP), Shear()),
    ],
    ids=repr,
)
def test_lengths_go_to_the_crop(transform, generator):
    lengths = torch.tensor([30, 7, 1])
    result = transform(padded(lengths), lengths, generator=generator(0))
    assert result.shape == (3, 3, 16, 25, 2)
    assert bool(result.isfinite().all())
    assert bool(transform(padded([7])[0], lengths=7).isfinite().all())  # one clip


def test_lengths_draw_as_the_crop_alone(generator):
    lengths = torch.tensor([30, 20])
    clips, source = padded(lengths), generator(0)
    expected = Shear()(CROP(clips, lengths, source), generator=source)
    composed = Compose(CROP, Shear())(clips, lengths=lengths, generator=generator(0))
    assert torch.equal(composed, expected)


@pytest.mark.parametrize(
    "transform",
    [
        Compose(TemporalClip(), CROP),
        Compose(Compose(TemporalClip(), Shear()), TemporalClip(), CROP),
        Compose(OneOf(TemporalClip(), TemporalClip((0.1, 0.2))), CROP),
        Compose(TemporalClip(mode="crop"), TemporalCropResize(16)),
        Compose(TimeFlip(), CROP),
        Compose(OneOf(Compose(), TimeFlip()), CROP),
        Compose(OneOf(Shear(0.1), TemporalClip()), CROP),
    ],
    ids=repr,
)
def test_lengths_hold_for_frames_that_stay(transform, generator):
    lengths = torch.tensor([30, 7, 1])
    clips = padded(lengths).nan_to_num(nan=torch.inf)
    result = transform(clips, lengths, generator=generator(0))
    assert result.shape == (3, 3, 16, 25, 2)
    assert bool(result.isfinite().all())


@pytest.mark.parametrize("mode", ["mask", "crop"])
def test_a_clip_lies_within_the_valid_frames(mode, generator):
    lengths = torch.tensor([40, 20, 5, 1] * 50)
    clips = torch.arange(40.0).view(1, 1, 40, 1, 1).repeat(200, 1, 1, 3, 1) + 1
    found = TemporalClip((0.5, 0.5), mode)(clips, lengths, generator(0))
    for length, clip in zip(lengths.tolist(), found[:, 0, :, 0, 0], strict=True):
        shown = clip[clip > 0]
        assert shown.max() <= length
        assert shown.max() - shown.min() == max(round(length / 2), 1) - 1
        assert len(shown) == (40 if mode == "crop" else max(round(length / 2), 1))


@pytest.mark.parametrize(
    "transform", [Compose(Shear()), Compose(), OneOf(CROP, Shear()), OneOf(Shear())], ids=repr
)
def test_lengths_that_would_be_lost_are_refused(transform):
    with pytest.raises(ValueError, match=r"expected (no )?lengths"):
        transform(torch.randn(2, 3, 16, 25, 2), lengths=torch.tensor([3, 4]))


@pytest.mark.parametrize(
    "transform",
    [
        Compose(MotionFrameDrop(), CROP),
        Compose(MotionFrameDrop(), Shear(), TopologyMask(NTU25)),
        Compose(Compose(TemporalClip(), MotionFrameDrop()), CROP),
        Compose(OneOf(MotionFrameDrop(), MotionFrameDrop(0.3, 0.1)), CROP),
        Compose(lambda clips, generator=None: clips[..., ::2, :, :], CROP),
    ],
)
@pytest.mark.parametrize("lengths", [[30, 7], [40, 40]])
def test_lengths_of_other_frames_are_refused(transform, lengths):
    clips = torch.randn(2, 3, 40, 25, 2)
    with pytest.raises(ValueError, match="changes the number of frames"):
        transform(clips, torch.tensor(lengths))
    assert len(transform(clips)) == 2  # without lengths, all frames are valid


def test_a_drop_of_frames_after_the_last_that_takes_lengths(generator):
    lengths, source = torch.tensor([30, 7]), generator(0)
    clips = padded(lengths)
    for first in (CROP, TimeFlip()):
        expected = first(clips, lengths, generator=source.manual_seed(0))
        expected = MotionFrameDrop()(expected, generator=source)
        found = Compose(first, MotionFrameDrop())(clips, lengths, generator=generator(0))
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    again = Compose(CROP, MotionFrameDrop(), CROP)(clips, lengths, generator=generator(0))
    assert bool(again.isfinite().all())


def test_one_of_passes_lengths_to_those_that_take_them():
    clips = torch.arange(4.0).view(1, 1, 4, 1, 1).repeat(50, 1, 1, 1, 1)
    lengths = torch.full((50,), 3)
    found = OneOf(Compose(), TimeFlip())(clips, lengths).flatten(1)
    assert {tuple(row) for row in found.tolist()} == {(0, 1, 2, 3), (2, 1, 0, 3)}


@pytest.mark.parametrize(
    "transform",
    [lambda clips: 2 * clips, lambda: None, lambda x, rng=None: x, lambda x, y, *, z: x],
)
@pytest.mark.parametrize("combine", [Compose, OneOf])
def test_functions_without_a_generator_are_refused(transform, combine):
    with pytest.raises(ValueError, match="generator"):
        combine(Shear(), transform)


def test_other_callables_are_transforms():
    clips = torch.randn(2, 3, 8, 25, 1)
    for transform in (lambda x, generator: 2 * x, lambda x, **_: 2 * x):
        assert torch.equal(Compose(transform)(clips), 2 * clips)
    assert Compose(torch.nn.Identity()).transforms  # its signature does not tell


@pytest.mark.parametrize("samples", [2, 8])
def test_a_mask_comes_last_and_a_mix_outside(samples):
    clips = torch.randn(samples, 3, 8, 25, 2)
    mask = Compose(Shear(), RandomMask())(clips)
    assert mask.dtype == torch.bool
    for after in (Shear(), RandomMask(), lambda x, generator: x):
        with pytest.raises(ValueError, match="mask"):
            Compose(RandomMask(), after)(clips)
    for mix in (CutMix(NTU25), Mixup()):
        with pytest.raises(ValueError, match="call the mix"):
            Compose(Shear(), mix)(clips)


@pytest.mark.parametrize("odds", [None, (0.2, 0.3, 0.5), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)])
def test_one_of_applies_exactly_one_with_its_probability(odds, generator):
    transform = OneOf(Add(1), Add(2), Add(4), probabilities=odds)
    result = transform(torch.zeros(6000, 1, 1, 1, 1), generator=generator(0)).flatten()
    shares = torch.stack([(result == amount).float().mean() for amount in (1, 2, 4)])
    expected = torch.tensor(odds or (1 / 3, 1 / 3, 1 / 3))
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.025)
    assert bool((shares[expected == 0] == 0).all())
    assert shares.sum() == pytest.approx(1)


def test_one_of_keeps_the_draws_of_each_sample(generator):
    result = OneOf(AddDrawn(), AddDrawn())(torch.zeros(100, 1, 1, 1, 1), generator=generator(0))
    assert len(result.unique()) == 100


def test_one_of_draws_once_for_the_batch(generator):
    transform = OneOf(Add(1), Add(2), same_on_batch=True)
    clips, seen = torch.zeros(5, 1, 1, 1, 1), set()
    for seed in range(20):
        (amount,) = transform(clips, generator=generator(seed)).unique().tolist()
        seen.add(amount)
    assert seen == {1.0, 2.0}


def test_jitter_or_shear_never_both(generator):
    """The intra view of PCM3: joint jitter with probability one half, else shear."""
    clips = torch.randn(400, 3, 4, 25, 2, generator=generator(0))
    result = OneOf(JointJitter(zero_probability=1), Shear())(clips, generator=generator(1))
    erased = (result == 0).all(1)[:, 0, :, 0].sum(1)
    assert set(erased.tolist()) == {0, 15}
    kept = (result == clips).flatten(1).any(1)
    assert bool((kept == (erased == 15)).all())  # sheared samples move every joint
    assert (erased == 15).float().mean() == pytest.approx(0.5, abs=0.08)
