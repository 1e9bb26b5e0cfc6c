"""What holds for every transform."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
import torch

from pcm3.augment import (
    AxisMask,
    Compose,
    CutMix,
    DegreeJointDrop,
    Flip,
    GaussianBlur,
    GaussianNoise,
    JointJitter,
    MainAxisRotate,
    Mixup,
    MotionAwareMask,
    MotionFrameDrop,
    OneOf,
    RandomMask,
    RandomMix,
    ReflectCrop,
    ResizeMix,
    Rotate,
    SegmentShuffle,
    Shear,
    TemporalClip,
    TemporalCropResize,
    TimeFlip,
    TopologyMask,
)
from pcm3.augment import functional as f
from pcm3.skeleton import COCO17, NTU25, SBU15, Skeleton

SAME = [
    TemporalCropResize(size=64, min_frames=4, same_on_batch=True),
    TemporalClip(same_on_batch=True),
    ReflectCrop(size=64, same_on_batch=True),
    Shear(same_on_batch=True),
    JointJitter(same_on_batch=True),
    Rotate(30, same_on_batch=True),
    SegmentShuffle(same_on_batch=True),
    OneOf(JointJitter(same_on_batch=True), Shear(same_on_batch=True), same_on_batch=True),
    TopologyMask(NTU25, same_on_batch=True),
    RandomMask(same_on_batch=True),
    MainAxisRotate(same_on_batch=True),
    AxisMask(same_on_batch=True),
    GaussianNoise(same_on_batch=True),
    GaussianBlur(same_on_batch=True),
    MotionFrameDrop(same_on_batch=True),
    DegreeJointDrop(NTU25, same_on_batch=True),
]


def test_shape_dtype_finite(coordinate_transform, clips):
    frames = getattr(coordinate_transform, "size", 64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        before = clips.to(dtype)
        result = coordinate_transform(before)
        assert result.shape == (6, 3, frames, 25, 2)
        assert result.dtype == dtype
        assert bool(result.isfinite().all())
        assert torch.equal(before, clips.to(dtype))  # the input stays as it was


def test_mask_shape_and_dtype(mask_transform, clips):
    mask = mask_transform(clips.half())
    assert mask.shape == (6, 64, 25, 2)
    assert mask.dtype == torch.bool


def test_mix_shape_and_dtype(mix_transform, clips):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        mixed = mix_transform(clips.to(dtype))
        assert mixed.clips.shape == clips.shape
        assert mixed.clips.dtype == dtype
        assert (mixed.partner.shape, mixed.partner.dtype) == ((6,), torch.int64)
        assert (mixed.lam.shape, mixed.lam.dtype) == ((6,), torch.float32)
        assert bool(((mixed.lam >= 0) & (mixed.lam <= 1)).all())
        assert bool(mixed.clips.isfinite().all())


def test_generator_repeats_a_draw_and_leaves_the_default_alone(
    coordinate_transform, clips, generator
):
    state = torch.get_rng_state()
    first = coordinate_transform(clips, generator=generator(3))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, coordinate_transform(clips, generator=generator(3)))
    assert not torch.equal(first, coordinate_transform(clips, generator=generator(4)))


def test_generator_repeats_a_mask(mask_transform, clips, generator):
    first = mask_transform(clips, generator=generator(3))
    assert torch.equal(first, mask_transform(clips, generator=generator(3)))
    assert not torch.equal(first, mask_transform(clips, generator=generator(4)))


def test_generator_repeats_a_mix(mix_transform, clips, generator):
    state = torch.get_rng_state()
    first, again = (mix_transform(clips, generator=generator(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first.clips, mix_transform(clips, generator=generator(4)).clips)


def test_a_draw_does_not_depend_on_the_dtype(coordinate_transform, clips, generator):
    single = coordinate_transform(clips, generator=generator(0))
    double = coordinate_transform(clips.double(), generator=generator(0))
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


def test_samples_differ_by_default(coordinate_transform, clips, generator):
    same = clips[:1].expand(6, -1, -1, -1, -1)
    result = coordinate_transform(same, generator=generator(0))
    assert len(result.flatten(1).unique(dim=0)) > 1


def test_masks_differ_by_default(mask_transform, clips, generator):
    assert len(mask_transform(clips, generator=generator(0)).flatten(1).unique(dim=0)) == 6


@pytest.mark.parametrize("transform", SAME, ids=repr)
def test_same_on_batch_treats_all_samples_alike(transform, clips, generator):
    same = clips[:1].expand(6, -1, -1, -1, -1)
    for seed in range(5):
        result = transform(same, generator=generator(seed))
        assert torch.equal(result, result[:1].expand_as(result))


def test_one_clip_equals_a_batch_of_one(coordinate_transform, clips, generator):
    one = coordinate_transform(clips[0], generator=generator(0))
    assert torch.equal(one, coordinate_transform(clips[:1], generator=generator(0))[0])


def test_one_clip_gets_the_mask_of_a_batch_of_one(mask_transform, clips, generator):
    one = mask_transform(clips[0], generator=generator(0))
    assert one.shape == (64, 25, 2)
    assert torch.equal(one, mask_transform(clips[:1], generator=generator(0))[0])


def test_mixing_one_clip_is_refused(mix_transform, clips):
    with pytest.raises(ValueError, match=r"\(3, 64, 25, 2\)"):
        mix_transform(clips[0])
    with pytest.raises(ValueError, match=r"2.*\(1, 3, 64, 25, 2\)"):
        mix_transform(clips[:1])


def test_gradient_reaches_the_clips(coordinate_transform, clips, generator):
    clips.requires_grad_()
    coordinate_transform(clips, generator=generator(0)).sum().backward()
    assert bool(clips.grad.isfinite().all())
    assert bool((clips.grad != 0).any())


def test_gradient_reaches_both_mixed_clips(mix_transform, clips, generator):
    clips.requires_grad_()
    mixed = mix_transform(clips, generator=generator(0))
    (gradient,) = torch.autograd.grad(mixed.clips[0].sum(), clips)
    assert bool((gradient[0] != 0).any())
    assert bool((gradient[mixed.partner[0]] != 0).any())


def test_gradcheck_of_a_whole_pipeline(generator):
    pipeline = Compose(TemporalCropResize(5, min_frames=2), Shear(), JointJitter(), TemporalClip())
    clips = torch.randn(2, 2, 6, 3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pipeline(x, generator=generator(0)), (clips,))


@pytest.mark.parametrize(
    "transform",
    [
        Shear(0),
        Rotate(0),
        JointJitter(ratio=0),
        TemporalCropResize(size=64, scale=(1, 1), min_frames=1),
        TemporalClip(ratio=(1, 1)),
        TemporalClip(ratio=(1, 1), mode="crop"),
        Compose(),
        OneOf(Shear(0), Rotate(0)),
    ],
    ids=repr,
)
def test_identity_at_zero_strength(transform, clips):
    assert torch.equal(transform(clips), clips)


def test_wrong_rank_is_refused(coordinate_transform, mask_transform):
    for transform in (coordinate_transform, mask_transform):
        with pytest.raises(ValueError, match=r"expected clips .* got \(64, 25, 2\)"):
            transform(torch.zeros(64, 25, 2))


@pytest.mark.parametrize("cls", [TopologyMask, CutMix, ResizeMix, RandomMix])
def test_wrong_joint_count_is_refused(cls, clips):
    with pytest.raises(ValueError, match=r"V=15, M\).*got \(6, 3, 64, 25, 2\)"):
        cls(SBU15)(clips)


def test_a_batch_without_its_person_axis_is_refused(coordinate_transform, mask_transform):
    layouts = r"clips \(N, C, T, V.*, or one clip \(C, T, V.* C at most 3, got \(4, 3, 25, 25\)"
    for transform in (coordinate_transform, mask_transform, lambda x: f.mirror(x, NTU25)):
        with pytest.raises(ValueError, match=layouts):
            transform(torch.zeros(4, 3, 25, 25))


@pytest.mark.parametrize(
    "transform", [Shear(), Rotate(), Flip(NTU25), OneOf(Shear()), RandomMask(), Mixup()], ids=repr
)
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_batch_in_another_order_is_refused(transform, samples):
    """(N, T, V, C) for one clip of three persons, and joints and persons in exchanged places."""
    for shape in ((samples, 64, 25, 3), (2 * samples, 3, 64, 2, 25)):
        with pytest.raises(ValueError, match=re.escape(str(shape))):
            transform(torch.zeros(shape))
    assert len(transform(torch.zeros(3, 3, 64, 25, 3))) == 3  # a batch of three persons


def test_a_mix_of_one_clip_is_refused(mix_transform):
    for shape in ((3, 64, 25, 2), (1, 3, 64, 25, 2)):
        with pytest.raises(ValueError, match=r"batch.*2 samples"):
            mix_transform(torch.zeros(shape))


@pytest.mark.parametrize("cls", [RandomMask, JointJitter, Shear, Rotate, MotionAwareMask])
def test_a_transform_that_takes_no_skeleton_says_so(cls):
    with pytest.raises(ValueError, match="no skeleton"):
        cls(NTU25)


def test_the_shape_that_was_given_is_named():
    with pytest.raises(ValueError, match=r"V=25, M\).*C.*3.*\(3, 30, 11, 1\)"):
        TopologyMask(NTU25)(torch.zeros(3, 30, 11, 1))


@pytest.mark.parametrize("transform", [*SAME, Mixup()], ids=repr)
def test_numpy_clips_are_refused(transform, clips):
    with pytest.raises(ValueError, match=r"numpy\.ndarray"):
        transform(clips.numpy())


TIMELESS = [Shear(), JointJitter(), Rotate(), MotionAwareMask()]
TIMED = [
    *(TopologyMask(NTU25), RandomMask(), TemporalClip(), TemporalCropResize(), TimeFlip(), Mixup())
]


@pytest.mark.parametrize("transform", TIMELESS, ids=repr)
def test_lengths_that_do_not_matter_are_refused(transform, clips):
    with pytest.raises(ValueError, match=f"no lengths, for {type(transform).__name__} treats all"):
        transform(clips, torch.full((6,), 30))


@pytest.mark.parametrize("transform", [*TIMELESS, *TIMED], ids=repr)
def test_what_is_no_generator(transform, clips):
    with pytest.raises(ValueError, match=r"torch\.Generator.*int"):
        transform(clips, generator=7)
    with pytest.raises(ValueError, match=r"torch\._C\.Generator"):
        transform(clips, torch.Generator())


@pytest.mark.parametrize("transform", [*TIMELESS, *TIMED], ids=repr)
def test_a_generator_of_another_device(transform, clips):
    """A device without values stands for one that has its own generators."""
    with pytest.raises(ValueError, match=r"torch\.Generator\('meta'\).*one of 'cpu'"):
        transform(clips.to("meta"), generator=torch.Generator())


@pytest.mark.parametrize("transform", [*TIMED, CutMix(NTU25), RandomMix(NTU25)], ids=repr)
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.full((5,), 30), r"lengths \(N=6,\).*\(5,\)"),
        (torch.full((6, 1), 30), r"lengths \(N=6,\).*\(6, 1\)"),
        (torch.full((6,), 30.0), r"torch\.float32"),
        (torch.tensor([3, 4, 0, 1, 2, 3]), r"lengths in \[1, T=64\].*0 in sample 2"),
        (torch.tensor([3, 4, 5, 65, 2, 3]), r"lengths in \[1, T=64\].*65 in sample 3"),
        (65, r"lengths in \[1, T=64\].*65 in sample 0"),
        (np.full(6, 30), r"lengths.*numpy\.ndarray"),
    ],
)
def test_bad_lengths(transform, lengths, message, clips):
    with pytest.raises(ValueError, match=message):
        transform(clips, lengths=lengths)


@pytest.mark.parametrize("mask", [TopologyMask(NTU25), RandomMask(clip_length=3)], ids=repr)
def test_padding_is_not_masked(mask, clips, generator):
    lengths = torch.tensor([64, 1, 8, 13, 40, 2])
    found = mask(clips, lengths, generator(0))
    expected = mask(clips, generator=generator(0))
    for each, full, length in zip(found, expected, lengths, strict=True):
        assert torch.equal(each[:length], full[:length])
        assert not bool(each[length:].any())
    one = mask(clips[1], lengths=1)
    assert bool(one[0].any())
    assert not bool(one[1:].any())


@pytest.mark.parametrize("skeleton", [SBU15, COCO17], ids=lambda s: s.name)
@pytest.mark.parametrize("channels", [2, 3])
def test_other_skeletons_channels_and_frame_counts(skeleton, channels):
    for frames in (1, 7, 50):
        clips = torch.randn(4, channels, frames, len(skeleton), 2)
        for transform in (
            Shear(),
            Rotate(20),
            JointJitter(),
            TemporalClip(),
            TemporalClip(mode="crop"),
        ):
            assert transform(clips).shape == clips.shape
        for mask in (TopologyMask(skeleton, persons=(0, 1)), RandomMask()):
            assert mask(clips).shape == (4, frames, len(skeleton), 2)
        for mix in (CutMix(skeleton), ResizeMix(skeleton), Mixup(), RandomMix(skeleton)):
            assert mix(clips).clips.shape == clips.shape


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (Shear(0.5), "Shear(amplitude=0.5, same_on_batch=False)"),
        (
            TemporalCropResize(),
            "TemporalCropResize(size=64, scale=(0.1, 1.0), min_frames=64, same_on_batch=False)",
        ),
        (
            TopologyMask(NTU25),
            "TopologyMask(skeleton='ntu25', ratio=0.6, clip_length=8, persons=(0,), "
            "same_on_batch=False)",
        ),
        (
            OneOf(Shear(), Rotate(5), same_on_batch=True),
            "OneOf(Shear(amplitude=1.0, same_on_batch=False), "
            "Rotate(degrees=5, same_on_batch=False), probabilities=None, same_on_batch=True)",
        ),
        (
            RandomMix(SBU15),
            "RandomMix(skeleton='sbu15', probabilities=(0.5, 0.25, 0.25), same_on_batch=False, "
            "parts=(2, 3))",
        ),
        (
            Compose(Shear(2), Compose()),
            "Compose(Shear(amplitude=2, same_on_batch=False), Compose())",
        ),
    ],
)
def test_repr_spells_the_call(transform, text):
    assert repr(transform) == text


def test_transforms_can_be_copied_and_pickled(coordinate_transform, mask_transform, mix_transform):
    for transform in (coordinate_transform, mask_transform, mix_transform):
        assert repr(copy.deepcopy(transform)) == repr(transform)
        assert repr(pickle.loads(pickle.dumps(transform))) == repr(transform)


HALVES = Skeleton(
    "halves", ("a", "b", "c"), (-1, 0, 0), {"left": (0, 1), "right": (2,)}, (0, 2, 1), 0
)
WHOLE = Skeleton("whole", ("a", "b"), (-1, 0), {"all": (0, 1)}, (0, 1), 0)


@pytest.mark.parametrize("mix", [CutMix, ResizeMix, RandomMix])
@pytest.mark.parametrize(("skeleton", "parts"), [(HALVES, (1, 2)), (WHOLE, (1, 1))])
def test_a_body_of_few_parts(mix, skeleton, parts, generator):
    name = mix.__name__
    with pytest.raises(ValueError, match=rf"for {name}\(parts=\(2, 3\)\)") as raised:
        mix(skeleton)
    assert f"got {skeleton.name!r} with {len(skeleton.parts)}: " in str(raised.value)
    assert f"give it parts={parts}" in str(raised.value)
    clips = torch.randn(20, 3, 16, len(skeleton), 1)
    mixed = mix(skeleton, parts=parts)(clips, generator=generator(0))
    assert not torch.equal(mixed.clips, clips)


CONSTRUCTORS = [
    *(TemporalCropResize, TemporalClip, Shear, JointJitter, Rotate, Compose, OneOf),
    *(TopologyMask, RandomMask, MotionAwareMask, CutMix, ResizeMix, Mixup, RandomMix),
]


@pytest.mark.parametrize("cls", CONSTRUCTORS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("value", [NTU25, None, "ntu25"], ids=repr)
def test_whatever_stands_in_the_wrong_place(cls, value):
    """In the place of each argument in turn; what is allowed there says so by its default."""
    for name, parameter in inspect.signature(cls).parameters.items():
        needs = {"skeleton": NTU25} if "skeleton" in inspect.signature(cls).parameters else {}
        allowed = (name == "skeleton" and value is NTU25) or parameter.default is value
        if allowed:
            continue
        positional = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        with pytest.raises(ValueError, match="expected") as raised:
            _ = cls(value) if positional else cls(**{**needs, name: value})
        assert len(str(raised.value)) < 200, raised.value


BAD = [
    (lambda: TemporalCropResize(size=0), "size > 0, got 0"),
    (lambda: TemporalCropResize(scale=(0.5, 1.5)), r"scale .* got \(0.5, 1.5\)"),
    (lambda: TemporalCropResize(scale=(0.9, 0.5)), "scale .* a <= b"),
    (lambda: TemporalCropResize(min_frames=0), "min_frames > 0, got 0"),
    (lambda: TemporalClip(ratio=(0.0, 0.5)), "ratio > 0, got 0.0"),
    (lambda: TemporalClip(mode="cut"), r"mode among \('mask', 'crop'\), got 'cut'"),
    (lambda: Shear(-1), "amplitude >= 0, got -1"),
    (lambda: Shear(float("nan")), "amplitude >= 0, got nan"),
    (lambda: JointJitter(ratio=1.2), r"ratio in \[0, 1\], got 1.2"),
    (lambda: JointJitter(amplitude=-1), "amplitude >= 0, got -1"),
    (lambda: JointJitter(zero_probability=-0.1), r"zero_probability in \[0, 1\], got -0.1"),
    (lambda: Rotate(-5), "degrees >= 0, .* got -5"),
    (lambda: Rotate((1, 2)), r"or \(x, y, z\), got \(1, 2\)"),
    (lambda: Rotate()(torch.zeros(1, 8, 25, 1)), "C=2 or C=3, got C=1"),
    (OneOf, "at least one transform"),
    (lambda: OneOf([Shear(), Rotate()]), r"one by one, OneOf\(a, b\), .*; got .*list"),
    (lambda: Compose([Shear(), Rotate()]), r"one by one, Compose\(a, b\), .*; got .*list"),
    (lambda: Compose(Shear), r"each to be called on clips; got .*Shear"),
    (
        lambda: Compose(Shear(), Mixup(), Shear())(torch.zeros(2, 3, 8, 25, 1)),
        r"result of .*Mixup: expected a torch tensor, got .*MixedClips",
    ),
    (
        lambda: OneOf(Shear(), Mixup())(torch.zeros(2, 3, 8, 25, 1)),
        r"result of .*Mixup: expected a torch tensor, got .*MixedClips",
    ),
    (
        lambda: OneOf(TemporalClip(), TemporalClip(mode="crop"))(torch.zeros(2, 3, 8, 25, 1), 5),
        "lengths to hold for all results or for none",
    ),
    (lambda: OneOf(Shear(), probabilities=(0.5, 0.5)), r"1 probabilities .* got \(0.5, 0.5\)"),
    (lambda: OneOf(Shear(), Rotate(), probabilities=(0.9, 0.9)), "sum to 1"),
    (
        lambda: OneOf(Shear(), TemporalCropResize(32))(torch.zeros(2, 3, 64, 25, 2)),
        r"results of one shape, got \[\(2, 3, 64, 25, 2\), \(2, 3, 32, 25, 2\)\]",
    ),
    (lambda: TopologyMask(NTU25, ratio=0.1), "ratio >= 1/5, .* skeleton 'ntu25', got 0.1"),
    (lambda: TopologyMask(NTU25, ratio=1.1), r"ratio in \[0, 1\], got 1.1"),
    (lambda: TopologyMask(NTU25, clip_length=0), "clip_length > 0, got 0"),
    (lambda: TopologyMask(NTU25, persons=()), r"person index >= 0, got \(\)"),
    (lambda: TopologyMask(NTU25, persons=(-1,)), r"person index >= 0, got \(-1,\)"),
    (
        lambda: TopologyMask(NTU25, persons=(0, 1))(torch.zeros(3, 64, 25, 1)),
        r"persons \(0, 1\), got M=1",
    ),
    (
        lambda: RandomMask(persons=(0, 5))(torch.zeros(3, 64, 25, 2)),
        r"persons \(0, 5\), got M=2",
    ),
    (lambda: RandomMask(ratio=0), "ratio > 0, got 0"),
    (lambda: RandomMask(ratio=0.01)(torch.zeros(3, 64, 25, 1)), "at least one of 25 joints"),
    (
        lambda: CutMix(NTU25, parts=(2, 6)),
        r"6 or more body parts for CutMix.*'ntu25' with 5: trunk, .*; give it parts=\(2, 5\)",
    ),
    (lambda: CutMix(NTU25, parts=(0, 2)), r"parts .* got \(0, 2\)"),
    (lambda: CutMix(NTU25, extent=(7, 17)), r"extent .*<= 16, got \(7, 17\)"),
    (lambda: ResizeMix(NTU25, grid=0), "grid > 0, got 0"),
    (lambda: Mixup(lam=(0.0, 1.1)), r"lam .* got \(0.0, 1.1\)"),
    (lambda: RandomMix(NTU25, probabilities=(1.0,)), r"3 probabilities .* got \(1.0,\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
