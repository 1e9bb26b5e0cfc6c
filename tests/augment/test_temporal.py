"""Which frames the temporal transforms take, read back from clips that count their frames."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.augment import ReflectCrop, SegmentShuffle, TemporalClip, TemporalCropResize, TimeFlip
from pcm3.augment import functional as f


def ramp(samples, frames, dtype=torch.float64):
    """Clips whose every coordinate is the number of its frame."""
    return torch.arange(frames, dtype=dtype).view(1, 1, -1, 1, 1).repeat(samples, 1, 1, 1, 1)


def crops(resized):
    """Start and length of the crop that a resized ramp shows (longer than half of it)."""
    line = resized.flatten(1)
    slope = line[:, line.shape[1] // 2] - line[:, line.shape[1] // 2 - 1]
    length = slope * line.shape[1]
    center = line.mean(dim=1)
    return (center - (length - 1) / 2).round().long(), length.round().long()


def test_ratio_start_and_limits_over_many_draws(generator):
    crop = TemporalCropResize(size=64, scale=(0.1, 1.0), min_frames=64)
    starts, lengths = crops(crop(ramp(20_000, 300), generator=generator(0)))
    assert lengths.min() == 64
    assert lengths.max() == 299
    assert starts.min() == 0
    assert bool((starts + lengths <= 300).all())
    at_least = (lengths == 64).double().mean()  # ratio below 65 / 300
    assert at_least == pytest.approx((65 / 300 - 0.1) / 0.9, abs=0.01)
    free = lengths > 64
    assert lengths[free].double().mean() == pytest.approx((65 + 299) / 2, abs=3)
    relative = starts[free].double() / (300 - lengths[free])
    assert relative.mean() == pytest.approx(0.5, abs=0.01)
    late = (starts == 300 - lengths)[lengths == 296].double()  # starts 0..4, the last included
    assert 0.05 < late.mean() < 0.4


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 120), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_crops_stay_within_ragged_lengths(lengths, seed):
    clips = torch.full((len(lengths), 3, 120, 5, 2), float("nan"))
    for clip, n in zip(clips, lengths, strict=True):
        clip[:, :n] = torch.randn(3, n, 5, 2)
    generator = torch.Generator().manual_seed(seed)
    resized = TemporalCropResize(16, min_frames=8)(clips, torch.tensor(lengths), generator)
    assert bool(resized.isfinite().all())


def test_takes_lengths_and_generator_by_position(generator):
    clips, lengths = torch.randn(2, 3, 100, 25, 2), torch.tensor([80, 90])
    crop = TemporalCropResize(size=16, min_frames=8)
    by_name = crop(clips, lengths=lengths, generator=generator(0))
    assert torch.equal(crop(clips, lengths, generator(0)), by_name)


def test_short_clips_are_taken_whole(generator):
    clips = torch.randn(4, 3, 100, 25, 2, generator=generator(0))
    lengths = torch.tensor([64, 30, 7, 1])
    resized = TemporalCropResize(64)(clips, lengths, generator=generator(1))
    whole = f.crop_resize(clips, torch.zeros(4, dtype=torch.long), lengths, 64)
    assert torch.equal(resized, whole)


def test_equals_the_crop_of_the_values_it_drew(generator):
    clips = torch.randn(50, 3, 200, 5, 2, generator=generator(0), dtype=torch.float64)
    lengths = torch.randint(100, 201, (50,), generator=generator(1))
    crop = TemporalCropResize(64, scale=(0.5, 1), min_frames=40)
    starts, kept = crops(crop(ramp(50, 200), lengths, generator=generator(2)))
    expected = f.crop_resize(clips, starts, kept, 64)
    torch.testing.assert_close(crop(clips, lengths, generator=generator(2)), expected)


def test_same_on_batch_shares_the_relative_crop(generator):
    crop = TemporalCropResize(64, scale=(0.5, 0.9), min_frames=1, same_on_batch=True)
    starts, kept = crops(crop(ramp(3, 200), torch.tensor([100, 100, 200]), generator=generator(0)))
    assert (starts[0], kept[0]) == (starts[1], kept[1])
    assert abs(kept[2] - 2 * kept[0]) <= 1


@pytest.mark.parametrize("lengths", [40, torch.tensor(40), torch.tensor([40])])
def test_one_clip_takes_its_length_in_any_form(lengths, generator):
    clip = ramp(1, 64)[0]
    crop = TemporalCropResize(16, min_frames=4)
    expected = crop(clip[None], torch.tensor([40]), generator=generator(0))[0]
    assert torch.equal(crop(clip, lengths, generator=generator(0)), expected)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([1, 65]), r"lengths in \[1, T=64\].*65 in sample 1"),
        (torch.tensor([0, 5]), r"lengths in \[1, T=64\].*0 in sample 0"),
        (0, "lengths in"),
        (torch.tensor([5.0, 5.0]), r"torch.float32"),
        (torch.tensor([True, True]), r"torch.bool"),
        ([5, 5], r"lengths.*list"),
        (torch.Generator(), r"lengths.*Generator"),
        (torch.tensor([5, 5, 5]), r"lengths \(N=2,\).*\(3,\)"),
    ],
)
def test_bad_lengths_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        TemporalCropResize()(torch.zeros(2, 3, 64, 25, 2), lengths)


def test_clip_masks_all_but_one_run_of_frames(generator):
    kept = TemporalClip()(torch.ones(5000, 1, 64, 1, 1), generator=generator(0)).flatten(1)
    assert bool(((kept == 0) | (kept == 1)).all())
    lengths, starts = kept.sum(1), kept.argmax(1)
    assert (lengths.min(), lengths.max()) == (16, 32)
    assert lengths.mean() == pytest.approx(24, abs=0.3)
    assert bool(((kept.diff(dim=1) != 0).sum(1) <= 2).all())  # contiguous
    assert (starts / (64 - lengths)).mean() == pytest.approx(0.5, abs=0.02)
    assert starts.min() == 0
    assert bool((starts + lengths == 64).any())


def test_cut_clip_shows_the_frames_that_the_masked_clip_keeps(generator):
    clips = torch.randn(6, 3, 64, 25, 2, generator=generator(0))
    masked = TemporalClip(mode="mask")(clips, generator=generator(1))
    cut = TemporalClip(mode="crop")(clips, generator=generator(1))
    for i in range(6):
        frames = (masked[i] != 0).flatten(2).any(2).any(0).nonzero().flatten()
        assert torch.equal(masked[i, :, frames], clips[i, :, frames])
        expected = f.crop_resize(clips[i], frames[0], torch.tensor(len(frames)), 64)
        torch.testing.assert_close(cut[i], expected)


def test_reflected_crops_start_anywhere_in_the_continued_clip(generator):
    crop = ReflectCrop(size=12, ratio=0.25)
    rows = crop(ramp(400, 12), generator=generator(0)).flatten(1)
    continued = torch.tensor([2, 1, 0, *range(12), 11, 10, 9], dtype=torch.float64)
    windows = continued.unfold(0, 12, 1)
    found = (rows[:, None] == windows).all(dim=2)
    assert bool((found.sum(dim=1) == 1).all())
    assert found.sum(dim=0).min() > 30  # of 400 / 7
    for start, window in enumerate(windows):
        starts = torch.tensor([start])
        assert torch.equal(f.reflect_crop(ramp(1, 12), starts, 3).flatten(), window)


def test_reflected_crops_resize_the_valid_frames(generator):
    clips, lengths = ramp(2, 60), torch.tensor([30, 50])
    whole = ReflectCrop(size=20, ratio=0)(clips, lengths)
    expected = f.crop_resize(clips, torch.zeros(2, dtype=torch.long), lengths, 20)
    assert torch.equal(whole, expected)
    for wrong in ({"size": 0}, {"ratio": 1.5}, {"ratio": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ReflectCrop(**wrong)
    for starts, padding in ((torch.tensor([7, 0]), 3), (torch.tensor([-1, 0]), 3)):
        with pytest.raises(ValueError, match=r"starts in \[0, 6\]"):
            f.reflect_crop(clips, starts, padding)
    with pytest.raises(ValueError, match="padding"):
        f.reflect_crop(clips, torch.tensor([0, 0]), 61)


@pytest.mark.parametrize(("segments", "frames"), [(2, 9), (3, 12), (4, 14), (6, 20)])
def test_shuffled_segments_are_those_of_the_clip(segments, frames, generator):
    clips = torch.randn(40, 3, frames, 4, 2, generator=generator(0))
    lengths = torch.arange(40) % frames + 1
    shuffled, order = SegmentShuffle(segments).with_order(clips, lengths, generator(1))
    orders = list(permutations(range(segments)))
    for clip, result, length, index in zip(clips, shuffled, lengths.tolist(), order, strict=True):
        size = length // segments
        pieces = [clip[:, j * size : (j + 1) * size] for j in range(segments)]
        rest = clip[:, segments * size :]
        expected = torch.cat([*(pieces[j] for j in orders[index]), rest], dim=1)
        assert torch.equal(result, expected)
    again = f.shuffle_segments(clips, order, segments, lengths)
    assert torch.equal(again, shuffled)
    assert torch.equal(f.shuffle_segments(clips[3], order[3], segments, lengths[3]), shuffled[3])
    whole = SegmentShuffle(segments)(clips, generator=generator(2))
    order = SegmentShuffle(segments).with_order(clips, generator=generator(2)).order
    assert torch.equal(whole, f.shuffle_segments(clips, order, segments))


def test_all_orders_are_equally_probable(generator):
    clips = torch.zeros(12_000, 1, 4, 1, 1)
    order = SegmentShuffle(4).with_order(clips, generator=generator(0)).order
    assert SegmentShuffle(4).orders == 24
    assert order.bincount(minlength=24).tolist() == pytest.approx([500] * 24, abs=110)


def test_segments_that_cannot_be_shuffled():
    clips = torch.zeros(2, 3, 12, 4, 1)
    for segments in (1, 7, 2.5):
        with pytest.raises(ValueError, match="segments"):
            SegmentShuffle(segments)
        with pytest.raises(ValueError, match="segments"):
            f.shuffle_segments(clips, torch.tensor([0, 1]), segments)
    for order in (torch.tensor([0, 6]), torch.tensor([0.0, 1.0]), torch.tensor([-1, 0])):
        with pytest.raises(ValueError, match="order"):
            f.shuffle_segments(clips, order, 3)
    with pytest.raises(ValueError, match=r"\(N, C, T, V, M\)"):
        SegmentShuffle().with_order(clips[0])


# --- TimeFlip -------------------------------------------------------------------------------------


def test_valid_frames_are_reversed_and_padding_stays(clips):
    lengths = torch.tensor([64, 40, 7, 2, 1, 63])
    found = TimeFlip()(clips, lengths)
    for length, before, after in zip(lengths.tolist(), clips, found, strict=True):
        frames = [*reversed(range(length)), *range(length, 64)]
        assert torch.equal(after, before[:, frames])
    assert torch.equal(TimeFlip()(found, lengths), clips)
    assert torch.equal(TimeFlip()(clips), clips.flip(2))
    assert torch.equal(TimeFlip()(clips[1], 40), found[1])


# --- the smallest crop by default -----------------------------------------------------------------


@pytest.mark.parametrize(("size", "smallest"), [(16, 16), (32, 32), (64, 64), (120, 64)])
def test_the_smallest_crop_by_default(size, smallest, generator):
    """The published 64, or the size if it is smaller."""
    crop = TemporalCropResize(size)
    assert repr(crop) == repr(TemporalCropResize(size, min_frames=smallest))
    frames = smallest + 40
    clips = torch.arange(float(frames)).view(1, 1, frames, 1, 1).expand(300, -1, -1, -1, -1)
    lengths = torch.tensor([smallest, frames]).repeat(150)
    view = crop(clips, lengths, generator(0)).flatten(1)
    kept = ((view[:, -1] - view[:, 0]) * size / (size - 1)).round()
    if size == smallest:  # a longer result repeats the outer frames
        assert kept[::2].unique().tolist() == [smallest]  # never cropped
        assert kept[1::2].min() == smallest
        assert kept[1::2].max() > smallest + 30
    assert view[1::2, 0].max() > 20
    assert view[::2, 0].max() < 1


def test_views_of_clips_of_the_published_length_differ(clips, generator):
    source, crop = generator(0), TemporalCropResize(32)
    assert not torch.equal(crop(clips, generator=source), crop(clips, generator=source))
