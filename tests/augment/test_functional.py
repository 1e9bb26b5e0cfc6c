"""Every function against a slow, obvious numpy or torch re-computation."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.augment import functional as f
from pcm3.skeleton import COCO17, NTU25, SBU15

quick = settings(max_examples=25, deadline=None)


def rand(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def interpolated(clip, size):
    """torch's own linear resize of one clip (C, T, V, M)."""
    c, t, v, m = clip.shape
    flat = clip.permute(0, 2, 3, 1).reshape(1, c * v * m, t)
    out = F.interpolate(flat, size=size, mode="linear", align_corners=False)
    return out.view(c, v, m, size).permute(0, 3, 1, 2)


@quick
@given(st.data())
def test_crop_resize_equals_interpolate_of_each_crop(data):
    frames = data.draw(st.integers(1, 90))
    size = data.draw(st.integers(1, 80))
    lengths = data.draw(st.lists(st.integers(1, frames), min_size=1, max_size=4))
    starts = [data.draw(st.integers(0, frames - n)) for n in lengths]
    clips = rand(len(lengths), 3, frames, 5, 2, dtype=torch.float64)
    result = f.crop_resize(clips, torch.tensor(starts), torch.tensor(lengths), size)
    for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        expected = interpolated(clips[i, :, start : start + length], size)
        torch.testing.assert_close(result[i], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_crop_resize_equals_interpolate_in_every_dtype(dtype):
    clips = rand(3, 3, 300, 25, 2).to(dtype)
    starts, lengths = torch.tensor([0, 10, 200]), torch.tensor([300, 37, 64])
    result = f.crop_resize(clips, starts, lengths, 64)
    assert result.dtype == dtype
    for i in range(3):
        crop = clips[i, :, starts[i] : starts[i] + lengths[i]]
        expected = interpolated(crop.float(), 64).to(dtype)
        torch.testing.assert_close(result[i], expected)


def test_crop_resize_of_the_same_length_is_exact():
    clips = rand(2, 3, 40, 5, 1)
    result = f.crop_resize(clips, torch.tensor([3, 5]), torch.tensor([20, 20]), 20)
    assert torch.equal(result, torch.stack([clips[0, :, 3:23], clips[1, :, 5:25]]))


def test_center_crop_removes_the_same_at_both_ends():
    clips = torch.arange(300.0).view(1, 1, 300, 1, 1)
    for n in range(1, 301):
        cut = int(0.05 * n / 2)
        expected = interpolated(clips[0, :, cut : n - cut], 64)
        result = f.center_crop_resize(clips, torch.tensor([n]), 64)
        torch.testing.assert_close(result[0], expected)
    nine_tenths = f.center_crop_resize(clips[:, :, :20], size=18, ratio=0.9)
    assert torch.equal(nine_tenths.flatten(), torch.arange(1.0, 19.0))
    exact = f.center_crop_resize(clips, size=174, ratio=0.58)  # 63 frames less at both ends
    assert torch.equal(exact.flatten(), torch.arange(63.0, 237.0))
    assert torch.equal(f.center_crop_resize(clips, size=300, ratio=1.0), clips)


def test_keep_frames_zeroes_the_rest():
    clips = rand(2, 3, 10, 4, 2)
    starts, lengths = [2, 0], [3, 10]
    expected = np.zeros((2, 3, 10, 4, 2), np.float32)
    for i in range(2):
        for t in range(starts[i], starts[i] + lengths[i]):
            expected[i, :, t] = clips[i, :, t]
    result = f.keep_frames(clips, torch.tensor(starts), torch.tensor(lengths))
    np.testing.assert_array_equal(result, expected)


def slow_linear_map(clips, matrix):
    n, _, t, v, m = clips.shape
    expected = np.zeros(clips.shape)
    for index in np.ndindex(n, t, v, m):
        i, frame, joint, person = index
        expected[i, :, frame, joint, person] = matrix[i] @ clips[i, :, frame, joint, person]
    return expected


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_linear_map_multiplies_every_joint(channels):
    clips = rand(2, channels, 4, 3, 2, dtype=torch.float64)
    matrix = rand(2, channels, channels, dtype=torch.float64, seed=1)
    expected = slow_linear_map(clips.numpy(), matrix.numpy())
    np.testing.assert_allclose(f.linear_map(clips, matrix), expected, rtol=1e-12)


def test_linear_map_is_not_rounded_under_autocast():
    clips, matrix = rand(2, 3, 4, 5, 2), rand(2, 3, 3, seed=1)
    outside = f.linear_map(clips, matrix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = f.linear_map(clips, matrix)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@quick
@given(st.lists(st.floats(-7, 7), min_size=3, max_size=3))
def test_rotation_matrix_is_rz_ry_rx(angles):
    x, y, z = angles
    rx = [[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]]
    ry = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    rz = [[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]]
    expected = np.array(rz) @ np.array(ry) @ np.array(rx)
    result = f.rotation_matrix(torch.tensor(angles, dtype=torch.float64))
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_rotation_keeps_distances_and_orientation():
    matrix = f.rotation_matrix(rand(50, 3, dtype=torch.float64))
    unit = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(matrix @ matrix.mT, unit)
    torch.testing.assert_close(matrix.det(), torch.ones(50, dtype=torch.float64))
    quarter = f.rotation_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(quarter @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]))


def test_transform_joints_leaves_the_others():
    clips, matrix = rand(2, 3, 4, 5, 2), rand(2, 3, 3, seed=1)
    joints = torch.tensor([[True, False, True, False, False], [False] * 5])
    expected = clips.numpy().copy()
    mapped = slow_linear_map(clips.numpy(), matrix.numpy())
    for i, joint in joints.nonzero().tolist():
        expected[i, :, :, joint] = mapped[i, :, :, joint]
    result = f.transform_joints(clips, joints, matrix)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(result[1], clips[1])


@pytest.mark.parametrize("skeleton", [NTU25, SBU15, COCO17], ids=lambda s: s.name)
def test_mirror_swaps_sides_and_flips_x(skeleton):
    clips = rand(2, 2, 4, len(skeleton), 2)
    expected = np.zeros(clips.shape, np.float32)
    for joint, other in enumerate(skeleton.mirror):
        expected[:, 0, :, joint] = -clips[:, 0, :, other]
        expected[:, 1, :, joint] = clips[:, 1, :, other]
    result = f.mirror(clips, skeleton)
    np.testing.assert_array_equal(result, expected)
    assert torch.equal(f.mirror(result, skeleton), clips)


def test_paste_replaces_only_the_region():
    clips, source = rand(2, 3, 6, 4, 2), rand(2, 3, 6, 4, 2, seed=1)
    region = torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = clips.numpy().copy()
    for i, frame, joint in region.nonzero().tolist():
        expected[i, :, frame, joint] = source[i, :, frame, joint]
    np.testing.assert_array_equal(f.paste(clips, source, region), expected)


@pytest.mark.parametrize("length", [28, 32, 36, 40, 44])
@pytest.mark.parametrize("start", [0, 8, 20])
def test_shrink_frames_equals_nearest_interpolation(length, start):
    clips = rand(2, 3, 64, 5, 2)
    ranges = torch.tensor([start, 0]), torch.tensor([length, length])
    shrunk = f.shrink_frames(clips, *ranges)
    source = clips[:, :, : min(2 * length, 64)].permute(0, 1, 3, 4, 2).flatten(1, 3)
    expected = F.interpolate(source, size=length, mode="nearest")
    expected = expected.view(2, 3, 5, 2, length).permute(0, 1, 4, 2, 3)
    assert torch.equal(shrunk[0, :, start : start + length], expected[0])
    assert torch.equal(shrunk[1, :, :length], expected[1])


def test_mixup_blends():
    clips, source = rand(3, 3, 4, 5, 2), rand(3, 3, 4, 5, 2, seed=1)
    lam = torch.tensor([0.0, 0.25, 1.0])
    result = f.mixup(clips, source, lam)
    for i in range(3):
        expected = (1 - lam[i].item()) * clips[i].numpy() + lam[i].item() * source[i].numpy()
        np.testing.assert_allclose(result[i], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(result[0], clips[0])
    assert torch.equal(result[2], source[2])


def test_apply_mask_sets_masked_coordinates():
    clips = rand(2, 3, 4, 5, 2)
    mask = torch.rand(2, 4, 5, 2, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = clips.numpy().copy()
    for i, frame, joint, person in mask.nonzero().tolist():
        expected[i, :, frame, joint, person] = 7.0
    np.testing.assert_array_equal(f.apply_mask(clips, mask, 7.0), expected)
    assert bool((f.apply_mask(clips, mask)[:, 0][mask] == 0).all())
    learnt = torch.tensor(0.5, requires_grad=True)
    f.apply_mask(clips, mask, learnt).sum().backward()
    assert learnt.grad == 3 * mask.sum()


LENGTHS = torch.tensor([3, 2])
STARTS = torch.tensor([1, 2])
LAM = torch.tensor([0.3, 0.8])
JOINTS = torch.tensor([[True, False, False, False, True]] * 2)
REGION = torch.ones(2, 5, 1, dtype=torch.bool).repeat(1, 1, 5).tril()
MATRIX = rand(2, 3, 3)
LIKE = rand(2, 3, 5, 5, 2, seed=3)
FUNCTIONS = {
    "crop_resize": (lambda x, s, n: f.crop_resize(x, s, n, 7), STARTS, LENGTHS),
    "center_crop_resize": (lambda x, n: f.center_crop_resize(x, n, 7, 0.5), LENGTHS),
    "keep_frames": (f.keep_frames, STARTS, LENGTHS),
    "linear_map": (f.linear_map, MATRIX),
    "transform_joints": (f.transform_joints, JOINTS, MATRIX),
    "paste": (f.paste, LIKE, REGION),
    "shrink_frames": (f.shrink_frames, STARTS, LENGTHS),
    "mixup": (f.mixup, LIKE, LAM),
    "apply_mask": (f.apply_mask, torch.stack([REGION, ~REGION], dim=-1)),
    "mirror": (lambda x: f.mirror(x, PAIR),),
}
PAIR = SBU15.from_parents(
    ["chest", "left_hand", "right_hand", "left_foot", "right_foot"], [-1, 0, 0, 0, 0]
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_clip_equals_a_batch_of_one(name):
    function, *values = FUNCTIONS[name]
    clips = rand(2, 3, 5, 5, 2)
    batched = function(clips, *values)
    for i in range(2):
        assert torch.equal(function(clips[i], *(value[i] for value in values)), batched[i])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_dtype_is_kept(name, dtype):
    function, *values = FUNCTIONS[name]
    values = [LIKE.to(dtype) if value is LIKE else value for value in values]
    clips = rand(2, 3, 5, 5, 2)
    result = function(clips.to(dtype), *values)
    assert result.dtype == dtype
    exact = function(
        clips.to(dtype).double(), *(v.double() if v.is_floating_point() else v for v in values)
    )
    precision = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float64: 1e-6}[dtype]
    torch.testing.assert_close(result.double(), exact, rtol=precision, atol=precision)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name):
    function, *values = FUNCTIONS[name]
    values = [v.double() if v.is_floating_point() else v for v in values]
    clips = rand(2, 3, 5, 5, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(x, *values), (clips,))


def test_gradients_of_matrix_and_lam():
    clips, source = (rand(2, 2, 3, 2, 1, dtype=torch.float64, seed=s) for s in (0, 1))
    matrix = rand(2, 2, 2, dtype=torch.float64).requires_grad_()
    lam = LAM.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: f.linear_map(clips, s), (matrix,))
    assert torch.autograd.gradcheck(lambda s: f.mixup(clips, source, s), (lam,))


CLIPS = torch.zeros(2, 3, 8, 25, 2)
MASK = torch.zeros(2, 8, 25, 2, dtype=torch.bool)
ZERO = torch.tensor([0, 0])
BAD = [
    (
        lambda: f.linear_map(CLIPS[0, 0], torch.eye(3)),
        r"expected clips \(N, C, T.*got \(8, 25, 2\)",
    ),
    (lambda: f.linear_map(CLIPS, torch.eye(3)), r"matrix \(2, 3, 3\).*got \(3, 3\)"),
    (lambda: f.linear_map(CLIPS.long(), MATRIX), "floating-point clips, got torch.int64"),
    (lambda: f.transform_joints(CLIPS, JOINTS, MATRIX), r"joints \(2, 25\).*got \(2, 5\)"),
    (lambda: f.mirror(CLIPS, SBU15), r"V=15, M\).*got \(2, 3, 8, 25, 2\)"),
    (lambda: f.apply_mask(CLIPS, MASK[:1]), r"mask \(2, 8, 25, 2\).*got \(1, 8, 25, 2\)"),
    (lambda: f.apply_mask(CLIPS, MASK.long()), "mask of torch.bool, got torch.int64"),
    (lambda: f.paste(CLIPS, CLIPS[:1], MASK[..., 0]), "source"),
    (lambda: f.paste(CLIPS, CLIPS, MASK), r"region \(2, 8, 25\)"),
    (lambda: f.mixup(CLIPS, CLIPS, torch.ones(3)), r"lam \(2,\).*got \(3,\)"),
    (lambda: f.crop_resize(CLIPS, ZERO, LENGTHS, 0), "size >= 1, got 0"),
    (lambda: f.crop_resize(CLIPS, ZERO, LENGTHS.float(), 4), "integer lengths, got torch.float32"),
    (
        lambda: f.crop_resize(CLIPS, STARTS, torch.tensor([1, 7]), 4),
        "T=8, got start 2 and length 7 in sample 1",
    ),
    (lambda: f.keep_frames(CLIPS, ZERO - 1, LENGTHS), "got start -1 and length 3 in sample 0"),
    (lambda: f.shrink_frames(CLIPS, ZERO, ZERO), "1 <= length.*got start 0 and length 0"),
    (lambda: f.center_crop_resize(CLIPS, ratio=0), r"ratio in \(0, 1\], got 0"),
    (lambda: f.center_crop_resize(CLIPS, torch.tensor([8, 9])), r"\[1, T=8\], got 9 in sample 1"),
    (lambda: f.center_crop_resize(CLIPS, torch.tensor([0, 8])), r"\[1, T=8\], got 0 in sample 0"),
    (lambda: f.center_crop_resize(CLIPS, LENGTHS[:1]), r"lengths \(N=2,\), got \(1,\)"),
    (lambda: f.center_crop_resize(CLIPS[0], LENGTHS), r"lengths \(\) for one clip, got \(2,\)"),
    (lambda: f.center_crop_resize(CLIPS, [3, 2]), "lengths: expected a torch tensor, got list"),
    (lambda: f.mixup(CLIPS, CLIPS.numpy(), LAM), "source: expected a torch .*numpy.ndarray"),
    (lambda: f.mirror(CLIPS.numpy(), NTU25), "clips: expected a torch tensor, got numpy.ndarray"),
    (lambda: f.rotation_matrix(torch.zeros(2)), r"angles \(..., 3\), got \(2,\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
