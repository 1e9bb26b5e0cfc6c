"""The strong transforms of AimCLR and the drops of PSTL, against loops and over many draws."""

from __future__ import annotations

import math

import pytest
import torch

from pcm3.augment import (
    AxisMask,
    DegreeJointDrop,
    Flip,
    GaussianBlur,
    GaussianNoise,
    MainAxisRotate,
    MotionFrameDrop,
    TimeFlip,
)
from pcm3.augment import functional as f
from pcm3.augment.spatial import main_axis_matrix
from pcm3.skeleton import KINECT20, NTU25


def test_rotations_as_they_are_written(clips):
    """x first: (y, z) becomes (c y + s z, c z - s y); z alike, y with the sines exchanged."""
    degrees = torch.tensor([20.0, 0.5, 0.3])
    (cx, cy, cz), (sx, sy, sz) = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    x, y, z = clips.unbind(1)
    y, z = cx * y + sx * z, cx * z - sx * y
    x, z = cy * x - sy * z, cy * z + sy * x
    x, y = cz * x + sz * y, cz * y - sz * x
    found = f.linear_map(clips, main_axis_matrix(degrees.expand(len(clips), -1)))
    torch.testing.assert_close(found, torch.stack([x, y, z], dim=1))


def test_one_axis_turns_most(generator):
    """The unit vectors show the matrix, whose angles are read back."""
    unit = torch.eye(3)[None, :, :, None, None].expand(3000, -1, -1, 1, 1)
    matrix = MainAxisRotate(30, 1)(unit, generator=generator(0))[..., 0, 0]
    sines = torch.stack([matrix[:, 1, 2], -matrix[:, 0, 2], matrix[:, 0, 1]], dim=1)
    degrees = sines.clamp(-1, 1).asin().rad2deg()
    main = degrees.abs().argmax(dim=1)
    assert main.bincount(minlength=3).min() > 900
    assert degrees.min() > -0.6  # the order of the turns mixes small angles in
    assert degrees.max() < 30.1
    assert degrees.gather(1, main[:, None]).mean() == pytest.approx(15, abs=0.6)
    others = degrees.scatter(1, main[:, None], 0).sum(dim=1) / 2
    assert others.mean() == pytest.approx(0.5, abs=0.1)


def test_clips_of_two_channels_turn_in_their_plane(clips):
    turned = MainAxisRotate(30)(clips[:, :2])
    torch.testing.assert_close(turned.norm(dim=1), clips[:, :2].norm(dim=1))
    with pytest.raises(ValueError, match="C=1"):
        MainAxisRotate()(clips[:, :1])


@pytest.mark.parametrize("normalize", [True, False])
def test_blur_equals_its_sum(clips, normalize):
    clips, sigma = clips[:2, :, :9, :3], torch.tensor([0.4, 1.7])
    found = f.gaussian_blur(clips, sigma, 7, normalize)
    for n in range(2):
        weights = [math.exp(-(k**2) / (2 * float(sigma[n]) ** 2)) for k in range(-3, 4)]
        total = sum(weights) if normalize else 1
        for t in range(9):
            inside = [(k, t + k) for k in range(-3, 4) if 0 <= t + k < 9]
            expected = sum(weights[k + 3] / total * clips[n, :, at] for k, at in inside)
            torch.testing.assert_close(found[n, :, t], expected)


def test_widths_of_the_blur(generator):
    """An impulse shows the weights, and their ratio the width."""
    impulse = torch.zeros(2000, 1, 15, 1, 1)
    impulse[:, :, 7] = 1
    blurred = GaussianBlur((0.5, 2.0))(impulse, generator=generator(0)).flatten(1)
    torch.testing.assert_close(blurred.sum(dim=1), torch.ones(2000))
    sigma = (-0.5 / (blurred[:, 8] / blurred[:, 7]).log()).sqrt()
    assert (sigma.min(), sigma.max()) == (
        pytest.approx(0.5, abs=0.01),
        pytest.approx(2.0, abs=0.01),
    )
    assert sigma.mean() == pytest.approx(1.25, abs=0.03)


def test_noise_axis_and_time(clips, generator):
    noise = GaussianNoise(0.2)(clips, generator=generator(0)) - clips
    assert noise.std() == pytest.approx(0.2, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.003)
    many = torch.ones(900, 3, 2, 1, 1)
    hidden = (AxisMask()(many, generator=generator(0)) == 0).all(dim=2).flatten(1)
    assert bool((hidden.sum(dim=1) == 1).all())
    assert hidden.sum(dim=0).min() > 250
    zeros = torch.zeros(2, 3, 64, 25, 2)  # padding and absent persons get noise, as published
    assert GaussianNoise(0.2)(zeros, generator=generator(0)).std() == pytest.approx(0.2, rel=0.05)
    reversed_ = TimeFlip()(clips)
    assert torch.equal(reversed_[:, :, 0], clips[:, :, -1])
    assert torch.equal(TimeFlip()(reversed_), clips)


def test_sides_change_places(clips):
    swapped = Flip(NTU25, negate=False)(clips)
    left, right = NTU25.joints.index("left_hand"), NTU25.joints.index("right_hand")
    assert torch.equal(swapped[..., left, :], clips[..., right, :])
    mirrored = Flip(NTU25)(clips)
    assert torch.equal(mirrored[:, 0], -swapped[:, 0])
    assert torch.equal(mirrored[:, 1:], swapped[:, 1:])
    with pytest.raises(ValueError, match="20"):
        Flip(KINECT20)(clips)


def test_dropped_frames_equal_a_loop(clips):
    clips = clips[:3, :, :12].clone()
    kept = torch.tensor([[0, 2, 5], [1, 3, 8], [6, 7, 8]])
    found = f.drop_frames(clips, 3, kept)
    for clip, places, its in zip(clips, kept, found, strict=True):
        energy = [float((clip[:, t + 1] - clip[:, t]).square().mean()) for t in range(11)] + [0.0]
        fast = sorted(range(12), key=energy.__getitem__)[-3:]
        slow = [t for t in range(12) if t not in fast]
        assert torch.equal(its, clip[:, [slow[place] for place in places]])


def test_frames_that_are_left(generator):
    still = torch.arange(20.0).view(1, 1, 20, 1, 1).expand(500, 1, 20, 1, 1)
    drop = MotionFrameDrop(fastest=0.0, others=0.25)
    rows = drop(still, generator=generator(0)).flatten(1)
    assert rows.shape == (500, 15)
    assert bool((rows.diff(dim=1) > 0).all())
    assert rows.long().flatten().bincount().min() > 330  # of 500 x 0.75
    together = MotionFrameDrop(0.0, 0.25, same_on_batch=True)(still).flatten(1)
    assert bool((together == together[:1]).all())
    for shares in ((0.5, 0.5), (1.0, 0.0)):
        with pytest.raises(ValueError, match="leave"):
            MotionFrameDrop(*shares)(still)
    for arguments, word in (
        ((12, torch.zeros(500, 1).long()), "kept"),
        ((20, torch.zeros(500, 1).long()), "fastest"),
        ((2, torch.zeros(3, 1).long()), "kept"),
        ((2, torch.zeros(500, 1)), "integer kept"),
    ):
        wrong = (arguments[0], arguments[1] + 30) if arguments[0] == 12 else arguments
        with pytest.raises(ValueError, match=word):
            f.drop_frames(still, *wrong)


def test_joints_of_many_bones_are_dropped_more_often(generator):
    """The first joint is drawn in proportion to its bones: of 48 ends, joint 20 has 4."""
    clips = torch.zeros(20_000, 1, 1, 25, 2)
    mask = DegreeJointDrop(NTU25, ratio=0.04)(clips, generator=generator(0))
    assert bool((mask[..., 0] == mask[..., 1]).all())
    rows = mask[:, 0, :, 0]
    assert bool((rows.sum(dim=1) == 1).all())
    bones = torch.zeros(25)
    for joint, parent in enumerate(NTU25.parents):
        if parent >= 0:
            bones[[joint, parent]] += 1
    assert bones.sum() == 48
    torch.testing.assert_close(rows.float().mean(dim=0), bones / 48, rtol=0.15, atol=0)
    eight = DegreeJointDrop(NTU25)(clips[:50])
    assert bool((eight[:, 0, :, 0].sum(dim=1) == 8).all())


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: MainAxisRotate(-1), "degrees"),
        (lambda: MainAxisRotate(1, -1), "others"),
        (lambda: GaussianNoise(-1), "std"),
        (lambda: GaussianBlur((0, 1)), "sigma"),
        (lambda: GaussianBlur(taps=4), "taps"),
        (lambda: f.gaussian_blur(torch.zeros(1, 1, 2, 1, 1), torch.ones(1), 4), "taps"),
        (lambda: DegreeJointDrop(NTU25, 0.01), "ratio"),
        (lambda: DegreeJointDrop(NTU25, 1.0), "ratio"),
        (lambda: MotionFrameDrop(fastest=2), "fastest"),
        (lambda: Flip(3), "Skeleton"),
    ],
)
def test_bad_arguments(make, word):
    with pytest.raises(ValueError, match=word):
        make()
