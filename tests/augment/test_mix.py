"""Mixing, read back from batches whose coordinates name their sample and frame."""

import itertools

import numpy as np
import pytest
import torch

from pcm3.augment import CutMix, Mixup, RandomMix, ResizeMix
from pcm3.skeleton import COCO17, NTU25, SBU15


def named(samples, frames=64, joints=25, channels=3, persons=2):
    """Clips: channel 0 holds the sample, channel 1 the frame, in every joint and person."""
    clips = torch.zeros(samples, channels, frames, joints, persons)
    clips[:, 0] = torch.arange(float(samples)).view(-1, 1, 1, 1)
    clips[:, 1] = torch.arange(float(frames)).view(-1, 1, 1)
    return clips


def region(clips, mixed):
    """Pasted joints and frames of every sample ``(N, T, V)``."""
    pasted = mixed.clips[:, 0] != clips[:, 0]
    assert torch.equal(pasted[..., 0], pasted[..., 1])  # both persons
    return pasted[..., 0]


@pytest.mark.parametrize("mix", [CutMix(NTU25), ResizeMix(NTU25)], ids=["cut", "resize"])
def test_a_paste_is_two_or_three_parts_by_a_range_on_the_grid(mix, generator):
    clips = named(2000)
    mixed = mix(clips, generator=generator(0))
    pasted = region(clips, mixed)
    joints, frames = pasted.any(1), pasted.any(2)
    assert torch.equal(pasted, joints[:, None] & frames[..., None])  # a rectangle
    source = mixed.clips[:, 0, :, :, 0]
    assert torch.equal(
        source[pasted], mixed.partner[:, None, None].expand_as(pasted)[pasted].float()
    )

    parts = torch.stack([joints[:, list(ids)].float().mean(1) for ids in NTU25.parts.values()], 1)
    assert set(parts.unique().tolist()) == {0.0, 1.0}
    count = parts.sum(1)
    assert sorted(count.unique().tolist()) == [2, 3]
    assert (count == 2).float().mean() == pytest.approx(0.5, abs=0.04)
    assert (parts.mean(0) - 0.5).abs().max() < 0.04

    cells = frames.sum(1) // 4
    assert (frames.sum(1) % 4 == 0).all()
    for value in range(7, 12):
        assert (cells == value).float().mean() == pytest.approx(0.2, abs=0.03)
    start = frames.float().argmax(1)
    assert (start % 4 == 0).all()
    starts_of_seven = (start // 4)[cells == 7]
    assert sorted(starts_of_seven.unique().tolist()) == list(range(10))
    assert starts_of_seven.float().mean() == pytest.approx(4.5, abs=0.5)

    lam = joints.sum(1) / 25 * cells / 16
    torch.testing.assert_close(mixed.lam, lam)
    torch.testing.assert_close(mixed.lam, pasted.float().mean((1, 2)))
    assert mixed.lam.min() >= 0.14
    assert mixed.lam.max() <= 17 / 25 * 11 / 16 + 1e-6
    assert mixed.lam.mean() == pytest.approx(0.281, abs=0.006)


def test_cut_mix_pastes_the_same_frames():
    clips = named(50)
    assert torch.equal(CutMix(NTU25)(clips).clips[:, 1], clips[:, 1])


def test_resize_mix_pastes_the_beginning_of_the_partner_faster(generator):
    clips = named(200)
    mixed = ResizeMix(NTU25)(clips, generator=generator(0))
    for i, pasted in enumerate(region(clips, mixed)):
        frames = pasted.any(1).nonzero().flatten().tolist()
        out, joint = len(frames), int(pasted.any(0).float().argmax())
        expected = [j * min(2 * out, 64) // out for j in range(out)]
        assert mixed.clips[i, 1, frames, joint, 0].tolist() == expected


@pytest.mark.parametrize("frames", [1, 5, 50, 63, 100])
@pytest.mark.parametrize("mix", [CutMix, ResizeMix])
def test_any_number_of_frames(mix, frames, generator):
    clips = named(500, frames)
    mixed = mix(NTU25)(clips, generator=generator(0))
    pasted = region(clips, mixed)
    torch.testing.assert_close(mixed.lam, pasted.float().mean((1, 2)))
    count = pasted.any(2).sum(1)
    assert count.min() >= max(1, 7 * frames / 16 - 1)
    assert count.max() <= 11 * frames / 16 + 1
    assert bool(pasted.any(2)[:, -1].any())
    assert bool(pasted.any(2)[:, 0].any())


@pytest.mark.parametrize("skeleton", [SBU15, COCO17], ids=lambda s: s.name)
def test_other_skeletons(skeleton, generator):
    clips = named(100, 32, len(skeleton), channels=2)
    mixed = CutMix(skeleton, parts=(1, 1), extent=(4, 4))(clips, generator=generator(0))
    pasted = region(clips, mixed)
    allowed = {frozenset(ids) for ids in skeleton.parts.values()}
    assert {frozenset(p.any(0).nonzero().flatten().tolist()) for p in pasted} == allowed
    assert pasted.any(2).sum(1).unique().tolist() == [8]


def test_mixup_blends_with_the_partner(generator):
    clips = torch.randn(500, 3, 2, 5, 2, generator=generator(0))
    mixed = Mixup((0.2, 0.6))(clips, generator=generator(1))
    for i in range(500):
        lam, partner = mixed.lam[i].item(), mixed.partner[i]
        expected = (1 - lam) * clips[i].numpy() + lam * clips[partner].numpy()
        np.testing.assert_allclose(mixed.clips[i], expected, rtol=1e-4, atol=1e-5)
    assert 0.2 <= mixed.lam.min() < 0.22
    assert 0.58 < mixed.lam.max() <= 0.6
    assert mixed.lam.mean() == pytest.approx(0.4, abs=0.02)


LENGTHS = torch.tensor([64, 40, 1, 7, 33, 64, 16, 2] * 40)


def padded(lengths=LENGTHS):
    """Clips that name sample and frame, and are NaN beyond their lengths."""
    clips = named(len(lengths))
    for clip, length in zip(clips, lengths.tolist(), strict=True):
        clip[:, length:] = float("nan")
    return clips


def check_padding(clips, mixed):
    """The padding stays, and none gets in."""
    for before, after, length in zip(clips, mixed.clips, LENGTHS.tolist(), strict=True):
        assert torch.equal(after[:, length:].isnan(), before[:, length:].isnan())
        assert bool(after[:, :length].isfinite().all())


@pytest.mark.parametrize("mix", [CutMix(NTU25), ResizeMix(NTU25)], ids=["cut", "resize"])
def test_only_valid_frames_are_pasted(mix, generator):
    clips = padded()
    mixed = mix(clips, LENGTHS, generator(0))
    check_padding(clips, mixed)
    for i, (clip, length) in enumerate(zip(mixed.clips, LENGTHS.tolist(), strict=True)):
        pasted = clip[0, :length, :, 0] != i
        assert 0 < float(mixed.lam[i]) == pytest.approx(float(pasted.float().mean()))
        theirs = int(LENGTHS[mixed.partner[i]])
        rows = pasted.any(1).nonzero().flatten().tolist()
        shown = clip[1, rows, int(pasted[rows[0]].float().argmax()), 0].tolist()
        if isinstance(mix, ResizeMix):
            out = len(rows)
            assert shown == [j * min(2 * out, theirs) // out for j in range(out)]
            shared = length
        else:
            assert shown == rows
            shared = min(length, theirs)
        assert rows == list(range(rows[0], rows[0] + len(rows)))
        assert max(1, 7 * shared / 16 - 1) <= len(rows) <= max(1, 11 * shared / 16 + 1)


def test_only_valid_frames_are_blended(generator):
    clips = padded()
    mixed = Mixup((0.2, 0.6))(clips, LENGTHS, generator(0))
    check_padding(clips, mixed)
    for i, (clip, length) in enumerate(zip(mixed.clips, LENGTHS.tolist(), strict=True)):
        partner = int(mixed.partner[i])
        shared = min(length, int(LENGTHS[partner]))
        moved = (clip[0, :length, 0, 0] - i) / (partner - i)  # the share in each frame
        assert float(mixed.lam[i]) == pytest.approx(float(moved.mean()), rel=1e-3)
        assert 0.2 < float(moved[0]) < 0.6
        assert len(moved[:shared].round(decimals=3).unique()) == 1
        assert not bool(moved[shared:].any())


def test_random_mix_takes_lengths(generator):
    clips = padded()
    mixed = RandomMix(NTU25)(clips, LENGTHS, generator(0))
    check_padding(clips, mixed)
    own = torch.arange(len(clips))
    for i, length in enumerate(LENGTHS.tolist()):
        share = (mixed.clips[i, 0, :length, :, 0] - own[i]) / (mixed.partner[i] - own[i])
        assert float(mixed.lam[i]) == pytest.approx(float(share.mean()), rel=1e-3)


@pytest.mark.parametrize("mix", [CutMix(NTU25), ResizeMix(NTU25), Mixup(), RandomMix(NTU25)])
def test_frames_that_are_all_valid(mix, generator):
    clips = named(40)
    expected = mix(clips, generator=generator(0))
    for lengths in (64, torch.full((40,), 64), torch.full((40,), 64, dtype=torch.int32)):
        found = mix(clips, lengths=lengths, generator=generator(0))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_partners_are_one_to_n_minus_two_further(generator):
    for samples, shifts in ((2, {1}), (3, {1}), (4, {1, 2}), (6, {1, 2, 3, 4})):
        clips, seen = torch.zeros(samples, 3, 2, 5, 1), set()
        for seed in range(30):
            partner = Mixup()(clips, generator=generator(seed)).partner
            seen |= set(((partner - torch.arange(samples)) % samples).tolist())
            together = Mixup(same_on_batch=True)(clips, generator=generator(seed)).partner
            assert len(((together - torch.arange(samples)) % samples).unique()) == 1
        assert seen == shifts


def kinds(clips, mixed):
    """0 cut, 1 resize, 2 mixup for every sample."""
    blended = (mixed.clips[:, 0] % 1 != 0).flatten(1).any(1)
    shifted = (mixed.clips[:, 1] != clips[:, 1]).flatten(1).any(1)
    return torch.where(blended, 2, shifted.long())


def test_random_mix_odds(generator):
    clips = named(3000)
    mixed = RandomMix(NTU25)(clips, generator=generator(0))
    kind = kinds(clips, mixed)
    shares = torch.bincount(kind, minlength=3) / 3000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.25, 0.25]), rtol=0, atol=0.03)
    pasted = kind < 2
    torch.testing.assert_close(mixed.lam[pasted], region(clips, mixed)[pasted].float().mean((1, 2)))
    first, second = clips[~pasted, 0, 0, 0, 0], mixed.partner[~pasted]
    expected = first + mixed.lam[~pasted] * (second - first)
    torch.testing.assert_close(mixed.clips[~pasted, 0, 0, 0, 0], expected, rtol=1e-4, atol=1e-3)


def test_random_mix_draws_once_for_the_batch(generator):
    clips, counts = named(8), [0, 0, 0]
    for seed in range(400):
        mixed = RandomMix(NTU25, same_on_batch=True)(clips, generator=generator(seed))
        (kind,) = kinds(clips, mixed).unique().tolist()
        counts[kind] += 1
        assert len(mixed.lam.unique()) == 1
        assert len(((mixed.partner - torch.arange(8)) % 8).unique()) == 1
        if kind < 2:
            pasted = region(clips, mixed)
            assert torch.equal(pasted, pasted[:1].expand_as(pasted))
    assert [count / 400 for count in counts] == pytest.approx([0.5, 0.25, 0.25], abs=0.07)


@pytest.mark.parametrize("kind", range(3))
def test_random_mix_with_one_certain_method(kind, generator):
    clips = named(100)
    odds = [float(index == kind) for index in range(3)]
    mixed = RandomMix(NTU25, probabilities=odds)(clips, generator=generator(0))
    assert set(kinds(clips, mixed).tolist()) == {kind}


def test_no_grid_position_is_left_out_for_a_fixed_extent(generator):
    clips = named(400, 16)
    pasted = region(clips, CutMix(NTU25, extent=(14, 14))(clips, generator=generator(0))).any(2)
    runs = {
        tuple(i for i, on in itertools.compress(enumerate(row), row)) for row in pasted.tolist()
    }
    assert runs == {tuple(range(start, start + 14)) for start in range(3)}
