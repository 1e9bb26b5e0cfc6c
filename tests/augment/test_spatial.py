"""The matrices and joints that the spatial transforms draw, read back from known clips."""

import math

import pytest
import torch

from pcm3.augment import JointJitter, Rotate, Shear


def basis(samples, channels, frames=2, joints=25, persons=2):
    """Clips whose joint c lies at the c-th unit vector, in all frames and persons."""
    clips = torch.zeros(samples, channels, frames, joints, persons)
    for channel in range(channels):
        clips[:, channel, :, channel::channels] = 1
    return clips


def matrices(mapped):
    """The matrix of each sample; the columns are the images of the first joints."""
    channels = mapped.shape[1]
    matrix = mapped[:, :, 0, :channels, 0]
    frames_joints_persons = mapped[:, :, :, : 25 // channels * channels].unflatten(
        3, (-1, channels)
    )
    spread = frames_joints_persons.permute(0, 2, 3, 5, 1, 4)  # (N, T, V / C, M, C, C)
    assert torch.equal(spread, matrix[:, None, None, None].expand_as(spread))
    return matrix


@pytest.mark.parametrize("channels", [2, 3])
def test_shear_has_a_unit_diagonal_and_uniform_slants(channels, generator):
    matrix = matrices(Shear(0.5)(basis(4000, channels), generator=generator(0)))
    diagonal = torch.eye(channels, dtype=torch.bool)
    assert bool((matrix[:, diagonal] == 1).all())
    slant = matrix[:, ~diagonal]
    assert slant.abs().max() <= 0.5
    assert slant.mean(0).abs().max() < 0.02
    torch.testing.assert_close(
        slant.var(0), torch.full((slant.shape[1],), 1 / 12), rtol=0.06, atol=0
    )
    correlation = torch.corrcoef(slant.T) - torch.eye(slant.shape[1])
    assert correlation.abs().max() < 0.08  # all entries are independent


@pytest.mark.parametrize("joints", [25, 20, 15, 17])
def test_jitter_changes_the_right_number_of_joints(joints, generator):
    clips = torch.rand(200, 3, 4, joints, 2, generator=generator(0)) + 0.1
    result = JointJitter()(clips, generator=generator(1))
    changed = (result != clips).any(1)
    assert torch.equal(changed, changed[:, :1, :, :1].expand_as(changed))  # frames, persons
    assert changed[:, 0, :, 0].sum(1).unique().tolist() == [int(round(joints * 0.6, 6))]


def test_jitter_joints_and_zeros_are_uniform(generator):
    clips = basis(4000, 3)
    result = JointJitter()(clips, generator=generator(0))
    changed = (result != clips).any(1)[:, 0, :, 0].float()
    assert changed.sum(1).unique().tolist() == [15]
    assert (changed.mean(0) - 0.6).abs().max() < 0.035
    chosen = result[:, :, 0, :, 0] * changed[:, None]
    erased = (chosen == 0).flatten(1).all(1)
    assert erased.float().mean() == pytest.approx(0.5, abs=0.03)


def test_jitter_maps_all_its_joints_by_one_uniform_matrix(generator):
    jitter = JointJitter(ratio=1, amplitude=2, zero_probability=0)
    matrix = matrices(jitter(basis(4000, 3), generator=generator(0)))
    assert matrix.abs().max() <= 2
    assert matrix.mean(0).abs().max() < 0.08
    torch.testing.assert_close(matrix.var(0), torch.full((3, 3), 16 / 12), rtol=0.06, atol=0)


@pytest.mark.parametrize(
    ("joints", "ratio", "count"), [(25, 0.6, 15), (25, 0.28, 7), (20, 1 - 0.9, 2), (25, 1.0, 25)]
)
def test_joint_count_whatever_floating_point_says(joints, ratio, count, generator):
    jitter = JointJitter(ratio=ratio, zero_probability=1)
    erased = (jitter(torch.ones(1, 3, 1, joints, 1), generator=generator(0)) == 0)[0, 0].sum()
    assert int(erased) == count


def test_rotation_angles_are_uniform_about_their_own_axis(generator):
    matrix = matrices(Rotate((0, 40, 0))(basis(4000, 3), generator=generator(0)))
    assert bool((matrix[:, 1] == torch.tensor([0.0, 1, 0])).all())
    angle = torch.rad2deg(torch.atan2(matrix[:, 0, 2], matrix[:, 0, 0]))
    assert angle.abs().max() <= 40.001
    assert angle.mean().abs() < 1.5
    assert angle.std() == pytest.approx(80 / math.sqrt(12), rel=0.05)


def test_rotation_keeps_lengths():
    clips = torch.randn(8, 3, 4, 25, 2)
    torch.testing.assert_close(Rotate(180)(clips).norm(dim=1), clips.norm(dim=1))


def test_two_channels_turn_in_their_plane_by_the_range_of_z(generator):
    matrix = matrices(Rotate((90, 90, 20))(basis(1000, 2), generator=generator(0)))
    torch.testing.assert_close(matrix.det(), torch.ones(1000))
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert 19 < angle.abs().max() <= 20.001
    assert torch.equal(matrix[:, 0, 0], matrix[:, 1, 1])
