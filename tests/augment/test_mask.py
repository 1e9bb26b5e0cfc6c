"""What is masked: parts or joints, by clip and person; patches by motion."""

import math

import pytest
import torch

from pcm3.augment import MotionAwareMask, RandomMask, TopologyMask, TubeMask
from pcm3.augment.functional import motion_aware_mask, motion_intensity
from pcm3.losses import masked_mse
from pcm3.skeleton import COCO17, KINECT20, NTU25, SBU15


def masked_parts(joints, skeleton):
    """Names of the parts masked by joints (V,); every part is masked whole or not at all."""
    shares = {name: joints[list(ids)].float().mean().item() for name, ids in skeleton.parts.items()}
    assert set(shares.values()) <= {0.0, 1.0}
    return tuple(name for name, share in shares.items() if share == 1)


def test_three_of_five_parts_in_every_eight_frames_of_the_first_person(generator):
    mask = TopologyMask(NTU25)(torch.zeros(100, 3, 64, 25, 2), generator=generator(0))
    assert not bool(mask[..., 1].any())
    clips = mask[..., 0].unflatten(1, (8, 8))
    assert torch.equal(clips, clips[:, :, :1].expand_as(clips))
    drawn = [masked_parts(joints, NTU25) for joints in clips[:, :, 0].flatten(0, 1)]
    assert {len(parts) for parts in drawn} == {3}
    assert len(set(drawn)) == 10  # all choices of 3 of 5
    share = clips[:, :, 0].float().mean(-1)
    assert 0.52 <= share.min() < 0.53
    assert 0.67 < share.max() <= 0.68 + 1e-6
    assert share.mean() == pytest.approx(0.6, abs=0.01)
    for part in NTU25.parts:
        assert sum(part in parts for parts in drawn) / len(drawn) == pytest.approx(0.6, abs=0.06)


def test_part_count_whatever_floating_point_says(generator):
    mask = TopologyMask(NTU25, ratio=1 - 0.8)(torch.zeros(3, 8, 25, 1), generator=generator(0))
    assert len(masked_parts(mask[0, :, 0], NTU25)) == 1


def test_clips_draw_independently(generator):
    mask = TopologyMask(NTU25)(torch.zeros(2, 3, 64, 25, 1), generator=generator(0))
    firsts = mask[0, ::8, :, 0]
    assert len(firsts.unique(dim=0)) > 1


def test_same_on_batch_is_one_mask(generator):
    mask = TopologyMask(NTU25, same_on_batch=True)(
        torch.zeros(50, 3, 64, 25, 2), generator=generator(0)
    )
    assert torch.equal(mask, mask[:1].expand_as(mask))


def test_the_last_clip_may_be_shorter(generator):
    mask = TopologyMask(NTU25)(torch.zeros(4, 3, 61, 25, 2), generator=generator(0))
    whole = TopologyMask(NTU25)(torch.zeros(4, 3, 64, 25, 2), generator=generator(0))
    assert torch.equal(mask, whole[:, :61])
    short = TopologyMask(NTU25, clip_length=8)(torch.zeros(3, 5, 25, 2), generator=generator(0))
    assert len(masked_parts(short[4, :, 0], NTU25)) == 3


@pytest.mark.parametrize("skeleton", [SBU15, COCO17, KINECT20], ids=lambda s: s.name)
def test_other_skeletons_and_persons(skeleton, generator):
    clips = torch.zeros(20, 2, 24, len(skeleton), 3)
    mask = TopologyMask(skeleton, ratio=0.4, clip_length=6, persons=(0, 2))(
        clips, generator=generator(0)
    )
    assert not bool(mask[..., 1].any())
    assert torch.equal(mask[..., 0], mask[..., 2])
    for joints in mask[:, ::6, :, 0].flatten(0, 1):
        assert len(masked_parts(joints, skeleton)) == 2


def test_the_first_person_may_stay_visible(generator):
    for mask in (TopologyMask(NTU25, persons=(1,)), RandomMask(persons=[1])):
        shown = mask(torch.zeros(2, 3, 16, 25, 2), generator=generator(0))
        assert not bool(shown[..., 0].any())
        assert bool(shown[..., 1].any())


@pytest.mark.parametrize("cls", [TopologyMask, RandomMask])
def test_absent_persons_are_hidden_too(cls, generator):
    """And lower the loss, unless they are left out as the help says."""
    mask = cls(NTU25, persons=(0, 1)) if cls is TopologyMask else cls(persons=(0, 1))
    clips = torch.ones(2, 3, 16, 25, 2)
    clips[..., 1] = 0
    hidden = mask(clips, generator=generator(0))
    assert torch.equal(hidden[..., 0], hidden[..., 1])
    assert float(masked_mse(0 * clips, clips, hidden)) == pytest.approx(0.5)
    present = hidden & clips.flatten(1, 3).any(dim=1)[:, None, None]
    assert torch.equal(present[..., 0], hidden[..., 0])
    assert not bool(present[..., 1].any())
    assert float(masked_mse(0 * clips, clips, present)) == 1


def test_random_mask_draws_joints_in_every_clip(generator):
    mask = RandomMask(clip_length=4)(torch.zeros(300, 3, 30, 25, 2), generator=generator(0))
    assert not bool(mask[..., 1].any())
    assert mask[..., 0].sum(-1).unique().tolist() == [15]
    for start in range(0, 30, 4):
        clip = mask[:, start : start + 4]
        assert torch.equal(clip, clip[:, :1].expand_as(clip))
    assert (mask[:, ::4, :, 0].float().mean((0, 1)) - 0.6).abs().max() < 0.05
    single = RandomMask()(torch.zeros(1, 3, 30, 25, 1), generator=generator(0))
    assert len(single[0, ..., 0].unique(dim=0)) == 30


def test_masks_ignore_the_coordinates(generator):
    clips = torch.randn(2, 3, 16, 25, 2)
    first = TopologyMask(NTU25)(clips, generator=generator(0))
    assert torch.equal(first, TopologyMask(NTU25)(clips * float("nan"), generator=generator(0)))


# --- MotionAwareMask ------------------------------------------------------------------------------


def slow_intensity(clip, patch):
    """One clip (C, T, V, M), number by number."""
    channels, frames, joints, persons = clip.shape
    result = torch.zeros(frames // patch, joints, persons)
    for t in range(1, frames // patch):
        for v in range(joints):
            for m in range(persons):
                moved = [
                    abs(clip[c, t * patch + p, v, m] - clip[c, (t - 1) * patch + p, v, m])
                    for c in range(channels)
                    for p in range(patch)
                ]
                result[t, v, m] = sum(moved) / len(moved)
    if frames > patch:
        result[0] = result[1]
    return result


@pytest.mark.parametrize(("patch", "frames"), [(4, 12), (1, 5), (3, 3)])
def test_intensity_equals_a_slow_recomputation(patch, frames, generator):
    clips = torch.randn(2, 3, frames, 5, 2, generator=generator(0))
    intensity = motion_intensity(clips, patch)
    expected = torch.stack([slow_intensity(clip, patch) for clip in clips])
    torch.testing.assert_close(intensity, expected)
    assert torch.equal(motion_intensity(clips[0], patch), intensity[0])
    assert motion_intensity(clips.half(), patch).dtype == torch.float32


@pytest.mark.parametrize("temperature", [0.8, 0.3, 0.0, -1.0])
def test_motion_aware_mask_equals_a_slow_recomputation(temperature, generator):
    clips = torch.randn(2, 3, 12, 5, 2, generator=generator(0)).cumsum(dim=2)
    uniform = torch.rand(2, 3, 5, 2, generator=generator(1))
    mask = motion_aware_mask(clips, uniform, visible=6, temperature=temperature)
    for n in range(2):
        for m in range(2):
            moved = slow_intensity(clips[n], 4)[..., m].flatten().tolist()
            draws = uniform[n, ..., m].flatten().tolist()
            if temperature > 0:
                weights = [math.exp(i / (max(moved) * temperature)) for i in moved]
                scores = [
                    math.log(w / sum(weights)) - math.log(-math.log(u))
                    for w, u in zip(weights, draws, strict=True)
                ]
            else:
                scores = draws
            kept = sorted(range(15), key=scores.__getitem__)[:6]
            for token in range(15):
                t, v = divmod(token, 5)
                assert set(mask[n, 4 * t : 4 * t + 4, v, m].tolist()) == {token not in kept}


@pytest.mark.parametrize(
    ("frames", "joints", "ratio", "kept"),
    [(120, 25, 0.9, 74), (32, 25, 0.9, 19), (120, 20, 0.9, 59), (8, 15, 0.5, 15)],
)
def test_as_many_patches_stay_visible_of_everybody(frames, joints, ratio, kept, generator):
    clips = torch.randn(3, 2, frames, joints, 2, generator=generator(0))
    for temperature in (0.8, 0.0):
        mask = MotionAwareMask(ratio, temperature)(clips, generator=generator(0))
        patches = mask.unflatten(1, (-1, 4))
        assert torch.equal(patches, patches[:, :, :1].expand_as(patches))
        assert (~patches[:, :, 0]).sum(dim=(1, 2)).unique().tolist() == [kept]
        assert not torch.equal(mask[..., 0], mask[..., 1])
    assert MotionAwareMask(ratio).visible(frames * joints // 4) == kept


def test_a_body_that_stands_still_is_masked_uniformly(generator):
    still = torch.randn(1, 3, 1, 25, 1, generator=generator(0)).expand(3000, 3, 8, 25, 1)
    mask = MotionAwareMask(0.8)(still, generator=generator(1))[:, ::4]
    share = mask.float().mean(dim=0).flatten()
    expected = 1 - int(50 * (1 - 0.8)) / 50
    spread = (expected * (1 - expected) / 3000) ** 0.5
    assert float((share - expected).abs().max()) < 4 * spread


def test_what_moves_more_is_masked_more(generator):
    clips = torch.zeros(2000, 3, 12, 25, 1)
    for joint in range(25):  # joint v moves by v / 24 in every frame
        clips[:, :, :, joint] = torch.arange(12.0)[:, None] * joint / 24
    shares = {}
    for temperature in (0.8, 0.4, 0.0):
        mask = MotionAwareMask(0.8, temperature)(clips, generator=generator(0))[:, ::4]
        shares[temperature] = mask.float().mean(dim=(0, 1)).flatten()
    groups = shares[0.8].view(5, 5).mean(dim=1)
    assert bool((groups.diff() > 0.02).all())
    assert float(shares[0.4][-1] - shares[0.4][0]) > float(shares[0.8][-1] - shares[0.8][0])
    assert float(shares[0.0].max() - shares[0.0].min()) < 0.05


def test_how_much_more_a_fast_joint_is_masked_than_joints_at_rest(generator):
    clips = torch.zeros(300, 3, 120, 25, 1)
    clips[:, :, :, 7] = torch.arange(120.0)[:, None]
    visible = 1 - MotionAwareMask(0.5)(clips, generator=generator(0)).float().mean(dim=(0, 1, 3))
    # a patch of weight w outlasts many draws with probability exp(-w s), those at rest have w = 1
    at_rest = float(visible.sum() - visible[7]) / 24
    assert float(visible[7]) == pytest.approx(at_rest ** math.exp(1 / 0.8), abs=0.01)


def test_motion_of_one_person_says_nothing_about_another(generator):
    clips = torch.randn(2, 3, 12, 25, 2, generator=generator(0))
    mask = MotionAwareMask()(clips, generator=generator(1))
    clips[..., 1] *= torch.rand(25, generator=generator(2))[:, None].mT * 9
    changed = MotionAwareMask()(clips, generator=generator(1))
    assert torch.equal(mask[..., 0], changed[..., 0])


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5, -1.0, float("nan")])
def test_motion_aware_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match=r"expected ratio in \(0, 1\), got"):
        MotionAwareMask(ratio=ratio)


def test_motion_aware_mask_errors():
    with pytest.raises(ValueError, match=r"patch > 0.*0"):
        MotionAwareMask(patch=0)
    for frames in (3, 6):
        with pytest.raises(ValueError, match=f"T a multiple of patch=4, got T={frames}"):
            MotionAwareMask()(torch.zeros(2, 3, frames, 25, 1))
    with pytest.raises(ValueError, match=r"leaves one of 5 patches visible, got 0.9"):
        MotionAwareMask()(torch.zeros(2, 3, 4, 5, 1))
    clips, uniform = torch.zeros(2, 3, 8, 5, 1), torch.zeros(2, 2, 5, 1)
    with pytest.raises(ValueError, match=r"uniform \(2, 2, 5, 1\)"):
        motion_aware_mask(clips, uniform[:, :1], visible=3)
    for visible in (0, 11):
        with pytest.raises(ValueError, match=rf"visible in \[1, 10\] patches, got {visible}"):
            motion_aware_mask(clips, uniform, visible=visible)


def test_motion_aware_mask_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match=r"in \(0, 1\).*nan"):
        MotionAwareMask(ratio=float("nan"))
    with pytest.raises(ValueError, match="expected temperature to be a number, got nan"):
        MotionAwareMask(temperature=float("nan"))


@pytest.mark.parametrize(
    ("ratio", "tube", "patch", "frames", "visible"),
    [(0.9, 5, 4, 120, 2), (0.6, 2, 4, 32, 10), (0.5, 3, 2, 16, 12), (0.6, 4, 1, 3, 10)],
)
def test_tubes_hide_the_same_joints(ratio, tube, patch, frames, visible, generator):
    clips = torch.randn(50, 3, frames, 25, 2, generator=generator(0))
    mask = TubeMask(ratio, tube, patch)(clips, generator=generator(1))
    assert TubeMask(ratio, tube, patch).visible(25) == visible
    assert bool(((~mask).sum(dim=2) == visible).all())
    tubes = mask.split(tube * patch, dim=1)
    for each in tubes:
        assert torch.equal(each, each[:, :1].expand_as(each))
    drawn = torch.stack([each[:, 0] for each in tubes], dim=1)  # (N, tubes, V, M)
    rows = drawn.movedim(2, 3).flatten(0, 2)
    assert len(rows.unique(dim=0)) > 0.9 * min(len(rows), 250)
    assert float(drawn.float().mean(dim=(0, 1, 3)).std()) < 0.12  # no joint is preferred


def test_tubes_that_cannot_be_drawn():
    for arguments in ((0.0,), (1.0,), ("0.5",), (0.5, 0), (0.5, 2.5), (0.5, 2, 0)):
        with pytest.raises(ValueError, match=r"ratio|tube|patch"):
            TubeMask(*arguments)
    with pytest.raises(ValueError, match=r"25 joints visible, got 0\.97"):
        TubeMask(0.97)(torch.zeros(2, 3, 8, 25, 1))
    with pytest.raises(ValueError, match=r"multiple of patch=4, got T=10"):
        TubeMask()(torch.zeros(2, 3, 10, 25, 1))
