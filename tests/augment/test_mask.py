"""What is masked: parts or joints, by clip and person."""

import pytest
import torch

from pcm3.augment import RandomMask, TopologyMask
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
